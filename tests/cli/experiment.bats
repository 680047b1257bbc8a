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

@test "experiment: an evaluation of millions of rows, whose file is large, is whole to those that read it" {
    printf 'steps:\n  e: {run: eval, row: r, model: popularity, data: %s, max-rows: 5}\n' "$(of world)data" >"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out"
    head -c $((16 << 20)) /dev/zero | tr '\0' ' ' | tee -a "$TMP"/out/e-*/eval-test.json >/dev/null
    printf '  f: {run: eval, row: s, model: item-knn, data: %s, max-rows: 5, against: "${e}"}\n' "$(of world)data" >>"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out" --plan >"$TMP/plan"
    grep -q '^done  e' "$TMP/plan"
    grep -q '^to do  f' "$TMP/plan"
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
    # What lies beside a model is no part of it; in a log, a file of the same name is the log.
    cp -r "$(of world)log" "$TMP/log"
    cp -r "$(of world)model" "$TMP/model"
    printf 'steps:\n  p: {run: prepare, data: %s}\n  e: {run: eval, model: %s, data: %s, max-rows: 5}\n' "$TMP/log" "$TMP/model" "$TMP/data" >"$TMP/two.yaml"
    key() { experiment "$TMP/two.yaml" "$TMP/out" --plan | grep -A 1 " $1\$" | grep -oE "$TMP/out/$1-[0-9a-f]+"; }
    prepared=$(key p) evaluated=$(key e)
    mkdir "$TMP/model/checkpoints"
    touch "$TMP/log/log.jsonl" "$TMP/model/log.jsonl" "$TMP/model/checkpoints/a" "$TMP/log/.hidden" "$TMP/model/notes.txt" "$TMP/model/eval.json"
    [ "$(key e)" = "$evaluated" ]
    now=$(key p)
    [ "$now" != "$prepared" ]
    for file in generation_config.json b.safetensors; do
        printf '{}' >"$TMP/model/$file"
        now=$(key e)
        [ "$now" != "$evaluated" ]
        rm "$TMP/model/$file"
    done
    # A log's items, which prepare finds beside it; what else lies there does not count.
    printf 'steps:\n  p: {run: prepare, data: %s}\n' "$TMP/log/synth.inter" >"$TMP/two.yaml"
    prepared=$(key p)
    touch "$TMP/log/notes"
    [ "$(key p)" = "$prepared" ]
    printf '999\tOne More\n' >>"$TMP/log/synth.item"
    now=$(key p)
    [ "$now" != "$prepared" ]
    # The published layout has a folder for each of its files.
    mkdir -p "$TMP"/pub/{train,valid,test,info}
    for split in train valid test; do cp "$TMP/data/$split.csv" "$TMP/pub/$split/Books.csv"; done
    cp "$TMP/data/info.txt" "$TMP/pub/info/Books.txt"
    printf 'steps:\n  p: {run: prepare, data: %s}\n  e: {run: eval, model: popularity, data: %s, max-rows: 5}\n' "$TMP/pub" "$TMP/pub" >"$TMP/two.yaml"
    prepared=$(key p) evaluated=$(key e)
    sed -i '$d' "$TMP/pub/test/Books.csv"
    now=$(key p)
    [ "$now" != "$prepared" ]
    now=$(key e)
    [ "$now" != "$evaluated" ]
}

