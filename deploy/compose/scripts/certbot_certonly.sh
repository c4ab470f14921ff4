#!/usr/bin/env bash
# Obtains a certificate for DOMAIN_NAME of .env, or renews it. Port 80 of this machine must be reachable from the
# Internet while it runs. Further arguments go to certbot: --dry-run, -m you@example.com --agree-tos -n.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_file .env "cp .env.example .env and set DOMAIN_NAME"
domain=$(sed -n 's/^DOMAIN_NAME=//p' .env | tail -1)
[ -n "$domain" ] || { echo "DOMAIN_NAME is not set in $PWD/.env" >&2; exit 1; }

terminal=()
[ ! -t 0 ] || terminal=(-it)
certbot "${terminal[@]}" certbot/certbot certonly --standalone -d "$domain" \
    --deploy-hook "sh /own_data.sh /none /etc/letsencrypt" "$@"
