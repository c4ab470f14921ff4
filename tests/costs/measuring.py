"""Counts all operations, and the bytes that a connection holds in each of its states."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from twisted.internet import tcp

from tests.costs.counting import Counted
from tests.costs.harness import Harness
from tests.costs.operations import CROWD, EXECUTED, HALF, OPERATIONS, TIMES
from tests.costs.table import Figures

#: How often an operation is done before it is counted, so that objects that are made only once exist.
_WARM = 3


def counted(name: str) -> Counted:
    """Count the calls of an operation, done :data:`TIMES` times."""
    options, operation = OPERATIONS[name]
    counted = Counted()
    with built(options) as harness:
        client = harness.client()
        client.open()
        harness.pass_first_minute()
        harness.rest()
        for _ in range(_WARM):
            operation(harness, client, nullcontext)
        for _ in range(TIMES):
            operation(harness, client, lambda: harness.meter.calls(counted))
    assert not counted.unknown, f"which of these are system calls? {counted.unknown}"
    return counted


def peaks(name: str) -> list[int]:
    """The memory peaks of an operation, done :data:`TIMES` times."""
    options, operation = OPERATIONS[name]
    found: list[int] = []
    # the 64 KiB that Twisted allocates for each read would hide everything else
    with patch.object(tcp.Connection, "bufferSize", 4096), built(options) as harness:
        meter = harness.meter

        @contextmanager
        def peak() -> Iterator[None]:
            meter.peak = 0
            yield
            found[-1] = max(found[-1], meter.peak)

        client = harness.client()
        client.open()
        harness.pass_first_minute()
        harness.rest()
        with meter.memory():
            for _ in range(_WARM):
                operation(harness, client, nullcontext)
            for _ in range(TIMES):
                found.append(0)
                operation(harness, client, peak)
    return found


def figures() -> Figures:
    """Count everything."""
    found: Figures = {}
    for name in OPERATIONS:
        calls = counted(name)
        found[name] = {
            "calls": sum(calls.functions.values()) / TIMES,
            "system": sum(calls.system_calls.values()) / TIMES,
            "bytes": round(sum(peaks(name)) / TIMES),
        }
    return {**found, **{state: {"bytes": size} for state, size in held().items()}}


def held() -> dict[str, int]:
    """Bytes that a connection holds, by state: the increase of the gateway's memory for each connection."""
    found: dict[str, int] = {}
    with built(EXECUTED) as harness:
        for _ in range(_WARM):
            harness.client().open()
            harness.rest()
        with harness.meter.memory():
            for state in states(harness):
                found[state] = round(harness.meter.held / CROWD)
    return found


def states(harness: Harness) -> Iterator[str]:
    """Bring all connections from one state to the next."""
    crowd = [harness.client() for _ in range(CROWD)]
    yield "that has connected and is silent"
    for client in crowd:
        client.do_handshake()
    yield "that has the handshake message, before ws_open"
    for client in crowd:
        client.send_ws_open()
    yield "that waits for the answer to ws_open"
    for _ in crowd:
        assert harness.network.answer() == "call"
        harness.turn()
    harness.poll()
    for client in crowd:
        client.read()
        assert client.opened
    _end_idle_connections(harness)
    yield "that is open and idle"
    for client in crowd:
        client.send_half(HALF)
    yield f"that is open, with half of a message of {HALF} bytes"
    for client in crowd:
        client.disconnect()
        assert harness.network.answer() == "call"
        harness.turn()
    _end_idle_connections(harness)
    yield "that has been closed"


def _end_idle_connections(harness: Harness) -> None:
    """Advance the time until the idle connections to the network have ended."""
    for _ in range(100):
        harness.poll()


@contextmanager
def built(options: dict[str, Any]) -> Iterator[Harness]:
    """Build a gateway, and close it afterwards; the garbage collector does not run in between."""
    gc.collect()
    gc.disable()
    harness = Harness(**options)
    try:
        yield harness
    finally:
        harness.close()
        gc.enable()
