"""Fetches the root key of a local network, as agents do with ``fetchRootKey``.

A root key that comes from the network itself proves nothing about who answers, so this is for local networks. Mainnet's
key is known.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from icwsgw.client.client_errors import ClientError
from icwsgw.client.network_requests import NetworkRequests
from icwsgw.errors import FormatError
from icwsgw.ic import bls
from icwsgw.ic.networks import is_mainnet_host, key_of

MAINNET_ROOT_KEY: Final = bls.MAINNET_ROOT_KEY_DER


def fetch_root_key(network_url: str, timeout: float = 10.0) -> bytes:
    """Return the root key of a network. Blocks until it answers.

    :param network_url: http:// or https:// URL of the network, for example ``http://127.0.0.1:4943``
    :param timeout: seconds
    :returns: 133 bytes of DER
    :raises ClientError: the network cannot be reached, or does not publish its root key
    """
    network = NetworkRequests(network_url, timeout)
    if is_mainnet_host(urlsplit(network_url).hostname or ""):
        return MAINNET_ROOT_KEY
    try:
        return key_of(network.status()["root_key"])
    except (FormatError, ValueError, KeyError, TypeError) as error:
        raise ClientError(f"{network.url} does not publish a root key", "Is this the URL of a network?") from error
