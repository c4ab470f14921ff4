"""When malloc_trim is called; tests/acceptance/test_memory.py measures its effect."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from icwsgw.process.heap_trim import TRIM_SECONDS, find_malloc_trim, trim_heap


class Reactor(Clock):
    """A clock that does not run before the test starts it."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[Callable[[], object]] = []

    def callWhenRunning(self, call: Callable[..., object], *args: object, **keywords: object) -> None:
        self.running.append(lambda: call(*args, **keywords))

    def run(self) -> None:
        for call in self.running:
            call()


def trims(environment: dict[str, str], found: bool = True) -> list[int]:
    """What malloc_trim is called with in three periods."""
    reactor, calls = Reactor(), list[int]()

    def trim(pad: int) -> int:
        calls.append(pad)
        return 1

    trim_heap(reactor, environment, lambda: trim if found else None)
    reactor.advance(TRIM_SECONDS)
    assert calls == [], "not before the reactor runs"
    reactor.run()
    reactor.pump([TRIM_SECONDS] * 3)
    return calls


@pytest.mark.parametrize("environment", [{}, {"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}])
def test_the_heap_is_trimmed_once_in_a_period(environment: dict[str, str]) -> None:
    assert trims(environment) == [0, 0, 0]


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_TRIM_THRESHOLD_": "1000000"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=1000000"},
    ],
)
def test_the_operators_trim_threshold_is_left_alone(environment: dict[str, str]) -> None:
    assert trims(environment) == []


def test_without_glibc_nothing_is_done() -> None:
    assert trims({}, found=False) == []


def test_malloc_trim_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    trim = find_malloc_trim()
    if platform.libc_ver()[0] == "glibc":
        assert trim is not None
        assert trim(0) in (0, 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert find_malloc_trim() is None, "a C library without it"


@pytest.mark.parametrize("error", [OSError("no library"), TypeError("a name is needed")])
def test_a_system_without_a_c_library_to_ask_has_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(name: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert find_malloc_trim() is None
