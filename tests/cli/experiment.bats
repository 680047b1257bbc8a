#!/usr/bin/env bats
# experiment: runs of a file, skipped, continued and tabled.

load common

setup_file() {
    load common
    setup
    export WHOLE=$BATS_FILE_TMPDIR/whole
    "$LATENTR3" experiment experiments/small.yaml --out "$WHOLE" >"$BATS_FILE_TMPDIR/printed"
}

experiment() { # FILE OUT OPTION...
    "$LATENTR3" experiment "$1" --out "$2" "${@:3}"
}

# of STEP: the folders of its runs in $WHOLE.
of() { ls -d "$WHOLE/$1"-*/; }

@test "experiment: mean and spread are those of the evaluations, gains those of --against" {
    cmp "$BATS_FILE_TMPDIR/printed" "$WHOLE/table.md"
    for step in sft rl; do
        label=$([ $step = sft ] && echo SFT || echo 'SFT + RL')
        jq -se --arg row "$label" --slurpfile r "$WHOLE/results.json" '
            def near(a; b): (a - b) | fabs < 1e-8;
            map(.title) as $t | ($r[0].rows[] | select(.row == $row).metrics) as $m
            | ("HR@1", "HR@10", "NDCG@10") | . as $k | ($t | map(.[$k])) as $x | ($x | add / 2) as $mean
            | near($m[$k].mean; $mean) and $m[$k].runs == 2
                and near($m[$k].sd; ($x | map(. - $mean | . * .) | add | sqrt))' $(of eval-$step | sed 's|$|eval-test.json|') >"$TMP/near"
        [ "$(sort -u "$TMP/near")" = true ]
    done
    # item-kNN has no seed: it is held against both runs of SFT.
    jq -e '.rows[] | select(.row == "item-kNN").metrics["HR@10"] | .runs == 1 and .sd == null and .gain.pairs == 2
        and (.gain.gain - (.mean - .gain.other) | fabs) < 1e-8 and .gain.interval[0] <= .gain.gain and .gain.interval[1] >= .gain.gain
        and .gain.p > 0 and .gain.p <= 1' "$WHOLE/results.json"
    jq -e '.baseline == "SFT" and [.rows[].row] == ["popularity", "item-kNN", "SFT", "SFT + RL"]
        and all(.rows[] | select(.row == "SFT").metrics[]; has("gain") | not)' "$WHOLE/results.json"
    # One file of lines holds the same numbers.
    [ "$(wc -l <"$WHOLE/table.csv")" -eq 13 ]
    diff <(jq -r '.rows[] | .row as $row | .metrics | to_entries[] | [$row, .key, .value.runs, (.value.mean * 1e8 | round)] | @csv' "$WHOLE/results.json" | tr -d '"') \
        <(tail -n +2 "$WHOLE/table.csv" | tr -d '"' | awk -F, '{printf "%s,%s,%s,%.0f\n", $1, $2, $3, $4 * 1e8}')
    [ "$(grep -c ' \\\\$' "$WHOLE/table.tex")" -eq 5 ]
}

@test "experiment: thought tests and trainings have tables of their own" {
    jq -se --slurpfile r "$WHOLE/results.json" 'def near(a; b): (a - b) | fabs < 1e-8;
        (map(.thought_test) | [map(.own.loss), map(.other.against_own.loss.gain), map(.own["HR@10"])] | map(add / 2)) as $x
        | $r[0].thought_test | length == 1 and .[0].row == "SFT"
            and (.[0].metrics | near(.loss.mean; $x[0]) and near(.["another row\u0027s"].mean; $x[1]) and near(.["HR@10"].mean; $x[2]))' \
        $(of eval-sft | sed 's|$|eval-test.json|')
    jq -se --slurpfile r "$WHOLE/results.json" 'def near(a; b): (a - b) | fabs < 1e-8;
        (map(.validation_loss_before) | add / 2) as $before
        | $r[0].training | map(.row) == ["sft", "rl"] and near(.[1].metrics["validation loss before"].mean; $before)
            and .[0].metrics["between prompts"].mean == null and .[1].metrics["validation loss before"].runs == 2' \
        $(of rl | sed 's|$|metrics.json|')
    jq -se --slurpfile r "$WHOLE/results.json" 'map(select(.event == "step").reward_spread_within_groups) | add / length
        | . - $r[0].training[1].metrics["reward spread within groups"].mean | fabs < 1e-8' $(of rl | sed 's|$|log.jsonl|')
    jq -se --slurpfile r "$WHOLE/results.json" 'map(select(.event == "validation").loss) | (.[-1] + .[length / 2 - 1 | floor]) / 2
        | . - $r[0].training[1].metrics["at the end"].mean | fabs < 1e-8' $(of rl | sed 's|$|log.jsonl|')
    [ "$(grep -c '^| thought test\|^| training' "$WHOLE/table.md")" -eq 2 ]
}

