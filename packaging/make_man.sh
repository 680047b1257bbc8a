#!/usr/bin/env bash
# latentr3(1) out of the program's own --help: make_man.sh PROGRAM FILE
set -euo pipefail
program=$1
file=$2

# Text that roff shall print as it is: backslashes, dashes, and no line that begins as a request.
plain() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/"; }

# One command's --help: a heading, its usage, and an entry for each option.
section() {
    "$program" "$1" --help | plain | awk -v name="$1" '
        NR == 1 { sub(/^[^:]*: /, ""); print ".SH \"" toupper(name) "\""; print; next }
        /^usage: / { sub(/^usage: /, ""); print ".PP\n.nh\n" $0 "\n.hy"; next }
        /^  [^ ]/ { # the name and its value end before the second blank in a row
            sub(/^ +/, "")
            at = match($0, /  +/)
            print ".TP\n.B \"" substr($0, 1, at - 1) "\""
            print substr($0, at + RLENGTH)
        }'
}

{
    version=$("$program" --version)
    echo ".TH LATENTR3 1 \"\" \"$version\" \"User Commands\""
    echo '.SH NAME'
    echo 'latentr3 \- train, measure and serve a recommender that thinks in a latent vector before it answers'
    echo '.SH SYNOPSIS'
    echo '.B latentr3'
    echo '.I command'
    echo '[\-\-option value ...]'
    echo '.SH COMMANDS'
    "$program" --help | plain | sed -nE 's/^  ([a-z]+) +(.*)/.TP\n.B \1\n\2/p'
    for command in $("$program" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do section "$command"; done
    echo '.SH ENVIRONMENT'
    echo '.TP'
    echo '.B LATENTR3_LOG'
    echo 'error, warn, info or debug: how much is said on standard error.'
    echo '.TP'
    echo '.B LATENTR3_DEVICE'
    echo 'cpu or cuda: what the model runs on where \-\-device says nothing.'
    echo '.SH "EXIT STATUS"'
    echo '0 done, 2 wrong use, 3 bad data, 4 a file that cannot be read or written, 5 out of memory, 6 a bug, 130, 143 or 129 stopped by a signal.'
    echo '.SH "SEE ALSO"'
    echo '.BR latentr3 (3),'
    echo 'the documents installed with the program: commands.md says what each option does, formats.md what the files are.'
} >"$file.part"
mv "$file.part" "$file"
