#!/usr/bin/env bash
# Starts the production setup, or updates it: only containers whose image or settings changed are replaced, and the
# gateway drains first. --monitoring adds a Grafana and a Tempo on this machine. Further arguments go to
# `docker compose up`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_file .env "cp .env.example .env and fill it in"
setups=(prod)
if [ "${1:-}" = --monitoring ]; then
    shift
    setups+=(monitoring)
fi
compose "${setups[@]}" -- --env-file .env up -d "$@"
