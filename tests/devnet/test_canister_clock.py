"""The canisters' clock: as the network's until it is moved, timers in their order, certificates untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from icwsgw.devnet import canister_clock
from icwsgw.devnet.canister_clock import CanisterClock
from icwsgw.devnet.canisters import ECHO_ID
from tests.devnet.wasm.support import module
from tests.support.devnet import START_NS, Net, identity

ALICE = identity(1)


class World:
    def __init__(self) -> None:
        self.below = Clock()
        self.clock = CanisterClock(self.below, lambda: START_NS + round(self.below.seconds() * 1e9))
        self.log: list[tuple[str, float]] = []

    def note(self, what: str, then: Callable[[], object] = lambda: None) -> Callable[[], None]:
        def act() -> None:
            self.log.append((what, self.clock.seconds()))
            then()

        return act


def test_time_passes_as_below_and_ahead_of_it() -> None:
    world = World()
    world.clock.callLater(5, world.note("five"))
    world.below.advance(4)
    world.clock.advance(0.5)
    assert (world.clock.seconds(), world.clock.now_ns()) == (4.5, START_NS + 4_500_000_000)
    assert world.log == []
    world.below.advance(0.5)
    assert world.log == [("five", 5.0)]
    world.below.advance(1)
    assert (world.clock.seconds(), world.clock.offset) == (6.0, 0.5)


def test_timers_that_become_due_run_in_order_at_their_own_times() -> None:
    world = World()
    world.clock.callLater(3, world.note("three"))
    world.clock.callLater(1, world.note("one", lambda: world.clock.callLater(1, world.note("two"))))
    world.clock.callLater(10, world.note("ten"))
    world.clock.advance(9.5)
    assert world.log == [("one", 1.0), ("two", 2.0), ("three", 3.0)]
    assert world.clock.seconds() == 9.5
    world.below.advance(0.5)
    assert world.log[3:] == [("ten", 10.0)]
    assert world.below.getDelayedCalls() == []


def test_timers_are_cancelled_and_moved() -> None:
    world = World()
    gone = world.clock.callLater(1, world.note("gone"))
    moved = world.clock.callLater(1, world.note("moved"))
    gone.cancel()
    moved.reset(3)
    assert (gone.active(), moved.active(), moved.getTime()) == (False, True, 3.0)
    world.clock.advance(2)
    assert world.log == []
    world.below.advance(1)
    assert world.log == [("moved", 3.0)]
    assert not moved.active()


def test_a_timer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canister_clock, "MAX_FIRED", 10)
    world = World()

    def again() -> None:
        world.clock.callLater(0, world.note("again", again))

    again()
    with pytest.raises(ValueError, match="more than 10 timers"):
        world.clock.advance(1)
    assert len(world.log) == 10


def test_rounds_and_keep_alives_by_the_moved_clock_with_certificates_of_now() -> None:
    """Clients verify with their own clocks, which nobody moves."""
    net = Net()
    net.open(ALICE)
    net.replica.canister_clock.advance(300)
    batch = net.poll()
    assert len(batch.messages) == 2
    assert net.verified(batch.cert).time_ns == net.now_ns()
    net.replica.canister_clock.advance(60)
    assert net.replica.host(ECHO_ID).ws.clients == [], "without an answer to the acknowledgement"


def test_timers_of_canisters_in_webassembly_see_their_times() -> None:
    net = Net()
    code = """
      (data (i32.const 0) "rang")
      (func (export "canister_init")
        (drop (call $global_timer_set (i64.add (call $time) (i64.const 5000000000)))))
      (func (export "canister_global_timer") (call $debug_print (i32.const 0) (i32.const 4)))
    """
    net.replica.canisters.install_wasm(ECHO_ID, module(code))
    net.replica.canister_clock.advance(4)
    assert list(net.replica.canisters.logs.of(ECHO_ID)) == []
    net.replica.canister_clock.advance(2)
    (record,) = net.replica.canisters.logs.of(ECHO_ID)
    assert (record.content, record.time_ns) == (b"rang", START_NS + 5_000_000_000)
