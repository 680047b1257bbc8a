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
}

@test "eval, recommend and score accept nothing that is no data folder" {
    for command in eval score; do
        refuses 4 "*none*" env LATENTR3_LOG=error "$LATENTR3" "$command" --model "$GOLDEN/tiny-llama" --data "$TMP/none"
    done
    mkdir "$TMP/empty"
    exits 4 "$LATENTR3" recommend --model "$GOLDEN/tiny-llama" --data "$TMP/empty" --history A
}
