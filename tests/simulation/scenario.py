"""Runs one scenario: the steps of its script, a quiet phase, the end; checks the invariants all the time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Collection
from typing import Any

from icwsgw.core.close_notice import OBSOLETE_SECONDS
from icwsgw.devnet.faults import InjectedFault
from tests.simulation.accounts import Accounts, Deadlines
from tests.simulation.bystander import Bystander
from tests.simulation.client_steps import ClientSteps
from tests.simulation.clients import SimClient
from tests.simulation.clocks import Clocks
from tests.simulation.combined_steps import CombinedFaults, CombinedSteps
from tests.simulation.contention import Contention, ContentionWithFaults
from tests.simulation.draining import drain
from tests.simulation.estimates import Estimates
from tests.simulation.faults import NetworkFaults, OtherFaults
from tests.simulation.fleet import Fleet
from tests.simulation.handover_links import handed_in_memory
from tests.simulation.handovers import LASTS, Handovers
from tests.simulation.keys import Keys
from tests.simulation.malicious_nodes import MaliciousNodes
from tests.simulation.operations import Operations
from tests.simulation.oracle import Violation, _show
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance, Script, Step, draw_script, with_rare, with_single
from tests.simulation.slow_readers import SlowReaders
from tests.simulation.subject import Subject
from tests.simulation.unauthenticated import UnauthenticatedConnections
from tests.simulation.waiting import Progress, Turns
from tests.simulation.world import SimWorld, simulated

#: Virtual seconds within which all operations end after the faults: time limits of opening, of hanging calls, of slow
#: readers; retries after their longest pause. The time of calls that wait for one another is added.
QUIET_SECONDS = 90.0
#: ws_close is tried for two minutes. The time of a crowd's notices that wait for one another is added.
CLOSE_NOTICE_SECONDS = 140.0
#: Longer than any call takes.
SLOWEST = 30.0

#: The number of clients that connect before all leave while ws_close cannot be sent, and for how many seconds.
MANY, MANY_LEAVE = 50, 400.0
#: Numbers of clients that connect when all others have left.
COME_AGAIN = 3_000_000

#: All subjects; each says in which worlds it takes part.
SUBJECTS: tuple[type[Subject], ...] = (
    ClientSteps,
    UnauthenticatedConnections,
    Bystander,
    NetworkFaults,
    Accounts,
    Deadlines,
    Estimates,
    Clocks,
    Operations,
    OtherFaults,
    CombinedSteps,
    CombinedFaults,
    Contention,
    ContentionWithFaults,
    MaliciousNodes,
    Fleet,
    Handovers,
    SlowReaders,
    Keys,
    Progress,
    Turns,
)


def draw(seed: int, count: int) -> Script:
    """Draw a scenario with this many steps."""
    plan = Plan.draw(seed)
    subjects = [subject for subject in SUBJECTS if subject.applies_to(plan)]
    others = sum(sum(subject.steps.values()) for subject in subjects if subject is not ClientSteps)
    # half of the steps are those of clients, whatever the world's other subjects
    more = max(1.0, others / sum(ClientSteps.steps.values()))
    weights = {
        f"{subject.name}.{name}": weight * (more if subject is ClientSteps else 1.0)
        for subject in subjects
        for name, weight in subject.steps.items()
    }
    rare = {f"{each.name}.{name}": weight for each in subjects for name, weight in each.rare(plan).items() if weight}
    single = {f"{each.name}.{name}": share for each in subjects for name, share in each.single(plan).items() if share}
    return with_single(with_rare(draw_script(seed, count, weights, plan), rare), single)


class Scenario:
    """Runs the steps of a script.

    :ivar done: a description of what each step did, by its number, if it did anything
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.world = SimWorld(script.seed, script.plan)
        self.subjects = {subject.name: subject(self) for subject in SUBJECTS if subject.applies_to(script.plan)}
        self.done: dict[int, str] = {}

    def run(self) -> None:
        """:raises Violation: a promise was broken."""
        world = self.world
        world.run(0.1)
        for step in self.script.steps:
            self._take(step)
            if world.gateway.draining:
                break
        if not self.script.plan.ending.startswith("busy"):
            self._rest()
        if self.script.plan.away:
            self._come_again()
        self.end()

    def _rest(self) -> None:
        world = self.world
        self.heal()
        self.wait_until_quiet("after the faults")
        world.oracle.patient = False
        self._talk_all()
        self.wait_until_quiet("with one message each")
        if self.script.plan.idle and any(client.usable for client in world.clients):
            # longer than a proxy keeps idle connections, a key is used, or a signature is valid
            world.oracle.note(f"nothing happens for {self.script.plan.idle:.0f} s")
            world.run(self.script.plan.idle)
            self.wait_until_quiet("after a rest")
            self._talk_all()
            self.wait_until_quiet("with one message more")

    def _talk_all(self) -> None:
        for client in self.world.clients:
            if client.connected and client.opened and not client.provoked:
                client.talk(1, "e", client.random)

    def _come_again(self) -> None:
        """All clients leave; later others connect, and the gateway must have kept nothing of the first ones."""
        world, plan = self.world, self.script.plan
        chance = Chance(f"{self.script.seed} away")
        chance.number = COME_AGAIN
        world.oracle.note(f"nobody is there for {plan.away:.0f} s")
        for client in world.clients:
            client.leave()
        self._run_until_empty(world.processes)
        world.run(plan.away)
        conduct = self.subjects["client"]
        assert isinstance(conduct, ClientSteps)
        if not plan.calm and chance.random() < 0.5:
            conduct.reset_while_away(chance)
        there = len(world.clients)
        for number in range(chance.choice((1, 3, 6))):
            chance.number = COME_AGAIN + number
            conduct.connect(chance)
            world.run(chance.choice((0.0, 0.0, 0.3)))
        self.wait_until_quiet("when they have come again")
        for client in world.clients[there:]:
            if client.usable and client.opened and not client.unlucky:
                client.talk(chance.choice((1, 5)), chance.choice("eeb"), chance)
        self.wait_until_quiet("when they have come again and sent something")

    def _take(self, step: Step) -> None:
        world = self.world
        subject, _, name = step.kind.partition(".")
        done = getattr(self.subjects[subject], name)(Chance.of(step)) if subject in self.subjects else None
        if done:
            self.done[step.number] = done
            world.oracle.note(done)
        world.run(step.pause)
        for each in self.subjects.values():
            each.after_step()
        world.oracle.check()

    # the end of the scenario

    def heal(self) -> None:
        """End all faults."""
        self.world.oracle.note("all faults end")
        for subject in self.subjects.values():
            subject.heal()

    def wait_until_quiet(self, when: str) -> None:
        """Run until the world is quiet."""
        world = self.world
        recovery = sum(subject.recovery_seconds() for subject in self.subjects.values())
        if not world.run(QUIET_SECONDS + self._seconds_of_calls() + recovery, self._quiet):
            for client in world.clients:
                if not client.quiet:
                    text = f"client {client.number} {_show(client.key)} is stuck {when}: {self._state(client)}"
                    world.oracle.fail(text)
            for subject in self.subjects.values():
                if not subject.quiet():
                    world.oracle.fail(f"{subject.name} has not come to rest {when}")
        for subject in self.subjects.values():
            subject.check_when_quiet()
        self._check_all(final=False)

    def _quiet(self) -> bool:
        return all(client.quiet for client in self.world.clients) and all(
            subject.quiet() for subject in self.subjects.values()
        )

    def _seconds_of_calls(self) -> float:
        """The longest time that waiting calls may take: one after another for each client, in all call slots."""
        plan, oracle = self.world.plan, self.world.oracle
        # one more for its ws_open, or for an acknowledgement
        waiting = [client.count - len(oracle.done[client.key]) + 1 for client in self.world.clients if client.connected]
        # a canister may have half of the slots
        places = max(1, plan.calls // 2)
        return plan.slowest_call * (max(waiting, default=0) + sum(waiting) / places)

    def _state(self, client: SimClient) -> str:
        oracle, key, session = self.world.oracle, client.key, client.session
        return (
            f"{session.state.name if session else 'no session'}, opened {client.opened}, sent {client.count}, "
            f"taken {len(session.accepted) if session else 0}, executed {len(oracle.done[key])}, "
            f"queued {len(oracle.queued[key])}, received {len(client.received)}, "
            f"gone {oracle.gone.get(key)}, spoilt {oracle.spoilt.get(key)}, life {oracle.opened.get(key)}"
        )

    def _check_all(self, final: bool) -> None:
        oracle = self.world.oracle
        for client in self.world.clients:
            client.check_received()
        for session in oracle.sessions:
            oracle.check_session(session, final)
        oracle.check()

    def end(self) -> None:
        """End all sessions; no state may remain."""
        world = self.world
        if self.script.plan.ending == "leave":
            self._all_leave()
        else:
            drain(self)
            self.heal()
        if "handover" in self.subjects:
            world.run(LASTS, self.subjects["handover"].quiet)
        self._run_until_empty(world.retired)
        # the gateway asks for the root key until it has one
        world.run(30.0, lambda: all(process.agent.ready for process in world.processes))
        self._run_until_empty(world.processes)
        # what canisters have accepted is executed, however long that takes
        ingress = world.replica.ingress
        world.run(SLOWEST, lambda: not ingress._queue and not ingress._timers)
        world.run(1.0)
        # the agent's own requests need their time
        world.run(15.0, lambda: not any(process.transport.in_flight for process in world.processes))
        self._check_all(final=True)
        self._check_remains()
        world.oracle.check()

    def _run_until_empty(self, processes: Collection[SimProcess]) -> None:
        """Run until each ws_close has been sent, or has been tried for as long as allowed."""
        plan = self.world.plan
        most = max((len(process.gateway.registry.ending) for process in processes), default=0)
        # a canister may have half of the slots, and removes clients itself after FOUND_OUT_SECONDS
        in_line = min(plan.slowest_call * most / max(1, plan.calls // 2), OBSOLETE_SECONDS)
        self.world.run(
            CLOSE_NOTICE_SECONDS + in_line, lambda: all(process.empty or process.dead for process in processes)
        )

    def _all_leave(self) -> None:
        """All clients leave, perhaps while the network fails; after a short failure each ws_close must arrive."""
        world, (what, seconds) = self.world, self.script.plan.parting
        if seconds >= MANY_LEAVE and world.plan.calls <= 4 and not world.plan.narrow:
            self._many_come()
        world.oracle.note(f"all leave{f', {what} for {seconds:.0f} s' if what else ''}")
        before = self._unnotified()
        if what:
            world.oracle.troubles["parting"] += 1
            if what in ("lost", "refused"):
                world.network = what
            else:
                words: dict[str, Any] = {"kind": "hang"} if what == "hang" else {"kind": "http", "status": 503}
                world.replica.faults.add(InjectedFault(on="call", **words))
        for client in world.clients:
            client.leave()
        world.run(seconds)
        self.heal()
        if what and seconds <= 60:
            world.run(30.0, lambda: all(process.agent.ready for process in world.processes))
            self._run_until_empty(world.processes)
            if self._unnotified() > before and not world.oracle.many_left:
                world.oracle.fail(f"canisters were not notified who left: it was tried for less than {seconds:.0f} s")

    def _many_come(self) -> None:
        """Connect so many clients that their canister removes some before their ws_close can be sent."""
        world = self.world
        chance = Chance(f"{self.script.seed} many")
        conduct = self.subjects["client"]
        assert isinstance(conduct, ClientSteps)
        conduct.many(chance, MANY)
        world.run(QUIET_SECONDS, lambda: all(client.opened or not client.usable for client in world.clients))

    def _unnotified(self) -> float:
        """The number of ws_close that were given up."""
        metrics = [process.metrics for process in self.world.processes]
        counted = [each.ws_closes.values.items() for each in metrics]
        return sum(count for items in counted for label, count in items if label != "done")

    def _check_remains(self) -> None:
        world, oracle = self.world, self.world.oracle
        for process in world.processes:
            for what, number in process.remains().items():
                if number:
                    oracle.fail(f"{what} remain: {number}")
        remains = {
            "transports": sum(client.link.wire for client in world.clients) - world.lost_transports,
            "sessions without an end": sum(session.ended_with is None for session in oracle.sessions),
        }
        for what, number in remains.items():
            if number:
                oracle.fail(f"{what} remain: {number}")
        counts = {
            "closes": len(oracle.sessions),
            "client messages": oracle.messages_in,
            "canister messages": oracle.frames_down,
        }
        for what, true in counts.items():
            # a process's counts are continued by its successor
            counted = sum(
                process.counts()[what] - process.handed.get(what, 0)
                for process in (*world.processes, *world.dead, *world.retired)
            )
            if counted != true:
                oracle.fail(f"metrics say {counted} {what}, there were {true}")
        self._check_canisters()
        for subject in self.subjects.values():
            subject.check_at_end()
        world.close()
        late = world.clock.getDelayedCalls()
        if late:
            oracle.fail(f"timers remain: {late[:3]}")

    def _check_canisters(self) -> None:
        """Check that the canisters know of all ends."""
        oracle = self.world.oracle
        unnotified = self._unnotified()
        if unnotified and not oracle.troubles and not oracle.many_left:
            oracle.fail(
                f"{unnotified} canisters were not notified that a client left, and nothing has kept them from it"
            )
        # an accepted ws_close counts, though a canister that stops before it executes it does not get it
        excuses = ("gave up", "worker", "call cdk_err", "slow")
        if unnotified or oracle.lives or any(oracle.troubles[excuse] for excuse in excuses):
            return
        for host in self.world.replica.hosts:
            for key in host.ws.clients:
                if (key.principal, key.nonce) not in oracle.left_unnotified:
                    oracle.fail(f"{host.id.text[:5]} was not notified that {_show((key.principal, key.nonce))} left")


def run_scenario(seed: int, steps: int, *, leaks: bool = False) -> Scenario:
    """Run one scenario.

    :param leaks: search for sessions that outlive it, which takes some ten milliseconds
    :raises Violation: an invariant was violated
    """
    return run_script(draw(seed, steps), leaks=leaks)


def run_script(script: Script, *, leaks: bool = False) -> Scenario:
    """Run one scenario that has been drawn.

    :param leaks: search for sessions that outlive it, which takes some ten milliseconds
    :raises Violation: an invariant was violated
    """
    with simulated(script.plan.ended_at_once), handed_in_memory():
        scenario = Scenario(script)
        try:
            scenario.run()
            if leaks:
                _check_leaks(scenario)
        except Violation as error:
            error.args = (f"seed {script.seed}, {len(script.steps)} steps: {error.words}",)
            error.scenario = scenario
            raise
        finally:
            for subject in scenario.subjects.values():
                subject.abort()
    return scenario


def _check_leaks(scenario: Scenario) -> None:
    oracle = scenario.world.oracle
    # what is left of a dead process refers to its sessions, and to the links that were handed to it
    dead = [process for process in scenario.world.retired if process.dead]
    held = {session.client for process in dead for session in process.gateway.registry.sessions}
    sessions = [
        weakref.ref(session)
        for session in oracle.sessions
        if not session.owner.process.dead and session.client not in held
    ]
    held.clear()
    for process in scenario.world.retired:
        # it has handed over what it was to decide
        process.gateway.replacements.machine.undecided.clear()
    oracle.sessions.clear()
    scenario.world.sockets.clear()
    for process in scenario.world.processes:
        process.door.crowded_out.clear()
    for client in scenario.world.clients:
        client.session = None
        client.link = None  # type: ignore[assignment]
    gc.collect()
    alive = [session() for session in sessions if session() is not None]
    if alive:
        raise Violation(f"{len(alive)} sessions live on, held by {gc.get_referrers(alive[0])[:3]}")
