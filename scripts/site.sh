#!/usr/bin/env bash
# Builds the documentation site in build/site: `scripts/site.sh`, then open build/site/index.html. Every warning is an
# error: links and anchors that lead nowhere, and pages that the navigation lacks. ./check runs it, too.
#
#   SPHINX=...   the sphinx-build to use; otherwise that of VENV (.venv), where the docs extra is installed if missing
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

if [ -z "${SPHINX:-}" ]; then
    venv=${VENV:-.venv}
    SPHINX=$venv/bin/sphinx-build
    [ -x "$SPHINX" ] || prepare_venv "$venv" "$(find_python)" docs
fi
exec "$SPHINX" --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -c docs . build/site
