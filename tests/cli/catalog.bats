#!/usr/bin/env bats
# Items that change: catalog add, remove, text, list, and what the other commands make of it.

load common

setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world
    "${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}" synth --items 60 --rows 900 --out "$WORLD" 2>/dev/null
}

world() {
    cp -r "$WORLD/data" "$TMP/data"
    DATA=$TMP/data
    export LATENTR3_LOG=error
}

catalog() { "$LATENTR3" catalog "$1" --data "$DATA" "${@:2}"; }

use() { "$LATENTR3" "$1" --model "$WORLD/model" --data "$DATA" --dtype f32 --thoughts 1 "${@:2}" 2>"$TMP/log"; }

@test "catalog: add, remove, take back; nothing that is so already changes a byte" {
    world
    items=$(wc -l <"$DATA/info.txt")
    catalog add --id 900 --title "New One" --id 901 --title "It's \"two\"" --json >"$TMP/json"
    jq -e --argjson n "$items" '. == {"action": "add", "changed": 2, "items": ($n + 2), "removed_items": 0, "index_texts": 0}' "$TMP/json"
    tail -2 "$DATA/info.txt" | cmp - <(printf 'New One\t900\nIt'"'"'s "two"\t901\n')
    head -"$items" "$DATA/info.txt" | cmp - "$WORLD/data/info.txt"
    [ "$(jq .counts.items "$DATA/dataset.json")" -eq $((items + 2)) ]
    "$LATENTR3" inspect "$DATA" --json | jq -e --argjson n "$items" '.items == $n + 2 and .removed_items == 0'

    LATENTR3_LOG=warn catalog add --id 900 --title "New One" 2>"$TMP/said"
    [ ! -s "$TMP/said" ]
    cp -r "$DATA" "$TMP/twice"
    LATENTR3_LOG=warn exits 0 "$LATENTR3" catalog add --data "$TMP/twice" --id 902 --title "New One"
    says '*warning: 1 of the titles is there already under another id, as "New One" (id 900)*'

    catalog remove --id 900 --id 3 --json | jq -e '.changed == 2 and .removed_items == 2'
    [ "$(sed -n 4p "$DATA/info.txt")" = "$(sed -n 4p "$WORLD/data/info.txt")"$'\t\tremoved' ]
    "$LATENTR3" inspect "$DATA" --json | jq -e --argjson n "$items" '.items == $n and .removed_items == 2 and .distinct_titles == $n'
    catalog list --json | jq -e '[.items[] | select(.removed).id] == ["3", "900"]'
    catalog list | cmp - "$DATA/info.txt"

    cp -r "$DATA" "$TMP/before"
    catalog remove --id 3 --json | jq -e '.changed == 0'
    catalog add --id 901 --title "It's \"two\"" --json | jq -e '.changed == 0'
    diff -r "$TMP/before" "$DATA"

    # Taken back with the title it had and with another, the item keeps its line.
    catalog add --id 3 --title "$(sed -n 4p "$WORLD/data/info.txt" | cut -f1)"
    catalog add --id 900 --title "New Two"
    head -"$items" "$DATA/info.txt" | cmp - "$WORLD/data/info.txt"
    tail -2 "$DATA/info.txt" | head -1 | cmp - <(printf 'New Two\t900\n')
}

@test "catalog: items, ids and index texts from files" {
    world
    printf 'One\t900\nTwo\t901\t<a_1><b_2>\nThree\t902\t\tremoved\n' >"$TMP/items"
    catalog add --file "$TMP/items" --json | jq -e '.changed == 2 and .index_texts == 1'
    printf '0\n901\n' >"$TMP/ids"
    catalog remove --file "$TMP/ids" --json | jq -e '.changed == 2 and .index_texts == 0'
    printf '900\t<a_1><b_1>\n901\t\n1\tplain words\n' >"$TMP/texts"
    catalog text --file "$TMP/texts" --json | jq -e '.changed == 3 and .index_texts == 2'
    tail -2 "$DATA/info.txt" | cmp - <(printf 'One\t900\t<a_1><b_1>\nTwo\t901\t\tremoved\n')
    catalog list --json | jq -e '[.items[] | select(.text) | [.id, .text]] == [["1", "plain words"], ["900", "<a_1><b_1>"]]'
}

