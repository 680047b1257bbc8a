#!/usr/bin/env bash
# The published passes in PyTorch and ours, in turn, on the same rows, threads and machine:
#   bench/compare.sh MODEL_DIR [ROWS]
# writes the table in docs/performance.md. MODEL_DIR: a Hugging Face folder whose last id is <|Thought|> (latentr3 convert
# --add-thought). Needs a Python with torch and transformers 4 (LATENTR3_PYTHON), the peer script (LATENTR3_PEER, by default
# ../shared/reference/peer_bench.py) and the rows (LATENTR3_DATA, by default ../shared/data).
set -euo pipefail
model=$(realpath "$1")
cd "$(dirname "$0")/.."
. bench/common.bash
rows=${2:-16}
python=${LATENTR3_PYTHON:-python3}
peer=${LATENTR3_PEER:-../shared/reference/peer_bench.py}
data=${LATENTR3_DATA:-../shared/data}/d3-office
threads=${THREADS:-$(nproc)}

ours() { # STAGE ROWS BATCH
    bench "$1" --model "$model" --data "$data" --category "office products" --thoughts 1 --rows "$2" --batch "$3" --threads "$threads"
}
theirs() { # STAGE ROWS USERS
    "$python" "$peer" "$model" "$1" --rows "$2" --users "$3" --threads "$threads" --dtype bf16 2>/dev/null | tail -n 1
}
line() { # NAME PEER_JSON OUR_JSON
    jq -rn --arg name "$1" --argjson a "$2" --argjson b "$3" '
        def r(n): . * pow(10; n) | round / pow(10; n);
        "| \($name) | \($a.s_per_row | r(2)) | \($b.s_per_row | r(3)) | **\($a.s_per_row / $b.s_per_row | r(1))** | \($a.peak_mib) | \($b.peak_mib | round) | \($b.peak_share * 100 | round) % |"'
}

table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
    echo "| work | PyTorch, s | latentr3, s | ratio | PyTorch, MiB | latentr3, MiB | of the matrix peak |"
    echo "| --- | --- | --- | --- | --- | --- | --- |"
    line "SFT, a row" "$(theirs sft "$rows" 1)" "$(ours sft $((rows * 4)) "$rows")"
    line "RL, a prompt (K = 8)" "$(theirs rl $((rows / 2)) 1)" "$(ours rl $((rows * 2)) "$rows")"
    line "beams, a user, one at a time" "$(theirs beam 4 1)" "$(ours beam "$rows" 1)"
    line "beams, a user, 12 at a time" "$(theirs beam 12 12)" "$(ours beam 48 12)"
    printf '\n%s, %s.\n' "$(ours gemm 1 1 | jq -r .machine)" \
        "$("$python" -c 'import torch, transformers; print("PyTorch", torch.__version__, "transformers", transformers.__version__)')"
} | tee "$table"

replace compare "$table"
