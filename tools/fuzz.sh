#!/usr/bin/env bash
# Runs every fuzz target of a libFuzzer build for SECONDS, two at a time. Fails where one was not built, finds something, ran fewer
# than 10,000 inputs (a target that stops at the door tests nothing; a slow one has ten minutes more), or does not find within a
# minute the bug that is planted in its planted build. New inputs go to BUILD/found, not into the corpus of the repository.
#   tools/fuzz.sh BUILD SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=$2 least=10000
shift 2

# fuzz PROGRAM SECONDS OPTION_OR_CORPUS...
# In continuous integration from one seed: what fails there must be due to the change.
fuzz() {
    "$1" ${CI:+-seed=1} -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$build/found/${1##*/}-" "${@:3}"
}

count() { sed -nE 's/^stat::number_of_executed_units: *([0-9]+)$/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }'; }

# target NAME: one line of what was done, or of what failed.
target() {
    local name=$1 found=$build/found/$1 log=$build/found/$1.log
    mkdir -p "$found"
    fuzz "$build/fuzz_$name" "$seconds" "$found" "fuzz/corpus/$name" >"$log" 2>&1 || { tail -n 40 "$log" && return 1; }
    [ "$(count "$log")" -ge "$least" ] ||
        fuzz "$build/fuzz_$name" 600 -runs="$least" "$found" "fuzz/corpus/$name" >>"$log" 2>&1 || { tail -n 40 "$log" && return 1; }
    [ "$(count "$log")" -ge "$least" ] || { echo "fuzz $name: $(count "$log") inputs, fewer than $least" && return 1; }
    cp -rT "fuzz/corpus/$name" "$found.planted" # which the run adds to
    fuzz "$build/planted_$name" 60 "$found.planted" >"$log.planted" 2>&1 || true
    grep -q '^SUMMARY: ' "$log.planted" || { echo "fuzz $name: its planted bug is not found" && return 1; }
    echo "fuzz $name: $(count "$log") inputs, and the planted bug is found"
}

[ $# -gt 0 ] || set -- $(basename -s .c fuzz/fuzz_*.c | sed 's/^fuzz_//') # one that was not built fails
rm -rf "$build"/found/*.planted
passed=0 failed=0
reap() { if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }
for name; do
    [ $((passed + failed + 2)) -gt "${started:-0}" ] || reap
    target "$name" &
    started=$((${started:-0} + 1))
done
while [ $((passed + failed)) -lt "${started:-0}" ]; do reap; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