@test "catalog: refusals leave the folder as it was" {
    world
    refuses 2 "*catalog: 'rename' is none of add, remove, text, list" "$LATENTR3" catalog rename --data "$DATA"
    refuses 2 "*catalog: '' is none of*" "$LATENTR3" catalog --data "$DATA"
    refuses 2 '*catalog: --data is missing*' "$LATENTR3" catalog list
    for arguments in "add" "add --id 900" "add --title x" "add --id 900 --id 901 --title x" "remove" "remove --id 1 --title x" \
        "text" "text --file x --id 1" "list --id 1" "add --id 900 --title x --file y"; do
        # shellcheck disable=SC2086
        refuses 2 '*catalog*expected*' "$LATENTR3" catalog $arguments --data "$DATA"
    done
    refuses 3 '*item 5 is there already, as "*"; remove it first' "$LATENTR3" catalog add --data "$DATA" --id 5 --title x
    refuses 2 '*: line 1: a title of blanks alone' "$LATENTR3" catalog add --data "$DATA" --id 900 --title $' \u3000'
    refuses 2 '*line 2: an item id stands twice' "$LATENTR3" catalog add --data "$DATA" --id 900 --title x --id 900 --title y
    refuses 2 '*an id that is no UTF-8' "$LATENTR3" catalog add --data "$DATA" --id $'a\xff' --title x
    refuses 2 '*a control byte in the id' "$LATENTR3" catalog add --data "$DATA" --id $'a\tb' --title x
    refuses 2 '*no id' "$LATENTR3" catalog add --data "$DATA" --id '' --title x
    refuses 2 '*--id 900 --title "a[?]b": a control byte in the title' "$LATENTR3" catalog add --data "$DATA" --id 900 --title $'a\tb'
    refuses 2 '*no UTF-8' "$LATENTR3" catalog add --data "$DATA" --id 900 --title $'a\xff'
    refuses 3 '*item 777 is not in the catalogue' "$LATENTR3" catalog remove --data "$DATA" --id 1 --id 777
    cut -f2 "$DATA/info.txt" >"$TMP/all"
    refuses 3 '*no item would be left*' "$LATENTR3" catalog remove --data "$DATA" --file "$TMP/all"
    printf '1\n2\tx\n' >"$TMP/ids"
    refuses 3 "*ids: line 2: not one item id" "$LATENTR3" catalog remove --data "$DATA" --file "$TMP/ids"
    refuses 3 "*ids: line 1: not two fields*" "$LATENTR3" catalog text --data "$DATA" --file "$TMP/ids"
    refuses 4 "*nothing*" "$LATENTR3" catalog add --data "$DATA" --file "$TMP/nothing"
    refuses 4 "*nowhere*" "$LATENTR3" catalog list --data "$TMP/nowhere"
    refuses 4 "*another command is changing this folder" flock "$DATA" "$LATENTR3" catalog remove --data "$DATA" --id 1
    diff -r "$WORLD/data" "$DATA"
}

# The two files take their places one after the other; between them anything may stop the program.
@test "catalog: cut short anywhere, the folder is the one before or the one after" {
    world
    catalog add --id 900 --title "New One"
    cp -r "$DATA" "$TMP/before"
    catalog remove --id 2 --id 900
    cp -r "$DATA" "$TMP/after"
    state() { # BEFORE-OR-AFTER: the folder is read as that one, and can be changed again
        cp -r "$TMP/cut" "$TMP/$1.cut"
        DATA=$TMP/cut
        catalog list | cmp - "$TMP/$1/info.txt"
        jq -e --argjson n "$("$LATENTR3" inspect "$DATA" --json | jq .items)" '.counts.items == $n' "$DATA/dataset.json"
        "$LATENTR3" inspect "$DATA" --json | jq -e --slurpfile d "$DATA/dataset.json" '.hashes["info.txt"] == $d[0].files["info.txt"]'
        catalog add --id 950 --title "Later"
        catalog list | cmp - <(cat "$TMP/$1/info.txt" && printf 'Later\t950\n')
        [ ! -e "$DATA/info.txt.next" ]
        catalog list | cmp - "$DATA/info.txt"
        rm -r "$TMP/cut" "$TMP/$1.cut"
    }
    # The new info.txt waits, dataset.json is the old one.
    cp -r "$TMP/before" "$TMP/cut"
    cp "$TMP/after/info.txt" "$TMP/cut/info.txt.next"
    state before
    # dataset.json is the new one, info.txt has not moved.
    cp -r "$TMP/before" "$TMP/cut"
    cp "$TMP/after/info.txt" "$TMP/cut/info.txt.next"
    cp "$TMP/after/dataset.json" "$TMP/cut/dataset.json"
    state after
    # A waiting file that nobody names, half of it there.
    cp -r "$TMP/after" "$TMP/cut"
    head -c 100 "$TMP/before/info.txt" >"$TMP/cut/info.txt.next"
    state after
    # What no crash makes is refused as ever.
    cp -r "$TMP/before" "$TMP/cut"
    cp "$TMP/after/info.txt" "$TMP/cut/info.txt"
    refuses 3 '*info.txt: not the file that dataset.json describes*' "$LATENTR3" catalog list --data "$TMP/cut"
}

