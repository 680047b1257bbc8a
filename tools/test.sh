#!/usr/bin/env bash
# Runs the tests of one build folder and prints a closing line "N passed, N failed".
#   tools/test.sh BUILD [quick]
# quick, for sanitizer builds: without the programs labelled slow, and without what does not run the build's own code.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=$(realpath "$1")
mode=${2:-full}
passed=0
failed=0
# A test that hangs fails, and the others are run: none takes a third of this on a slow machine.
limit=900

# check NAME COMMAND...: one test that passes when the command does.
check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "FAILED: $name" >&2
        failed=$((failed + 1))
    fi
}

# count PASSED_PATTERN FAILED_PATTERN FILE: lines of a test runner's output.
count() {
    passed=$((passed + $(grep -cE "$1" "$3")))
    failed=$((failed + $(grep -cE "$2" "$3")))
}

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# As many at a time as there are processors: most wait for one. bats wants GNU parallel for it; a file's tests follow one another.
jobs=$(nproc)
select=() together=()
[ "$mode" = quick ] && select=(--label-exclude slow)
[ "$jobs" -gt 1 ] && [[ $(parallel --version 2>/dev/null) == GNU* ]] && together=(--jobs "$jobs" --no-parallelize-within-files)
ctest --test-dir "$build" --output-on-failure --no-tests=error --timeout $limit --parallel "$jobs" "${select[@]}" 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
count '^ *[0-9]+/[0-9]+ Test .* Passed ' '^ *[0-9]+/[0-9]+ Test .*(\*\*\*|Failed)' "$output"
# A run that broke off without naming a test is a failure too.
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1

[ "$mode" = full ] || unset LATENTR3_PYTHON
LATENTR3=$build/latentr3 BATS_TEST_TIMEOUT=$limit bats --tap --timing "${together[@]}" tests/cli 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
before=$failed
count '^ok ' '^not ok ' "$output"
[ "$status" -eq 0 ] || [ "$failed" -gt "$before" ] || failed=$((failed + 1))

if [ "$mode" = full ]; then
    check layers tools/check_layers.sh
    check format tools/check_format.sh
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
