# A server and its client, for the tests of `serve`: serve.bats, serve_changes.bats.

# The world that a file's tests share: $WORLD/model, $WORLD/data, $WORLD/log.
make_world() {
    export WORLD=$BATS_FILE_TMPDIR/world
    export LATENTR3=${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}
    "$LATENTR3" synth --items 60 --rows 900 --out "$WORLD" 2>/dev/null
}

teardown() {
    [ -z "${SERVER:-}" ] || kill "$SERVER" 2>/dev/null || true
}

# Until the file holds a line.
wait_for() {
    for _ in {1..200}; do
        [ ! -s "$1" ] || return 0
        sleep 0.05
    done
    echo "nothing in $1"
    return 1
}

# serve OPTION...: a server of this test alone over $DATA, of $threads threads (1); $URL and $SERVER.
serve() {
    : >"$TMP/url"
    "$LATENTR3" serve --model "${MODEL:-$WORLD/model}" --data "${DATA:-$WORLD/data}" --dtype f32 --threads "${threads:-1}" \
        --port 0 "$@" >"$TMP/url" 2>"$TMP/server.log" 3>&- &
    SERVER=$!
    wait_for "$TMP/url" || { cat "$TMP/server.log"; return 1; }
    URL=$(cat "$TMP/url")
}

# ends CODE: the server has ended with that code.
ends() {
    local status=0
    wait "$SERVER" || status=$?
    SERVER=
    [ "$status" -eq "$1" ]
}

# status METHOD URL [curl option...]: the status of the reply, whose body is $TMP/body.
status() {
    curl -s -o "$TMP/body" -w '%{http_code}' -X "$1" "$2" "${@:3}"
}

# is STATUS METHOD URL ...: the reply has the status; where it is an error, it says so in JSON, below /v2 in that protocol's form.
is() {
    local want=$1 got
    shift
    got=$(status "$@")
    [ "$got" = "$want" ] || {
        echo "status $got, not $want: $*"
        cat "$TMP/body"
        return 1
    }
    local form='.error.status == $s and (.error.message | length > 3)'
    [[ $2 != */v2* ]] || form='.error | strings | length > 3'
    [ "$want" -lt 400 ] || jq -e --argjson s "$want" "$form" "$TMP/body" >/dev/null
}
