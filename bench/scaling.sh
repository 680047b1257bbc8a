#!/usr/bin/env bash
# How speed goes with threads, rows, beams and catalogue, on made-up data (bench/make_world.awk):
#   bench/scaling.sh MODEL_DIR [WORK_DIR]
# writes the tables in docs/performance.md and the curves beside them, docs/scaling.svg. Some eight minutes on two cores.
# MODEL_DIR: as for bench/compare.sh. Data and built catalogues are made in WORK_DIR, by default a temporary one.
set -euo pipefail
model=$(realpath "$1")
work=${2:+$(realpath -m "$2")}
cd "$(dirname "$0")/.."
. bench/common.bash
trap 'rm -rf "${temporary:-}" "${points:-}" "${table:-}"' EXIT
[ "$work" ] || work=$(mktemp -d) temporary=$work
points=$(mktemp) table=$(mktemp)
most=$(nproc)

world() { # ITEMS WORDS: the folder, made where it is missing
    local folder=$work/$1-$2
    [ -e "$folder/valid.csv" ] || {
        mkdir -p "$folder"
        awk -v items="$1" -v rows=64 -v words="$2" -v out="$folder" -f bench/make_world.awk
    }
    echo "$folder"
}

# point PANEL SERIES X Y: for the curves
point() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$points"; }

# field JSON EXPRESSION
field() { jq -rn --argjson b "$1" "def r(n): . * pow(10; n) | round / pow(10; n); \$b | $2"; }

training() {
    echo "| tokens a row | threads | tokens a second | at the matrix peak | share of it |"
    echo "| --- | --- | --- | --- | --- |"
    local words rows threads b tokens
    for words in 1 3 7 15; do
        rows=$((words < 3 ? 32 : words < 15 ? 16 : 8))
        for threads in $(printf '%s\n' 1 "$most" | sort -nu); do
            b=$(bench sft --model "$model" --data "$(world 1000 $words)" --thoughts 1 --rows $rows --batch $rows --threads "$threads")
            tokens=$(field "$b" '.tokens_per_s * .s_per_row | round')
            field "$b" "\"| $tokens | $threads | \(.tokens_per_s | round) | \(.tokens_per_s / .peak_share | round) | \(.peak_share * 100 | round) % |\""
            point "SFT: tokens a second by tokens a row" "threads: $threads" "$tokens" "$(field "$b" .tokens_per_s)"
            point "SFT: tokens a second by tokens a row" "threads: $threads, products alone" "$tokens" "$(field "$b" '.tokens_per_s / .peak_share')"
        done
    done
}

# search PANEL X ITEMS BEAMS LABEL
search() {
    local b folder
    folder=$(world "$3" 3)
    bench trie --model "$model" --data "$folder" --index "$folder/index" >"$folder/trie.json" # builds it where it is missing
    b=$(bench beam --model "$model" --data "$folder" --thoughts 1 --rows 16 --batch 1 --beams "$4" --threads "$most" --index "$folder/index")
    field "$b" "\"| $5 | \(.s_per_row | r(3)) | \(.search.s_per_user | r(3)) | \(.search.calls_per_user | r(1)) | \(.search.rows_per_user | round) | \(.s_per_row * .peak_share | r(3)) | \(.search.softmax + .search.select | . * 100 | r(1)) % | \(.search.trie * 100 | r(2)) % |\""
    point "$1" "seconds a user" "$2" "$(field "$b" .s_per_row)"
    point "$1" "without the prompt" "$2" "$(field "$b" .search.s_per_user)"
    point "$1" "products alone" "$2" "$(field "$b" '.s_per_row * .peak_share')"
}

searches() {
    echo "| beams, titles | a user, s | without the prompt, s | calls | rows | products alone, s | log-softmax and selection | trie |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
    local W items
    for W in 1 5 10 20 50; do search "Seconds a user by beams, 10,000 titles" $W 10000 $W "$W beams, 10,000 titles"; done
    for items in 1000 10000 100000 1000000; do search "Seconds a user by titles, 10 beams" $items $items 10 "10 beams, $items titles"; done
}

tries() {
    echo "| titles | opened from its file, s | bytes a title |"
    echo "| --- | --- | --- |"
    local items folder
    for items in 1000 10000 100000 1000000; do
        folder=$(world $items 3)
        field "$(bench trie --model "$model" --data "$folder" --index "$folder/index")" "\"| $items | \(.build_s | r(3)) | \(.bytes_per_item | r(1)) |\""
    done
}

{
    training
    echo
    searches
    echo
    tries
    printf '\n%s.\n' "$(bench gemm --model "$model" --data "$(world 1000 3)" | jq -r .machine)"
} | tee "$table"
replace scaling "$table"
awk -f bench/curves.awk "$points" >docs/scaling.svg.new && mv docs/scaling.svg.new docs/scaling.svg
