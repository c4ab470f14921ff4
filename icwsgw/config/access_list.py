"""Lists of who may connect and who may not, in files: addresses, networks, principals, canisters, web origins.

A file has one entry a line. ``#`` begins a comment. An entry is recognised by its form::

    203.0.113.7                          an address
    2001:db8::/32                        a network
    https://*.app.example                a web origin, as for --allowed-origin
    2vxsx-fae                            a principal: a client, or a canister
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from icwsgw.config.origins import canonical
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic.principal import Principal
from icwsgw.observe.peers import parse_ip, parse_network

#: Bytes of the longest list.
MOST_BYTES = 16 << 20


class Networks:
    """Networks, among which an address is found by as many look-ups as they have different lengths of prefixes."""

    __slots__ = ("_by_length", "_count")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        # by version and number of host bits: the network addresses without those bits
        self._by_length: dict[tuple[int, int], set[int]] = {}
        self._count = 0
        for network in networks:
            bits = network.max_prefixlen - network.prefixlen
            self._by_length.setdefault((network.version, bits), set()).add(int(network.network_address) >> bits)
            self._count += 1

    @classmethod
    def joined(cls, parts: Iterable[Networks]) -> Networks:
        """Return the networks of several."""
        whole = cls()
        for part in parts:
            for key, found in part._by_length.items():
                whole._by_length.setdefault(key, set()).update(found)
            whole._count += part._count
        return whole

    def __len__(self) -> int:
        return self._count

    def hold(self, host: str) -> bool | None:
        """Whether an address is in one of the networks; None if the text is no address."""
        address = parse_ip(host)
        if address is None:
            return None
        number, version = int(address), address.version
        return any(
            number >> bits in found for (of_version, bits), found in self._by_length.items() if of_version == version
        )


class AccessList(NamedTuple):
    """What one file says, or several together.

    :ivar principals: raw principals
    :ivar origins: in the form of :func:`icwsgw.config.origins.canonical`
    """

    networks: Networks = Networks()
    principals: frozenset[bytes] = frozenset()
    origins: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.networks) + len(self.principals) + len(self.origins)

    @classmethod
    def joined(cls, parts: Sequence[AccessList]) -> AccessList:
        """Return what several lists say together."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            Networks.joined(part.networks for part in parts),
            frozenset[bytes]().union(*(part.principals for part in parts)),
            tuple(origin for part in parts for origin in part.origins),
        )


NOTHING = AccessList()


def parse_access_list(text: str) -> AccessList:
    """Parse a file.

    :raises ConfigError: a line is none of the forms above; the text says which line
    """
    networks: list[IPv4Network | IPv6Network] = []
    principals: set[bytes] = set()
    origins: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            if "://" in entry or entry == "null":
                origins.append(canonical(entry))
            elif ":" in entry or entry.replace(".", "").replace("/", "").isdecimal():
                networks.append(parse_network(entry))
            else:
                principals.add(Principal.from_text(entry).raw)
        except (ValueError, FormatError, ConfigError) as error:
            reason = f"line {number}: {entry[:64]!r} is no address, network, principal or origin: {error}"
            raise ConfigError(reason) from None
    return AccessList(Networks(networks), frozenset(principals), tuple(origins))


class AccessRules(NamedTuple):
    """Both lists together. Of each kind, the list of those who are allowed counts if it names any.

    :ivar denied: who may not connect
    :ivar allowed: who may, if not denied
    :ivar unknown: it is not known yet which clients are allowed, so none is
    """

    denied: AccessList = NOTHING
    allowed: AccessList = NOTHING
    unknown: bool = False

    @property
    def known(self) -> AccessRules:
        """The rules for clients that are connected: they stay until it is known who is allowed."""
        return AccessRules(self.denied) if self.unknown else self

    def admits_address(self, host: str) -> bool:
        """Whether clients from an address may connect; text that is none, as of a unix socket, is admitted."""
        if self.unknown:
            return False
        if not self.denied.networks and not self.allowed.networks:
            return True
        if self.denied.networks.hold(host):
            return False
        return not self.allowed.networks or self.allowed.networks.hold(host) is not False

    def admits_principal(self, raw: bytes) -> bool:
        """Whether a client may open sessions."""
        if self.unknown or raw in self.denied.principals:
            return False
        return not self.allowed.principals or raw in self.allowed.principals


EVERYBODY = AccessRules()
