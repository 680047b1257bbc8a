#!/usr/bin/env bash
# Tables of experiments into docs/results.md.
#   tools/results.sh keep NAME DIR   what `latentr3 experiment experiments/NAME.yaml --out DIR` made becomes experiments/results/NAME.*
#   tools/results.sh                 docs/results.md gets the tables of experiments/results where it says <!-- results NAME -->
#   tools/results.sh --check         fails where a table of docs/results.md is another one, or was made by another experiment file
# A kept result is NAME.json (all digits), NAME.md (the table) and NAME.sum (of the experiment file and of these two).
set -euo pipefail
cd "$(dirname "$0")/.."
page=${RESULTS_PAGE:-docs/results.md}
kept=experiments/results

sum_of() { sha256sum "experiments/$1.yaml" "$kept/$1.json" "$kept/$1.md"; }

keep() {
    local name=$1 folder=$2
    [ "$(jq -r .experiment "$folder/results.json")" = "$name" ] || {
        echo "$folder holds no experiment called $name" >&2
        exit 1
    }
    mkdir -p "$kept"
    cp "$folder/results.json" "$kept/$name.json"
    cp "$folder/table.md" "$kept/$name.md"
    sum_of "$name" >"$kept/$name.sum"
}

# The page with the tables as they are now kept.
fill() {
    local line name="" inside=""
    while IFS= read -r line; do
        if [[ $line =~ ^\<!--\ results\ ([a-zA-Z0-9_-]+)\ --\>$ ]]; then
            name=${BASH_REMATCH[1]}
            printf '%s\n\n' "$line"
            cat "$kept/$name.md"
            printf '\n'
            inside=1
        elif [ "$line" = "<!-- end -->" ]; then
            inside=""
        fi
        [ -n "$inside" ] || printf '%s\n' "$line"
    done <"$page"
    [ -z "$inside" ] || {
        echo "$page: no <!-- end --> behind the results of $name" >&2
        return 1
    }
}

check() {
    local stale=0 name
    for name in $(sed -nE 's/^<!-- results ([a-zA-Z0-9_-]+) -->$/\1/p' "$page"); do
        diff <(sum_of "$name") "$kept/$name.sum" >/dev/null || {
            echo "experiments/$name.yaml or its results changed since they were kept: run it again, then tools/results.sh keep $name DIR" >&2
            stale=1
        }
    done
    diff "$page" <(fill) >&2 || {
        echo "$page is not what experiments/results says: run tools/results.sh" >&2
        stale=1
    }
    [ "$stale" -eq 0 ]
}

case ${1:-} in
keep) keep "$2" "$3" ;;
--check) check ;;
"")
    fill >"$page.new"
    mv "$page.new" "$page"
    ;;
*)
    sed -n '2,6s/^# //p' "$0" >&2
    exit 2
    ;;
esac
