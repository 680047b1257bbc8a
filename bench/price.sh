#!/usr/bin/env bash
# The price of thinking: what a list costs with thoughts and behind a written chain of thought, and what each part of the
# method adds to training:
#   bench/price.sh MODEL_DIR
# writes the tables in docs/performance.md. Some four minutes on two cores. MODEL_DIR and LATENTR3_DATA: as for bench/compare.sh.
set -euo pipefail
model=$(realpath "$1")
cd "$(dirname "$0")/.."
. bench/common.bash
data=${LATENTR3_DATA:-../shared/data}/d3-office
table=$(mktemp)
trap 'rm -f "$table"' EXIT

office() { bench "$@" --model "$model" --data "$data" --category "office products" --threads "${THREADS:-$(nproc)}"; }
list() { office beam --thoughts "$1" --batch "$2" --rows $((2 * $2 < 24 ? 24 : 2 * $2)); } # THOUGHTS USERS
written() { office write --thoughts 0 --tokens "$1" --batch "$2" --rows $((2 * $2 < 8 ? 8 : 2 * $2)); } # TOKENS USERS

# line NAME ALONE TOGETHER: of one user at a time and of twelve, in seconds and as multiples of a plain list's
line() {
    jq -rn --arg name "$1" --argjson a "$2" --argjson b "$3" --argjson a0 "$plain1" --argjson b0 "$plain12" '
        def r(n): . * pow(10; n) | round / pow(10; n);
        "| \($name) | \($a | r(3)) | \($a / $a0 | r(2)) | \($b | r(3)) | \($b / $b0 | r(2)) |"'
}

lists() {
    local none1 none12 search1 search12 n
    none1=$(list 0 1) none12=$(list 0 12)
    plain1=$(jq .s_per_row <<<"$none1") plain12=$(jq .s_per_row <<<"$none12")
    search1=$(jq .search.s_per_user <<<"$none1") search12=$(jq .search.s_per_user <<<"$none12")
    echo "| a list of ten | one user at a time, s | times | twelve, s a user | times |"
    echo "| --- | --- | --- | --- | --- |"
    line "without a thought" "$plain1" "$plain12"
    for n in 1 2 4; do line "latent thoughts: $n" "$(list $n 1 | jq .s_per_row)" "$(list $n 12 | jq .s_per_row)"; done
    for n in 128 256; do
        line "behind $n tokens written greedily" "$(written $n 1 | jq ".s_per_row + $search1")" \
            "$(written $n 12 | jq ".s_per_row + $search12")"
    done
}

training() {
    local thoughts K b answers
    echo "| training | s a row or prompt |"
    echo "| --- | --- |"
    for thoughts in 0 1 4; do
        b=$(office sft --thoughts $thoughts --rows 32 --batch 16)
        jq -r "\"| SFT, thoughts: $thoughts | \(.s_per_row * 1000 | round / 1000) |\"" <<<"$b"
    done
    for K in 2 8 16; do
        b=$(office rl --thoughts 1 --samples $K --rows 16 --batch 16)
        jq -r "\"| RL, K = $K | \(.s_per_row * 1000 | round / 1000) |\"" <<<"$b"
    done
    # Eight answers of a prompt go through together: they cost what eight users cost, without their prompts.
    answers=$(office write --thoughts 0 --tokens 25 --batch 8 --rows 32 | jq .s_per_row)
    b=$(office write --thoughts 0 --tokens 1 --batch 8 --rows 32 | jq "8 * ($answers - .s_per_row) * 1000 | round / 1000")
    echo "| more, if rewards came from eight written answers of 25 tokens rather than from the perplexity | $b |"
}

{
    lists
    echo
    training
    printf '\n%s.\n' "$(office gemm | jq -r .machine)"
} | tee "$table"
replace price "$table"