@test "experiment: what is done is not run again, whatever the order and comments of the file" {
    touch -d 2001-01-01 "$WHOLE"/*/step.json
    experiment experiments/small.yaml "$WHOLE" --json >"$TMP/json"
    cmp "$TMP/json" <(jq -c . "$WHOLE/results.json") || jq -e --slurpfile a "$TMP/json" '. == $a[0]' "$WHOLE/results.json"
    [ -z "$(find "$WHOLE" -name step.json -newermt 2002-01-01)" ]
    sed -e '/^#/d' -e 's/{run: eval, row: SFT, model: "${sft}", data: "${world}\/data", max-rows: 60, thought-test: true}/{thought-test: true, max-rows: 60, data: "${world}\/data", model: "${sft}", row: SFT, run: eval}/' \
        experiments/small.yaml >"$TMP/small.yaml"
    not cmp -s "$TMP/small.yaml" experiments/small.yaml
    experiment "$TMP/small.yaml" "$WHOLE" --plan >"$TMP/plan"
    [ "$(grep -c '^done  ' "$TMP/plan")" -eq 11 ]
    not grep '^to do' "$TMP/plan"
}

@test "experiment: a changed option reruns only what depends on it" {
    sed 's/samples: 4/samples: 6/' experiments/small.yaml >"$TMP/small.yaml"
    experiment "$TMP/small.yaml" "$WHOLE" --plan >"$TMP/plan"
    [ "$(sed -n 's/^to do  //p' "$TMP/plan")" = "$(printf '%s\n' 'rl seed=1' 'rl seed=2' 'eval-rl seed=1' 'eval-rl seed=2')" ]
    sed 's/seed: \[1, 2\]/seed: [2, 3]/' experiments/small.yaml >"$TMP/small.yaml"
    experiment "$TMP/small.yaml" "$WHOLE" --plan >"$TMP/plan"
    [ "$(sed -n 's/^to do  //p' "$TMP/plan")" = "$(printf '%s\n' 'sft seed=3' 'rl seed=3' 'eval-sft seed=3' 'eval-rl seed=3')" ]
    # The bytes of an input count, not its name.
    cp -r "$(of world)data" "$TMP/data"
    printf 'steps:\n  e: {run: eval, row: r, model: popularity, data: %s, max-rows: 5}\n' "$TMP/data" >"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out"
    experiment "$TMP/one.yaml" "$TMP/out" --plan | grep -q '^done  e'
    sed -i '$d' "$TMP/data/train.csv"
    experiment "$TMP/one.yaml" "$TMP/out" --plan | grep -q '^to do  e'
    # What a run leaves beside its model is no part of the model; in a log, a file of the same name is the log.
    cp -r "$(of world)log" "$TMP/log"
    cp -r "$(of world)model" "$TMP/model"
    printf 'steps:\n  p: {run: prepare, data: %s}\n  e: {run: eval, model: %s, data: %s, max-rows: 5}\n' "$TMP/log" "$TMP/model" "$TMP/data" >"$TMP/two.yaml"
    key() { experiment "$TMP/two.yaml" "$TMP/out" --plan | grep -A 1 " $1\$" | grep -oE "$TMP/out/$1-[0-9a-f]+"; }
    prepared=$(key p) evaluated=$(key e)
    touch "$TMP/log/log.jsonl" "$TMP/model/log.jsonl" "$TMP/log/.hidden"
    [ "$(key e)" = "$evaluated" ]
    now=$(key p)
    [ "$now" != "$prepared" ]
    touch "$TMP/model/eval-mine.txt"
    now=$(key e)
    [ "$now" != "$evaluated" ]
}

@test "experiment: stopped by Ctrl-C and by kill -9, it goes on and comes to the same table" {
    steps() { cat "$TMP"/out/sft-*/log.jsonl 2>/dev/null | grep -c '"event":"step"' || true; }
    for round in INT:3:130 KILL:16:137; do
        IFS=: read -r signal at code <<<"$round"
        (trap - INT; exec "$LATENTR3" experiment experiments/small.yaml --out "$TMP/out") >"$TMP/printed" &
        pid=$!
        while [ "$(steps)" -lt "$at" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
        kill -s "$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq "$code" ]
        [ ! -s "$TMP/printed" ]
        [ ! -e "$TMP/out/table.md" ]
    done
    experiment experiments/small.yaml "$TMP/out" --plan >"$TMP/plan"
    grep -q '^done  world' "$TMP/plan"
    grep -q '^to do  eval-rl seed=2' "$TMP/plan"
    # The run that lost its experiment saves what it has, and ends; until then the folder is taken.
    for _ in $(seq 100); do
        status=0
        experiment experiments/small.yaml "$TMP/out" >"$TMP/printed" || status=$?
        [ "$status" -eq 4 ] || break
        sleep 0.1
    done
    [ "$status" -eq 0 ]
    cmp "$TMP/printed" "$WHOLE/table.md"
    cmp "$TMP/out/table.csv" "$WHOLE/table.csv"
}

