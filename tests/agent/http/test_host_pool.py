"""The pool: who gets which connection, in what order, and what becomes of those who wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.error import ConnectionLost as Lost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from icwsgw.agent.http.connection import Exchange, ParsedResponse
from icwsgw.agent.http.deadlines import Deadlines
from icwsgw.agent.http.host_pool import HostPool, PoolCounts
from icwsgw.errors import ConnectFailed, ConnectionLost, RequestTimeout
from tests.agent.http.test_connection import Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Endpoint:
    """An endpoint whose attempts a test lets succeed or fail."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.up: list[Any] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        d: Deferred[Any] = Deferred()
        self.attempts.append((factory, d))
        return d

    def succeed(self) -> Any:
        factory, d = self.attempts.pop(0)
        connection = factory.buildProtocol(None)
        connection.makeConnection(Wire())
        self.up.append(connection)
        d.callback(connection)
        return connection

    def fail(self) -> None:
        self.attempts.pop(0)[1].errback(ConnectionRefusedError())


class Rig:
    def __init__(self, connections: int = 2, waiting: int = 3) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.deadlines = Deadlines(self.clock)
        self.charged = 0
        self.counts = PoolCounts(self.charge)
        self.pool = HostPool(
            self.clock, self.endpoint, "host:80", False, self.deadlines, connections, waiting, self.counts
        )
        self.ends: dict[bytes, Any] = {}

    def charge(self) -> None:
        self.charged += 1

    def ask(self, name: bytes, timeout: float = 10.0) -> Exchange:
        exchange = Exchange(self.pool, name, False, 100)
        deferred = exchange.deferred

        def ended(result: Any) -> None:
            self.ends[name] = result.value if isinstance(result, Failure) else result

        deferred.addBoth(ended)
        self.deadlines.add(exchange, timeout)
        self.pool.submit(exchange)
        return exchange


def test_one_connection_for_each_that_waits_up_to_the_bound() -> None:
    rig = Rig()
    for name in (b"a", b"b", b"c"):
        rig.ask(name)
    assert len(rig.endpoint.attempts) == 2
    first = rig.endpoint.succeed()
    assert first.transport.value() == b"a"
    first.dataReceived(OK)
    assert first.transport.value() == b"ab"
    second = rig.endpoint.succeed()
    assert second.transport.value() == b"c"
    assert rig.pool.established == 2


def test_the_last_used_is_used_first() -> None:
    rig = Rig()
    rig.ask(b"a")
    rig.ask(b"b")
    one, two = rig.endpoint.succeed(), rig.endpoint.succeed()
    two.dataReceived(OK)
    one.dataReceived(OK)
    rig.ask(b"c")
    assert one.transport.value() == b"ac"
    rig.clock.advance(70)
    rig.pool.sweep(10.0)
    assert two.transport.disconnecting
    assert not one.transport.disconnecting


def test_full() -> None:
    rig = Rig(connections=1, waiting=2)
    for name in (b"a", b"b", b"c"):
        rig.ask(name)
    assert isinstance(rig.ends[b"c"], ConnectFailed)
    rig.endpoint.succeed().dataReceived(OK)
    assert isinstance(rig.ends[b"a"], ParsedResponse)


def test_a_failed_attempt_fails_the_oldest() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    rig.ask(b"b")
    rig.endpoint.fail()
    assert isinstance(rig.ends[b"a"], ConnectFailed)
    assert b"b" not in rig.ends
    assert (rig.counts.opened, rig.counts.failed, rig.pool.connecting) == (0, 1, 1)
    rig.endpoint.succeed().dataReceived(OK)
    assert isinstance(rig.ends[b"b"], ParsedResponse)


def test_late_while_connecting_and_late_while_waiting() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a", 1.0)
    rig.clock.advance(1.1)
    assert isinstance(rig.ends[b"a"], ConnectFailed)
    assert rig.pool.waiting == 0
    connection = rig.endpoint.succeed()
    assert rig.pool.idle == 1
    rig.ask(b"b", 10.0)
    rig.ask(b"c", 1.0)
    rig.clock.advance(1.1)
    assert isinstance(rig.ends[b"c"], RequestTimeout)
    rig.clock.advance(10.0)
    assert isinstance(rig.ends[b"b"], RequestTimeout)
    assert connection.transport.aborted


