#!/bin/sh
# Gives a certificate that certbot has obtained or renewed to the gateway of the systemd units. The gateway looks at
# its files every ten seconds, so nothing is restarted and no client is cut off.
#
# Once:    certbot certonly --standalone -d icws.example.com --deploy-hook /path/to/icws-deploy-hook.sh
# Then certbot's own timer renews, and runs this again. RENEWED_LINEAGE then says where the certificate is.
#
#   ICWS_TLS_DIR    where the gateway expects fullchain.pem and privkey.pem (/etc/icws/tls)
#   ICWS_TLS_GROUP  the group that may read them (icws)
set -eu
lineage=${RENEWED_LINEAGE:?certbot sets this: the directory of the certificate}
directory=${ICWS_TLS_DIR:-/etc/icws/tls}
group=${ICWS_TLS_GROUP:-icws}

umask 077
mkdir -p "$directory"
chgrp "$group" "$directory"
chmod 0750 "$directory"
# Each file appears whole. Between the two, the gateway sees a key of another certificate and keeps the old pair.
for name in privkey.pem fullchain.pem; do
    cp "$lineage/$name" "$directory/.$name.new"
    chgrp "$group" "$directory/.$name.new"
    chmod 0640 "$directory/.$name.new"
done
for name in privkey.pem fullchain.pem; do
    mv "$directory/.$name.new" "$directory/$name"
done