@test "catalog: the order in which files are written is the one that survives" {
    command -v strace >/dev/null || skip "strace is not there"
    world
    strace -f -qq -e trace=rename,renameat,renameat2 -o "$TMP/trace" "$LATENTR3" catalog add --data "$DATA" --id 900 --title x || skip "strace may not trace here"
    sed -E 's/.*rename[a-z0-9]*\(.*"([^"]*)"[^"]*$/\1/; s/.*\///' "$TMP/trace" | cmp - <(printf 'info.txt.next\ndataset.json\ninfo.txt\n')
}

@test "a removed item is in histories and rows, and in no recommendation" {
    world
    items=$(wc -l <"$DATA/info.txt")
    use eval --json --beams "$items" --results "$TMP/results.before" >"$TMP/before"
    title=$(jq -rs '.[0].target' "$TMP/results.before")
    id=$(grep -P "^\Q$title\E\t" "$DATA/info.txt" | cut -f2)
    catalog remove --id "$id"
    use eval --json --beams "$((items - 1))" --results "$TMP/results" >"$TMP/json"
    rows=$(jq -s --arg t "$title" 'map(select(.target == $t)) | length' "$TMP/results")
    jq -e --argjson rows "$rows" --slurpfile b "$TMP/before" '.targets_outside == $rows and .rows == $b[0].rows and .short_lists == 0' "$TMP/json"
    jq -es --arg t "$title" 'all(.[]; all(.items[]; .title != $t)) and all(.[] | select(.target == $t); .rank == null)' "$TMP/results"
    # All others keep their scores, but for rounding.
    jq -es --arg t "$title" --slurpfile b "$TMP/results.before" 'to_entries | all(.[]; .value.items as $a |
        ([$b[.key].items[] | select(.title != $t) | {(.id): .score}] | add) as $b |
        ($a | length) == ($b | length) and all($a[]; (.score - $b[.id] | fabs) < 1e-4))' "$TMP/results"
    # One item less to hit by chance, and rows that chance cannot hit.
    jq -e --argjson n $((items - 1)) '.baselines.random."HR@1" - (.rows - .targets_outside) / .rows / $n | fabs < 1e-9' "$TMP/json"
    use recommend --history "$title" -k 10 --exclude-seen --json >"$TMP/json"
    [ ! -s "$TMP/log" ] # such as "not in the catalogue"
    jq -e --arg t "$title" '(.items | length) == 10 and all(.items[]; .title != $t)' "$TMP/json"
    use score --max-rows 1 --json | jq -e '.rows[0].logprob < 0'
    # A catalogue kept in a file is made anew when an item goes or comes back.
    for step in "remove --id 5" "remove --id 6" "add --id 5 --title Again"; do
        # shellcheck disable=SC2086
        catalog $step
        for index in "" "--index $TMP/index" "--index $TMP/index"; do
            use recommend --history "$title" -k 57 --beams 57 --json $index | jq -c '.items | length, map(.title)' >"$TMP/list.${#index}"
        done
        cmp "$TMP/list.0" "$TMP"/list.[1-9]*
    done
}

