#!/usr/bin/env bash
# Installs the Debian packages named as arguments (by default those that building and testing need), only those missing.
# Root is asked for only where something is missing.
set -euo pipefail

if [ $# -eq 0 ]; then
    set -- build-essential cmake ninja-build pkg-config libdnnl-dev libjansson-dev libutf8proc-dev libpcre2-dev \
        libxxhash-dev libyaml-dev zlib1g-dev libmicrohttpd-dev libcmocka-dev bats parallel jq curl xz-utils libxml2-utils clang-format libopenmpi-dev openmpi-bin
fi

missing=()
for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "These Debian packages, or what your system calls them, are needed: ${missing[*]}" >&2
    exit 1
fi
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
echo "Installing ${missing[*]}" >&2
"${root[@]}" apt-get update -q >&2
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
