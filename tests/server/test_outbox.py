from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.selectreactor import SelectReactor

from icwsgw.core.messages import frame as framed
from icwsgw.server.outbox import PIECE, Outbox
from tests.server.test_released import Front
from tests.support.ws_wire import read_frames


class Transport:
    """A transport that accepts data until its buffer is full, and then pauses the producer."""

    def __init__(self, room: int) -> None:
        self.written: list[bytes] = []
        self.room = room
        self.buffered = 0
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.buffered += len(data)
        if self.buffered > self.room:
            self.producer.pauseProducing()

    def drain(self) -> None:
        self.buffered = 0
        self.producer.resumeProducing()


class Backlog:
    def __init__(self, most: int = 1000) -> None:
        self.backlog: set[Outbox] = set()
        self.outbox_bytes = most
        self.backlog_bytes = 0
        self.most_backlog_bytes = 1 << 30
        self.now = 0.0
        self.held: list[Outbox] = []

    def seconds(self) -> float:
        return self.now

    def hold(self, outbox: Outbox) -> None:
        self.held.append(outbox)

    def end_of_turn(self) -> None:
        held, self.held = self.held, []
        for outbox in held:
            outbox.release()


def make(room: int = 10, most: int = 1000) -> tuple[Outbox, Transport, Backlog]:
    transport, backlog = Transport(room), Backlog(most)
    return Outbox(transport, backlog, None), transport, backlog


def test_bytes_go_straight_through_while_there_is_room() -> None:
    outbox, transport, backlog = make()
    outbox.send(b"12345")
    outbox.send(b"678")
    assert transport.written == [b"12345", b"678"]
    assert (outbox.size, backlog.backlog) == (0, set())


def test_what_does_not_fit_waits_and_is_measured() -> None:
    outbox, _, backlog = make()
    outbox.send(b"x" * 11)
    backlog.now = 5.0
    outbox.send(b"abc")
    backlog.now = 7.0
    outbox.send(b"defg")
    assert outbox.size == 7
    assert outbox.age(8.0) == 3.0
    assert backlog.backlog == {outbox}


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=12), st.none()), max_size=60))
def test_order_is_kept_between_what_waited_and_what_did_not(script: list[bytes | None]) -> None:
    outbox, transport, backlog = make(most=10_000)
    sent = b""
    for step in script:
        if step is None:
            transport.drain()
        else:
            outbox.send(step)
            sent += step
    while outbox.size:
        transport.drain()
    assert b"".join(transport.written) == sent
    assert backlog.backlog == set()
    assert outbox.age(1e9) == 0.0


def test_over_its_bound_it_takes_and_sends_no_more() -> None:
    outbox, transport, backlog = make(most=20)
    outbox.send(b"x" * 11)
    for _ in range(10):
        outbox.send(b"12345")
    assert outbox.full
    assert outbox.size == 25
    transport.drain()
    assert len(transport.written) == 1
    assert outbox in backlog.backlog


def test_a_piece_of_just_the_size_leaves_at_once_and_a_longer_one_in_pieces() -> None:
    for size, writes in ((PIECE, [PIECE]), (PIECE + 1, [PIECE, 1])):
        outbox, transport, _ = make(room=PIECE, most=10 * PIECE)
        outbox.send(b"x" * (PIECE + 1))
        transport.written.clear()
        outbox.send(b"y" * size)
        transport.drain()
        while outbox.size:
            transport.drain()
        assert [len(data) for data in transport.written] == writes


def test_flushing_hands_over_all_for_a_close_frame_to_follow() -> None:
    outbox, transport, backlog = make()
    outbox.send(b"x" * 11)
    outbox.send(b"abc")
    outbox.send(b"def")
    outbox.flush()
    assert transport.written[-1] == b"abcdef"
    assert (outbox.size, backlog.backlog) == (0, set())


def test_a_lost_connection_forgets_all() -> None:
    outbox, transport, backlog = make()
    outbox.send(b"x" * 11)
    outbox.send(b"abc")
    outbox.stopProducing()
    assert (outbox.size, backlog.backlog) == (0, set())
    assert len(transport.written) == 1


