#!/usr/bin/env bash
# Every include between quotes must be allowed by the table of layers (CONTRIBUTING.md). Prints each that is not.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A may=(
    [base]="base"
    [ops]="base ops"
    [io]="base io"
    [text]="base text"
    [data]="base text data"
    [model]="base ops io model"
    [train]="base ops data model train"
    [rec]="base text data model rec"
    [report]="base data rec report"
    [serve]="base text data model rec serve"
    [app]="base io text data model train rec report serve app"
    [lib]="base data rec serve app include lib"
)

bad=0
for layer in "${!may[@]}"; do
    while IFS=: read -r file line text; do
        include=$(sed -E 's/^[^"]*"([^"]*)".*/\1/' <<<"$text")
        folder=${include%%/*}
        if [ "$folder" = "$include" ]; then
            why="has no folder before its name"
        elif [[ " ${may[$layer]} " != *" $folder "* ]]; then
            why="is not open to $layer/ (only: ${may[$layer]})"
        elif [[ ($include == ops/cpu/* && $file != ops/cpu/*) || ($include == ops/cuda/* && $file != ops/cuda/*) ]]; then
            why="is a backend's own"
        elif [ ! -e "$include" ]; then
            why="does not exist"
        else
            continue
        fi
        echo "$file:$line: \"$include\" $why"
        bad=$((bad + 1))
    done < <(grep -rnE --include="*.[ch]" --include="*.cu" --include="*.cuh" '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$layer" || true)
done
echo "layers: $bad includes against the table"
[ "$bad" -eq 0 ]
