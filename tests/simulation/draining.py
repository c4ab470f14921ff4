"""The end of a scenario by a drain: while quiet or under load, sometimes hurried, while other clients connect."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from icwsgw.core.drain_machine import HURRY_SECONDS
from icwsgw.ic.identity import Ed25519Identity
from tests.simulation.clients import SimClient
from tests.simulation.world import CANISTERS

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

#: ``--drain-window``, and of one that somebody hurries.
WINDOW, LONG_WINDOW = 2.0, 30.0
#: Canisters may take as long as the window to process the notices about their clients, and at least this.
PATIENCE = 5.0
#: A drain that is hurried ends all sessions within so many seconds.
AT_ONCE = 1.0
#: Numbers of clients that come during the drain, apart from those of steps.
LATE_CLIENTS = 1_000_000


def drain(scenario: Scenario) -> None:
    """Drain all processes; check that the drain ends in time and that each client gets its close frame."""
    world, oracle, ending = scenario.world, scenario.world.oracle, scenario.script.plan.ending
    random = Random(f"{world.seed} drain")
    hurried = ending.endswith("hurry")
    window = LONG_WINDOW if hurried else WINDOW
    latest = window + max(window, PATIENCE)
    oracle.note(f"drain over {window} s")
    started = world.clock.seconds()
    there = [client for client in world.clients if client.connected and client.living]
    drained = {process: process.gateway.drain(window) for process in world.processes}

    def done() -> bool:
        # one that has been killed drains nothing any more
        return all(ended.called or process.dead for process, ended in drained.items())

    if ending.startswith("busy"):
        for number in range(3):
            canister = CANISTERS[number % world.plan.canisters]
            process = random.choice(world.processes)
            identity = Ed25519Identity(random.randbytes(32))
            there.append(SimClient(world, LATE_CLIENTS + number, canister, identity, process=process))
            world.clients.append(there[-1])
            world.run(random.choice((0.0, 0.1, 1.0)))
        world.network, world.may_fail = random.choice(("up", world.network, "lost")), True
    if hurried:
        world.run(random.choice((0.0, 0.02, 0.5, 3.0)), done)
        oracle.note("hurry")
        for process in world.processes:
            process.gateway.skip_drain_window()
        latest = world.clock.seconds() - started + HURRY_SECONDS
        world.run(AT_ONCE, done)
        for client in there:
            if client.living and client.number < LATE_CLIENTS:
                oracle.fail(f"client {client.number} was not closed at once by the drain that was hurried")
    world.run(latest - (world.clock.seconds() - started) + 0.1, done)
    if not done():
        oracle.fail("the drain has no end")
    if world.clock.seconds() - started >= latest - 0.01:
        oracle.troubles["gave up"] += 1
    for client in there:
        if client.living:
            oracle.fail(f"client {client.number} was not closed by the drain")
    oracle.check()
