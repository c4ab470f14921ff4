"""Limits on connections: in total, waiting to open a session, from one address, and new ones each second.

A connection is counted when it is accepted. It is counted by its address when the address is known: behind a proxy,
when its request has come (:mod:`icwsgw.server.proxies`). A connection over a limit gets an HTTP status that says so,
which takes a handshake. It waits for that outside of these counts. Only so many may wait; the gateway drops the rest
without an answer, before a TLS handshake.

Connections without a session are in an eviction table (:mod:`icwsgw.core.eviction`), which accepts new ones even if it
is full: the address with the most entries loses its oldest. So the silent connections of one address keep no other
client out. The same happens when the total is reached, if that address has more entries than the new one's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from icwsgw.config.access_list import EVERYBODY
from icwsgw.config.client_limits import ClientLimits
from icwsgw.core.eviction import EvictionTable
from icwsgw.core.rate_limit import Buckets, Rate, TokenBucket
from icwsgw.core.written_state import Document
from icwsgw.observe.peers import address_group
from icwsgw.process.rlimits import REFUSED
from icwsgw.server.accept_gate import AcceptGate

#: The bursts of the rate limits on new connections, in seconds of their rates.
BURST_SECONDS = 2
BURST_SECONDS_PER_IP = 5


class ConnectionLimits:
    """Counts connections.

    :param limits: the options
    :param now: seconds of the reactor's clock
    :param most_refused: connections that may wait for the answer that refuses them
    :ivar gate: gets a call when the process has all connections that it may have, and when it has room again
    :ivar rules: which addresses may connect
    :ivar total: connections, without those that were refused at once
    :ivar waiting: those of them without a session
    :ivar refused: connections that wait for the answer that refuses them
    """

    __slots__ = (
        *("_accepts", "_accepts_by_group", "_by_group", "_limits"),
        *("gate", "most_refused", "refused", "rules", "total", "waiting"),
    )

    def __init__(self, limits: ClientLimits, now: float, most_refused: int = REFUSED) -> None:
        self._limits = limits
        self._by_group: dict[str, int] = {}
        self._accepts = _accepts(limits, now)
        self._accepts_by_group = _accepts_by_group(limits)
        self.gate = AcceptGate()
        self.rules = EVERYBODY
        self.total = 0
        self.waiting: EvictionTable[Hashable] = EvictionTable(limits.max_pending)
        self.refused = 0
        self.most_refused = most_refused

    def change(self, limits: ClientLimits, now: float) -> None:
        """Apply other limits. Connections that exceed them stay; their number does not grow until there is room.

        :param now: seconds of the reactor's clock
        """
        before, self._limits = self._limits, limits
        if limits.accept_rate != before.accept_rate:
            self._accepts = _accepts(limits, now)
        if limits.accept_rate_per_ip != before.accept_rate_per_ip:
            self._accepts_by_group = _accepts_by_group(limits)
        self.waiting.most = limits.max_pending
        self.gate.set_full(self.total >= limits.max_connections)

    @property
    def over_limit(self) -> bool:
        """Whether a connection was counted beyond the limit, so that one without a session has to go."""
        return self.total > self._limits.max_connections

    @property
    def room(self) -> int:
        """How many more connections may come before the limit is reached."""
        return max(0, self._limits.max_connections - self.total)

    def enter(self, now: float, crowd: str) -> str | None:
        """Count a new connection, unless it is over a limit.

        :param now: seconds of the reactor's clock
        :param crowd: the group of addresses that it would wait in, as far as its address is known
        :return: None if it is counted, else the reason, a label of the metric
        """
        limits = self._limits
        if self.total >= limits.max_connections and not self.waiting.outnumbers(crowd):
            return "connections"
        if self._accepts is not None and not self._accepts.take(now):
            return "accept_rate"
        self.total += 1
        if self.total == limits.max_connections:
            self.gate.set_full(True)
        return None

    def place(self, host: str, now: float) -> tuple[str | None, str | None]:
        """Count a connection by its address.

        :param host: the address
        :param now: seconds of the reactor's clock
        :return: its group of addresses, for :meth:`leave`, None if it is not counted by it; why it is over a limit,
            None if it is not
        """
        if self.rules is not EVERYBODY and not self.rules.admits_address(host):
            return None, "no_allow_list" if self.rules.unknown else "denied"
        most, rates = self._limits.max_connections_per_ip, self._accepts_by_group
        if not most and rates is None:
            return None, None
        group = address_group(host)
        if group is None:
            return None, None
        if rates is not None and not rates.take(group, now):
            return None, "accept_rate_per_ip"
        if not most:
            return None, None
        count = self._by_group.get(group, 0)
        if count >= most:
            return None, "connections_per_ip"
        self._by_group[group] = count + 1
        return group, None

    def written(self, now: float) -> Document:
        """The rates of new connections as plain values; connections are counted again by :meth:`restore`.

        :param now: seconds of the reactor's clock
        """
        return {
            "accepts": self._accepts and self._accepts.written(),
            "accepts_by_group": {} if self._accepts_by_group is None else self._accepts_by_group.written(now),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the rates of a document; a limit that begins or has ended has none.

        :raises FormatError: a value is of the wrong kind
        """
        accepts = document.get("accepts")
        if self._accepts is not None and accepts is not None:
            self._accepts.read(accepts)
        if self._accepts_by_group is not None:
            self._accepts_by_group.read(document.get("accepts_by_group", {}))

    def restore(self, host: str | None) -> str | None:
        """Count a connection that another process has admitted, whatever the limits.

        :param host: the address; None: it is not known yet
        :return: as the first value of :meth:`place`
        """
        self.total += 1
        if self.total == self._limits.max_connections:
            self.gate.set_full(True)
        return None if host is None else self.count(host)

    def count(self, host: str) -> str | None:
        """Count a connection by its address, whatever the limit; nothing is counted without one.

        :param host: the address
        :return: as the first value of :meth:`place`
        """
        group = address_group(host) if self._limits.max_connections_per_ip else None
        if group is not None:
            self._by_group[group] = self._by_group.get(group, 0) + 1
        return group

    def leave(self, group: str | None) -> None:
        """Uncount a connection that has ended, or is over a limit of its address.

        :param group: what :meth:`place` returned
        """
        self.total -= 1
        if self.total == self._limits.max_connections - 1:
            self.gate.set_full(False)
        if group is not None:
            count = self._by_group[group] - 1
            if count:
                self._by_group[group] = count
            else:
                del self._by_group[group]


def _accepts(limits: ClientLimits, now: float) -> TokenBucket | None:
    rate = limits.accept_rate
    return TokenBucket(Rate(rate, rate * BURST_SECONDS), now) if rate else None


def _accepts_by_group(limits: ClientLimits) -> Buckets | None:
    rate = limits.accept_rate_per_ip
    return Buckets(Rate(rate, rate * BURST_SECONDS_PER_IP)) if rate else None
