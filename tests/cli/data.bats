#!/usr/bin/env bats
# prepare and synth: from a log to a data folder.

load common

# A log of 40 users who all saw 12 of 15 items, in the two formats that prepare reads.
make_logs() {
    mkdir -p "$TMP/recbole" "$TMP/ml"
    awk 'BEGIN {
        print "user_id:token\titem_id:token\trating:float\ttimestamp:float"
        for (u = 1; u <= 40; u++) for (i = 0; i < 12; i++) printf "%d\t%d\t%d\t%d\n", u, (u + i) % 15 + 1, 1 + i % 5, 880000000 + u * 100 + i * 1000
    }' >"$TMP/recbole/small.inter"
    awk 'BEGIN {
        print "item_id:token\tmovie_title:token_seq"
        for (i = 1; i <= 15; i++) printf "%d\tFilm %d\n", i, i
    }' >"$TMP/recbole/small.item"
    tail -n +2 "$TMP/recbole/small.inter" >"$TMP/ml/u.data"
    awk 'BEGIN {
        for (i = 1; i <= 15; i++) printf "%d|Film %d|01-Jan-1995||http://example|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n", i, i
    }' >"$TMP/ml/u.item"
}

@test "prepare: RecBole and MovieLens logs give the same rows" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/c"
    says '*read *interactions 480, users 40, items *kept * rows: train 352, valid *wrote *c; the prompt calls an item "recbole": --category*next: latentr3 sft *'
    [[ $output != *[{}]* && $output != *' 0'[,\;]* ]]
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a" --category movie
    exits 0 "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/b"
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/b/$file"; done
    # A row for each interaction but a user's first, cut 80/10/10.
    "$LATENTR3" inspect --json "$TMP/a" >"$TMP/json"
    jq -e '.kind == "data" and .category == "movie" and .items == 15 and .rows == {"train": 352, "valid": 44, "test": 44}' "$TMP/json"
    exits 0 "$LATENTR3" inspect "$TMP/a"
    says '*kind: data*items: 15*  train: 352*'
}

@test "prepare: the same log gives the same bytes" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a"
    exits 0 env TZ=Asia/Tokyo "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/b"
    diff -r "$TMP/a" "$TMP/b"
}

@test "prepare: the same log as TSV, CSV and JSON lines, plain and gzip, gives the same rows" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a"
    mkdir "$TMP/tsv" "$TMP/csv" "$TMP/jsonl"
    sed -E '1s/:[a-z_]+//g' "$TMP/recbole/small.inter" | gzip >"$TMP/tsv/log.gz"
    sed -E '1s/:[a-z_]+//g' "$TMP/recbole/small.item" >"$TMP/tsv/titles"
    zcat "$TMP/tsv/log.gz" | tr '\t' , >"$TMP/csv/log"
    tr '\t' , <"$TMP/tsv/titles" | gzip >"$TMP/csv/titles"
    awk 'NR > 1 {printf "{\"user\": %s, \"asin\": \"%s\", \"stars\": %s, \"ts\": %s000}\n", $1, $2, $3, $4}' "$TMP/recbole/small.inter" >"$TMP/jsonl/log"
    awk -F '\t' 'NR > 1 {printf "{\"asin\": \"%s\", \"title\": \"%s\"}\n", $1, $2}' "$TMP/recbole/small.item" >"$TMP/jsonl/titles"
    for format in tsv csv jsonl; do
        "$LATENTR3" prepare --data "$TMP/$format" --out "$TMP/$format.out" --json 2>"$TMP/said" |
            jq -e --arg format "$format" '.source.format == $format and .counts.rows == {"train": 352, "valid": 44, "test": 44}
                and .dropped.interactions.too_few == 0 and (.source.files | length) == 2 and (.files["test.csv"] | length) == 32'
        grep -q "log.*: $format\$" "$TMP/said"
        for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/$format.out/$file"; done
    done
    # A pipe, and the items named.
    mkfifo "$TMP/pipe"
    cat "$TMP/csv/log" >"$TMP/pipe" &
    exits 0 "$LATENTR3" prepare --data "$TMP/pipe" --items "$TMP/tsv/titles" --out "$TMP/piped"
    cmp "$TMP/a/train.csv" "$TMP/piped/train.csv"
    # What a pipe is called says nothing of the items; a file's folder does.
    [ "$(jq -r .category "$TMP/piped/dataset.json")" = item ]
    exits 0 "$LATENTR3" prepare --data <(cat "$TMP/csv/log") --items "$TMP/tsv/titles" --out "$TMP/substituted"
    [ "$(jq -r .category "$TMP/substituted/dataset.json")" = item ]
    cat "$TMP/csv/log" | "$LATENTR3" prepare --data /dev/stdin --items "$TMP/tsv/titles" --out "$TMP/stdin" 2>/dev/null
    [ "$(jq -r .category "$TMP/stdin/dataset.json")" = item ]
    [ "$(jq -r .category "$TMP/csv.out/dataset.json")" = csv ]
    # The folder that was written is itself an input.
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/again" --strict
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/again/$file"; done
    jq -e '.leakage.train_rows_after_first_test == 0 and .cold.rows.test == 0' "$TMP/again/dataset.json"
}

@test "prepare: items bear the log's ids, or numbers as published; a published folder's are found in its rows" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/log"
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/number" --item-ids number
    for file in train.csv valid.csv test.csv; do cmp "$TMP/log/$file" "$TMP/number/$file"; done
    cmp <(cut -f1,2 "$TMP/log/info.txt") "$TMP/number/info.txt"
    cmp <(cut -f1,5 "$TMP/log/info.txt" | awk -F'\t' '{print $2 "\t" $1}' | sort) <(tail -n +2 "$TMP/recbole/small.item" | sort)
    jq -e '.options.item_ids == "number"' "$TMP/number/dataset.json"
    exits 0 "$LATENTR3" prepare --data "$TMP/number" --out "$TMP/found"
    cmp "$TMP/log/info.txt" "$TMP/found/info.txt"
    exits 0 "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/again" --item-ids number
    cmp "$TMP/number/info.txt" "$TMP/again/info.txt"
    # Rows that do not agree name nothing.
    for change in "2s/\['[0-9]*'/['99'/" "2,\$s/'7'/'8'/g"; do
        rm -rf "$TMP/odd" "$TMP/kept"
        mkdir "$TMP/odd"
        cp "$TMP"/number/{info.txt,train.csv,valid.csv,test.csv} "$TMP/odd"
        sed -i "$change" "$TMP/odd/train.csv"
        exits 0 "$LATENTR3" prepare --data "$TMP/odd" --out "$TMP/kept"
        says '*do not name one item each*'
        cmp "$TMP/number/info.txt" "$TMP/kept/info.txt"
    done
}

