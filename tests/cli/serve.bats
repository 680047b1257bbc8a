#!/usr/bin/env bats
# latentr3 serve: every route, refusals, limits, the end.

load common
load server

setup_file() {
    make_world
    # The tests that change nothing share one server.
    "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --thoughts 1 --dtype f32 --threads 1 --port 0 --queue 40 --max-beams 60 \
        >"$BATS_FILE_TMPDIR/url" 2>"$BATS_FILE_TMPDIR/log" &
    echo $! >"$BATS_FILE_TMPDIR/pid"
    wait_for "$BATS_FILE_TMPDIR/url"
    export SHARED=$(cat "$BATS_FILE_TMPDIR/url")
    second_headers >/dev/null 2>&1 & # looked at when ten seconds have passed, by the last test
}

teardown_file() {
    kill "$(cat "$BATS_FILE_TMPDIR/pid")"
}

# A client whose second request never ends: the replies to both, and in how many seconds the server has cut it off.
second_headers() {
    local port=${SHARED##*:} begun=$SECONDS
    exec 7<>"/dev/tcp/127.0.0.1/${port%/}"
    printf 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: lo' >&7
    timeout 20 cat <&7 >"$BATS_FILE_TMPDIR/second.replies" || true
    echo $((SECONDS - begun)) >"$BATS_FILE_TMPDIR/second"
} 3>&-

recommend() { is "$1" POST "${SHARED}v1/recommend" --json "$2"; }

@test "recommend: the list of the command, with ids and titles alike" {
    title=$(sed -n 3p "$WORLD/data/info.txt" | cut -f1)
    "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --thoughts 1 --dtype f32 --threads 1 \
        --history "$title" -k 10 --json 2>/dev/null >"$TMP/command"
    recommend 200 "$(jq -n --arg t "$title" '{history: [$t]}')"
    jq -e --slurpfile c "$TMP/command" '.items == $c[0].items and .unknown == [] and .seconds > 0 and .model == "model"' "$TMP/body"
    recommend 200 '{"history_ids": ["2"]}'
    jq -e --slurpfile c "$TMP/command" '.items == $c[0].items' "$TMP/body"
    recommend 200 '{"history_ids": ["2"], "exclude_seen": true, "k": 60}'
    jq -e --argjson n "$(wc -l <"$WORLD/data/info.txt")" '(.items | length) == $n - 1 and all(.items[]; .id != "2") and ([.items[].score] | . == (sort | reverse))' "$TMP/body"
    recommend 200 '{"history_ids": ["2", "999999"], "k": 1}'
    jq -e '.unknown == ["999999"]' "$TMP/body"
    recommend 200 '{"history": []}'
    jq -e '.items | length == 10' "$TMP/body"
}

@test "recommend: allow and deny lists leave exactly what they say" {
    recommend 200 '{"history_ids": ["2"], "k": 60}'
    cp "$TMP/body" "$TMP/all"
    recommend 200 '{"history_ids": ["2"], "k": 3, "beams": 60, "allow": ["5", "9", "11", "999999"]}'
    jq -e --slurpfile a "$TMP/all" '[.items, [$a[0].items[] | select(.id | IN("5", "9", "11"))]] | transpose | length == 3
        and all(.[]; .[0].id == .[1].id and (.[0].score - .[1].score | fabs) < 1e-4)' "$TMP/body"
    recommend 200 '{"history_ids": ["2"], "k": 5, "allow": ["5", "9", "11"], "deny": ["9"]}'
    jq -e '[.items[].id] | sort == ["11", "5"]' "$TMP/body"
    recommend 200 '{"history_ids": ["2"], "k": 50, "deny": ["5", "9", "11"]}'
    jq -e '(.items | length) > 40 and all(.items[]; .id | IN("5", "9", "11") | not)' "$TMP/body"
    recommend 200 '{"history_ids": ["2"], "allow": []}'
    jq -e '.items == []' "$TMP/body"
}

@test "recommend: several users, each as alone" {
    recommend 200 '{"k": 4, "users": [{"history_ids": ["2"]}, {"history_ids": ["3", "4"], "k": 7, "beams": 20}, {"history_ids": []}]}'
    cp "$TMP/body" "$TMP/all"
    jq -e '[.users[].items | length] == [4, 7, 4]' "$TMP/all"
    recommend 200 '{"history_ids": ["3", "4"], "k": 7, "beams": 20}'
    jq -e --slurpfile a "$TMP/all" '[.items, $a[0].users[1].items] | transpose
        | all(.[]; .[0].id == .[1].id and (.[0].score - .[1].score | fabs) < 1e-4)' "$TMP/body"
}

@test "recommend: what the thought looked at, and what would be said without it" {
    recommend 200 '{"history_ids": ["2", "7", "1"], "k": 5, "explain": true}'
    jq -e '.explain | (.thought.history | length) == 3 and all(.thought.history[]; . > 0)
        and ((.thought.history | add) + .thought.rest - 1 | fabs) < 1e-4
        and (.without_thought | length) == 5 and (.popular | length) == 5
        and ([.popular[].interactions] | . == (sort | reverse))' "$TMP/body"
    cp "$TMP/body" "$TMP/explained"
    "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --thoughts 0 --dtype f32 --threads 1 \
        --history-id 2 --history-id 7 --history-id 1 -k 5 --json 2>/dev/null >"$TMP/command"
    jq -e --slurpfile c "$TMP/command" '[.explain.without_thought, $c[0].items] | transpose
        | all(.[]; .[0].id == .[1].id and (.[0].score - .[1].score | fabs) < 0.01)' "$TMP/explained" # a thought moves them by .04
}

@test "recommend: seconds count from the last byte of the request on, not from its first" {
    port=${SHARED##*:} body='{"history_ids": ["2"]}'
    exec 7<>"/dev/tcp/127.0.0.1/${port%/}"
    printf '%s\r\n' 'POST /v1/recommend HTTP/1.1' 'Host: localhost' 'Content-Type: application/json' 'Connection: close' \
        "Content-Length: ${#body}" '' "${body%?}" | head -c -2 >&7
    sleep 0.5
    begun=${EPOCHREALTIME/./}
    printf '}' >&7
    timeout 20 tail -1 <&7 >"$TMP/body"
    took=$((${EPOCHREALTIME/./} - begun))
    exec 7>&-
    jq -e --argjson t "$took" '.seconds > 0 and .queue_seconds * 1e6 < $t and .seconds * 1e6 < $t' "$TMP/body"
}

@test "recommend: long histories are explained while others are in the search" {
    local asking=()
    serve --thoughts 1 --batch 2
    for i in 1 2 3 4; do
        jq -n --arg i "$i" '{history: [range(10) as $h | [range(220) as $c | "qxzwvjk"[(($i | tonumber) * 7 + $h * 3 + $c * $c + $c) % 7:][:1]] | add], explain: true}' >"$TMP/ask$i"
        curl -s -o "$TMP/answer$i" --json "@$TMP/ask$i" "${URL}v1/recommend" &
        asking+=($!)
    done
    wait "${asking[@]}"
    for i in 1 2 3 4; do jq -e '(.items | length) == 10 and .explain.thought.rest >= 0' "$TMP/answer$i"; done
    is 200 GET "${URL}v2/health/ready"
}

@test "recommend: refusals name the member" {
    says_error() { jq -e --arg m "$1" '.error.message | contains($m)' "$TMP/body" >/dev/null || { cat "$TMP/body"; return 1; }; }
    recommend 400 '{"history": ["x"]'
    recommend 400 '{"history": ["x"], "history": ["y"]}'
    recommend 422 '[]'
    recommend 422 '{}'
    says_error history
    recommend 422 '{"history": ["x"], "history_ids": ["1"]}'
    recommend 422 '{"history": "x"}'
    says_error history
    recommend 422 '{"history": ["x", 1]}'
    says_error 'history[1]'
    recommend 422 '{"history": ["x\u0000y"]}'
    says_error 'control byte'
    recommend 422 '{"history": ["x"], "k": 0}'
    says_error 'k: not a whole number from 1 to 60'
    recommend 422 '{"history": ["x"], "k": 61}'
    recommend 422 '{"history": ["x"], "k": 1.5}'
    recommend 200 '{"history": ["x"], "k": 9, "beams": 5}'
    jq -e '.items | length == 9' "$TMP/body"
    recommend 422 '{"history": ["x"], "exclude_seen": 1}'
    recommend 422 '{"history": ["x"], "exclude": true}'
    says_error 'exclude: there is no such member'
    recommend 422 '{"users": []}'
    recommend 422 '{"users": [{"history": ["x"]}, {"k": 1}]}'
    says_error 'users[1].history'
    recommend 422 '{"users": [{"history": ["x"], "users": []}]}'
    jq -n '{history: [range(1001) | "x"]}' >"$TMP/long"
    is 422 POST "${SHARED}v1/recommend" --json @"$TMP/long"
    jq -n '{users: [range(41) | {history: ["x"]}]}' >"$TMP/many"
    is 422 POST "${SHARED}v1/recommend" --json @"$TMP/many"
}

@test "paths, methods, types, sizes" {
    is 404 GET "${SHARED}nowhere"
    is 404 GET "${SHARED}v1/items/5/6"
    is 405 GET "${SHARED}v1/recommend"
    curl -si "${SHARED}v1/recommend" | grep -qi '^allow: POST'
    is 405 POST "${SHARED}health"
    is 405 PATCH "${SHARED}v1/items/5"
    is 415 POST "${SHARED}v1/recommend" -d '{"history": ["x"]}'
    is 415 POST "${SHARED}v1/recommend" -H 'Content-Type: application/jsonx' -d '{"history": ["x"]}'
    is 200 POST "${SHARED}v1/recommend" -H 'Content-Type: application/json; charset=utf-8' -d '{"history": ["x"]}'
    head -c 1048577 /dev/zero | tr '\0' ' ' >"$TMP/big"
    is 413 POST "${SHARED}v1/recommend" --json @"$TMP/big"
    is 413 POST "${SHARED}v1/recommend" --json @"$TMP/big" -H 'Transfer-Encoding: chunked'
    head -c 9000000 /dev/zero >"$TMP/bigger"
    is 413 POST "${SHARED}v1/recommend" --json @"$TMP/bigger"
    # A reply can come at the headers or behind the body, not in the middle of it.
    [ "$(status POST "${SHARED}v1/recommend" --json @"$TMP/bigger" -H 'Transfer-Encoding: chunked' -H Expect:)" = 000 ]
    [ "$(curl -s -o /dev/null -w '%{http_code}' "${SHARED}health" -H "X: $(head -c 60000 /dev/zero | tr '\0' x)")" = 431 ]
    x() { head -c "$1" /dev/zero | tr '\0' x; }
    is 200 GET "${SHARED}health" -H "X: $(x 32000)"
    is 431 GET "${SHARED}health" -H "X: $(x 32768)"
    is 422 GET "${SHARED}v1/items?query=$(x 32000)"
    is 414 GET "${SHARED}v1/items?query=$(x 32768)"
    for i in {1..800}; do echo "X$i: x"; done >"$TMP/headers"
    is 200 GET "${SHARED}health" -H "@$TMP/headers"
    is 200 GET "${SHARED}health"
    curl -sI "${SHARED}health" | grep -q '^HTTP/1.1 200'
}

@test "bytes that a proxy might read as another request are refused, and the connection ends" {
    port=${SHARED##*:}
    body='{"history": ["x"]}'
    raw() { # WANT LINE...: a request of these lines, the body behind it; the status of the reply
        printf '%s\r\n' 'POST /v1/recommend HTTP/1.1' 'Content-Type: application/json' "${@:2}" >"$TMP/request"
        printf '\r\n%s' "$body" >>"$TMP/request"
        exec 7<>"/dev/tcp/127.0.0.1/${port%/}"
        cat "$TMP/request" >&7
        [ "$1" = 200 ] || timeout 5 cat <&7 >"$TMP/reply" # to the end of the connection
        [ "$1" != 200 ] || timeout 5 head -1 <&7 >"$TMP/reply"
        exec 7>&-
        grep -q "^HTTP/1.1 $1" "$TMP/reply" || { cat "$TMP/request" "$TMP/reply"; return 1; }
    }
    length="Content-Length: ${#body}"
    raw 200 'Host: localhost' "$length"
    raw 400 'Host: localhost' "$length" 'Content-Length: 5'
    grep -q '"message": "the header Content-Length comes more than once"' "$TMP/reply"
    raw 400 'Host: localhost' "$length" "$length"
    raw 400 'Host: localhost' "$length" 'host: evil.example'
    raw 400 'Host: localhost' "$length" 'Origin: http://localhost' 'Origin: http://evil.example'
    raw 400 'Host: localhost' "$length" 'Transfer-Encoding: chunked'
    raw 400 'Host: localhost' 'Transfer-Encoding: gzip'
    raw 400 'Host: localhost' 'Transfer-Encoding: chunked' 'Transfer-Encoding: identity'
    raw 400 'Host: localhost' 'Content-Length: -1'
    # Who asks before the body is sent hears at once that it is not wanted.
    raw 403 'Host: evil.example' 'Content-Length: 5' 'Expect: 100-continue'
    raw 413 'Host: localhost' 'Content-Length: 1048577' 'Expect: 100-continue'
    is 200 GET "${SHARED}health"
}

# answer FILE: the status with which the shared server answers these bytes; nothing where it ends the connection.
answer() {
    local address=${SHARED#http://} line=
    address=${address%/}
    exec {socket}<>"/dev/tcp/${address%:*}/${address##*:}"
    cat "$1" >&"$socket" 2>/dev/null || true
    IFS=' ' read -r -t 60 _ line _ <&"$socket" || true
    exec {socket}>&-
    echo "$line"
}

@test "requests whose names say how they are answered: tests/data/http" {
    for file in tests/data/http/*; do
        want=${file##*/}
        want=${want%%-*}
        got=$(answer "$file")
        # What is no HTTP may be told so.
        [ "$got" = "$want" ] || { [ "$want" = close ] && [ "${got:-400}" = 400 ]; } || { echo "$file: $got" && false; }
    done
    is 200 GET "${SHARED}health"
}

@test "a page of another origin is refused, the server's own is not" {
    is 403 POST "${SHARED}v1/reload" -H 'Origin: http://evil.example'
    jq -e '.error.message | contains("origin")' "$TMP/body"
    is 403 GET "${SHARED}health" -H 'Host: evil.example:8080'
    jq -e '.error.message | contains("--api-key-file") and (contains("origin") | not)' "$TMP/body"
    is 403 GET "${SHARED}health" -H 'Host: localhost.evil.example'
    is 200 GET "${SHARED}health" -H 'Host: localhost:8080'
    is 200 GET "${SHARED}health" -H "Origin: ${SHARED%/}"
    serve --host 2130706433 # a name of this machine's that is on no list
    is 200 GET "http://127.0.0.1:${URL##*:}health" -H "Host: 2130706433:8080"
    is 403 GET "http://127.0.0.1:${URL##*:}health" -H "Host: 2130706433.evil.example"
    curl -s "$SHARED" | grep -q '<title>latentr3</title>'
    curl -s "$SHARED" | not grep -qE '(src|href)="?(https?:)?//'
}

@test "items: prefixes, words, without regard to case" {
    title=$(sed -n 6p "$WORLD/data/info.txt" | cut -f1)
    is 200 GET "${SHARED}v1/items" -G --data-urlencode "query=$(head -c 4 <<<"$title" | tr '[:lower:]' '[:upper:]')" -d limit=100
    jq -e --arg t "$title" 'any(.items[]; .title == $t and .id == "5")' "$TMP/body"
    is 200 GET "${SHARED}v1/items" -G --data-urlencode "query=${title#* }"
    jq -e --arg t "$title" 'any(.items[]; .title == $t)' "$TMP/body"
    is 200 GET "${SHARED}v1/items?query=zzzz"
    jq -e '.items == []' "$TMP/body"
    is 200 GET "${SHARED}v1/items?limit=3"
    jq -e '.items | length == 3' "$TMP/body"
    for limit in 0 101 x 1x -1 ''; do is 422 GET "${SHARED}v1/items?limit=$limit"; done
    is 422 GET "${SHARED}v1/items?query=%ff"
    for other in 'limt=3' 'limit=3&Query=x' '=3' 'query=x&limit=3&page=2'; do is 422 GET "${SHARED}v1/items?$other"; done
    jq -e '.error.message == "page: there is no such parameter"' "$TMP/body"
    is 422 GET "${SHARED}v1/items?limit=3&query=x&limit=2"
    jq -e '.error.message == "limit: given twice"' "$TMP/body"
    is 200 GET "${SHARED}v1/items?&limit=3&"
    # Elsewhere there are none, but for what proxies and probes put behind a path.
    is 422 POST "${SHARED}v1/recommend?k=3" --json '{"history_ids": ["2"]}'
    jq -e '.error.message == "k: there is no such parameter"' "$TMP/body"
    is 422 GET "${SHARED}v1/items/2?x=1"
    is 422 POST "${SHARED}v1/reload?model=other"
    for path in '' health metrics v2/health/ready; do is 200 GET "$SHARED$path?probe=1"; done
    is 422 GET "${SHARED}v1/items?%ff"
    is 200 GET "${SHARED}v1/items?query=a%00b"
    jq -e '.items == []' "$TMP/body"
    is 404 GET "${SHARED}v1/items/5%00x"
    is 200 GET "${SHARED}v1/items/5"
    jq -e --arg t "$title" '.title == $t and .removed == false' "$TMP/body"
    is 404 GET "${SHARED}v1/items/99999"
}

@test "just after the start: who asks for what is popular waits until the rows are counted, and nobody else" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    for _ in {1..100}; do tail -n +2 "$WORLD/data/train.csv"; done >>"$TMP/data/train.csv"
    DATA=$TMP/data serve --thoughts 1 --category book
    for i in 1 2 3; do
        curl -s "${URL}v1/items?limit=2" >"$TMP/items$i" &
        asks[i]=$!
    done
    curl -s -Z --parallel-immediate --parallel-max 90 -o /dev/null -w '%{http_code}\n' "${URL}v1/items?limit=[1-90]" >"$TMP/codes" & # more than changes may wait
    asks[4]=$!
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
    jq -e '.items | length == 10' "$TMP/body"
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"], "explain": true}'
    cp "$TMP/body" "$TMP/explained"
    wait "${asks[@]}"
    [ "$(sort "$TMP/codes" | uniq -c)" = '     90 200' ]
    is 200 GET "${SHARED}v1/items?limit=2"
    cp "$TMP/body" "$TMP/once"
    for i in 1 2 3; do jq -e --slurpfile o "$TMP/once" '.items | length == 2 and .[0].interactions > 50 * $o[0].items[0].interactions' "$TMP/items$i"; done
    jq -e --slurpfile i "$TMP/items1" '.explain.popular[0].id == $i[0].items[0].id' "$TMP/explained"
}

@test "Open Inference Protocol" {
    is 200 GET "${SHARED}v2"
    jq -e '.name == "latentr3"' "$TMP/body"
    is 200 GET "${SHARED}v2/health/live"
    is 200 GET "${SHARED}v2/health/ready"
    is 200 GET "${SHARED}v2/models/model"
    jq -e '.name == "model" and .inputs[0].datatype == "BYTES"' "$TMP/body"
    is 200 GET "${SHARED}v2/models/model/ready"
    jq -e .ready "$TMP/body"
    version=$(jq -r '.versions[0]' <<<"$(curl -s "${SHARED}v2/models/model")")
    is 200 GET "${SHARED}v2/models/model/versions/$version"
    jq -e --arg v "$version" '.versions == [$v]' "$TMP/body"
    is 200 GET "${SHARED}v2/models/model/versions/$version/ready"
    is 404 GET "${SHARED}v2/models/model/versions/${version}0"
    is 404 GET "${SHARED}v2/models/other/versions/$version"
    is 404 GET "${SHARED}v2/models/other"
    is 404 GET "${SHARED}v2/models"
    is 405 GET "${SHARED}v2/models/model/infer"
    is 415 POST "${SHARED}v2/models/model/infer" -d '{}'
    is 400 POST "${SHARED}v2/models/model/infer" --json '{'
    recommend 200 '{"history_ids": ["2"], "k": 3}'
    cp "$TMP/body" "$TMP/one"
    is 200 POST "${SHARED}v2/models/model/infer" --json '{"id": "a1", "parameters": {"k": 3}, "inputs": [{"name": "history_ids",
        "datatype": "BYTES", "shape": [2, 2], "data": ["2", "", "3", "4"]}]}'
    jq -e --slurpfile o "$TMP/one" '.id == "a1" and .model_name == "model" and .outputs[0].shape == [2, 3]
        and .outputs[0].data[:3] == [$o[0].items[].id] and (.outputs[2].data | length) == 6' "$TMP/body"
    cp "$TMP/body" "$TMP/three"
    is 200 POST "${SHARED}v2/models/model/versions/$version/infer" --json '{"id": "a\u0000\u00e9", "parameters": {"k": 3}, "inputs": [{"name": "history_ids",
        "datatype": "BYTES", "shape": [2, 2], "data": ["2", "", "3", "4"]}], "outputs": [{"name": "score", "parameters": {}}, {"name": "item"}]}'
    jq -e --slurpfile t "$TMP/three" '.id == "a\u0000é" and [.outputs[].name] == ["item", "score"] and .outputs[0] == $t[0].outputs[0]' "$TMP/body"
    for bad in '{}' '{"inputs": []}' '{"inputs": [{"name": "x"}]}' \
        '{"inputs": [{"name": "history", "datatype": "FP32", "shape": [1, 1], "data": ["x"]}]}' \
        '{"inputs": [{"name": "history", "datatype": "BYTES", "shape": [2, 1], "data": ["x"]}]}' \
        '{"inputs": [{"name": "history", "datatype": "BYTES", "shape": [1, 1], "data": ["x", "y"]}]}' \
        '{"inputs": [{"name": "history", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}' \
        '{"inputs": [{"name": "history", "datatype": "BYTES", "shape": [1, 1], "data": ["x"]}], "outputs": "item"}' \
        '{"inputs": [{"name": "history", "datatype": "BYTES", "shape": [1, 1], "data": ["x"]}], "outputs": [{"name": "rank"}]}'; do
        is 422 POST "${SHARED}v2/models/model/infer" --json "$bad"
    done
}

