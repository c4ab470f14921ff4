"""Networks: their root keys, the host names of mainnet, and the ports of local networks.

The root key decides whether a network is mainnet, and not its host name. Mainnet has its own rules for signatures on
queries, the canister ranges of the root subnet, and the request budget. The host name decides only which root key is
used if the operator does not configure one.
"""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from icwsgw.errors import FormatError
from icwsgw.ic import bls

#: Domains of mainnet, with all names below them: the API (icp-api.io), and the HTTP gateways, which serve the API too
#: (icp0.io, ic0.app, which agents know, and icp.net).
MAINNET_HOSTS: Final = ("icp0.io", "icp-api.io", "ic0.app", "icp.net")

#: Values of ``--root-key`` besides a key.
AUTO, MAINNET, FETCH = "auto", "mainnet", "fetch"

#: Ports on which developer tools run their local network, by tool.
LOCAL_PORTS: Final = {"icp-cli": 8000, "dfx": 4943}

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", re.DOTALL)
_PRIVATE_NAMES = ("localhost", "local", "internal", "test", "home.arpa", "lan")


class Network(NamedTuple):
    """A network as the operator configures it.

    :ivar url: its URL
    :ivar root_key: its root key, 133 bytes of DER; None: the gateway fetches the key from the network itself
    """

    url: str
    root_key: bytes | None

    @property
    def mainnet(self) -> bool:
        """Whether its root key is known to be mainnet's."""
        return self.root_key == bls.MAINNET_ROOT_KEY_DER

    @property
    def may_be_mainnet(self) -> bool:
        """Whether it is mainnet or may be: the key of a public network is not known before it is fetched."""
        return self.mainnet or (self.root_key is None and self.public)

    @property
    def public(self) -> bool:
        """Whether its host is public: neither this machine nor in a private network. See :func:`is_public`."""
        return is_public(_host(self.url))

    @property
    def concern(self) -> str | None:
        """A warning for the operator about the root key, in one sentence, or None."""
        if self.root_key is None and self.public:
            return (
                f"the root key of {self.url} is taken from that network itself, so that an attacker in between can "
                "answer for any canister: say --root-key"
            )
        return None


def network_of(url: str, root_key: str) -> Network:
    """Return the network at a URL.

    :param url: its URL
    :param root_key: ``mainnet``, ``fetch``, ``auto`` (``mainnet`` for mainnet's host names, otherwise ``fetch``), or a
        key as :func:`key_of` reads it, usually in hex
    :raises FormatError: not one of these names, and not a valid key
    """
    if root_key == AUTO:
        root_key = MAINNET if is_mainnet_host(_host(url)) else FETCH
    if root_key == MAINNET:
        return Network(url, bls.MAINNET_ROOT_KEY_DER)
    return Network(url, None if root_key == FETCH else key_of(root_key.encode()))


def is_mainnet_host(host: str) -> bool:
    """Return whether a host name is in a domain of mainnet."""
    host = host.lower().rstrip(".")
    return any(host == name or host.endswith("." + name) for name in MAINNET_HOSTS)


def is_public(host: str) -> bool:
    """Return whether a host is public, judged by its name or address.

    Addresses that are not global, names without dots, and names in domains for private use are not public.
    """
    host = host.lower().rstrip(".")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        # a name without dots belongs to a local network, for example a service of Docker Compose
        return "." in host and not any(host == name or host.endswith("." + name) for name in _PRIVATE_NAMES)
    return address.is_global


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself, judged by its name or address."""
    host = host.lower().rstrip(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def key_of(data: bytes) -> bytes:
    """Read a root key in any of the forms in which it is kept: DER, PEM, or DER in hex.

    :returns: 133 bytes of DER
    :raises FormatError: not a BLS public key in one of these forms
    """
    if pem := _PEM.search(data):
        try:
            return _checked(base64.b64decode(b"".join(pem[1].split()), validate=True))
        except binascii.Error as error:
            raise FormatError(f"root key: the PEM is none: {error}") from None
    text = data.strip().lower()
    if re.fullmatch(rb"(?:0x)?(?:[0-9a-f]{2})+", text):
        return _checked(bytes.fromhex(text.removeprefix(b"0x").decode()))
    return _checked(data)


def _checked(der: bytes) -> bytes:
    try:
        bls.check_public_key(bls.der_unwrap(der))
    except (FormatError, ValueError) as error:
        raise FormatError(f"root key: {error}") from None
    return der


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