@test "prepare: a published folder's lost train.csv is made of the histories that are left" {
    "$LATENTR3" synth --out "$TMP/world"
    exits 0 "$LATENTR3" prepare --data "$TMP/world/log" --out "$TMP/whole" --max-history 1000
    exits 0 "$LATENTR3" prepare --data "$TMP/world/log" --out "$TMP/short"
    for world in whole short; do
        mv "$TMP/$world/train.csv" "$TMP/$world.train"
        exits 0 "$LATENTR3" prepare --data "$TMP/$world" --out "$TMP/$world.made" --train-from-histories --max-history 1000 --strict
        says '*train.csv: not there; *rows made of the histories*'
        jq -e '.options.train_from_histories and .leakage.train_rows_after_first_test == 0' "$TMP/$world.made/dataset.json"
        for file in valid.csv test.csv; do cmp "$TMP/$world/$file" "$TMP/$world.made/$file"; done
    done
    # Where histories are whole, it is what the users who have rows left had before validation, bytes and order.
    awk -F, 'FNR == 1 { file++ }
        FNR > 1 && file < 3 { left[$1] = 1 }
        FNR > 1 && file == 1 && (!until || $NF + 0 < until) { until = $NF + 0 }
        file == 3 && (FNR == 1 || ($1 in left && $NF + 0 < until))' "$TMP"/whole/{valid,test}.csv "$TMP/whole.train" >"$TMP/expected"
    [ "$(wc -l <"$TMP/expected")" -gt 100 ]
    cmp "$TMP/expected" "$TMP/whole.made/train.csv"
    # Of ten a row, nine targets a user are left; every row is one of the true ones, but for what its history has lost.
    awk -F, 'FNR > 1 { n[$1]++ } END { for (user in n) if (n[user] > 9) exit 1 }' "$TMP/short.made/train.csv"
    diff <(awk -F, 'FNR > 1 { print $1, $NF }' "$TMP/short.made/train.csv" | sort) <(awk -F, 'FNR > 1 { print $1, $NF }' "$TMP/expected" | sort) |
        awk '/^</ { exit 1 }'
    # A history of three: the last three.
    exits 0 "$LATENTR3" prepare --data "$TMP/short" --out "$TMP/three" --train-from-histories --max-history 3
    [ "$(wc -l <"$TMP/three/train.csv")" -eq "$(wc -l <"$TMP/short.made/train.csv")" ]
    awk -F, 'FNR > 1 && NF > 3 * 5 + 6 { exit 1 }' "$TMP/three/train.csv"
    refuses 2 '*train.csv is there*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/whole.made" --out "$TMP/no" --train-from-histories
    refuses 2 '*not a folder in the published layout*--train-from-histories*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/world/log" --out "$TMP/no" --train-from-histories
    sed -i 's/history_timestamp/history_seconds/' "$TMP/short/valid.csv"
    refuses 3 '*valid.csv: no column history_timestamp*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/short" --out "$TMP/no" --train-from-histories
}

@test "prepare: histories of one item make no train.csv" {
    own_log "$TMP/log.csv" user_id,item_id,time,title
    exits 0 "$LATENTR3" prepare --data "$TMP/log.csv" --max-history 1 --out "$TMP/a"
    rm "$TMP/a/train.csv" "$TMP/a/dataset.json"
    LATENTR3_LOG=error refuses 3 '*train.csv: no row can be made: no history in the other files has two items' \
        "$LATENTR3" prepare --data "$TMP/a" --train-from-histories --out "$TMP/no"
    [ -z "$(ls -A "$TMP/no")" ]
}

@test "prepare: a published folder is read as everybody reads it" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a" --category film
    "$LATENTR3" catalog remove --data "$TMP/a" --id 3
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/again"
    jq -e '.category == "film" and .counts.items == 14 and .counts.removed_items == 1' "$TMP/again/dataset.json"
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/named" --category movie
    jq -e '.category == "movie"' "$TMP/named/dataset.json"
    # A change of the catalogue that was cut short behind dataset.json has happened.
    cp "$TMP/a/info.txt" "$TMP/before"
    "$LATENTR3" catalog add --data "$TMP/a" --id 99 --title "New Film"
    mv "$TMP/a/info.txt" "$TMP/a/info.txt.next"
    cp "$TMP/before" "$TMP/a/info.txt"
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/next"
    "$LATENTR3" catalog list --data "$TMP/next" 2>/dev/null | grep -q $'^New Film\t99'
    # What would filter or split does nothing to it: refused, but for the defaults, and not written down as if it had.
    jq -e '.options == {"strict": false, "item_ids": "log"}' "$TMP/again/dataset.json"
    for idle in "--k-core 7" "--split leave-one-out" "--min-rating 3" "--max-history 3" "--from 2023-12-01" "--title-years drop" "--tie-order 4294967296" "--item-column x" \
        "--item-text x" "--items $TMP/recbole/small.item"; do
        LATENTR3_LOG=error refuses 2 "*: ${idle%% *} does nothing to a folder that is split already ($TMP/a)" "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/no" $idle
    done
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/defaults" --k-core 5 --max-history 10 --tie-order 0
    cp "$TMP/a/valid.csv" "$TMP/a/test.csv"
    refuses 3 '*a/test.csv: not the file that dataset.json describes*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/no"
}