@test "experiment: what is kept of runs without their models is enough for more seeds; what these read is made again" {
    experiment experiments/small.yaml "$WHOLE" --records "$TMP/light"
    [ -z "$(find "$TMP/light" -name '*.safetensors' -o -name '*.csv')" ]
    for log in "$WHOLE"/rl-*/log.jsonl; do cmp "$log" "$TMP/light/${log#"$WHOLE"/}"; done
    for log in "$WHOLE"/sft-*/log.jsonl; do grep -v '^{"event":"step"' "$log" | cmp - "$TMP/light/${log#"$WHOLE"/}"; done
    # Nobody and nothing is named.
    [ "$(cat "$TMP/light"/eval-*/results-test.jsonl | wc -l)" -eq 360 ]
    cut -f1 "$(of world)data/info.txt" >"$TMP/titles"
    not grep -rqFf "$TMP/titles" "$TMP/light"
    experiment experiments/small.yaml "$TMP/light" --plan >"$TMP/plan"
    not grep '^to do' "$TMP/plan"
    experiment experiments/small.yaml "$TMP/light" >"$TMP/table"
    cmp "$TMP/table" "$WHOLE/table.md"
    sed 's/seed: \[1, 2\]/seed: [1, 2, 3]/' experiments/small.yaml >"$TMP/small.yaml"
    experiment "$TMP/small.yaml" "$TMP/light" --plan >"$TMP/plan"
    [ "$(sed -n 's/^to do  //p' "$TMP/plan" | sort | tr '\n' ,)" = "eval-rl seed=3,eval-sft seed=3,rl seed=3,sft seed=3,world," ]
    cp -r "$TMP/light" "$TMP/more"
    experiment "$TMP/small.yaml" "$TMP/more" >"$TMP/three"
    [[ $(grep -c '(3)' "$TMP/three") -gt 3 ]]
    jq -e '[.rows[] | select(.row != "SFT") | .metrics["HR@10"].gain.pairs] | all(. == 3)' "$TMP/more/results.json"
    experiment "$TMP/small.yaml" "$WHOLE" | cmp - "$TMP/three"
    experiment experiments/small.yaml "$WHOLE" >/dev/null # as other tests have it
    # A training that another one reads is made again, from its beginning, and then no longer.
    sed 's/samples: 4/samples: 6/; s/seed: \[1, 2\]/seed: [2]/' experiments/small.yaml >"$TMP/small.yaml"
    experiment "$TMP/small.yaml" "$TMP/light" --plan >"$TMP/plan"
    [ "$(sed -n 's/^to do  //p' "$TMP/plan" | sort | tr '\n' ,)" = "eval-rl seed=2,rl seed=2,sft seed=2,world," ]
    experiment "$TMP/small.yaml" "$TMP/light" >"$TMP/table"
    made=$(basename "$(dirname "$(grep -l 'sft seed=2"' "$WHOLE"/sft-*/step.json)")")
    cmp "$WHOLE/$made/model.safetensors" "$TMP/light/$made/model.safetensors"
    experiment "$TMP/small.yaml" "$TMP/light" --plan >"$TMP/plan"
    not grep '^to do' "$TMP/plan"
}

