#!/usr/bin/env bats
# Training runs that are killed in the middle of a call, or whose calls fail: the last checkpoint holds, and --resume leaves what a
# run leaves that nothing happened to. A sample of all places; SOAK=1 (make soak) visits each, or many more.

load common

setup_file() {
    load common
    setup
    SHIM=$(dirname "$LATENTR3")/faults.so
    [ -e "$SHIM" ] || return 0
    # In memory where that can be had: it is the calls that count, not the disk.
    WORLD=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "$BATS_FILE_TMPDIR")")
    export WORLD LATENTR3_LOG=error
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 600 --layers 2 --width 16
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/start" "${quick[@]}" --max-steps 2
    for kind in "${kinds[@]}"; do train "$kind" "$WORLD/want-$kind"; done
    for kind in "${kinds[@]}"; do STEPS=2 train "$kind" "$WORLD/want-2-$kind"; done
}

teardown_file() { [ -z "${WORLD:-}" ] || rm -rf "$WORLD"; }

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit 1
    LATENTR3=${LATENTR3:-$PWD/build/latentr3}
    SHIM=$(dirname "$LATENTR3")/faults.so
    RANDOM=17
    [ -e "$SHIM" ] || [ -z "${BATS_TEST_NAME:-}" ] || skip "built without tests/shim/faults.c"
    # Where the shim is missing there is no WORLD, and what is below it must not be removed.
    [ -z "${WORLD:-}" ] || RUN=$WORLD/run
}

teardown() { [ -z "${RUN:-}" ] || rm -rf "$RUN"; }

kinds=(sasrec sft lora rl)
quick=(--threads 1 --dtype f32 --warmup 2)

# train KIND OUT OPTION...: six steps (or STEPS), better models on the way, a checkpoint after each.
train() {
    local out=$2 options
    small_training "$1" "$WORLD/world/model" "$WORLD/start"
    shift 2
    ${EXEC:-} "$LATENTR3" "${options[@]}" --data "$WORLD/world/data" --out "$out" "${quick[@]}" --max-steps "${STEPS:-6}" --save-every "${EVERY:-1}" --keep $((STEPS ? 1 : 2)) "$@"
}

# faulty KIND OPTION...: the same into $RUN under the shim, which FAULTS_* steer.
faulty() { FAULTS_COUNT=$WORLD/count EXEC="env LD_PRELOAD=$SHIM" train "$1" "$RUN" "${@:2}"; }

# calls_of KIND: how many calls on files of $WORLD one run makes.
calls_of() {
    rm -rf "${RUN:?}"
    FAULTS_CALLS=${FAULTS_CALLS:-all} FAULTS_UNDER=${FAULTS_UNDER:-$WORLD} faulty "$1"
    head -n 1 "$WORLD/count" | cut -d' ' -f1
}

# same KIND: the run has left the model and the log of one that nothing happened to.
same() {
    local log='select(.event) | del(.seconds, .tokens_per_s)'
    local want=$WORLD/want-${STEPS:+$STEPS-}$1
    cmp "$want/model.safetensors" "$RUN/model.safetensors" && cmp <(jq -c "$log" "$want/log.jsonl") <(jq -c "$log" "$RUN/log.jsonl")
}

# ends_well KIND WHAT: it does so when it is resumed.
ends_well() {
    train "$1" "$RUN" --resume && same "$1" || {
        echo "$2: another end"
        return 1
    }
}

@test "kill -9 in the middle of a save, again and again: the same model and log" {
    kills=0
    for kind in "${kinds[@]}"; do
        all=$(FAULTS_UNDER=$RUN/checkpoints calls_of "$kind")
        for ((chain = 0; chain < ${SOAK:+5} + 1; chain++)); do
            rm -rf "${RUN:?}"
            status=137
            before=
            while [ "$status" -eq 137 ]; do
                status=0
                FAULTS_CALLS=all FAULTS_UNDER=$RUN/checkpoints FAULTS_HOW=KILL FAULTS_AT=$((RANDOM % (all / 2) + 1)) faulty "$kind" --resume || status=$?
                [ "$status" -ne 137 ] || kills=$((kills + 1))
                # It never names one that is not there, nor an earlier one.
                latest=$(cat "$RUN/checkpoints/latest" 2>/dev/null || true)
                [[ ! $latest < $before ]]
                [ -z "$latest" ] || [ -s "$RUN/checkpoints/$latest/training.state" ]
                before=$latest
            done
            [ "$status" -eq 0 ]
            ends_well "$kind" "killed in saves"
        done
    done
    echo "# killed $kills times inside a save" >&3
    [ "$kills" -ge 8 ]
}

