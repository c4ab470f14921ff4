"""How many requests of each kind may be in flight at once (decisions 0025 and 0034).

A call may take until its timeout. If calls could use all connections to the network, canisters would not be polled
meanwhile. So each kind of request has its limit, and all limits together are no more than the connections. If the limit
on open files leaves fewer connections than :data:`MAX_REQUESTS`, each limit is lower.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Clients' messages in flight at once, of which one canister may have half.
MAX_CALLS: Final = 1024
#: ws_open in flight at once: to canisters that have spoken, by canister; to newcomers, by address and by canister.
MAX_OPENS, MAX_NEWCOMERS_OPENS, MAX_OPENS_OF_NEWCOMER = 128, 64, 16
#: Close notices in flight at once, of which one canister may have half. If a call takes two seconds, that is 64 a
#: second for one canister.
MAX_CLOSES: Final = 256
#: Queries in flight at once, shared by canister; and queries about newcomers, shared by address.
MAX_QUERIES, MAX_NEWCOMERS_QUERIES = 512, 64
#: All of these together.
MAX_REQUESTS: Final = MAX_CALLS + MAX_OPENS + MAX_NEWCOMERS_OPENS + MAX_CLOSES + MAX_QUERIES + MAX_NEWCOMERS_QUERIES


class InFlightLimits(NamedTuple):
    """How many requests of each kind may be in flight at once.

    :ivar messages: clients' messages
    :ivar opens: ``ws_open`` to canisters that have spoken
    :ivar newcomers_opens: ``ws_open`` to other canisters
    :ivar opens_of_newcomer: the same by canister, a part of ``newcomers_opens``
    :ivar closes: close notices
    :ivar queries: queries about canisters that have spoken
    :ivar newcomers_queries: queries about other canisters
    """

    messages: int = MAX_CALLS
    opens: int = MAX_OPENS
    newcomers_opens: int = MAX_NEWCOMERS_OPENS
    opens_of_newcomer: int = MAX_OPENS_OF_NEWCOMER
    closes: int = MAX_CLOSES
    queries: int = MAX_QUERIES
    newcomers_queries: int = MAX_NEWCOMERS_QUERIES

    @property
    def total(self) -> int:
        """Requests in flight at once, of all kinds."""
        return sum(self) - self.opens_of_newcomer

    @classmethod
    def of(cls, connections: int) -> InFlightLimits:
        """Divide so many connections to the network.

        ``ws_open`` gets a larger part of few connections than of many, because clients that come wait for it. Each
        limit is at least one; fewer than six connections cannot be divided.
        """
        opens, newcomers_opens = _part(connections, 4, MAX_OPENS), _part(connections, 8, MAX_NEWCOMERS_OPENS)
        closes = _part(connections, 8, MAX_CLOSES)
        queries, newcomers_queries = _part(connections, 4, MAX_QUERIES), _part(connections, 32, MAX_NEWCOMERS_QUERIES)
        rest = connections - opens - newcomers_opens - closes - queries - newcomers_queries
        return cls(
            messages=max(1, min(MAX_CALLS, rest)),
            opens=opens,
            newcomers_opens=newcomers_opens,
            opens_of_newcomer=min(MAX_OPENS_OF_NEWCOMER, newcomers_opens),
            closes=closes,
            queries=queries,
            newcomers_queries=newcomers_queries,
        )


def _part(connections: int, divisor: int, most: int) -> int:
    return max(1, min(most, connections // divisor))
