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

# not COMMAND: it must fail. (bats takes no notice of a `!`.)
not() {
    if "$@"; then
        echo "succeeded: $*"
        return 1
    fi
}

# refuses CODE PATTERN COMMAND...: one line on stderr that matches, nothing on stdout, that exit code.
refuses() {
    local code=$1 pattern=$2
    shift 2
    # `set -e` does not hold inside a condition, where this may stand.
    exits "$code" "$@" && says "$pattern" || return 1
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

# as_named FILE CODE COMMAND...: the file's name says what becomes of it. good: the command ends with 0; bad: it refuses, with that code.
as_named() {
    case ${1##*/} in
        good*) exits 0 "${@:3}" ;;
        bad*) LATENTR3_LOG=error refuses "$2" "latentr3: *" "${@:3}" ;;
        *) false ;;
    esac || {
        echo "$1"
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

# shop_log LOG OUT: the log of a world of synth, whose items have ids as a shop gives them: s/1, s/2, ...
shop_log() {
    mkdir "$2"
    awk -F'\t' 'BEGIN {OFS = FS} NR > 1 {$2 = "s/" $2} {print}' "$1/synth.inter" >"$2/shop.inter"
    awk -F'\t' 'BEGIN {OFS = FS} NR > 1 {$1 = "s/" $1} {print}' "$1/synth.item" >"$2/shop.item"
}

# small_training KIND MODEL START: `options` of a training of a few steps that keeps better models on the way. START: a model with
# a thought. WIDTH: of the SASRec.
small_training() {
    case $1 in
        sasrec) options=(sasrec --loss bce --batch 16 --micro-rows 100 --width "${WIDTH:-8}" --layers 1 --epochs 2 --valid-rows 20 --no-early-stop) ;;
        sft) options=(sft --model "$2" --sample 24 --batch 8 --micro-rows 300 --valid-rows 4 --epochs 2 --no-early-stop) ;;
        lora) options=(sft --model "$3" --lora-rank 2 --sample 24 --batch 8 --micro-rows 300 --valid-rows 4 --epochs 2 --no-early-stop) ;;
        rl) options=(rl --model "$3" --sample 12 --batch 2 --samples 2 --micro-rows 20 --eval-rows 4 --beta 0.01) ;;
    esac
}