@test "a model is called by its folder, also from within" {
    cp -r "$WORLD/model" "$TMP/model"
    mkdir "$TMP/model/sub"
    for path in . ../model/. sub/..; do
        cd "$TMP/model"
        MODEL=$path serve
        cd "$OLDPWD"
        is 200 GET "${URL}v2/models/model/ready"
        kill "$SERVER"; ends 143
    done
}

@test "SIGTERM and SIGHUP each have their exit code" {
    for signal in TERM:143 HUP:129; do
        serve
        kill -s "${signal%:*}" "$SERVER"; ends "${signal#*:}"
    done
}

@test "--index names a file that is no built catalogue: it is left as it is, and no advice to remove it" {
    cp "$WORLD/data/info.txt" "$TMP/own"
    for command in serve 'recommend --history x' eval; do
        # shellcheck disable=SC2086
        LATENTR3_LOG=error refuses 3 "*$TMP/own: not a built catalogue: name another file" \
            "$LATENTR3" $command --model "$WORLD/model" --data "$WORLD/data" --threads 1 --index "$TMP/own"
    done
    cmp "$WORLD/data/info.txt" "$TMP/own"
}

@test "metrics: what was done is counted" {
    metric() { curl -s "${URL}metrics" | awk -v n="latentr3_$1" '$1 == n {print $2}'; }
    serve --thoughts 1
    [ "$(metric users_total)" = 0 ]
    is 200 POST "${URL}v1/recommend" --json '{"users": [{"history_ids": ["2"]}, {"history_ids": ["3"]}]}'
    is 422 POST "${URL}v1/recommend" --json '{}'
    [ "$(metric users_total)" = 2 ]
    [ "$(metric recommend_seconds_count)" = 1 ]
    [ "$(metric 'http_replies_total{status="422"}')" = 1 ]
    [ "$(metric illegal_beams_total)" = 0 ]
    [ "$(metric thoughts_total)" -ge 2 ]
    [ "$(metric tokens_total)" -gt 50 ]
    [ "$(metric queue_users)" = 0 ]
    # The search without a thought that an explanation makes is work too.
    steps=$(metric beam_steps_total)
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
    once=$(($(metric beam_steps_total) - steps)) steps=$(metric beam_steps_total)
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"], "explain": true}'
    [ $(($(metric beam_steps_total) - steps)) -eq $((2 * once)) ]
    [ "$(metric recommend_seconds_count)" = 3 ]
    # Who leaves gets no reply that could be counted.
    jq -n '{users: [range(64) | {history_ids: ["2", "3", "5", "7", "11"], k: 50}]}' >"$TMP/request"
    exits 28 curl -s --max-time 0.1 --json "@$TMP/request" "${URL}v1/recommend"
    for _ in {1..100}; do [ "$(metric cancelled_total)" = 0 ] || break; done
    [ "$(metric cancelled_total)" = 1 ]
    sleep 0.3
    [ -z "$(metric 'http_replies_total{status="503"}')" ]
    [ "$(metric recommend_seconds_count)" = 3 ]
    curl -s "${URL}metrics" | not grep -vqE '^(# (HELP|TYPE) [a-z0-9_]+ |[a-z0-9_]+(\{[a-z]+="[^"]*"\})? [0-9.e+-]+$)'
}

