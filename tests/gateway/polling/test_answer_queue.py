from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.core.round_robin import QUANTUM
from icwsgw.gateway.polling.answer_queue import AnswerQueue


class Working(Clock):
    """A clock that work moves."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def work(self, seconds: float) -> None:
        self.rightNow += seconds

    def callLater(self, when: float, what: Any, *args: Any, **named: Any) -> Any:  # type: ignore[override]
        assert when == 0
        self.rounds += 1
        return super().callLater(when, what, *args, **named)


class Allowance:
    def __init__(self) -> None:
        self.seconds = 0.0

    def answered(self, down: int, lost: int, now: float, seconds: float) -> None:
        self.seconds += seconds


class Poller:
    messages_down = messages_lost = 0
    canister: Any = None

    def __init__(self, clock: Working, takes: float, done: list[Any]) -> None:
        self._clock = clock
        self._takes = takes
        self._done = done
        self.poll_budget = Allowance()

    def answered(self, reply: bytes, ask: Any) -> None:
        self._clock.work(self._takes)
        self._done.append((self, ask))


class World:
    def __init__(self, *takes: float) -> None:
        self.clock = Working()
        self.clock.advance(10)
        self.answers = AnswerQueue(self.clock)
        self.done: list[Any] = []
        self.pollers: list[Any] = [Poller(self.clock, seconds, self.done) for seconds in takes]


def test_if_there_is_time_an_answer_is_handled_at_once() -> None:
    world = World(QUANTUM / 10)
    for ask in range(20):
        arrival: Any = ask
        world.answers.arrived(b"", arrival, world.pollers[0])
        world.clock.advance(QUANTUM)
    assert [ask for _, ask in world.done] == list(range(20))
    assert not world.clock.getDelayedCalls()
    assert abs(world.pollers[0].poll_budget.seconds - 2 * QUANTUM) < 1e-9


def test_many_answers_at_once_are_handled_a_quantum_a_turn() -> None:
    world = World(QUANTUM / 5, QUANTUM / 5)
    for ask in range(60):
        arrival: Any = ask
        world.answers.arrived(b"", arrival, world.pollers[0])
    arrival = 60
    world.answers.arrived(b"", arrival, world.pollers[1])
    assert len(world.done) <= 6
    world.clock.advance(0)
    assert not world.answers.waiting
    # five or six in each, with everything else of the reactor in between
    assert 9 <= world.clock.rounds <= 12
    hog, other = world.pollers
    # the other one's turn came after one of the first
    assert [poller for poller, _ in world.done].index(other) <= 12
    assert [ask for poller, ask in world.done if poller is hog] == list(range(60))
    assert not world.clock.getDelayedCalls()


def test_turns_are_a_quantum_long_and_not_one_answer() -> None:
    world = World(QUANTUM / 5, QUANTUM / 5)
    one, other = world.pollers
    for poller in (one, other):
        for ask in range(15):
            arrival: Any = ask
            world.answers.arrived(b"", arrival, poller)
    while world.answers.waiting:
        world.clock.advance(0)
    turns = [len(list(turn)) for _, turn in itertools.groupby(poller for poller, _ in world.done)]
    assert sum(turns) == 30
    assert len(turns) <= 8


class Broken(Poller):
    """It fails after its work."""

    class canister:  # noqa: N801
        text = "aaaaa-aa"

    def answered(self, reply: bytes, ask: Any) -> None:
        super().answered(reply, ask)
        raise RuntimeError("broken")


def test_one_that_fails_when_it_arrives_has_used_its_time() -> None:
    world = World(QUANTUM)
    broken: Any = Broken(world.clock, 2 * QUANTUM, [])
    arrival: Any = 0
    world.answers.arrived(b"", arrival, broken)
    assert broken.poll_budget.seconds == pytest.approx(2 * QUANTUM)
    world.answers.arrived(b"", arrival, world.pollers[0])
    assert (world.done, world.answers.waiting) == ([], 1), "there is no time left in this turn"
    world.clock.advance(0)
    assert [ask for _, ask in world.done] == [0]


def test_one_that_fails_does_not_end_the_round() -> None:
    world = World(QUANTUM)
    poller = world.pollers[0]
    broken: Any = Broken(world.clock, 0, [])
    for ask in range(3):
        arrival: Any = ask
        world.answers.arrived(b"", arrival, poller)
        if ask:
            world.answers.arrived(b"", arrival, broken)
    while world.answers.waiting:
        world.clock.advance(0)
    assert [ask for _, ask in world.done] == [0, 1, 2]


def test_a_second_burst_is_handled_like_the_first() -> None:
    world = World(QUANTUM)
    for moment in range(3):
        for ask in range(4):
            arrival: Any = (moment, ask)
            world.answers.arrived(b"", arrival, world.pollers[0])
        assert world.answers.waiting
        world.clock.advance(0)
        assert not world.answers.waiting
    assert [ask for _, ask in world.done] == [(moment, ask) for moment in range(3) for ask in range(4)]
