#!/usr/bin/env bash
# Renews the certificate where it is due; nothing else happens, so let cron run it once a day:
#   17 3 * * * /path/to/deploy/compose/scripts/certbot_renew.sh
# The gateway sees the new files within ten seconds. No restart, no connection lost.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
certbot certbot/certbot renew --quiet "$@"
