"""What a poller does next, and what follows an answer: decisions and tables, without a network.

:class:`Polling` holds the state of one poller: the cursor, the reset detector, the send window, the reorder buffer, the
search for the end of oversize pages, and the queries in flight. :mod:`icwsgw.gateway.polling.poller` sends what
:meth:`Polling.choose` gives and performs what the tables require.

What follows an answer to an ordinary query (:data:`FOLLOW`; the first row that applies):

    the queue continues, and no client got a message of it  REST
    the queue continues                                     POLL
    new messages, and the reorder buffer holds answers      POLL
    the reorder buffer holds answers                        POLL_FOR_GAP
    new messages                                            FOLLOW_UP
    clients wait for their first message                    LOOK_AGAIN
    otherwise                                               NOTHING

What follows the answer to a probe (:data:`JUDGED`). *Resumed* means that the position is an earlier poller's and no
client has got a message since, so nothing has to be proven:

    SAME                                                    CONTINUE
    NEW, with messages, not resumed                         PROVE
    NEW, otherwise                                          RESTART
    LOOK, resumed                                           RESTART
    LOOK, otherwise                                         LOOK_AT_START
    UNSURE                                                  NOTHING
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import IntEnum
from itertools import product
from typing import Any, Generic, Protocol, TypeVar

from icwsgw.core.cursor import Cursor, LastMessage, Message
from icwsgw.core.oversize_search import OversizeSearch
from icwsgw.core.poll_window import PollWindow
from icwsgw.core.reorder_buffer import ReorderBuffer
from icwsgw.core.reset_detector import ResetDetector, ResetState, former_message
from icwsgw.core.written_state import Document

#: Seconds after which a query is late, or three usual round trips if they take longer.
LATE_SECONDS = 1.0


class Follow(IntEnum):
    """What follows an answer to an ordinary query."""

    POLL = 0
    """Poll at once from what the window allows."""
    REST = 1
    """The same, after the time that messages without a client have cost."""
    POLL_FOR_GAP = 2
    """Poll soon for the messages before those in the reorder buffer."""
    FOLLOW_UP = 3
    """Poll once more before the next tick: what was queued may be answered."""
    LOOK_AGAIN = 4
    """Poll again for a newcomer's first message; or probe, where a ws_open was executed and the queue is empty."""
    NOTHING = 5
    """The next tick suffices."""


def _follow(more: bool, useful: bool, found: bool, kept: bool, waiting: bool) -> Follow:
    if more:
        return Follow.POLL if useful else Follow.REST
    if kept:
        return Follow.POLL if found else Follow.POLL_FOR_GAP
    if found:
        return Follow.FOLLOW_UP
    return Follow.LOOK_AGAIN if waiting else Follow.NOTHING


#: Keys: the queue continues; a client got a message; there were new messages; the reorder buffer holds answers; clients
#: wait for their first message. It is a table because each poll looks something up here.
FOLLOW: dict[tuple[bool, bool, bool, bool, bool], Follow] = {
    (more, useful, found, kept, waiting): _follow(more, useful, found, kept, waiting)
    for more, useful, found in product((False, True), repeat=3)
    for kept, waiting in product((False, True), repeat=2)
}


class Judged(IntEnum):
    """What follows the answer to a probe."""

    CONTINUE = 0
    """The canister was not reset; the answer is handled as others are."""
    PROVE = 1
    """Restart if the answer's certificate holds, else probe again soon."""
    RESTART = 2
    """The canister was reset."""
    LOOK_AT_START = 3
    """Poll from the start of its queue."""
    NOTHING = 4
    """Nothing is proven."""


#: Keys: the evidence; the position is an earlier poller's; the answer has messages.
JUDGED: dict[tuple[ResetState, bool, bool], Judged] = {
    **{(ResetState.SAME, resumed, some): Judged.CONTINUE for resumed in (False, True) for some in (False, True)},
    **{(ResetState.UNSURE, resumed, some): Judged.NOTHING for resumed in (False, True) for some in (False, True)},
    **{(ResetState.LOOK, True, some): Judged.RESTART for some in (False, True)},
    **{(ResetState.LOOK, False, some): Judged.LOOK_AT_START for some in (False, True)},
    **{(ResetState.NEW, True, some): Judged.RESTART for some in (False, True)},
    (ResetState.NEW, False, False): Judged.RESTART,
    (ResetState.NEW, False, True): Judged.PROVE,
}