@test "a client that leaves bytes behind its request and goes is seen to have gone" {
    metric() { curl -s "${URL}metrics" | awk -v n="latentr3_$1" '$1 == n {print $2}'; }
    serve --batch 1
    jq -cn '{users: [range(64) | {history_ids: ["2", "3", "5", "7", "11"], k: 50}]}' >"$TMP/request"
    port=${URL##*:}
    exec 7<>"/dev/tcp/127.0.0.1/${port%/}"
    printf '%s\r\n' 'POST /v1/recommend HTTP/1.1' 'Host: localhost' 'Content-Type: application/json' "Content-Length: $(wc -c <"$TMP/request")" '' | cat - "$TMP/request" >&7
    for _ in {1..100}; do [ "$(metric queue_users)" = 0 ] || break; done
    printf '\r\n' >&7
    exec 7>&-
    for _ in {1..20}; do [ "$(metric cancelled_total)" = 0 ] || break; done
    [ "$(metric cancelled_total)" = 1 ]
    [ "$(metric users_total)" -lt 64 ]
}

@test "a client that closes its sending side is as one that has gone: no reply that says nothing" {
    serve --batch 1
    jq -cn '{users: [range(64) | {history_ids: ["2", "3", "5", "7", "11"], k: 50}]}' >"$TMP/request"
    python3 - "$URL" "$TMP/request" <<'PYTHON' >"$TMP/reply"
import socket, sys
host, port = sys.argv[1].split('//')[1].strip('/').split(':')
body = open(sys.argv[2], 'rb').read()
with socket.create_connection((host, int(port)), 20) as s:
    s.sendall(b'POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
    s.shutdown(socket.SHUT_WR)
    sys.stdout.write(repr(s.recv(100)))
PYTHON
    [ "$(cat "$TMP/reply")" = "b''" ]
    is 200 POST "${URL}v1/recommend" --json '{"history": []}'
}

@test "a prompt that is known is not computed again, and gives the same list" {
    metric() { curl -s "${URL}metrics" | awk -v n="latentr3_$1" '$1 == n {print $2}'; }
    ask() { is 200 POST "${URL}v1/recommend" --json "{\"history_ids\": [$1]}" && jq .items "$TMP/body" >"$TMP/list$2"; }
    near() { jq -se 'transpose | length == 10 and all(.[]; .[0].id == .[1].id and (.[0].score - .[1].score | fabs) < 1e-4)' "$@"; }
    cp -r "$WORLD/data" "$TMP/data"
    DATA=$TMP/data serve --thoughts 1
    ask '"2", "3"' 1
    asked=$(metric prompt_tokens_total) known=$(metric prompt_tokens_known_total)
    ask '"2", "3"' 2
    [ $(($(metric prompt_tokens_known_total) - known)) -eq $(($(metric prompt_tokens_total) - asked)) ] # all of it
    near "$TMP/list1" "$TMP/list2"
    ask '"2", "3", "4"' 3
    is 201 PUT "${URL}v1/items/900" --json '{"title": "Brand New"}' # prompts stay known
    known=$(metric prompt_tokens_known_total)
    ask '"2", "3", "4"' 4
    [ "$(metric prompt_tokens_known_total)" -gt "$known" ]
    kill "$SERVER"; ends 143
    serve --thoughts 1 --prefix-cache 0
    ask '"2", "3", "4"' 5
    near "$TMP/list3" "$TMP/list5"
    [ "$(metric prompt_tokens_known_total)" = 0 ]
}

@test "API keys" {
    printf '# a comment\n   # one that is set in\n\n  0123456789abcdef \nthe second key of two\n' >"$TMP/keys"
    serve --api-key-file "$TMP/keys"
    is 401 GET "${URL}v1/items"
    is 401 GET "${URL}nowhere"
    is 401 POST "${URL}v1/recommend" --json '{"history": ["x"]}' -H 'Authorization: Bearer 0123456789abcde'
    is 401 POST "${URL}v1/recommend" --json '{"history": ["x"]}' -H 'Authorization: Basic 0123456789abcdef'
    is 200 POST "${URL}v1/recommend" --json '{"history": ["x"]}' -H 'Authorization: Bearer 0123456789abcdef'
    is 200 GET "${URL}metrics" -H 'X-API-Key: the second key of two'
    is 200 GET "${URL}health"
    is 200 GET "${URL}v2/health/ready"
    is 200 GET "$URL"
    curl -si "${URL}metrics" | grep -qi '^www-authenticate: bearer'
}

@test "a SASRec and a baseline are served too" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/sasrec" --threads 1 --max-steps 5 --width 16 --feed-forward 16 \
        --valid-rows 20 2>/dev/null
    MODEL=$TMP/sasrec serve
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2", "5"], "k": 3, "deny": ["7"], "exclude_seen": true, "explain": true}'
    jq -e '(.items | length) == 3 and all(.items[]; .id | IN("2", "5", "7") | not) and .explain.thought == null
        and .explain.without_thought == null' "$TMP/body"
    "$LATENTR3" recommend --model "$TMP/sasrec" --data "$WORLD/data" --threads 1 --history-id 2 --history-id 5 --json 2>/dev/null >"$TMP/c"
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2", "5"]}'
    jq -e --slurpfile c "$TMP/c" '[.items[].id] == [$c[0].items[].id]' "$TMP/body"
    kill "$SERVER"; ends 143
    # The folder takes an item that the model is to be trained on; until then it is in no list, and unknown in a history.
    cp -r "$WORLD/data" "$TMP/new"
    MODEL=$TMP/sasrec DATA=$TMP/new serve
    is 201 PUT "${URL}v1/items/new" --json '{"title": "Brand New"}'
    is 200 GET "${URL}v1/items?query=brand"
    jq -e '.items[0].id == "new"' "$TMP/body"
    for history in '"history_ids": ["2", "new", "5", "nowhere"]' '"history": ["Brand New"]'; do
        is 200 POST "${URL}v1/recommend" --json "{$history, \"k\": 50}"
        jq -e 'all(.items[]; .id != "new") and (.unknown == ["new", "nowhere"] or .unknown == ["Brand New"])' "$TMP/body"
    done
    jq -e '.items == []' "$TMP/body"
    kill "$SERVER"; ends 143
    MODEL=popularity serve
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"], "k": 5, "explain": true}'
    jq -e '[.items[].id] == [.explain.popular[].id]' "$TMP/body"
    kill "$SERVER"; ends 143
    # A title of two items: under the one that may be recommended, and seen where either was.
    cp -r "$WORLD/data" "$TMP/data"
    title=$(head -1 "$TMP/data/info.txt" | cut -f1)
    "$LATENTR3" catalog add --data "$TMP/data" --id dup --title "$title" 2>/dev/null
    first=$("$LATENTR3" catalog list --data "$TMP/data" --json | jq -r '.items[0].id')
    MODEL=popularity DATA=$TMP/data serve
    for id in 5 9 11; do is 200 PUT "${URL}v1/items/$id" --json "$(jq -n --arg t "$title" '{title: $t}')"; done
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"], "explain": true}'
    jq -e --arg f "$first" '[.items[].id] == [.explain.popular[].id] and .items[0].id == $f' "$TMP/body"
    while IFS='|' read -r ask ids; do
        is 200 POST "${URL}v1/recommend" --json "${ask//FIRST/$first}"
        jq -e --argjson ids "${ids//FIRST/$first}" '[.items[].id] == $ids' "$TMP/body"
    done <<'END'
{"history_ids": ["7"], "allow": ["dup"]}|["dup"]
{"history_ids": ["7"], "allow": ["dup", "FIRST"], "deny": ["FIRST"]}|["dup"]
{"history_ids": ["7"], "allow": ["dup", "FIRST"]}|["FIRST"]
{"history_ids": ["dup"], "allow": ["dup", "FIRST", "2"], "exclude_seen": true}|["2"]
END
}

@test "the end: what was asked is answered" {
    serve --batch 1
    for i in {1..12}; do
        curl -s -o "$TMP/answer$i" -w '%{http_code}\n' --json '{"users": [{"history_ids": ["2"], "k": 50}, {"history_ids": ["3"], "k": 50}]}' "${URL}v1/recommend" >"$TMP/status$i" &
        clients[i]=$!
    done
    for _ in {1..100}; do
        [ "$(curl -s "${URL}metrics" | awk '$1 == "latentr3_users_total" {print $2}')" = 0 ] || break
    done
    kill "$SERVER"
    wait "${clients[@]}" || true
    ends 143
    grep -q 'all requests are answered' "$TMP/server.log"
    # Those that were connected have their answer; a client that came too late was refused a connection.
    answered=$(cat "$TMP"/status* | grep -c 200)
    [ "$answered" -ge 1 ]
    [ $((answered + $(cat "$TMP"/status* | grep -c 000))) -eq 12 ]
    for i in {1..12}; do [ "$(cat "$TMP/status$i")" = 000 ] || jq -e '.users | length == 2' "$TMP/answer$i"; done
}

@test "the end: those who were connected and not yet accepted are answered too" {
    serve
    local port=${URL##*:} sockets=() line
    kill -STOP "$SERVER"
    for i in {1..60}; do
        exec {sockets[i]}<>"/dev/tcp/127.0.0.1/${port%/}"
        printf 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n' >&"${sockets[i]}"
    done
    kill "$SERVER"
    kill -CONT "$SERVER"
    for i in {1..60}; do
        read -r -t 20 line <&"${sockets[i]}" || { echo "client $i has no answer"; return 1; }
        [[ $line == 'HTTP/1.1 200'* ]]
        exec {sockets[i]}>&-
    done
    ends 143
}

@test "a full queue: 503 with Retry-After, and the rest goes on" {
    serve --batch 1 --queue 2
    for i in {1..16}; do
        curl -s -D "$TMP/head$i" -o "$TMP/answer$i" --json '{"history_ids": ["2"], "k": 50}' "${URL}v1/recommend" &
        clients[i]=$!
    done
    wait "${clients[@]}"
    [ "$(cat "$TMP"/head* | grep -c '^HTTP/1.1 200')" -ge 2 ]
    for i in {1..16}; do
        grep -q '^HTTP/1.1 200' "$TMP/head$i" || { grep -q '^HTTP/1.1 503' "$TMP/head$i" && grep -qi '^retry-after: [1-9]' "$TMP/head$i"; }
    done
    is 422 POST "${URL}v1/recommend" --json '{"users": [{"history": ["x"]}, {"history": ["x"]}, {"history": ["x"]}]}'
    is 200 POST "${URL}v1/recommend" --json '{"history_ids": ["2"]}'
}

@test "refusals" {
    export LATENTR3_LOG=error
    refuses 2 '*api-key-file*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --host 0.0.0.0 --port 0
    printf 'short\n' >"$TMP/keys"
    refuses 3 '*line 1*16*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --port 0 --api-key-file "$TMP/keys"
    for keys in '0123456789abcdef\nsecond-key-01234\00056\n' '# one\n0123456789abcdef\001\n' '0123456789abcdef\n0123456789abcd\303\251\n'; do
        printf "$keys" >"$TMP/keys"
        refuses 3 '*keys: line [12]: a byte that cannot stand in a header' timeout 10 "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --port 0 --api-key-file "$TMP/keys"
    done
    printf '0123456789abcdef\nsecond-key-0123456' | iconv -t UTF-16LE >"$TMP/keys"
    refuses 3 '*line 1: a byte*' timeout 10 "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --port 0 --api-key-file "$TMP/keys"
    printf '# nothing\n' >"$TMP/keys"
    refuses 3 '*no key*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --port 0 --api-key-file "$TMP/keys"
    refuses 4 '*nothing*' "$LATENTR3" serve --model "$TMP/nothing" --data "$WORLD/data" --port 0
    refuses 4 '*nothing*' "$LATENTR3" serve --model "$WORLD/model" --data "$TMP/nothing" --port 0
    refuses 2 '*--beams 60*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --beams 60
    port=${SHARED##*:}
    refuses 4 '*in use*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --port "${port%/}"
    refuses 2 '*--host*' "$LATENTR3" serve --model "$WORLD/model" --data "$WORLD/data" --host not.an.address.invalid --port 0
}

@test "a short soak: malformed and slow clients, too many, reloads and ends under load" {
    command -v python3 >/dev/null || skip "no Python"
    python3 tests/soak.py "$LATENTR3" "$WORLD/model" "$WORLD/data" 0.002 >"$TMP/out" 2>&1 || { tail -20 "$TMP/out"; return 1; }
    [ "$(grep -c 'all is well' "$TMP/out")" -eq 7 ]
}

@test "headers that never end are cut off after ten seconds, on a kept connection too" {
    for _ in 1 2 3; do wait_for "$BATS_FILE_TMPDIR/second" >/dev/null || true; done
    [ "$(grep -c '^HTTP/1.1 200' "$BATS_FILE_TMPDIR/second.replies")" -eq 1 ]
    [ "$(cat "$BATS_FILE_TMPDIR/second")" -ge 9 ]
    [ "$(cat "$BATS_FILE_TMPDIR/second")" -lt 20 ]
    curl -s "${SHARED}metrics" | grep -q '^latentr3_timeouts_total [1-9]'
}

# The Python that has a package, in $PYTHON; else the test is skipped.
python_with() {
    for PYTHON in "${LATENTR3_PYTHON:-python3}" python3; do
        "$PYTHON" -c "import $1" 2>/dev/null && return
    done
    skip "no Python with $1"
}

@test "the page in headless Chromium" {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null || skip "no chromium and chromedriver"
    python_with selenium
    serve --thoughts 1 --beams 8 --max-beams 8 # fewer than the ten items that are the default
    "$PYTHON" tests/page.py "$URL"
}

@test "openapi.yaml: schemathesis finds no fault" {
    python_with schemathesis
    cp -r "$WORLD/data" "$TMP/data"
    DATA=$TMP/data serve --thoughts 1
    # The one model's name, so that not all names are unknown ones.
    version=$(curl -s "${URL}health" | jq -r .model_version)
    sed -E "s/(name: model, .*)pattern: '[^']+'\}/\1enum: [model]}/; s/(name: version, .*)pattern: '[^']+'\}/\1enum: ['$version', other]}/" docs/openapi.yaml >"$TMP/openapi.yaml"
    [ "$(grep -c 'enum: \[model\]\|, other\]' "$TMP/openapi.yaml")" -eq 2 ]
    check() { "$PYTHON" -m schemathesis.cli run "$TMP/openapi.yaml" --url "${URL%/}" --checks all --seed 1 --max-examples 30 --no-color "$@"; }
    # No schema can say that a tensor has as many entries as its shape asks for.
    check --exclude-path-regex '/infer$' >"$TMP/out" || { tail -60 "$TMP/out"; return 1; }
    grep -q 'Tested: 16' "$TMP/out"
    check --include-path-regex '/infer$' --exclude-checks positive_data_acceptance >"$TMP/out" || { tail -60 "$TMP/out"; return 1; }
    grep -q 'Tested: 2' "$TMP/out"
    curl -s "${URL}metrics" | grep -q '^latentr3_illegal_beams_total 0$'
}
