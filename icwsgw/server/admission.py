"""Admission of one connection: its address, whether the limits have room for it, and what is logged if not.

    accepted -> counted, and by its address -> [its address from a proxy] -> its request -> its session -> lost

:class:`icwsgw.server.connection_limits.ConnectionLimits` counts connections, :mod:`icwsgw.server.proxies` finds
addresses. A connection from a trusted proxy is counted by its address once the proxy has sent it: in the first bytes
(PROXY protocol), or in a header of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from icwsgw.core.written_state import Document, Fields, read_fields, write_fields
from icwsgw.observe.peers import address_group, bracketed
from icwsgw.server.proxies import host_of, socket_host

if TYPE_CHECKING:
    from icwsgw.reactor.clock import Clock
    from icwsgw.server.connection_limits import ConnectionLimits
    from icwsgw.server.low_priority import LowPriorityQueue
    from icwsgw.server.proxies import TrustedProxies


class Standing(IntEnum):
    """How far a connection has come. The order matters: below OPENED it waits for its session."""

    PROXIED = 0
    """It is counted. The PROXY protocol will bring its address."""
    COUNTED = 1
    """It is counted, but not by its address, which a header of its request may bring."""
    PLACED = 2
    """It is also counted by its address."""
    OPENED = 3
    """The canister has sent its first message to the client."""
    REFUSED = 4
    """It is not counted any more: it waits for its refusal, or it is lost."""


# looking a member up in its class costs as much as a call, in the Python 3.11 that most have
PROXIED, COUNTED, PLACED, OPENED, REFUSED = Standing


#: The fields of an admission that are handed over.
ADMISSION: Fields = {"standing": Standing, "host": str, "peer": str, "crowd": str}


class AdmittingFactory(Protocol):
    """The server's factory, as admissions know it.

    :ivar low_priority: where sockets of unauthenticated connections wait
    """

    clock: Clock
    limits: ConnectionLimits
    low_priority: LowPriorityQueue
    proxies: TrustedProxies

    def refused(self, host: str, peer: str, refusal: str, text: str, status: int | None) -> None:
        """Take note of a refused connection."""


class Admission:
    """A connection, as the limits see it.

    :param on_eviction: called when the connection is evicted before it has a session, to make room for others
    :ivar crowd: the group of addresses that it is counted in while it waits; that of the proxy until its address is
        known
    :ivar host: the address of the client, as far as it is known
    :ivar peer: the same with its port, for logs
    :ivar refusal: why it will be refused, a label of ``icws_refused_connections_total``; None if it is admitted so far
    :ivar standing: how far it has come
    :ivar unauthenticated: it is not OPENED; beside :attr:`standing` for the reactor, which reads it at each event
    """

    __slots__ = (
        *("_descriptor", "_factory", "_group", "_on_eviction"),
        *("crowd", "host", "peer", "refusal", "standing", "unauthenticated"),
    )

    def __init__(self, factory: AdmittingFactory, transport: Any, on_eviction: Callable[[], None]) -> None:
        self._factory = factory
        self._on_eviction: Callable[[], None] | None = on_eviction
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
            self._on_eviction = None
            factory.limits.refused += 1
        else:
            self._wait()
        self._descriptor = transport.fileno() if hasattr(transport, "fileno") else -1
        if self._descriptor >= 0:
            factory.low_priority.enter(self._descriptor, self)

    def written(self) -> Document:
        """The admission as plain values, for another process."""
        return write_fields(self, ADMISSION)

    @classmethod
    def handed_over(
        cls, factory: AdmittingFactory, transport: Any, on_eviction: Callable[[], None], document: Mapping[str, Any]
    ) -> Admission:
        """The admission of a connection that another process has admitted: no limit refuses it.

        :raises FormatError: a value is of the wrong kind
        """
        admission = cls.__new__(cls)
        admission._factory = factory
        admission._on_eviction = None
        admission.refusal = None
        admission.crowd = admission.host = admission.peer = ""
        admission.standing = COUNTED
        read_fields(admission, ADMISSION, document)
        admission._group = factory.limits.restore(admission.host if admission.standing >= PLACED else None)
        admission.unauthenticated = admission.standing is not OPENED
        if admission.unauthenticated:
            admission._on_eviction = on_eviction
            factory.limits.waiting.enter(admission, admission.crowd, full=False)
        admission._descriptor = transport.fileno() if hasattr(transport, "fileno") else -1
        if admission._descriptor >= 0:
            factory.low_priority.enter(admission._descriptor, admission)
        return admission

    @property
    def refused_without_answer(self) -> bool:
        """Whether it is refused, and too many others already wait for the answer that says so."""
        return self.standing is REFUSED and self._factory.limits.refused > self._factory.limits.most_refused

    def arrived(self, transport: Any) -> None:
        """The first bytes have come, so the PROXY header is known. Only for a connection that is PROXIED."""
        self.standing = COUNTED
        self._locate(transport.getPeer())
        if not self._factory.proxies.trusts(self.host):
            self._place()

    def requested(self, headers: Mapping[str, str]) -> None:
        """The request has come. Its headers bring the address of a client behind a trusted proxy.

        :param headers: of the request, names in lower case
        """
        if self.standing is COUNTED:
            host = self._factory.proxies.client(self.host, headers)
            if host != self.host:
                self.host = self.peer = host
                self.crowd = address_group(host) or host
            self._place()

    def recount(self) -> None:
        """Count the connection by its address, if it is not yet: a limit by address has begun."""
        if self._group is None and PLACED <= self.standing < REFUSED:
            self._group = self._factory.limits.count(self.host)

    def opened(self) -> None:
        """The canister has sent its first message to the client."""
        self.standing = OPENED
        self.unauthenticated = False
        self._wait_no_more()

    def left(self) -> None:
        """The connection is lost."""
        self._factory.low_priority.leave(self._descriptor)
        if self.standing is REFUSED:
            self._factory.limits.refused -= 1
        else:
            self.standing = REFUSED
            self._uncount()

    def note(self, refusal: str, text: str, status: int | None = None) -> None:
        """Count and log that it was refused.

        :param refusal: why, a label of the metric
        :param text: why, in words
        :param status: of the HTTP answer; None if it got none
        """
        self._factory.refused(self.host, self.peer, refusal, text, status)

    def _locate(self, address: Any) -> None:
        port = getattr(address, "port", None)
        host = self.host = host_of(address)
        self.crowd = address_group(host) or host
        self.peer = self.host if port is None else f"{bracketed(self.host)}:{port}"

    def _look_at(self, transport: Any) -> None:
        proxies = self._factory.proxies
        # the address of a plain socket needs no proxy
        plain = getattr(transport, "transport", None) is None
        host, spoken = (self.host, False) if plain else socket_host(transport)
        if spoken and (not proxies or proxies.trusts(host)):
            self.standing = PROXIED
            return
        # a PROXY header that has been read already comes from an address that is not trusted
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
        self._on_eviction = None
        self._factory.limits.waiting.leave(self)

    def evict(self) -> None:
        """Close it to make room for others. The eviction table has removed it already.

        Like a connection that is refused at once, it waits for its answer outside of the counts. Otherwise a client
        that is slow to leave would keep its place.
        """
        on_eviction = self._on_eviction
        self.standing = REFUSED
        self._uncount()
        self._factory.limits.refused += 1
        if on_eviction is not None:
            on_eviction()

    def _uncount(self) -> None:
        self._factory.limits.leave(self._group)
        self._wait_no_more()
        self._group = None
