"""Checks the way of each request through the gateway's transport: its deadline, its place in line, its connection.

The transport promises (:mod:`icwsgw.agent.http.host_pool`):

- A request ends within its time, and does not run out of time before.
- The connection that is free first takes the request that has waited longest; one that is sent again goes before all.
- Where no connection can be made, the request that has waited longest fails.
- A request that was given up does not leave any more, and its connection ends.
- While a request waits, as many connections as there may be exist or are being made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from icwsgw.agent.http.deadlines import GRAIN
from icwsgw.agent.http.tunnel import _Tunnel
from icwsgw.errors import ConnectFailed, RequestTimeout

if TYPE_CHECKING:
    from tests.simulation.upstream import Connection, WireTransport
    from tests.simulation.world import SimWorld

EPSILON = 1e-6


class Request:
    """One request.

    :ivar number: how many came before it
    :ivar data: its bytes; the object itself distinguishes it from others
    :ivar began: when it was handed to the transport
    :ivar due: when it has to have an end
    :ivar carrier: the connection on which it left last; None: it waits for one
    :ivar times: how often it has left
    """

    __slots__ = ("began", "carrier", "data", "due", "number", "times")

    def __init__(self, number: int, data: bytes, began: float, timeout: float) -> None:
        self.number = number
        self.data = data
        self.began = began
        self.due = began + timeout
        self.carrier: Connection | None = None
        self.times = 0


class Requests:
    """The requests of one transport.

    :param world: in which
    """

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._count = 0
        # those without an end, by the identity of their data
        self._living: dict[int, Request] = {}
        self._comes: Request | None = None

    def submit(self, data: bytes, timeout: float, submit: Any) -> Any:
        """A request is handed to the transport.

        :param submit: hands it over; gives its Deferred
        """
        self._count += 1
        request = Request(self._count, data, self._world.clock.seconds(), timeout)
        self._living[id(data)] = request
        before, self._comes = self._comes, request
        try:
            answer = submit()
        finally:
            self._comes = before
        return answer.addBoth(self._ended, request)

    def written(self, connection: Connection, data: bytes) -> None:
        """Bytes are written to a connection: a request, or what a proxy is asked for."""
        if data.startswith(b"CONNECT "):
            return
        request = self._living.get(id(data))
        if request is None:
            self._fail("a request leaves for which nobody waits any more")
            return
        if request.carrier is not None:
            self._fail("a request leaves while it is under way on another connection")
        if request is not self._comes and (late := self._before(request)):
            self._fail(f"a request leaves before {late}")
        connection.carries, request.carrier = request, connection
        request.times += 1

    def let_go(self, connection: Connection) -> None:
        """A connection carries its request no more: it ends."""
        request, connection.carries = connection.carries, None
        if request is not None:
            request.carrier = None

    def _before(self, request: Request) -> str:
        """The request that waits and is before this one in line, in words; empty where there is none."""
        waiting = [other for other in self._living.values() if other.carrier is None and other is not request]
        if request.times:
            # it is at the head of the line, or was there first
            return ""
        if any(other.times for other in waiting):
            return "one that is sent again"
        longest = min(waiting, key=lambda other: other.number, default=request)
        return f"one that came {request.began - longest.began:.3f} s earlier" if longest.number < request.number else ""

    def _ended(self, result: Any, request: Request) -> Any:
        now, error = self._world.clock.seconds(), getattr(result, "value", None)
        del self._living[id(request.data)]
        slack = GRAIN + EPSILON + 50 * self._world.plan.answer_cost
        if now > request.due + slack:
            self._fail(f"a request ended {now - request.due:.2f} s after its time")
        if isinstance(error, RequestTimeout) and now < request.due - EPSILON:
            self._fail(f"a request ran out of time {request.due - now:.2f} s before its time")
        carrier = request.carrier
        if isinstance(error, (CancelledError, RequestTimeout)) and carrier is not None:
            if carrier.carries is request and not carrier.ending:
                self._fail("a request was given up, and its connection goes on")
        elif isinstance(error, ConnectFailed) and now < request.due - EPSILON and (late := self._before(request)):
            self._fail(f"a request failed for want of a connection before {late}")
        if carrier is not None and carrier.carries is request:
            carrier.carries, carrier.free_since = None, now
        return result

    def _fail(self, words: str) -> None:
        self._world.oracle.fail(words)


def lacking(transport: WireTransport) -> Iterator[tuple[str, Any, Any]]:
    """Accounts of connections: what the pools count, and what there is."""
    for pool in transport._pools.values():
        room = transport.server.most - pool.established - pool.connecting
        yield "requests for which no connection is made", min(room, pool.waiting - pool.connecting) > 0, False
    connecting = sum(pool.connecting for pool in transport._pools.values())
    tunnels = sum(tunnel is not None for tunnel in map(awaited_tunnel, transport.world.clock.getDelayedCalls()))
    yield "connections that are being made", connecting, transport.server.attempts + tunnels


def awaited_tunnel(call: Any) -> _Tunnel | None:
    """The tunnel that a timer ends if its proxy does not answer in time; None if it is another timer."""
    tunnel = getattr(call.func, "__self__", None)
    return tunnel if isinstance(tunnel, _Tunnel) else None
