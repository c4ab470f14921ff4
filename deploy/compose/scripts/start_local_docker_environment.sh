#!/usr/bin/env bash
# Starts the local setup: a replica by dfx on this machine, or with --devnet the one inside the gateway, then the
# containers. Further arguments go to `docker compose up`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
setups=(local)
if [ "${1:-}" = --devnet ]; then
    shift
    setups+=(devnet)
elif command -v dfx >/dev/null; then
    echo "starting the local replica"
    dfx start --clean --background
else
    echo "dfx is not installed here; --devnet runs the replica inside the gateway instead" >&2
    exit 1
fi
compose "${setups[@]}" -- --env-file .env.local up -d --build "$@"
cat <<'END'
clients      ws://127.0.0.1:8080
Grafana      http://127.0.0.1:3000
Prometheus   http://127.0.0.1:9090
replica      http://127.0.0.1:4943
END