@test "kill -9 at any moment, again and again: the same model and log" {
    kills=0
    for kind in "${kinds[@]}"; do
        for ((chain = 0; chain < ${SOAK:+19} + 1; chain++)); do
            rm -rf "${RUN:?}"
            landed=0
            for ((tries = 0; landed < 3 && tries < 60; tries++)); do
                (EXEC=exec train "$kind" "$RUN" --resume) &
                sleep 0.$(printf %03d $((RANDOM % (400 >> tries / 10) + 20)))
                if kill -s KILL $! 2>/dev/null; then landed=$((landed + 1)); else rm -rf "$RUN"; fi # it was done before
                wait $! || true
            done
            kills=$((kills + landed))
            ends_well "$kind" "killed at any moment"
        done
    done
    echo "# killed $kills times at any moment" >&3
    [ "$kills" -ge 3 ]
}

# visit KIND CODE STRIDE: training fails at every STRIDE-th call or allocation, as FAULTS_* say (SOAK: at each to which another way through
# the code has led): that exit code and one line, or nothing lost; and then it is resumed. All that is wrong is told; `failed` counts it,
# `points` the places.
visit() {
    local kind=$1 code=$2 all at n status told
    all=$(FAULTS_PLACES=1 calls_of "$kind")
    mapfile -t at < <(if ((SOAK)); then tail -n +2 "$WORLD/count"; else seq $((RANDOM % $3 + 1)) "$3" "$all"; fi)
    echo "# $kind, ${FAULTS_HOW:-$FAULTS_CALLS}: ${#at[@]} of $all" >&3
    for n in "${at[@]}"; do
        rm -rf "${RUN:?}"
        status=0
        FAULTS_AT=$n faulty "$kind" >"$WORLD/told" 2>&1 || status=$?
        told="$kind, ${FAULTS_HOW:-$FAULTS_CALLS} $n ($(cat "$WORLD/count")): exit $status, $(cat "$WORLD/told")"
        points=$((points + 1))
        # libgomp puts an empty line before its own.
        case $status:$(grep -c . "$WORLD/told"):$(cut -d' ' -f2 "$WORLD/count") in
            "$code:1:"*) ends_well "$kind" "$told" ;;
            0:0:fsync) echo "a flush that failed is passed over" && false ;;
            0:0:*) same "$kind" && ends_well "$kind" "$told" ;; # it was made good
            *) false ;;
        esac >"$WORLD/wrong" 2>&1 || {
            failed=$((failed + 1))
            printf '# %s\n' "$told" >&3
            sed 's/^/#     /' "$WORLD/wrong" >&3
        }
    done
}

@test "a call that fails, each in turn: exit 4 and one line, or nothing lost; the checkpoint before it holds" {
    points=0 failed=0
    export STEPS=2 FAULTS_CALLS=all FAULTS_UNDER=$WORLD FAULTS_HOW
    for kind in sasrec ${SOAK:+sft rl}; do
        for FAULTS_HOW in ENOSPC EIO EINTR SHORT; do visit "$kind" 4 13; done
    done
    echo "# $points calls failed" >&3
    [ "$failed" -eq 0 ]
}

@test "a disk that is full from some call on, and then has room again" {
    points=0 failed=0
    export STEPS=2 FAULTS_CALLS=write,mkdir,link,truncate FAULTS_UNDER=$RUN FAULTS_HOW=ENOSPC FAULTS_ON=1
    for kind in sasrec ${SOAK:+sft rl}; do visit "$kind" 4 5; done
    echo "# $points times full" >&3
    [ "$failed" -eq 0 ]
}

