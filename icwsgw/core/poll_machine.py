"""What a poller asks next, and what follows an answer: decisions and tables, without a network.

:class:`Polling` holds the state of one poller: the cursor, the reset detector, the send window, the reorder buffer, the
search for the end of oversize pages, and the queries in flight. :mod:`icwsgw.gateway.polling.poller` sends what
:meth:`Polling.choose` gives and performs what the tables say.

What follows an answer to an ordinary query (:data:`FOLLOW`; the first row that applies):

    the queue goes on, and no client got a message of it    REST
    the queue goes on                                       ASK
    new messages, and the reorder buffer holds answers      ASK
    the reorder buffer holds answers                        ASK_FOR_GAP
    new messages                                            FOLLOW_UP
    clients wait for their first message                    LOOK_AGAIN
    otherwise                                               NOTHING

What follows the answer to a probe (:data:`JUDGED`). *Resumed* means that the position is an earlier poller's and no
client has got a message since, so nothing has to be proven:

    SAME                                                    GO_ON
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
from icwsgw.core.reset_detector import ResetDetector, ResetState
from icwsgw.core.written_state import Document

#: Seconds after which a query is late, or three usual round trips if they take longer.
LATE_SECONDS = 1.0


class Follow(IntEnum):
    """What follows an answer to an ordinary query."""

    ASK = 0
    """Ask at once for what the window allows."""
    REST = 1
    """The same, after the time that messages for nobody have cost."""
    ASK_FOR_GAP = 2
    """Ask soon for the messages before those that wait for their turn."""
    FOLLOW_UP = 3
    """Poll once more before the next beat: what was queued may be answered."""
    LOOK_AGAIN = 4
    """Poll again for a newcomer's first message; or probe, where a ws_open was executed and the queue is empty."""
    NOTHING = 5
    """The next beat will do."""


def _follow(more: bool, useful: bool, found: bool, kept: bool, waiting: bool) -> Follow:
    if more:
        return Follow.ASK if useful else Follow.REST
    if kept:
        return Follow.ASK if found else Follow.ASK_FOR_GAP
    if found:
        return Follow.FOLLOW_UP
    return Follow.LOOK_AGAIN if waiting else Follow.NOTHING


#: Keys: the queue goes on; a client got a message; there were new messages; the reorder buffer holds answers; clients
#: wait for their first message. It is a table because each poll looks something up here.
FOLLOW: dict[tuple[bool, bool, bool, bool, bool], Follow] = {
    (more, useful, found, kept, waiting): _follow(more, useful, found, kept, waiting)
    for more, useful, found in product((False, True), repeat=3)
    for kept, waiting in product((False, True), repeat=2)
}


class Judged(IntEnum):
    """What follows the answer to a probe."""

    GO_ON = 0
    """The canister's life goes on; the answer is taken as others are."""
    PROVE = 1
    """Restart if the answer's certificate holds, else probe again soon."""
    RESTART = 2
    """The canister has begun a new life."""
    LOOK_AT_START = 3
    """Ask for the start of its queue."""
    NOTHING = 4
    """Nothing is proven."""


#: Keys: what the evidence says; the position is an earlier poller's; the answer has messages.
JUDGED: dict[tuple[ResetState, bool, bool], Judged] = {
    **{(ResetState.SAME, resumed, some): Judged.GO_ON for resumed in (False, True) for some in (False, True)},
    **{(ResetState.UNSURE, resumed, some): Judged.NOTHING for resumed in (False, True) for some in (False, True)},
    **{(ResetState.LOOK, True, some): Judged.RESTART for some in (False, True)},
    **{(ResetState.LOOK, False, some): Judged.LOOK_AT_START for some in (False, True)},
    **{(ResetState.NEW, True, some): Judged.RESTART for some in (False, True)},
    (ResetState.NEW, False, False): Judged.RESTART,
    (ResetState.NEW, False, True): Judged.PROVE,
}


class Question(Protocol):
    """A query in flight (:class:`icwsgw.gateway.polling.poll_requests.InFlightPoll`)."""

    nonce: int
    sent: float
    anchor: LastMessage | None


T = TypeVar("T", bound=Question)


