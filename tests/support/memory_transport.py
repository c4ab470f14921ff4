"""A transport in memory that connects the gateway to a replica or to a test's handler.

``MemoryTransport(clock, handler)`` has both interfaces of :class:`icwsgw.agent.http.transport.Transport`, ``fetch`` and
IAgent. ``handler(method, path, body)`` returns ``(status, headers, body)`` or a Deferred of it. Its exceptions and
failures reach the caller unchanged, so a test can cause a ``ConnectionLost``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Union

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from zope.interface import implementer

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.http.transport import MAX_BODY
from icwsgw.agent.http.treq_response import BodyCollector, ClientRequest, TreqResponse
from icwsgw.agent.http.url import Url
from icwsgw.errors import AnswerTooLarge, ConnectionLost, RequestTimeout

Reply = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, bytes], Union[Reply, "Deferred[Reply]"]]


@lru_cache
def _parsed(uri: bytes) -> Url:
    return Url.parse(uri.decode())


@implementer(IAgent)
class MemoryTransport:
    """Passes each request to a handler, without a network.

    :param clock: for deadlines and latency
    :param handler: returns the answers
    :param latency: seconds until the handler gets a request, and again until the caller gets the answer
    :ivar requests: (method, path, body) of all requests so far
    :ivar in_flight: the number of requests without an answer
    """

    def __init__(self, clock: Clock, handler: Handler, latency: float = 0.0) -> None:
        self.clock = clock
        self.handler = handler
        self.latency = latency
        self.requests: list[tuple[str, str, bytes]] = []
        self.in_flight = 0
        self.closed = False

    def fetch(self, method: bytes, url: Url, body: bytes = b"", *, timeout: float) -> Deferred[ParsedResponse]:
        """As Transport.fetch."""
        request = (method.decode(), url.path.decode(), body)
        self.requests.append(request)
        self.in_flight += 1
        answers: list[Deferred[Any]] = []

        def cancelled(_: Deferred[ParsedResponse]) -> None:
            for d in answers:
                d.cancel()

        done: Deferred[ParsedResponse] = Deferred(cancelled)
        timer = self.clock.callLater(timeout, self._late, done, answers)

        def ended(result: Any) -> Any:
            self.in_flight -= 1
            if timer.active():
                timer.cancel()
            return result

        done.addBoth(ended)
        if self.closed:
            done.errback(ConnectionLost("the transport is closed"))
            return done

        def request_answer() -> None:
            if done.called:
                return
            answer = maybeDeferred(self.handler, *request)
            answers.append(answer)
            answer.addBoth(answered)

        def answered(result: Any) -> None:
            self._later(give, result)

        def give(result: Any) -> None:
            if done.called:
                return
            if isinstance(result, Failure):
                done.errback(ConnectionLost("cancelled") if result.check(CancelledError) else result)
                return
            status, headers, content = result
            if len(content) > MAX_BODY:
                done.errback(AnswerTooLarge(f"the answer is longer than {MAX_BODY} bytes"))
                return
            done.callback(ParsedResponse(status, {n.lower().encode(): v.encode() for n, v in headers.items()}, content))

        self._later(request_answer)
        return done

    def agent(self, timeout: float) -> MemoryAgent:
        """As Transport.agent."""
        return MemoryAgent(self, timeout)

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        """As Transport.request."""
        return self.agent(30.0).request(method, uri, headers, bodyProducer)

    def close(self) -> Deferred[None]:
        """As Transport.close; requests in flight end at their deadlines."""
        self.closed = True
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def _later(self, call: Callable[..., object], *args: Any) -> None:
        if self.latency:
            self.clock.callLater(self.latency, call, *args)
        else:
            call(*args)

    def _late(self, done: Deferred[ParsedResponse], answers: list[Deferred[Any]]) -> None:
        if not done.called:
            done.errback(RequestTimeout("no answer in time"))
            for d in answers:
                d.cancel()


@implementer(IAgent)
class MemoryAgent:
    """Sends a request as an IAgent does."""

    def __init__(self, transport: MemoryTransport, timeout: float) -> None:
        self.transport = transport
        self.timeout = timeout

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        """Send a request; its body must be complete when ``startProducing`` returns."""
        collector = BodyCollector()
        if bodyProducer is not None:
            bodyProducer.startProducing(collector)
        request = ClientRequest(method, uri, headers)
        answer = self.transport.fetch(method, _parsed(uri), collector.body(), timeout=self.timeout)
        return answer.addCallback(lambda whole: TreqResponse(whole, request))
