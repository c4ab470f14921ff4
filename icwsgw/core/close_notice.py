"""One close notice as a state machine: ``ws_close`` is sent until the canister has answered it.

    state      event              next       effects
    ---------  -----------------  ---------  ----------------------------------------------
    WAITING    GRANTED            IN_FLIGHT  SEND
    WAITING    FOUND_OUT          OVER       GIVE_PLACE_BACK, REPORT_GIVEN_UP, TELL_UNCERTAIN, END
    WAITING    GIVEN_UP           OVER       FORGET_PLACE, TELL_UNCERTAIN, END
    IN_FLIGHT  REMOVED            OVER       TELL_KNOWN, END
    IN_FLIGHT  NOT_KNOWN          OVER       REPORT_NOT_NEEDED, TELL_NOT_KNOWN, END
    IN_FLIGHT  NOT_KNOWN_ANYMORE  OVER       REPORT_NOT_NEEDED, TELL_UNCERTAIN, END
    IN_FLIGHT  UNREADABLE         OVER       TELL_UNCERTAIN, END
    IN_FLIGHT  REJECTED           OVER       REPORT_REJECTED, TELL_UNCERTAIN, END
    IN_FLIGHT  FAILED             OVER       REPORT_FAILED, TELL_UNCERTAIN, END
    IN_FLIGHT  PASSED             PAUSING    RETRY
    IN_FLIGHT  GIVEN_UP           OVER       TELL_UNCERTAIN, END, CANCEL
    PAUSING    PAUSE_OVER         WAITING    ENTER
    PAUSING    GIVEN_UP           OVER       CANCEL, TELL_UNCERTAIN, END
    WAITING    HANDED_OVER        WAITING    ENTER
    IN_FLIGHT  HANDED_OVER        WAITING    ENTER
    PAUSING    HANDED_OVER        PAUSING    RETRY

A notice begins in WAITING and ends exactly once. Events in OVER are ignored: an attempt that was cancelled may still
report its end.

The canister's ``Err`` says that it does not know the client. After an earlier attempt that may be because that one has
removed it, so the owner is told so only after the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from icwsgw.core.backoff import retry_pause
from icwsgw.core.transitions import transition
from icwsgw.core.written_state import Written

#: Seconds after which a failed ws_close is not tried again.
MAX_RETRY_SECONDS = 120.0
#: Seconds after which the CDK's keep-alive check has found out by itself: five minutes, and one more.
FOUND_OUT_SECONDS = 360.0


class NoticeState(IntEnum):
    """Where a notice is."""

    WAITING = 0
    """It waits for a call slot."""
    IN_FLIGHT = 1
    """An attempt is in flight."""
    PAUSING = 2
    """It pauses before the next attempt."""
    OVER = 3
    """Nothing is left to do."""


class NoticeEvent(IntEnum):
    """What can happen to a notice."""

    GRANTED = 0
    """It has its call slot."""
    FOUND_OUT = 1
    """It has its call slot, so late that the canister must have found out by itself."""
    REMOVED = 2
    """The canister knew the client and has removed it."""
    NOT_KNOWN = 3
    """The canister did not know the client at the first attempt."""
    NOT_KNOWN_ANYMORE = 4
    """The canister did not know the client at a later attempt."""
    UNREADABLE = 5
    """The call was executed, but its reply is not available or cannot be decoded."""
    REJECTED = 6
    """A certificate says that the call was rejected."""
    FAILED = 7
    """The attempt failed for good, or for too long."""
    PASSED = 8
    """The attempt failed in a way that may pass."""
    PAUSE_OVER = 9
    """The pause is over."""
    GIVEN_UP = 10
    """The gateway gives the notice up."""
    HANDED_OVER = 11
    """This process has taken it over from another one, whose attempt in flight nobody hears of any more."""


class NoticeEffect(IntEnum):
    """What has to be done about a notice."""

    ENTER = 0
    """Ask for a call slot."""
    SEND = 1
    """Sign a ws_close of its own and send it."""
    RETRY = 2
    """Wait for :attr:`CloseNotice.pause` seconds, then report PAUSE_OVER."""
    GIVE_PLACE_BACK = 3
    """Give back the call slot that it has just got."""
    FORGET_PLACE = 4
    """Stop waiting for a call slot."""
    CANCEL = 5
    """Cancel the attempt in flight, or the timer of the pause."""
    TELL_KNOWN = 6
    """Tell the owner that the canister knew the client until now."""
    TELL_NOT_KNOWN = 7
    """Tell the owner that the canister did not know the client."""
    TELL_UNCERTAIN = 8
    """Tell the owner that nobody can tell whether the canister knew the client."""
    REPORT_GIVEN_UP = 9
    """Log that the notice is dropped."""
    REPORT_NOT_NEEDED = 10
    """Log that the canister did not know the client."""
    REPORT_REJECTED = 11
    """Log that the canister refused the call."""
    REPORT_FAILED = 12
    """Log that the notice was not delivered."""
    END = 13
    """Count the notice and tell the owner that it is over."""


NoticeEffects = tuple[NoticeEffect, ...]
S, E, F = NoticeState, NoticeEvent, NoticeEffect

TABLE: dict[tuple[NoticeState, NoticeEvent], tuple[NoticeState, NoticeEffects]] = {
    (S.WAITING, E.GRANTED): (S.IN_FLIGHT, (F.SEND,)),
    (S.WAITING, E.FOUND_OUT): (S.OVER, (F.GIVE_PLACE_BACK, F.REPORT_GIVEN_UP, F.TELL_UNCERTAIN, F.END)),
    (S.WAITING, E.GIVEN_UP): (S.OVER, (F.FORGET_PLACE, F.TELL_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.REMOVED): (S.OVER, (F.TELL_KNOWN, F.END)),
    (S.IN_FLIGHT, E.NOT_KNOWN): (S.OVER, (F.REPORT_NOT_NEEDED, F.TELL_NOT_KNOWN, F.END)),
    (S.IN_FLIGHT, E.NOT_KNOWN_ANYMORE): (S.OVER, (F.REPORT_NOT_NEEDED, F.TELL_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.UNREADABLE): (S.OVER, (F.TELL_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.REJECTED): (S.OVER, (F.REPORT_REJECTED, F.TELL_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.FAILED): (S.OVER, (F.REPORT_FAILED, F.TELL_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.PASSED): (S.PAUSING, (F.RETRY,)),
    (S.IN_FLIGHT, E.GIVEN_UP): (S.OVER, (F.TELL_UNCERTAIN, F.END, F.CANCEL)),
    (S.PAUSING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.PAUSING, E.GIVEN_UP): (S.OVER, (F.CANCEL, F.TELL_UNCERTAIN, F.END)),
    (S.WAITING, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.IN_FLIGHT, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.PAUSING, E.HANDED_OVER): (S.PAUSING, (F.RETRY,)),
}
_OVER, _REFUSED, _FIRST_REFUSED, _PASSED = S.OVER, E.NOT_KNOWN_ANYMORE, E.NOT_KNOWN, E.PASSED
_WAITING, _IN_FLIGHT, _FOUND_OUT = S.WAITING, S.IN_FLIGHT, E.FOUND_OUT
SEND: NoticeEffects = TABLE[S.WAITING, E.GRANTED][1]
del S, E, F


class CloseNotice(Written):
    """One ws_close.

    :ivar state: where it is
    :ivar since: when its client left, seconds
    :ivar attempts: how often it has been sent
    :ivar pause: seconds until the next attempt, for RETRY
    """

    __slots__ = ("attempts", "pause", "since", "state")
    WRITTEN = {"attempts": int, "pause": float, "since": float, "state": NoticeState}

    def __init__(self, now: float) -> None:
        self.state = NoticeState.WAITING
        self.since = now
        self.attempts = 0
        self.pause = 0.0

    def has_place(self, now: float) -> NoticeEffects:
        """There is a place for it.

        :raises LookupError: it does not wait for one
        """
        if self.state is not _WAITING:
            raise LookupError(f"GRANTED in {self.state.name}")
        if now - self.since >= FOUND_OUT_SECONDS:
            return self.step(_FOUND_OUT)
        self.state = _IN_FLIGHT
        self.attempts += 1
        return SEND

    def refused(self) -> NoticeEffects:
        """The canister says that it does not know the client."""
        return self.step(_FIRST_REFUSED if self.attempts == 1 else _REFUSED)

    def failed(
        self, otherwise: NoticeEvent, now: float, jitter: Callable[[], float], retry_after: float | None = None
    ) -> NoticeEffects:
        """An attempt has failed in a way that may pass.

        :param otherwise: what has happened if there is no time for another attempt
        :param jitter: a random number in [0, 1)
        :param retry_after: seconds for which the network asks to wait, if it does
        """
        if now - self.since >= MAX_RETRY_SECONDS:
            return self.step(otherwise)
        self.pause = retry_pause(self.attempts, jitter, retry_after)
        return self.step(_PASSED)

    def step(self, event: NoticeEvent) -> NoticeEffects:
        """Step to the next state.

        :raises LookupError: the event cannot happen in this state
        """
        if self.state is _OVER:
            return ()
        self.state, effects = transition(TABLE, self.state, event)
        return effects