@test "experiment: stopped by Ctrl-C, by SIGTERM to a run alone and by kill -9, it goes on and comes to the same table" {
    steps() { cat "$TMP"/out/sft-*/log.jsonl 2>/dev/null | grep -c '"event":"step"' || true; }
    for round in INT:3:130 TERM:8:143 HUP:12:129 KILL:16:137; do
        IFS=: read -r signal at code <<<"$round"
        (exec env --default-signal=INT,HUP "$LATENTR3" experiment experiments/small.yaml --out "$TMP/out") >"$TMP/printed" 2>"$TMP/said.$signal" &
        pid=$!
        while [ "$(steps)" -lt "$at" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
        # SIGTERM and SIGHUP go to the training, not to the experiment.
        kill -s "$signal" "$([[ $signal = [TH]* ]] && pgrep -P "$pid" || echo "$pid")"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq "$code" ] || { echo "$signal: status $status" && tail -n 5 "$TMP/said.$signal" && false; }
        [ ! -s "$TMP/printed" ]
        [ ! -e "$TMP/out/table.md" ]
    done
    grep -qE 'sft seed=[12]: stopped by signal 15$' "$TMP/said.TERM"
    grep -q 'the same command goes on from here$' "$TMP/said.TERM"
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

@test "experiment: several runs at a time come to the same table; one that fails stops the others, which go on" {
    experiment experiments/small.yaml "$TMP/out" --jobs 3 >"$TMP/printed" 2>"$TMP/said"
    cmp "$TMP/printed" "$WHOLE/table.md"
    cmp "$TMP/out/table.csv" "$WHOLE/table.csv"
    for model in "$TMP"/out/*/model.safetensors; do cmp "$model" "$WHOLE/${model#"$TMP/out/"}"; done
    [ "$(grep -cE '^\[[0-9]+/11\] ' "$TMP/said")" -eq 11 ]
    # When `short` has ended the evaluation fails, and the training beside them leaves a checkpoint.
    mkdir "$TMP/empty"
    cat >"$TMP/fail.yaml" <<END
steps:
  long: {run: sft, model: $(of world)model, data: $(of world)data, threads: 1, batch: 4, epochs: 1000, no-early-stop: true, valid-rows: 5}
  short: {run: sft, model: $(of world)model, data: $(of world)data, threads: 1, batch: 4, max-steps: 20, valid-rows: 5}
  bad: {run: eval, row: bad, model: "\${short}", data: $TMP/empty}
END
    LATENTR3_LOG=warn refuses 4 "*bad (all it said is in $TMP/out/bad-*.log): *$TMP/empty: holds no info.txt*" \
        experiment "$TMP/fail.yaml" "$TMP/out" --jobs 2
    experiment "$TMP/fail.yaml" "$TMP/out" --plan | grep -E '^(done|to do)' >"$TMP/plan"
    diff "$TMP/plan" <(printf 'to do  long\ndone  short\nto do  bad\n')
    jq -e .interrupted "$TMP"/out/long-*/metrics.json
    [ -n "$(ls -d "$TMP"/out/long-*/checkpoint*)" ]
}

@test "experiment: Ctrl-C reaches all runs, and each saves what it has" {
    for n in a b; do
        echo "  $n: {run: sft, model: $(of world)model, data: $(of world)data, threads: 1, batch: 4, epochs: 1000, no-early-stop: true, valid-rows: 5, seed: $([ $n = a ] && echo 1 || echo 2)}"
    done | cat <(echo steps:) - >"$TMP/two.yaml"
    (exec env --default-signal=INT "$LATENTR3" experiment "$TMP/two.yaml" --out "$TMP/out" --jobs 2) 2>"$TMP/said" &
    pid=$!
    for n in a b; do
        while ! grep -q '"event":"step"' "$TMP"/out/$n-*/log.jsonl 2>/dev/null && kill -0 "$pid"; do sleep 0.02; done
    done
    kill -s INT "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 130 ]
    for n in a b; do jq -e .interrupted "$TMP"/out/$n-*/metrics.json; done
}

@test "experiment: rows for each value of a variable that is no seed" {
    cat >"$TMP/grid.yaml" <<'YAML'
grid: {penalty: [0, 1], list: [10, 20], part: [valid]}
baseline: popularity
metrics: [HR@10, HR@20]
steps:
  world: {run: synth, items: 60, rows: 400}
  p: {run: eval, row: popularity, model: popularity, data: "${world}/data", max-rows: 20, beams: "${list}", split: "${part}"}
  k: {run: eval, row: "[item-kNN] |\r<&_", model: item-knn, data: "${world}/data", max-rows: 20, beams: "${list}", length-penalty: "${penalty}", split: "${part}"}
YAML
    experiment "$TMP/grid.yaml" "$TMP/out" --plan >/dev/null 2>"$TMP/log"
    diff <(grep -o 'warning: .*' "$TMP/log" | sed 's|.*grid.yaml|grid.yaml|') - <<'END'
grid.yaml: line 6: step p makes lists of 10, so its row has no HR@20: beams: 20
grid.yaml: line 7: step k makes lists of 10, so its row has no HR@20: beams: 20
END
    experiment "$TMP/grid.yaml" "$TMP/out" --json >"$TMP/json"
    jq -e '[.rows[].row] == ["popularity, list=10", "popularity, list=20", "[item-kNN] |\r<&_, penalty=0, list=10", "[item-kNN] |\r<&_, penalty=0, list=20",
        "[item-kNN] |\r<&_, penalty=1, list=10", "[item-kNN] |\r<&_, penalty=1, list=20"]' "$TMP/json"
    # Each is held against the baseline of its own list; a K above the list is not given.
    jq -e 'all(.rows[2:][].metrics["HR@10"]; .gain.pairs == 1) and .rows[2].metrics["HR@20"].runs == 0
        and .rows[3].metrics["HR@20"].gain.pairs == 1' "$TMP/json"
    grep -q '^| \\\[item-kNN\\\] \\| \\<\\&\\_, penalty=0, list=10 |' "$TMP/out/table.md"
    # Behind the end of a row TeX takes a bracket for an option, and the oldest fonts have other signs in the place of < and |.
    grep -q '^{}\[item-kNN\] \\textbar{} \\textless{}\\&\\_, penalty=0, list=10 &' "$TMP/out/table.tex"
}

