#!/usr/bin/env bats
# Training runs that are stopped, killed and resumed leave what one leaves that never stopped.

load common

setup_file() {
    load common
    setup
    export WORLD=$BATS_FILE_TMPDIR
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 1200
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/start" "${quick[@]}" --batch 16 --max-steps 6
}

quick=(--threads 1 --dtype f32 --warmup 2)

# train KIND OUT OPTION...: a run of some twenty steps in which better models are found on the way. With EXEC=exec the program
# takes the place of the subshell, so that a signal to it reaches the program.
train() {
    local out=$2 options
    case $1 in
        sft) options=(sft --model "$WORLD/world/model" --sample 100 --batch 16 --micro-rows 300 --valid-rows 20 --lr 1e-3 --epochs 3) ;;
        lora) options=(sft --model "${START:-$WORLD/start}" --order users --lora-rank 2 --sample 100 --batch 16 --micro-rows 300 --valid-rows 20 --lr 1e-3 --epochs 3) ;;
        rl) options=(rl --model "$WORLD/start" --sample 80 --batch 4 --samples 3 --micro-rows 20 --eval-rows 20 --lr 1e-2 --beta 0.01) ;;
        joint) options=(rl --model "$WORLD/start" --sample 80 --batch 4 --samples 3 --micro-rows 60 --eval-rows 20 --lr 1e-4 --latent-lr 1e-3 --train lora --lora-rank 2 --inner 2 --objective latent --beta 0.01) ;;
        sasrec) options=(sasrec --loss bce --batch 16 --micro-rows 100 --width 16 --epochs 5 --valid-rows 40) ;;
    esac
    [ "${options[0]}" = rl ] || options+=(--no-early-stop)
    shift 2
    ${EXEC:-} "$LATENTR3" "${options[@]}" --data "${DATA:-$WORLD/world/data}" --out "$out" "${quick[@]}" "$@"
}

# The same files, but for times and for what says how often was saved.
same_run() {
    local file
    for file in "$1"/*; do
        file=${file##*/}
        case $file in
            checkpoints | README.md | events.out.*) ;; # the latter holds what curves.csv does, at the times when it was told
            curves.csv) diff <(cut -d, -f1,2,4 "$1/$file" | grep -v tokens_per_s) <(cut -d, -f1,2,4 "$2/$file" | grep -v tokens_per_s) ;;
            log.jsonl) diff <(jq -c 'del(.seconds, .tokens_per_s)' "$1/$file") <(jq -c 'del(.seconds, .tokens_per_s)' "$2/$file") ;;
            metrics.json)
                local times='del(.seconds, .tokens_per_s, .cpu_seconds, .peak_bytes) | .configuration |= del(.out, .resume, .force, .keep, ."save-every", .data)'
                diff <(jq "$times" "$1/$file") <(jq "$times" "$2/$file")
                ;;
            *) cmp "$1/$file" "$2/$file" ;;
        esac || {
            echo "$2/$file is another one"
            return 1
        }
    done
}

# A run that was killed just before it had ended.
unfinished() { jq 'del(.interrupted)' "$1/metrics.json" >"$TMP/metrics" && mv "$TMP/metrics" "$1/metrics.json"; }

steps_of() { cat "$1/log.jsonl" 2>/dev/null | grep -c '"event":"step"' || true; }

# when_at STEPS OUT PID SIGNAL: sends it when so many steps are in the log.
when_at() {
    while [ "$(steps_of "$2")" -lt "$1" ] && kill -0 "$3" 2>/dev/null; do sleep 0.02; done
    kill -s "$4" "$3" 2>/dev/null || true
}

@test "--resume after SIGTERM: sft, adapters, rl, joint rl, sasrec; the same files as without a stop" {
    for kind in sft lora rl joint sasrec; do
        train "$kind" "$TMP/$kind-whole"
        [ ! -e "$TMP/$kind-whole/checkpoints" ]
        for at in 3 9; do
            [ "$(steps_of "$TMP/$kind")" -lt "$at" ] || continue # on a busy machine the first stop may have come late
            (EXEC=exec train "$kind" "$TMP/$kind" --resume 2>"$TMP/said") &
            when_at "$at" "$TMP/$kind" $! TERM
            status=0
            wait $! || status=$?
            [ "$status" -eq 143 ]
            grep -q '^stopping after this step; once more stops at once$' "$TMP/said"
            grep -q "checkpoint at step $(steps_of "$TMP/$kind"); the same command with --resume goes on\$" "$TMP/said"
            [ "$(steps_of "$TMP/$kind")" -ge "$at" ]
            [ -s "$TMP/$kind/checkpoints/latest" ]
        done
        train "$kind" "$TMP/$kind" --resume
        same_run "$TMP/$kind-whole" "$TMP/$kind"
    done
}

