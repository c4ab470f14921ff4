"""One connection, byte by byte and without a network: what is an answer, and what is not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as Lost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from icwsgw.agent.http.connection import Exchange, HttpConnection, ParsedResponse, explain
from icwsgw.agent.http.deadlines import Deadlines
from icwsgw.agent.http.host_pool import HostPool
from icwsgw.errors import AnswerMalformed, ConnectionLost, TransportError


class Wire(StringTransport):
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True


class Rig:
    """A connection with one request on its way."""

    def __init__(self, max_body: int = 1000, is_head: bool = False) -> None:
        self.clock = Clock()
        self.pool = HostPool(self.clock, None, "host:80", False, Deadlines(self.clock), 4, 4)
        self.connection = HttpConnection(self.pool, False)
        self.wire = Wire()
        self.connection.makeConnection(self.wire)
        self.results: list[Any] = []
        self.ask(b"request", max_body, is_head)

    def ask(self, data: bytes, max_body: int = 1000, is_head: bool = False) -> None:
        exchange = Exchange(self.pool, data, is_head, max_body)
        exchange.deferred.addBoth(self.results.append)
        self.connection.send(exchange)

    def end(self, reason: Exception) -> None:
        self.connection.connectionLost(Failure(reason))

    @property
    def result(self) -> Any:
        (result,) = self.results
        return result.value if isinstance(result, Failure) else result


GOOD = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nT: u\r\n\r\n", b"hello"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
]


@given(st.sampled_from(GOOD), st.lists(st.integers(0, 200), max_size=8))
def test_cut_anywhere(good, cuts) -> None:
    """However TCP cuts it, it is one answer, not earlier than its last byte, and the connection is free again."""
    text, body = good
    rig = Rig()
    edges = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in pairwise(edges):
        assert rig.results == []
        rig.connection.dataReceived(text[start:end])
    assert isinstance(rig.result, ParsedResponse)
    assert rig.result.body == body
    assert rig.pool.idle == 1


@given(st.sampled_from(GOOD), st.integers(0, 200))
def test_ended_anywhere(good, cut) -> None:
    text, _ = good
    rig = Rig()
    rig.connection.dataReceived(text[: min(cut, len(text) - 1)]) if cut else None
    rig.end(ConnectionDone())
    assert isinstance(rig.result, ConnectionLost)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_end_well(data, orderly) -> None:
    """Whatever comes and however it ends, the request ends once, with an answer or a TransportError."""
    rig = Rig()
    if data:
        rig.connection.dataReceived(data)
    if not rig.results:
        rig.end(ConnectionDone() if orderly else Lost())
    assert isinstance(rig.result, (ParsedResponse, TransportError))


@given(st.sampled_from(GOOD), st.integers(0, 80), st.binary(min_size=1, max_size=3))
def test_damaged_anywhere(good, position, noise) -> None:
    text, _ = good
    rig = Rig()
    rig.connection.dataReceived(text[:position] + noise + text[position:])
    if not rig.results:
        rig.end(ConnectionDone())
    assert isinstance(rig.result, (ParsedResponse, TransportError))


@given(st.sampled_from([text for text, _ in GOOD]), st.sampled_from([text for text, _ in GOOD]))
def test_one_answer_for_one_request(first, second) -> None:
    rig = Rig()
    rig.connection.dataReceived(first + second)
    assert isinstance(rig.result, ParsedResponse)
    assert rig.pool.idle == 0
    assert rig.wire.disconnecting


def test_the_request_goes_out_whole() -> None:
    rig = Rig()
    assert rig.wire.value() == b"request"
    assert rig.wire.no_delay


def test_a_body_to_the_end_of_the_connection() -> None:
    rig = Rig()
    rig.connection.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nall")
    assert rig.results == []
    rig.end(ConnectionDone())
    assert rig.result == ParsedResponse(200, {}, b"all")


def test_head_has_no_body() -> None:
    rig = Rig(is_head=True)
    rig.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    assert rig.result == ParsedResponse(200, {b"content-length": b"9"}, b"")
    assert rig.wire.disconnecting


def test_the_status_is_the_answers_own() -> None:
    rig = Rig()
    rig.connection.dataReceived(GOOD[0][0] + b"HTTP/1.1 500 Other\r\n")
    assert rig.result.status == 200


def test_quiet_is_bounded() -> None:
    rig = Rig()
    for _ in range(70):
        rig.connection.dataReceived(b"HTTP/1.1 102 Processing\r\n\r\n" * 40)
        if rig.results:
            break
    assert isinstance(rig.result, AnswerMalformed)
    assert rig.wire.aborted


def test_what_an_openssl_error_says() -> None:
    class SslError(Exception):
        pass

    error = SslError([("SSL routines", "", "certificate verify failed")])
    assert explain(Failure(error)) == "certificate verify failed"
    assert explain(Failure(OSError())) == "OSError"


def test_a_connection_that_has_answered_before_is_silent_until_it_answers_again() -> None:
    rig = Rig()
    assert not rig.connection.silent, "it was never used before"
    rig.connection.dataReceived(GOOD[0][0])
    assert not rig.connection.silent, "nothing is asked"
    rig.ask(b"second")
    assert rig.connection.silent
    rig.connection.dataReceived(GOOD[0][0][:1])
    assert not rig.connection.silent


def test_a_request_that_is_cancelled_ends_its_connection() -> None:
    rig = Rig()
    exchange = Exchange(rig.pool, b"second", False, 1000)
    deferred = exchange.deferred
    assert deferred is not None
    deferred.addErrback(lambda _: None)
    rig.connection.dataReceived(GOOD[0][0])
    rig.connection.send(exchange)
    deferred.cancel()
    assert rig.wire.aborted
