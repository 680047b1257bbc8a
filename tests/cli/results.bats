#!/usr/bin/env bats
# docs/results.md and README.md hold the numbers of experiments/results, and those are of the experiments as they stand.

load common

@test "no number of a page is stale" {
    exits 0 tools/results.sh --check
}

@test "a changed number, table, result or experiment is found" {
    mkdir "$TMP/docs"
    cp -r tools experiments "$TMP"
    cp docs/results.md docs/gains.svg "$TMP/docs"
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
    stale docs/results.md "/<!-- results $name -->/,\$s/| 0\.0/| 0.1/" '*is not what experiments/results says*'
    stale docs/results.md '/<!-- overview -->/,/SASRec/s/| 0\.0/| 0.1/' '*is not what experiments/results says*'
    stale experiments/overview.tsv '$s/office/ml-100k/' '*is not what experiments/results says*'
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
    stale docs/gains.svg '0,/seeds/s/seeds/seed/' '*gains.svg is not what experiments/results says*'
    stale experiments/gains.tsv '$s/[^\t]*$/popularity/' "*has no gain of '*' over 'popularity'*"
    # The script writes what it checks.
    sed -i '0,/| 0\.0/s/| 0\.0/| 0.1/' "$TMP/docs/results.md"
    rm "$TMP/docs/gains.svg"
    exits 0 "$TMP/tools/results.sh"
    cmp "$TMP/docs/results.md" docs/results.md
    cmp "$TMP/docs/gains.svg" docs/gains.svg
}

@test "the picture of gains: one that is over another row than the baseline is turned round" {
    mkdir -p "$TMP/experiments/results" "$TMP/docs"
    cp -r tools "$TMP"
    : >"$TMP/docs/results.md"
    : >"$TMP/README.md"
    # .2 with, .1 without: +100 %, and the other way -50 %.
    jq -n '{baseline: "without", rows: [{row: "with", metrics: {"HR@10": {mean: 0.2,
        gain: {pairs: 3, other: 0.1, gain: 0.1, interval: [-0.05, 0.15]}}}}]}' >"$TMP/experiments/results/x.json"
    gain() { # ROW OTHER TEXT
        printf '# a comment\nA group\tits label\tx\t%s\t%s\n' "$1" "$2" >"$TMP/experiments/gains.tsv"
        exits 0 "$TMP/tools/results.sh"
        [ "$(grep -c '<circle' "$TMP/docs/gains.svg")" -eq 1 ]
        grep -qF ">its label<" "$TMP/docs/gains.svg"
        grep -qF ">$3, 3 seeds<" "$TMP/docs/gains.svg"
    }
    gain with without '+100.0 % [-50.0, +150.0]'
    gain without with '-50.0 % [-75.0, +25.0]'
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
