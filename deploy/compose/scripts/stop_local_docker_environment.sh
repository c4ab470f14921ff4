#!/usr/bin/env bash
# Stops what start_local_docker_environment.sh started; the volumes stay.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
compose local -- --env-file .env.local down
if command -v dfx >/dev/null; then
    dfx stop
fi
