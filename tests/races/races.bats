#!/usr/bin/env bats
# Under ThreadSanitizer (make tsan): training and serving on several threads without a report, and planted races that are found.
# OpenMP's barriers are known to it by libomp's archer; what libraries built without it do among themselves is not looked at.

load ../cli/common

setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world LATENTR3_LOG=error OMP_WAIT_POLICY=passive
    export TSAN_OPTIONS="ignore_noninstrumented_modules=1 history_size=7 io_sync=0 halt_on_error=1 exitcode=66 report_thread_leaks=0"
    "$LATENTR3" synth --out "$WORLD" --items 60 --rows 600
    "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" --out "$WORLD/start" "${quick[@]}" --max-steps 2 --dtype f32
}

quick=(--warmup 2)

# train KIND OPTION...: six steps, a checkpoint written beside each.
train() {
    local options
    WIDTH=16 small_training "$1" "$WORLD/model" "$WORLD/start"
    rm -rf "$TMP/run"
    "${PROGRAM:-$LATENTR3}" "${options[@]}" --data "$WORLD/data" --out "$TMP/run" "${quick[@]}" --max-steps 6 --save-every 1 "${@:2}"
}

@test "training at 2 and 4 threads, checkpoints in the background" {
    for threads in 2 4; do
        for kind in sasrec sft lora rl; do exits 0 train "$kind" --threads "$threads" --dtype f32; done
        exits 0 train sft --threads "$threads" --dtype auto --recompute # bf16 where the machine has it
    done
}

@test "eval on 4 threads, the catalogue built and read" {
    for _ in 1 2; do exits 0 "$LATENTR3" eval --model "$WORLD/start" --data "$WORLD/data" --index "$TMP/index" --sample 8 --threads 4 --dtype f32; done
}

@test "ranks as threads of one process, each with its courier: buckets go while the pass back goes on" {
    exits 0 "${LATENTR3%/*}/test_ranks"
}

@test "a server on 2 threads: broken requests, slow clients, reloads and catalogue changes under load, ends" {
    LATENTR3_LOG=info SOAK_THREADS=2 exits 0 python3 tests/soak.py "$LATENTR3" "$WORLD/model" "$WORLD/data" 0.002
}

@test "the library: handles shared by threads, and each thread's own" {
    "$LATENTR3" synth --out "$TMP/world" --items 120 --rows 1500
    exits 0 "${LATENTR3%/*}/library_check" check "$TMP/world/model" "$TMP/world/data"
}

@test "planted races are found: a shared scratch arena, a save changed under way, a queue without its lock" {
    PROGRAM=$LATENTR3-races exits 66 train sft --threads 2 --dtype f32
    says '*data race*op_rmsnorm_forward*'
    PROGRAM=$LATENTR3-races exits 66 train sft --threads 1 --dtype f32
    says '*data race*start_thread*'
    "$LATENTR3-races" serve --model "$WORLD/model" --data "$WORLD/data" --threads 1 --port 0 >"$TMP/url" 2>"$TMP/told" 3>&- &
    server=$!
    for _ in {1..600}; do [ ! -s "$TMP/url" ] || break; sleep 0.05; done
    curl -s "$(cat "$TMP/url")v1/recommend" --json '{"history_ids": ["2"]}' >"$TMP/body" || true
    kill "$server" 2>/dev/null || true
    status=0
    wait "$server" || status=$?
    [ "$status" -eq 66 ]
    grep -q 'data race.*queue_' "$TMP/told"
}