@test "a line of the log or of the curves that cannot be written: exit 4, a checkpoint, and --resume goes on with all lines" {
    export FAULTS_CALLS=write FAULTS_HOW=ENOSPC
    for kind in sasrec sft; do
        for at in 1 3 7; do # the first validation, which has no checkpoint yet; a step; the last step or its validation
            for file in log.jsonl curves.csv events.out; do
                rm -rf "${RUN:?}"
                FAULTS_UNDER=$RUN/$file FAULTS_AT=$at EVERY=0 exits 4 faulty "$kind"
                says "latentr3: *$file*: No space left on device"
                [ "${#lines[@]}" -eq 1 ]
                not jq -e .steps "$RUN/metrics.json"
                [ "$at" -eq 1 ] || [ -s "$RUN/checkpoints/latest" ]
                EVERY=0 train "$kind" "$RUN" --resume
                same "$kind"
            done
        done
    done
}

@test "an allocation that fails: exit 5 and one line; the checkpoint before it holds" {
    points=0 failed=0
    export STEPS=2 FAULTS_CALLS=alloc
    for kind in sasrec ${SOAK:+sft rl}; do visit "$kind" 5 53; done
    echo "# $points allocations failed" >&3
    [ "$failed" -eq 0 ]
}

@test "a file system that has no locks and cannot flush a folder: a warning, and the same run" {
    export FAULTS_UNDER=$WORLD FAULTS_AT=1 FAULTS_ON=1
    FAULTS_CALLS=flock FAULTS_HOW=ENOSYS LATENTR3_LOG=warn faulty sasrec 2>"$WORLD/said"
    grep -q 'warning: .*/run: its file system has no locks' "$WORLD/said"
    same sasrec
    rm -rf "$RUN"
    FAULTS_CALLS=folder FAULTS_HOW=EINVAL faulty sasrec
    same sasrec
}

@test "a file that is cut short while it is read: exit 4 and one line" {
    for file in world/model/model.safetensors world/model/tokenizer.json world/data/info.txt; do
        cp -r "$WORLD/world" "$RUN"
        FAULTS_CALLS=mmap FAULTS_UNDER=$RUN/${file#world/} FAULTS_HOW=CUT FAULTS_AT=1 LD_PRELOAD=$SHIM \
            refuses 4 "latentr3: a file was cut short while it was read*" "$LATENTR3" recommend --model "$RUN/model" --data "$RUN/data" --history x
        rm -rf "${RUN:?}"
    done
}

@test "the shim finds a flush that is tried again" {
    cat >"$WORLD/again.c" <<'CODE'
#include <fcntl.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int fd = open(argv[argc - 1], O_WRONLY | O_CREAT, 0666);
    return fsync(fd) && fsync(fd);
}
CODE
    cc -o "$WORLD/again" "$WORLD/again.c"
    run env FAULTS_CALLS=fsync FAULTS_UNDER="$WORLD" FAULTS_AT=1 LD_PRELOAD="$SHIM" "$WORLD/again" "$WORLD/file"
    [ "$status" -eq 99 ]
    run env FAULTS_CALLS=fsync FAULTS_UNDER="$WORLD" FAULTS_AT=9 LD_PRELOAD="$SHIM" "$WORLD/again" "$WORLD/file"
    [ "$status" -eq 0 ]
}

@test "prepare that is killed among its renames, or finds no room for dataset.json: the same command again makes the folder" {
    local want=$WORLD/world/data
    again() { "$LATENTR3" prepare --data "$WORLD/world/log" --category book --item-ids number --out "$RUN" "$@"; }
    again
    for name in train.csv valid.csv test.csv info.txt; do cmp "$want/$name" "$RUN/$name"; done
    want=$WORLD/prepared
    mv "$RUN" "$want"
    for fault in 'rename 1 KILL' 'rename 2 KILL' 'rename 3 KILL' 'rename 5 KILL' 'write 1 ENOSPC' 'write 5 ENOSPC' 'write 9 ENOSPC' 'fsync 3 KILL'; do
        rm -rf "$RUN"
        set -- $fault
        FAULTS_CALLS=$1 FAULTS_AT=$2 FAULTS_HOW=$3 FAULTS_UNDER=$RUN FAULTS_COUNT=$WORLD/count LD_PRELOAD=$SHIM again 2>/dev/null || true
        # Whatever is there is no whole folder that is another one.
        [ ! -e "$RUN/dataset.json" ] || cmp "$RUN/dataset.json" "$want/dataset.json"
        again --force
        diff -r "$want" "$RUN"
    done
    rm -rf "$want"
}
