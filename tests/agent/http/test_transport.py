"""The transport against real servers on loopback: good, rude and silent ones, with and without TLS."""

from __future__ import annotations

import io
import zlib
from collections.abc import Generator
from typing import Any

import treq.client
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

from icwsgw.agent.http.transport import IDLE_TIMEOUT, Transport, Url
from icwsgw.agent.http.treq_response import BytesProducer
from icwsgw.errors import (
    AnswerMalformed,
    AnswerTooLarge,
    ConnectFailed,
    ConnectionLost,
    RequestTimeout,
)
from tests.agent.http.test_host_pool import Endpoint
from tests.support import pem
from tests.support.raw_server import RawServer

reactor: Any = _reactor


class TransportCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.transport = self.make()
        self.servers: list[RawServer] = []
        self.addCleanup(self.down)

    def make(self, **options) -> Transport:
        return Transport(reactor, **options)

    @inlineCallbacks
    def down(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        for server in self.servers:
            yield ensureDeferred(server.stop())

    def serve(self, on_request, ssl=None) -> RawServer:
        server = RawServer(on_request, ssl)
        self.servers.append(server)
        return server

    def url(self, server: RawServer, path: str = "/api", scheme: str = "http", host: str = "127.0.0.1") -> Url:
        return Url.parse(f"{scheme}://{host}:{server.port}{path}")

    def get(self, server: RawServer, path: str = "/", **options):
        options.setdefault("timeout", 10.0)
        return self.transport.fetch(b"GET", self.url(server, path), **options)

    def post(self, server: RawServer, body: bytes = b"question", **options):
        options.setdefault("timeout", 10.0)
        return self.transport.fetch(b"POST", self.url(server), body, **options)


class Answers(TransportCase):
    @inlineCallbacks
    def test_a_request_and_its_answer(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, head, body: c.answer(body.upper(), headers="X-Thing: a\r\nx-thing: b\r\n"))
        answer = yield self.post(server)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body, b"QUESTION")
        self.assertEqual(answer.headers[b"x-thing"], b"a, b")
        head = server.requests[0][0].split(b"\r\n")
        self.assertEqual(head[0], b"POST /api HTTP/1.1")
        self.assertIn(b"Host: 127.0.0.1:%d" % server.port, head)
        self.assertIn(b"Content-Type: application/cbor", head)
        self.assertIn(b"Content-Length: 8", head)

    @inlineCallbacks
    def test_the_connection_is_kept(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, head, body: c.answer(body))
        for n in range(20):
            answer = yield self.post(server, b"%d" % n)
            self.assertEqual(answer.body, b"%d" % n)
        self.assertEqual(len(server.connections), 1)

    @inlineCallbacks
    def test_the_connection_is_free_before_the_caller_gets_the_answer(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, head, body: c.answer(body))
        first = self.post(server, b"1")
        second: Deferred[object] = first.addCallback(lambda _: self.post(server, b"2"))
        answer = yield second
        self.assertEqual(answer.body, b"2")
        self.assertEqual(len(server.connections), 1)

    @inlineCallbacks
    def test_byte_by_byte(self) -> Generator[Any, Any, None]:
        def slowly(c, head, body) -> None:
            text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
            c.transport.setTcpNoDelay(True)

            def step(n) -> None:
                if n < len(text):
                    c.send(text[n : n + 1])
                    reactor.callLater(0, step, n + 1)

            step(0)

        server = self.serve(slowly)
        answer = yield self.get(server)
        self.assertEqual(answer.body, b"hello")

    @inlineCallbacks
    def test_chunked_with_trailers(self) -> Generator[Any, Any, None]:
        server = self.serve(
            lambda c, h, b: c.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-After: yes\r\n\r\n"
            )
        )
        for _ in range(2):
            answer = yield self.get(server)
            self.assertEqual(answer.body, b"hello world")
        self.assertEqual(len(server.connections), 1)

    @inlineCallbacks
    def test_interim_answers_are_passed_over(self) -> Generator[Any, Any, None]:
        server = self.serve(
            lambda c, h, b: c.send(
                b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            )
        )
        answer = yield self.get(server)
        self.assertEqual((answer.status, answer.body), (200, b"ok"))
        self.assertNotIn(b"x-interim", answer.headers)

    @inlineCallbacks
    def test_endless_interim_answers(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000))
        yield self.assertFailure(self.get(server), AnswerMalformed)

    @inlineCallbacks
    def test_statuses_without_body(self) -> Generator[Any, Any, None]:
        replies = [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"]
        server = self.serve(lambda c, h, b: c.send(replies.pop(0)))
        first = yield self.get(server)
        second = yield self.get(server)
        self.assertEqual((first.status, first.body, second.status, second.body), (204, b"", 304, b""))
        self.assertEqual(len(server.connections), 1)

    @inlineCallbacks
    def test_head(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
        answer = yield self.transport.fetch(b"HEAD", self.url(server), timeout=5)
        self.assertEqual((answer.status, answer.body, answer.headers[b"content-length"]), (200, b"", b"1000"))

    @inlineCallbacks
    def test_any_status_is_an_answer(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b"later", "503 Busy", "Retry-After: 3\r\n"))
        answer = yield self.get(server)
        self.assertEqual((answer.status, answer.headers[b"retry-after"]), (503, b"3"))
        again = yield self.get(server)
        self.assertEqual(again.status, 503)
        self.assertEqual(len(server.connections), 1)

    @inlineCallbacks
    def test_connection_close_is_obeyed(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(headers="Connection: close\r\n"))
        yield self.get(server)
        yield self.get(server)
        self.assertEqual(len(server.connections), 2)

    @inlineCallbacks
    def test_http_1_0_ends_with_the_connection(self) -> Generator[Any, Any, None]:
        def old(c, h, b) -> None:
            c.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
            c.end()

        answer = yield self.get(self.serve(old))
        self.assertEqual(answer.body, b"all of it")

    @inlineCallbacks
    def test_a_body_without_length_ends_with_the_connection(self) -> Generator[Any, Any, None]:
        def until_close(c, h, b) -> None:
            c.send(b"HTTP/1.1 200 OK\r\n\r\nhalf ")
            c.send(b"and half")
            c.end()

        server = self.serve(until_close)
        answer = yield self.get(server)
        self.assertEqual(answer.body, b"half and half")
        answer = yield self.get(server)
        self.assertEqual(answer.body, b"half and half")
        self.assertEqual(len(server.connections), 2)

    @inlineCallbacks
    def test_a_large_request_and_a_large_answer(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, body: c.answer(body))
        body = bytes(range(256)) * 12_000
        answer = yield self.post(server, body)
        self.assertEqual(answer.body, body)

    @inlineCallbacks
    def test_many_at_once_to_several_hosts(self) -> Generator[Any, Any, None]:
        servers = [self.serve(lambda c, h, body: c.answer(body)) for _ in range(3)]
        requests = [self.post(servers[n % 3], b"%d" % n) for n in range(300)]
        for n, d in enumerate(requests):
            answer = yield d
            self.assertEqual(answer.body, b"%d" % n)
        self.assertEqual(len(self.transport.connections), 3)
        states, made = self.transport.states, sum(self.transport.connections.values())
        self.assertEqual(states["busy"] + states["idle"], made)
        self.assertGreater(states["idle"], 0)
        self.assertEqual((self.transport.counts.opened, self.transport.waiting), (made, 0))
        self.assertLessEqual(max(len(server.connections) for server in servers), 100)


class RudeServers(TransportCase):
    @inlineCallbacks
    def test_reset_in_the_middle_of_the_body(self) -> Generator[Any, Any, None]:
        def half(c, h, b) -> None:
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            reactor.callLater(0.02, c.reset)

        server = self.serve(half)
        yield self.assertFailure(self.get(server), ConnectionLost)
        self.assertEqual(len(server.requests), 1)

    @inlineCallbacks
    def test_close_in_the_middle_of_the_body(self) -> Generator[Any, Any, None]:
        def half(c, h, b) -> None:
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            c.end()

        error = yield self.assertFailure(self.get(self.serve(half)), ConnectionLost)
        self.assertIn("in the middle of", str(error))

    @inlineCallbacks
    def test_close_in_the_middle_of_chunks(self) -> Generator[Any, Any, None]:
        def half(c, h, b) -> None:
            c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            c.end()

        yield self.assertFailure(self.get(self.serve(half)), ConnectionLost)

    @inlineCallbacks
    def test_reset_of_a_body_without_length(self) -> Generator[Any, Any, None]:
        def half(c, h, b) -> None:
            c.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            reactor.callLater(0.02, c.reset)

        yield self.assertFailure(self.get(self.serve(half)), ConnectionLost)

    @inlineCallbacks
    def test_close_without_an_answer_on_a_new_connection(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.end())
        yield self.assertFailure(self.get(server), ConnectionLost)
        self.assertEqual(len(server.requests), 1)

    @inlineCallbacks
    def test_garbage(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.send(b"SSH-2.0-OpenSSH_9.2\r\n"))
        error = yield self.assertFailure(self.get(server), AnswerMalformed)
        self.assertIn(str(server.port), str(error))

    @inlineCallbacks
    def test_two_lengths(self) -> Generator[Any, Any, None]:
        text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"
        yield self.assertFailure(self.get(self.serve(lambda c, h, b: c.send(text))), AnswerMalformed)

    @inlineCallbacks
    def test_length_and_chunks(self) -> Generator[Any, Any, None]:
        text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        server = self.serve(lambda c, h, b: c.send(text))
        for _ in range(2):
            answer = yield self.get(server)
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
        self.assertEqual(len(server.connections), 2)

    @inlineCallbacks
    def test_an_empty_encoding_is_none(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b"good", headers="Content-Encoding:\r\n"))
        answer = yield self.get(server)
        self.assertEqual(answer.body, b"good")

    @inlineCallbacks
    def test_bytes_behind_the_answer_never_reach_the_next_request(self) -> Generator[Any, Any, None]:
        surplus = [b"HTTP/1.1 500 Evil\r\nContent-Length: 4\r\n\r\nevil", b"garbage", b"\0" * 10]

        def twice(c, h, b) -> None:
            if surplus:
                c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + surplus.pop())
            else:
                c.answer(b"good")

        server = self.serve(twice)
        for _ in range(4):
            answer = yield self.get(server)
            self.assertEqual((answer.status, answer.body), (200, b"good"))
        self.assertEqual(len(server.connections), 4)

    @inlineCallbacks
    def test_unasked_bytes_end_an_idle_connection(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer())
        yield self.get(server)
        end = server.next_end()
        server.connections[0].send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        yield end
        answer = yield self.get(server)
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(server.connections), 2)

    @inlineCallbacks
    def test_huge_headers(self) -> Generator[Any, Any, None]:
        yield self.assertFailure(
            self.get(self.serve(lambda c, h, b: c.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000))), AnswerMalformed
        )
        many = b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 50_000
        yield self.assertFailure(self.get(self.serve(lambda c, h, b: c.send(many))), AnswerMalformed)

    @inlineCallbacks
    def test_endless_trailers_and_chunk_extensions(self) -> Generator[Any, Any, None]:
        start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        for rest in (b"0\r\n" + b"X: y\r\n" * 100_000, b"5;" + b"x" * 600_000):
            server = self.serve(lambda c, h, b, rest=rest: c.send(start + rest))
            yield self.assertFailure(self.get(server), AnswerMalformed)

    @inlineCallbacks
    def test_a_body_that_is_announced_too_long(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"))
        yield self.assertFailure(self.get(server, max_body=1000), AnswerTooLarge)

    @inlineCallbacks
    def test_a_body_that_becomes_too_long(self) -> Generator[Any, Any, None]:
        chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        server = self.serve(
            lambda c, h, b: c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 1001)
        )
        yield self.assertFailure(self.get(server, max_body=1_000_000), AnswerTooLarge)

    @inlineCallbacks
    def test_both_ways_to_send_keep_the_transports_own_bound(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b"x" * 1001))
        transport = Transport(reactor, max_body=1000)
        self.addCleanup(transport.close)
        url = self.url(server)
        yield self.assertFailure(transport.fetch(b"GET", url, timeout=10.0), AnswerTooLarge)
        yield self.assertFailure(transport.request(b"GET", str(url).encode()), AnswerTooLarge)
        yield self.assertFailure(transport.agent(5.0).request(b"GET", str(url).encode()), AnswerTooLarge)
        answer = yield transport.fetch(b"GET", url, timeout=10.0, max_body=1001)
        self.assertEqual(len(answer.body), 1001)

    @inlineCallbacks
    def test_a_body_just_as_long_as_allowed(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b"x" * 1000))
        answer = yield self.get(server, max_body=1000)
        self.assertEqual(len(answer.body), 1000)

    @inlineCallbacks
    def test_an_encoded_body(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(zlib.compress(b"0" * 10**6), headers="Content-Encoding: gzip\r\n"))
        yield self.assertFailure(self.get(server), AnswerMalformed)

    @inlineCallbacks
    def test_a_change_of_protocol(self) -> Generator[Any, Any, None]:
        server = self.serve(
            lambda c, h, b: c.send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
            )
        )
        yield self.assertFailure(self.get(server), AnswerMalformed)