@test "an item with another title is the one that the rows know by its id" {
    world
    measure() { # NAME MODEL
        "$LATENTR3" eval --model "$2" --data "$DATA" --json --results "$TMP/$1.lines" --trec-run "$TMP/$1.run" --trec-qrels "$TMP/$1.qrels" >"$TMP/$1"
        jq 'del(.seconds, .seconds_per_user)' "$TMP/$1" >"$TMP/$1.json"
    }
    for model in popularity item-knn repeat-last; do measure "before.$model" $model; done
    id=$(jq -rs 'map(select(.rank != null))[0].target_id' "$TMP/before.popularity.lines")
    catalog remove --id "$id"
    catalog add --id "$id" --title "Another name"
    for model in popularity item-knn repeat-last; do
        measure "after.$model" $model
        for of in json run qrels; do cmp "$TMP/before.$model.$of" "$TMP/after.$model.$of"; done
    done
    use eval --json --beams "$(wc -l <"$DATA/info.txt")" --results "$TMP/lines" | jq -e '.targets_outside == 0'
    jq -es --arg i "$id" 'map(select(.target_id == $i)) | length > 0 and all(.[]; .items[.rank - 1].title == "Another name")' "$TMP/lines"
}

@test "an item that was never in train is recommended as soon as it is added, with the score that score gives" {
    world
    items=$(($(wc -l <"$DATA/info.txt") + 1))
    title='Vosu Neverseen 7'
    catalog add --id 4711 --title "$title"
    # A row that ends with it, as a log of tomorrow would have it.
    mkdir "$TMP/tomorrow"
    cp "$DATA/info.txt" "$TMP/tomorrow"
    head -1 "$DATA/test.csv" >"$TMP/tomorrow/test.csv"
    first=$(head -1 "$DATA/info.txt" | cut -f1)
    second=$(sed -n 2p "$DATA/info.txt" | cut -f1)
    printf "u,\"['1', '2']\",4711,\"[0, 1]\",4711,\"['%s', '%s']\",%s,\"[5.0, 5.0]\",5.0,\"[10, 20]\",30\r\n" \
        "$first" "$second" "$title" >>"$TMP/tomorrow/test.csv"
    DATA=$TMP/tomorrow use score --category book --json >"$TMP/score"
    use recommend --history "$first" --history "$second" -k "$items" --beams "$items" --json >"$TMP/json"
    [ "$(jq '.items | length' "$TMP/json")" -eq "$items" ]
    jq -e --slurpfile s "$TMP/score" '$s[0].rows[0] as $r |
        (.items[] | select(.id == "4711").score - $r.logprob / $r.tokens) | fabs < 1e-4' "$TMP/json"
    # With few others left it must appear.
    cut -f2 "$DATA/info.txt" | grep -v 4711 | tail -n +5 >"$TMP/ids"
    catalog remove --file "$TMP/ids"
    use recommend --history "$first" --history "$second" -k 5 --json >"$TMP/json"
    jq -e --arg t "$title" '[.items[].id] | sort == ["0", "1", "2", "3", "4711"]' "$TMP/json"
    jq -e --arg t "$title" 'any(.items[]; .title == $t)' "$TMP/json"
}