@test "the published layout in folders: train/NAME.csv, valid/NAME.csv, test/NAME.csv, info/NAME.txt" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/flat" --item-ids number
    mkdir -p "$TMP/d3"/{train,valid,test,info}
    for split in train valid test; do cp "$TMP/flat/$split.csv" "$TMP/d3/$split/Films_5_2016-10-2018-11.csv"; done
    cp "$TMP/flat/info.txt" "$TMP/d3/info/Films_5_2016-10-2018-11.txt"
    exits 0 "$LATENTR3" prepare --data "$TMP/d3" --out "$TMP/out" --item-ids number
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/flat/$file" "$TMP/out/$file"; done
    diff <(jq -S .files "$TMP/flat/dataset.json") <(jq -S .source.files "$TMP/out/dataset.json")
    for folder in flat d3; do "$LATENTR3" inspect --json "$TMP/$folder" 2>/dev/null | jq '[.items, .rows, (.hashes | del(.folder))]' >"$TMP/$folder.json"; done
    cmp "$TMP/flat.json" "$TMP/d3.json"
    exits 0 "$LATENTR3" sasrec --data "$TMP/d3" --out "$TMP/model" --loss bce --width 8 --layers 1 --epochs 1
    for folder in flat d3; do
        exits 0 "$LATENTR3" eval --model popularity --data "$TMP/$folder" --results "$TMP/new/$folder/results"
        [[ $output != *"no train.csv"* ]]
    done
    cmp "$TMP/new/flat/results" "$TMP/new/d3/results"
    # A published category has the phrase of the published prompts.
    mkdir -p "$TMP/games"/{train,valid,test,info}
    for file in "$TMP"/d3/*/Films*; do cp "$file" "$TMP/games/$(basename "$(dirname "$file")")/Video_Games_5_2016-10-2018-11.${file##*.}"; done
    [ "$("$LATENTR3" inspect --json "$TMP/games" 2>/dev/null | jq -r .category)" = "video games" ]
    [ "$("$LATENTR3" inspect --json "$TMP/d3" 2>/dev/null | jq -r .category)" = item ]
    # What changes its catalogue changes the file that it has.
    "$LATENTR3" catalog add --data "$TMP/games" --id 9000 --title "New One"
    [ ! -e "$TMP/games/info.txt" ]
    grep -q '^New One' "$TMP/games/info/Video_Games_5_2016-10-2018-11.txt"
    "$LATENTR3" prepare --data "$TMP/games" --out "$TMP/games.data" 2>/dev/null
    [ "$(jq -r .category "$TMP/games.data/dataset.json")" = "video games" ]
    cp -r "$TMP/recbole" "$TMP/Toys_and_Games"
    "$LATENTR3" prepare --data "$TMP/Toys_and_Games" --out "$TMP/toys" 2>/dev/null
    [ "$(jq -r .category "$TMP/toys/dataset.json")" = "toys and games" ]
    # A split may be lost, an info.txt goes before, and several categories are none.
    rm -r "$TMP/d3/train"
    exits 0 "$LATENTR3" prepare --data "$TMP/d3" --out "$TMP/made" --train-from-histories
    [ -s "$TMP/made/train.csv" ]
    cp "$TMP/d3/info/Films_5_2016-10-2018-11.txt" "$TMP/d3/info/Books.txt"
    refuses 3 '*no interaction log was found (nor one info/NAME.txt*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/d3" --out "$TMP/none"
    refuses 4 '*d3: holds no info.txt*' env LATENTR3_LOG=error "$LATENTR3" recommend --model popularity --data "$TMP/d3" --history "Film 1"
}

@test "prepare: folders whose name is no phrase, milliseconds of 1970, JSON lines that begin badly, a member for two fields" {
    make_logs
    long=$(head -c 150 /dev/zero | tr '\0' x)
    for name in $'d\xff' "$long"; do
        mkdir "$TMP/$name"
        cp "$TMP/ml/"* "$TMP/$name"
        mv "$TMP/$name/u.data" "$TMP/$name/log.tsv"
        sed -i '1i user_id\titem_id\trating\ttimestamp' "$TMP/$name/log.tsv"
        refuses 2 '*name of the folder, which --category can replace: category phrase*' env LATENTR3_LOG=error "$LATENTR3" prepare --data "$TMP/$name/log.tsv" --out "$TMP/no"
        exits 0 "$LATENTR3" prepare --data "$TMP/$name/log.tsv" --out "$TMP/out-${#name}" --category film
    done
    mkdir "$TMP/jsonl"
    awk 'BEGIN {
        print "{\"user_id\": \"u0\", \"item_id\":"
        for (u = 1; u <= 40; u++) for (i = 0; i < 12; i++) printf "{\"user_id\": \"%d\", \"title\": \"Film %d\", \"timestamp\": %d000}\n", u, (u + i) % 15 + 1, 880000000 + u * 100 + i * 1000
    }' >"$TMP/jsonl/log.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/jsonl/log.jsonl" --item-column title --out "$TMP/member" --json
    says '*"bad_line": 1,*'
    [ "$(wc -l <"$TMP/member/info.txt")" -eq 15 ]
    awk 'BEGIN {
        for (u = 1; u <= 40; u++) for (i = 0; i < 12; i++) printf "{\"user_id\": \"%d\", \"parent_asin\": \"%d\", \"rating\": 5, \"timestamp\": %s}\n", u, (u + i) % 15 + 1, i ? 100000000000 + i : u % 2 ? 500 : 1700000000
    }' >"$TMP/jsonl/log.jsonl"
    awk 'BEGIN { for (i = 1; i <= 15; i++) printf "{\"parent_asin\": \"%d\", \"title\": \"Film %d\"}\n", i, i }' >"$TMP/jsonl/meta.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/jsonl/log.jsonl" --items "$TMP/jsonl/meta.jsonl" --format amazon-2023 --out "$TMP/early"
    says '*seconds, where milliseconds are expected*'
    jq -e '.dropped.interactions.bad_line == 40 and .window.first == "1973-03-03"' "$TMP/early/dataset.json"
    exits 0 "$LATENTR3" inspect --data "$TMP/early"
}

@test "prepare: milliseconds, seconds with a fraction and dates with one order what lies in one second alike" {
    for kind in milliseconds seconds date; do
        awk -v kind=$kind 'BEGIN {
            srand(5); print "user,item,time"
            for (u = 1; u <= 40; u++) for (i = 0; i < 12; i++) {
                second = 1538352000 + u * 100 + int(i / 4); fraction = int(1000 * rand())
                if (kind == "date") time = sprintf("2018-10-01T%02d:%02d:%02d.%03dZ", (second - 1538352000) / 3600, (second - 1538352000) % 3600 / 60, second % 60, fraction)
                else time = sprintf(kind == "seconds" ? "%d.%03d" : "%d%03d", second, fraction)
                printf "%d,%d,%s\n", u, (u + i) % 15 + 1, time
            }
        }' >"$TMP/$kind.csv"
        exits 0 "$LATENTR3" prepare --data "$TMP/$kind.csv" --category film --out "$TMP/$kind"
    done
    for file in train.csv valid.csv test.csv info.txt; do
        cmp "$TMP/milliseconds/$file" "$TMP/seconds/$file"
        cmp "$TMP/milliseconds/$file" "$TMP/date/$file"
    done
}

@test "prepare: a TSV of ids from 0 that looks like u.data: the options that read it are named, and do" {
    make_logs
    awk -F'\t' 'BEGIN {OFS = FS} {$1 -= 1; print}' "$TMP/ml/u.data" >"$TMP/ml/log.tsv"
    exits 0 "$LATENTR3" prepare --data "$TMP/ml/log.tsv" --out "$TMP/a"
    says '*line 1: an id that is not *; --format tsv --columns user,item,rating,time takes any *bad line 12*'
    exits 0 "$LATENTR3" prepare --data "$TMP/ml/log.tsv" --format tsv --columns user,item,rating,time --out "$TMP/b"
    jq -e '.counts.interactions == 480 and .counts.users == 40' "$TMP/b/dataset.json"
}

@test "dataset.json: the options as they were asked for, the rule of ties, no leakage without times" {
    make_logs
    tail -n +2 "$TMP/recbole/small.inter" >"$TMP/bare"
    sed 's/:[a-z_]*//g' "$TMP/recbole/small.item" >"$TMP/items.tsv"
    exits 0 "$LATENTR3" prepare --data "$TMP/bare" --format tsv --columns user,item,rating,time --items "$TMP/items.tsv" --title-column movie_title \
        --from 1990-01-01 --until 2020-01-01 --tie-order 5 --out "$TMP/a" --json
    jq -e '(.options | .from == "1990-01-01" and .until == "2020-01-01" and .columns == {"columns": "user,item,rating,time", "title": "movie_title"})
        and (.ties.rule | test("chance")) and .leakage.share == 0' "$TMP/a/dataset.json"
    exits 0 "$LATENTR3" prepare --data "$TMP/bare" --format tsv --columns user,item,-,- --items "$TMP/items.tsv" --split leave-one-out --out "$TMP/b"
    [[ $output != *"later than the first test"* ]]
    jq -e '.leakage == null and .ties.rule == "order of the log" and (.options | has("from") | not)' "$TMP/b/dataset.json"
}

