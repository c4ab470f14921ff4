"""Answers and bodies in twisted.web's dress."""

from __future__ import annotations

import treq
from twisted.internet.protocol import Protocol
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IClientRequest, IResponse
from zope.interface.verify import verifyObject

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.http.treq_response import BodyCollector, BytesProducer, ClientRequest, TreqResponse
from tests.support.devnet import result_of


def make(body: bytes = b"body", status: int = 200) -> TreqResponse:
    return TreqResponse(
        ParsedResponse(status, {b"content-type": b"text/plain"}, body), ClientRequest(b"GET", b"http://h/", Headers())
    )


def test_interfaces() -> None:
    response = make()
    verifyObject(IResponse, response)
    verifyObject(IClientRequest, response.request)
    verifyObject(IBodyProducer, BytesProducer(b""))


def test_fields() -> None:
    response = make()
    assert (response.code, response.length, response.phrase, response.version) == (200, 4, b"OK", (b"HTTP", 1, 1))
    assert response.headers.getRawHeaders(b"Content-Type") == [b"text/plain"]
    assert response.headers is response.headers
    assert make(status=799).phrase == b""
    response.setPreviousResponse("before")
    assert response.previousResponse == "before"


def test_the_body_is_delivered_at_once() -> None:
    events: list[object] = []

    class Taker(Protocol):
        def connectionMade(self) -> None:
            events.append("made")
            self.transport.pauseProducing()
            self.transport.loseConnection()

        def dataReceived(self, data: bytes) -> None:
            events.append(data)

        def connectionLost(self, reason=None) -> None:
            events.append(reason.type)

    make().deliverBody(Taker())
    make(b"").deliverBody(Taker())
    assert events == ["made", b"body", ResponseDone, "made", ResponseDone]


def test_treq_reads_it() -> None:
    assert result_of(treq.content(make())) == b"body"  # type: ignore[arg-type]
    assert result_of(treq.text_content(make())) == "body"  # type: ignore[arg-type]
    assert result_of(treq.content(make(b""))) == b""  # type: ignore[arg-type]


def test_bodies_of_requests() -> None:
    producer, collector = BytesProducer(b"abc"), BodyCollector()
    collector.registerProducer(producer, False)
    assert result_of(producer.startProducing(collector)) is None
    producer.pauseProducing()
    producer.resumeProducing()
    producer.stopProducing()
    collector.unregisterProducer()
    assert (producer.length, collector.body()) == (3, b"abc")
