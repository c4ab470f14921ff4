"""Timers of canisters in Python: once, again and again, traps, upgrades."""

from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.devnet.canisters import ECHO_ID, app_text
from icwsgw.devnet.python_canisters import PythonCanister
from icwsgw.errors import FormatError
from tests.support.devnet import Net, identity

ALICE = identity(1)
TICKING = b"""
from icwsgw.devnet.canisters import Canister, app_message
from icwsgw.ic.principal import Principal

class Ticking(Canister):
    def __init__(self, ws):
        super().__init__(ws)
        self.count = 0
        self.every = self.set_timer_interval(2, self.tick)
        self.set_timer(1, self.fail)
        self.set_timer(7, lambda: self.clear_timer(self.every))

    def tick(self):
        self.count += 1
        for client in self.ws.clients:
            self.ws.send(Principal(client.principal), app_message(f"tick {self.count}"))

    def fail(self):
        for client in self.ws.clients:
            self.ws.send(Principal(client.principal), app_message("undone"))
        raise ValueError("as asked")
"""


def net_with(source: bytes) -> Net:
    net = Net()
    net.replica.install(ECHO_ID, PythonCanister("own", source, Path("/c/own.py")))
    return net


def texts(net: Net) -> list[str]:
    return [app_text(message) for message in net.received() if isinstance(message, bytes)]


def logged(net: Net) -> list[str]:
    return [record.content.decode() for record in net.replica.canisters.logs.of(ECHO_ID)]


def test_once_and_again_and_again_until_cleared() -> None:
    net = net_with(TICKING)
    net.open(ALICE)
    net.advance(20, step=1)
    assert texts(net) == ["tick 1", "tick 2", "tick 3"]


def test_timers_of_a_stopped_canister_wait() -> None:
    net = net_with(TICKING)
    net.open(ALICE)
    net.advance(3, step=1)
    net.replica.stop(ECHO_ID)
    # The interval is due at 4 s, and what clears it at 7 s.
    net.advance(3, step=1)
    net.replica.start(ECHO_ID)
    assert texts(net) == ["tick 1"]
    net.advance(0)
    assert texts(net) == ["tick 1", "tick 2"]
    net.advance(20, step=1)
    assert texts(net) == ["tick 1", "tick 2"]
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_an_exception_is_a_trap_that_undoes_its_messages() -> None:
    net = net_with(TICKING)
    net.open(ALICE)
    net.advance(1)
    assert texts(net) == []
    assert logged(net)[-1] == "a timer trapped: ValueError: as asked"
    assert "/c/own.py" in logged(net)[-2]


def test_an_upgrade_ends_them() -> None:
    net = net_with(TICKING)
    net.advance(1.5)
    net.replica.reset(ECHO_ID)
    net.open(ALICE)
    net.advance(1)
    assert texts(net) == []
    net.advance(1)
    assert texts(net) == ["tick 1"]
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_a_canister_that_cannot_be_made_leaves_none() -> None:
    source = TICKING.replace(b"        self.count = 0\n", b"").replace(b"7, lambda:", b"-7, lambda:")
    net = Net()
    before = len(net.clock.getDelayedCalls())
    with pytest.raises(FormatError, match="a delay is at least 0 seconds"):
        net.replica.install(ECHO_ID, PythonCanister("own", source, Path("/c/own.py")))
    assert len(net.clock.getDelayedCalls()) == before


def test_numbers_that_make_no_sense() -> None:
    timers = Net().replica.host(ECHO_ID).ws.timers
    with pytest.raises(ValueError, match="an interval is more than 0"):
        timers.set_timer_interval(0, print)
    timers.clear_timer(99)