@test "prepare: time begins with 1970" {
    awk 'BEGIN { print "user,item,time"; for (u = 1; u <= 9; u++) for (i = 0; i < 6; i++) printf "u%d,i%d,%d\n", u, (u + i) % 7, i }' >"$TMP/log.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/log.csv" --k-core 0 --split leave-one-out --from 1970-01-01 --strict --out "$TMP/a"
    jq -e '.counts.interactions == 54' "$TMP/a/dataset.json"
    exits 0 "$LATENTR3" eval --model popularity --data "$TMP/a" --strict
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --strict --out "$TMP/b"
    cmp "$TMP/a/train.csv" "$TMP/b/train.csv"
}

@test "prepare: what a killed one left is no reason to refuse, and goes" {
    make_logs
    mkdir "$TMP/a"
    touch "$TMP/a/train.csv.tmp-2147483647-0"
    exits 0 "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/a"
    [ "$(ls "$TMP/a" | grep -c tmp)" -eq 0 ]
}

@test "prepare: a disk that fills up leaves an earlier folder as it was" {
    shim=$(dirname "$LATENTR3")/faults.so
    [ -e "$shim" ] || skip "built without tests/shim/faults.c"
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a"
    cp -r "$TMP/a" "$TMP/kept"
    tail -n +20 "$TMP/ml/u.data" >"$TMP/less" && mv "$TMP/less" "$TMP/ml/u.data"
    for call in write fsync; do
        for at in 1 2 3 4; do
            exits 4 env FAULTS_CALLS=$call FAULTS_UNDER="$TMP/a" FAULTS_AT=$at FAULTS_ON=1 FAULTS_HOW=ENOSPC LD_PRELOAD="$shim" "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/a" --force
            diff -r "$TMP/a" "$TMP/kept"
        done
    done
    exits 0 "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/a" --force
    not cmp -s "$TMP/a/train.csv" "$TMP/kept/train.csv"
}

@test "prepare: bad lines are named and counted, or refused" {
    make_logs
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/a"
    printf '1\t2\n1\t2\tx\t880000000\n' >>"$TMP/recbole/small.inter"
    exits 0 "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/b"
    says '*small.inter: line 482: too few fields (line passed over)*small.inter: line 483: a rating that is not a plain number*bad line 2*'
    cmp "$TMP/a/train.csv" "$TMP/b/train.csv"
    refuses 3 '*small.inter: line 482: too few fields' env LATENTR3_LOG=error "$LATENTR3" prepare --strict --data "$TMP/recbole" --out "$TMP/c"
    [ ! -e "$TMP/c/train.csv" ]
    gzip "$TMP/recbole/small.inter"
    head -c 500 "$TMP/recbole/small.inter.gz" >"$TMP/recbole/small.inter"
    rm "$TMP/recbole/small.inter.gz"
    exits 3 "$LATENTR3" prepare --data "$TMP/recbole/small.inter" --format recbole --out "$TMP/c"
    says '*byte 500 of the gzip file: the file is cut off*'
    refuses 2 '*--from "2017-10": a date of the form 2017-10-01*' "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/c" --from 2017-10
    refuses 2 '*--from must say where it begins' "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/c" --min-items 3
}

@test "prepare: a log too small to train on, or to validate" {
    printf 'user,item,time\nu,a,1\nu,b,2\nu,c,3\nv,a,1\nv,b,2\nv,c,3\n' >"$TMP/log.csv"
    export LATENTR3_LOG=error
    refuses 3 '*no row is left to train on (--k-core 5 leaves 0 of 6 interactions): a smaller one keeps more' "$LATENTR3" prepare --data "$TMP/log.csv" --out "$TMP/a"
    refuses 3 '*leaves 6 of 6 interactions): --split leave-one-out trains on users with four or more' \
        "$LATENTR3" prepare --data "$TMP/log.csv" --k-core 0 --split leave-one-out --out "$TMP/a"
    printf 'user,item,time\nu,a,1\nu,b,2\n' >"$TMP/two.csv"
    refuses 3 '*leaves 2 of 2 interactions): --split time makes rows of users with two or more*' "$LATENTR3" prepare --data "$TMP/two.csv" --k-core 0 --out "$TMP/a"
    unset LATENTR3_LOG
    exits 0 "$LATENTR3" prepare --data "$TMP/log.csv" --k-core 0 --category thing --out "$TMP/a"
    says '*no rows are left for valid.csv*wrote *'
    [[ $output != *next:* ]]
    # A log in the place of the folder.
    refuses 4 "*log.csv: a file, not a data folder; \`latentr3 prepare --data $TMP/log.csv --out DIR\` makes one of a log" \
        env LATENTR3_LOG=error "$LATENTR3" eval --model popularity --data "$TMP/log.csv"
}

@test "prepare: what is refused" {
    make_logs
    refuses 4 '*' "$LATENTR3" prepare --data "$TMP/none" --out "$TMP/out"
    refuses 2 '*is the input itself' "$LATENTR3" prepare --data "$TMP/recbole" --out "$TMP/recbole" --force
    printf '\xff\xfe' >>"$TMP/recbole/small.item"
    exits 3 "$LATENTR3" prepare --strict --data "$TMP/recbole" --out "$TMP/out"
    [ ! -e "$TMP/out/train.csv" ]
    : >"$TMP/ml/u.data"
    exits 3 "$LATENTR3" prepare --data "$TMP/ml" --out "$TMP/out"
    [ ! -e "$TMP/out/train.csv" ]
}

