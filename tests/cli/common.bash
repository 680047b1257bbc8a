# Shared by the command-line tests: $LATENTR3 is the program, $TMP an empty folder, the golden models stand in $GOLDEN.

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit 1
    LATENTR3=${LATENTR3:-$PWD/build/latentr3}
    GOLDEN=tests/golden
    TMP=$BATS_TEST_TMPDIR
}

# exits CODE COMMAND...: the command ends with that code; $output holds both its streams.
exits() {
    local code=$1
    shift
    run "$@"
    [ "$status" -eq "$code" ] || {
        echo "exit code $status, not $code: $*"
        echo "$output"
        return 1
    }
}

# says PATTERN: $output matches the glob.
says() {
    # shellcheck disable=SC2053
    [[ $output == $1 ]] || {
        echo "this does not match '$1':"
        echo "$output"
        return 1
    }
}

# refuses CODE PATTERN COMMAND...: one line on stderr that matches, nothing on stdout, that exit code.
refuses() {
    local code=$1 pattern=$2
    shift 2
    exits "$code" "$@"
    says "$pattern"
    [ "${#lines[@]}" -eq 1 ] || {
        echo "more than one line:"
        echo "$output"
        return 1
    }
    [ -z "$("$@" 2>/dev/null)" ] || {
        echo "something on stdout"
        return 1
    }
}

# differ FILE FILE: both are there and are not the same.
differ() {
    [ -s "$1" ]
    [ -s "$2" ]
    if cmp -s "$1" "$2"; then
        echo "$1 and $2 are the same"
        return 1
    fi
}