@test "one request to stop may come twice, from a terminal that closes, and with nobody left to read; each leaves a checkpoint" {
    stopped() { # STATUS OUT
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq "$1" ]
        [ -s "$2/checkpoints/latest" ]
    }
    for i in 1 2 3; do # timeout(1) sends its signal to the program and to its group
        (EXEC=exec train sft "$TMP/twice-$i" 2>"$TMP/said") &
        pid=$!
        when_at 3 "$TMP/twice-$i" "$pid" TERM
        kill -INT "$pid" 2>/dev/null && kill -TERM "$pid" 2>/dev/null || true
        stopped 143 "$TMP/twice-$i"
        [ "$(grep -c '^stopping after this step' "$TMP/said")" -eq 1 ]
    done
    (EXEC=exec train sft "$TMP/closed" 2>"$TMP/said") &
    pid=$!
    when_at 3 "$TMP/closed" "$pid" HUP
    stopped 129 "$TMP/closed"
    # Who reads stderr ends first, as a `tee` that the same Ctrl-C ends.
    (EXEC=exec train sft "$TMP/tee" 2> >(head -n 1 >/dev/null)) &
    pid=$!
    when_at 3 "$TMP/tee" "$pid" TERM
    stopped 143 "$TMP/tee"
    train sft "$TMP/tee" --resume
    train sft "$TMP/whole"
    same_run "$TMP/whole" "$TMP/tee"
}

@test "signals by the hundred while products run on a stack of their own: the run ends at its checkpoint, unharmed" {
    many() { ${EXEC:-} env DNNL_MAX_CPU_ISA=AVX2 "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" "${quick[@]}" \
        --batch 100 --micro-rows 100000 --valid-rows 4 --no-early-stop --max-steps 3 "$@"; }
    (EXEC=exec many 2>"$TMP/said") &
    when_at 1 "$TMP/run" $! CONT
    python3 -c '
import os, sys, time
end = time.monotonic() + 0.9 # one request, as long as they come within a second
while time.monotonic() < end:
    try: os.kill(int(sys.argv[1]), 15)
    except ProcessLookupError: break
    time.sleep(0.0002)' $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 143 ]
    exits 0 many --resume
}

@test "a best model that cannot be saved ends the run at a checkpoint; with room again it goes on" {
    run_lora() { "$LATENTR3" sft --model "$WORLD/start" --lora-rank 1 --sample 100 --batch 16 --valid-rows 20 --epochs 3 --no-early-stop \
        --data "$WORLD/world/data" --out "$1" "${quick[@]}" "${@:2}"; }
    export LATENTR3 WORLD
    run_lora "$TMP/whole"
    bytes=$(stat -c %s "$TMP/whole/model.safetensors")
    exits 4 bash -c "$(declare -f run_lora); quick=(${quick[*]}); ulimit -f $((bytes / 2048)); run_lora '$TMP/cut'"
    says '*File too large*' || says '*too large*'
    [ -s "$TMP/cut/checkpoints/latest" ]
    [ ! -e "$TMP/cut/model.safetensors" ]
    run_lora "$TMP/cut" --resume
    same_run "$TMP/whole" "$TMP/cut"
}

@test "--resume after kill -9: the log is cut back, the best model is that of the checkpoint" {
    for kind in sft sasrec; do
        train "$kind" "$TMP/$kind-whole"
        for at in 4 8 12 16; do
            (EXEC=exec train "$kind" "$TMP/$kind" --resume --save-every 3) &
            when_at "$at" "$TMP/$kind" $! KILL
            wait $! || true
        done
        rm "$TMP/$kind/model.safetensors" # what the checkpoint keeps is put back, or made again
        train "$kind" "$TMP/$kind" --resume --save-every 3
        same_run "$TMP/$kind-whole" "$TMP/$kind"
        [ "$(ls "$TMP/$kind/checkpoints" | grep -c '^step-')" -eq 2 ]
        # Once more: there is nothing left to do.
        exits 0 train "$kind" "$TMP/$kind" --resume --save-every 3
        same_run "$TMP/$kind-whole" "$TMP/$kind"
    done
}