@test "synth: a catalogue, a log, a data folder and a model, the same for the same seed" {
    exits 0 "$LATENTR3" synth --out "$TMP/a" --items 60 --rows 900
    exits 0 "$LATENTR3" synth --out "$TMP/b" --items 60 --rows 900
    diff -r "$TMP/a" "$TMP/b"
    exits 0 "$LATENTR3" synth --out "$TMP/c" --items 60 --rows 900 --seed 7
    differ "$TMP/a/data/info.txt" "$TMP/c/data/info.txt"
    "$LATENTR3" inspect --json "$TMP/a/data" | jq -e '.items <= 60 and .items > 40 and .rows.train > 500'
    "$LATENTR3" inspect --json "$TMP/a/model" | jq -e '.configuration.model_type == "llama" and .tokenizer.size < 1458'
    # Every title is a handful of tokens: the vocabulary was learnt from them.
    cut -f1 "$TMP/a/data/info.txt" | "$LATENTR3" tokenize --model "$TMP/a/model" | jq -se 'map(length) | max <= 4'
    # The model alone, for a data folder that is there: the same one for the same titles.
    exits 0 "$LATENTR3" synth --data "$TMP/a/data" --out "$TMP/d"
    diff "$TMP/a/model/model.safetensors" "$TMP/d/model.safetensors"
    diff "$TMP/a/model/tokenizer.json" "$TMP/d/tokenizer.json"
    exits 0 "$LATENTR3" synth --data "$TMP/a/data" --out "$TMP/e" --layers 2 --width 32
    "$LATENTR3" inspect --json "$TMP/e" | jq -e '.configuration | .num_hidden_layers == 2 and .hidden_size == 32'
    refuses 2 "*--width: 60 is not a multiple of 8" "$LATENTR3" synth --out "$TMP/f" --width 60
}

@test "eval, recommend and score accept nothing that is no data folder" {
    for command in eval score; do
        refuses 4 "*none*" env LATENTR3_LOG=error "$LATENTR3" "$command" --model "$GOLDEN/tiny-llama" --data "$TMP/none"
    done
    mkdir "$TMP/empty"
    exits 4 "$LATENTR3" recommend --model "$GOLDEN/tiny-llama" --data "$TMP/empty" --history A
}

@test "prepare: index texts out of a column, positions for names, ISO dates" {
    "$LATENTR3" synth --items 60 --rows 600 --out "$TMP/world" 2>/dev/null
    tail -n +2 "$TMP/world/log/synth.inter" >"$TMP/rows"
    mkdir "$TMP/named" "$TMP/bare"
    { printf 'user\titem\ttime\n'; cut -f1,2,4 "$TMP/rows"; } >"$TMP/named/log.tsv"
    awk -F'\t' '{print strftime("%Y-%m-%dT%H:%M:%SZ", $4, 1) ",x," $2 "," $1}' "$TMP/rows" >"$TMP/bare/log.csv"
    { printf 'item_id,title,sid\n'; tail -n +2 "$TMP/world/log/synth.item" | awk -F'\t' '{print $1 "," $2 "," ($1 % 3 ? "<a_" $1 ">" : "")}'; } >"$TMP/items.csv"
    "$LATENTR3" prepare --data "$TMP/named/log.tsv" --items "$TMP/items.csv" --item-text sid --out "$TMP/a" 2>/dev/null
    "$LATENTR3" prepare --data "$TMP/bare/log.csv" --format csv --columns time,-,item,user --items "$TMP/items.csv" --item-text sid \
        --out "$TMP/b" 2>/dev/null
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/b/$file"; done
    # The same as catalog text makes of it.
    "$LATENTR3" prepare --data "$TMP/named/log.tsv" --items "$TMP/items.csv" --out "$TMP/c" 2>/dev/null
    awk -F'\t' '$3 != "" {print $5 "\t" $3}' "$TMP/a/info.txt" >"$TMP/texts"
    [ -s "$TMP/texts" ]
    "$LATENTR3" catalog text --data "$TMP/c" --file "$TMP/texts" >/dev/null 2>&1
    cmp "$TMP/a/info.txt" "$TMP/c/info.txt"
    "$LATENTR3" inspect --data "$TMP/a" --json | jq -e '.index_texts > 0 and .index_texts < .items'
    export LATENTR3_LOG=error
    refuses 3 '*no column nothing*' "$LATENTR3" prepare --data "$TMP/named/log.tsv" --items "$TMP/items.csv" --item-text nothing --out "$TMP/d"
    refuses 2 '*--item-text: * file of items*' "$LATENTR3" prepare --data "$TMP/named/log.tsv" --item-text sid --out "$TMP/d"
    refuses 2 '*--columns needs --format tsv or csv' "$LATENTR3" prepare --data "$TMP/bare/log.csv" --columns user,item --out "$TMP/d"
    refuses 2 '*"who" is none of*' "$LATENTR3" prepare --data "$TMP/bare/log.csv" --format csv --columns who,item --out "$TMP/d"
}

@test "prepare: a folder's log of a format that is given, though it does not look like one" {
    export LATENTR3_LOG=error
    prepares() { # FOLDER OPTION...: the same as its log.csv named
        rm -rf "$TMP/a" "$TMP/b"
        exits 0 "$LATENTR3" prepare --split leave-one-out --k-core 0 --data "$1" --out "$TMP/a" "${@:2}"
        exits 0 "$LATENTR3" prepare --split leave-one-out --k-core 0 --data "$1/log.csv" --out "$TMP/b" "${@:2}"
        for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/b/$file"; done
    }
    mkdir "$TMP/ml" "$TMP/bare" "$TMP/words"
    awk 'BEGIN { for (u = 1; u <= 9; u++) for (i = 1; i <= 6; i++) printf "%d,%d,5,%d\n", u, i, 1500000000 + u * 100 + i }' >"$TMP/bare/log.csv"
    { echo userId,movieId,rating,timestamp; cat "$TMP/bare/log.csv"; } >"$TMP/ml/log.csv"
    prepares "$TMP/ml" --format csv
    jq -e '.source.format == "csv"' "$TMP/a/dataset.json"
    prepares "$TMP/bare" --format csv --columns user,item,rating,time
    awk 'BEGIN { print "item_id,title,year,rating"; for (i = 1; i <= 6; i++) printf "%d,Item %d,1990,4\n", i, i }' >"$TMP/bare/items.csv"
    echo "One, two, three, four" >"$TMP/bare/README"
    prepares "$TMP/bare" --format csv --columns user,item,rating,time
    grep -q 'Item 3' "$TMP/a/info.txt"
    printf 'bo a b c d a\ncy b c d a e\n' >"$TMP/words/log.csv"
    prepares "$TMP/words" --format sequences
    # What is found to be of that format goes before what can be read so.
    { echo user_id,item_id,rating,timestamp; cat "$TMP/bare/log.csv"; } >"$TMP/ml/shop.csv"
    exits 0 env LATENTR3_LOG=info "$LATENTR3" prepare --data "$TMP/ml" --format csv --out "$TMP/c"
    says '*shop.csv: csv (as --format says)*'
    cp "$TMP/bare/log.csv" "$TMP/bare/other.csv"
    refuses 3 '*bare: several logs (log.csv, other.csv); name one with --data' "$LATENTR3" prepare --data "$TMP/bare" --format csv --columns user,item,rating,time --out "$TMP/no"
    # Why there is none.
    refuses 3 '*no interaction log of the format csv was found; *bare/log.csv: line 1: 4 fields where there should be 3' \
        "$LATENTR3" prepare --data "$TMP/bare" --format csv --columns user,item,rating --out "$TMP/no"
    refuses 2 '*--columns: "who" is none of *' "$LATENTR3" prepare --data "$TMP/bare" --format csv --columns who,item --out "$TMP/no"
    rm "$TMP/words/log.csv"
    refuses 3 '*words: no interaction log of the format csv was found; name the file' "$LATENTR3" prepare --data "$TMP/words" --format csv --out "$TMP/no"
}

