"""Networks: whose root key is known, which names mean mainnet, and where local networks listen.

What a network may be trusted with follows its root key: signatures on queries, canister ranges of the root subnet and
the budget of queries are mainnet's where the key is mainnet's, whatever the name. The key itself goes by the name only
where nobody has said it.
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

#: Names that lead to mainnet, as do all names below them: those of the API (icp-api.io), of the HTTP gateways, which
#: serve it too (icp0.io, ic0.app, which agents know, and icp.net).
MAINNET_HOSTS: Final = ("icp0.io", "icp-api.io", "ic0.app", "icp.net")

#: What ``--root-key`` may say besides a key.
AUTO, MAINNET, FETCH = "auto", "mainnet", "fetch"

#: Where tools for developers have their local network, by the tool.
LOCAL_PORTS: Final = {"icp-cli": 8000, "dfx": 4943}

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", re.DOTALL)
_PRIVATE_NAMES = ("localhost", "local", "internal", "test", "home.arpa", "lan")


class Network(NamedTuple):
    """A network as the operator describes it.

    :ivar url: where it is reached
    :ivar root_key: its root key in DER, or None where the network itself is asked for it
    """

    url: str
    root_key: bytes | None

    @property
    def mainnet(self) -> bool:
        """Whether it has mainnet's root key for certain."""
        return self.root_key == bls.MAINNET_ROOT_KEY_DER

    @property
    def may_be_mainnet(self) -> bool:
        """Whether it is mainnet, or could turn out to be: a public network that is asked for its key."""
        return self.mainnet or (self.root_key is None and self.public)

    @property
    def public(self) -> bool:
        """Whether its name or address may be anybody's: not this machine, nor a private network."""
        return is_public(_host(self.url))

    @property
    def concern(self) -> str | None:
        """What an operator should know of the key, in a sentence, or None."""
        if self.root_key is None and self.public:
            return (
                f"the root key of {self.url} is taken from that network itself, so that whoever is in between can "
                "answer for any canister: say --root-key"
            )
        return None


def network_of(url: str, root_key: str) -> Network:
    """Return the network at a URL.

    :param root_key: auto (mainnet's, if the name is one of mainnet's, else fetch), mainnet, fetch, or a key in hex
    :raises FormatError: not such a word or key
    """
    if root_key == AUTO:
        root_key = MAINNET if is_mainnet_host(_host(url)) else FETCH
    if root_key == MAINNET:
        return Network(url, bls.MAINNET_ROOT_KEY_DER)
    return Network(url, None if root_key == FETCH else key_of(root_key.encode()))


def is_mainnet_host(host: str) -> bool:
    """Return whether a host name is one of mainnet's."""
    host = host.lower().rstrip(".")
    return any(host == name or host.endswith("." + name) for name in MAINNET_HOSTS)


def is_public(host: str) -> bool:
    """Return whether a host is to be reached by others than this machine and its private network, as its name tells."""
    host = host.lower().rstrip(".")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        # a name without dots is one of a local network, as in a composition of containers
        return "." in host and not any(host == name or host.endswith("." + name) for name in _PRIVATE_NAMES)
    return address.is_global


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself, as its name tells."""
    host = host.lower().rstrip(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def key_of(data: bytes) -> bytes:
    """Return a root key in DER from what people keep it as: DER, PEM, or the hex of DER.

    :raises FormatError: no BLS key in any of these forms
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