@test "experiment: rows for each value of a variable that is no seed" {
    cat >"$TMP/grid.yaml" <<'YAML'
grid: {penalty: [0, 1], list: [10, 20], part: [valid]}
baseline: popularity
metrics: [HR@10, HR@20]
steps:
  world: {run: synth, items: 60, rows: 400}
  p: {run: eval, row: popularity, model: popularity, data: "${world}/data", max-rows: 20, beams: "${list}", split: "${part}"}
  k: {run: eval, row: "item-kNN | <&_", model: item-knn, data: "${world}/data", max-rows: 20, beams: "${list}", length-penalty: "${penalty}", split: "${part}"}
YAML
    experiment "$TMP/grid.yaml" "$TMP/out" --json >"$TMP/json"
    jq -e '[.rows[].row] == ["popularity, list=10", "popularity, list=20", "item-kNN | <&_, penalty=0, list=10", "item-kNN | <&_, penalty=0, list=20",
        "item-kNN | <&_, penalty=1, list=10", "item-kNN | <&_, penalty=1, list=20"]' "$TMP/json"
    # Each is held against the baseline of its own list; a K above the list is not given.
    jq -e 'all(.rows[2:][].metrics["HR@10"]; .gain.pairs == 1) and .rows[2].metrics["HR@20"].runs == 0
        and .rows[3].metrics["HR@20"].gain.pairs == 1' "$TMP/json"
    grep -q '^| item-kNN \\| \\<&\\_, penalty=0, list=10 |' "$TMP/out/table.md"
    grep -q '^item-kNN | <\\&\\_, penalty=0, list=10 &' "$TMP/out/table.tex"
}

@test "experiment: what cannot be held against the baseline has no gain, and the table is there" {
    cat >"$TMP/other.yaml" <<'YAML'
baseline: popularity
metrics: [HR@10]
steps:
  world: {run: synth, items: 60, rows: 400}
  p: {run: eval, row: popularity, model: popularity, data: "${world}/data"}
  k: {run: eval, row: item-kNN, model: item-knn, data: "${world}/data"}
  few: {run: eval, row: few rows, model: item-knn, data: "${world}/data", max-rows: 20}
  drawn: {run: eval, row: drawn, model: item-knn, data: "${world}/data", protocol: uniform-100}
YAML
    experiment "$TMP/other.yaml" "$TMP/out" --json 2>"$TMP/log" >"$TMP/json"
    jq -e '[.rows[] | [.row, (.metrics["HR@10"] | has("gain"))]]
        == [["popularity", false], ["item-kNN", true], ["few rows", false], ["drawn (uniform-100)", false]]' "$TMP/json"
    grep -q 'few rows: no gain over popularity: p-.* rows' "$TMP/log"
    grep -q 'drawn (uniform-100): no gain over popularity: .*--protocol' "$TMP/log"
    [ -s "$TMP/out/table.md" ]
}

@test "experiment: no table while runs are to do; results.json holds the file" {
    printf 'steps:\n  world: {run: synth, items: 60, rows: 400}\n  e: {run: eval, row: r, model: popularity, data: "${world}/data", max-rows: 5}\n' >"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out" >/dev/null
    jq -r .file "$TMP/out/results.json" | head -n -1 | cmp - "$TMP/one.yaml"
    printf '  f: {run: eval, row: s, model: %s, data: "${world}/data"}\n' "$TMP/none" >>"$TMP/one.yaml"
    exits 4 experiment "$TMP/one.yaml" "$TMP/out"
    for file in results.json table.md table.csv table.tex; do [ ! -e "$TMP/out/$file" ]; done
}

