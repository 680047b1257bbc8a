#!/usr/bin/env bash
# All sources are as clang-format (.clang-format) would write them; with --fix it writes them so.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(--dry-run --Werror)
[ "${1:-}" = --fix ] && mode=(-i)
git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' '*.cu' '*.cuh' '*.cpp' | xargs -0 clang-format "${mode[@]}"