# own_log FILE HEADER: a shop's log, CSV, of 30 users with 15 of 20 items: user, item, time, title.
own_log() {
    mkdir -p "$(dirname "$1")"
    awk -v header="$2" 'BEGIN {
        print header
        for (u = 0; u < 30; u++) for (i = 0; i < 15; i++) printf "u%d,S%d,2024-01-02 10:%02d:%02d,Product %d\n", u, (u + i * 7) % 20, i, u, (u + i * 7) % 20
    }' >"$1"
}

@test "prepare: a log whose columns are not known: what is missing, what there is, and the options that name it" {
    own_log "$TMP/a/shop.csv" customer,sku,bought_at,product
    export LATENTR3_LOG=error
    missing="a/shop.csv: line 1: no column of the user or of the item's id among customer, sku, bought_at, product; --user-column and --item-column name them*"
    refuses 3 "*a: no interaction log was found; *$missing" "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/no"
    refuses 3 "latentr3: $TMP/$missing" "$LATENTR3" prepare --data "$TMP/a/shop.csv" --out "$TMP/no"
    refuses 3 "latentr3: $TMP/$missing" "$LATENTR3" prepare --data "$TMP/a/shop.csv" --format csv --out "$TMP/no"
    refuses 3 "*line 1: no column of the item's id among *; --item-column names it*" "$LATENTR3" prepare --data "$TMP/a" --user-column customer --out "$TMP/no"
    refuses 3 "*no column custmer among customer, *" "$LATENTR3" prepare --data "$TMP/a" --user-column custmer --out "$TMP/no"
    # A name that is mistyped, of a log that else is one: beside the items, and as a file.
    own_log "$TMP/b/shop.csv" User,Item,Timestamp,Title
    printf 'item_id,title\nS1,One\n' >"$TMP/b/items.csv"
    refuses 3 "*b: no interaction log was found; *shop.csv: line 1: no column nope among User, Item, Timestamp, Title" "$LATENTR3" prepare --data "$TMP/b" --time-column nope --out "$TMP/no"
    refuses 3 "*b/shop.csv: line 1: no column nope among User, *" "$LATENTR3" prepare --data "$TMP/b/shop.csv" --time-column nope --out "$TMP/no"
    awk -F, 'NR > 1 { printf "{\"who\": \"%s\", \"Item\": \"%s\", \"when\": \"%s\"}\n", $1, $2, $3 }' "$TMP/b/shop.csv" >"$TMP/shop.jsonl"
    refuses 3 "*shop.jsonl: no member of the user among who, Item, when; --user-column names it" "$LATENTR3" prepare --data "$TMP/shop.jsonl" --out "$TMP/no"
    # No file of items has the title in its place: the ids would become titles.
    rm "$TMP/b/items.csv"
    refuses 3 "*b/shop.csv: line 1: no column Titel among User, Item, Timestamp, Title" "$LATENTR3" prepare --data "$TMP/b" --title-column Titel --out "$TMP/no"
    refuses 3 "*shop.jsonl: no member Titel among who, Item, when" "$LATENTR3" prepare --data "$TMP/shop.jsonl" --user-column who --title-column Titel --out "$TMP/no"
    unset LATENTR3_LOG
    exits 0 "$LATENTR3" prepare --data "$TMP/b" --out "$TMP/named"
    exits 0 "$LATENTR3" prepare --data "$TMP/a" --user-column customer --item-column sku --time-column bought_at --title-column product --out "$TMP/given"
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/named/$file" "$TMP/given/$file"; done
}

@test "prepare: what the prompt calls an item where a file is named without its folder" {
    own_log "$TMP/user/log.csv" user,item,time,title
    cd "$TMP/user"
    exits 0 "$LATENTR3" prepare --data log.csv --out "$TMP/a"
    exits 0 "$LATENTR3" prepare --data ./log.csv --out "$TMP/b"
    exits 0 "$LATENTR3" prepare --data . --out "$TMP/c"
    jq -es 'map(.category) == ["item", "user", "user"]' "$TMP"/{a,b,c}/dataset.json
}

@test "prepare: a log without times: the option that names them, and a warning where the log's order takes their place" {
    own_log "$TMP/a.csv" user_id,item_id,when,title
    LATENTR3_LOG=error refuses 2 "*a.csv: no times to split by; --time-column names their column among user_id, item_id, when, title; --split leave-one-out needs none" \
        "$LATENTR3" prepare --data "$TMP/a.csv" --out "$TMP/no"
    exits 0 "$LATENTR3" prepare --data "$TMP/a.csv" --split leave-one-out --out "$TMP/a"
    says '*a.csv: no times: the order of the log is taken for the order in time; --time-column names their column among *'
    exits 0 "$LATENTR3" prepare --data "$TMP/a.csv" --split leave-one-out --time-column when --out "$TMP/timed"
    [[ $output != *"the order in time"* ]]
    seq 40 | awk '{print $1, 1, 2, 3, 4, 5}' >"$TMP/sequences"
    exits 0 "$LATENTR3" prepare --data "$TMP/sequences" --split leave-one-out --out "$TMP/b" # whose order is that
    [[ $output != *"the order in time"* ]]
}

@test "prepare: a file of items that is not that of the log" {
    own_log "$TMP/shop/shop.csv" user_id,item_id,time,product
    # Without a title it is none, however its item is called.
    echo '{"item_id": "S1", "reason": "broken"}' >"$TMP/shop/s.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/shop/shop.csv" --title-column product --out "$TMP/a"
    [[ $output != *s.jsonl* ]]
    for i in 1 2 3 4 5 6; do echo "{\"item_id\": \"S$i\", \"product\": \"Product $i\"}"; done >"$TMP/shop/s.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/shop/shop.csv" --title-column product --k-core 0 --out "$TMP/b"
    says '*shop.csv: 3?? of 450 interactions are with items that *s.jsonl has not; --items names another file of them*'
    echo '{"item_id": "X1", "product": "One"}' >"$TMP/shop/s.jsonl"
    LATENTR3_LOG=error refuses 3 '*: 450 with items that the file of items has not: *s.jsonl; --items names another, or the log where it has titles' \
        "$LATENTR3" prepare --data "$TMP/shop/shop.csv" --title-column product --out "$TMP/c"
    exits 0 "$LATENTR3" prepare --data "$TMP/shop/shop.csv" --items "$TMP/shop/shop.csv" --title-column product --out "$TMP/d"
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/d/$file"; done
}

