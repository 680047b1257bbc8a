#!/usr/bin/env bats
# Options, help and exit codes: nothing here opens a model.

load common

# The names that --help lists.
commands() { "$LATENTR3" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'; }

@test "no command: usage on stderr, exit 2" {
    exits 2 "$LATENTR3"
    says '*usage: latentr3 <command>*a command is missing*'
    [ -z "$("$LATENTR3" 2>/dev/null || true)" ]
}

@test "--help lists every command, --version prints one line" {
    exits 0 "$LATENTR3" --help
    for command in prepare convert inspect tokenize sft rl eval recommend score synth; do says "*  $command *"; done
    exits 0 "$LATENTR3" --version
    says 'latentr3 [0-9]*.[0-9]*.[0-9]*'
    [ "${#lines[@]}" -eq 1 ]
}

@test "every command's --help shows each option once, with defaults" {
    for command in $(commands); do
        exits 0 "$LATENTR3" "$command" --help
        says "latentr3 $command: *usage: latentr3 $command *"
        [ -z "$(printf '%s\n' "${lines[@]}" | sed -nE 's/^  (-[^ ]*) .*/\1/p' | sort | uniq -d)" ]
    done
    exits 0 "$LATENTR3" catalog --help
    says '*usage: latentr3 catalog ACTION --data DIR *  ACTION *add, remove, text or list*'
    exits 0 "$LATENTR3" inspect --help
    says '*usage: latentr3 inspect \[PATH\] *'
    exits 0 "$LATENTR3" sft --help
    says '*--lr X *learning rate (default 3e-4) \[1e-09 .. 1\]*'
    says '*--batch N *[(]default 128[)] *'
    exits 0 "$LATENTR3" rl --help
    says '*--sigma X *[(]default 1.5[)] *'
    says '*--samples K *[(]default 8[)] *'
}

@test "what is said of exit codes names all that a signal leaves" {
    for file in docs/commands.md docs/serving.md packaging/make_man.sh; do
        grep -qE '(^|[^0-9])(130|143|129)(, | or )(130|143|129)(, | or )(130|143|129)([^0-9]|$)' "$file" || { echo "$file" && return 1; }
    done
}

@test "docs/commands.md names every option of every command" {
    for command in $(commands); do
        section=$(sed -n "/^## $command\$/,/^## /p" docs/commands.md)
        options=$("$LATENTR3" "$command" --help | sed -nE 's/^  (-[^ ]*) .*/\1/p')
        [ -n "$options" ]
        for option in $options; do
            [[ $section == *"\`$option"* ]] || {
                echo "docs/commands.md, section $command: $option is missing"
                return 1
            }
        done
    done
}

@test "unknown command, option and argument" {
    refuses 2 "latentr3: unknown command 'train'; see latentr3 --help" "$LATENTR3" train
    refuses 2 "*sft: unknown option 'lr-shedule'; did you mean --lr-schedule?" "$LATENTR3" sft --lr-shedule linear
    refuses 2 "*sft: unknown option 'mod'; did you mean --model?" "$LATENTR3" sft --mod x
    refuses 2 "*sft has no option 'sigma'; another command has" "$LATENTR3" sft --sigma 1
    refuses 2 "*sft: unknown option 'zzzzzz'; see latentr3 sft --help" "$LATENTR3" sft --zzzzzz 1
    refuses 2 "*sft: unexpected argument 'model'" "$LATENTR3" sft model
    refuses 2 "*recommend: unknown option 'k'*" "$LATENTR3" recommend --k 3
}

@test "a missing, repeated or empty value" {
    refuses 2 '*--lr has no value' "$LATENTR3" sft --lr
    refuses 2 '*--model has no value' "$LATENTR3" sft --model --data d
    refuses 2 '*--model: the value is empty' "$LATENTR3" sft --model ''
    refuses 2 '*--lr is given twice' "$LATENTR3" sft --lr 1e-3 --lr=1e-3
    refuses 2 '*--json is given twice' "$LATENTR3" eval --json --json
    refuses 2 '*--json takes no value' "$LATENTR3" eval --json=true
    refuses 2 '*sft: --model is missing*' "$LATENTR3" sft --data d --out o
    refuses 2 '*recommend: exactly one of --history, --history-id, --users and --all-users is expected' "$LATENTR3" recommend --model m --data d
    refuses 2 '*exactly one of --history, *' "$LATENTR3" recommend --model m --data d --out o --history A --all-users
}

@test "real numbers: only plain decimal ones inside the range, the range is named" {
    for value in nan inf -inf -1 0 1e-400 1e400 1,5 0x1p-3 ' 1' '1 ' 1e 1e+ . '' 1.0.0 --1; do
        refuses 2 "*--lr: '$value' is not a number from 1e-09 to 1" "$LATENTR3" sft --model m --data d --out o "--lr=$value"
    done
    for value in 1e-3 .5 1. +0.5 5E-1 1; do # these get as far as the missing model
        exits 4 "$LATENTR3" sft --model "$TMP/none" --data d --out "$TMP/o" --lr "$value"
    done
}

@test "whole numbers: only digits inside the range" {
    for value in 0 -1 2147483648 99999999999999999999 1e3 8k 1.0 0x10 ' 8' nan; do
        refuses 2 "*--batch: '$value' is not a whole number from 1 to 1048576" "$LATENTR3" sft --batch "$value"
    done
    for value in 0 -1 100000; do
        refuses 2 "*--threads: '$value' is not a whole number from 1 to 1024" "$LATENTR3" eval --threads "$value"
    done
    refuses 2 "*--samples: '1' is not a whole number from 2 to 1024" "$LATENTR3" rl --samples 1
    refuses 2 "*--seed: '-1' is not *" "$LATENTR3" rl --seed -1
}

@test "choices" {
    refuses 2 "*--dtype: 'f16' is none of auto|f32|bf16" "$LATENTR3" eval --dtype f16
    refuses 2 "*--dtype: 'f' is none of *" "$LATENTR3" eval --dtype f
    refuses 2 "*--bos: 'maybe' is none of auto|yes|no" "$LATENTR3" eval --bos maybe
}

@test "numbers do not depend on the locale" {
    refuses 2 "*--lr: '0,5' is not *" env LC_ALL=de_DE.UTF-8 "$LATENTR3" sft --lr 0,5
    exits 4 env LC_ALL=de_DE.UTF-8 "$LATENTR3" sft --model "$TMP/none" --data d --out "$TMP/o" --lr 0.5
}

@test "more items than beams" {
    refuses 2 '*-k 20 is more than --beams 10*' "$LATENTR3" recommend --model m --data d --history A -k 20
    refuses 2 '*-k 10 is more than --beams 5*' "$LATENTR3" recommend --model m --data d --history A -k 10 --beams 5
}

@test "a standard file that is closed is no file of the run's" {
    "$LATENTR3" synth --out "$TMP/w" --items 60 --rows 600
    exits 0 bash -c "'$LATENTR3' sasrec --data '$TMP/w/data' --out '$TMP/s' --width 8 --epochs 1 --warmup 1 --threads 1 <&- 2>&-"
    jq -es 'all(.[]; .event)' "$TMP/s/log.jsonl"
    exits 4 bash -c "'$LATENTR3' recommend --model popularity --data '$TMP/w/data' --history x >&-"
}

@test "options that would change nothing" {
    for command in 'sft --out o' 'rl --out o' 'bench sft'; do
        for idle in '--lora-alpha 16' '--lora-targets q,v'; do
            # shellcheck disable=SC2086
            refuses 2 "*${idle% *} goes with --lora-rank R" "$LATENTR3" $command --model m --data d $idle
        done
    done
    for option in '--thought hidden' '--thought-rms 0.1' '--thought-window 3'; do
        # shellcheck disable=SC2086
        refuses 2 "*${option% *} goes with --thoughts N of at least 1" "$LATENTR3" sft --model m --data d --out o --thoughts 0 $option
        # shellcheck disable=SC2086
        refuses 2 "*${option% *} goes with --thoughts N of at least 1" "$LATENTR3" sasrec --data d --out o $option
    done
    refuses 2 '*--latent-lr goes with --thoughts N of at least 1' "$LATENTR3" sft --model m --data d --out o --thoughts 0 --latent-lr 1e-3
    refuses 2 '*--latent-lr goes with --thought ratt' "$LATENTR3" sft --model m --data d --out o --thought hidden --latent-lr 1e-3
    refuses 2 '*--thought-window goes with --thought ratt' "$LATENTR3" sasrec --data d --out o --thoughts 1 --thought hidden --thought-window 3
    for all_epochs in --no-early-stop --keep-last; do
        refuses 2 '*--patience goes with early stopping, not with --no-early-stop or --keep-last' "$LATENTR3" sft --model m --data d --out o $all_epochs --patience 3
    done
    refuses 2 '*--advantage-window goes with --advantage batch' "$LATENTR3" rl --model m --data d --out o --advantage group --advantage-window 2
    for option in '--epsilon-low 0.1' '--epsilon-high 0.1'; do
        # shellcheck disable=SC2086
        refuses 2 "*${option% *} goes with --inner N of at least 2*" "$LATENTR3" rl --model m --data d --out o $option
    done
    # All defaults may be typed.
    exits 4 "$LATENTR3" rl --model m --data d --out o --advantage group --advantage-window 0 --epsilon-low 0.2 --epsilon-high 0.28 --inner 1
    exits 4 "$LATENTR3" sasrec --data d --out o --thoughts 0 --thought ratt --thought-rms 0 --thought-window 0 --patience 10 --no-early-stop
    refuses 2 '*--negatives goes with --loss bce' "$LATENTR3" sasrec --data d --out o --negatives 3
    for idle in '--items 100' '--rows 300'; do
        # shellcheck disable=SC2086
        refuses 2 "*${idle% *} goes with a log that synth makes, not with --data" "$LATENTR3" synth --data d --out o $idle
    done
    # At their defaults they say nothing, as in a model card's command.
    exits 4 "$LATENTR3" sft --model "$TMP/none" --data d --out "$TMP/o" --lora-rank 0 --lora-alpha 0 --lora-targets q,k,v,o,gate,up,down
    exits 4 "$LATENTR3" sasrec --data "$TMP/none" --out "$TMP/o" --loss ce --negatives 1
}

@test "--config: the command line wins, everything else is refused with its line" {
    config() {
        printf "$1" >"$TMP/c.yaml"
        refuses 2 "*c.yaml: line $2: $3" "$LATENTR3" sft --config "$TMP/c.yaml" --model m --data d --out o
    }
    config 'lr: 1e-3\nlearning: 1\n' 2 "*unknown option 'learning'*"
    config 'lr: 1e-3\nbatch: 8\nlr: 1e-3\n' 3 "given twice: 'lr'"
    config 'lr: fast\n' 1 "--lr: 'fast' is not a number *"
    config 'lr: [1e-3]\n' 1 "one plain value *"
    config 'lr: {a: b}\n' 1 "one plain value *"
    config 'lr:\n' 1 "no value for 'lr'"
    config 'no-early-stop: yes\n' 1 "--no-early-stop: 'yes' is neither true nor false"
    config '\nconfig: other.yaml\n' 2 "a configuration names no other: 'config'"
    config 'sigma: 1\n' 1 "sft has no option 'sigma'*"
    config '[lr, 1]\n' 1 'a mapping of options is expected'
    config 'a: &x 1\nlr: *x\n' 1 '*unknown option*'
    config 'lr: *x\n' 1 'found undefined alias'
    config 'lr: "1\n' 2 '*'
    config 'lr: 1e-3\n---\nlr: 1e-3\n' 2 'one document is expected'
    config '' 1 'a mapping of options is expected'
    refuses 4 '*none.yaml*' "$LATENTR3" sft --config "$TMP/none.yaml" --model m --data d --out o
    printf 'model: %s\nlr: 0.5\nno-early-stop: true\n' "$TMP/none" >"$TMP/c.yaml"
    # The model comes from the file, the rate from both; what is left to fail is that nothing is there to read.
    exits 4 "$LATENTR3" sft --config "$TMP/c.yaml" --data "$TMP/none" --out "$TMP/o" --lr 1e-3
    printf 'history: ["A", "B"]\nk: 11\n' >"$TMP/c.yaml"
    refuses 2 '*-k 11 is more than --beams 10*' "$LATENTR3" recommend --config "$TMP/c.yaml" --model m --data d
    exits 4 "$LATENTR3" recommend --config "$TMP/c.yaml" --model "$TMP/none" --data "$TMP/none" -k 5
}

@test "--out: the input itself, a file, a missing parent, a folder that is not empty" {
    mkdir "$TMP/full" && touch "$TMP/full/file"
    refuses 2 "*--out tests/golden/tiny-llama/. is the input itself" \
        "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$GOLDEN/tiny-llama/." --force
    for command in "sft --model $GOLDEN/tiny-llama" "rl --model $GOLDEN/tiny-llama" sasrec synth; do
        # shellcheck disable=SC2086
        refuses 2 "*--out $TMP/full/. is the input itself" "$LATENTR3" $command --data "$TMP/full" --out "$TMP/full/." --force
    done
    refuses 2 "*--out $TMP/full is not empty; --force writes into it" \
        "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/full"
    refuses 4 "*a folder is needed here*" "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/full/file"
    touch "$TMP/file"
    refuses 4 "*file/out: cannot be made: */file is no folder *" "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/file/out"
    exits 0 "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/none/nor/this/out"
    [ -s "$TMP/none/nor/this/out/model.safetensors" ]
    model=$PWD/$GOLDEN/tiny-llama
    (cd "$TMP" && exits 0 "$LATENTR3" convert --model "$model" --out o/a && [ -s o/a/model.safetensors ])
    (cd "$TMP" && refuses 4 "*file/r.html: cannot be made: file is no folder *" "$LATENTR3" report "$TMP" --out file/r.html)
    long=$(printf 'x%.0s' {1..5000})
    refuses 4 '*File name too long' "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/$long"
    [ "$(ls -A "$TMP/full")" = file ]
}

@test "stdout that cannot be written, or that nobody reads" {
    [ -e /dev/full ] || skip "no /dev/full"
    # More than a buffer holds: it is lost before the end.
    "$LATENTR3" synth --out "$TMP/world" --items 1000 --rows 9000 2>/dev/null
    run bash -c '"$1" catalog list --data "$2" >/dev/full' _ "$LATENTR3" "$TMP/world/data"
    [ "$status" -eq 4 ]
    [[ $output == *stdout* ]]
    run bash -c '"$1" --help >/dev/full' _ "$LATENTR3"
    [ "$status" -eq 4 ]
    run bash -c '"$1" sft --help | true; exit "${PIPESTATUS[0]}"' _ "$LATENTR3"
    [ "$status" -eq 141 ] || [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "LATENTR3_LOG" {
    LATENTR3_LOG=loud refuses 2 "*LATENTR3_LOG: 'loud' is none of error, warn, info, debug" "$LATENTR3" --help
    LATENTR3_LOG=error exits 0 "$LATENTR3" --version
}

@test "control bytes of an argument do not reach the terminal" {
    run "$LATENTR3" "$(printf 'x\033[31m')"
    [ "$status" -eq 2 ]
    [[ $output != *$'\033'* ]]
}

@test "files of options whose names say whether they are read: tests/data/options" {
    for file in tests/data/options/*; do # NAME.COMMAND.yaml
        command=${file%.yaml}
        command=${command##*.}
        case ${file##*/} in
            good*) exits 4 "$LATENTR3" "$command" --config "$file" ;; # there is no such model
            bad*) refuses 2 'latentr3: *' "$LATENTR3" "$command" --config "$file" ;;
            *) false ;;
        esac || { echo "$file" && false; }
    done
}
