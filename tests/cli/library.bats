#!/usr/bin/env bats
# The C library and the package, as somebody has them who installed them: out of the .deb, unpacked into a folder.

load common

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.." || exit 1
    export OMP_WAIT_POLICY=passive
    export WORLD=$BATS_FILE_TMPDIR/world ROOT=$BATS_FILE_TMPDIR/root
    BUILD=$(dirname "$(realpath "${LATENTR3:-build/latentr3}")")
    export BUILD
    if grep -q 'CMAKE_C_FLAGS:.*sanitize' "$BUILD/CMakeCache.txt"; then
        export SANITIZED=1 LATENTR3=$BUILD/latentr3 LIBRARY=$BUILD/library_check
        make_models
        return 0
    fi
    (cd "$BUILD" && cpack -G DEB -B "$BATS_FILE_TMPDIR/deb" >/dev/null)
    dpkg -x "$BATS_FILE_TMPDIR"/deb/latentr3_*.deb "$ROOT"
    export LATENTR3=$ROOT/usr/bin/latentr3 LD_LIBRARY_PATH=$ROOT/usr/lib PKG_CONFIG_PATH=$ROOT/usr/lib/pkgconfig
    make_models
    shop_log "$WORLD/log" "$WORLD/shop.log"
    "$LATENTR3" prepare --data "$WORLD/shop.log" --out "$WORLD/shop" --category book >/dev/null 2>&1
    compile tests/library.c "$BATS_FILE_TMPDIR/library" -pthread -fopenmp -lm
    export LIBRARY=$BATS_FILE_TMPDIR/library
}

make_models() {
    "$LATENTR3" synth --items 120 --rows 1500 --out "$WORLD" 2>/dev/null
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$WORLD/sasrec" --epochs 1 --width 16 --heads 2 2>/dev/null
}

packaged() { [ -z "$SANITIZED" ] || skip "a sanitizer's build is not packaged"; }

# compile SOURCE PROGRAM FLAGS...: against the package's pkg-config file, strictly.
compile() {
    local source=$1 program=$2
    shift 2
    # shellcheck disable=SC2046
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$source" $(pkg-config --cflags --libs latentr3) "$@" -o "$program"
}

# same_lists MODEL THOUGHTS BY_ID EXCLUDE_SEEN K ENTRY...: the library's list is the command's, to the last bit of the scores.
same_lists() {
    local model=$1 thoughts=$2 by_id=$3 exclude=$4 k=$5 options=()
    shift 5
    [ "$thoughts" = - ] || options+=(--thoughts "$thoughts")
    [ "$exclude" = 0 ] || options+=(--exclude-seen)
    for entry; do
        [ "$by_id" = 0 ] && options+=(--history "$entry") || options+=(--history-id "$entry")
    done
    "$LATENTR3" recommend --model "$model" --data "$WORLD/data" -k "$k" --json "${options[@]}" 2>/dev/null |
        jq -r '.items[] | [.rank, .id, .score] | @tsv' >"$TMP/command"
    "$LIBRARY" rank "$model" "$WORLD/data" "$thoughts" "$by_id" "$exclude" "$k" "$@" >"$TMP/library"
    [ "$(wc -l <"$TMP/command")" -eq "$k" ]
    cmp "$TMP/command" "$TMP/library"
}

@test "library: the lists of recommend --json, to the bit, of every kind of model" {
    packaged
    mapfile -t title < <(head -4 "$WORLD/data/info.txt" | cut -f1)
    mapfile -t id < <(sed -n 10,14p "$WORLD/data/info.txt" | cut -f2)
    same_lists "$WORLD/model" - 0 0 10 "${title[0]}"
    same_lists "$WORLD/model" 1 0 1 10 "${title[@]}" 'A Title of No Item'
    same_lists "$WORLD/model" 2 1 1 7 "${id[@]}"
    same_lists "$WORLD/sasrec" - 1 0 10 "${id[@]}"
    same_lists "$WORLD/sasrec" - 0 1 10 "${title[@]}"
    for baseline in popularity item-knn; do
        same_lists $baseline - 1 1 10 "${id[@]}"
        same_lists $baseline - 0 0 10 "${title[@]}"
    done
}

