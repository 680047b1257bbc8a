#!/usr/bin/env bash
# What only a GPU can show, on a machine that has one and need have nothing else of ours: no network, no packages, no compiler.
# All of it within nine minutes. Better in two goes, so that there is time to mend what the first finds:
#   BUDGET=170 SHAPE=none tools/gpu_check.sh ops golden bits
#   BUDGET=330 tools/gpu_check.sh bench sanitize
#   tools/gpu_check.sh pack        here: build/gpu.tar.xz, from what cmake --preset cuda built, and the libraries it needs
#   tools/gpu_check.sh [PART...]   there, beside build/gpu.tar.xz: results under $OUT (gpu_check), written as they come; the last
#                                  line says what failed. No part stops those behind it
# Parts, in order of what they are worth: ops golden bits bench sanitize peer; all of them where none is named. BUDGET: seconds for
# all (540); what no longer fits is left out and said so.
# cuBLASLt and the driver are the machine's own: cuBLASLt is looked for beside PyTorch, in CUDA's folders, then everywhere.
# bench/make_shape.py, which needs numpy, makes the shape that is timed (SHAPE, qwen2.5-1.5b; none: the small model alone). PEER:
# peer_bench.py, for the same work in PyTorch. DEVICE=cpu runs the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
ops="test_ops test_device test_layers test_attention test_sasrec_ops"
golden="test_sft test_rl test_segments test_sasrec test_lora test_frozen test_recompute test_steps test_score"

if [ "${1:-}" = pack ]; then
    set -e
    build=${BUILD:-build/cuda}
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mkdir "$folder/lib"
    for program in latentr3 $ops $golden; do strip -o "$folder/$program" "$build/$program"; done
    # All but what is part of the system's loader, and CUDA.
    for program in "$folder"/*; do [ -d "$program" ] || ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux-x86-64)\.so|libcublas' | xargs -I{} cp -L {} "$folder/lib"
    tar -C "$folder" -cf - . | xz -T0 >build/gpu.tar.xz
    ls -l build/gpu.tar.xz
    exit
fi

parts=" ${*:-ops golden bits bench sanitize peer} "
device=${DEVICE:-cuda} shape=${SHAPE:-qwen2.5-1.5b} end=$((SECONDS + ${BUDGET:-540}))
out=$(realpath -m "${OUT:-gpu_check}")
work=$(mktemp -d)
mkdir -p "$out" "$work/bin"
PATH=$PATH:/usr/local/cuda/bin
export LATENTR3_DEVICE=$device OMP_WAIT_POLICY=passive
failed=()
for file in summary.txt log.txt bench.jsonl; do : >"$out/$file"; done
background=()
trap 'kill "${background[@]}" 2>/dev/null; rm -rf "$work"' EXIT

if command -v xz >/dev/null; then # else Python's
    tar -C "$work/bin" -xJf build/gpu.tar.xz || exit 1
else
    python3 -m tarfile -e build/gpu.tar.xz "$work/bin" || exit 1
fi
for library in "$work"/bin/lib/*; do # what the machine has is as new as its other programs want it
    ! ldconfig -p | grep -F "$(basename "$library") " >/dev/null || rm "$library"
done
torch=$(python3 -c 'import importlib.util as u, os; print(os.path.dirname(os.path.dirname(u.find_spec("torch").origin)))' 2>/dev/null)
lt=$(ldd "$work/bin/latentr3" | awk '/libcublasLt/ { print $1 }')
if [ -n "$lt" ]; then
    found=$(find ${torch:+"$torch/nvidia"} /usr/local/cuda*/targets/*/lib /usr/local/cuda*/lib* -follow -maxdepth 4 -name "$lt" 2>/dev/null | head -n 1)
    [ -n "$found" ] || found=$(find / -name "$lt" -not -path '/proc/*' 2>/dev/null | head -n 1)
fi
libraries=$work/bin/lib${found:+:$(dirname "$found")}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # the driver may be found by it alone

{
    date
    nvidia-smi || echo "no nvidia-smi"
    echo "cuBLASLt: ${found:-none}"
    LD_LIBRARY_PATH=$libraries ldd "$work/bin/latentr3" | grep 'not found'
} >"$out/device.txt" 2>&1
cat "$out/device.txt"

