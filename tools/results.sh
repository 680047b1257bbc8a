#!/usr/bin/env bash
# Tables of experiments into docs/results.md and README.md.
#   tools/results.sh keep NAME DIR   what `latentr3 experiment experiments/NAME.yaml --out DIR` made becomes experiments/results/NAME.*
#   tools/results.sh records NAME DIR   of the same folder experiments/results/NAME.tar.xz, what more seeds and rows are held against later
#   tools/results.sh unpack NAME DIR    a folder in which `latentr3 experiment experiments/NAME.yaml --out DIR` goes on from there
#   tools/results.sh                 the pages get the tables of experiments/results where they say <!-- results NAME -->, or
#                                    the third of them alone where they say <!-- results NAME 3 -->; docs/gains.svg the
#                                    gains that experiments/gains.tsv names. <!-- overview -->: HR@10 of the rows that the
#                                    experiments of experiments/overview.tsv have in common
#   tools/results.sh --check         fails where a table of a page is another one, or was made by another experiment file
# A kept result is NAME.json (all digits), NAME.md (the table) and NAME.sum (of the experiment file and of these two).
set -euo pipefail
[ $# -lt 3 ] || set -- "$1" "$2" "$(realpath -m "$3")" # as seen from where one stands
cd "$(dirname "$0")/.."
pages=(docs/results.md README.md)
kept=experiments/results

sum_of() { sha256sum "experiments/$1.yaml" "$kept/$1.json" "$kept/$1.md"; }

# An experiment file without comments and empty lines.
meaning() { sed -E '/^ *(#|$)/d; s/ +# .*//'; }

keep() {
    local name=$1 folder=$2
    [ "$(jq -r .experiment "$folder/results.json")" = "$name" ] || {
        echo "$folder holds no experiment called $name" >&2
        exit 1
    }
    # Results of before "file" stood there say nothing. Those of fewer seeds than the file names are not its results.
    if jq -e 'has("file")' "$folder/results.json" >/dev/null; then
        diff <(jq -r .file "$folder/results.json" | meaning) <(meaning <"experiments/$name.yaml") >&2 || {
            echo "$folder was made by another experiments/$name.yaml: run it again" >&2
            exit 1
        }
    fi
    mkdir -p "$kept"
    cp "$folder/results.json" "$kept/$name.json"
    cp "$folder/table.md" "$kept/$name.md"
    sum_of "$name" >"$kept/$name.sum"
}

records() {
    local name=$1 folder=$2 packed=$kept/$1.tar.xz
    whole=$(mktemp -d)
    trap 'rm -rf "$whole"' EXIT
    "${LATENTR3:-build/latentr3}" experiment "experiments/$name.yaml" --out "$folder" --records "$whole"
    tar -C "$whole" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . | xz -9e >"$packed.new"
    mv "$packed.new" "$packed"
}

unpack() {
    [ -z "$(ls -A "$2" 2>/dev/null)" ] || {
        echo "$2 is not empty: records would replace its runs" >&2
        exit 1
    }
    mkdir -p "$2"
    tar -C "$2" -xJf "$kept/$1.tar.xz"
}

# docs/gains.svg: the gains that experiments/gains.tsv names, as parts of what they are over.
gains() {
    local group label name row other
    while IFS=$'\t' read -r group label name row other; do
        [ "${group:0:1}" != "#" ] || continue
        jq -er --arg group "$group" --arg name "$label" --arg row "$row" --arg other "$other" '
            # A gain over another row than the baseline is that of the baseline over it, turned round.
            (if .baseline == $other then [$row, 1] elif .baseline == $row then [$other, -1] else empty end) as [$told, $sign] |
            first(.rows[] | select(.row == $told)).metrics["HR@10"] as $m |
            (if $sign > 0 then $m.gain.other else $m.mean end) as $over |
            [$group, $name, $m.gain.pairs] + ([$m.gain.gain, ($m.gain.interval | sort_by(. * $sign)[])] | map(. * $sign / $over)) | @tsv
            ' "$kept/$name.json" || {
            echo "experiments/gains.tsv: $name has no gain of '$row' over '$other'" >&2
            return 1
        }
    done <experiments/gains.tsv | awk -f tools/gains.awk
}