@test "--resume with other options, other data or another model is refused with one line that names them" {
    train sasrec "$TMP/run" --save-every 5 --max-steps 5
    LATENTR3_LOG=error refuses 2 '*run: its run was another one, so it cannot go on: lr (0.003, now 0.01), max-steps (5, now 20)' \
        train sasrec "$TMP/run" --max-steps 20 --resume --lr 0.01
    LATENTR3_LOG=error refuses 2 '*: dtype ("f32", now "auto")' "$LATENTR3" sasrec --loss bce --batch 16 --micro-rows 100 --width 16 --epochs 5 --valid-rows 40 \
        --no-early-stop --data "$WORLD/world/data" --out "$TMP/run" --threads 1 --warmup 2 --max-steps 5 --resume
    mkdir "$TMP/data"
    cp "$WORLD/world/data"/{train.csv,valid.csv,info.txt} "$TMP/data"
    sed -i '$d' "$TMP/data/train.csv"
    unfinished "$TMP/run"
    DATA=$TMP/data LATENTR3_LOG=error refuses 2 '*cannot go on: category ("book", now "item"), train.csv' \
        train sasrec "$TMP/run" --max-steps 5 --resume
    train lora "$TMP/lora" --save-every 5 --max-steps 5
    START=$WORLD/world/model LATENTR3_LOG=error refuses 2 '*cannot go on: the model' train lora "$TMP/lora" --max-steps 5 --resume
    # The same weights under another configuration, which changes what they compute.
    cp -r "$WORLD/start" "$TMP/turned"
    jq '.rope_theta *= 2' "$WORLD/start/config.json" >"$TMP/turned/config.json"
    START=$TMP/turned LATENTR3_LOG=error refuses 2 '*cannot go on: the configuration' train lora "$TMP/lora" --max-steps 5 --resume
    unfinished "$TMP/lora"
    START=$TMP/turned LATENTR3_LOG=error refuses 2 '*cannot go on: the configuration' train lora "$TMP/lora" --max-steps 5 --resume
    # How often is saved, and where things lie, may change.
    cp -r "$WORLD/start" "$TMP/start"
    START=$TMP/start exits 0 train lora "$TMP/lora" --max-steps 5 --resume --keep 7 --save-every 1
    # A finished run answers for its category and configuration too, as far as it has noted them.
    LATENTR3_LOG=error refuses 2 '*cannot go on: category ("book", now "film")*' train lora "$TMP/lora" --max-steps 5 --resume --category film
    sed -i '/^  "\(category\|configuration_hash\|tokenizer_hash\)":/d' "$TMP/lora/metrics.json"
    START=$TMP/start exits 0 train lora "$TMP/lora" --max-steps 5 --resume
    says '*done already*'
}

@test "--resume: an empty folder, a folder that is no run, a finished run, --force" {
    LATENTR3_LOG=error refuses 2 '*holds no training run*' train sasrec "$WORLD/world/log" --resume
    mkdir "$TMP/run"
    exits 0 train sasrec "$TMP/run" --resume --max-steps 2
    says '*no checkpoint yet*'
    cp -r "$TMP/run" "$TMP/same"
    exits 0 train sasrec "$TMP/run" --resume --max-steps 2 # nothing is left to do
    says '*done already*'
    diff -r "$TMP/run" "$TMP/same"
    LATENTR3_LOG=error refuses 2 '*its run was another one, so it cannot go on: max-steps (2, now 3)' train sasrec "$TMP/run" --resume --max-steps 3
    LATENTR3_LOG=error refuses 2 '*holds a training run: --resume goes on with it, --force begins anew' train sasrec "$TMP/run" --max-steps 2
    exits 0 train sasrec "$TMP/run" --force --max-steps 2 --save-every 1
    exits 0 train sasrec "$TMP/run" --force --max-steps 4
    [ -z "$(ls "$TMP/run/checkpoints")" ] # those of the run before it went
}

@test "--resume of a finished run leaves it, its evaluations and what it has cost; one that goes on adds to the cost" {
    train sasrec "$TMP/run" --save-every 1
    cp "$TMP/run/metrics.json" "$TMP/before.json"
    unfinished "$TMP/run"
    exits 0 train sasrec "$TMP/run" --save-every 1 --resume # one more process, with nothing to do but to end
    jq -e --slurpfile b "$TMP/before.json" '.cpu_seconds > 0.9 * $b[0].cpu_seconds and .peak_bytes >= 0.9 * $b[0].peak_bytes' \
        "$TMP/run/metrics.json"
    "$LATENTR3" eval --model "$TMP/run" --data "$WORLD/world/data" --max-rows 5 --save "$TMP/run"
    cp -r "$TMP/run" "$TMP/same"
    exits 0 train sasrec "$TMP/run" --save-every 1 --resume
    says '*done already*'
    diff -r "$TMP/run" "$TMP/same"
}

@test "--force: until the new run has saved a model the folder has none" {
    cp -r "$WORLD/start" "$TMP/run"
    "$LATENTR3" eval --model "$TMP/run" --data "$WORLD/world/data" --max-rows 2 --threads 1 --save "$TMP/run"
    : >"$TMP/run/log.jsonl"
    anew() { ${EXEC:-} "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" "${quick[@]}" --batch 4 --epochs 1 "$@"; }
    (EXEC=exec anew --force 2>/dev/null) & # it saves after its 200 steps
    when_at 1 "$TMP/run" $! KILL
    wait $! || true
    [ ! -e "$TMP/run/model.safetensors" ]
    [ ! -e "$TMP/run/eval-test.json" ]
    [ ! -e "$TMP/run/README.md" ]
    exits 0 anew --resume
    [ -e "$TMP/run/model.safetensors" ]
}