@test "experiment: of a baseline with values that a row lacks, no row is the one to hold it against" {
    cat >"$TMP/more.yaml" <<YAML
grid: {seed: [1, 2], list: [10, 20], part: [auto]}
baseline: item-kNN
metrics: [HR@10]
defaults: {data: $(of world)data, max-rows: 20}
steps:
  p: {run: eval, row: popularity, model: popularity}
  r: {run: eval, row: repeat-last, model: repeat-last, beams: "\${list}"}
  k: {run: eval, row: item-kNN, model: item-knn, beams: "\${list}", seed: "\${seed}", bos: "\${part}"}
YAML
    experiment "$TMP/more.yaml" "$TMP/out" --json >"$TMP/json" 2>"$TMP/log"
    jq -e '[.rows[] | [.row, .metrics["HR@10"].gain.pairs]] == [["popularity", null], ["repeat-last, list=10", 2], ["repeat-last, list=20", 2],
        ["item-kNN, list=10", null], ["item-kNN, list=20", null]]' "$TMP/json"
    grep -q 'popularity: no gain over item-kNN: that has a row for each value of list$' "$TMP/log"
    grep -q 'item-kNN: 2 rows, which have no gains over each other$' "$TMP/log"
    [ "$(grep -c 'no gain' "$TMP/log")" -eq 2 ]
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

@test "experiment: a step's false holds against a true of the defaults, and a variable may be a flag" {
    cat >"$TMP/flags.yaml" <<YAML
grid: {x: [true, false]}
defaults: {exclude-seen: true, data: $(of world)data, max-rows: 5, model: popularity}
steps:
  a: {run: eval}
  b: {run: eval, exclude-seen: false}
  c: {run: eval, exclude-seen: "\${x}"}
YAML
    experiment "$TMP/flags.yaml" "$TMP/out" --plan >"$TMP/plan"
    diff <(awk '/^to do/ {sub("to do  ", ""); label = $0; next} {print label, / --exclude-seen /}' "$TMP/plan") - <<'END'
a 1
b 0
c x=true 1
c x=false 0
END
    # A flag is there or is not: how that was said makes no other run.
    key() { sed -n "s|.*/out/$1-||p" "$TMP/plan"; }
    [ "$(key c)" = "$(key a; key b)" ]
}

# changed_under FILE: the experiment $TMP/two.yaml ends with 3 where FILE loses a line while its step s runs.
changed_under() {
    (exec "$LATENTR3" experiment "$TMP/two.yaml" --out "$TMP/out") >"$TMP/printed" 2>"$TMP/said" &
    local pid=$! status=0
    while [ ! -e "$(echo "$TMP"/out/s-*/log.jsonl)" ] && kill -0 "$pid"; do sleep 0.02; done
    kill -STOP "$(pgrep -P "$pid")"
    cp "$1" "$TMP/whole"
    sed -i '$d' "$1"
    kill -CONT "$(pgrep -P "$pid")"
    wait "$pid" || status=$?
    cp "$TMP/whole" "$1"
    [ "$status" -eq 3 ]
    [ ! -e "$TMP/out/table.md" ]
}

@test "experiment: an input that changes meanwhile ends it, and what was made of it counts for nothing" {
    cp -r "$(of world)data" "$TMP/data"
    cp -r "$TMP/data" "$TMP/other"
    cat >"$TMP/two.yaml" <<YAML
steps:
  s: {run: sasrec, data: $TMP/data, threads: 1, width: 8, layers: 1, epochs: 40, warmup: 1, no-early-stop: true}
  e: {run: eval, row: r, model: "\${s}", data: $TMP/other, threads: 1}
YAML
    changed_under "$TMP/data/valid.csv"
    grep -q "latentr3: s: $TMP/data: changed since the experiment began$" "$TMP/said"
    experiment "$TMP/two.yaml" "$TMP/out" --plan | grep -q '^to do  s$'
    # Of a run that has not begun too.
    changed_under "$TMP/other/test.csv"
    grep -q "latentr3: e: $TMP/other: changed since the experiment began$" "$TMP/said"
    [ ! -e "$(echo "$TMP"/out/e-*.log)" ]
    grep -q 'best' "$TMP"/out/s-*.log # the whole training again, not its mark alone
    experiment "$TMP/two.yaml" "$TMP/out" --plan | grep -q '^done  s$'
    experiment "$TMP/two.yaml" "$TMP/out" >"$TMP/printed"
    [ -s "$TMP/out/table.md" ]
}

