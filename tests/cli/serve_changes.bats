#!/usr/bin/env bats
# latentr3 serve: what changes under a server: items, the folder, weights, and what is reloaded.

load common
load server

setup_file() { make_world; }

@test "items: added, retitled, removed; at once, and in the folder" {
    cp -r "$WORLD/data" "$TMP/data"
    DATA=$TMP/data serve
    is 201 PUT "${URL}v1/items/9000" --json '{"title": "Brand New"}'
    is 200 PUT "${URL}v1/items/9000" --json '{"title": "Brand New"}'
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"], "allow": ["9000"]}'
    jq -e '[.items[].title] == ["Brand New"]' "$TMP/body"
    is 200 GET "${URL}v1/items?query=brand"
    jq -e '.items[0].id == "9000"' "$TMP/body"
    is 200 PUT "${URL}v1/items/9000" --json '{"title": "Another Name"}'
    is 200 GET "${URL}v1/items/9000"
    jq -e '.title == "Another Name"' "$TMP/body"
    is 200 PUT "${URL}v1/items/9000" --json '{"title": "Another Name", "text": "<a_1>"}' # the title it has
    is 200 GET "${URL}v1/items/9000"
    jq -e '.title == "Another Name"' "$TMP/body"
    grep -q $'^Another Name\t[0-9]*\t<a_1>' "$TMP/data/info.txt"
    is 200 PUT "${URL}v1/items/9000" --json '{"title": "Another Name"}'
    # A title that leaves no room for a prompt, or takes what prompts may need, is refused, and nothing is written.
    cp "$TMP/data/info.txt" "$TMP/info"
    smiles() { jq -n --argjson n "$1" '{title: ([range($n)] | map("\ud83d\ude00") | add)}' >"$TMP/long"; }
    for n in 1024 1008 400; do
        smiles "$n"
        is 422 PUT "${URL}v1/items/9001" --json "@$TMP/long"
    done
    jq -e '.error.message | startswith("item 9001: an answer of")' "$TMP/body"
    # A mark that a file of items would lose, before a title that is there and before a new one.
    is 422 PUT "${URL}v1/items/9000" --json '{"title": "\ufeffAnother"}'
    is 422 PUT "${URL}v1/items/9001" --json '{"title": "\ufeffAnother"}'
    jq -e '.error.message | contains("byte order mark")' "$TMP/body"
    cmp "$TMP/info" "$TMP/data/info.txt"
    # One that was added beside the server: whatever it keeps from being changed, it is named.
    jq -jn '[range(1024)] | map("\ud83d\ude00") | add' >"$TMP/long"
    "$LATENTR3" catalog add --data "$TMP/data" --id 9002 --title "$(cat "$TMP/long")"
    is 422 DELETE "${URL}v1/items/3"
    jq -e '.error.message | startswith("item 9002, an answer of")' "$TMP/body"
    is 200 DELETE "${URL}v1/items/9002"
    smiles 300 # 1,200 tokens of 4,096 positions
    is 200 PUT "${URL}v1/items/9000" --json "@$TMP/long"
    is 200 PUT "${URL}v1/items/9000" --json '{"title": "Another Name"}'
    is 200 DELETE "${URL}v1/items/3"
    is 404 DELETE "${URL}v1/items/3"
    is 404 DELETE "${URL}v1/items/77777"
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["3"], "allow": ["3"]}'
    jq -e '.items == []' "$TMP/body"
    is 422 PUT "${URL}v1/items/%ff" --json '{"title": "x"}'
    is 422 PUT "${URL}v1/items/a%09b" --json '{"title": "x"}'
    is 422 PUT "${URL}v1/items/$(head -c 1025 /dev/zero | tr '\0' x)" --json '{"title": "x"}'
    is 422 PUT "${URL}v1/items/9" --json '{"title": ""}'
    is 422 PUT "${URL}v1/items/9" --json '{"title": "x", "name": 1}'
    is 422 PUT "${URL}v1/items/9" --json '[]'
    is 400 PUT "${URL}v1/items/9" --json '{'
    "$LATENTR3" catalog list --data "$TMP/data" 2>/dev/null | grep -x $'Another Name\t9000'
    kill -9 "$SERVER"; wait "$SERVER" || true
    DATA=$TMP/data serve
    is 200 GET "${URL}v1/items/9000"
    jq -e '.title == "Another Name"' "$TMP/body"
    is 404 GET "${URL}v1/items/3"
}

@test "items: the last one stays, under any title" {
    cp -r "$WORLD/data" "$TMP/data"
    mapfile -t ids < <(cut -f2 "$TMP/data/info.txt" | tail -n +2)
    "$LATENTR3" catalog remove --data "$TMP/data" "${ids[@]/#/--id=}" 2>/dev/null
    DATA=$TMP/data serve
    is 409 DELETE "${URL}v1/items/0"
    is 200 PUT "${URL}v1/items/0" --json '{"title": "The Only One"}'
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
    jq -e '[.items[].title] == ["The Only One"]' "$TMP/body"
}

