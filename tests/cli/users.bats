#!/usr/bin/env bats
# recommend --users and --all-users: lists for many users into a file, over the world that synth makes.

load common

setup_file() {
    load common
    setup
    export WORLD=$BATS_FILE_TMPDIR/world LATENTR3_LOG=error
    "$LATENTR3" synth --items 120 --rows 1500 --out "$WORLD"
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$WORLD/sasrec" --width 16 --layers 1 --epochs 1 --threads 1
    # Users with histories of 0 to 13 items, by title and by id in turn, out of the items in some fixed order.
    jq -R -n -c '[inputs | split("\t")] as $i | range(60) as $u | [range($u % 14) | $i[($u * 31 + . * 7) % ($i | length)]] as $h
        | if $u % 2 == 0 then {user: "user \($u)", history: $h | map(.[0]), age: $u}
          else {history_ids: $h | map(.[1] | tonumber), user: $u} end' "$WORLD/data/info.txt" >"$WORLD/users"
}

# many OPTIONS...: lists of the language model for the users of $WORLD/users, or of $USERS. With EXEC=exec the program takes the
# place of the subshell, so that a signal to it reaches the program.
many() {
    ${EXEC:-} "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --dtype f32 --threads 1 --thoughts 1 \
        --users "${USERS:-$WORLD/users}" "$@"
}

# long_users COPIES: USERS is $WORLD/users so many times, and as much more as takes eight seconds: where a run is must be saved
# several times, once a second, on any machine.
long_users() {
    local seconds
    export USERS=$TMP/users
    for ((i = 0; i < $1; i++)); do cat "$WORLD/users"; done >"$USERS"
    seconds=$(many --batch 5 --out "$TMP/timed" --json | jq .seconds)
    rm "$TMP"/timed*
    for ((i = $(jq -n "8 / $seconds * $1 | ceil"); i > $1; i--)); do cat "$WORLD/users"; done >>"$USERS"
}