@test "a shop's own ids: in histories, lists, results and the catalogue; rows go by numbers" {
    world
    shop_log "$WORLD/log" "$TMP/log"
    "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/shop" --category book >/dev/null
    "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/numbers" --category book --item-ids number >/dev/null
    mapfile -t title < <(sed -n '4p;9p' "$TMP/shop/info.txt" | cut -f1)
    mapfile -t id < <(sed -n '4p;9p' "$TMP/shop/info.txt" | cut -f5)
    [[ ${id[0]} == s/* ]]
    own='with_entries(select(.key | IN("id", "target_id") | not))'
    for model in "$WORLD/model" item-knn; do
        list() { "$LATENTR3" recommend --model "$model" --data "$TMP/$1" --dtype f32 -k 5 --exclude-seen --json "${@:2}"; }
        list shop --history-id "${id[0]}" --history-id "${id[1]}" >"$TMP/list"
        jq -e 'all(.items[]; .id | startswith("s/"))' "$TMP/list"
        list numbers --history "${title[0]}" --history "${title[1]}" | jq -e --slurpfile l "$TMP/list" "[.items[] | $own] == [\$l[0].items[] | $own]"
        jq -n -c --arg a "${id[0]}" --arg b "${id[1]}" '{user: 1, history_ids: [$a, $b, "3"]}' >"$TMP/users"
        "$LATENTR3" recommend --model "$model" --data "$TMP/shop" --dtype f32 -k 5 --exclude-seen --users "$TMP/users" --out "$TMP/lists" --force \
            --format jsonl --json | jq -e '.unknown_ids == 1' # 3 is a number, and no id
        jq -e --slurpfile l "$TMP/list" '[.items[].id] == [$l[0].items[].id]' "$TMP/lists"
        for data in shop numbers; do
            "$LATENTR3" eval --model "$model" --data "$TMP/$data" --dtype f32 --max-rows 20 --results "$TMP/$data.results" --json >"$TMP/$data.json"
        done
        cmp <(jq -c "$own | .items |= map($own)" "$TMP/shop.results") <(jq -c "$own | .items |= map($own)" "$TMP/numbers.results")
        cmp <(jq '.item, .title' "$TMP/shop.json") <(jq '.item, .title' "$TMP/numbers.json")
        jq -r .target_id "$TMP/shop.results" | cmp - <(sed -n '2,21s/.*\(s\/[0-9]*\),"\{0,1\}\[[0-9].*/\1/p' "$TMP/shop/test.csv")
    done
    DATA=$TMP/shop
    items=$(wc -l <"$DATA/info.txt")
    catalog add --id "s/new 1" --title "New One"
    printf 'New Two\ts/new2\nNew Three\t0\t\t\ts/new3\n' >"$TMP/more"
    catalog add --file "$TMP/more"
    tail -3 "$DATA/info.txt" | cmp - <(printf 'New One\t%d\t\t\ts/new 1\nNew Two\t%d\t\t\ts/new2\nNew Three\t%d\t\t\ts/new3\n' "$items" $((items + 1)) $((items + 2)))
    catalog remove --id s/new2
    catalog list --json | jq -e '[.items[] | select(.removed).id] == ["s/new2"]'
    refuses 3 '*item 0 is not in the catalogue' "$LATENTR3" catalog remove --data "$DATA" --id 0
    refuses 3 '*the item id "s/new 1": a blank*TREC*' "$LATENTR3" eval --model item-knn --data "$DATA" --trec-run "$TMP/run"
    refuses 3 '*the item id "s/new 1": a blank*TREC*' "$LATENTR3" recommend --model item-knn --data "$DATA" --users "$TMP/users" --out "$TMP/run" --format trec
    [ ! -e "$TMP/run" ]
    catalog remove --id "s/new 1" # which no list holds, and no row
    "$LATENTR3" eval --model item-knn --data "$DATA" --trec-run "$TMP/run" --trec-qrels "$TMP/qrels"
    "$LATENTR3" recommend --model item-knn --data "$DATA" --users "$TMP/users" --out "$TMP/lists.trec" --format trec
}

@test "a SASRec knows a shop's ids: prepared again, they have other numbers and get the same lists" {
    world
    shop_log "$WORLD/log" "$TMP/log"
    mkdir "$TMP/later"
    grep -v "s/1\b" "$TMP/log/shop.inter" >"$TMP/later/shop.inter"
    grep -v "^s/1\b" "$TMP/log/shop.item" >"$TMP/later/shop.item"
    for log in log later; do
        "$LATENTR3" prepare --data "$TMP/$log" --out "$TMP/$log.data" --category book >/dev/null
        grep 's/7$' "$TMP/$log.data/info.txt" >"$TMP/$log.item"
    done
    differ "$TMP/log.item" "$TMP/later.item"
    "$LATENTR3" sasrec --data "$TMP/log.data" --out "$TMP/sasrec" --width 8 --layers 1 --epochs 1 --threads 1
    list() { "$LATENTR3" recommend --model "$TMP/sasrec" --data "$TMP/$1.data" --history-id s/3 --history-id s/7 --json "${@:2}"; }
    list log | jq -c '[.items[].id | select(. != "s/1")][:9]' >"$TMP/before"
    list later | jq -c '[.items[].id][:9]' | cmp - "$TMP/before"
    jq -r '.ids[]' "$TMP/sasrec/items.json" | cmp - <(cut -f5 "$TMP/log.data/info.txt")
    # A folder without any of its items, and the list of row ids that was written once.
    "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/numbers.data" --category book --item-ids number >/dev/null
    exits 3 "$LATENTR3" recommend --model "$TMP/sasrec" --data "$TMP/numbers.data" --history-id 3
    says '*none of its * items is in the catalogue*'
    jq '[range(.ids | length) | tostring]' "$TMP/sasrec/items.json" >"$TMP/list" && mv "$TMP/list" "$TMP/sasrec/items.json"
    exits 3 list log
    says '*row ids*train it again*'
    exits 0 "$LATENTR3" recommend --model "$TMP/sasrec" --data "$TMP/numbers.data" --history-id 3
}

@test "a SASRec that knows row ids alone: the titles tell whether they are still those of the same items" {
    world
    shop_log "$WORLD/log" "$TMP/log"
    mkdir "$TMP/later"
    grep -v "s/1\b" "$TMP/log/shop.inter" >"$TMP/later/shop.inter"
    grep -v "^s/1\b" "$TMP/log/shop.item" >"$TMP/later/shop.item"
    for log in log later; do "$LATENTR3" prepare --data "$TMP/$log" --out "$TMP/$log.numbers" --category book --item-ids number >/dev/null; done
    "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/log.data" --category book >/dev/null
    "$LATENTR3" sasrec --data "$TMP/log.numbers" --out "$TMP/sasrec" --width 8 --layers 1 --epochs 1 --threads 1
    list() { "$LATENTR3" recommend --model "$TMP/sasrec" --data "$TMP/$1" --history "$2" --json; }
    title=$(sed -n 5p "$TMP/log.data/info.txt" | cut -f1)
    exits 0 list log.numbers "$title"
    list log.numbers "$title" | jq -c '[.items[] | [.title, .score]]' >"$TMP/before"
    list log.data "$title" | jq -c '[.items[] | [.title, .score]]' | cmp - "$TMP/before" # the same rows, with ids of their own
    exits 3 list later.numbers "$title"
    says '*it tells items by their row ids, and * of * are items of other titles here*train it again*'
    rm "$TMP/log.numbers/dataset.json"
    sed -i '7s/^/New /' "$TMP/log.numbers/info.txt"
    LATENTR3_LOG=warn exits 0 list log.numbers "$title"
    says '*warning: */sasrec: 1 of the * items that it knows have other titles here*'
}

@test "prepare --force over a catalogue that was changed says that the changes are lost" {
    "$LATENTR3" synth --out "$TMP/w" --items 60 --rows 600 2>/dev/null
    again() { exits 0 env LATENTR3_LOG=warn "$LATENTR3" prepare --data "$TMP/w/log" --out "$TMP/w/data" --force; }
    again
    [[ $output != *lost* ]]
    "$LATENTR3" catalog remove --data "$TMP/w/data" --id 3 2>/dev/null
    again
    says '*its catalogue was changed since*lost*'
    again
    [[ $output != *lost* ]]
}

@test "a line of --file that cannot be is named" {
    "$LATENTR3" synth --out "$TMP/w" --items 60 --rows 600 2>/dev/null
    bad() { exits 3 "$LATENTR3" "${@:2}" && says "$1"; }
    printf '3\nzzz\n' >"$TMP/ids"
    bad "*ids: line 2: item zzz is not in the catalogue" catalog remove --data "$TMP/w/data" --file "$TMP/ids"
    printf '3\ta\n4\tb\n3\tc\n' >"$TMP/texts"
    bad "*texts: line 3: item 3 stands twice" catalog text --data "$TMP/w/data" --file "$TMP/texts"
    printf 'Another\t3\n' >"$TMP/items"
    bad "*items: item 3 is there already*" catalog add --data "$TMP/w/data" --file "$TMP/items"
    printf '3\n3\n' >"$TMP/ids" # what is so already is no error
    exits 0 "$LATENTR3" catalog remove --data "$TMP/w/data" --file "$TMP/ids"
}
