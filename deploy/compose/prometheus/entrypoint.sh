#!/bin/sh
# Starts Prometheus in its container. Prometheus reads no environment variables, so what the .env file says about
# where to write to is put behind the configuration here; the token goes into a file of its own, in memory.
set -eu
source=${CONFIG_SOURCE:-/etc/prometheus/prometheus.yml}
directory=${CONFIG_DIRECTORY:-/run/prometheus}
config=$directory/prometheus.yml

quoted() { # a word as YAML takes it literally
    printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}

umask 077
cp "$source" "$config"
if [ -n "${GRAFANA_PROMETHEUS_ENDPOINT:-}" ]; then
    printf %s "${GRAFANA_PROMETHEUS_TOKEN:-}" > "$directory/token"
    cat >> "$config" <<END

remote_write:
  - url: $(quoted "$GRAFANA_PROMETHEUS_ENDPOINT")
    basic_auth:
      username: $(quoted "${GRAFANA_PROMETHEUS_USERNAME:-}")
      password_file: $(quoted "$directory/token")
END
fi
exec prometheus --config.file="$config" "$@"