@test "experiment: a shell reads what --plan prints" {
    printf 'steps:\n  e: {run: eval, model: popularity, data: %s}\n' "\"$TMP/it's \$a #1\"" >"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out" --plan >"$TMP/plan"
    eval "words=($(tail -n 1 "$TMP/plan"))"
    [ "${words[2]}" = "--data=$TMP/it's \$a #1" ]
}

@test "experiment: what is wrong in a file is named with its line, before anything runs" {
    refuse() { # PATTERN, the file on stdin
        cat >"$TMP/bad.yaml"
        refuses 2 "*bad.yaml: $1" experiment "$TMP/bad.yaml" "$TMP/out"
        [ ! -e "$TMP/out" ]
    }
    refuse 'nothing in it*' <<<''
    refuse "line 2: no } behind *" <<<$'steps:\n  a: {run: eval, row: a, model: popularity, data: "${b"}'
    refuse 'line 1: a mapping is expected*' <<<'[1, 2]'
    refuse 'line 1: there are no steps' <<<'name: x'
    refuse 'line 2: did not find expected*' <<<$'grid: {a: [1\nsteps: {'
    refuse "line 1: none of name, grid, *: 'step'" <<<'step: {}'
    refuse "line 2: no \`run: COMMAND\` in the step 'a'" <<<$'steps:\n  a: {model: x}'
    refuse "line 2: none of prepare, *: 'serve'" <<<$'steps:\n  a: {run: serve, model: x}'
    refuse "line 3: eval has no option 'modell'" <<<$'steps:\n  a: {run: eval,\n    modell: x}'
    refuse "line 2: the experiment itself decides 'out'" <<<$'steps:\n  a: {run: synth, out: x}'
    refuse "line 2: only an eval makes a row of the table: 'a'" <<<$'steps:\n  a: {run: synth, row: x}'
    refuse "line 3: given twice: 'a'" <<<$'steps:\n  a: {run: synth}\n  a: {run: synth}'
    refuse "line 2: neither a variable nor a step: 'sed'" <<<$'steps:\n  a: {run: synth, seed: "${sed}"}'
    refuse "line 2: needs itself: step 'a'" <<<$'steps:\n  a: {run: eval, model: "${b}", data: x}\n  b: {run: sft, model: "${a}", data: x}'
    refuse "line 2: step a: *--items: '1' is not a whole number from 60*" <<<$'steps:\n  a: {run: synth, items: 1}'
    refuse "line 2: step a: eval: --data is missing*" <<<$'steps:\n  a: {run: eval, model: popularity}'
    refuse "line 1: no eval makes the row that is the baseline: 'x'" <<<$'baseline: x\nsteps:\n  a: {run: synth}'
    refuse "line 1: no metric *: 'MAP'" <<<$'metrics: [MAP]\nsteps:\n  a: {run: synth}'
    refuse "line 1: no command has the option 'thread'" <<<$'defaults: {thread: 1}\nsteps:\n  a: {run: synth}'
    refuse "line 1: true or false is expected for 'strict'" <<<$'defaults: {strict: 1}\nsteps:\n  a: {run: synth}'
    refuse "line 1: a variable's name is of letters*" <<<$'grid: {"../a": [1]}\nsteps:\n  a: {run: synth}'
    refuse "line 1: 1 to 100 values are expected for 'a'" <<<$'grid: {a: []}\nsteps:\n  a: {run: synth}'
    refuses 2 '*a FILE is missing*' "$LATENTR3" experiment --out "$TMP/out"
    refuses 4 '*none.yaml*' experiment "$TMP/none.yaml" "$TMP/out"
}

@test "experiment: a run that fails ends it, with its own message and exit code" {
    mkdir "$TMP/empty"
    printf 'steps:\n  e: {run: eval, model: popularity, data: %s}\n' "$TMP/empty" >"$TMP/one.yaml"
    LATENTR3_LOG=warn refuses 4 "*e (all it said is in $TMP/out/e-*.log): latentr3: $TMP/empty: holds no info.txt*" experiment "$TMP/one.yaml" "$TMP/out"
    [ ! -e "$TMP/out/table.md" ]
    # Two at once are refused.
    exec 9<"$TMP/out"
    flock 9
    LATENTR3_LOG=warn refuses 4 "*$TMP/out*" experiment "$TMP/one.yaml" "$TMP/out"
}

@test "experiment: the files in experiments/ are in order" {
    for file in experiments/*.yaml; do
        experiment "$file" "$TMP/out" --plan >"$TMP/plan"
        grep -q '^to do  eval' "$TMP/plan"
    done
    [ ! -e "$TMP/out" ]
}