@test "a shop's own ids: asked, answered, added and removed" {
    shop_log "$WORLD/log" "$TMP/log"
    "$LATENTR3" prepare --data "$TMP/log" --out "$TMP/data" --category book >/dev/null 2>&1
    DATA=$TMP/data serve --thoughts 1
    title=$(sed -n 3p "$TMP/data/info.txt" | cut -f1) id=$(sed -n 3p "$TMP/data/info.txt" | cut -f5)
    is 200 POST "${URL}v1/recommend" --json "$(jq -n --arg t "$title" '{history: [$t], exclude_seen: true}')"
    jq -e 'all(.items[]; .id | startswith("s/"))' "$TMP/body"
    cp "$TMP/body" "$TMP/list"
    is 200 POST "${URL}v1/recommend" --json "$(jq -n --arg i "$id" '{history_ids: [$i, "2"], exclude_seen: true, explain: true}')"
    jq -e --slurpfile l "$TMP/list" '.items == $l[0].items and .unknown == ["2"] and all(.explain | .popular[], .without_thought[]; .id | startswith("s/"))' "$TMP/body"
    first=$(jq -r '.items[0].id' "$TMP/list") second=$(jq -r '.items[1].id' "$TMP/list")
    is 200 POST "${URL}v1/recommend" --json "$(jq -n --arg i "$id" --arg a "$first" --arg b "$second" '{history_ids: [$i], allow: [$a, $b], deny: [$a]}')"
    jq -e --arg b "$second" '[.items[].id] == [$b]' "$TMP/body"
    is 200 POST "${URL}v2/models/model/infer" --json "$(jq -n --arg i "$id" '{parameters: {exclude_seen: true}, inputs: [{name: "history_ids", datatype: "BYTES", shape: [1, 1], data: [$i]}]}')"
    jq -e --slurpfile l "$TMP/list" '.outputs[0].data == [$l[0].items[].id]' "$TMP/body"
    for path in "v1/items/$id" "v1/items/${id/\//%2F}"; do
        is 200 GET "$URL$path"
        jq -e --arg i "$id" --arg t "$title" '.id == $i and .title == $t' "$TMP/body"
    done
    is 404 GET "${URL}v1/items/2"
    is 201 PUT "${URL}v1/items/s%2Fnew%20%C3%A9" --json '{"title": "Brand New"}'
    is 200 GET "${URL}v1/items?query=brand"
    jq -e '.items[0].id == "s/new é"' "$TMP/body"
    is 200 DELETE "$URL$path"
    is 404 GET "$URL$path"
    tail -1 "$TMP/data/info.txt" | cmp - <(printf 'Brand New\t%d\t\t\ts/new é\n' "$(($(wc -l <"$TMP/data/info.txt") - 1))")
}

@test "a change that the machine does not let happen is no fault of the client's" {
    cp -r "$WORLD/data" "$TMP/data"
    mkdir "$TMP/index"
    DATA=$TMP/data serve --index "$TMP/index/file"
    exec 9<"$TMP/data"
    flock -n 9
    is 503 PUT "${URL}v1/items/new" --json '{"title": "Brand New"}'
    exec 9<&-
    rm -r "$TMP/index"
    is 500 PUT "${URL}v1/items/new" --json '{"title": "Brand New"}'
    mv "$TMP/data" "$TMP/elsewhere"
    is 500 DELETE "${URL}v1/items/3"
    mv "$TMP/elsewhere" "$TMP/data"
    mkdir "$TMP/index"
    is 201 PUT "${URL}v1/items/new" --json '{"title": "Brand New"}'
}

@test "a change after the folder was replaced: each item has its own interactions" {
    shop_log "$WORLD/log" "$TMP/log"
    mkdir "$TMP/later"
    grep -v "s/1\b" "$TMP/log/shop.inter" >"$TMP/later/shop.inter"
    grep -v "^s/1\b" "$TMP/log/shop.item" >"$TMP/later/shop.item"
    for log in log later; do "$LATENTR3" prepare --data "$TMP/$log" --out "$TMP/$log.data" --category book >/dev/null 2>&1; done
    cp -r "$TMP/log.data" "$TMP/data"
    counts() { is 200 GET "${URL}v1/items?limit=30" && jq -c '[.items[] | {id, interactions}] | sort_by(.id)' "$TMP/body"; }
    MODEL=popularity DATA=$TMP/data serve
    rm -r "$TMP/data"
    cp -r "$TMP/later.data" "$TMP/data"
    is 201 PUT "${URL}v1/items/s%2Fnew" --json '{"title": "Brand New"}'
    counts >"$TMP/counts"
    kill "$SERVER"; ends 143
    MODEL=popularity DATA=$TMP/data serve
    counts | cmp - "$TMP/counts"
}

