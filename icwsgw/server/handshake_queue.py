"""The queue in which connections of suspect addresses wait before their handshake.

:mod:`icwsgw.core.suspect_addresses` decides which addresses are suspect. The request has been read by then, because
    behind a proxy it brings the address.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol, cast

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.core.suspect_addresses import RATE, SuspectAddresses
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer
from icwsgw.server.request_head import MAX_HEADER_BYTES

if TYPE_CHECKING:
    from icwsgw.gateway.gateway import Gateway
    from icwsgw.gateway.timer_wheel import TimerWheel
    from icwsgw.server.admission import Admission

_log = get_logger("server")


class HandshakeWaiter(Hashable, Protocol):
    """A connection that waits."""

    def turn(self) -> None:
        """Its turn has come."""


class HandshakeQueue:
    """Lets connections pass: at once, or one after the other if their address is suspect."""

    def __init__(self, clock: Clock, suspects: SuspectAddresses[HandshakeWaiter]) -> None:
        self._clock = clock
        self._suspects = suspects
        self._timer: Timer | None = None

    def enter(self, group: str, waiter: HandshakeWaiter) -> bool:
        """Let a connection pass, or put it in the queue.

        :param group: its group of addresses
        :param waiter: its ``turn`` is called when its turn has come
        :return: whether it passes at once
        """
        if self._suspects.admits(group, self._clock.seconds()):
            return True
        self._suspects.wait(group, waiter)
        self._watch()
        return False

    def leave(self, group: str, waiter: HandshakeWaiter) -> None:
        """Remove a connection from the queue. Nothing happens if it is not in the queue."""
        self._suspects.leave(group, waiter)

    def _watch(self) -> None:
        if self._timer is None and self._suspects.waiting:
            self._timer = self._clock.callLater(1 / RATE, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            for waiter in self._suspects.turns(self._clock.seconds()):
                try:
                    waiter.turn()
                except Exception:
                    _log.failure("admitting a client failed")
        finally:
            self._watch()


class QueueingFactory(Protocol):
    """The server's factory, as connections that wait know it; times in seconds."""

    gateway: Gateway
    wheel: TimerWheel
    handshake_queue: HandshakeQueue
    header_timeout: float
    close_timeout: float

    def answer(self, refusal: str) -> tuple[int, str]:
        """The HTTP status and words of a refusal."""


class HandshakeTurn:
    """The part of :class:`icwsgw.server.protocol.GatewayProtocol` that waits in the handshake queue."""

    factory: QueueingFactory
    transport: Any
    state: int
    STATE_CONNECTING: int
    data: bytes
    failHandshake: Callable[..., None]  # noqa: N815
    _admission: Admission
    # while it waits: fires when it may continue
    _turn: Deferred[None] | None = None

    def _pass_turnstile(self) -> Deferred[None] | None:
        """None when it passes at once, otherwise what fires when it may."""
        factory = self.factory
        if factory.handshake_queue.enter(self._admission.crowd, self):
            return None
        self._turn = Deferred()
        factory.wheel.watch(cast(Any, self), factory.header_timeout)
        return self._turn

    def turn(self) -> None:
        """Its turn has come: continue with the handshake."""
        turn, self._turn = self._turn, None
        if turn is None or self.state != self.STATE_CONNECTING:
            return
        if self.factory.gateway.draining:
            self._admission.refusal = "draining"
            turn.errback(Failure(ConnectionDeny(*self.factory.answer("draining"))))
            return
        turn.callback(None)

    def _waits_at_turnstile(self) -> bool:
        """Whether it waits; what the client sends meanwhile comes too early, and is held within a bound."""
        if self._turn is None:
            return False
        if len(self.data) > MAX_HEADER_BYTES:
            self.transport.abortConnection()
        return True

    def _wait_no_more(self) -> None:
        if self._turn is not None:
            self._turn = None
            self.factory.handshake_queue.leave(self._admission.crowd, self)

    def _refuse_turn(self) -> float:
        """Refuse the connection because its turn has not come in time; the seconds until the next visit."""
        self._wait_no_more()
        self._admission.refusal = "accept_rate_per_ip"
        status, text = self.factory.answer("accept_rate_per_ip")
        self.failHandshake(text, status)
        return self.factory.close_timeout