@test "library: options, users, queries, scores, threads and errors; nothing is printed" {
    exits 0 "$LIBRARY" check "$WORLD/model" "$WORLD/data"
    [ -z "$output" ]
    # Its options are those of serve, but for what is about HTTP.
    mapfile -t options < <("$LATENTR3" serve --help | sed -nE 's/^  --([^ ]*) .*/\1/p' | grep -vxE 'host|port|api-key-file|queue|config')
    [ "${#options[@]}" -gt 10 ]
    [ "$("$LIBRARY" unknown "${options[@]}" host beans | paste -sd' ')" = 'host beans' ]
}

@test "library: the score of an item is the one it is listed with, of baselines and SASRecs" {
    cp -r "$WORLD/data" "$TMP/data" # with a title of two items, hence another data set
    rm "$TMP/data/dataset.json"
    awk -F'\t' 'BEGIN {OFS = FS} NR == 2 {title = $1} NR == 6 {$1 = title} {print}' "$WORLD/data/info.txt" >"$TMP/data/info.txt"
    for model in popularity item-knn repeat-last random; do exits 0 "$LIBRARY" items $model "$TMP/data"; done
    exits 0 "$LIBRARY" items "$WORLD/sasrec" "$WORLD/data"
}

@test "library: numbers have a point in a locale with a comma too" {
    packaged
    # Its sources are in Debian's package locales.
    mkdir "$TMP/locales"
    localedef -i de_DE -f UTF-8 "$TMP/locales/de_DE.UTF-8" || skip "localedef cannot make de_DE"
    exits 0 env LOCPATH="$TMP/locales" LC_ALL=de_DE.UTF-8 "$LIBRARY" locale "$WORLD/model" "$WORLD/data"
}

@test "library: only latentr3_ is seen of it, its soname carries the version, any C or C++ reads the header" {
    packaged
    so=$ROOT/usr/lib/liblatentr3.so
    [ -z "$(nm -D --defined-only "$so" | awk '$2 != "A" {print $3}' | grep -v '^latentr3_')" ]
    # What the header declares is there, and in the manual page.
    for name in $(sed -nE 's/^LATENTR3_API .*[ *](latentr3_[a-z_]+)\(.*/\1/p' include/latentr3.h); do
        nm -D --defined-only "$so" | grep -q " $name@@LATENTR3_0$"
        grep -q "$name(" docs/latentr3.3
    done
    readelf -d "$so" | grep -q 'SONAME.*\[liblatentr3\.so\.0\]'
    "$LATENTR3" --version | grep -qx "latentr3 $(pkg-config --modversion latentr3)"
    echo '#include <latentr3.h>' >"$TMP/a.c"
    cc -std=c99 -Wall -Wextra -Wpedantic -Werror -I "$ROOT/usr/include" -fsyntax-only "$TMP/a.c"
    c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I "$ROOT/usr/include" -fsyntax-only -x c++ "$TMP/a.c"
}

@test "library: the example" {
    packaged
    compile examples/recommend.c "$TMP/recommend"
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    "$TMP/recommend" "$WORLD/model" "$WORLD/data" "$title" >"$TMP/list"
    "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --history "$title" --exclude-seen --json 2>/dev/null |
        jq -r '.items[] | [.rank, .score, .id, .title] | @tsv' | cmp - "$TMP/list"
    exits 2 "$TMP/recommend"
    exits 4 "$TMP/recommend" "$WORLD/model" "$TMP/none" "$title"
    says "*none*"
    [ "${#lines[@]}" -eq 1 ]
}