@test "experiment: a data folder of which a record alone is left is prepared again" {
    cat >"$TMP/one.yaml" <<END
grid: {n: [5]}
steps:
  p: {run: prepare, data: $(of world)log/synth.inter}
  e: {run: eval, row: popularity, model: popularity, data: "\${p}", max-rows: "\${n}"}
END
    sed 's/\[5\]/[5, 6]/' "$TMP/one.yaml" >"$TMP/more.yaml"
    experiment "$TMP/one.yaml" "$TMP/runs"
    experiment "$TMP/one.yaml" "$TMP/runs" --records "$TMP/light"
    [ "$(ls "$TMP/light"/p-*/)" = step.json ]
    experiment "$TMP/more.yaml" "$TMP/light"
    cmp "$TMP"/runs/p-*/test.csv "$TMP"/light/p-*/test.csv
    [ "$(ls -d "$TMP/light"/e-*/ | wc -l)" -eq 2 ]
}

@test "experiment: records do not replace the runs, and none are not kept" {
    refuses 2 '*--records '"$WHOLE"' is the folder of the runs*' "$LATENTR3" experiment experiments/small.yaml --out "$WHOLE" --records "$WHOLE"
    jq -e '.samples | length > 0' "$WHOLE"/eval-sft-*/eval-test.json >/dev/null
    mkdir "$TMP/none"
    refuses 3 '*none of the * runs that the file names is done there*' "$LATENTR3" experiment experiments/small.yaml --out "$TMP/none" --records "$TMP/light"
}

@test "experiment: an evaluation that another one is held against is done, as long as its lists are there" {
    cat >"$TMP/two.yaml" <<YAML
steps:
  a: {run: eval, model: popularity, data: $(of world)data, max-rows: 20}
  b: {run: eval, row: kNN, model: item-knn, data: $(of world)data, max-rows: 20, against: "\${a}/results-test.jsonl"}
YAML
    experiment "$TMP/two.yaml" "$TMP/out" >/dev/null
    rm "$TMP"/out/b-*/step.json
    [ "$(experiment "$TMP/two.yaml" "$TMP/out" --plan | grep '^to do')" = "to do  b" ]
    "$LATENTR3" experiment "$TMP/two.yaml" --out "$TMP/out" --records "$TMP/light"
    [ "$(experiment "$TMP/two.yaml" "$TMP/light" --plan | grep '^to do' | tr '\n' ,)" = "to do  a,to do  b," ]
}

@test "experiment: what has lost its figures is not done, and is made again" {
    cp -r "$WHOLE" "$TMP/out"
    rm "$TMP"/out/eval-popularity-*/eval-test.json "$TMP"/out/eval-knn-*/results-test.jsonl
    rm "$(dirname "$(grep -l 'rl seed=1"' "$TMP"/out/rl-*/step.json)")/metrics.json"
    experiment experiments/small.yaml "$TMP/out" --plan >"$TMP/plan"
    [ "$(sed -n 's/^to do  //p' "$TMP/plan" | sort | tr '\n' ,)" = "eval-knn,eval-popularity,rl seed=1," ]
    experiment experiments/small.yaml "$TMP/out" | cmp - "$WHOLE/table.md"
}

@test "experiment: an input that is not there is named with its line, before anything runs" {
    cat >"$TMP/one.yaml" <<YAML
steps:
  world: {run: synth, items: 60, rows: 400}
  e: {run: eval, data: "\${world}/data",
    model: popularty/x}
YAML
    refuse() { # WHAT
        refuses 4 "*one.yaml: line 4: no file, folder or *: '$1'" experiment "$TMP/one.yaml" "$TMP/out"
        [ ! -e "$TMP/out" ]
    }
    refuse popularty/x
    exits 0 experiment "$TMP/one.yaml" "$TMP/out" --plan
    sed -i 's|popularty/x|popularity, against: none.jsonl|' "$TMP/one.yaml"
    refuse none.jsonl
    # A baseline is one for eval alone.
    sed -i 's|, against: none.jsonl||; s|run: eval|run: sft|' "$TMP/one.yaml"
    refuse popularity
}