# as_log FILE OPTION...: as_named for prepare, and two more. skip: a line is passed over, and refused by --strict; strict: it refuses it,
# and else the line is kept and counted.
as_log() {
    local file=$1
    shift
    rm -rf "$TMP/out"
    case ${file##*/} in
        good*) as_named "$file" 3 "$LATENTR3" prepare "$@" --out "$TMP/out" --strict ;;
        bad*) as_named "$file" 3 "$LATENTR3" prepare "$@" --out "$TMP/out" ;;
        skip* | strict*)
            LATENTR3_LOG=error refuses 3 "latentr3: *: line *" "$LATENTR3" prepare "$@" --out "$TMP/out" --strict &&
                exits 0 "$LATENTR3" prepare "$@" --out "$TMP/out" &&
                if [[ $file == */skip* ]]; then says '*: line *line passed over*'; else says '*not in time order*'; fi
            ;;
        *) false ;;
    esac || {
        echo "$file"
        return 1
    }
}

@test "files whose names say whether they are read: tests/data/rows, amazon, movielens" {
    mkdir "$TMP/rows"
    cp tests/data/rows/info.txt "$TMP/rows"
    for file in tests/data/rows/*.csv; do
        cp "$file" "$TMP/rows/test.csv"
        as_log "$file" --format latentr3 --data "$TMP/rows"
    done
    here=tests/data/amazon
    for file in $here/*; do
        case $file in
            $here/items.json) ;;
            *.items.json) as_log "$file" --k-core 0 --format amazon-2018 --data $here/good.json --items "$file" ;;
            *) as_log "$file" --k-core 0 --format amazon-2018 --data "$file" --items $here/items.json ;;
        esac
    done
    here=tests/data/movielens
    for file in $here/*; do
        case $file in
            *.ratings.dat) as_log "$file" --k-core 0 --format ml-1m --data "$file" --items $here/good.movies.dat ;;
            *.movies.dat) as_log "$file" --k-core 0 --format ml-1m --data $here/good.ratings.dat --items "$file" ;;
            *.u.data) as_log "$file" --k-core 0 --format ml-100k --data "$file" --items $here/good.u.item ;;
            *.u.item) as_log "$file" --k-core 0 --format ml-100k --data $here/good.u.data --items "$file" ;;
            *) false ;;
        esac
    done
}

@test "prepare: the k-core of a long chain, which falls apart one by one" {
    {
        echo user_id,item_id,timestamp
        seq 0 19999 | shuf --random-source=<(yes) | awk '{ printf "p%d,q%d,%d\np%d,q%d,%d\n", $1, $1, 1500000000 + NR, $1, $1 + 1, 1500000001 + NR }'
        for u in {1..6}; do for i in {1..6}; do echo "b$u,c$i,150000000$i"; done; done
    } >"$TMP/chain.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/chain.csv" --k-core 2 --out "$TMP/chain"
    says '*kept      users 6, items 6, interactions 36;*'
    cut -f 1 "$TMP/chain/info.txt" | sort | diff - <(printf 'c%d\n' {1..6})
}

@test "prepare: a rating column that is empty is none; a bad value says whose it is; log and items of one name keep both hashes" {
    mkdir "$TMP/log" "$TMP/items"
    awk 'BEGIN { print "user_id,item_id,rating,timestamp"; for (i = 0; i < 60; i++) printf "u%d,i%d,,%d\n", i % 6, i % 7, 1500000000 + i }' >"$TMP/log/x.csv"
    awk 'BEGIN { print "item_id,title"; for (i = 0; i < 7; i++) printf "i%d,Title %d\n", i, i }' >"$TMP/items/x.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/log/x.csv" --items "$TMP/items/x.csv" --out "$TMP/out"
    jq -e '.read.ratings == false and (.source.files | length) == 2' "$TMP/out/dataset.json"
    sed '3s/,,/,five,/; 2s/,,/,5,/' "$TMP/log/x.csv" >"$TMP/rated.csv"
    exits 3 "$LATENTR3" prepare --data "$TMP/rated.csv" --out "$TMP/no" --strict
    says '*rated.csv: line 3: a rating that is not a plain number*'
    sed '3s/150000000./soon/' "$TMP/log/x.csv" >"$TMP/timed.csv"
    exits 3 "$LATENTR3" prepare --data "$TMP/timed.csv" --out "$TMP/no" --strict
    says '*timed.csv: line 3: a time that is neither*'
}

@test "prepare: a long log's bars are shown to their end" {
    awk 'BEGIN { print "user_id,item_id,title,timestamp"; for (i = 0; i < 70000; i++) printf "u%d,i%d,Thing %d,%d\n", i % 7000, i % 331, i % 331, 1500000000 + i }' >"$TMP/log.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/log.csv" --k-core 0 --out "$TMP/out"
    says '*reading   ?########################? *70000 lines*writing   ?########################? 63000/63000 rows*'
}

@test "prepare: ids do not take the place of the titles in a file that by its name holds the items" {
    own_log "$TMP/shop/log.csv" user_id,item_id,time,note
    items() { # FILE PATTERN: its text is standard input
        rm -f "$TMP"/shop/{items.*,log.json}
        cat >"$TMP/shop/$1"
        LATENTR3_LOG=error refuses 3 "*/shop/$1: $2; the file of items can be named with --items" \
            "$LATENTR3" prepare --data "$TMP/shop" --out "$TMP/no"
    }
    items items.csv 'line 2, field 2 *: a quote inside a field without quotes' <<<$'item_id,title\nS1,7" single\nS2,Film'
    items items.csv 'line 1: a field of the header stands twice' <<<'item_id,title,title'
    items items.csv 'no item' <<<'item_id,title'
    items items.csv 'line 1: no column of the item*' <<<$'S1,Film 1\nS2,Film 2'
    items items.csv 'no file of items that is known' <<<$'item_id;title\nS1;Film 1'
    items items.tsv 'line 1: more than 63 fields' <<<"item_id"$'\t'"title$(printf '\tx%d' {1..70})"
    items items.json 'a JSON array; what is read is one object a line' <<<'[{"item_id": "S1", "title": "Film 1"}]'
    items log.json 'line 1, byte 2: a single quote: this is Python, not JSON' <<<"{'item_id': 'S1', 'title': 'Film 1'}"
    items items.xlsx 'a zip archive, or a spreadsheet; *' < <(printf 'PK\3\4')
    items items.parquet 'Parquet; *' < <(printf 'PAR1\25\4')
    items items.jsonl 'line 1: more than 256 KiB; *' < <(printf '{"item_id": "S1", "title": "%300000d"}\n' 0)
    # A log of titles needs none of them, nor does one beside which another file says that it holds something.
    own_log "$TMP/shop/log.csv" user_id,item_id,time,title
    exits 0 "$LATENTR3" prepare --data "$TMP/shop" --out "$TMP/titled"
    own_log "$TMP/shop/log.csv" user_id,item_id,time,note
    mv "$TMP/shop/items.jsonl" "$TMP/shop/users.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/shop" --out "$TMP/ids"
    says "*the items' ids stand for them*"
    # What is named tells its own fault.
    printf 'item_id\ttitle%s\n' "$(printf '\tx%d' {1..70})" >"$TMP/items.tsv"
    LATENTR3_LOG=error refuses 3 '*items.tsv: line 1: more than 63 fields' \
        "$LATENTR3" prepare --data "$TMP/shop" --items "$TMP/items.tsv" --out "$TMP/no"
}

