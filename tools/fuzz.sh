#!/usr/bin/env bash
# Runs every fuzz target of a libFuzzer build for SECONDS; fails on a crash, and where a target ran fewer than 10,000 inputs
# (a target that stops at the door tests nothing). New inputs go to BUILD/found, not into the corpus of the repository.
#   tools/fuzz.sh BUILD SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
seconds=$2

for target in "$build"/fuzz_*; do
    [ -x "$target" ] || continue
    name=${target##*/fuzz_}
    mkdir -p "$build/found/$name"
    log=$build/found/$name.log
    echo "fuzz $name, $seconds s"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$build/found/$name-" "$build/found/$name" "fuzz/corpus/$name" >"$log" 2>&1 ||
        { tail -n 40 "$log"; exit 1; }
    runs=$(sed -nE 's/^stat::number_of_executed_units: *([0-9]+)$/\1/p' "$log")
    echo "  $runs inputs"
    [ "${runs:-0}" -ge 10000 ] || { echo "$name ran fewer than 10000 inputs" >&2; exit 1; }
done