class KeptConnections(TransportCase):
    @inlineCallbacks
    def test_a_kept_connection_that_dies_under_the_request(self) -> Generator[Any, Any, None]:
        """The server ends the connection on its second request, as if its idle time had just run out."""
        server = self.serve(lambda c, h, b: c.answer(b) if c.requests == 1 else c.end())
        yield self.post(server, b"1")
        answer = yield self.post(server, b"2")
        self.assertEqual(answer.body, b"2")
        self.assertEqual([body for _, body in server.requests], [b"1", b"2", b"2"])

    @inlineCallbacks
    def test_once_only(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b) if c.number == 1 and c.requests == 1 else c.end())
        yield self.post(server, b"1")
        yield self.assertFailure(self.post(server, b"2"), ConnectionLost)
        self.assertEqual([body for _, body in server.requests], [b"1", b"2", b"2"])

    @inlineCallbacks
    def test_not_when_the_answer_had_begun(self) -> Generator[Any, Any, None]:
        def begin(c, h, b) -> None:
            if c.requests == 1:
                c.answer(b)
            else:
                c.send(b"HTTP/1.1 200")
                c.end()

        server = self.serve(begin)
        yield self.post(server, b"1")
        yield self.assertFailure(self.post(server, b"2"), ConnectionLost)
        self.assertEqual(len(server.requests), 2)

    @inlineCallbacks
    def test_after_a_restart_of_the_server(self) -> Generator[Any, Any, None]:
        """All kept connections are dead at once; each request finds a new one without trying them all."""
        server = self.serve(lambda c, h, b: c.answer(b))
        yield DeferredList([self.post(server, b"%d" % n) for n in range(10)])
        port = server.port
        yield server.listening.stopListening()
        for connection in server.connections:
            connection.transport.abortConnection()
        server.listen(port)
        answers = yield DeferredList([self.post(server, b"%d" % n) for n in range(10)], fireOnOneErrback=True)
        self.assertEqual([answer.body for _, answer in answers], [b"%d" % n for n in range(10)])

    @inlineCallbacks
    def test_idle_connections_are_closed_oldest_first(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(idle_timeout=0.2)
        server = self.serve(lambda c, h, b: c.answer(b))
        yield DeferredList([self.post(server) for _ in range(3)])
        self.assertEqual(len(server.connections), 3)
        while server.ended < 3:
            yield server.next_end()
        answer = yield self.post(server, b"again")
        self.assertEqual(answer.body, b"again")

    def test_idle_connections_end_before_the_networks_gateways_end_them(self) -> None:
        # ic-bn-lib: http1_header_read_timeout, 10 s; the sweep comes after a quarter of the time-out
        self.assertLess(IDLE_TIMEOUT * 1.25, 10.0)

    @inlineCallbacks
    def test_the_bound_of_connections(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(max_connections=4)
        held = []
        server = self.serve(lambda c, h, b: held.append((c, b)))
        requests = [self.post(server, b"%d" % n) for n in range(12)]
        order = []
        for d in requests:
            d.addCallback(lambda a: order.append(a.body))
        done = DeferredList(requests, fireOnOneErrback=True)
        for _ in range(12):
            while not held:
                yield deferLater(reactor, 0)
            c, b = held.pop(0)
            c.answer(b)
        yield done
        self.assertEqual(len(server.connections), 4)
        self.assertEqual([b for _, b in server.requests], [b"%d" % n for n in range(12)])

    @inlineCallbacks
    def test_the_bound_of_waiting_requests(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(max_connections=1, max_waiting=2)
        held = []
        server = self.serve(lambda c, h, b: held.append(c))
        first = self.post(server)
        while not held:
            yield deferLater(reactor, 0)
        second, third = self.post(server), self.post(server)
        yield self.assertFailure(self.post(server), ConnectFailed)
        for d in (first, second, third):
            d.cancel()
            yield self.assertFailure(d, CancelledError)


class HandTime(Clock):
    """Moves time by hand, but connects as the reactor does: however slow the machine is, no deadline comes early."""

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


class DeadlinesAndCancels(TransportCase):
    @inlineCallbacks
    def out_of_time(self, on_request) -> Generator[Any, Any, None]:
        clock = HandTime()
        arrived: Deferred[Any] = Deferred()
        yield self.transport.close()
        self.transport = Transport(clock)

        def answer(connection, head, body) -> None:
            on_request(connection)
            arrived.callback(None)

        server = self.serve(answer)
        end = server.next_end()
        request = self.get(server, timeout=5.0)
        yield arrived
        clock.advance(4.9)
        self.assertNoResult(request)
        clock.advance(0.2)
        self.failureResultOf(request, RequestTimeout)
        yield end

    def test_no_answer_in_time(self):
        return self.out_of_time(lambda connection: None)

    def test_half_an_answer_in_time(self):
        return self.out_of_time(lambda c: c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))

    @inlineCallbacks
    def test_the_deadline_counts_while_waiting(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(max_connections=1)
        held = []
        server = self.serve(lambda c, h, b: held.append(c))
        slow = self.get(server, timeout=10)
        yield self.assertFailure(self.get(server, timeout=0.1), RequestTimeout)
        held[0].answer(b"late")
        answer = yield slow
        self.assertEqual(answer.body, b"late")
        self.assertEqual(len(server.requests), 1)

    @inlineCallbacks
    def test_cancel_ends_the_connection(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b"ok") if b == b"ok" else None)
        d = self.post(server, b"never")
        while not server.requests:
            yield deferLater(reactor, 0)
        end = server.next_end()
        d.cancel()
        yield self.assertFailure(d, CancelledError)
        yield end
        answer = yield self.post(server, b"ok")
        self.assertEqual(answer.body, b"ok")

    @inlineCallbacks
    def test_cancel_before_the_connection_is_there(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b))
        d = self.post(server, b"never")
        d.cancel()
        yield self.assertFailure(d, CancelledError)
        answer = yield self.post(server, b"after")
        self.assertEqual(answer.body, b"after")
        self.assertEqual([b for _, b in server.requests], [b"after"])

    @inlineCallbacks
    def test_nobody_listens(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: None)
        yield server.listening.stopListening()
        error = yield self.assertFailure(self.get(server), ConnectFailed)
        self.assertIn("refused", str(error))

    @inlineCallbacks
    def test_close_fails_what_is_under_way(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: None)
        d = self.get(server)
        while not server.requests:
            yield deferLater(reactor, 0)
        connecting = self.get(server)
        one, two = self.transport.close(), self.transport.close()
        yield self.assertFailure(d, ConnectionLost)
        yield self.assertFailure(connecting, ConnectionLost)
        yield one
        yield two
        yield self.transport.close()
        yield self.assertFailure(self.get(server), ConnectFailed)


class Tls(TransportCase):
    authority: pem.Authority
    good: PrivateCertificate
    other: PrivateCertificate

    @classmethod
    def setUpClass(cls) -> None:
        cls.authority = pem.authority()
        cls.good, cls.other = (
            PrivateCertificate.loadPEM(made.certificate + made.key)
            for made in (pem.server(cls.authority, "localhost"), pem.server(cls.authority, "other.example"))
        )

    def make(self, **options) -> Transport:
        options.setdefault("extra_trust_roots", [Certificate.loadPEM(self.authority.pem)])
        return Transport(reactor, **options)

    def ask(self, server: RawServer, host: str = "localhost"):
        url = self.url(server, scheme="https", host=host)
        return self.transport.fetch(b"POST", url, b"secret", timeout=10)

    @inlineCallbacks
    def test_by_name_and_by_address(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, body: c.answer(body), self.good.options())
        for host in ("localhost", "127.0.0.1"):
            for _ in range(3):
                answer = yield self.ask(server, host)
                self.assertEqual(answer.body, b"secret")
        self.assertEqual(len(server.connections), 2)

    @inlineCallbacks
    def test_a_large_body(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, body: c.answer(body), self.good.options())
        url = self.url(server, scheme="https", host="localhost")
        answer = yield self.transport.fetch(b"POST", url, b"x" * 2_000_000, timeout=10)
        self.assertEqual(len(answer.body), 2_000_000)

    @inlineCallbacks
    def test_another_name(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, body: c.answer(body), self.other.options())
        yield self.assertFailure(self.ask(server), ConnectFailed)
        self.assertEqual(server.requests, [])

    @inlineCallbacks
    def test_an_unknown_authority(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(extra_trust_roots=())
        server = self.serve(lambda c, h, body: c.answer(body), self.good.options())
        error = yield self.assertFailure(self.ask(server), ConnectFailed)
        self.assertIn("certificate verify failed", str(error))
        self.assertEqual(server.requests, [])

    @inlineCallbacks
    def test_no_tls_there(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, body: None)
        d = self.ask(server)
        while not server.connections:
            yield deferLater(reactor, 0)
        server.connections[0].send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        yield self.assertFailure(d, ConnectFailed)

    @inlineCallbacks
    def test_a_kept_connection_that_dies(self) -> Generator[Any, Any, None]:
        server = self.serve(lambda c, h, b: c.answer(b) if c.requests == 1 else c.end(), self.good.options())
        yield self.ask(server)
        answer = yield self.ask(server)
        self.assertEqual(answer.body, b"secret")
        self.assertEqual(len(server.requests), 3)


class Echo(Resource):
    isLeaf = True

    def render_POST(self, request) -> bytes:
        request.setHeader(
            b"x-seen", b"; ".join(b"%b=%b" % (n, v[0]) for n, v in request.requestHeaders.getAllRawHeaders())
        )
        request.setResponseCode(int(request.args.get(b"status", [b"200"])[0]))
        return request.content.read()

    def render_GET(self, request) -> bytes | int:
        if request.path == b"/hang":
            return NOT_DONE_YET
        if request.path == b"/redirect":
            request.redirect(b"/target")
            return b""
        return b"got " + request.path


class WithTreq(TransportCase):
    """treq's client on top, and twisted.web's server below."""

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        super().setUp()
        site = Site(Echo())
        site.noisy = False
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.base = f"http://127.0.0.1:{self.port.getHost().port}"
        self.client = treq.client.HTTPClient(self.transport)  # type: ignore[arg-type]
        yield None

    def test_it_is_an_agent(self) -> None:
        verifyObject(IAgent, self.transport)
        verifyObject(IAgent, self.transport.agent(1.0))

    @inlineCallbacks
    def test_get_and_post(self) -> Generator[Any, Any, None]:
        response = yield self.client.get(self.base + "/path")
        text = yield response.text()
        self.assertEqual((response.code, text), (200, "got /path"))
        self.assertEqual(response.headers.getRawHeaders(b"content-length"), [b"9"])
        self.assertEqual(response.phrase, b"OK")
        self.assertEqual(response.request.method, b"GET")
        self.assertEqual(response.request.absoluteURI, self.base.encode() + b"/path")
        response = yield self.client.post(self.base + "/?status=418", data=b"body", headers={"X-Mine": "1"})  # type: ignore[arg-type]
        body = yield response.content()
        self.assertEqual((response.code, body, response.length), (418, b"body", 4))
        seen = response.headers.getRawHeaders("x-seen")[0]
        self.assertIn("X-Mine=1", seen)
        self.assertNotIn("Accept-Encoding", seen)

    @inlineCallbacks
    def test_the_response_is_one(self) -> Generator[Any, Any, None]:
        response = yield self.transport.request(b"GET", self.base.encode() + b"/x")
        verifyObject(IResponse, response)
        self.assertEqual(response.version, (b"HTTP", 1, 1))
        self.assertIsNone(response.previousResponse)

    @inlineCallbacks
    def test_json_and_buffered_content(self) -> Generator[Any, Any, None]:
        response = yield self.client.post(self.base, json={"a": [1, 2]})
        first = yield response.json()
        second = yield response.content()
        self.assertEqual((first, second), ({"a": [1, 2]}, b'{"a":[1,2]}'))

    @inlineCallbacks
    def test_redirects_are_treqs_business(self) -> Generator[Any, Any, None]:
        response = yield self.client.get(self.base + "/redirect", allow_redirects=False)
        self.assertEqual(response.code, 302)
        response = yield self.client.get(self.base + "/redirect")
        text = yield response.text()
        self.assertEqual(text, "got /target")
        self.assertEqual(len(response.history()), 1)

    @inlineCallbacks
    def test_an_empty_body(self) -> Generator[Any, Any, None]:
        response = yield self.client.post(self.base, data=b"")
        body = yield response.content()
        self.assertEqual(body, b"")

    @inlineCallbacks
    def test_treqs_time_out(self) -> Generator[Any, Any, None]:
        d = self.client.get(self.base + "/hang", timeout=0.1)
        yield self.assertFailure(d, CancelledError)

    @inlineCallbacks
    def test_our_time_out(self) -> Generator[Any, Any, None]:
        client = treq.client.HTTPClient(self.transport.agent(0.1))  # type: ignore[arg-type]
        yield self.assertFailure(client.get(self.base + "/hang"), RequestTimeout)

    @inlineCallbacks
    def test_our_bound(self) -> Generator[Any, Any, None]:
        client = treq.client.HTTPClient(self.transport.agent(5, 10), data_to_body_producer=BytesProducer)  # type: ignore[arg-type]
        yield self.assertFailure(client.post(self.base, data=b"x" * 11), AnswerTooLarge)

    @inlineCallbacks
    def test_a_file_as_body(self) -> Generator[Any, Any, None]:
        producer = FileBodyProducer(io.BytesIO(b"y" * 100_000))
        response = yield self.transport.request(
            b"POST", self.base.encode(), Headers({b"User-Agent": [b"me"]}), producer
        )
        self.assertEqual(response.length, 100_000)
        seen = response.headers.getRawHeaders(b"x-seen")[0]
        self.assertIn(b"User-Agent=me", seen)

    @inlineCallbacks
    def test_what_cannot_be_a_url(self) -> Generator[Any, Any, None]:
        for uri in (b"ftp://x/", b"http://a b/", b"/relative", b"http://x/\r\nX: y", b"http://u:p@x/", b"\xff"):
            yield self.assertFailure(self.transport.request(b"GET", uri), ValueError)


def test_idle_connections_are_swept_however_often_all_have_gone() -> None:
    clock, endpoint = Clock(), Endpoint()
    transport = Transport(clock, idle_timeout=4.0, endpoint_factory=lambda _: endpoint)
    for _ in range(3):
        answer = transport.fetch(b"GET", Url.parse("http://host/"), timeout=5.0)
        connection = endpoint.succeed()
        connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert answer.called
        clock.pump([1.0] * 6)
        assert connection.transport.disconnecting
        connection.connectionLost(Failure(ConnectionDone()))
        clock.pump([1.0] * 6)
        assert transport.connections == {}
    transport.close()
    assert clock.getDelayedCalls() == []