class Query(Protocol):
    """A query in flight (:class:`icwsgw.gateway.polling.poll_requests.InFlightPoll`)."""

    nonce: int
    sent: float
    anchor: LastMessage | None


T = TypeVar("T", bound=Query)


class Polling(Generic[T]):
    """The state of one poller.

    :ivar cursor: the position in the canister's queue
    :ivar reset_detector: the evidence for and against a reset of the canister
    :ivar window: how many polls may be in flight
    :ivar reorder_buffer: answers that wait for earlier ones
    :ivar search: the search for the end of pages that are too large
    :ivar in_flight: queries in flight, the oldest first
    :ivar due_look: the anchor of a look at the start of the queue that waits for the next tick or wake; None: none does
    :ivar probing: the newest probe, or look at the start of the queue, in flight
    :ivar resumed: the position is an earlier poller's, and no probe has confirmed it yet: no message is delivered
    """

    __slots__ = (
        *("cursor", "due_look", "in_flight", "probing", "reorder_buffer", "reset_detector", "resumed", "search"),
        "window",
    )

    def __init__(self, cursor: Cursor | None, window: int) -> None:
        self.resumed = cursor is not None
        self.cursor = cursor or Cursor()
        self.reset_detector = ResetDetector(self.cursor.last)
        self.window = PollWindow(window)
        self.reorder_buffer = ReorderBuffer()
        self.search = OversizeSearch()
        self.in_flight: dict[T, None] = {}
        self.probing: T | None = None
        self.due_look: LastMessage | None = None

    def written(self) -> Document:
        """The state as plain values, without the queries in flight and the reorder buffer.

        A look at the start of the queue that is in flight is due again. Without it the probe would be repeated.
        """
        anchor, due_look = self.reset_detector.anchor, self.due_look or self._looks_for
        return {
            "cursor": self.cursor.written(),
            "window": self.window.written(),
            "anchor": anchor and anchor.written(),
            "due_look": due_look and due_look.written(),
            "resumed": self.resumed,
            "reset": self.reset_detector.written(),
            "search": self.search.written(),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document. No query has been sent yet.

        :raises FormatError: a value is of the wrong kind
        """
        self.cursor.read(document.get("cursor", {}))
        self.window.read(document.get("window", {}))
        anchor = document.get("anchor")
        self.reset_detector.anchor = None if anchor is None else LastMessage.from_document(anchor)
        # a version before revision 4 does not write it: it probes again
        due_look = document.get("due_look")
        self.due_look = None if due_look is None else LastMessage.from_document(due_look)
        self.resumed = bool(document.get("resumed", self.resumed))
        self.reset_detector.read(document.get("reset", {}))
        self.search.read(document.get("search", {}))

    @property
    def _looks_for(self) -> LastMessage | None:
        """The anchor of the look at the start of the queue that is in flight; None: none is."""
        poll = self.probing
        return None if poll is None or poll.anchor is None or poll.nonce == poll.anchor.nonce else poll.anchor

    def choose(self, now: float, overlap: bool, waiting: bool, rtt: float) -> tuple[LastMessage | None, list[int]]:
        """What to poll now.

        :param overlap: poll from the next nonce even if a query from there is in flight
        :param waiting: clients wait for their first message
        :param rtt: the usual round-trip time in seconds
        :return: the anchor to probe from, or None if no probe is due; the nonces to poll from
        """
        following, polls, reset_detector = self.cursor.next, self.in_flight, self.reset_detector
        in_flight = {poll.nonce for poll in polls if poll.anchor is None} if polls else set()
        seeking = self.search.first is not None and self.search.seeking
        if not seeking:
            # The search needs an answer from its own nonce, whatever was read ahead.
            in_flight.update(self.reorder_buffer.kept)
        if overlap:
            in_flight.discard(following)
        anchor = reset_detector.anchor
        probing = self.probing
        if anchor is not None and not (
            (self.resumed or reset_detector.due(now))
            # A probe that hangs must not delay the next one.
            and (probing is None or late(probing, now, rtt))
        ):
            anchor = None
        if anchor is not None:
            reset_detector.sent(now, waiting)
            if self.resumed or anchor.nonce == following - 1:
                # The probe's answer contains new messages as well.
                in_flight.add(following)
        if seeking:
            nonce = self.search.next_nonce()
            return anchor, [] if nonce in in_flight else [nonce]
        return anchor, self.window.nonces(following, in_flight)

    def overlap(self, now: float, gap: float, most: int, rtt: float) -> tuple[bool, T | None]:
        """Whether a query may be sent although one from the same nonce is in flight, and which one is given up for it.

        :param gap: seconds that have to have passed since the last such query. A tick needs no second query right after
            another one, and is not left out because the tick before came late.
        :param most: maximum number of such queries in flight
        """
        nonce = self.cursor.next
        same = [poll for poll in self.in_flight if poll.nonce == nonce or poll.anchor is not None]
        if not same:
            return True, None
        if now - same[-1].sent < gap:
            return False, None
        if len(same) < most:
            return True, None
        return (True, same[0]) if late(same[0], now, rtt) else (False, None)

    def least(self) -> T:
        """The least important query in flight: the oldest about messages that were delivered since, else the oldest.

        :raises StopIteration: there is none
        """
        past = (poll for poll in self.in_flight if poll.anchor is None and poll.nonce < self.cursor.next)
        return next(past, None) or next(iter(self.in_flight))

    def ended(self, poll: T) -> bool:
        """A query has ended; False if it was given up before."""
        if poll not in self.in_flight:
            return False
        del self.in_flight[poll]
        if poll is self.probing:
            self.probing = None
        return True

    def judge(
        self,
        poll: T,
        anchor: LastMessage,
        messages: list[Message],
        waiting: Container[tuple[bytes, int]],
        now: float,
        may_poll: bool,
    ) -> Judged:
        """Judge the answer to a probe, or to a look at the start of the queue (which polls from below the anchor).

        :param waiting: client keys that wait for their first message
        :param may_poll: the network has not asked to wait
        """
        reset_detector = self.reset_detector
        if poll.nonce == anchor.nonce:
            verdict = reset_detector.probed(anchor, messages, now)
        else:
            verdict = reset_detector.looked(anchor, messages, waiting, now)
        judged = JUDGED[verdict, self.resumed, bool(messages)]
        if judged is Judged.CONTINUE:
            self.resumed = False
        elif judged is Judged.LOOK_AT_START:
            if not may_poll:
                return Judged.NOTHING
            if anchor.nonce == 0:
                # The probe was a look at the start itself.
                new = reset_detector.looked(anchor, [], waiting, now) is ResetState.NEW
                return Judged.RESTART if new else Judged.NOTHING
        return judged

    def restart(self, now: float, anchor: LastMessage | None, proof: list[Message], certified: bool) -> bool:
        """The canister was reset; returns whether the position was an earlier poller's.

        :param now: monotonic seconds
        :param anchor: the message that was looked for
        :param proof: the answer that has shown the reset; empty if the queue was absent
        :param certified: that answer was verified
        """
        resumed, self.resumed = self.resumed, False
        self.search.restart()
        self.due_look = None
        former = None if resumed else former_message(anchor, self.cursor.last, proof)
        self.cursor.restart(now, former, proven=bool(proof) and certified)
        self.reset_detector.restart()
        self.reorder_buffer.clear()
        return resumed


def late(poll: Query, now: float, rtt: float) -> bool:
    """Whether a query takes longer than usual.

    :param rtt: the usual round-trip time in seconds
    """
    return now - poll.sent >= max(LATE_SECONDS, 3 * rtt)
