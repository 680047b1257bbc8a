#!/usr/bin/env bats
# Several processes under mpirun, on one machine: what they make is what one process makes, and they end together.

load common

setup_file() {
    load common
    setup
    there || return 0
    export WORLD=$BATS_FILE_TMPDIR LATENTR3_LOG=error
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 600
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/start" "${quick[@]}" --threads 1 --batch 16 --max-steps 3
}

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit 1
    LATENTR3=${LATENTR3:-$PWD/build/latentr3}
    TMP=$BATS_TEST_TMPDIR
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # as root in a container
    there || [ -z "${BATS_TEST_NAME:-}" ] || skip "no mpirun, or built without OpenMPI"
}

there() { command -v mpirun >/dev/null && [ -e "$(dirname "$LATENTR3")/latentr3_mpi.so" ]; }

quick=(--dtype f32 --warmup 2)
kinds=(sft lora rl joint sasrec)

# ranks N COMMAND...: by N processes; one is started without mpirun.
ranks() {
    local n=$1
    shift
    if [ "$n" -eq 1 ]; then "$@"; else mpirun -q --oversubscribe --bind-to none -np "$n" "$@"; fi
}

# train KIND OUT N OPTION...: six steps by N processes.
train() {
    local out=$2 n=$3 options
    case $1 in
        sft) options=(sft --model "$WORLD/world/model" --sample 48 --batch 16 --micro-rows 300 --valid-rows 10 --lr 1e-3 --epochs 2 --no-early-stop) ;;
        lora) options=(sft --model "$WORLD/start" --lora-rank 2 --sample 48 --batch 16 --micro-rows 300 --valid-rows 10 --lr 1e-3 --epochs 2 --no-early-stop) ;;
        rl) options=(rl --model "$WORLD/start" --sample 60 --batch 10 --samples 3 --micro-rows 20 --eval-rows 10 --lr 1e-3) ;;
        joint) options=(rl --model "$WORLD/start" --sample 60 --batch 10 --samples 3 --micro-rows 60 --eval-rows 10 --lr 1e-3 --train lora --lora-rank 2 --inner 2 --objective latent --beta 0.01) ;;
        sasrec) options=(sasrec --loss bce --batch 16 --micro-rows 100 --width 16 --epochs 2 --valid-rows 40 --no-early-stop) ;;
    esac
    shift 3
    ranks "$n" "$LATENTR3" "${options[@]}" --data "${DATA:-$WORLD/world/data}" --out "$out" "${quick[@]}" --threads "${THREADS:-1}" --max-steps 6 "$@"
}

# same WANT GOT: the same model and log.
same() {
    local log='select(.event) | del(.seconds, .tokens_per_s, .tokens)'
    cmp "$1/model.safetensors" "$2/model.safetensors"
    diff <(jq -c "$log" "$1/log.jsonl") <(jq -c "$log" "$2/log.jsonl")
}

@test "--deterministic: the same model and log by 1, 2, 3 and 4 ranks, and with 2 threads" {
    for kind in "${kinds[@]}"; do
        train "$kind" "$TMP/$kind" 1 --deterministic
        for n in 2 3 4; do
            train "$kind" "$TMP/$kind-$n" "$n" --deterministic
            same "$TMP/$kind" "$TMP/$kind-$n"
            [ "$(jq .ranks "$TMP/$kind-$n/metrics.json")" -eq "$n" ]
        done
        THREADS=2 train "$kind" "$TMP/$kind-threads" 2 --deterministic
        same "$TMP/$kind" "$TMP/$kind-threads"
    done
}

@test "without it: the same model and log again from as many ranks, and nearly those of one" {
    for kind in "${kinds[@]}"; do
        train "$kind" "$TMP/$kind-1" 1
        train "$kind" "$TMP/$kind-a" 2
        train "$kind" "$TMP/$kind-b" 2
        same "$TMP/$kind-a" "$TMP/$kind-b"
        diff <(ls "$TMP/$kind-1" | grep -v events) <(ls "$TMP/$kind-a" | grep -v events)
        # Sums in another order: the first loss and gradient agree to seven digits.
        jq -es '[.[] | map(select(.event == "step"))[0]] | .[0] as $a | .[1] as $b |
            ((($a.gradient_norm - $b.gradient_norm) / $a.gradient_norm) | fabs) < 1e-6 and (($a.loss - $b.loss) | fabs) < 1e-6' \
            <(jq -s . "$TMP/$kind-1/log.jsonl") <(jq -s . "$TMP/$kind-a/log.jsonl")
    done
}

@test "eval by 1, 2, 3 and 4 ranks: the same lists and numbers, by beams, with the thought test, of a SASRec and of baselines" {
    train sasrec "$TMP/sasrec" 1
    local no_times='del(.seconds, .seconds_per_user, .model_calls, .beam_rows)'
    for model in "$WORLD/start" "$TMP/sasrec" popularity; do
        local more=()
        [ "$model" != "$WORLD/start" ] || more=(--thought-test)
        for n in 1 2 3 4; do
            ranks "$n" "$LATENTR3" eval --model "$model" --data "$WORLD/world/data" --threads 1 --dtype f32 --results "$TMP/$n.jsonl" \
                --batch 5 --json "${more[@]}" | jq -S "$no_times" >"$TMP/$n.json"
            cmp "$TMP/1.jsonl" "$TMP/$n.jsonl"
            diff "$TMP/1.json" "$TMP/$n.json"
        done
    done
    [ "$(jq .rows "$TMP/1.json")" -eq "$(wc -l <"$TMP/1.jsonl")" ]
}

@test "a bad option, a missing file, other options, other data, other threads: one line, one exit code, nothing written" {
    refuses 2 "latentr3: sft: unknown option 'dat'; did you mean --data?" ranks 2 "$LATENTR3" sft --model "$WORLD/start" --dat x --out "$TMP/out"
    refuses 4 '*nowhere/info.txt: No such file*' ranks 3 "$LATENTR3" eval --model "$WORLD/start" --data "$TMP/nowhere"
    refuses 2 '*8 shares: at most so many ranks' train sasrec "$TMP/out" 9 --deterministic
    mkdir "$TMP/data"
    cp "$WORLD/world/data"/{train.csv,valid.csv,info.txt,dataset.json} "$TMP/data"
    sed -i '$d' "$TMP/data/train.csv"
    local common=(sasrec --data "$WORLD/world/data" --out "$TMP/out" "${quick[@]}" --max-steps 1)
    refuses 3 'latentr3: rank 1: *train.csv: not the file that dataset.json describes*' \
        mpirun -q --oversubscribe --bind-to none -np 1 "$LATENTR3" "${common[@]}" : -np 1 "$LATENTR3" "${common[@]/"$WORLD/world/data"/"$TMP/data"}"
    rm "$TMP/data/dataset.json"
    refuses 2 'latentr3: rank 1: not the same as at rank 0: lr (0.003, here 0.01)*, train.csv' \
        mpirun -q --oversubscribe --bind-to none -np 1 "$LATENTR3" "${common[@]}" --threads 1 : \
        -np 1 "$LATENTR3" "${common[@]/"$WORLD/world/data"/"$TMP/data"}" --threads 1 --lr 0.01
    refuses 2 'latentr3: rank 2: not the same as at rank 0: ops (*1 threads*2 threads*' \
        mpirun -q --oversubscribe --bind-to none -np 2 "$LATENTR3" "${common[@]}" --threads 1 : -np 1 "$LATENTR3" "${common[@]}" --threads 2
    [ ! -e "$TMP/out" ]
}
