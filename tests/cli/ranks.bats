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

# ranks N COMMAND...: by N processes; one is started without mpirun. LAUNCH: options of mpirun, EACH: what starts each process.
ranks() {
    local n=$1
    shift
    if [ "$n" -eq 1 ]; then "$@"; else
        ${EXEC:-} mpirun -q --oversubscribe --bind-to none "${LAUNCH[@]}" -np "$n" "${EACH[@]}" "$@"
    fi
}

# train KIND OUT N OPTION...: STEPS steps (6) by N processes. With EXEC=exec mpirun takes the place of the subshell.
train() {
    local out=$2 n=$3 options
    case $1 in
        sft) options=(sft --model "$WORLD/world/model" --sample 48 --batch 16 --micro-rows 300 --valid-rows 10 --lr 1e-3 --epochs 20 --no-early-stop) ;;
        lora) options=(sft --model "$WORLD/start" --lora-rank 2 --sample 48 --batch 16 --micro-rows 300 --valid-rows 10 --lr 1e-3 --epochs 20 --no-early-stop) ;;
        rl) options=(rl --model "$WORLD/start" --sample 60 --batch 10 --samples 3 --micro-rows 20 --eval-rows 10 --lr 1e-3 --epochs 20) ;;
        joint) options=(rl --model "$WORLD/start" --sample 60 --batch 10 --samples 3 --micro-rows 60 --eval-rows 10 --lr 1e-3 --epochs 20 --train lora --lora-rank 2 --inner 2 --objective latent --beta 0.01) ;;
        sasrec) options=(sasrec --loss bce --batch 16 --micro-rows 100 --width "${WIDTH:-16}" --epochs 60 --valid-rows 40 --no-early-stop) ;;
    esac
    shift 3
    ranks "$n" "$LATENTR3" "${options[@]}" --data "${DATA:-$WORLD/world/data}" --out "$out" "${quick[@]}" --threads "${THREADS:-1}" --max-steps "${STEPS:-6}" "$@"
}

steps_of() { cat "$1/log.jsonl" 2>/dev/null | grep -c '"event":"step"' || true; }

# processes OUT: of the run that writes OUT, on this machine and in its namespaces.
processes() {
    for pid in $(pgrep -f "$LATENTR3 .*--out $1 "); do [ ! "/proc/$pid/exe" -ef "$LATENTR3" ] || echo "$pid"; done
}

# wait_for_steps OUT STEPS: until the run has made so many, or mpirun ($!) is gone.
wait_for_steps() {
    while [ "$(steps_of "$1")" -lt "$2" ] && kill -0 $! 2>/dev/null; do sleep 0.02; done
}

# signal NAME RANK OUT STEPS: to the process of that rank, once the run that writes OUT has made so many steps. $! is mpirun.
signal() {
    local pid
    wait_for_steps "$3" "$4"
    for pid in $(processes "$3"); do
        ! tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$2" || kill -s "$1" "$pid"
    done
}

# all_leave OUT SECONDS: none of the run's processes is left after so long.
all_leave() {
    local i
    for ((i = 0; i < 10 * $2; i++)); do
        [ -n "$(processes "$1")" ] || return 0
        sleep 0.1
    done
    return 1
}

# ends CODE SECONDS: mpirun ends with that code, in that time.
ends() {
    local mpirun=$! status=0
    timeout "$2" tail --pid="$mpirun" -f /dev/null
    wait "$mpirun" || status=$?
    [ "$status" -eq "$1" ] || {
        echo "exit code $status, not $1"
        return 1
    }
    [ -z "$(pgrep -f "$LATENTR3.*$WORLD" || true)" ] # none is left
}

