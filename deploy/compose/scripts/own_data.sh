#!/bin/sh
# Gives the gateway's user, 10001, what it has to read and write: its data, and the group's look at certificates,
# which stay certbot's. For data of the original too, whose container ran as root.
set -eu
user=10001
data=${1:-/ic-ws-gateway/data}
certs=${2:-$data/certs}

if [ -d "$data" ]; then
    chown "$user:$user" "$data"
    for own in "$data/key_pair" "$data/traces"; do
        [ ! -e "$own" ] || chown -R "$user:$user" "$own"
    done
fi
for part in "$certs" "$certs/live" "$certs/archive"; do
    if [ -d "$part" ]; then
        chgrp "$user" "$part"
        chmod g+rx "$part"
    fi
done
for part in "$certs/live" "$certs/archive"; do
    if [ -d "$part" ]; then
        chgrp -R "$user" "$part"
        chmod -R g+rX "$part"
    fi
done
