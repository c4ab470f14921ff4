# shellcheck shell=bash
# Shared by the scripts beside it: they run in deploy/compose, wherever they are called from.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

compose() { # the setups by name, then the arguments of docker compose
    local files=(-f docker-compose.yml)
    while [ "$1" != -- ]; do
        files+=(-f "docker-compose-$1.yml")
        shift
    done
    shift
    docker compose "${files[@]}" "$@"
}

need_file() { # file, what to do where it is missing
    [ -f "$1" ] || { echo "there is no $PWD/$1: $2" >&2; exit 1; }
}

certbot() { # the arguments of certbot, in its container, with port 80 for the proof
    docker run --rm --name certbot -p 80:80 \
        -v "$PWD/volumes/ic-ws-gateway/data/certs:/etc/letsencrypt" \
        -v "$PWD/scripts/own_data.sh:/own_data.sh:ro" \
        "$@"
}