def test_dead_idle_connections_are_not_tried_in_turn() -> None:
    rig = Rig(connections=3)
    rig.ask(b"a")
    rig.ask(b"b")
    one, two = rig.endpoint.succeed(), rig.endpoint.succeed()
    one.dataReceived(OK)
    two.dataReceived(OK)
    rig.ask(b"c")
    two.connectionLost(Failure(ConnectionDone()))
    assert one.transport.value() == b"a"
    assert len(rig.endpoint.attempts) == 1
    three = rig.endpoint.succeed()
    assert three.transport.value() == b"c"
    assert (rig.counts.opened, rig.counts.resent, rig.charged) == (3, 1, 1)
    three.connectionLost(Failure(ConnectionDone()))
    assert isinstance(rig.ends[b"c"], ConnectionLost)


def test_an_answer_to_what_was_sent_twice_says_so() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    one = rig.endpoint.succeed()
    one.dataReceived(OK)
    assert not rig.ends[b"a"].resent
    rig.ask(b"b")
    one.connectionLost(Failure(ConnectionDone()))
    rig.endpoint.succeed().dataReceived(OK)
    assert rig.ends[b"b"].resent


def test_what_was_sent_once_is_not_reported_as_without_a_connection() -> None:
    for attempt_fails in (True, False):
        rig = Rig()
        rig.ask(b"a")
        one = rig.endpoint.succeed()
        one.dataReceived(OK)
        rig.ask(b"b", 1.0)
        # it may have arrived before the connection ended
        one.connectionLost(Failure(ConnectionDone()))
        if attempt_fails:
            rig.endpoint.fail()
        else:
            rig.clock.advance(1.1)
        assert isinstance(rig.ends[b"b"], ConnectionLost if attempt_fails else RequestTimeout)


def test_no_second_attempt_for_one_cancelled() -> None:
    rig = Rig()
    rig.ask(b"a")
    one = rig.endpoint.succeed()
    one.dataReceived(OK)
    rig.ask(b"b").deferred.cancel()
    one.connectionLost(Failure(ConnectionDone()))
    assert rig.endpoint.attempts == []
    assert rig.pool.empty


