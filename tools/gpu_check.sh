#!/usr/bin/env bash
# What only a GPU can show, in at most nine minutes, on a machine that has one and need have nothing else of ours: no network, no
# packages, no compiler.
#   tools/gpu_check.sh pack        here: build/gpu.tar.xz, from what cmake --preset cuda built, and the libraries it needs
#   tools/gpu_check.sh             there, beside build/gpu.tar.xz: results under $OUT (gpu_check); the last line says what failed
# cuBLASLt and the driver are the machine's own: cuBLASLt is looked for in CUDA's folders and in PyTorch's. With torch there,
# bench/make_shape.py makes the shape that is timed (SHAPE, qwen2.5-1.5b; none: the small model alone). PEER: peer_bench.py, for
# the same work in PyTorch. DEVICE=cpu runs the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
tests="test_ops test_layers test_attention test_sasrec_ops test_sft test_rl test_segments test_sasrec test_lora test_frozen test_recompute"

if [ "${1:-}" = pack ]; then
    set -e
    build=${BUILD:-build/cuda}
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mkdir "$folder/lib"
    for program in latentr3 $tests; do
        [ ! -e "$build/$program" ] || strip -o "$folder/$program" "$build/$program"
    done
    # All but what is part of the system's loader, and CUDA.
    for program in "$folder"/*; do [ -d "$program" ] || ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux-x86-64)\.so|libcublas' | xargs -I{} cp -L {} "$folder/lib"
    tar -C "$folder" -cf - . | xz -T0 >build/gpu.tar.xz
    ls -l build/gpu.tar.xz
    exit
fi

device=${DEVICE:-cuda} shape=${SHAPE:-qwen2.5-1.5b}
out=$(realpath -m "${OUT:-gpu_check}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/bin"
tar -C "$work/bin" -xJf build/gpu.tar.xz || exit 1
torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null)
folders=$(find /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib ${torch:+"$torch/.."} -maxdepth 4 -name 'libcublasLt.so.1[23]' -printf '%h:' 2>/dev/null)
export LD_LIBRARY_PATH=$work/bin/lib:$folders${LD_LIBRARY_PATH:-} LATENTR3_DEVICE=$device OMP_WAIT_POLICY=passive
latentr3=$work/bin/latentr3
failed=()

# step NAME SECONDS COMMAND...: its output in $out/NAME.log
step() {
    local name=$1 seconds=$2 start=$SECONDS status
    shift 2
    timeout "$seconds" "$@" >"$out/$name.log" 2>&1
    status=$?
    [ $status -eq 0 ] || failed+=("$name")
    echo "$name: exit $status, $((SECONDS - start)) s" | tee -a "$out/summary.txt"
}

: >"$out/summary.txt"
{ nvidia-smi || echo "no nvidia-smi"; } >"$out/device.txt" 2>&1

# 1. Does it compute the right thing: the op table, and PyTorch's values.
for t in $tests; do [ ! -e "$work/bin/$t" ] || step "$t" 60 "$work/bin/$t"; done

# 2. The same bits twice.
step synth 60 env LATENTR3_DEVICE=cpu "$latentr3" synth --out "$work/synth"
train() { # FOLDER
    "$latentr3" sft --model "$work/synth/model" --data "$work/synth/data" --out "$1" --max-rows 64 --max-steps 4
}
twice() {
    train "$work/one" && train "$work/two" && cmp "$work/one/model.safetensors" "$work/two/model.safetensors"
}
step same_bits 60 bash -c "$(declare -f train twice); latentr3=$latentr3 work=$work; twice"

# 3. Nothing read or written outside.
if [ "$device" = cuda ] && command -v compute-sanitizer >/dev/null; then
    step memcheck 70 compute-sanitizer --error-exitcode 9 "$work/bin/test_sft"
    step racecheck 70 compute-sanitizer --tool racecheck --error-exitcode 9 "$work/bin/test_sasrec_ops"
fi

# 4. How fast. The small model first, so that something is known if the large one fails.
bench() { # NAME SECONDS MODEL WHAT OPTION...
    local name=$1 seconds=$2 model=$3
    shift 3
    step "$name" "$seconds" "$latentr3" bench "$@" --model "$model" --data "$work/synth/data" --split valid --thoughts 1 --json
}
bench small_sft 40 "$work/synth/model" sft --rows 64 --batch 32
if [ "$shape" != none ] && [ -n "$torch" ]; then
    model=$work/shape
    step make_shape 100 python3 bench/make_shape.py "$shape" "$model" "$work/synth/model" bf16
    bench gemm 40 "$model" gemm --rows 1
    bench sft 80 "$model" sft --rows 512 --batch 128 --micro-rows 16384
    bench rl 60 "$model" rl --rows 64 --batch 16
    bench beam_1 40 "$model" beam --rows 8 --batch 1
    bench beam_64 60 "$model" beam --rows 128 --batch 64
    if [ -n "${PEER:-}" ]; then
        for what in sft rl beam; do
            step "peer_$what" 60 python3 "$PEER" "$model" "$what" --rows 8 --users 8 --dtype bf16 --device cuda
        done
    fi
fi
grep -h '^{' "$out"/*.log >"$out/bench.jsonl"
echo "failed: ${failed[*]:-nothing}" | tee -a "$out/summary.txt"
[ ${#failed[@]} -eq 0 ]
