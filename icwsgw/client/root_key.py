"""Fetches the root key of a local network, as agents do with ``fetchRootKey``.

A root key that comes from the network itself proves nothing about who answers, so this is for local networks. Mainnet's
key is known.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from icwsgw.client.client_errors import ClientError
from icwsgw.errors import FormatError
from icwsgw.ic import bls, cbor
from icwsgw.ic.networks import is_loopback, is_mainnet_host, key_of

MAINNET_ROOT_KEY: Final = bls.MAINNET_ROOT_KEY_DER
_MAX_STATUS: Final = 64 << 10


def fetch_root_key(network_url: str, timeout: float = 10.0) -> bytes:
    """Return the root key of a network. Blocks until it answers.

    :param network_url: http:// or https:// URL of the network, for example ``http://127.0.0.1:4943``
    :param timeout: seconds
    :returns: 133 bytes of DER
    :raises ClientError: the network cannot be reached, or does not publish its root key
    """
    host = urlsplit(network_url).hostname or ""
    if is_mainnet_host(host):
        return MAINNET_ROOT_KEY
    # a proxy of this machine's environment does not reach this machine's own ports
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(host) else []
    url = f"{network_url.rstrip('/')}/api/v2/status"
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ClientError(f"{network_url} is not the URL of a network", "Give http://HOST:PORT.")
        with urllib.request.build_opener(*handlers).open(url, timeout=timeout) as answer:
            fields = cbor.loads(answer.read(_MAX_STATUS))
        return key_of(fields["root_key"])
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ClientError(f"{network_url} cannot be reached: {why}", "Is the network running there?") from error
    except (FormatError, ValueError, KeyError, TypeError) as error:
        raise ClientError(f"{url} does not publish a root key", "Is this the URL of a network?") from error