def test_a_connection_that_does_not_close_is_aborted() -> None:
    rig = Rig()
    rig.ask(b"a")
    one = rig.endpoint.succeed()
    one.dataReceived(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert one.transport.disconnecting
    rig.clock.advance(100)
    rig.pool.sweep(50.0)
    assert one.transport.aborted


def test_close() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    rig.ask(b"b")
    connection = rig.endpoint.succeed()
    closed: list[None] = []
    rig.pool.close().addCallback(closed.append)
    assert isinstance(rig.ends[b"a"], ConnectionLost)
    assert isinstance(rig.ends[b"b"], ConnectionLost)
    assert closed == []
    connection.connectionLost(Failure(ConnectionDone()))
    assert closed == [None]
    assert len(rig.deadlines) == 0


def test_close_with_an_attempt_under_way() -> None:
    rig = Rig()
    rig.ask(b"a")
    closed: list[None] = []
    rig.pool.close().addCallback(closed.append)
    assert isinstance(rig.ends[b"a"], ConnectionLost)
    assert closed == [None]


def test_abort_after_close() -> None:
    """A TLS peer may never answer our close; then the end is forced."""
    rig = Rig()
    rig.ask(b"a")
    connection = rig.endpoint.succeed()
    connection.dataReceived(OK)
    rig.pool.close()
    assert connection.transport.disconnecting
    assert not connection.transport.aborted
    rig.pool.abort()
    assert connection.transport.aborted


def test_a_new_connection_goes_when_the_pool_has_closed() -> None:
    rig = Rig()
    rig.ask(b"a")
    factory, attempt = rig.endpoint.attempts[0]
    closed: list[None] = []
    rig.pool.close().addCallback(closed.append)
    assert attempt.called
    assert closed == [None]
    late = factory.buildProtocol(None)
    late.makeConnection(Wire())
    rig.pool.release(late)
    assert late.transport.disconnecting


def test_attempts_that_fail_at_once_fail_all_who_wait_however_many() -> None:
    rig = Rig(connections=1, waiting=5000)
    for number in range(3000):
        rig.ask(b"%d" % number)
    assert len(rig.endpoint.attempts) == 1
    failing = rig.endpoint.attempts[0][1]
    rig.endpoint.connect = lambda factory: fail(ConnectionRefusedError())
    failing.errback(ConnectionRefusedError())
    assert len(rig.ends) == 3000
    assert all(isinstance(end, ConnectFailed) for end in rig.ends.values())
    assert (rig.pool.connecting, rig.pool.waiting, rig.pool.empty) == (0, 0, True)
    assert rig.counts.failed == 3000


def used(rig: Rig, *names: bytes) -> list[Any]:
    """Connections that have answered one request each, one after the other."""
    for name in names:
        rig.ask(name)
    connections = [rig.endpoint.succeed() for _ in names]
    for connection in connections:
        rig.clock.advance(0.001)
        connection.dataReceived(OK)
    return connections


def test_a_death_without_a_word_ends_the_idle_ones_that_are_as_old() -> None:
    rig = Rig(connections=5)
    old, fresh, dead = used(rig, b"a", b"b", b"c")
    rig.ask(b"d")
    rig.clock.advance(1.0)
    rig.ask(b"e", 100.0)
    fresh.dataReceived(OK)
    rig.clock.advance(2.5)
    # the last one used takes the next request
    assert dead.transport.value() == b"cd"
    dead.connectionLost(Failure(Lost()))
    assert old.transport.aborted
    assert not fresh.transport.aborted
    rig.endpoint.succeed().dataReceived(OK)
    assert isinstance(rig.ends[b"d"], ParsedResponse)
    assert rig.counts.resent == 1


def test_an_orderly_end_says_nothing_of_the_others() -> None:
    rig = Rig(connections=3)
    other, ended = used(rig, b"a", b"b")
    rig.clock.advance(5.0)
    rig.ask(b"c")
    ended.connectionLost(Failure(ConnectionDone()))
    assert not other.transport.aborted


def test_two_requests_without_a_byte_move_the_others() -> None:
    """As behind a proxy that acknowledges for a peer that is gone."""
    rig = Rig(connections=9, waiting=9)
    used(rig, b"a", b"b", b"c", b"d")
    for name, timeout in ((b"poll 1", 5.0), (b"poll 2", 5.0), (b"call", 30.0)):
        rig.clock.advance(0.01)
        rig.ask(name, timeout)
    rig.clock.advance(5.2)
    assert isinstance(rig.ends[b"poll 1"], RequestTimeout)
    assert isinstance(rig.ends[b"poll 2"], RequestTimeout)
    assert all(connection.transport.aborted for connection in rig.endpoint.up)
    assert b"call" not in rig.ends
    again = rig.endpoint.succeed()
    assert again.transport.value() == b"call"
    again.dataReceived(OK)
    assert isinstance(rig.ends[b"call"], ParsedResponse)


def test_what_has_begun_to_answer_and_what_is_new_is_not_moved() -> None:
    rig = Rig(connections=9, waiting=9)
    used(rig, b"a", b"b", b"c", b"d")
    rig.ask(b"slow", 30.0)
    slow = rig.endpoint.up[3]
    slow.dataReceived(b"HTTP/1.1 200 OK\r\n")
    for name, timeout in ((b"poll 1", 5.0), (b"poll 2", 5.0), (b"call", 30.0), (b"new", 30.0)):
        rig.clock.advance(0.01)
        rig.ask(name, timeout)
    new = rig.endpoint.succeed()
    rig.clock.advance(5.2)
    assert isinstance(rig.ends[b"poll 2"], RequestTimeout)
    assert [connection for connection in rig.endpoint.up if not connection.transport.aborted] == [slow, new]
    slow.dataReceived(b"Content-Length: 2\r\n\r\nok")
    new.dataReceived(OK)
    assert isinstance(rig.ends[b"slow"], ParsedResponse)
    assert isinstance(rig.ends[b"new"], ParsedResponse)


def test_one_request_without_a_byte_moves_nothing() -> None:
    rig = Rig(connections=9, waiting=9)
    used(rig, b"a", b"b", b"c")
    rig.ask(b"poll", 1.0)
    rig.ask(b"call", 30.0)
    rig.clock.advance(1.1)
    assert isinstance(rig.ends[b"poll"], RequestTimeout)
    assert sum(connection.transport.aborted for connection in rig.endpoint.up) == 1
    assert (rig.pool.idle, b"call" in rig.ends) == (1, False)


def test_requests_without_a_byte_move_nothing_while_others_are_answered() -> None:
    rig = Rig(connections=9, waiting=9)
    used(rig, b"a", b"b", b"c", b"d")
    rig.ask(b"answered")
    answered = rig.endpoint.up[3]
    assert answered.transport.value() == b"danswered"
    for name, timeout in ((b"poll 1", 1.0), (b"poll 2", 1.0), (b"call", 30.0)):
        rig.ask(name, timeout)
    rig.clock.advance(0.5)
    answered.dataReceived(OK)
    rig.clock.advance(0.6)
    assert isinstance(rig.ends[b"poll 1"], RequestTimeout)
    assert isinstance(rig.ends[b"poll 2"], RequestTimeout)
    assert sum(connection.transport.aborted for connection in rig.endpoint.up) == 2
    assert (rig.pool.idle, b"call" in rig.ends) == (1, False)


def test_answers_count_while_requests_wait_for_the_connection_and_when_it_closes() -> None:
    for answer in (OK, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")):
        rig = Rig(connections=4, waiting=9)
        used(rig, b"a", b"b", b"c", b"d")
        for name, timeout in ((b"answered", 9.0), (b"poll 1", 1.0), (b"poll 2", 1.0), (b"call", 9.0), (b"waits", 9.0)):
            rig.ask(name, timeout)
        rig.clock.advance(0.5)
        rig.endpoint.up[3].dataReceived(answer)
        rig.clock.advance(0.6)
        assert isinstance(rig.ends[b"poll 1"], RequestTimeout)
        assert isinstance(rig.ends[b"poll 2"], RequestTimeout)
        assert sum(connection.transport.aborted for connection in rig.endpoint.up) == 2
        assert rig.counts.resent == 0


def test_a_new_connection_is_no_answer() -> None:
    """As a proxy makes one for a peer that is gone."""
    rig = Rig(connections=9, waiting=9)
    used(rig, b"a", b"b", b"c")
    for name, timeout in ((b"poll 1", 5.0), (b"poll 2", 5.0), (b"call", 30.0), (b"given up", 1.0)):
        rig.clock.advance(0.01)
        rig.ask(name, timeout)
    rig.clock.advance(1.2)
    rig.endpoint.succeed()
    rig.clock.advance(4.0)
    assert isinstance(rig.ends[b"poll 2"], RequestTimeout)
    assert rig.counts.resent == 1


def test_one_that_is_cancelled_while_it_waits_never_leaves() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    rig.ask(b"b").deferred.cancel()
    rig.ask(b"c")
    assert rig.pool.waiting == 2
    connection = rig.endpoint.succeed()
    connection.dataReceived(OK)
    assert connection.transport.value() == b"ac"


def test_one_that_is_sent_again_goes_before_all_that_wait() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    connection = rig.endpoint.succeed()
    connection.dataReceived(OK)
    for name in (b"b", b"c", b"d"):
        rig.ask(name)
    connection.connectionLost(Failure(ConnectionDone()))
    assert rig.endpoint.succeed().transport.value() == b"b"


def test_a_connection_that_ends_makes_room_for_those_that_wait() -> None:
    rig = Rig(connections=1)
    rig.ask(b"a")
    rig.ask(b"b")
    connection = rig.endpoint.succeed()
    connection.dataReceived(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert rig.endpoint.attempts == []
    connection.connectionLost(Failure(ConnectionDone()))
    assert rig.endpoint.succeed().transport.value() == b"b"
