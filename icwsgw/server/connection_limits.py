"""How many connections there may be: in all, waiting to open a session, from one address, and how fast they may come.

A connection is counted when it is accepted; by its address when that is known, which behind a proxy is only when its
request has come (:mod:`icwsgw.server.proxies`). One that is too many is told so by an HTTP status, which takes a
handshake: it waits for that outside of these counts, and only so many may wait; the rest are dropped unanswered, before
a TLS handshake.

Those without a session wait in a room (:mod:`icwsgw.core.eviction`) that takes newcomers also when it is full: the
address with most in it loses its oldest, so that strangers of one address who stay silent keep nobody else out. It
loses one as well where all connections are taken, if it has more in the room than the newcomer's address.
"""

from __future__ import annotations

from collections.abc import Hashable

from icwsgw.config.client_limits import ClientLimits
from icwsgw.core.eviction import EvictionTable
from icwsgw.core.rate_limit import Buckets, Rate, TokenBucket
from icwsgw.observe.peers import address_group
from icwsgw.process.rlimits import REFUSED

#: What a second's worth of new connections is multiplied with: how many may come at once.
BURST_SECONDS = 2
BURST_SECONDS_PER_IP = 5


class ConnectionLimits:
    """Counts connections.

    :param limits: the options
    :param now: the time, seconds
    :param most_refused: connections that may wait to be told that they are too many
    :ivar total: connections, without those refused at once
    :ivar waiting: those of them without a session
    :ivar refused: connections that wait to be told so
    """

    __slots__ = ("_accepts", "_accepts_by_group", "_by_group", "_limits", "most_refused", "refused", "total", "waiting")

    def __init__(self, limits: ClientLimits, now: float, most_refused: int = REFUSED) -> None:
        self._limits = limits
        self._by_group: dict[str, int] = {}
        rate, by_ip = limits.accept_rate, limits.accept_rate_per_ip
        self._accepts = TokenBucket(Rate(rate, rate * BURST_SECONDS), now) if rate else None
        self._accepts_by_group = Buckets(Rate(by_ip, by_ip * BURST_SECONDS_PER_IP)) if by_ip else None
        self.total = 0
        self.waiting: EvictionTable[Hashable] = EvictionTable(limits.max_pending)
        self.refused = 0
        self.most_refused = most_refused

    @property
    def over_limit(self) -> bool:
        """Whether a newcomer was counted for whom one of those in the waiting room has to go."""
        return self.total > self._limits.max_connections

    def enter(self, now: float, crowd: str) -> str | None:
        """Count a new connection, unless it is one too many: then the reason, a label of the metric.

        :param crowd: those it would wait among, as far as its address is known
        """
        limits = self._limits
        if self.total >= limits.max_connections and not self.waiting.outnumbers(crowd):
            return "connections"
        if self._accepts is not None and not self._accepts.take(now):
            return "accept_rate"
        self.total += 1
        return None

    def place(self, host: str, now: float) -> tuple[str | None, str | None]:
        """Count a connection by its address.

        :return: its group, for :meth:`leave`, None when it is not counted; the reason when it is one too many
        """
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

    def leave(self, group: str | None) -> None:
        """A counted connection has ended, or turned out to be one too many."""
        self.total -= 1
        if group is not None:
            count = self._by_group[group] - 1
            if count:
                self._by_group[group] = count
            else:
                del self._by_group[group]
