"""What happens to a client that sends more than its rate limits allow, as a state machine.

    state     event       next      effects
    --------  ----------  --------  ------------------------------------
    READING   OVER_LIMIT  PAUSED    START_TIMER, REPORT, STOP_READING
    READING   FLOOD       DROPPING  DISCARD, CLOSE, LINGER
    READING   CLOSED      READING   -
    PAUSED    OVER_LIMIT  PAUSED    EXTEND_TIMER
    PAUSED    PAUSE_OVER  READING   START_READING
    PAUSED    FLOOD       RESTING   DISCARD, CLOSE, LINGER
    PAUSED    CLOSED      READING   CANCEL_TIMER, START_READING
    DROPPING  RECEIVED    RESTING   START_TIMER, STOP_READING
    DROPPING  CLOSED      DROPPING  -
    RESTING   RECEIVED    RESTING   -
    RESTING   PAUSE_OVER  DROPPING  START_READING
    RESTING   CLOSED      DROPPING  CANCEL_TIMER, START_READING

A client that owes a little is not read until it has tokens again, so that TCP slows it down. A client that owes more
than any honest one (:mod:`icwsgw.core.rate_limit`) is closed with 4108. A client that blocks while it sends does not
see its close frame until the gateway has read what it has sent, so the gateway reads on for :data:`FLOOD_LINGER`
seconds, drops what comes, and pauses after each read, because reading costs too.

The connection counts its own tokens down and makes a guard when they are used up for the first time: most never do.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf

from icwsgw.core.rate_limit import ClientRates
from icwsgw.core.transitions import transition
from icwsgw.core.written_state import Written

#: Seconds for which a client that floods gets to see its close frame; what it sends meanwhile is dropped unread.
FLOOD_LINGER = 2.0
#: Seconds between two reads of a client that floods. One read takes 64 KiB at most.
FLOOD_SIP = 0.01


class FloodState(IntEnum):
    """Whether the client's data is read. The order matters: from DROPPING on, nothing of it is used."""

    READING = 0
    """It is read and used."""
    PAUSED = 1
    """It is not read until the client has tokens again."""
    DROPPING = 2
    """The client has sent a flood: it is read and dropped."""
    RESTING = 3
    """The client has sent a flood: it is not read for a moment."""


class FloodEvent(IntEnum):
    """What can happen to a client's data."""

    OVER_LIMIT = 0
    """The client owes tokens."""
    FLOOD = 1
    """The client owes more than an honest client would, or it owes tokens and has no session that could wait."""
    RECEIVED = 2
    """Data came after a flood."""
    PAUSE_OVER = 3
    """The timer has fired."""
    CLOSED = 4
    """The gateway has sent a close frame: it reads on to the client's close frame."""


class FloodEffect(IntEnum):
    """What the connection has to do."""

    START_TIMER = 0
    """Report PAUSE_OVER after :attr:`FloodGuard.pause` seconds."""
    EXTEND_TIMER = 1
    """Let the timer fire :attr:`FloodGuard.pause` seconds from now instead."""
    CANCEL_TIMER = 2
    """Stop the timer."""
    STOP_READING = 3
    """Do not read the socket."""
    START_READING = 4
    """Read the socket again."""
    REPORT = 5
    """Count that the client is held back by the limit :attr:`FloodGuard.limit`."""
    DISCARD = 6
    """Forget the data that has come and is not used yet."""
    CLOSE = 7
    """Close the session, if there is one, with 4108."""
    LINGER = 8
    """Abort the connection after :data:`FLOOD_LINGER` seconds."""


FloodEffects = tuple[FloodEffect, ...]
S, E, F = FloodState, FloodEvent, FloodEffect

TABLE: dict[tuple[FloodState, FloodEvent], tuple[FloodState, FloodEffects]] = {
    (S.READING, E.OVER_LIMIT): (S.PAUSED, (F.START_TIMER, F.REPORT, F.STOP_READING)),
    (S.READING, E.FLOOD): (S.DROPPING, (F.DISCARD, F.CLOSE, F.LINGER)),
    (S.READING, E.CLOSED): (S.READING, ()),
    (S.PAUSED, E.OVER_LIMIT): (S.PAUSED, (F.EXTEND_TIMER,)),
    (S.PAUSED, E.PAUSE_OVER): (S.READING, (F.START_READING,)),
    (S.PAUSED, E.FLOOD): (S.RESTING, (F.DISCARD, F.CLOSE, F.LINGER)),
    (S.PAUSED, E.CLOSED): (S.READING, (F.CANCEL_TIMER, F.START_READING)),
    (S.DROPPING, E.RECEIVED): (S.RESTING, (F.START_TIMER, F.STOP_READING)),
    (S.DROPPING, E.CLOSED): (S.DROPPING, ()),
    (S.RESTING, E.RECEIVED): (S.RESTING, ()),
    (S.RESTING, E.PAUSE_OVER): (S.DROPPING, (F.START_READING,)),
    (S.RESTING, E.CLOSED): (S.DROPPING, (F.CANCEL_TIMER, F.START_READING)),
}
del S, E, F


class FloodGuard(Written):
    """The rate limits of one client.

    :param start: seconds of the reactor's clock when the client had the tokens of a new connection
    :ivar state: whether the client's data is read
    :ivar frames_left: tokens for frames that the client had at the last look; a debt below 0; see :meth:`spent`
    :ivar bytes_left: the same for bytes
    :ivar limit: which limit holds the client back: ``frames`` or ``bytes``; empty: none has yet
    :ivar pause: seconds, for START_TIMER and EXTEND_TIMER
    """

    __slots__ = ("_looked", "bytes_left", "frames_left", "limit", "pause", "state")
    WRITTEN = {
        "_looked": float,
        "bytes_left": float,
        "frames_left": float,
        "limit": str,
        "pause": float,
        "state": FloodState,
    }

    def __init__(self, start: float) -> None:
        self.state = FloodState.READING
        self.frames_left = self.bytes_left = inf
        self.limit = ""
        self.pause = 0.0
        self._looked = start

    @property
    def drops(self) -> bool:
        """Whether the client has sent a flood, so that nothing of it is used any more."""
        return self.state >= FloodState.DROPPING

    def spent(
        self, rates: ClientRates, frames_left: float, bytes_left: float, now: float, opened: bool
    ) -> FloodEffects:
        """The client has used up its tokens, as the connection counted; or it has sent data after a flood.

        The connection counts on from :attr:`frames_left` and :attr:`bytes_left`.

        :param rates: the limits
        :param frames_left: tokens for frames that are left, a debt below 0
        :param bytes_left: tokens for bytes that are left, a debt below 0
        :param now: seconds of the reactor's clock
        :param opened: the client has a session that can wait
        """
        if self.drops:
            self.pause = FLOOD_SIP
            return self.step(FloodEvent.RECEIVED)
        decision = rates.judge(frames_left, bytes_left, now - self._looked)
        self._looked = now
        self.frames_left, self.bytes_left = decision.frames_left, decision.bytes_left
        if not decision.limit:
            return ()
        self.limit = decision.limit
        if decision.flood or not opened:
            # each further byte is one too many
            self.bytes_left = -inf
            return self.step(FloodEvent.FLOOD)
        self.pause = decision.pause
        return self.step(FloodEvent.OVER_LIMIT)

    def step(self, event: FloodEvent) -> FloodEffects:
        """Step to the next state.

        :raises LookupError: the event cannot happen in this state
        """
        self.state, effects = transition(TABLE, self.state, event)
        return effects