@pytest.mark.parametrize("ending", [Outbox.clear, Outbox.flush])
def test_a_close_frame_goes_behind_even_where_it_was_full(ending: Callable[[Outbox], None]) -> None:
    outbox, transport, backlog = make(most=20)
    outbox.send(b"x" * 11)
    for _ in range(10):
        outbox.send(b"12345")
    ending(outbox)
    outbox.send(b"close")
    transport.drain()
    waited = b"12345" * 5 if ending is Outbox.flush else b""
    if outbox.size:
        transport.drain()
    assert b"".join(transport.written) == b"x" * 11 + waited + b"close"
    assert (outbox.size, backlog.backlog) == (0, set())


@pytest.mark.parametrize("size", [100, 1000, 70_000, 3 * PIECE])
@pytest.mark.parametrize("ready", [True, False])
def test_the_rest_of_a_frame_that_has_begun_goes_before_the_close_frame(size: int, ready: bool) -> None:
    transport, backlog = Transport(room=1), Backlog(most=1 << 30)
    outbox = Outbox(transport, backlog, None)
    frames = [framed(bytes((number % 256,)) * size) for number in range(-(-5 * PIECE // size))]
    outbox.send(b"".join(frames))
    # one piece has left, another one when there is room
    transport.drain()
    backlog.outbox_bytes = 1
    outbox.send(framed(b"too much"))
    assert outbox.full
    if ready:
        transport.drain()
    outbox.clear()
    outbox.clear()
    outbox.send(b"\x88\x02\x10\x08")
    while outbox.size:
        transport.drain()
    sent = b"".join(transport.written)
    got = read_frames(sent)
    whole = -(-2 * PIECE // len(frames[0]))
    assert [framed(payload) for opcode, payload in got[:-1]] == frames[:whole]
    assert got[-1] == (8, b"\x10\x08")
    assert backlog.backlog_bytes == 0


def test_a_transport_that_is_gone_already_is_sent_nothing() -> None:
    class Gone(Transport):
        def registerProducer(self, producer: Any, streaming: bool) -> None:
            producer.stopProducing()

    transport, backlog = Gone(10), Backlog()
    outbox = Outbox(transport, backlog, None)
    outbox.send(b"late")
    assert transport.written == []
    outbox.stopProducing()
    assert backlog.backlog == set()


def test_what_a_deep_queue_brings_in_a_turn_leaves_together_and_in_order() -> None:
    outbox, transport, backlog = make(room=100)
    outbox.send(b"a")
    outbox.send(b"b", more=True)
    outbox.send(b"c", more=True)
    outbox.send(b"pong")
    assert transport.written == [b"a"]
    backlog.end_of_turn()
    outbox.send(b"d")
    assert transport.written == [b"a", b"bcpong", b"d"]
    assert (backlog.held, outbox.size) == ([], 0)


def test_no_more_is_held_than_is_handed_over_at_a_time() -> None:
    outbox, transport, backlog = make(room=10 * PIECE)
    half = PIECE // 2
    for letter in (b"a", b"b", b"c", b"d", b"e"):
        outbox.send(letter * half, more=True)
    assert [(data[:1], len(data)) for data in transport.written] == [(b"a", PIECE), (b"c", PIECE)]
    outbox.send(b"f" * (half + 1))
    backlog.end_of_turn()
    assert (
        b"".join(transport.written) == b"".join(letter * half for letter in (b"a", b"b", b"c", b"d", b"e", b"f")) + b"f"
    )
    assert (backlog.held, outbox.size) == ([], 0)


@pytest.mark.parametrize("ending", [Outbox.clear, Outbox.flush, Outbox.stopProducing])
def test_an_outbox_that_ends_while_it_holds_bytes(ending: Callable[[Outbox], None]) -> None:
    outbox, transport, backlog = make()
    outbox.send(b"held", more=True)
    ending(outbox)
    backlog.end_of_turn()
    assert transport.written == ([b"held"] if ending is Outbox.flush else [])


def test_a_client_that_is_behind_gets_what_was_held_in_its_turn() -> None:
    outbox, transport, backlog = make(room=3)
    outbox.send(b"held", more=True)
    backlog.end_of_turn()
    outbox.send(b"later", more=True)
    assert backlog.held == []
    assert outbox.size == 5
    transport.drain()
    assert transport.written == [b"held", b"later"]


_STEPS = st.one_of(st.integers(1, 40), st.sampled_from(["drain", "flush", "turn"]))


@given(st.lists(st.tuples(_STEPS, st.booleans()), max_size=80))
def test_never_more_than_the_bound_and_one_message_waits_and_what_left_is_a_beginning(
    script: list[tuple[Any, bool]],
) -> None:
    outbox, transport, backlog = make(room=30, most=100)
    sent = b""
    for step, more in script:
        if step == "drain":
            transport.drain()
        elif step == "turn":
            backlog.end_of_turn()
        elif step == "flush":
            outbox.flush()
            break
        else:
            data = bytes((len(sent) + n) % 251 for n in range(step))
            outbox.send(data, more)
            sent += data
        assert outbox.size <= 100 + 40
    assert sent.startswith(b"".join(transport.written))


@pytest.mark.parametrize("end", ["clear", "flush"])
def test_a_close_frame_leaves_although_the_transport_was_ready_before_the_excess_was_noticed(
    end: str,
) -> None:
    outbox, transport, _ = make(most=10)
    outbox.send(b"x" * 11)
    outbox.send(b"y" * 5)
    outbox.send(b"z" * 6)
    assert outbox.full
    # it does not ask again: it has reported that it is ready
    transport.drain()
    transport.room = 100
    getattr(outbox, end)()
    outbox.send(b"close frame")
    assert transport.written == [b"x" * 11, *([b"y" * 5 + b"z" * 6] if end == "flush" else []), b"close frame"]


def test_a_close_frame_waits_for_a_transport_that_is_full_again() -> None:
    outbox, transport, _ = make(most=12)
    outbox.send(b"x" * 11)
    outbox.send(b"y" * 13)
    transport.drain()
    outbox.flush()
    outbox.send(b"close frame")
    assert transport.written == [b"x" * 11, b"y" * 13]
    transport.drain()
    assert transport.written[2:] == [b"close frame"]


class Once(Transport):
    """A transport that, as Twisted's, resumes the producer only after it has paused it."""

    asked_to_wait = False

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.buffered += len(data)
        if self.buffered > self.room and not self.asked_to_wait:
            self.asked_to_wait = True
            self.producer.pauseProducing()

    def drain(self) -> None:
        self.buffered = 0
        if self.asked_to_wait:
            self.asked_to_wait = False
            self.producer.resumeProducing()


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from(["drain", "more", "turn"])), max_size=60),
    st.sampled_from(["clear", "flush"]),
    st.integers(0, 40),
)
def test_whatever_happens_a_close_frame_leaves_in_the_end_and_nothing_is_out_of_order(
    script: list[bytes | str], end: str, most: int
) -> None:
    transport, backlog = Once(10), Backlog(most)
    outbox = Outbox(transport, backlog, None)
    sent = b""
    for step in script:
        if step == "drain":
            transport.drain()
        elif step == "turn":
            backlog.end_of_turn()
        elif not outbox.full:
            data = step if isinstance(step, bytes) else b"with others"
            outbox.send(data, step == "more")
            sent += data
    getattr(outbox, end)()
    # a close frame is small, and the bound is not
    backlog.outbox_bytes = 1000
    outbox.send(b"the end")
    for _ in range(len(script) + 2):
        transport.drain()
    backlog.end_of_turn()
    written = b"".join(transport.written)
    assert written.endswith(b"the end")
    assert sent.startswith(written[:-7])
    assert end == "clear" or written[:-7] == sent
    assert not backlog.backlog


def test_all_together_are_bounded() -> None:
    backlog = Backlog(1 << 20)
    backlog.most_backlog_bytes = 300_000
    outboxes = [Outbox(transport, backlog, None) for transport in (Transport(0), Transport(0), Transport(0))]
    for outbox, size in zip(outboxes, (200_000, 60_000, 60_000), strict=True):
        outbox.pauseProducing()
        outbox.send(bytes(size))
    assert backlog.backlog_bytes == 320_000
    # too much in all: clients with little continue, those with more do not
    outboxes[1].send(bytes(100))
    assert not outboxes[1].full
    outboxes[0].send(b"x")
    assert outboxes[0].full
    outboxes[0].clear()
    assert backlog.backlog_bytes == 120_100
    outboxes[1].send(bytes(100_000))
    assert not outboxes[1].full
    outboxes[1].stopProducing()
    outboxes[2].flush()
    assert backlog.backlog_bytes == 0


BURST = 22 << 20
#: 20 Mbit/s.
BYTES_A_SECOND = 2_500_000


class Line(Transport):
    """A transport that sends at a fixed rate, and resumes the producer when its buffer is empty, as Twisted's does."""

    paused = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert len(data) <= PIECE
        self.written.append(data)
        self.buffered += len(data)
        if self.buffered > self.room and not self.paused:
            self.paused = True
            self.producer.pauseProducing()

    def leave(self, size: int) -> None:
        while size and self.buffered:
            leaving = min(size, self.buffered)
            self.buffered -= leaving
            size -= leaving
            if not self.buffered and self.paused:
                self.paused = False
                self.producer.resumeProducing()


@pytest.mark.parametrize("frame", [1000, 70_000, 4 << 20])
def test_a_client_that_reads_is_not_slow_however_long_a_burst_takes_it(frame: int) -> None:
    transport, backlog = Line(64 << 10), Backlog(32 << 20)
    outbox = Outbox(transport, backlog, None)
    frames = [bytes((number % 251,)) * frame for number in range(BURST // frame)]
    for data in frames:
        outbox.send(data)
    oldest = 0.0
    while outbox.size:
        backlog.now += 0.1
        transport.leave(BYTES_A_SECOND // 10)
        oldest = max(oldest, outbox.age(backlog.now))
    assert backlog.now > 8
    assert oldest < 0.3
    assert not outbox.full
    assert b"".join(transport.written) == b"".join(frames)
    assert (backlog.backlog_bytes, backlog.backlog) == (0, set())


def test_age_counts_from_when_nothing_has_left() -> None:
    transport, backlog = Line(64 << 10), Backlog(1 << 30)
    outbox = Outbox(transport, backlog, None)
    outbox.send(bytes(BURST))
    for _ in range(5):
        backlog.now += 10.0
        assert outbox.age(backlog.now) == 10.0
        # as long as it takes the client to read what the transport holds
        transport.leave(transport.buffered)
        assert outbox.age(backlog.now) == 0.0
    backlog.now += 25.0
    outbox.send(b"later")
    assert outbox.age(backlog.now) == 25.0
    # what comes after all has been read is as old as it is
    while outbox.size:
        transport.leave(1 << 20)
    backlog.now += 100.0
    outbox.send(bytes(1 << 20))
    assert outbox.age(backlog.now) == 0.0
    backlog.now += 3.0
    assert outbox.age(backlog.now) == 3.0


def test_a_burst_reaches_a_client_at_20_mbit_over_a_real_socket() -> None:
    """The gateway's clock is the test's: it advances by half a second for each half second's worth of bytes."""
    front = Front(SelectReactor(), None, False, outbox_age=2.0)
    client = front.open()
    (connection,) = front.factory.connections
    frames = [framed(bytes((number,)) * 220_000) for number in range(100)]
    connection.deliver(frames)
    assert connection.waiting_bytes > BURST // 2
    received, due = bytearray(), 0

    def goes_on() -> bool:
        nonlocal due
        if len(received) >= due:
            due = min(due + BYTES_A_SECOND // 2, sum(map(len, frames)))
            front.world.clock.advance(0.5)
        received.extend(front.read(client))
        return len(received) >= sum(map(len, frames))

    front.until(goes_on, "the whole burst")
    assert bytes(received) == b"".join(frames)
    assert front.world.clock.seconds() > 8
    assert connection.state == connection.STATE_OPEN
    assert front.factory.backlog_bytes == 0
    client.close()
    front.until(lambda: not front.factory.connections, "the end")
    front.stop()


def test_what_waits_may_have_waited_before() -> None:
    outbox, transport, backlog = make()
    assert outbox.since is None
    outbox.waits_since(1.0)
    backlog.now = 3.0
    outbox.send(b"x" * 20)
    outbox.send(b"y")
    assert (outbox.since, outbox.age(5.0)) == (3.0, 2.0)
    outbox.waits_since(1.0)
    assert (outbox.since, outbox.age(5.0)) == (1.0, 4.0)
    transport.drain()
    assert outbox.since is None
