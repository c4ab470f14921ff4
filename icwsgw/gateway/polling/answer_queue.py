"""Handles answers to polls round-robin, so that the answers of one canister do not delay those of all others.

An answer with fifty messages takes about 0.4 ms. It is handled when it arrives while there is time for that in this
turn of the event loop. Otherwise it waits for the next turn, and pollers are served round-robin by the time that they
take (:mod:`icwsgw.core.round_robin`). A query counts as in flight until its answer is handled, which bounds the queue.
The time for messages that reach no client is counted against the poller (:mod:`icwsgw.core.work_limit`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from icwsgw.core.round_robin import QUANTUM, RoundRobin
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.gateway.polling.poll_requests import InFlightPoll
    from icwsgw.ic.principal import Principal

_log = get_logger("poller")


class SpentWork(Protocol):
    """Where the work for an answer is noted: :class:`icwsgw.gateway.polling.poll_budget.PollBudget`."""

    def answered(self, down: int, lost: int, now: float, seconds: float) -> None:
        """An answer was handled."""


class AnswerHandler(Hashable, Protocol):
    """The sender of a query: :class:`icwsgw.gateway.polling.poller.Poller`."""

    canister: Principal
    messages_down: int
    messages_lost: int

    @property
    def poll_budget(self) -> SpentWork: ...

    def answered(self, reply: bytes, poll: InFlightPoll) -> None:
        """Handle an answer."""


class AnswerQueue:
    """The answers of all pollers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rounds: RoundRobin[AnswerHandler, tuple[bytes, InFlightPoll]] = RoundRobin()
        self._planned = False

    @property
    def waiting(self) -> int:
        """How many answers wait."""
        return self._rounds.waiting

    def arrived(self, reply: bytes, poll: InFlightPoll, poller: AnswerHandler) -> None:
        """Handle an answer now, or queue it."""
        clock, rounds = self._clock, self._rounds
        began = clock.seconds()
        if rounds.at_once(began):
            try:
                poller.answered(reply, poll)
            except Exception:
                _log.failure("handling a poll answer failed", canister=poller.canister.text)
            ended = clock.seconds()
            rounds.did(began, ended)
            poller.poll_budget.answered(poller.messages_down, poller.messages_lost, ended, ended - began)
            return
        rounds.add(poller, (reply, poll))
        if not self._planned:
            self._planned = True
            clock.callLater(0, self._round)

    def _round(self) -> None:
        clock, rounds = self._clock, self._rounds
        began = ended = clock.seconds()
        while rounds.waiting and ended - began < QUANTUM:
            poller, (reply, poll) = rounds.next()
            try:
                poller.answered(reply, poll)
            except Exception:
                _log.failure("handling a poll answer failed", canister=poller.canister.text)
            now = clock.seconds()
            rounds.took(poller, now - ended)
            poller.poll_budget.answered(poller.messages_down, poller.messages_lost, now, now - ended)
            ended = now
        self._planned = rounds.waiting > 0
        if self._planned:
            clock.callLater(0, self._round)