@test "experiment: no table while runs are to do; results.json holds the file" {
    printf 'steps:\n  world: {run: synth, items: 60, rows: 400}\n  e: {run: eval, row: r, model: popularity, data: "${world}/data", max-rows: 5}\n' >"$TMP/one.yaml"
    experiment "$TMP/one.yaml" "$TMP/out" >/dev/null
    jq -r .file "$TMP/out/results.json" | head -n -1 | cmp - "$TMP/one.yaml"
    mkdir "$TMP/none"
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
    refuse 'line 1: a mapping is expected*' <<<''
    refuse 'line 3: one document is expected' <<<$'steps:\n  a: {run: synth}\n---\nsteps:\n  b: {run: synth}'
    refuse 'line 5: did not find expected*' <<<$'steps:\n  a: {run: synth}\n---\n[1'
    refuse "line 1: a metric comes twice: 'HR@5'" <<<$'metrics: [HR@5, HR@10, HR@5]\nsteps:\n  a: {run: synth}'
    refuse "line 2: no } behind *" <<<$'steps:\n  a: {run: eval, row: a, model: popularity, data: "${b"}'
    refuse 'line 1: a mapping is expected*' <<<'[1, 2]'
    refuse 'line 1: there are no steps' <<<'name: x'
    refuse 'line 2: did not find expected*' <<<$'grid: {a: [1\nsteps: {'
    refuse "line 1: none of name, grid, *: 'step'" <<<'step: {}'
    refuse "line 2: no \`run: COMMAND\` in the step 'a'" <<<$'steps:\n  a: {model: x}'
    refuse "line 2: none of prepare, *: 'serve'" <<<$'steps:\n  a: {run: serve, model: x}'
    refuse "line 3: eval has no option 'modell'" <<<$'steps:\n  a: {run: eval,\n    modell: x}'
    refuse "line 2: the experiment itself decides 'out'" <<<$'steps:\n  a: {run: synth, out: x}'
    refuse "line 2: the experiment itself decides 'trec-run'" <<<$'steps:\n  a: {run: eval, trec-run: x}'
    refuse "line 1: not for defaults: 'trec-qrels'" <<<$'defaults: {trec-qrels: x}\nsteps:\n  a: {run: synth}'
    refuse "line 2: only an eval makes a row of the table: 'a'" <<<$'steps:\n  a: {run: synth, row: x}'
    refuse "line 3: given twice: 'a'" <<<$'steps:\n  a: {run: synth}\n  a: {run: synth}'
    refuse "line 2: neither a variable nor a step: 'sed'" <<<$'steps:\n  a: {run: synth, seed: "${sed}"}'
    refuse "line 2: needs itself: step 'a'" <<<$'steps:\n  a: {run: eval, model: "${b}", data: x}\n  b: {run: sft, model: "${a}", data: x}'
    refuse "line 2: step a: *--items: '1' is not a whole number from 60*" <<<$'steps:\n  a: {run: synth, items: 1}'
    refuse "line 2: step a: eval: --data is missing*" <<<$'steps:\n  a: {run: eval, model: popularity}'
    refuse "line 1: no eval makes the row that is the baseline: 'x'" <<<$'baseline: x\nsteps:\n  a: {run: synth}'
    refuse "line 1: no metric (HR@K, NDCG@K with K 1, 3, 5, 10, 20; MRR): 'HR@2'" <<<$'metrics: [HR@2]\nsteps:\n  a: {run: synth}'
    refuse "line 1: no metric *: 'MAP'" <<<$'metrics: [MAP]\nsteps:\n  a: {run: synth}'
    refuse "line 1: no command has the option 'thread'" <<<$'defaults: {thread: 1}\nsteps:\n  a: {run: synth}'
    refuse "line 1: true or false is expected for 'strict'" <<<$'defaults: {strict: 1}\nsteps:\n  a: {run: synth}'
    refuse "line 1: a variable's name is of letters*" <<<$'grid: {"../a": [1]}\nsteps:\n  a: {run: synth}'
    refuse "line 1: 1 to 100 values are expected for 'a'" <<<$'grid: {a: []}\nsteps:\n  a: {run: synth}'
    # What would stand there as it is, or do nothing.
    refuse "line 1: only options of steps and defaults may hold *, not 'a'" <<<$'grid: {a: ["${b}"]}\nsteps:\n  b: {run: synth}'
    refuse "line 1: only options of *, not 'name'" <<<$'name: "x ${b}"\nsteps:\n  b: {run: synth}'
    refuse "line 1: only options of *, not 'baseline'" <<<$'baseline: "x ${b}"\nsteps:\n  b: {run: synth}'
    refuse "line 2: only options of *, not 'row'" <<<$'steps:\n  b: {run: eval, row: "${b}"}'
    refuse "line 2: no step uses the variable 'seed'" <<<$'grid:\n  seed: [1, 2]\nsteps:\n  a: {run: synth}'
    refuse "line 3: 's a=1 b=11' and 's a=11 b=1' are the same run" <<<$'grid: {a: [1, 11], b: [11, 1]}\nsteps:\n  s: {run: synth, seed: "${a}${b}"}'
    refuse "line 1: two steps make the row 'r'" <<<$'steps:\n  a: {run: eval, row: r, model: popularity, data: x}\n  b: {run: eval, row: r, model: random, data: x}'
    refuse "line 1: another step's row may be called 'r, k=1'" <<<$'grid: {k: [1, 2]}\nsteps:\n  a: {run: eval, row: r, model: popularity, data: x, seed: "${k}"}\n  b: {run: eval, row: "r, k=1", model: random, data: x}'
    refuse "line 3: true or false is expected, not '1'" <<<$'grid: {a: [true, 1]}\nsteps:\n  b: {run: eval, model: popularity, data: x, exclude-seen: "${a}"}'
    refuses 2 '*a FILE is missing*' "$LATENTR3" experiment --out "$TMP/out"
    refuses 4 '*none.yaml*' experiment "$TMP/none.yaml" "$TMP/out"
}

