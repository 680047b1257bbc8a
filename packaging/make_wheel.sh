#!/usr/bin/env bash
# The Python package as a wheel, without a network: make_wheel.sh FOLDER. Exit code 77 where no Python here has what that needs.
set -euo pipefail
folder=$(realpath "$1")
for python in python3 /usr/bin/python3 none; do # Debian's packages are those of Debian's Python
    "$python" -c 'import setuptools, wheel, pip' 2>/dev/null && break
done
[ "$python" != none ] || {
    echo "pip, setuptools and wheel are needed" >&2
    exit 77
}
copy=$(mktemp -d) # setuptools writes beside what it reads
trap 'rm -rf "$copy"' EXIT
cp -r "$(dirname "$0")/../python/." "$copy"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --wheel-dir "$folder" "$copy"
