#!/usr/bin/env bash
# Stops the production setup; the gateway drains its clients first. The volumes stay.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_file .env "nothing was started from here"
compose prod monitoring -- --env-file .env down "$@"
