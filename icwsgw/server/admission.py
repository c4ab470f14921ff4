"""One connection's way in: where it comes from, whether there is room for it, what is noted when there is none.

    accepted ──> counted, and by its address ──> [its address by a proxy] ──> its request ──> its session ──> gone

The counts are :class:`icwsgw.server.connection_limits.ConnectionLimits`, addresses :mod:`icwsgw.server.proxies`. A
connection from a proxy is counted by address when the proxy has told it: by the PROXY protocol with the first bytes
that follow, by an HTTP header with the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from icwsgw.observe.peers import address_group, bracketed
from icwsgw.server.proxies import host_of, socket_host

if TYPE_CHECKING:
    from icwsgw.server.factory import GatewayFactory


class Standing(IntEnum):
    """How far a connection has come. The order matters: it waits for its session as long as it is below OPENED."""

    PROXIED = 0
    """It is counted; the PROXY protocol will tell its address."""
    COUNTED = 1
    """It is counted, but not by its address: a header of its request may tell it."""
    PLACED = 2
    """It is counted by its address too."""
    OPENED = 3
    """Its canister has spoken to it."""
    REFUSED = 4
    """It is not counted any more: it is told that it has no place, or it has ended."""


# looking a member up in its class costs as much as a call, in the Python 3.11 that most have
PROXIED, COUNTED, PLACED, OPENED, REFUSED = Standing


class Admission:
    """A connection as the limits see it.

    :param crowded_out: called when it has to go, before it has its session, to make room for others
    :ivar crowd: those it waits among: of its address, or of the proxy that has not told the address yet
    :ivar host: of the client, as far as it is known
    :ivar peer: the same with its port, for logs
    :ivar refusal: why it will be refused, a label of the metric; None when it is welcome so far
    :ivar standing: how far it has come
    :ivar unauthenticated: it is not OPENED; beside :attr:`standing` for the reactor, which asks at each event
    """

    __slots__ = (
        *("_crowded_out", "_descriptor", "_factory", "_group"),
        *("crowd", "host", "peer", "refusal", "standing", "unauthenticated"),
    )

    def __init__(self, factory: GatewayFactory, transport: Any, crowded_out: Callable[[], None]) -> None:
        self._factory = factory
        self._crowded_out: Callable[[], None] | None = crowded_out
        self._group: str | None = None
        self.unauthenticated = True
        self.crowd = self.host = self.peer = ""
        self._locate(transport.getPeer())
        self.refusal = factory.limits.enter(factory.clock.seconds(), self.crowd)
        if self.refusal is None:
            self.standing = COUNTED
            self._look_at(transport)
            if self.refusal is not None:
                self._uncount()
        if self.refusal is not None:
            self.standing = REFUSED
            self._crowded_out = None
            factory.limits.refused += 1
        else:
            self._wait()
        self._descriptor = transport.fileno() if hasattr(transport, "fileno") else -1
        if self._descriptor >= 0:
            factory.low_priority.enter(self._descriptor, self)

    @property
    def refused_without_answer(self) -> bool:
        """It is refused, and too many others wait already to be told so."""
        return self.standing is REFUSED and self._factory.limits.refused > self._factory.limits.most_refused

    def arrived(self, transport: Any) -> None:
        """First bytes have come, so that the PROXY header is known (only where it is PROXIED)."""
        self.standing = COUNTED
        self._locate(transport.getPeer())
        if not self._factory.proxies.trusts(self.host):
            self._place()

    def requested(self, headers: Mapping[str, str]) -> None:
        """The request has come: its headers tell who is behind a trusted proxy."""
        if self.standing is COUNTED:
            host = self._factory.proxies.client(self.host, headers)
            if host != self.host:
                self.host = self.peer = host
                self.crowd = address_group(host) or host
            self._place()

    def opened(self) -> None:
        """Its canister has spoken to it."""
        self.standing = OPENED
        self.unauthenticated = False
        self._wait_no_more()

    def left(self) -> None:
        """It is gone."""
        self._factory.low_priority.leave(self._descriptor)
        if self.standing is REFUSED:
            self._factory.limits.refused -= 1
        else:
            self.standing = REFUSED
            self._uncount()

    def note(self, refusal: str, text: str, status: int | None = None) -> None:
        """It has been refused: for metric and log."""
        self._factory.refused(self.host, self.peer, refusal, text, status)

    def _locate(self, address: Any) -> None:
        port = getattr(address, "port", None)
        host = self.host = host_of(address)
        self.crowd = address_group(host) or host
        self.peer = self.host if port is None else f"{bracketed(self.host)}:{port}"

    def _look_at(self, transport: Any) -> None:
        proxies = self._factory.proxies
        # a plain socket is what it seems
        plain = getattr(transport, "transport", None) is None
        host, spoken = (self.host, False) if plain else socket_host(transport)
        if spoken and (not proxies or proxies.trusts(host)):
            self.standing = PROXIED
            return
        # where a PROXY header has been read already and is not to be believed
        self.host = host
        self.crowd = address_group(host) or host
        if not proxies.trusts(host):
            self._place()

    def _place(self) -> None:
        self.standing = PLACED
        limits = self._factory.limits
        self._group, self.refusal = limits.place(self.host, self._factory.clock.seconds())
        if self in limits.waiting:
            limits.waiting.move(self, self.crowd)

    def _wait(self) -> None:
        limits = self._factory.limits
        oldest = limits.waiting.enter(self, self.crowd, full=limits.over_limit)
        if isinstance(oldest, Admission):
            oldest.evict()

    def _wait_no_more(self) -> None:
        self._crowded_out = None
        self._factory.limits.waiting.leave(self)

    def evict(self) -> None:
        """Let it go, to make room for others: it has been taken out of the room already.

        Like one that is refused at once, it waits for its answer outside of the counts: one that takes its time to
        leave would hold a place all the same.
        """
        crowded_out = self._crowded_out
        self.standing = REFUSED
        self._uncount()
        self._factory.limits.refused += 1
        if crowded_out is not None:
            crowded_out()

    def _uncount(self) -> None:
        self._factory.limits.leave(self._group)
        self._wait_no_more()
        self._group = None
