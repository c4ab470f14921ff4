"""Checks how pollers move through their canisters' queues: which messages they skip, and which answers they keep.

The rules are those of docs/reliability.md, applied to the answers that a poller gets:

- A gap is accepted after three answers over a second, each to a poll that was sent after the previous answer.
- A page is skipped after it was refused as too large three times over half a second, confirmed in the same way; the
  last page that is skipped was refused, too.
- What is of the new queue is never ignored, if a message of it has shown the reset.
- No answer is kept or used if its poll was sent before the canister was found to be reset.
- For a minute after a reset, an answer from an older queue than that of the last message read is ignored; as long as
  nothing was read, it is ignored if it begins with what was read before: for the same time if a certified message of
  the new queue has shown the reset, otherwise for three seconds. No other answer is ignored.
- A canister whose present queue is read is not found to be reset.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from icwsgw.core.cursor import (
    FORMER_SECONDS,
    FRESH_SECONDS,
    GAP_ANSWERS,
    GAP_SECONDS,
    CursorUpdate,
    LastMessage,
    Message,
)
from icwsgw.core.messages import message_timestamp
from icwsgw.core.oversize_search import REFUSALS, SECONDS, too_large
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch, nonce_of_key
from tests.simulation.oracle import SimPoller, _nothing

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession

#: Tolerance for sums of floats.
EPSILON = 1e-6
#: Faults that can also hide the messages by which a canister's queue is recognised.
HIDING = ("lagging", "hole")


class ConsistentAnswers:
    """Consecutive answers that report the same number, each to a poll that was sent after the previous answer."""

    def __init__(self) -> None:
        self.number = -1
        self.times: list[float] = []

    def add(self, number: int, asked: float, now: float) -> None:
        """Add an answer."""
        if number != self.number:
            self.reset()
            self.number = number
        if not self.times or asked >= self.times[-1]:
            self.times.append(now)

    def reset(self) -> None:
        """Start again: an answer has contradicted the others."""
        self.number, self.times = -1, []

    def missing_evidence(self, number: int, count: int, seconds: float) -> str:
        """Why the answers are not enough evidence; empty if they are."""
        times = self.times if number == self.number else []
        lasted = times[-1] - times[0] if times else 0.0
        if len(times) >= count and lasted >= seconds - EPSILON:
            return ""
        return f"{len(times)} answers over {lasted:.2f} s prove it"


class Read(NamedTuple):
    """A message that was read: the queue of its canister that it is from, its number and its time."""

    queue: int
    number: int
    at: int | None


class WatchedPoller(SimPoller):
    """A poller that checks each answer against the rules."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gap, self._large = ConsistentAnswers(), ConsistentAnswers()
        #: numbers from which a page was refused as too large
        self._refused: set[int] = set()
        self.restarted_at = -inf
        #: when the first message of the first queue was read
        self._began_at = -inf
        self._was_fresh = True
        #: times, and the positions that had been read by then
        self._progress: list[tuple[float, int]] = []
        #: the message that was read last before the last reset, and since
        self._read_before: Read | None = None
        self._read: Read | None = None
        #: the queue of the message that was read first since then; -1: an earlier poller has read it
        self._begun: int | None = None if self.cursor.fresh else -1
        #: the queue of the message that has shown the last reset; infinite: there was none
        self._proven: float = inf
        self._fresh_seconds = FRESH_SECONDS
        #: whether the answer that is handled now is ignored
        self._ignored = False
        #: by principal, the client key that its canister accepted last, as far as this process knows
        self.latest: dict[bytes, tuple[bytes, int]] = {}

    def accepted(self, session: ClientSession, key: tuple[bytes, int]) -> ClientSession | None:
        self.latest[key[0]] = key
        return super().accepted(session, key)

    def read_since(self, at: float) -> int:
        """The number of messages read since a time."""
        before = [number for when, number in self._progress if when <= at]
        return self.cursor.next - (before[-1] if before else 0)

    def continue_from(self, before: Any) -> None:
        super().continue_from(before)
        self._gap, self._large, self._refused = before._gap, before._large, before._refused
        self.restarted_at, self._progress = before.restarted_at, before._progress
        self._read_before, self._read, self._begun = before._read_before, before._read, before._begun
        self._began_at, self._proven = before._began_at, before._proven
        self._fresh_seconds = before._fresh_seconds

    def _place(self, message: Message) -> Read:
        queue = self.oracle.queue_of(self.canister, self._gateway, message[3])
        return Read(queue, nonce_of_key(message[2]), message_timestamp(message[3]))

    @property
    def _gateway(self) -> Principal:
        return self._context.identities[self.identity_index].principal

    def _first_new(self, batch: Batch) -> Read | None:
        """The first message of an answer that has not been read."""
        new = (self._place(each) for each in batch.messages if nonce_of_key(each[2]) >= self.cursor.next)
        return next(new, None)

    def _restart(self, now: float, anchor: LastMessage, proof: list[Message]) -> None:
        certified = bool(proof and not self._polling.resumed and self._context.network.root_key)
        self._fresh_seconds = FORMER_SECONDS if certified else FRESH_SECONDS
        self.oracle.at_restart.pop(self.canister, _nothing)()
        resumed = self._polling.resumed
        present = self.oracle.queue_number(self.canister, self._gateway)
        replica = self.oracle.world.replica
        # to a gateway that had no queue before the reset, nodes that lag behind show an empty one
        empty = self._gateway not in replica.had_queues.get(self.canister, (self._gateway,))
        excused = resumed or empty or any(self.oracle.troubles[each] for each in HIDING)
        if self._begun == present and not excused:
            self.oracle.fail(f"{self.canister.text[:5]} was found to be reset, and its queue was read from its start")
        self._read_before, self._read = None if resumed else self._read or self._read_before, None
        self._begun = None
        self._proven = self._place(proof[0]).queue if proof else inf
        self.restarted_at = now
        self._progress.clear()
        self._gap.reset()
        self._large.reset()
        super()._restart(now, anchor, proof)

    def _is_former(self, first: Read, now: float) -> bool | None:
        """Whether an answer that begins with this message, after known ones, must be ignored; None: unknown."""
        since, before = now - max(self.restarted_at, self._began_at), self._read_before
        if self._read is not None:
            former, seconds = first.queue < self._read.queue, FORMER_SECONDS
            if former and since == inf:
                # The position is that of an earlier poller, which may have begun a short time ago.
                return None
        elif before is not None:
            former, seconds = first[:2] <= before[:2], self._fresh_seconds
            if former and before.queue >= self._proven:
                # What was read before was the new queue already; of the old one, the anchor is known.
                return False if first.queue >= self._proven else None
            # Without a proof, the gateway cannot know whether what was read before was the new queue already.
            unknown = first.queue == self.oracle.queue_number(self.canister, self._gateway)
            if former and (unknown or (first.at == before.at and first != before)):
                return None
        else:
            return None
        return None if abs(since - seconds) < EPSILON else former and since < seconds

    def _deliver(self, batch: Batch, taken: CursorUpdate, poll: InFlightPoll) -> None:
        now = self._clock.seconds()
        self._ignored = False
        first = self._place(taken.deliver[0]) if taken.deliver else self._first_new(batch)
        former = None if first is None else self._is_former(first, now)
        if taken.lost is not None:
            self._gap.add(taken.lost[0], poll.sent, now)
            why = self._gap.missing_evidence(taken.lost[0], GAP_ANSWERS, GAP_SECONDS)
            if why:
                self.oracle.fail(f"{self.canister.text[:5]}: the gap {taken.lost} was accepted, but {why}")
        elif taken.missing is not None and not taken.deliver and not former:
            self._gap.add(taken.missing[0], poll.sent, now)
        if taken.deliver:
            if former:
                since = now - self.restarted_at
                self.oracle.fail(f"{self.canister.text[:5]}: {first} is delivered {since:.2f} s after the reset")
            self._gap.reset()
            self._progress.append((now, self.cursor.next))
            self._read = self._place(taken.deliver[-1])
            if self._begun is None:
                self._begun = self._place(taken.deliver[0]).queue
            if self._was_fresh and self._began_at == -inf:
                self._began_at = now
        super()._deliver(batch, taken, poll)

    def failed(self, failure: Any, poll: InFlightPoll) -> None:
        if poll in self._in_flight and poll.anchor is None and too_large(failure.value):
            self._refused.add(poll.nonce)
            if poll.nonce == self.cursor.next:
                self._large.add(poll.nonce, poll.sent, self._clock.seconds())
        super().failed(failure, poll)

    def _take(self, batch: Batch, poll: InFlightPoll, asked: int, now: float, count: int) -> None:
        if poll.sent < self.restarted_at - EPSILON:
            late = self.restarted_at - poll.sent
            self.oracle.fail(f"{self.canister.text[:5]}: an answer is taken, asked for {late:.3f} s before the reset")
        if asked == self.cursor.next and poll.anchor is None:
            # the page can be read after all
            self._large.reset()
        new = self._first_new(batch)
        former = None if new is None else self._is_former(new, now)
        waits = bool(batch.messages) and asked > self.cursor.next < nonce_of_key(batch.messages[0][2])
        self._ignored = former is False and not waits
        self._was_fresh = self.cursor.fresh
        super()._take(batch, poll, asked, now, count)
        if self._ignored:
            self.oracle.fail(f"{self.canister.text[:5]}: an answer that begins with {new} is ignored")

    def _leave_out(self, beyond: int | None) -> None:
        if beyond is not None:
            first = self.cursor.next
            why = self._large.missing_evidence(first, REFUSALS, SECONDS)
            if why:
                self.oracle.fail(f"{self.canister.text[:5]}: messages {first} to {beyond} were left out, but {why}")
            if beyond - 1 not in self._refused:
                self.oracle.fail(f"{self.canister.text[:5]}: the page from {beyond - 1} was left out, and not refused")
            self._refused.clear()
        super()._leave_out(beyond)