# HR@10 of what the experiments of experiments/overview.tsv have in common, one column each; behind it the number of seeds.
overview() {
    local name heading headings="" files=()
    while IFS=$'\t' read -r name heading; do
        [ "${name:0:1}" != "#" ] || continue
        headings+="| $heading "
        files+=("$kept/$name.json")
    done <experiments/overview.tsv
    printf '| HR@10 (seeds) %s|\n|%s\n' "$headings" "$(printf ' --- |%.0s' 1 "${files[@]}")"
    jq -rs '
        # 0.0972; jq has no format for it.
        def digits: (. * 10000 | round) as $n | "0." + ("000\($n)" | .[-4:]);
        . as $all | ("popularity", "item-kNN", "SASRec", "SASRec with a thought", "SFT without a thought (BIGRec)", "SFT, hidden state as thought", "SFT",
            "SFT + RL", "SFT + RL against the group", "SFT + as much more SFT", "D3 without a thought", "D3 over SFT", "D3 over SFT + RL") as $row
        | "| \($row) | " + ([$all[] | (first(.rows[] | select(.row == $row)) // null) | if . then .metrics["HR@10"] | (.mean | digits) + (if .runs > 1 then " (\(.runs))" else "" end) else "" end] | join(" | ")) + " |"
        ' "${files[@]}"
}

mark='^<!-- results ([a-zA-Z0-9_-]+)( [1-9])? -->$'

# A page with the tables as they are now kept.
fill() {
    local page=$1 line inside=""
    while IFS= read -r line; do
        if [[ $line =~ $mark ]]; then
            inside=${BASH_REMATCH[1]}
            printf '%s\n\n' "$line"
            # An empty line stands between two tables.
            awk -v RS= -v number="${BASH_REMATCH[2]:-0}" '
                number == 0 || NR == number { print (printed++ ? "\n" : "") $0 }
                END { exit !printed }' "$kept/$inside.md"
            printf '\n'
        elif [ "$line" = "<!-- overview -->" ]; then
            inside=overview
            printf '%s\n\n' "$line"
            overview
            printf '\n'
        elif [ "$line" = "<!-- end -->" ]; then
            inside=""
        fi
        [ -n "$inside" ] || printf '%s\n' "$line"
    done <"$page"
    [ -z "$inside" ] || {
        echo "$page: no <!-- end --> behind the results of $inside" >&2
        return 1
    }
}

check() {
    local stale=0 name page
    for name in $(sed -nE "s/$mark/\\1/p" "${pages[@]}" | sort -u); do
        diff <(sum_of "$name") "$kept/$name.sum" >/dev/null || {
            echo "experiments/$name.yaml or its results changed since they were kept: run it again, then tools/results.sh keep $name DIR" >&2
            stale=1
        }
    done
    for page in "${pages[@]}"; do
        diff "$page" <(fill "$page") >&2 || {
            echo "$page is not what experiments/results says: run tools/results.sh" >&2
            stale=1
        }
    done
    diff <(gains) docs/gains.svg >/dev/null || {
        echo "docs/gains.svg is not what experiments/results says: run tools/results.sh" >&2
        stale=1
    }
    [ "$stale" -eq 0 ]
}

case ${1:-} in
keep) keep "$2" "$3" ;;
records) records "$2" "$3" ;;
unpack) unpack "$2" "$3" ;;
--check) check ;;
"")
    for page in "${pages[@]}"; do
        fill "$page" >"$page.new"
        mv "$page.new" "$page"
    done
    gains >docs/gains.svg.new
    mv docs/gains.svg.new docs/gains.svg
    ;;
*)
    sed -n '2,10s/^# //p' "$0" >&2
    exit 2
    ;;
esac
