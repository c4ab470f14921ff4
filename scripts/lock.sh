#!/usr/bin/env bash
# Writes requirements/*.txt anew: every dependency in its version and with its hashes, for the image and for CI, on all
# Pythons that are supported. With --upgrade to the newest versions that setup.cfg allows, without it to those that are
# locked already. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."

lock() { # file, source, options of uv...
    local file=$1 source=$2
    shift 2
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --output-file "requirements/$file" "$@" "$source"
}

mkdir -p requirements
lock image.txt setup.py --extra otel --extra acme "$@"
lock ci.txt setup.py requirements/ci.in --extra test --extra lint --extra docs --extra mutation --extra release "$@"
lock build.txt requirements/build.in "$@"
