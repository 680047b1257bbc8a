#!/usr/bin/env bats
# What a training run leaves to look at: curves, event files.

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