@test "--resume that begins at the first step: until it has saved a model the folder has none" {
    train sasrec "$TMP/run" --max-steps 4
    "$LATENTR3" eval --model "$TMP/run" --data "$WORLD/world/data" --max-rows 2 --threads 1 --save "$TMP/run"
    unfinished "$TMP/run"
    rm "$TMP/run/curves.csv"
    mkdir "$TMP/run/curves.csv" # it ends there
    exits 4 train sasrec "$TMP/run" --max-steps 4 --resume
    says '*no checkpoint yet, so the run begins at its first step*'
    [ ! -e "$TMP/run/model.safetensors" ]
    [ ! -e "$TMP/run/eval-test.json" ]
}

@test "checkpoints on another file system" {
    [ "$(stat -c %d /dev/shm)" != "$(stat -c %d "$TMP")" ] || skip "/dev/shm is no other file system"
    there=$(mktemp -d /dev/shm/latentr3.XXXXXX)
    mkdir "$TMP/run"
    ln -s "$there" "$TMP/run/checkpoints"
    status=0
    train sasrec "$TMP/run" --max-steps 8 --save-every 3 --force || status=$?
    kept=$(ls "$there")
    rm -r "$there"
    [ "$status" -eq 0 ]
    [ "$kept" = $'latest\nstep-0000000006\nstep-0000000008' ]
}

@test "a damaged checkpoint: the one before it, with a warning; none that holds: exit 3" {
    train sasrec "$TMP/whole" --max-steps 8
    train sasrec "$TMP/run" --max-steps 8 --save-every 3
    ls "$TMP/run/checkpoints" >"$TMP/names"
    diff "$TMP/names" - <<<$'latest\nstep-0000000006\nstep-0000000008'
    state=$TMP/run/checkpoints/step-0000000008/training.state
    byte=$(od -An -tu1 -j5000 -N1 "$state")
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$state" bs=1 seek=5000 conv=notrunc status=none
    unfinished "$TMP/run"
    exits 0 train sasrec "$TMP/run" --max-steps 8 --save-every 3 --resume
    says '*warning:*step-0000000008/training.state: a damaged checkpoint: block 0*goes on after step 6 of 8*'
    same_run "$TMP/whole" "$TMP/run"
    truncate -s 100 "$TMP/run/checkpoints/step-0000000006/training.state"
    truncate -s 0 "$TMP/run/checkpoints/step-0000000008/training.state"
    unfinished "$TMP/run"
    exits 3 train sasrec "$TMP/run" --max-steps 8 --resume
    says '*no checkpoint in it is as it was written*'
}

@test "checkpoints whose log was lost: the run goes on, with a warning" {
    train sasrec "$TMP/run" --max-steps 4 --save-every 2
    cp "$TMP/run/model.safetensors" "$TMP/model"
    unfinished "$TMP/run"
    rm -r "$TMP/run/log.jsonl" "$TMP/run/checkpoints/step-0000000004"
    exits 0 train sasrec "$TMP/run" --max-steps 4 --save-every 2 --resume
    says '*warning:*log.jsonl: not as it was when the checkpoint was made*goes on after step 2 of 4*'
    cmp "$TMP/model" "$TMP/run/model.safetensors"
}

@test "--resume over a log that others have cut or edited: whole lines stay, with a warning, and it can be read" {
    train sasrec "$TMP/run" --max-steps 4 --save-every 2
    unfinished "$TMP/run"
    rm -r "$TMP/run/checkpoints/step-0000000004"
    # The last edit leaves every line where it was.
    for change in 'truncate -s 100' 'sed -i 3d' 'truncate -s 3' 'sed -i y/12/21/'; do
        rm -rf "$TMP/cut" && cp -r "$TMP/run" "$TMP/cut"
        $change "$TMP/cut/log.jsonl"
        exits 0 train sasrec "$TMP/cut" --max-steps 4 --save-every 2 --resume
        says '*warning:*log.jsonl: not as it was when the checkpoint was made*'
        jq -es 'all(.event) and (map(.step) | index(4))' "$TMP/cut/log.jsonl"
        exits 0 "$LATENTR3" report "$TMP/cut" --out "$TMP/page"
    done
}

@test "two runs into one folder: the second is refused" {
    mkdir "$TMP/run"
    exec 9<"$TMP/run"
    flock 9
    LATENTR3_LOG=error refuses 4 '*another command*' train sasrec "$TMP/run" --resume
    exec 9<&-
    exits 0 train sasrec "$TMP/run" --max-steps 1
}
