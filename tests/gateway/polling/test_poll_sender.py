from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.python.failure import Failure

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.cursor import LastMessage
from icwsgw.core.poll_machine import Polling
from icwsgw.errors import TransportError
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP, PollBudget
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from icwsgw.gateway.polling.poll_sender import PollSender
from tests.support.fake_network import CANISTER, make_context

ANCHOR = LastMessage(6, b"content")


class Owner:
    """A poller that writes down what becomes of its queries."""

    identity_index = 0
    canister = CANISTER
    messages_down = messages_lost = 0

    def __init__(self, poll_budget: PollBudget) -> None:
        self.poll_budget = poll_budget
        self.backoff = PollBackoff(0.1, lambda: 0.0, 0.0)
        self.answers: list[tuple[bytes, int]] = []
        self.failures: list[tuple[Failure, InFlightPoll]] = []

    def answered(self, reply: bytes, poll: InFlightPoll) -> None:
        self.answers.append((reply, poll.nonce))

    def failed(self, failure: Failure, poll: InFlightPoll) -> None:
        self.failures.append((failure, poll))


class World:
    def __init__(self, window: int = 4) -> None:
        context, self.network, self.clock = make_context()
        self.context = replace(context, config=replace(context.config, poll_window=window))
        self.polling: Polling[InFlightPoll] = Polling(None, window)
        self.budget = PollBudget(self.context, CANISTER.raw)
        self.owner = Owner(self.budget)
        self.sender = PollSender(self.context, self.owner, self.polling, self.budget)

    @property
    def nonces(self) -> list[int]:
        return [poll.nonce for poll in self.polling.in_flight]

    def count(self, outcome: str) -> float:
        return self.context.metrics.queries.values[outcome]


def test_a_query_is_in_flight_with_a_slot_until_its_answer_is_handled() -> None:
    world = World()
    world.sender.send(7, 5.0)
    (poll,) = world.polling.in_flight
    assert (poll.nonce, poll.sent, poll.anchor, world.sender.last_sent) == (7, 5.0, None, 5.0)
    assert world.polling.probing is None
    assert world.budget.slot_queue.busy == 1
    (query,) = world.network.queries
    assert query.nonce == 7
    query.answer(b"reply")
    assert world.owner.answers == [(b"reply", 7)]
    assert world.nonces == [7], "the poller takes it out"
    assert world.sender.ended(poll)
    assert (world.nonces, world.budget.slot_queue.busy) == ([], 0)
    assert not world.sender.ended(poll), "a second time"
    assert world.budget.slot_queue.busy == 0


def test_a_probe_knows_its_anchor() -> None:
    world = World()
    world.sender.send(6, 5.0, ANCHOR)
    assert world.polling.probing is not None
    assert world.polling.probing.anchor is ANCHOR
    assert world.nonces == [6]


def test_a_failure_is_the_pollers() -> None:
    world = World()
    world.sender.send(7, 5.0)
    world.network.queries[0].answer(TransportError("lost"))
    ((failure, poll),) = world.owner.failures
    assert failure.check(TransportError)
    assert poll.nonce == 7


def test_a_query_that_was_given_up_is_cancelled_after_it_has_left() -> None:
    world = World()
    world.sender.send(7, 5.0)
    (poll,) = world.polling.in_flight
    world.sender.abandon(poll)
    assert world.network.queries[0].cancelled
    assert (world.nonces, world.budget.slot_queue.busy, world.count("abandoned")) == ([], 0, 1)
    ((_, failed),) = world.owner.failures
    assert failed is poll
    assert not world.sender.ended(poll), "its errback finds that"


def test_all_are_given_up_uncounted() -> None:
    world = World()
    for nonce in range(3):
        world.sender.send(nonce, 5.0)
    world.sender.drop_all()
    assert all(query.cancelled for query in world.network.queries)
    assert (world.nonces, world.budget.slot_queue.busy, world.count("abandoned")) == ([], 0, 0)


def test_more_than_window_overlap_and_probe_push_out_the_oldest() -> None:
    world = World(window=2)
    limit = 2 + MAX_OVERLAP + 1
    for nonce in range(limit):
        world.sender.send(nonce, 5.0)
    assert world.count("abandoned") == 0
    world.sender.send(limit, 6.0)
    assert world.nonces == list(range(1, limit + 1))
    assert world.count("abandoned") == 1


@pytest.mark.parametrize(("failures", "retries"), [(0, 0), (1, 1)])
def test_polls_after_a_failed_one_are_counted(failures: int, retries: int) -> None:
    world = World()
    world.owner.backoff.failures = failures
    world.sender.send(7, 5.0)
    assert world.context.metrics.query_retries.value == retries


def test_the_quota_counts_each() -> None:
    world = World()
    asked: list[float] = []

    class Quota:
        def sent(self, now: float) -> None:
            asked.append(now)

    quota: Any = Quota()
    world.budget.quota = quota
    world.sender.send(7, 5.0)
    assert asked == [5.0]
