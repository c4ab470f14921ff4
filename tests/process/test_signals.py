"""The effects of signals; tests with real processes are in tests/acceptance/test_signals.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from icwsgw.process.signals import STOP, UNUSED, HeldSignals, ignore_unused, name_of, when_signalled

KNOWN = (*STOP, signal.SIGHUP, signal.SIGUSR1, *UNUSED)


class Reactor:
    """The part of a reactor that signal handlers use."""

    def __init__(self) -> None:
        self.starting: list[Callable[[], object]] = []
        self.calls: list[Callable[[], object]] = []

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self.starting.append(call)

    def callFromThread(self, call: Callable[[], object]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        for call in self.starting:
            call()

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_what_arrives_before_the_reactor_runs_is_done_once_it_does(held_signals: HeldSignals) -> None:
    held_signals.hold()
    for number in KNOWN:
        send(number)
    done: list[Any] = []
    reactor = Reactor()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        when_signalled(reactor, number, lambda number=number: done.append(number))
    ignore_unused(reactor, done.append)
    assert done == []
    reactor.run()
    assert done[:4] == [signal.SIGHUP, signal.SIGUSR1, "SIGUSR2", "SIGALRM"]
    assert len(done) == 2 + len(UNUSED)
    assert reactor.calls == []
    # and what arrives later
    send(signal.SIGUSR1)
    send(signal.SIGHUP)
    reactor.turn()
    assert done[2 + len(UNUSED) :] == [signal.SIGUSR1, signal.SIGHUP]


def test_those_that_do_not_ask_for_the_end_can_be_held_first(held_signals: HeldSignals) -> None:
    ended: list[int] = []
    for stop in STOP:
        signal.signal(stop, lambda number, frame: ended.append(number))
    held_signals.hold_unless_they_stop()
    for number in KNOWN:
        send(number)
    assert ended == list(STOP)
    assert not held_signals.stopping
    # what was held stays so, and is restored to what it was at first
    held_signals.hold()
    assert held_signals.take(signal.SIGHUP)
    held_signals.release()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.parametrize("number", STOP)
def test_one_that_asks_for_the_end_is_known_at_once(held_signals: HeldSignals, number: int) -> None:
    held_signals.hold()
    assert not held_signals.stopping
    send(signal.SIGHUP)
    assert not held_signals.stopping
    send(number)
    assert held_signals.stopping


def test_a_command_that_only_prints_lets_go_of_them(held_signals: HeldSignals) -> None:
    seen: list[int] = []
    for number in KNOWN:
        signal.signal(number, lambda number, frame: seen.append(number))
    held_signals.hold()
    send(signal.SIGTERM)
    send(signal.SIGHUP)
    assert seen == []
    held_signals.release()
    assert seen == [signal.SIGTERM], "the end that it would have been"
    send(signal.SIGUSR2)
    assert seen[1:] == [signal.SIGUSR2]
    held_signals.release()
    assert len(seen) == 2


def test_a_signal_without_a_meaning_is_logged_once(held_signals: HeldSignals) -> None:
    reactor = Reactor()
    events: list[str] = []
    ignore_unused(reactor, events.append)
    reactor.run()
    for _ in range(3):
        for number in UNUSED:
            send(number)
        reactor.turn()
    assert len(events) == len(set(events)) == len(UNUSED)


def test_names() -> None:
    numbers = [signal.SIGUSR2, signal.SIGRTMIN, signal.SIGRTMIN + 3, signal.SIGRTMAX]
    assert [name_of(number) for number in numbers] == ["SIGUSR2", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX"]


def test_none_of_those_without_a_meaning_is_one_that_debuggers_and_python_need() -> None:
    needed = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGQUIT, signal.SIGABRT, signal.SIGTRAP, signal.SIGKILL}
    assert not needed & set(UNUSED)