# same WANT GOT: the same model and log.
same() {
    local log='select(.event) | del(.seconds, .tokens_per_s, .seconds_between_ranks)'
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

@test "metrics.json: the processor time of all ranks, those before --resume too" {
    local TIMEFORMAT='%U %S' whole
    whole=$( { time train sft "$TMP/run" 3 --save-every 3 2>/dev/null; } 2>&1)
    for round in 1 2; do
        jq -e --arg t "$whole" '($t | split(" ") | map(tonumber) | add) as $t | .cpu_seconds > 0.6 * $t' "$TMP/run/metrics.json"
        jq 'del(.interrupted)' "$TMP/run/metrics.json" >"$TMP/metrics" && mv "$TMP/metrics" "$TMP/run/metrics.json"
        [ "$round" -eq 2 ] || train sft "$TMP/run" 1 --save-every 3 --resume # with nothing to do but to end
    done
}

@test "gradients of several buckets, which go while the pass back goes on: the same model and log by 1 and 3 ranks" {
    export WIDTH=512
    train sasrec "$TMP/1" 1 --deterministic --layers 4
    train sasrec "$TMP/3" 3 --deterministic --layers 4
    [ "$(stat -c %s "$TMP/1/model.safetensors")" -gt $((2 * (8 << 20))) ]
    same "$TMP/1" "$TMP/3"
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

@test "20 runs of one process with 2 threads: the same model and log" {
    for kind in sft rl; do
        THREADS=2 train "$kind" "$TMP/$kind" 1
        for ((i = 2; i <= 20; i++)); do
            THREADS=2 train "$kind" "$TMP/again" 1 --force
            same "$TMP/$kind" "$TMP/again"
        done
    done
    jq -e '.processor != "" and .libc != "" and (.versions.ops | test("2 threads.*oneDNN"))' "$TMP/sft/metrics.json"
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
    refuses 4 '*nowhere: no such data folder*' ranks 3 "$LATENTR3" eval --model "$WORLD/start" --data "$TMP/nowhere"
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

@test "SIGTERM to any rank: all finish the step, save and end with 143; --resume with more ranks or fewer leaves the same" {
    export STEPS=40
    for kind in sft joint; do
        train "$kind" "$TMP/$kind" 1 --deterministic
        for rank in 0 2; do
            (EXEC=exec train "$kind" "$TMP/$kind-$rank" 3 --deterministic 2>"$TMP/errors") &
            signal TERM "$rank" "$TMP/$kind-$rank" 2
            ends 143 60
            [ ! -s "$TMP/errors" ]
            [ "$(steps_of "$TMP/$kind-$rank")" -lt 40 ]
            train "$kind" "$TMP/$kind-$rank" $((rank + 2)) --deterministic --resume
            same "$TMP/$kind" "$TMP/$kind-$rank"
        done
    done
}

# As under a launcher that leaves the other ranks alone: each one's exit code stands in $TMP/code-RANK.
unattended() {
    printf '#!/bin/sh\n"$@"\necho $? >"%s/code-$OMPI_COMM_WORLD_RANK"\n' "$TMP" >"$TMP/coded"
    chmod +x "$TMP/coded"
    LAUNCH=(--mca orte_enable_recovery 1 --mca orte_abort_on_non_zero_status 0)
    EACH=("$TMP/coded")
}

codes() { cat "$TMP"/code-* | paste -sd' '; }

# Each kill is followed by a resume that is killed too, and the last one is not. In every other run mpirun leaves the others alone.
# SOAK=1 (make soak): 102 kills.
@test "kill -9 of any rank, again and again: the others end within 30 s; --resume leaves the same, without --deterministic too" {
    local kinds=(sft joint rl) kills=0 runs=2 most=0 kind rank began took
    [ -z "${SOAK:-}" ] || runs=34
    export STEPS=60
    RANDOM=29
    for ((i = 0; i < runs; i++)); do
        kind=${kinds[i % 3]}
        [ -e "$TMP/$kind" ] || train "$kind" "$TMP/$kind" 3
        rm -rf "$TMP/run"
        LAUNCH=() EACH=()
        [ $((i % 2)) -eq 0 ] || unattended
        for ((k = 1; k <= 3; k++)); do
            rank=$((RANDOM % 3))
            (EXEC=exec train "$kind" "$TMP/run" 3 --save-every 1 --resume 2>/dev/null) &
            signal KILL "$rank" "$TMP/run" $(((k - 1) * 14 + 1 + RANDOM % 13))
            began=${EPOCHREALTIME/./}
            if [ ${#LAUNCH[@]} -eq 0 ]; then ends 137 30; else all_leave "$TMP/run" 30; fi
            took=$(((${EPOCHREALTIME/./} - began) / 1000)) kills=$((kills + 1))
            most=$((took > most ? took : most))
            wait $! || true
        done
        train "$kind" "$TMP/run" 3 --save-every 1 --resume
        same "$TMP/$kind" "$TMP/run"
    done
    echo "# $kills kills, the others gone after at most $most ms" >&3
}

@test "kill -9 of a rank where nothing ends the others: within 30 s they end with 4 and a line, --resume leaves the same" {
    export STEPS=60
    train sft "$TMP/sft" 3
    unattended
    for rank in 2 0; do
        (EXEC=exec train sft "$TMP/run" 3 --save-every 1 --resume 2>"$TMP/errors") &
        signal KILL "$rank" "$TMP/run" $((12 - rank * 4)) # long before the end, however slow this shell is
        all_leave "$TMP/run" 30
        wait $! || true
        # Rank 0 says it for all others. mpirun may put two ranks' lines before their two line ends.
        [ "$(grep -o "latentr3: rank $rank is lost (its process has ended): the others end too" "$TMP/errors" | wc -l)" -eq $((rank ? 1 : 2)) ]
        [ "$(grep -o 'latentr3: ' "$TMP/errors" | wc -l)" -eq $((rank ? 1 : 2)) ]
        diff <(codes) - <<<"$([ "$rank" -eq 0 ] && echo 137 4 4 || echo 4 4 137)"
    done
    train sft "$TMP/run" 3 --save-every 1 --resume
    same "$TMP/sft" "$TMP/run"
    [ "$(codes)" = "0 0 0" ]
}

@test "updates that are refused are the same ones on 1 and 3 ranks" {
    export STEPS=110
    for n in 1 3; do # a model that hardly moves: half of the losses lie above their median
        run train sasrec "$TMP/$n" "$n" --deterministic --lr 1e-9 --spike 1e-9
        echo "$status $output" >"$TMP/log-$n" # three in a row end it
        jq -c 'del(.seconds, .tokens_per_s, .seconds_between_ranks)' "$TMP/$n/log.jsonl" >>"$TMP/log-$n"
    done
    cmp "$TMP/log-1" "$TMP/log-3"
    grep -q '"refused":true' "$TMP/log-1"
}

# Three network namespaces on a bridge, each with a host name of its own; mpirun reaches them by $TMP/agent in the place of ssh.
network_up() {
    NET=n$BASHPID
    ip link add "$NET" type bridge && ip link set "$NET" up || return 1
    for i in 1 2 3; do
        ip netns add "$NET-$i" && ip link add "$NET-$i" type veth peer name eth0 netns "$NET-$i" || return 1
        ip link set "$NET-$i" master "$NET" up
        ip -n "$NET-$i" addr add "10.77.3.$i/24" dev eth0
        ip -n "$NET-$i" link set eth0 up && ip -n "$NET-$i" link set lo up
    done
    printf '#!/bin/sh\nhost=$1\nshift\nexec ip netns exec $host unshare --uts sh -c "hostname $host; $*"\n' >"$TMP/agent"
    chmod +x "$TMP/agent"
}

teardown() { # a test that failed may have left a run
    processes "$TMP/run" | xargs -r kill -9
    [ -z "${NET:-}" ] || {
        for i in 1 2 3; do
            ip netns pids "$NET-$i" | xargs -r kill -9
            ip netns del "$NET-$i"
        done
        ip link del "$NET"
    } 2>/dev/null || true
}

has_network() { [ "$(id -u)" -eq 0 ] && command -v ip unshare >/dev/null && network_up 2>/dev/null; }

network_ranks() {
    local n=$1
    shift
    if [ "$n" -eq 1 ]; then "$@"; else
        ${EXEC:-} ip netns exec "$NET-1" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$NET-1" mpirun -q --mca plm_rsh_agent "$TMP/agent" \
            --mca btl tcp,self --bind-to none -host "$NET-1,$NET-2,$NET-3" -np "$n" "${EACH[@]}" "$@"
    fi
}

@test "three machines (network namespaces): the bits of one process; one rank or one machine's daemon killed ends all within 30 s" {
    has_network || skip "needs root, ip and network namespaces"
    ranks() { network_ranks "$@"; }
    for kind in sft rl; do
        train "$kind" "$TMP/$kind" 1 --deterministic
        train "$kind" "$TMP/$kind-3" 3 --deterministic
        same "$TMP/$kind" "$TMP/$kind-3"
    done
    export STEPS=40
    for victim in latentr3 orted; do
        (EXEC=exec train sft "$TMP/$victim" 3 --deterministic --save-every 1 2>/dev/null) &
        wait_for_steps "$TMP/$victim" 3
        kill -9 "$(ip netns pids "$NET-2" | xargs -r ps -o pid=,args= -p | awk -v name="$victim" '$2 ~ name "$" { print $1; exit }')"
        timeout 30 tail --pid=$! -f /dev/null
        for i in 1 2 3; do [ -z "$(ip netns pids "$NET-$i")" ]; done
    done
}

@test "a machine is cut off: the ranks on both sides end within 30 s with 4 and a line, --resume leaves the same" {
    has_network || skip "needs root, ip and network namespaces"
    ranks() { network_ranks "$@"; }
    export STEPS=40
    train sft "$TMP/sft" 3
    unattended
    (EXEC=exec train sft "$TMP/run" 3 --save-every 1 2>"$TMP/errors") &
    wait_for_steps "$TMP/run" 3
    ip link set "$NET-2" down
    all_leave "$TMP/run" 30
    sleep 1
    [ "$(codes)" = "4 4 4" ]
    [ "$(grep '^latentr3: ' "$TMP/errors")" = "latentr3: rank 1 is lost (Connection timed out): the others end too" ]
    for i in 1 2 3; do ip netns pids "$NET-$i" | xargs -r kill -9; done # mpirun and its daemons wait for each other
    wait $! || true
    ip link set "$NET-2" up
    train sft "$TMP/run" 3 --save-every 1 --resume
    same "$TMP/sft" "$TMP/run"
}
