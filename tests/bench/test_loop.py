from __future__ import annotations

import socket
import time

from bench.loop import Delay, Loop, Stream


class Collector(Stream):
    __slots__ = ("data",)

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        super().__init__(loop, sock)
        self.data = b""

    def on_readable(self) -> None:
        data = self.sock.recv(1 << 16)
        if data:
            self.data += data
        else:
            self.lost()


def pair(loop: Loop) -> tuple[Collector, Collector]:
    streams = []
    for sock in socket.socketpair():
        sock.setblocking(False)
        streams.append(Collector(loop, sock))
        loop.add(sock.fileno(), streams[-1])
    return streams[0], streams[1]


def turn_until(loop: Loop, done: object) -> None:
    deadline = time.monotonic() + 30
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        loop.turn(1.0)


def test_timers_run_in_order_and_not_before_their_time() -> None:
    loop = Loop()
    ran: list[tuple[str, float]] = []
    now = time.monotonic()
    for name, delay in (("c", 0.03), ("a", 0.0), ("b", 0.0105)):
        loop.call_at(now + delay, lambda name=name: ran.append((name, time.monotonic())))
    loop.call_later(0.005, ran.append, ("never", 0.0)).cancel()
    turn_until(loop, lambda: len(ran) == 3)
    assert [name for name, _ in ran] == ["a", "b", "c"]
    assert all(at >= now + delay for (_, at), delay in zip(ran, (0.0, 0.0105, 0.03), strict=True))


def test_soon_is_after_what_is_readable() -> None:
    loop = Loop()
    ran: list[int] = []
    loop.call_soon(ran.append, 1)
    loop.turn()
    assert ran == [1]


def test_a_stream_loses_nothing_when_the_kernel_is_full() -> None:
    loop = Loop()
    here, there = pair(loop)
    there.read_on(False)
    big = bytes(range(256)) * 20_000
    here.send(big)
    here.send(b"end")
    loop.turn(0)
    assert there.data == b""
    there.read_on(True)
    turn_until(loop, lambda: len(there.data) == len(big) + 3)
    assert there.data == big + b"end"
    here.close()
    here.close()
    turn_until(loop, lambda: there.closed)
    there.send(b"nobody")


def test_run_ends_when_it_is_stopped() -> None:
    loop = Loop()
    loop.call_later(0.001, loop.stop)
    loop.run()


def test_a_delay_keeps_order() -> None:
    loop = Loop()
    ran: list[int] = []
    delay = Delay(loop, 0.005)
    started = time.monotonic()
    for number in range(5):
        delay.add(ran.append, number)
    delay.add(delay.add, ran.append, 5)
    assert ran == []
    turn_until(loop, lambda: len(ran) == 6)
    assert ran == list(range(6))
    assert time.monotonic() - started >= 0.01


def test_no_delay_is_at_once() -> None:
    ran: list[int] = []
    Delay(Loop(), 0.0).add(ran.append, 1)
    assert ran == [1]


def test_a_grain_lets_calls_come_together_and_none_early() -> None:
    loop = Loop(fine=False)
    ran: list[tuple[float, float]] = []
    delay = Delay(loop, 0.003, 0.02)

    def note(when: float) -> None:
        ran.append((when, time.monotonic()))

    for _ in range(40):
        delay.add(note, time.monotonic() + 0.003)
        loop.turn(0.001)
    turn_until(loop, lambda: len(ran) == 40)
    assert all(at >= when for when, at in ran)
    # each call is in the interval before the moment at which it may be made at the earliest
    assert all(at // 0.02 > when // 0.02 for when, at in ran)


def test_the_loop_measures_how_late_it_was() -> None:
    loop = Loop(fine=False)
    ran: list[int] = []
    loop.call_at(time.monotonic() - 5.0, ran.append, 1)
    loop.call_at(time.monotonic() - 9.0, ran.append, 2).cancel()
    turn_until(loop, lambda: ran)
    assert 5.0 <= loop.take_latest() < 9.0
    assert loop.take_latest() == 0.0