# The most of the GPU's memory that was in use, looked at each second.
nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -l 1 >>"$work/memory" 2>/dev/null &
background+=($!)

# step NAME SECONDS COMMAND...: its output in log.txt, its JSON in bench.jsonl, a line in summary.txt
step() {
    local name=$1 left=$((end - SECONDS)) seconds=$2 start=$SECONDS status
    shift 2
    if [ "$left" -lt 8 ]; then
        failed+=("$name")
        echo "$name: left out, no time" | tee -a "$out/summary.txt"
        return 1
    fi
    [ "$seconds" -lt "$left" ] || seconds=$left
    : >"$work/memory"
    timeout -k 5 "$seconds" "$@" >"$work/output" 2>&1
    status=$?
    [ $status -eq 0 ] || failed+=("$name")
    echo "$name: exit $status, $((SECONDS - start)) s, GPU memory $(sort -n "$work/memory" | tail -n 1) MiB" | tee -a "$out/summary.txt"
    {
        printf '\n=== %s\n' "$name"
        head -c 400000 "$work/output"
    } >>"$out/log.txt"
    [ $status -eq 0 ] || tail -n 15 "$work/output"
    grep -h '^{' "$work/output" | tee -a "$out/bench.jsonl"
    return $status
}
has() { [[ $parts == *" $1 "* ]]; }
there() { # PROGRAM: whether the GPU's tool is
    [ "$device" = cuda ] || return 1
    command -v "$1" >/dev/null || { echo "$1: not on this machine" | tee -a "$out/summary.txt" && return 1; }
}
sanitizer() { # NAME SECONDS TOOL PROGRAM [OPTION...]
    ! there compute-sanitizer ||
        step "$1" "$2" env "LD_LIBRARY_PATH=$libraries" compute-sanitizer --tool "$3" --print-limit 20 --error-exitcode 9 "$work/bin/$4" "${@:5}"
}

