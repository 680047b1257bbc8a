#!/usr/bin/env bash
# Time and memory of `prepare` on N (20,000,000) made-up reviews, gzip, kept in FOLDER for the next time.
#   bench/prepare.sh PROGRAM FOLDER [N]
set -euo pipefail
program=$(realpath "$1")
folder=$2
n=${3:-20000000}
here=$(realpath "$(dirname "$0")/..")

mkdir -p "$folder"
log=$folder/reviews-$n.json.gz
items=$folder/meta_reviews-$n.json.gz
if [ ! -e "$items" ]; then
    "${CC:-cc}" -O2 -o "$folder/make_reviews" "$here/tools/make_reviews.c" -lm
    "$folder/make_reviews" log "$n" | gzip -1 >"$log"
    "$folder/make_reviews" items "$n" | gzip -1 >"$items.tmp"
    mv "$items.tmp" "$items"
fi
ls -l "$log" "$items"
rm -rf "$folder/out"
LATENTR3_LOG=${LATENTR3_LOG:-warn} /usr/bin/time -f '%e s wall, %U s user, %S s system, %M KiB at most' \
    "$program" prepare --data "$log" --items "$items" --out "$folder/out" --category product --json >"$folder/report.json"
jq -c '.read, .counts' "$folder/report.json"
du -sh "$folder/out"