@test "the same lists as recommend gives one by one, in the order of the file; every kind of model" {
    for model in "$WORLD/model" "$WORLD/sasrec" item-knn; do
        options=(--model "$model" --data "$WORLD/data" --dtype f32 --threads 1 --exclude-seen -k 6)
        [ "$model" != "$WORLD/model" ] || options+=(--thoughts 1)
        "$LATENTR3" recommend "${options[@]}" --users "$WORLD/users" --out "$TMP/lists" --format jsonl --batch 7 --force
        cmp <(jq -c '.user | tostring' "$WORLD/users") <(jq -c .user "$TMP/lists")
        for line in 1 2 3 8 13 36 57 60; do
            args=()
            while read -r -d '' value; do args+=("--history=$value"); done < <(sed -n ${line}p "$WORLD/users" | jq -j '.history // [] | .[] + "\u0000"')
            while read -r -d '' value; do args+=("--history-id=$value"); done < <(sed -n ${line}p "$WORLD/users" | jq -j '.history_ids // [] | .[] | "\(.)\u0000"')
            [ ${#args[@]} -gt 0 ] || continue
            "$LATENTR3" recommend "${options[@]}" "${args[@]}" --json >"$TMP/one"
            sed -n ${line}p "$TMP/lists" | jq -e --slurpfile o "$TMP/one" '[.items, $o[0].items] | (.[0] | length) == (.[1] | length)
                and (transpose | all(.[]; .[0].id == .[1].id and (.[0].score - .[1].score | fabs) < 1e-4 + 1e-5 * (.[1].score | fabs)))'
        done
    done
}

@test "TSV, JSON lines and TREC runs hold the same lists; gzip; users at a time change nothing" {
    many --out "$TMP/jsonl" --format jsonl >/dev/null
    many --out "$TMP/tsv" --batch 1 | grep -q '^60 of 60 users'
    sed 's/user /user_/' "$WORLD/users" | gzip >"$TMP/users.gz"
    USERS=$TMP/users.gz many --out "$TMP/trec" --format trec >/dev/null
    [ "$(head -1 "$TMP/tsv")" = $'user\trank\tid\tscore\ttitle' ]
    jq -r '.user as $u | .items | to_entries[] | [$u, .key + 1, .value.id, .value.title] | @tsv' "$TMP/jsonl" >"$TMP/want"
    tail -n +2 "$TMP/tsv" | cut -f1,2,3,5 | cmp "$TMP/want" -
    awk '{print $1, $4, $3}' "$TMP/trec" | cmp - <(sed 's/user /user_/' "$TMP/want" | awk -F'\t' '{print $1, $2, $3}')
    awk '$2 != "Q0" || $6 != "latentr3" || $5 != 11 - $4 {exit 1}' "$TMP/trec"
}

@test "--all-users: every user of the folder once, with all that the rows know" {
    "$LATENTR3" recommend --model item-knn --data "$WORLD/data" --all-users --out "$TMP/lists" --format jsonl --json >"$TMP/json"
    cut -d, -f1 "$WORLD"/data/{train,valid,test}.csv | grep -v user_id | awk '!seen[$0]++' >"$TMP/names"
    [ "$(jq .users "$TMP/json")" -eq "$(wc -l <"$TMP/names")" ]
    jq -r .user "$TMP/lists" | cmp - "$TMP/names"
    # The log itself knows what each user had.
    for user in $(shuf -n 5 --random-source="$WORLD/users" "$TMP/names"); do
        args=()
        while read -r id; do
            title=$(awk -F'\t' -v i="$id" '$1 == i {print $2}' "$WORLD/log/synth.item")
            ! cut -f1 "$WORLD/data/info.txt" | grep -qxF "$title" || args+=("--history=$title") # few-core items are gone
        done < <(tail -n +2 "$WORLD/log/synth.inter" | awk -F'\t' -v u="$user" '$1 == u' | sort -s -n -t$'\t' -k4,4 | cut -f2)
        "$LATENTR3" recommend --model item-knn --data "$WORLD/data" "${args[@]}" --json >"$TMP/one"
        [ "$(jq -c "select(.user == \"$user\").items | map(.id)" "$TMP/lists")" = "$(jq -c '.items | map(.id)' "$TMP/one")" ]
    done
}

@test "of a user of whom nothing is known item-knn has an empty list" {
    printf '{"user": "a", "history": []}\n{"user": "b", "history": ["no such title"]}\n' >"$TMP/users"
    "$LATENTR3" recommend --model item-knn --data "$WORLD/data" --users "$TMP/users" --out "$TMP/lists" --format jsonl
    jq -es 'all(.[]; .items == [])' "$TMP/lists"
}

@test "--all-users: a name that a TSV cannot hold is refused before the work begins" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    sed -i '2s/^[^,]*/"a\tb"/' "$TMP/data/train.csv"
    all() { "$LATENTR3" recommend --model popularity --data "$TMP/data" --all-users "$@"; }
    refuses 3 '*user 1, "a?b": a control byte in it, which a TSV cannot hold (JSON lines can)' all --out "$TMP/lists"
    [ ! -e "$TMP/lists.part" ]
    all --out "$TMP/lists" --format jsonl >/dev/null
    [ "$(head -n 1 "$TMP/lists" | jq -r .user)" = $'a\tb' ]
}

@test "--all-users: a split that is not there is named" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/test.csv"
    LATENTR3_LOG=warn exits 0 "$LATENTR3" recommend --model popularity --data "$TMP/data" --all-users --out "$TMP/lists"
    says '*warning: */data has no test.csv: its users and items are unknown*'
}

@test "killed, stopped and gone on with: the file of a run that nothing happened to" {
    long_users 40
    many --batch 5 --out "$TMP/whole" >/dev/null
    [ "$(cd "$TMP" && echo whole*)" = "whole whole.run.json" ]
    # at: users that the state names.
    at() { jq .users "$TMP/lists.part.json" 2>/dev/null || echo 0; }
    for signal in KILL TERM KILL; do
        before=$(at)
        (EXEC=exec many --batch 5 --out "$TMP/lists" --resume) &
        while [ "$(at)" -le "$before" ]; do kill -0 $!; sleep 0.02; done
        kill -s $signal $!
        status=0
        wait $! || status=$?
        [ "$status" -eq $((128 + $(kill -l $signal))) ]
        [ ! -e "$TMP/lists" ]
        [ "$signal" = TERM ] || printf 'half a li' >>"$TMP/lists.part" # what a kill in the middle of a write leaves
    done
    many --batch 5 --out "$TMP/lists" --resume --json | jq -e '.resumed_at > 0 and .done == .users'
    [ "$(cd "$TMP" && echo lists*)" = "lists lists.run.json" ]
    cmp "$TMP/whole" "$TMP/lists"
    many --batch 5 --out "$TMP/lists" --resume # it is there
    cmp "$TMP/whole" "$TMP/lists"
}

@test "a user's line has up to 16 MiB" {
    jq -n -c '{user: "short", history: []}, {user: "long", history: [range(60000) | "a title that nobody has, number \(.)"]}' >"$TMP/users"
    [ "$(wc -c <"$TMP/users")" -gt $((2 << 20)) ]
    "$LATENTR3" recommend --model popularity --data "$WORLD/data" --users "$TMP/users" --out "$TMP/lists" --format jsonl --json |
        jq -e '.users == 2 and .unknown_titles == 60000'
    jq -n -c '{user: "long", history: [range(600000) | "a title that nobody has, number \(.)"]}' >>"$TMP/users"
    USERS=$TMP/users refuses 3 '*/users: line 3: more than 16 MiB' many --out "$TMP/more"
}

@test "bad lines are named before the work begins" {
    bad() {
        { head -2 "$WORLD/users" && printf '%b\n' "$1"; } >"$TMP/bad"
        USERS=$TMP/bad refuses 3 "*/bad: line 3*: $2" many --out "$TMP/lists"
    }
    bad '{"user": "a", "history": ["x"]' "'}' expected*"
    bad '["a"]' '*no JSON object'
    bad '{"history": []}' 'user: missing'
    bad '{"user": "", "history": []}' 'user: empty*'
    bad '{"user": 1.5, "history": []}' 'user: neither a text nor a whole number'
    bad '{"user": 1}' 'history: missing'
    bad '{"user": 1, "history": [], "history_ids": []}' 'history: beside history_ids*'
    bad '{"user": 1, "history": "x"}' 'history: no list'
    bad '{"user": 1, "history": [1]}' 'history: an entry that is no text'
    bad '{"user": 1, "history": ["a\\tb"]}' 'history: a control byte*'
    bad '{"user": 1, "history_ids": [null]}' 'history_ids: an entry*'
    bad '\xff' '*not UTF-8'
    bad '{"user": 1.5, "history": [], "n": 123456789012345678901234}' 'user: neither a text nor a whole number'
    [ ! -e "$TMP/lists" ]
    printf '{"user": "a b", "history": []}\n' >"$TMP/bad"
    USERS=$TMP/bad refuses 3 '*"a b": a blank*TREC*' many --out "$TMP/lists" --format trec
    : >"$TMP/bad"
    USERS=$TMP/bad refuses 3 '*/bad: *' many --out "$TMP/lists"
}

@test "ids that the catalogue lacks are left out and counted, or refused" {
    printf '{"user": "a", "history_ids": ["0", "none"]}\n{"user": "b", "history_ids": ["0"]}\n' >"$TMP/users"
    USERS=$TMP/users many --out "$TMP/lists" --format jsonl --json | jq -e '.unknown_ids == 1 and .users == 2'
    [ "$(jq -c .items "$TMP/lists" | uniq | wc -l)" -eq 1 ]
    USERS=$TMP/users refuses 3 '*line 1*none is no item*' many --out "$TMP/strict" --strict
}

@test "a member that nobody reads may be beyond all integers" {
    for n in 7 123456789012345678901234; do
        printf '{"user": 9007199254740991, "history_ids": [0, 5], "session": %s}\n' "$n" >"$TMP/users"
        USERS=$TMP/users many --out "$TMP/lists-$n"
    done
    cmp "$TMP/lists-7" "$TMP/lists-123456789012345678901234"
}

@test "a pipe, which cannot be read twice, and places where no file goes" {
    USERS=<(cat "$WORLD/users") refuses 4 '*not a regular file, and --users is read twice' many --out "$TMP/lists"
    mkdir "$TMP/folder"
    refuses 4 '*/folder: a folder, where a file is to be written' many --out "$TMP/folder" --force
    refuses 4 '*/null: not a regular file' many --out /dev/null --force
    [ -c /dev/null ]
    many --out "$TMP/whole" --json | jq -c 'del(.seconds, .resumed_at)' >"$TMP/first"
    many --out "$TMP/whole" --resume --json | jq -c 'select(.seconds == 0 and .resumed_at == .users) | del(.seconds, .resumed_at)' | cmp - "$TMP/first"
    many --out "$TMP"/$'l\xff' --json | jq -e '(.out | endswith("/l\ufffd")) and .done == .users'
}

@test "a name too long for the names that are made from it is refused before the work begins" {
    for n in 215 240 260; do
        name=$(printf "x%.0s" $(seq "$n"))
        [ "$n" -eq 215 ] && many --out "$TMP/$name" >/dev/null && continue
        # --users is read, and found missing, behind the look at --out.
        USERS=$TMP/none refuses 4 "*--out $TMP/$name: too long: names of up to * bytes are made from it, and 255 are the most" \
            many --out "$TMP/$name"
    done
    cmp <(ls "$TMP") <(printf '%s\n' "$(printf "x%.0s" {1..215})" "$(printf "x%.0s" {1..215}).run.json")
}

@test "what is there is not written over, and another run does not go on" {
    many --out "$TMP/lists" >/dev/null
    refuses 2 '*/lists is there; --force*' many --out "$TMP/lists"
    # Finished, and yesterday's: with other options, other users, another file in its place.
    refuses 2 '*/lists: its run was another one*k (10, now 3)' many --out "$TMP/lists" -k 3 --resume
    head -2 "$WORLD/users" >"$TMP/two"
    USERS=$TMP/two refuses 2 '*/lists: its run was another one*the users' many --out "$TMP/lists" --resume
    sed -i '2s/\t1\t/\t2\t/' "$TMP/lists" # as long as it was
    refuses 2 '*/lists.run.json does not say of what run; --force*' many --out "$TMP/lists" --resume
    cp "$TMP/two" "$TMP/lists"
    refuses 2 '*/lists.run.json does not say of what run; --force*' many --out "$TMP/lists" --resume
    many --out "$TMP/lists" --force --format jsonl >/dev/null
    jq -e .user <"$TMP/lists" >/dev/null
    # With a guide, and with another one in its place.
    cp -r "$WORLD/sasrec" "$TMP/guide"
    many --out "$TMP/guided" --guidance "$TMP/guide" >/dev/null
    many --out "$TMP/guided" --guidance "$TMP/guide" --resume
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/guide" --force --width 16 --layers 1 --epochs 1 --threads 1 --seed 2
    refuses 2 '*/guided: its run was another one*the guide*' many --out "$TMP/guided" --guidance "$TMP/guide" --resume
    # Its weights for other items.
    many --out "$TMP/guided" --guidance "$TMP/guide" --force >/dev/null
    jq -c 'map_values(.[1:] + .[:1])' "$TMP/guide/items.json" >"$TMP/items"
    cp "$TMP/items" "$TMP/guide/items.json"
    refuses 2 "*/guided: its run was another one*the guide's configuration" many --out "$TMP/guided" --guidance "$TMP/guide" --resume
    # A run that was cut off before its first user.
    printf '{"users": 0, "bytes": 0, "identity": {}}' >"$TMP/cut.part.json"
    : >"$TMP/cut.part"
    refuses 2 '*/cut.part is there*--resume*--force*' many --out "$TMP/cut"
    refuses 2 '*/cut.part: its run was another one*' many --out "$TMP/cut" --resume
    exec 9>"$TMP/held.part"
    flock 9
    refuses 4 '*/held.part: another command*' many --out "$TMP/held" --resume
    exec 9>&-
    # One that differs in an option, and in its users.
    long_users 40
    (EXEC=exec many --out "$TMP/long") &
    while [ ! -e "$TMP/long.part.json" ]; do kill -0 $!; sleep 0.02; done
    kill -s KILL $!
    wait $! || true
    refuses 2 '*/long.part: its run was another one*k (10, now 3)' many --out "$TMP/long" -k 3 --resume
    tail -n +2 "$USERS" >"$TMP/fewer"
    USERS=$TMP/fewer refuses 2 '*/long.part: its run was another one*the users' many --out "$TMP/long" --resume
    : >"$TMP/long.part"
    refuses 3 '*/long.part: 0 bytes*' many --out "$TMP/long" --resume
}
