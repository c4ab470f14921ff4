"""When answers to polls are dealt with: in rounds, so that one canister's do not keep all others waiting.

An answer of fifty messages takes some 0.4 ms. As long as there is time it is dealt with where it arrives; where answers
come faster than that they wait for the next turn of the reactor, and pollers take turns by the time they take
(:mod:`icwsgw.core.round_robin`). What waits is bounded by the queries in flight: an answer counts as one until it is
dealt with. What an answer took for messages that reach no client is noted against its poller
(:mod:`icwsgw.core.work_limit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.core.round_robin import QUANTUM, RoundRobin
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.gateway.polling.poll_requests import InFlightPoll
    from icwsgw.gateway.polling.poller import Poller

_log = get_logger("poller")


class AnswerQueue:
    """The answers of all pollers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rounds: RoundRobin[Poller, tuple[bytes, InFlightPoll]] = RoundRobin()
        self._planned = False

    @property
    def waiting(self) -> int:
        """How many wait for a turn of the reactor."""
        return self._rounds.waiting

    def arrived(self, reply: bytes, ask: InFlightPoll, poller: Poller) -> None:
        """An answer has come."""
        clock, rounds = self._clock, self._rounds
        began = clock.seconds()
        if rounds.at_once(began):
            poller.answered(reply, ask)
            ended = clock.seconds()
            rounds.did(began, ended)
            poller.poll_budget.answered(poller.messages_down, poller.messages_lost, ended, ended - began)
            return
        rounds.add(poller, (reply, ask))
        if not self._planned:
            self._planned = True
            clock.callLater(0, self._round)

    def _round(self) -> None:
        clock, rounds = self._clock, self._rounds
        began = ended = clock.seconds()
        while rounds.waiting and ended - began < QUANTUM:
            poller, (reply, ask) = rounds.next()
            try:
                poller.answered(reply, ask)
            except Exception:
                _log.failure("handling a poll answer failed", canister=poller.canister.text)
            now = clock.seconds()
            rounds.took(poller, now - ended)
            poller.poll_budget.answered(poller.messages_down, poller.messages_lost, now, now - ended)
            ended = now
        self._planned = rounds.waiting > 0
        if self._planned:
            clock.callLater(0, self._round)