@test "package: what it depends on is what its binaries load; the manual page holds every option" {
    packaged
    deb=$(echo "$BATS_FILE_TMPDIR"/deb/latentr3_*.deb)
    depends=$(dpkg-deb -f "$deb" Depends)
    for library in libc6 libdnnl libgomp1 libjansson libmicrohttpd libyaml; do [[ $depends == *"$library"* ]]; done
    dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./shlibs | grep -qxF "liblatentr3 0 latentr3 (>= $(dpkg-deb -f "$deb" Version))"
    [ -f "$ROOT/usr/share/doc/latentr3/copyright" ]
    [ -f "$ROOT/usr/share/doc/latentr3/docs/commands.md" ]
    # What its documents link to is there.
    for file in "$ROOT"/usr/share/doc/latentr3/{*.md,docs/*.md}; do
        for target in $(grep -oE '\]\([^)#: ]+(\)|#)' "$file" | sed -E 's/^..//; s/.$//'); do
            [ -e "$(dirname "$file")/$target" ] || { echo "$file: $target is missing" && return 1; }
        done
    done
    page=$ROOT/usr/share/man/man1/latentr3.1
    for command in $("$LATENTR3" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do
        section=$(sed -n "/^\.SH \"${command^^}\"\$/,/^\.SH /p" "$page" | sed 's/\\-/-/g')
        for option in $("$LATENTR3" "$command" --help | sed -nE 's/^  (-[^ ]*) .*/\1/p'); do
            grep -qE "^\.B \"$option[ \"]" <<<"$section" || {
                echo "$command: $option is missing"
                return 1
            }
        done
    done
    command -v man >/dev/null || skip "man is missing: whether it reads the pages without a warning"
    for file in "$page" "$ROOT/usr/share/man/man3/latentr3.3"; do [ -z "$(man --warnings -l "$file" 2>&1 >/dev/null)" ]; done
}

@test "make install: names with blanks; ldconfig runs for root alone, and not below DESTDIR" {
    packaged
    mkdir "$TMP/bin"
    printf '#!/bin/sh\necho "${ASKS:-0}"\n' >"$TMP/bin/id"
    printf '#!/bin/sh\ntouch "$TMP/ran"\n' >"$TMP/bin/ldconfig"
    chmod +x "$TMP"/bin/*
    export TMP PATH=$TMP/bin:$PATH
    make -s -o build install BUILD="$BUILD" DESTDIR="$TMP/a root" PREFIX='/opt/the prefix'
    [ "$(LD_LIBRARY_PATH='' "$TMP/a root/opt/the prefix/bin/latentr3" --version)" = "$("$LATENTR3" --version)" ]
    [ -e "$TMP/a root/opt/the prefix/lib/liblatentr3.so.0" ]
    ASKS=1000 make -s -o build install BUILD="$BUILD" PREFIX="$TMP/here"
    [ ! -e "$TMP/ran" ]
    make -s -o build install BUILD="$BUILD" PREFIX="$TMP/here"
    [ -e "$TMP/ran" ]
}

@test "python: the package, alone and out of its wheel" {
    packaged
    python=${LATENTR3_PYTHON:-python3}
    command -v "$python" >/dev/null || skip "Python is missing"
    export LATENTR3_LIBRARY=$ROOT/usr/lib/liblatentr3.so.0 PYTHONDONTWRITEBYTECODE=1
    PYTHONPATH=python exits 0 "$python" python/tests/test_latentr3.py
    says '*OK*'
    grep -q "^version = \"$(pkg-config --modversion latentr3)\"" python/pyproject.toml
    LATENTR3_LIBRARY=/none PYTHONPATH=python exits 1 "$python" -c 'import latentr3; latentr3.version()'
    says '*ImportError*LATENTR3_LIBRARY*'
    other=$(ldconfig -p | awk '/libm\.so\.6/ {print $NF; exit}')
    LATENTR3_LIBRARY=$other PYTHONPATH=python exits 1 "$python" -c 'import latentr3; latentr3.version()'
    says '*ImportError*LATENTR3_LIBRARY*'
    # Every function that Python declares is the library's.
    grep -oE '"latentr3_[a-z_]+"' python/latentr3/_library.py | tr -d '"' | sort >"$TMP/python"
    nm -D --defined-only "$ROOT/usr/lib/liblatentr3.so" | sed -nE 's/.* (latentr3_[a-z_]+)@@.*/\1/p' | sort | cmp - "$TMP/python"
    run packaging/make_wheel.sh "$TMP"
    [ "$status" -ne 77 ] || skip "pip, setuptools or wheel is missing: the wheel is not built"
    [ "$status" -eq 0 ]
    "$python" -m zipfile -e "$TMP"/latentr3-*-py3-none-any.whl "$TMP/site"
    unset LATENTR3_LIBRARY # the loader finds it by LD_LIBRARY_PATH
    [ "$(cd "$TMP" && PYTHONPATH=site "$python" -c 'import latentr3; print(latentr3.version(), latentr3.__file__)')" = \
        "$(pkg-config --modversion latentr3) $TMP/site/latentr3/__init__.py" ]
}
