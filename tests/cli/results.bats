#!/usr/bin/env bats
# docs/results.md and README.md hold the numbers of experiments/results, and those are of the experiments as they stand.

load common

@test "no number of a page is stale" {
    exits 0 tools/results.sh --check
}

@test "a changed number, table, result or experiment is found" {
    mkdir "$TMP/docs"
    cp -r tools experiments "$TMP"
    cp docs/results.md "$TMP/docs"
    cp README.md "$TMP"
    name=$(sed -nE 's/^<!-- results ([^ ]*) -->$/\1/p' docs/results.md | head -n 1)
    [ -n "$name" ]
    exits 0 "$TMP/tools/results.sh" --check
    stale() { # FILE SED PATTERN
        cp "$TMP/$1" "$TMP/whole"
        sed -i "$2" "$TMP/$1"
        differ "$TMP/whole" "$TMP/$1"
        exits 1 "$TMP/tools/results.sh" --check
        says "$3"
        cp "$TMP/whole" "$TMP/$1"
    }
    stale docs/results.md '0,/| 0\.0/s/| 0\.0/| 0.1/' '*is not what experiments/results says*'
    # The second table alone.
    printf '<!-- results %s 2 -->\n<!-- end -->\n' "$name" >"$TMP/README.md"
    exits 0 "$TMP/tools/results.sh"
    [ "$(grep -c '^| by title' "$TMP/README.md")" -eq 0 ]
    [ "$(grep -c '^| gain over' "$TMP/README.md")" -eq 1 ]
    exits 0 "$TMP/tools/results.sh" --check
    stale README.md '$s/.*/| popularity | 1 |\n&/' '*README.md is not what experiments/results says*'
    stale "experiments/results/$name.md" '0,/| 0\.0/s/| 0\.0/| 0.1/' '*changed since they were kept*'
    stale "experiments/results/$name.json" 's/0\.0/0.1/' '*changed since they were kept*'
    stale "experiments/$name.yaml" 's|HR@5, |HR@1, HR@5, |' '*changed since they were kept*'
    # The script writes what it checks.
    sed -i '0,/| 0\.0/s/| 0\.0/| 0.1/' "$TMP/docs/results.md"
    exits 0 "$TMP/tools/results.sh"
    cmp "$TMP/docs/results.md" docs/results.md
}

@test "keep: only an experiment's own folder" {
    mkdir "$TMP/run"
    echo '{"experiment": "other"}' >"$TMP/run/results.json"
    exits 1 tools/results.sh keep small "$TMP/run"
    says '*holds no experiment called small*'
    cp -r tools experiments "$TMP"
    small() { # SED: results.json of a small.yaml that is another one
        jq -n --arg file "$(sed -E "$1" experiments/small.yaml)" '{experiment: "small", file: $file}' >"$TMP/run/results.json"
        echo >"$TMP/run/table.md"
    }
    small 's/samples: 4/samples: 6/'
    exits 1 "$TMP/tools/results.sh" keep small "$TMP/run"
    says '*was made by another experiments/small.yaml*'
    [ ! -e "$TMP/experiments/results/small.json" ]
    small 's/seed: \[1, 2\]/seed: [1]/'
    exits 1 "$TMP/tools/results.sh" keep small "$TMP/run"
    says '*< *seed: \[1\]*> *seed: \[1, 2\]*was made by another experiments/small.yaml*'
    [ ! -e "$TMP/experiments/results/small.json" ]
    small 's/^#.*/# other words/'
    exits 0 "$TMP/tools/results.sh" keep small "$TMP/run"
    [ -e "$TMP/experiments/results/small.sum" ]
}

@test "records: another machine goes on from them" {
    cp -r tools experiments "$TMP"
    export LATENTR3
    (cd "$TMP" && "$LATENTR3" experiment experiments/small.yaml --out runs >table)
    exits 0 "$TMP/tools/results.sh" records small "$TMP/runs"
    rm -r "$TMP/runs"
    mkdir "$TMP/here"
    (cd "$TMP/here" && exits 0 ../tools/results.sh unpack small ../again) # a folder as seen from where one stands
    (cd "$TMP" && "$LATENTR3" experiment experiments/small.yaml --out again >table2)
    cmp "$TMP/table" "$TMP/table2"
    exits 1 "$TMP/tools/results.sh" unpack small "$TMP/again"
    says '*is not empty*'
    [ -z "$(find "$TMP/again" -name '*.safetensors')" ]
}