latentr3=$work/bin/latentr3 model=$work/synth/model data=$work/synth/data
step synth 60 env "LD_LIBRARY_PATH=$libraries" LATENTR3_DEVICE=cpu "$latentr3" synth --out "$work/synth"
cp -r "$data" "$work/long" && rm "$work/long/dataset.json" # titles of some 24 tokens, rows of some 200, as the paper's
sed -i -E 's/([A-Z][a-z]{3}) ([A-Z][a-z]{3})/\1 of blue water under green sand \2/g' "$work"/long/*
if has bench || has peer; then # while the GPU is tested
    if [ "$shape" != none ]; then
        nice python3 bench/make_shape.py "$shape" "$work/shape" "$model" bf16 >"$work/shape.log" 2>&1 &
        shape_maker=$!
        background+=("$shape_maker")
    fi
fi

# 1, 2. Does it compute the right thing: the op table, and PyTorch's values. Where it does not, why.
run_tests() { # TEST...
    for t in "$@"; do
        step "$t" 80 env "LD_LIBRARY_PATH=$libraries" "$work/bin/$t" || {
            [ "${asked:-0}" -ge 2 ] || CASE_RUNS=1 sanitizer "why_$t" 60 memcheck "$t"
            asked=$((${asked:-0} + 1))
        }
    done
}
# shellcheck disable=SC2086
! has ops || run_tests $ops
# shellcheck disable=SC2086
! has golden || run_tests $golden

# 3. The same bits twice: what is trained, and the lists.
train() { # FOLDER
    mkdir -p "$1" && "$latentr3" sft --model "$model" --data "$data" --out "$1/sft" --max-rows 64 --max-steps 4 &&
        "$latentr3" rl --model "$1/sft" --data "$data" --out "$1/rl" --max-rows 32 --max-steps 2 &&
        "$latentr3" eval --model "$1/rl" --data "$data" --max-rows 64 --results "$1/lists.jsonl"
}
twice() {
    train "$work/one" && train "$work/two" && for file in sft/model.safetensors rl/model.safetensors lists.jsonl; do
        cmp "$work/one/$file" "$work/two/$file" || return 1
    done
}
! has bits || step same_bits 90 env "LD_LIBRARY_PATH=$libraries" bash -c "$(declare -f train twice)
latentr3=$latentr3 work=$work model=$model data=$data; twice"

# In f32 the lists of the processor: scores of two items that are as good as equal may change places.
lists() { # DEVICE
    LATENTR3_DEVICE=$1 "$latentr3" eval --model "$model" --data "$data" --max-rows 100 --dtype f32 --thoughts 1 --results "$work/$1.jsonl"
}
as_processor() {
    lists cpu && lists "$LATENTR3_DEVICE" && python3 -c '
import json, sys
a, b = ([[x["id"] for x in json.loads(line)["items"]] for line in open(path)] for path in sys.argv[1:])
same = sum(x == y for x, y in zip(a, b))
print(f"{same} of {len(a)} lists are those of the processor")
sys.exit(not (len(a) == len(b) > 0 and same >= 0.97 * len(a)))' "$work/cpu.jsonl" "$work/$LATENTR3_DEVICE.jsonl"
}
! has bits || step as_processor 60 env "LD_LIBRARY_PATH=$libraries" bash -c "$(declare -f lists as_processor)
latentr3=$latentr3 work=$work model=$model data=$data; as_processor"

# 4. How fast. The small model first, so that something is known if the large one fails.
bench() { # NAME SECONDS MODEL WHAT OPTION...
    local name=$1 seconds=$2 model=$3
    shift 3
    step "$name" "$seconds" env "LD_LIBRARY_PATH=$libraries" "$latentr3" bench "$@" --model "$model" --data "$data" --split valid --thoughts 1 --json
}
large() { # the shape, once it is made
    [ "$shape" != none ] || return 1
    [ -z "$shape_maker" ] || step make_shape 100 tail --pid="$shape_maker" -f "$work/shape.log"
    shape_maker=
    [ -s "$work/shape/model.safetensors" ] || { failed+=(shape) && cat "$work/shape.log" && return 1; }
}
if has bench; then
    bench small_sft 40 "$model" sft --rows 64 --batch 32
    data=$work/long
    if large; then
        bench sft 80 "$work/shape" sft --rows 512 --batch 128 --micro-rows 16384
        bench rl 60 "$work/shape" rl --rows 64 --batch 16 --micro-rows 8192
        # The first searches choose how each number of rows is multiplied: enough of them that this is little beside the rest.
        bench beam_64 60 "$work/shape" beam --rows 512 --batch 64
        bench beam_1 40 "$work/shape" beam --rows 64 --batch 1
        # Which kernels the time goes to: some of what follows the first update, or search, which warms up.
        profile() { # NAME SKIP COUNT WHAT OPTION...
            ! there ncu || step "kernels_$1" 60 env "LD_LIBRARY_PATH=$libraries" ncu --clock-control none --cache-control none \
                --metrics gpu__time_duration.sum --print-summary per-kernel --launch-skip "$2" --launch-count "$3" \
                "$latentr3" bench "${@:4}" --model "$work/shape" --data "$data" --split valid --thoughts 1 --json
        }
        profile sft 6000 1500 sft --rows 256 --batch 64 --micro-rows 16384
        profile beam 2000 400 beam --rows 16 --batch 1
    fi
fi

# 5. No race in a block's shared memory, no barrier that some threads miss: a step of SFT, which attends both ways through the tensor
# cores. (No memcheck or initcheck: device memory is mapped in pieces of 32 MiB, and zeros. The op table guards every output
# with NaN, and tests/shim/cuda fills what was not written with it.)
if has sanitize; then
    for tool in racecheck synccheck; do
        sanitizer $tool 60 $tool latentr3 sft --model "$model" --data "$data" --out "$work/$tool" --max-rows 4 --batch 4 --max-steps 1 --valid-rows 1 --dtype bf16
    done
fi

# 6. The same work in PyTorch.
if has peer && [ -n "${PEER:-}" ] && large; then
    for what in sft rl beam; do
        step "peer_$what" 60 python3 "$PEER" "$work/shape" "$what" --rows 8 --users 8 --dtype bf16 --device "$device"
    done
fi
echo "failed: ${failed[*]:-nothing}" | tee -a "$out/summary.txt"
[ ${#failed[@]} -eq 0 ]
