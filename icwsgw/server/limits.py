"""How many connections there may be, in all and from one address."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def address_group(host: str) -> str:
    """The unit that a limit by address counts: an IPv4 address, or the /64 of an IPv6 one, which is one subscriber.

    What is no IP address (a unix socket's path) is a group of its own.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return str(address)


class ConnectionLimits:
    """Counts connections.

    :ivar total: open connections
    """

    __slots__ = ("_by_group", "_most", "_most_by_group", "total")

    def __init__(self, most: int, most_by_address: int) -> None:
        self._most = most
        self._most_by_group = most_by_address
        self._by_group: dict[str, int] = {}
        self.total = 0

    def enter(self, host: str) -> str | None:
        """Count a new connection; the reason (a label of the metric) if it is one too many. It counts all the same."""
        self.total += 1
        refusal = "connections" if self.total > self._most else None
        if self._most_by_group:
            group = address_group(host)
            count = self._by_group[group] = self._by_group.get(group, 0) + 1
            if count > self._most_by_group:
                refusal = "connections_per_ip"
        return refusal

    def leave(self, host: str) -> None:
        """A counted connection has ended."""
        self.total -= 1
        if self._most_by_group:
            group = address_group(host)
            count = self._by_group.get(group, 0) - 1
            if count > 0:
                self._by_group[group] = count
            else:
                self._by_group.pop(group, None)
