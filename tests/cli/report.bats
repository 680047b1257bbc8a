#!/usr/bin/env bats
# What there is to look at: curves and event files of a training run, kept evaluations, reports, model cards.

load common

setup_file() {
    load common
    setup
    export WORLD=$BATS_FILE_TMPDIR LATENTR3_LOG=warn
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 1200
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/sft" --threads 1 --batch 16 --lr 1e-2 \
        --warmup 2 --valid-rows 20 --dtype f32 --max-steps 6
}

# The log's finite numbers as the lines of curves.csv.
curves_of() {
    jq -r '. as $e | (if .event == "step" then "train" else .event end) as $curve | to_entries[]
        | select((.value | type) == "number" and .key != "step" and .key != "seconds")
        | [$curve + "/" + .key, $e.step, $e.seconds, .value] | @csv' "$1" | tr -d '"'
}

@test "curves.csv holds every number of the log" {
    # As jq writes numbers on both sides.
    diff <(curves_of "$WORLD/sft/log.jsonl") \
        <(tail -n +2 "$WORLD/sft/curves.csv" | jq -Rr 'split(",") | [.[0], (.[1:][] | tonumber)] | @csv' | tr -d '"')
    [ "$(head -n 1 "$WORLD/sft/curves.csv")" = curve,step,seconds,value ]
    [ "$(grep -c '^train/loss,' "$WORLD/sft/curves.csv")" -eq 6 ]
    grep -q '^validation/loss,0,' "$WORLD/sft/curves.csv"
}

@test "the event file: TensorBoard reads the values of the log" {
    [ "$(ls "$WORLD"/sft/events.out.tfevents.* | wc -l)" -eq 1 ]
    "${LATENTR3_PYTHON:-false}" -c 'import tensorboard' || skip "LATENTR3_PYTHON names no Python with tensorboard"
    exits 0 "$LATENTR3_PYTHON" tests/oracle/check_events.py "$WORLD/sft"
}

@test "a run made anew leaves one event file" {
    cp -r "$WORLD/sft" "$TMP/run"
    mv "$TMP"/run/events.out.tfevents.* "$TMP/run/events.out.tfevents.1.latentr3"
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" --force --threads 1 --batch 8 \
        --valid-rows 5 --dtype f32 --max-steps 1
    [ "$(ls "$TMP"/run/events.out.tfevents.* | wc -l)" -eq 1 ]
    [ ! -e "$TMP/run/events.out.tfevents.1.latentr3" ]
    [ "$(grep -c '^train/loss,' "$TMP/run/curves.csv")" -eq 1 ]
}

evaluate() { # MODEL DIR OPTION...
    "$LATENTR3" eval --model "$1" --data "$WORLD/world/data" --threads 1 --dtype f32 --max-rows 40 --save "$2" --json "${@:3}"
}

@test "eval --save: what --json prints and the results, with hashes, histories and attention" {
    evaluate "$WORLD/sft" "$TMP/kept" >"$TMP/json"
    jq -e --slurpfile printed "$TMP/json" '. as $kept | $printed[0] | to_entries | all(.value == $kept[.key])' "$TMP/kept/eval-test.json"
    jq -e '(.model_hash | length) == 32 and (.data["test.csv"] | length) == 32 and .configuration["max-rows"] == 40
        and (.samples | length) == 12 and all(.samples[]; (.history | length) == (.weights | length)
            and ((.weights | add) + .rest - 1 | fabs) < 1e-3)
        and .attention.rows == 40 and (.attention.positions | length) > 0
        and all(.attention.positions[]; .weight >= 0 and .rows <= 40)' "$TMP/kept/eval-test.json"
    "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/world/data" --threads 1 --dtype f32 --max-rows 40 --results "$TMP/lines"
    cmp "$TMP/lines" "$TMP/kept/results-test.jsonl"
    # Without a thought there is nothing to attend with; a baseline has no weights to hash.
    evaluate popularity "$TMP/popular" --split valid
    jq -e '(has("attention") or has("model_hash") | not) and all(.samples[]; has("weights") | not)' "$TMP/popular/eval-valid.json"
    [ "$(wc -l <"$TMP/popular/results-valid.jsonl")" -eq 40 ]
}

@test "eval --save: refused before any work where it cannot be kept" {
    touch "$TMP/file"
    refuses 4 "*$TMP/file*" evaluate popularity "$TMP/file"
    refuses 2 '*--save keeps the results too*' evaluate popularity "$TMP/kept" --results "$TMP/results"
    [ ! -e "$TMP/kept" ]
}