@test "reload: new weights and items are served, a broken model is not" {
    cp -r "$WORLD/data" "$TMP/data"
    cp -r "$WORLD/model" "$TMP/model"
    MODEL=$TMP/model DATA=$TMP/data serve
    is 200 GET "${URL}health"
    cp "$TMP/body" "$TMP/before"
    "$LATENTR3" catalog add --data "$TMP/data" --id 9000 --title "From outside" 2>/dev/null
    is 200 POST "${URL}v1/reload"
    jq -e --slurpfile b "$TMP/before" '.items == $b[0].items + 1 and .model_version == $b[0].model_version' "$TMP/body"
    is 200 GET "${URL}health"
    cp "$TMP/body" "$TMP/before"
    mv "$TMP/model/config.json" "$TMP/kept"
    is 422 POST "${URL}v1/reload"
    grep -q config.json "$TMP/body"
    echo '{' >"$TMP/model/config.json"
    is 422 POST "${URL}v1/reload"
    cp "$TMP/kept" "$TMP/model/config.json"
    cp "$TMP/model/model.safetensors" "$TMP/weights"
    head -c 5000 "$TMP/weights" >"$TMP/short" && mv "$TMP/short" "$TMP/model/model.safetensors"
    is 422 POST "${URL}v1/reload"
    is 200 GET "${URL}health"
    cmp "$TMP/body" "$TMP/before"
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
    "$LATENTR3" synth --items 60 --rows 900 --seed 7 --out "$TMP/other" 2>/dev/null
    cp "$TMP/other/model"/* "$TMP/model"
    is 200 POST "${URL}v1/reload"
    jq -e --slurpfile b "$TMP/before" '.model_version != $b[0].model_version' "$TMP/body"
    [ "$(grep -c 'reloaded: {.*}$' "$TMP/server.log")" -eq 2 ]
    not grep -q '^$' "$TMP/server.log"
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
}

@test "reload: a train.csv that has not changed is not counted again" {
    cp -r "$WORLD/data" "$TMP/data"
    DATA=$TMP/data serve
    is 200 GET "${URL}v1/items"
    cp "$TMP/body" "$TMP/counted"
    jq -e '.items[0].interactions > 0' "$TMP/body"
    touch -r "$TMP/data/train.csv" "$TMP/stamp" # other bytes behind the same stamp: only who reads them sees it
    tr 0-9 x <"$WORLD/data/train.csv" >"$TMP/data/train.csv"
    touch -r "$TMP/stamp" "$TMP/data/train.csv"
    is 200 POST "${URL}v1/reload"
    is 200 GET "${URL}v1/items"
    cmp "$TMP/body" "$TMP/counted"
    echo >>"$TMP/data/train.csv"
    is 200 POST "${URL}v1/reload"
    is 200 GET "${URL}v1/items"
    jq -e '.items[0].interactions == 0' "$TMP/body"
    grep -q 'nothing is known to be popular' "$TMP/server.log"
}

@test "reload in the middle of a request of many users: one model answers all of them, and is named" {
    cp -r "$WORLD/model" "$TMP/model"
    MODEL=$TMP/model serve --batch 1 --queue 64 --max-beams 60
    "$LATENTR3" synth --items 60 --rows 900 --seed 7 --out "$TMP/other" 2>/dev/null
    version() { is 200 GET "${URL}health" && jq -r .model_version "$TMP/body"; }
    before=$(version)
    jq -n '{beams: 60, users: [range(64) | {history_ids: ["2", "3", "5", "7", "11"]}]}' >"$TMP/request"
    curl -s -o "$TMP/answer" --json "@$TMP/request" "${URL}v1/recommend" &
    client=$!
    cp "$TMP/other/model"/* "$TMP/model"
    is 200 POST "${URL}v1/reload"
    wait "$client"
    after=$(version)
    [ "$after" != "$before" ]
    jq -e --arg v "$before" '.model_version == $v and (.users | length == 64 and (map(.items) | unique | length) == 1)' "$TMP/answer"
}

@test "threads: the worker's helpers are the only ones, after the start and after a reload" {
    tasks() { ls "/proc/$SERVER/task" | wc -l; }
    # Helpers that end are not waited for.
    has() {
        for _ in {1..100}; do [ "$(tasks)" -ne "$1" ] || return 0; sleep 0.05; done
        echo "$(tasks) threads, not $1"
        return 1
    }
    serve
    alone=$(tasks)
    kill "$SERVER" && ends 143
    threads=3 serve
    has "$alone"
    for _ in 1 2; do
        is 200 POST "${URL}v1/recommend" --json '{"history": []}'
        has $((alone + 2))
        is 200 POST "${URL}v1/reload"
        has $((alone + 2))
    done
}
