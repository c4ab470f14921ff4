"""The gateway is replaced by new processes at any moment, as decisions 0069 to 0071 describe it.

The two sides of the handover are the program's own; only the socket between them is simulated. A new process starts and
reaches the network while the other one serves. It gets connections piece by piece, round by round, and all that happens
meanwhile goes on: clients come, talk and leave, the network fails, the operator denies. Then the former process stops
to serve, hands over the rest, and ends. Everything stands still in this silence, and what was due in it comes late.

A handover may be broken off at each word: either process is killed, the new one hangs, or refuses what it receives.
Before the point of no return nothing has changed then, unless the process that serves was killed, which is a crash.
After it the new process goes on.

Several workers hand over one after the other, also to another number of workers. What the simulation knows of a process
(what it took, what may be asked of it) goes on with its clients.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from icwsgw.admin.control import NO_OVERRIDES, Control, Overrides
from icwsgw.core.drain_machine import MIN_CLOSING_SECONDS
from icwsgw.gateway.gateway_handover import gateway_document
from icwsgw.handover.inheritance import Inheritance, share
from icwsgw.handover.transfer import LAST_EARLY_SECONDS
from icwsgw.ic import cbor
from tests.simulation.fleet import Fleet
from tests.simulation.handover_links import DirectConnection, link_of
from tests.simulation.handover_processes import Giver, SimService, Taker
from tests.simulation.links import DirectLink
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.waiting import SendRecord

if TYPE_CHECKING:
    from icwsgw.reactor.clock import Timer

#: Seconds in which the new processes have to reach the network, and those that an old one has for what it keeps.
REACHED, LEFT_BEHIND = 10.0, 60.0
#: Seconds over which an old process ends the sessions that it has kept.
SHORT_DRAIN = 0.1
#: Seconds after which an old process aborts the connections that it has kept.
ABORTED = 5.0
#: Seconds that a handover takes at most: a process hangs for which several wait, and its silence ends it.
LASTS = LAST_EARLY_SECONDS + 20.0
#: Seconds between two words.
GAPS = (0.0, 0.0, 0.001, 0.02, 0.02, 0.1, 0.4)
#: Seconds for which nobody serves; then everything that was due is late.
SILENCES = (0.0, 0.0, 0.01, 0.1, 0.3, 0.8)
#: How a handover is broken off, and how often.
BREAKS = ("", "", "", "kill taker", "kill giver", "hang", "refuse")


class Handovers(Subject):
    """Replaces the gateway's processes.

    :ivar done: how many processes have handed over
    :ivar broken: how many handovers came to nothing
    """

    name = "handover"
    steps = {"upgrade": 2.0, "twice": 0.4, "refuse": 0.3}

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self.done = self.broken = 0
        self.in_flight: Upgrade | None = None
        self._again = False

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.handovers

    def upgrade(self, chance: Chance) -> str | None:
        if self.in_flight is not None or self.world.gateway.draining:
            return None
        self.in_flight = Upgrade(self, chance)
        return self.in_flight.begin()

    def twice(self, chance: Chance) -> str | None:
        self._again = True
        return self.upgrade(chance)

    def ended(self) -> None:
        """The handover is over."""
        self.in_flight = None
        if self._again and not self.world.gateway.draining:
            self._again = False
            chance = Chance(f"{self.world.seed} again {self.done} {self.broken}")
            self.oracle.note(f"at once {self.upgrade(chance)}")

    def refuse(self, chance: Chance) -> str:
        """The state is written down for nothing."""
        process = self.world.processes[0]
        service = self.service_of(process)
        before, after = (
            cbor.dumps([gateway_document(process.gateway), *(each.written() for each in service.connections)])
            for _ in range(2)
        )
        if before != after:
            self.oracle.fail("the state that is written down twice at one moment is not the same")
        return "a state is written down for nothing"

    def service_of(self, process: SimProcess) -> SimService:
        """A process as the handover takes it."""

        def override(overrides: Overrides) -> None:
            Control(process.gateway).answer({"what": "override", "overrides": overrides.to_json()})

        operator = self.operator
        return SimService(process, (lambda: NO_OVERRIDES) if operator is None else operator.overrides, override)

    @property
    def operator(self) -> Any:
        return self.scenario.subjects.get("operator")

    @property
    def fleet(self) -> Fleet | None:
        fleet: Any = self.scenario.subjects.get("fleet")
        return fleet

    def started_again(self, process: SimProcess) -> None:
        """A process was started in the place of one that has died."""
        if self.operator is not None:
            self.operator.restarted(process)
        if self.world.plan.processes == 1:
            process.agent.turns = SendRecord(self.world, process)

    def recovery_seconds(self) -> float:
        return LASTS if self.in_flight is not None else 0.0

    def quiet(self) -> bool:
        return self.in_flight is None

    def check_at_end(self) -> None:
        if self.in_flight is not None:
            self.oracle.fail("a handover has no end")

    def abort(self) -> None:
        if self.in_flight is not None:
            self.in_flight.abandon()


class Upgrade:
    """One handover of all processes of a gateway to new ones."""

    def __init__(self, subject: Handovers, chance: Chance) -> None:
        world = self._world = subject.world
        self._subject = subject
        self._oracle = world.oracle
        self._random = Random(chance.getrandbits(64))
        self.olds = list(world.processes)
        fleet = self._fleet = subject.fleet
        count = self._random.choice((1, 2, 3, len(self.olds))) if fleet is not None else 1
        self._shares: list[Inheritance] = share(
            [process.identity_numbers for process in self.olds], count, world.plan.identities
        )
        self._news = [
            world.new_process(number, inheritance.inherited) for number, inheritance in enumerate(self._shares)
        ]
        self._groups = [number for number, inheritance in enumerate(self._shares) if inheritance.sources]
        self._group: Group | None = None
        self._some_taken = False
        # how many the operator has asked for before the new processes read the configuration
        self._reloads = subject.operator.reloads if subject.operator is not None else 0
        self._deadline = world.clock.seconds() + REACHED
        self._timer: Timer | None = None

    def begin(self) -> str:
        """Start the new processes."""
        if self._fleet is not None:
            self._fleet.begin_handover(self._news)
        for number, process in enumerate(self._news):
            if number < len(self.olds):
                process.machine = self.olds[number].machine
            process.start()
            if self._subject.operator is not None:
                # it reads the configuration as it is now
                self._subject.operator.restarted(process)
        self._later(0.1, self._look)
        return f"{len(self._news)} new processes start beside {len(self.olds)}"

    def _later(self, seconds: float, call: Callable[[], object]) -> None:
        timer = self._timer = self._world.clock.callLater(seconds, call)
        self._world.at_end.append(timer)

    def _draining(self) -> bool:
        return any(process.gateway.draining for process in self._world.processes)

    def _look(self) -> None:
        if self._draining():
            self._give_up("the gateway drains")
        elif all(process.monitor.network() is None and process.agent.ready for process in self._news):
            self._next()
        elif self._world.clock.seconds() > self._deadline:
            self._give_up("a new process does not reach the network")
        else:
            self._later(0.1, self._look)

    def _next(self) -> None:
        if self._draining():
            self._give_up("the gateway drains")
        elif not self._groups:
            self._finish()
        else:
            number = self._groups.pop(0)
            self._group = Group(self, self._subject, self._news[number], self._shares[number], self._random)
            self._later(0.0, self._turn)

    def _turn(self) -> None:
        group = self._group
        assert group is not None
        pause = group.turn()
        if pause is not None:
            self._later(pause, self._turn)
            return
        self._oracle.handed.clear()
        self._group = None
        self._conclude(group)

    def _conclude(self, group: Group) -> None:
        """A group has come to its end."""
        new = group.new
        if group.taken:
            self._subject.done += len(group.givers)
            self._some_taken = True
            self._oracle.note(f"a new process has taken over {len(new.gateway.registry.sessions)} sessions")
            self._place(group)
            new.clock.resume()
            self._reload(new)
        elif group.given:
            # killed with all that it had taken: a crash after the point of no return
            self._oracle.note("the new process dies with all that it has taken over")
            self._oracle.cut_short.update(session for giver in group.givers for session in giver.ending)
            group.pass_on()
            for giver in group.givers:
                # nobody goes on with its counts
                giver.process.handed = {}
            self._place(group)
            self._lost(new)
            if not self._some_taken:
                # the new supervisor gives up, the old one starts its worker again
                self._give_up("a new process has died")
                return
        else:
            self._oracle.note(f"nothing is handed over: {group.reason}")
            self._subject.broken += 1
            if not self._some_taken:
                self._give_up(group.reason)
                return
            if new.dead:
                self._start_new_again(new)
            else:
                new.clock.resume()
        self._later(self._random.choice((0.0, 0.1, 1.0)), self._next)

    def _reload(self, new: SimProcess) -> None:
        """The other process says whether it was asked to reload meanwhile."""
        operator = self._subject.operator
        if operator is not None and operator.reloads != self._reloads:
            operator.read_again(new)

    def _place(self, group: Group) -> None:
        """A process serves in the place of those that have handed over to it."""
        processes, new = self._world.processes, group.new
        processes[new.number] = new
        for giver in group.givers:
            number = giver.process.number
            if giver.failed is not None and number != new.number:
                # it goes on to the end
                continue
            if number >= len(self._news):
                processes.remove(giver.process)
            if self._fleet is not None:
                self._fleet.handed_over(number)
            self._leave_behind(giver.process)

    def lost(self, process: SimProcess) -> None:
        """A process that serves has been killed; another one takes its place."""
        self._lost(process)

    def _lost(self, process: SimProcess) -> None:
        self._oracle.troubles["worker"] += 1
        self._world.kill(process)
        newer = next(each for each in self._world.processes if each.number == process.number)
        self.olds = [newer if each is process else each for each in self.olds]
        self._news = [newer if each is process else each for each in self._news]
        if self._fleet is not None:
            self._fleet.started_again(process, newer)
        self._subject.started_again(newer)

    def _start_new_again(self, new: SimProcess) -> None:
        """A new process that has no clients has died; the new supervisor starts it again."""
        newer = self._world.new_process(new.number, self._shares[new.number].inherited)
        newer.start()
        self._news[new.number] = newer
        assert self._fleet is not None
        self._fleet.started_again(new, newer)
        self._subject.started_again(newer)

    def _finish(self) -> None:
        """All have handed over, or cannot."""
        world, fleet = self._world, self._fleet
        for new in self._news:
            self._reload(new)
            if new.number >= len(world.processes):
                world.processes.append(new)
            elif world.processes[new.number] is not new:
                self._leave_behind(world.processes[new.number])
                world.processes[new.number] = new
        while len(world.processes) > len(self._news):
            self._leave_behind(world.processes.pop())
        if fleet is not None:
            fleet.end_handover(done=True)
        self._over()

    def _give_up(self, reason: str) -> None:
        self._oracle.note(f"the former processes go on: {reason}")
        if self._some_taken and not self._draining():
            self._finish()
            return
        # a stop stops both
        for process in self._news:
            if process not in self._world.processes:
                process.clock.resume()
                process.retire()
        if self._fleet is not None:
            self._fleet.end_handover(done=False)
        self._over()

    def _over(self) -> None:
        self._timer = None
        self._subject.ended()

    def _leave_behind(self, old: SimProcess) -> None:
        """An old process drains what it has kept, and ends."""
        world, clock = self._world, self._world.clock
        world.retired.append(old)
        if old.dead:
            return
        old.gateway.drain(SHORT_DRAIN)

        def given_up() -> None:
            registry = old.gateway.registry
            if not old.dead:
                self._oracle.left_unnotified.update(session.client_key for session in registry.ending)

        world.at_end.append(clock.callLater(SHORT_DRAIN + MIN_CLOSING_SECONDS - 0.001, given_up))
        world.at_end.append(clock.callLater(ABORTED, lambda: old.factory.abort_all()))

        def end(left: float) -> None:
            if left > 0 and not old.empty:
                world.at_end.append(clock.callLater(1.0, end, left - 1.0))
            else:
                old.retire()

        end(LEFT_BEHIND)

    def abandon(self) -> None:
        """Leave nothing running."""
        if self._group is not None:
            self._group.abandon()


class Group:
    """The processes that hand over to one new process, at the same time.

    :ivar reason: why nothing was handed over
    """

    def __init__(
        self, upgrade: Upgrade, subject: Handovers, new: SimProcess, inheritance: Inheritance, random: Random
    ) -> None:
        self.new = new
        self._upgrade = upgrade
        self._world = subject.world
        self._oracle = subject.world.oracle
        self._random = random
        early = random.random() < 0.85
        self.givers = [Giver(subject.service_of(upgrade.olds[number]), early) for number in inheritance.sources]
        numbers = [number for giver in self.givers for number in giver.process.identity_numbers]
        new.merges_queues = len(set(numbers)) < len(numbers)
        maps = [None] if subject.fleet is None else inheritance.identities
        self._taker = Taker(subject.service_of(new), list(zip(self.givers, maps, strict=True)), self._begins)
        plan = subject.world.plan
        kills = not plan.calm and not plan.neighbour
        self._break = random.choice([each for each in BREAKS if kills or "kill" not in each])
        self._break_at = random.choice((0, 1, 2, 3, random.randrange(20)))
        self._break_in_silence = random.random() < 0.5
        self._words = self._words_in_silence = 0
        self.reason = "the other one goes on"

    @property
    def _sides(self) -> list[Giver | Taker]:
        return [*self.givers, self._taker]

    @property
    def taken(self) -> bool:
        """Whether the new process serves."""
        return self._taker.taken

    @property
    def given(self) -> bool:
        """Whether an old process has let go of its clients."""
        return any(giver.done is not None for giver in self.givers)

    @property
    def _silent(self) -> bool:
        """Whether nobody serves the clients."""
        return any(giver.silent for giver in self.givers) or (self._taker.sent_taken and not self._taker.over)

    def turn(self) -> float | None:
        """One process says a word; the seconds until the next one, None: it is over."""
        while True:
            self._break_off()
            ready = [each for each in self._sides if each.can_run]
            if ready:
                self._random.choice(ready).resume()
                self._words += 1
                self._words_in_silence += self._silent
                if self._silent and self._words_in_silence == 1:
                    # everything stands still, and is late afterwards
                    self._world.clock.rightNow += self._random.choice(SILENCES)
            elif self._silent:
                # one of them hangs
                self._taker.hangs = self._taker.hangs and not self._taker.sent_taken
                for giver in self.givers:
                    giver.channel.time_out()
            elif self._taker.over and all(giver.over for giver in self.givers):
                self.reason = next((giver.failed for giver in self.givers if giver.failed), self.reason)
                return None
            else:
                if self._taker.hangs and any(giver.over for giver in self.givers):
                    # it receives that the other one goes on, or is killed
                    self._taker.hangs = False
                return 0.5
            if ready and not self._silent and not self._taker.over:
                return self._random.choice(GAPS)

    def _break_off(self) -> None:
        words = self._words_in_silence if self._break_in_silence else self._words
        if not self._break or words < self._break_at or (self._break_in_silence and not self._silent):
            return
        kind, self._break = self._break, ""
        self._oracle.note(f"the handover is broken off after {self._words} words: {kind}")
        if kind == "kill taker":
            self._taker.kill()
            self.new.die()
        elif kind == "hang":
            self._taker.hangs = True
        elif kind == "refuse":
            self._taker.refuse()
        else:
            self._kill(self._random.choice(self.givers))

    def _kill(self, giver: Giver) -> None:
        if giver.over:
            return
        giver.kill()
        if self._taker.sent_taken:
            # the new one goes on with all that it has
            giver.process.die()
        else:
            self._upgrade.lost(giver.process)

    def abandon(self) -> None:
        """Leave nothing running."""
        for each in self._sides:
            each.kill()

    # the point of no return

    def pass_on(self) -> None:
        """The new process has everything: what the simulation knows goes on with it."""
        for giver in self.givers:
            # one that was too late has kept its clients
            if giver.failed is None:
                self._pass_on(giver)

    def _begins(self, taker: Taker) -> None:
        oracle, new = self._oracle, self.new
        self.pass_on()
        made: Any = new.gateway.registry.sessions
        for session in made:
            session.continue_from(oracle.handed[session.id])
        for connection in taker.connections:
            if isinstance(connection, DirectConnection):
                connection.serve()
            else:
                connection.transport.serve(connection)

    def _pass_on(self, giver: Giver) -> None:
        world, oracle, old, new = self._world, self._oracle, giver.process, self.new
        old.handed = old.counts()
        handed = {link_of(connection) for connection in giver.connections}
        direct = [s.client for s in old.gateway.registry.sessions if isinstance(s.client, DirectLink)]
        left = {*map(link_of, old.factory.connections), *direct} - handed
        owners_left = {link.owner for link in left}
        if old.dead:
            world.lose_clients(old, owners_left)
        for session in oracle.sessions:
            if session.owner.process is old and session.owner not in owners_left:
                oracle.handed[session.id] = session
        for owner in (*(link.owner for link in handed), *(session.owner for session in oracle.handed.values())):
            owner.process = new
        if new.time_witnesses is not None and old.time_witnesses is not None:
            new.time_witnesses.continue_from(old.time_witnesses)
        new.agent.continue_from(old.agent)
        # what has waited for a slot, or was under way, enters the line at once
        new.admitted_at_once = True
        new.agent.continue_pollers(giver.pollers, old)
        if len(self.givers) == 1:
            new.door = old.door
        else:
            new.door.inside.update(old.door.inside)
            new.door.unauthenticated.update(old.door.unauthenticated)
            new.door.crowded_out |= old.door.crowded_out
        for link in left:
            # the new process does not count it
            new.door.left(link)