@test "experiment: a run that fails ends it, with its own message and exit code" {
    mkdir "$TMP/empty"
    printf 'steps:\n  e: {run: eval, row: r, model: popularity, data: %s}\n' "$TMP/empty" >"$TMP/one.yaml"
    LATENTR3_LOG=warn refuses 4 "*e (all it said is in $TMP/out/e-*.log): latentr3: $TMP/empty: holds no info.txt*" experiment "$TMP/one.yaml" "$TMP/out"
    [ ! -e "$TMP/out/table.md" ]
    # What the system kills for memory is no fault of the program; what crashes is.
    printf 'steps:\n  s: {run: sasrec, data: %s, epochs: 10000, no-early-stop: true, warmup: 1}\n' "$(of world)data" >"$TMP/long.yaml"
    for round in 'KILL 5 killed by signal 9 (out of memory?)' 'ABRT 6 ended by signal 6'; do
        read -r signal code said <<<"$round"
        (exec "$LATENTR3" experiment "$TMP/long.yaml" --out "$TMP/out") 2>"$TMP/said" &
        pid=$! status=0
        while [ -z "$(cat "$TMP"/out/s-*.log 2>/dev/null)" ] && kill -0 "$pid"; do sleep 0.02; done
        kill -s "$signal" "$(pgrep -P "$pid")"
        wait "$pid" || status=$?
        [ "$status" -eq "$code" ]
        grep -qF ".log): $said" "$TMP/said"
        rm -r "$TMP/out"
    done
    mkdir "$TMP/out"
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

@test "experiment: evals without a row are told of before the runs" {
    printf 'steps:\n  e: {run: eval, model: popularity, data: %s}\n' "$(of world)data" >"$TMP/no.yaml"
    exits 0 env LATENTR3_LOG=warn "$LATENTR3" experiment "$TMP/no.yaml" --out "$TMP/out" --plan
    says '*no eval has a `row`, so the table will be empty*'
    exits 0 env LATENTR3_LOG=warn "$LATENTR3" experiment experiments/small.yaml --out "$TMP/out" --plan
    [[ $output != *"will be empty"* ]]
}

@test "experiment: the time left is that of the same step, and nothing is said where none is known" {
    cat >"$TMP/x.yaml" <<'YAML'
grid: {seed: [1, 2]}
steps:
  world: {run: synth, seed: "${seed}", items: 60, rows: 400, layers: 1, width: 8}
  e: {run: eval, row: popularity, model: popularity, data: "${world}/data"}
YAML
    experiment "$TMP/x.yaml" "$TMP/run" >"$TMP/whole"
    for mark in "$TMP"/run/world-*/step.json; do
        jq '.seconds = 4000' "$mark" >"$TMP/mark"
        cp "$TMP/mark" "$mark"
    done
    rm "$mark"
    experiment "$TMP/x.yaml" "$TMP/run" 2>"$TMP/log" >"$TMP/table"
    grep -q '\[1/1\] world.*; about 67 min left' "$TMP/log"
    rm "$TMP"/run/world-*/step.json # what was evaluated in a second says nothing of these
    experiment "$TMP/x.yaml" "$TMP/run" 2>"$TMP/log" >"$TMP/table"
    grep -q '\[1/2\] world seed=1$' "$TMP/log"
    cmp "$TMP/table" "$TMP/whole"
}
