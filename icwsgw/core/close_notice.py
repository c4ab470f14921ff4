"""One close notice as a state machine: ``ws_close`` is sent until the canister has answered it.

    state      event              next       effects
    ---------  -----------------  ---------  ----------------------------------------------------
    WAITING    GRANTED            IN_FLIGHT  SEND
    WAITING    OBSOLETE           OVER       RELEASE_SLOT, REPORT_GIVEN_UP, NOTIFY_UNCERTAIN, END
    WAITING    GIVEN_UP           OVER       LEAVE_QUEUE, NOTIFY_UNCERTAIN, END
    IN_FLIGHT  REMOVED            OVER       NOTIFY_KNOWN, END
    IN_FLIGHT  NOT_KNOWN          OVER       REPORT_NOT_NEEDED, NOTIFY_NOT_KNOWN, END
    IN_FLIGHT  NOT_KNOWN_ANYMORE  OVER       REPORT_NOT_NEEDED, NOTIFY_UNCERTAIN, END
    IN_FLIGHT  UNREADABLE         OVER       NOTIFY_UNCERTAIN, END
    IN_FLIGHT  REJECTED           OVER       REPORT_REJECTED, NOTIFY_UNCERTAIN, END
    IN_FLIGHT  FAILED             OVER       REPORT_FAILED, NOTIFY_UNCERTAIN, END
    IN_FLIGHT  TRANSIENT          PAUSING    RETRY
    IN_FLIGHT  GIVEN_UP           OVER       NOTIFY_UNCERTAIN, END, CANCEL
    PAUSING    PAUSE_OVER         WAITING    ENTER
    PAUSING    GIVEN_UP           OVER       CANCEL, NOTIFY_UNCERTAIN, END
    WAITING    HANDED_OVER        WAITING    ENTER
    IN_FLIGHT  HANDED_OVER        WAITING    ENTER
    PAUSING    HANDED_OVER        PAUSING    RETRY

A notice begins in WAITING and ends exactly once. Events in OVER are ignored: an attempt that was cancelled may still
report its end.

The canister's ``Err`` means that it does not know the client. After an earlier attempt the reason may be that this one
has removed the client, so it counts as NOT_KNOWN only after the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from icwsgw.core.backoff import retry_pause
from icwsgw.core.transitions import transition
from icwsgw.core.written_state import Written

#: Seconds after which a failed ws_close is not tried again.
MAX_RETRY_SECONDS = 120.0
#: Seconds after which the CDK's keep-alive check has removed the client: five minutes, and one more.
OBSOLETE_SECONDS = 360.0


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
    OBSOLETE = 1
    """It has its call slot, so late that the canister has removed the client by itself."""
    REMOVED = 2
    """The canister knew the client and has removed it."""
    NOT_KNOWN = 3
    """The canister did not know the client at the first attempt."""
    NOT_KNOWN_ANYMORE = 4
    """The canister did not know the client at a later attempt."""
    UNREADABLE = 5
    """The call was executed, but its reply is not available or cannot be decoded."""
    REJECTED = 6
    """A certificate shows that the call was rejected."""
    FAILED = 7
    """The attempt failed for good, or for too long."""
    TRANSIENT = 8
    """The attempt failed for a reason that may pass."""
    PAUSE_OVER = 9
    """The pause is over."""
    GIVEN_UP = 10
    """The gateway gives the notice up."""
    HANDED_OVER = 11
    """This process has taken it over from another one; the answer to an attempt in flight is lost."""


class NoticeEffect(IntEnum):
    """What has to be done about a notice."""

    ENTER = 0
    """Request a call slot."""
    SEND = 1
    """Sign a ws_close of its own and send it."""
    RETRY = 2
    """Wait for :attr:`CloseNotice.pause` seconds, then report PAUSE_OVER."""
    RELEASE_SLOT = 3
    """Release the call slot that it has just got."""
    LEAVE_QUEUE = 4
    """Stop waiting for a call slot."""
    CANCEL = 5
    """Cancel the attempt in flight, or the timer of the pause."""
    NOTIFY_KNOWN = 6
    """Notify the owner that the canister knew the client until now."""
    NOTIFY_NOT_KNOWN = 7
    """Notify the owner that the canister did not know the client."""
    NOTIFY_UNCERTAIN = 8
    """Notify the owner that it is unknown whether the canister knew the client."""
    REPORT_GIVEN_UP = 9
    """Log that the notice is dropped."""
    REPORT_NOT_NEEDED = 10
    """Log that the canister did not know the client."""
    REPORT_REJECTED = 11
    """Log that the canister refused the call."""
    REPORT_FAILED = 12
    """Log that the notice was not delivered."""
    END = 13
    """Count the notice and notify the owner that it is over."""


NoticeEffects = tuple[NoticeEffect, ...]
S, E, F = NoticeState, NoticeEvent, NoticeEffect

TABLE: dict[tuple[NoticeState, NoticeEvent], tuple[NoticeState, NoticeEffects]] = {
    (S.WAITING, E.GRANTED): (S.IN_FLIGHT, (F.SEND,)),
    (S.WAITING, E.OBSOLETE): (S.OVER, (F.RELEASE_SLOT, F.REPORT_GIVEN_UP, F.NOTIFY_UNCERTAIN, F.END)),
    (S.WAITING, E.GIVEN_UP): (S.OVER, (F.LEAVE_QUEUE, F.NOTIFY_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.REMOVED): (S.OVER, (F.NOTIFY_KNOWN, F.END)),
    (S.IN_FLIGHT, E.NOT_KNOWN): (S.OVER, (F.REPORT_NOT_NEEDED, F.NOTIFY_NOT_KNOWN, F.END)),
    (S.IN_FLIGHT, E.NOT_KNOWN_ANYMORE): (S.OVER, (F.REPORT_NOT_NEEDED, F.NOTIFY_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.UNREADABLE): (S.OVER, (F.NOTIFY_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.REJECTED): (S.OVER, (F.REPORT_REJECTED, F.NOTIFY_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.FAILED): (S.OVER, (F.REPORT_FAILED, F.NOTIFY_UNCERTAIN, F.END)),
    (S.IN_FLIGHT, E.TRANSIENT): (S.PAUSING, (F.RETRY,)),
    (S.IN_FLIGHT, E.GIVEN_UP): (S.OVER, (F.NOTIFY_UNCERTAIN, F.END, F.CANCEL)),
    (S.PAUSING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.PAUSING, E.GIVEN_UP): (S.OVER, (F.CANCEL, F.NOTIFY_UNCERTAIN, F.END)),
    (S.WAITING, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.IN_FLIGHT, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.PAUSING, E.HANDED_OVER): (S.PAUSING, (F.RETRY,)),
}
_OVER, _REFUSED, _FIRST_REFUSED, _TRANSIENT = S.OVER, E.NOT_KNOWN_ANYMORE, E.NOT_KNOWN, E.TRANSIENT
_WAITING, _IN_FLIGHT, _OBSOLETE = S.WAITING, S.IN_FLIGHT, E.OBSOLETE
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

    def slot_granted(self, now: float) -> NoticeEffects:
        """It has got its call slot.

        :raises LookupError: it does not wait for a slot
        """
        if self.state is not _WAITING:
            raise LookupError(f"GRANTED in {self.state.name}")
        if now - self.since >= OBSOLETE_SECONDS:
            return self.step(_OBSOLETE)
        self.state = _IN_FLIGHT
        self.attempts += 1
        return SEND

    def refused(self) -> NoticeEffects:
        """The canister has answered that it does not know the client."""
        return self.step(_FIRST_REFUSED if self.attempts == 1 else _REFUSED)

    def failed(
        self, otherwise: NoticeEvent, now: float, jitter: Callable[[], float], retry_after: float | None = None
    ) -> NoticeEffects:
        """An attempt has failed for a reason that may pass.

        :param otherwise: what has happened if there is no time for another attempt
        :param jitter: a random number in [0, 1)
        :param retry_after: seconds that the network asks to wait, if it does
        """
        if now - self.since >= MAX_RETRY_SECONDS:
            return self.step(otherwise)
        self.pause = retry_pause(self.attempts, jitter, retry_after)
        return self.step(_TRANSIENT)

    def step(self, event: NoticeEvent) -> NoticeEffects:
        """Step to the next state.

        :raises LookupError: the event cannot happen in this state
        """
        if self.state is _OVER:
            return ()
        self.state, effects = transition(TABLE, self.state, event)
        return effects