@test "prepare: Amazon's files of 2014 belong together by their names" {
    mkdir "$TMP/a"
    for u in {1..9}; do
        for i in {1..9}; do echo "{\"reviewerID\": \"U$u\", \"asin\": \"I$i\", \"overall\": 5.0, \"unixReviewTime\": $((1400000000 + 86400 * i + u))}"; done
    done >"$TMP/a/reviews_Video_Games_5.json"
    for i in {1..9}; do echo "{\"asin\": \"I$i\", \"title\": \"Game $i\"}"; done | tee "$TMP/a/meta_Video_Games.json" >"$TMP/a/meta_Books.json"
    exits 0 "$LATENTR3" prepare --data "$TMP/a/reviews_Video_Games_5.json" --out "$TMP/out"
    jq -e '.category == "video games"' "$TMP/out/dataset.json"
    says '*meta_Video_Games.json: *the items*'
    rm "$TMP/a/meta_Books.json"
    echo "{'asin': 'I1', 'title': 'Game 1'}" >"$TMP/a/meta_Video_Games.json"
    LATENTR3_LOG=error refuses 3 "*meta_Video_Games.json: line 1, byte 2: *this is Python, not JSON; --items names another file" \
        "$LATENTR3" prepare --data "$TMP/a" --out "$TMP/no"
}

@test "prepare: an index text's column that is not there is named, not the file of items" {
    own_log "$TMP/shop/log.csv" user_id,item_id,time,note
    { echo item_id,title,code && for i in {1..99}; do echo "S$i,Film $i,<c_$i>"; done; } >"$TMP/shop/items.csv"
    LATENTR3_LOG=error refuses 3 '*items.csv: line 1: no column sem among item_id, title, code' \
        "$LATENTR3" prepare --data "$TMP/shop" --item-text sem --out "$TMP/no"
    exits 0 "$LATENTR3" prepare --data "$TMP/shop" --item-text code --k-core 0 --out "$TMP/out"
    grep -q '<c_1>' "$TMP/out/info.txt"
}

@test "prepare: JSON lines whose first line lacks a member; packed files; a log whose first line is bad" {
    own_log "$TMP/log.csv" user_id,item_id,time,title
    awk -F, 'NR > 1 {
        title = NR > 2 ? ", \"Title\": \"" $4 "\"" : ""
        printf "{\"User_ID\": \"%s\", \"item_id\": \"%s\", \"Time\": \"%s\"%s}\n", $1, $2, $3, title
    }' "$TMP/log.csv" >"$TMP/log.jsonl"
    exits 0 "$LATENTR3" prepare --data "$TMP/log.csv" --out "$TMP/a"
    exits 0 "$LATENTR3" prepare --data "$TMP/log.jsonl" --out "$TMP/b"
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/b/$file"; done
    fault() { # PATTERN: its bytes are standard input
        cat >"$TMP/x.csv"
        LATENTR3_LOG=error refuses 3 "*x.csv: $1" "$LATENTR3" prepare --data "$TMP/x.csv" --out "$TMP/no"
    }
    fault 'packed by xz; *' < <(printf '\xfd7zXZ\0')
    fault 'packed by bzip2; *' < <(bzip2 -c "$TMP/log.csv" 2>/dev/null || printf 'BZh91AY&SY\x8e\x0c\0')
    fault 'packed by zstd; *' < <(printf '\x28\xb5\x2f\xfd')
    # Names that only begin so are names.
    own_log "$TMP/log.csv" user_id,item_id,time,title
    sed 1d "$TMP/log.csv" | sed '1s/^u0/BZh91AY\&SY/; 2s/^u0/PAR1/' >"$TMP/bare.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/bare.csv" --format csv --columns user,item,time,title --out "$TMP/bare"
    fault 'line 2, field 2 *: a quote inside a field without quotes' <<<$'user_id,item_id,time\nu,7"x,1500000000'
    fault 'no interaction' <<<user_id,item_id,time
}

@test "prepare: days of eight digits are days" {
    dated() { # FORM
        awk -v form="$1" 'BEGIN {
            print "user_id,item_id,date,title"
            for (u = 0; u < 30; u++) for (i = 0; i < 15; i++)
                printf "u%d,S%d," form ",Product %d\n", u, (u + i * 7) % 20, 2001 + i, 1 + u % 12, 1 + u % 28, (u + i * 7) % 20
        }'
    }
    dated %d-%02d-%02d >"$TMP/iso.csv"
    dated %d%02d%02d >"$TMP/digits.csv"
    not cmp -s "$TMP/iso.csv" "$TMP/digits.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/iso.csv" --out "$TMP/a"
    exits 0 "$LATENTR3" prepare --data "$TMP/digits.csv" --out "$TMP/b" --strict
    for file in train.csv valid.csv test.csv info.txt; do cmp "$TMP/a/$file" "$TMP/b/$file"; done
    sed -i '$s/,20[0-9]*,/,20160230,/' "$TMP/digits.csv"
    refuses 3 '*: a time that is no day, where others are days such as 20181001' env LATENTR3_LOG=error \
        "$LATENTR3" prepare --data "$TMP/digits.csv" --out "$TMP/no" --strict
    # Seconds that happen to be written with eight digits are seconds.
    awk -F, -v OFS=, 'NR > 1 { $3 = 20161300 + NR } { print }' "$TMP/iso.csv" >"$TMP/early.csv"
    exits 0 "$LATENTR3" prepare --data "$TMP/early.csv" --out "$TMP/c" --strict
    grep -q ',20161' "$TMP/c/train.csv"
}
