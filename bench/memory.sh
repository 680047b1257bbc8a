#!/usr/bin/env bash
# What models of the paper's sizes cost on this machine: peak memory and seconds a row, with random weights (bench/make_shape.py):
#   bench/memory.sh MODEL_DIR WORK_DIR [NAME...]
# MODEL_DIR lends its tokenizer (a Hugging Face folder whose last id is <|Thought|>; where it has more tokens than the shape, the
# shape grows with it). The shapes are made in WORK_DIR, up to 40 GB, where they are not there yet. NAME: rows of the table to
# measure anew (1.5b, 7b, 13b-q8_0, 13b-q4_k); all others stay as they stand in docs/performance.md. Needs a Python with numpy and
# gguf (LATENTR3_PYTHON), and the rows (LATENTR3_DATA).
set -euo pipefail
tokenizer=$(realpath "$1") work=$(realpath -m "$2")
cd "$(dirname "$0")/.."
shift 2
names=${*:-1.5b 7b 13b-q8_0 13b-q4_k}
python=${LATENTR3_PYTHON:-python3}
data=${LATENTR3_DATA:-../shared/data}/d3-office
page=docs/performance.md
mkdir -p "$work"

shape() { # NAME SHAPE TYPE: the path of the model, made where it is missing
    local path=$work/$1
    [ "$3" = bf16 ] || path=$path.gguf
    [ -e "$path" ] || "$python" bench/make_shape.py "$2" "$path.part" "$tokenizer" "$3" >&2
    [ -e "$path" ] || mv "$path.part" "$path"
    echo "$path"
}

# measure NAME MODEL LABEL LIMIT_GB STAGE ROWS BATCH OPTION...: one line of the table
measure() {
    local name=$1 model=$2 label=$3 limit=$4 stage=$5 rows=$6 batch=$7 out
    shift 7
    out=$(build/latentr3 bench "$stage" --model "$model" --data "$data" --category "office products" --split valid --thoughts 1 \
        --rows "$rows" --batch "$batch" "$@" --json 2>/dev/null)
    jq -rn --arg name "$name" --arg work "$label" --argjson limit "$limit" --argjson b "$out" '
        "| \($name) | \($work) | \($limit) | \($b.peak_mib * 1048576 / 1e7 | round / 100) | \($b.s_per_row * 100 | round / 100) | \($b.peak_share * 100 | round) % |"'
}

rows_of() { # NAME
    local model
    case $1 in
    1.5b)
        model=$(shape "$1" qwen2.5-1.5b bf16)
        measure "Qwen2.5-1.5B" "$model" "SFT of all weights, \`--lean --recompute\`" 20 sft 8 8 --lean --recompute --micro-rows 512
        measure "Qwen2.5-1.5B" "$model" "RL, K = 8" 8 rl 4 4
        measure "Qwen2.5-1.5B" "$model" "recommend, 10 beams, one user at a time" 4.5 beam 2 1
        ;;
    7b)
        model=$(shape "$1" llama-2-7b bf16)
        measure "Llama-2-7B" "$model" "SFT of adapters, \`--lora-rank 8 --recompute\`" 20 sft 2 2 --lora-rank 8 --recompute
        measure "Llama-2-7B" "$model" "RL, K = 8" 18 rl 2 2
        measure "Llama-2-7B" "$model" "recommend, 10 beams, one user at a time" 18 beam 1 1
        ;;
    13b-*)
        model=$(shape "$1" llama-2-13b "${1#13b-}")
        measure "Llama-2-13B in ${1#13b-}" "$model" "RL, K = 8" 20 rl 2 2
        measure "Llama-2-13B in ${1#13b-}" "$model" "recommend, 10 beams, one user at a time" 20 beam 1 1
        ;;
    *) echo "$1: 1.5b, 7b, 13b-q8_0 or 13b-q4_k is expected" >&2 && exit 2 ;;
    esac
}

new=$(mktemp)
trap 'rm -f "$new"' EXIT
for name in $names; do rows_of "$name" | tee -a "$new"; done

# A line of the page whose first two cells are measured anew is replaced; others are added behind the table.
awk -F' [|] ' -v file="$new" '
    BEGIN { while ((getline row < file) > 0) { split(row, cell, / [|] /); fresh[cell[1] FS cell[2]] = row; order[++n] = cell[1] FS cell[2] } }
    /<!-- memory -->/ { inside = 1 }
    /<!-- end memory -->/ { for (i = 1; i <= n; i++) if (!(order[i] in done)) print fresh[order[i]]; inside = 0 }
    inside && ($1 FS $2) in fresh { print fresh[$1 FS $2]; done[$1 FS $2] = 1; next }
    { print }' "$page" >"$page.new" && mv "$page.new" "$page"