class Polling(Generic[T]):
    """The state of one poller.

    :ivar cursor: the position in the canister's queue
    :ivar reset_detector: the evidence for and against a reset of the canister
    :ivar window: how many polls may be in flight
    :ivar reorder_buffer: answers that wait for earlier ones
    :ivar search: the search for the end of pages that are too large
    :ivar asks: queries in flight, the oldest first
    :ivar probing: the newest probe, or look at the start of the queue, in flight
    :ivar resumed: the position is an earlier poller's, and no probe has confirmed it yet: no message is delivered
    """

    __slots__ = ("asks", "cursor", "probing", "reorder_buffer", "reset_detector", "resumed", "search", "window")

    def __init__(self, cursor: Cursor | None, window: int) -> None:
        self.resumed = cursor is not None
        self.cursor = cursor or Cursor()
        self.reset_detector = ResetDetector(self.cursor.last)
        self.window = PollWindow(window)
        self.reorder_buffer = ReorderBuffer()
        self.search = OversizeSearch()
        self.asks: dict[T, None] = {}
        self.probing: T | None = None

    def written(self) -> Document:
        """The state as plain values, without the queries in flight and answers that wait for their turn."""
        anchor = self.reset_detector.anchor
        return {
            "cursor": self.cursor.written(),
            "window": self.window.written(),
            "anchor": anchor and anchor.written(),
            "resumed": self.resumed,
            "reset": self.reset_detector.written(),
            "search": self.search.written(),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document. Nothing has been asked yet.

        :raises FormatError: a value is of the wrong kind
        """
        self.cursor.read(document.get("cursor", {}))
        self.window.read(document.get("window", {}))
        anchor = document.get("anchor")
        self.reset_detector.anchor = None if anchor is None else LastMessage.from_document(anchor)
        self.resumed = bool(document.get("resumed", self.resumed))
        self.reset_detector.read(document.get("reset", {}))
        self.search.read(document.get("search", {}))

    def choose(self, now: float, overlap: bool, waiting: bool, rtt: float) -> tuple[LastMessage | None, list[int]]:
        """What to ask now.

        :param overlap: ask from the next nonce even if a query from there is in flight
        :param waiting: clients wait for their first message
        :param rtt: the usual round-trip time in seconds
        :return: the anchor to probe from, or None if no probe is due; the nonces to poll from
        """
        following, asks, reset_detector = self.cursor.next, self.asks, self.reset_detector
        in_flight = {ask.nonce for ask in asks if ask.anchor is None} if asks else set()
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
        if self.search.first is not None and self.search.seeking:
            number = self.search.ask()
            return anchor, [] if number in in_flight else [number]
        return anchor, self.window.asks(following, in_flight)

    def overlap(self, now: float, gap: float, most: int, rtt: float) -> tuple[bool, T | None]:
        """Whether a query may be sent although one from the same nonce is in flight, and which one is given up for it.

        :param gap: seconds that have to have passed since the last such query. A tick needs no second query right after
            another one, and is not left out because the tick before came late.
        :param most: maximum number of such queries in flight
        """
        nonce = self.cursor.next
        same = [ask for ask in self.asks if ask.nonce == nonce or ask.anchor is not None]
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
        past = (ask for ask in self.asks if ask.anchor is None and ask.nonce < self.cursor.next)
        return next(past, None) or next(iter(self.asks))

    def ended(self, ask: T) -> bool:
        """A query has ended; False if it was given up before."""
        if ask not in self.asks:
            return False
        del self.asks[ask]
        if ask is self.probing:
            self.probing = None
        return True

    def judge(
        self,
        ask: T,
        anchor: LastMessage,
        messages: list[Message],
        waiting: Container[tuple[bytes, int]],
        now: float,
        may_ask: bool,
    ) -> Judged:
        """Judge the answer to a probe, or to a look at the start of the queue (which asks below the anchor).

        :param waiting: client keys that wait for their first message
        :param may_ask: the network has not asked to wait
        """
        reset_detector = self.reset_detector
        if ask.nonce == anchor.nonce:
            verdict = reset_detector.probed(anchor, messages, now)
        else:
            verdict = reset_detector.looked(anchor, messages, waiting, now)
        judged = JUDGED[verdict, self.resumed, bool(messages)]
        if judged is Judged.GO_ON:
            self.resumed = False
        elif judged is Judged.LOOK_AT_START:
            if not may_ask:
                return Judged.NOTHING
            if anchor.nonce == 0:
                # The probe was a look at the start itself.
                new = reset_detector.looked(anchor, [], waiting, now) is ResetState.NEW
                return Judged.RESTART if new else Judged.NOTHING
        return judged

    def restart(self) -> bool:
        """The canister was reset; returns whether the position was an earlier poller's."""
        resumed, self.resumed = self.resumed, False
        self.search.restart()
        self.cursor.restart()
        self.reset_detector.restart()
        self.reorder_buffer.clear()
        return resumed


def late(ask: Question, now: float, rtt: float) -> bool:
    """Whether a query takes longer than usual.

    :param rtt: the usual round-trip time in seconds
    """
    return now - ask.sent >= max(LATE_SECONDS, 3 * rtt)
