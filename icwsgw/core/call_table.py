"""The table of a client's calls: states, events, and effects.

    state         event            next          effects
    ------------  ---------------  ------------  ------------------------------------------
    IDLE          LAUNCH           WAITING       ENTER
    WAITING       GRANTED          IN_FLIGHT     SUBMIT
    WAITING       EXPIRED          IDLE          RELEASE_SLOT, NOTIFY_EXPIRED, NEXT
    WAITING       EXPIRED_UNKNOWN  IDLE          RELEASE_SLOT, NOTIFY_EXPIRED_UNKNOWN, NEXT
    IN_FLIGHT     ENDED            IDLE          NOTIFY_OUTCOME, NEXT
    IN_FLIGHT     NOT_ACCEPTED     RETRYING      RETRY
    IN_FLIGHT     LOST             RETRYING      RETRY
    IN_FLIGHT     ACCEPTED         RESUBMITTING  RESUBMIT
    IN_FLIGHT     REFUSED_UNKNOWN  RESUBMITTING  RESUBMIT
    IN_FLIGHT     REFUSED          IDLE          NOTIFY_FAILED, NEXT
    IN_FLIGHT     UNRESOLVED       IDLE          NOTIFY_UNKNOWN, NEXT
    IN_FLIGHT     EXPIRED          IDLE          NOTIFY_EXPIRED, NEXT
    IN_FLIGHT     EXPIRED_UNKNOWN  IDLE          NOTIFY_EXPIRED_UNKNOWN, NEXT
    IN_FLIGHT     SUPERSEDED       IDLE          COUNT_UNKNOWN, NEXT
    WAITING       SUPERSEDED       IDLE          COUNT_UNKNOWN, LEAVE_QUEUE, NEXT
    RETRYING      SUPERSEDED       IDLE          COUNT_UNKNOWN, CANCEL_PAUSE, NEXT
    RESUBMITTING  SUPERSEDED       IDLE          COUNT_UNKNOWN, CANCEL_PAUSE, NEXT
    RETRYING      PAUSE_OVER       WAITING       ENTER
    RESUBMITTING  PAUSE_OVER       WAITING       ENTER
    IDLE          GIVEN_UP         IDLE          COUNT_ABANDONED
    WAITING       GIVEN_UP         IDLE          COUNT_ABANDONED, LEAVE_QUEUE
    IN_FLIGHT     GIVEN_UP         IDLE          COUNT_ABANDONED, CANCEL_CALL
    RETRYING      GIVEN_UP         IDLE          COUNT_ABANDONED, CANCEL_PAUSE
    RESUBMITTING  GIVEN_UP         IDLE          COUNT_ABANDONED, CANCEL_PAUSE
    IDLE          HANDED_OVER      IDLE          NEXT
    WAITING       HANDED_OVER      WAITING       ENTER
    IN_FLIGHT     HANDED_OVER      WAITING       ENTER
    RETRYING      HANDED_OVER      RETRYING      RETRY
    RESUBMITTING  HANDED_OVER      RESUBMITTING  RESUBMIT

The gate decides whether another call may follow (:data:`GATES`): it is SHUT until the canister has spoken to the client
(OPEN), or until the client has left (LEFT; WITHDRAWN if its ws_open cannot have arrived). The machine that follows the
tables, and selects the events, is :mod:`icwsgw.core.client_calls`; docs/machines.md shows them as diagrams.
"""

from __future__ import annotations

from enum import IntEnum


class CallState(IntEnum):
    """Where the current call is."""

    IDLE = 0
    """There is none."""
    WAITING = 1
    """It waits for a call slot."""
    IN_FLIGHT = 2
    """An attempt is in flight."""
    RETRYING = 3
    """It pauses before the next attempt; the network has not accepted it."""
    RESUBMITTING = 4
    """It pauses before it is resubmitted to get its outcome; the network may have accepted it."""


class CallEvent(IntEnum):
    """What can happen to the current call."""

    LAUNCH = 0
    """The calls before it have ended."""
    GRANTED = 1
    """It has its call slot."""
    ENDED = 2
    """Its outcome is known."""
    NOT_ACCEPTED = 3
    """The attempt was not accepted; a later one may be."""
    LOST = 4
    """The answer was lost; the attempt may have been accepted."""
    ACCEPTED = 5
    """The network has accepted it, and it has no outcome yet."""
    REFUSED_UNKNOWN = 6
    """An attempt was refused, which proves nothing about an earlier one that may have been accepted."""
    REFUSED = 7
    """It was refused and will not be executed."""
    UNRESOLVED = 8
    """Attempts were refused so often that its outcome stays unknown."""
    EXPIRED = 9
    """Its envelope has expired, or will before the next attempt; no attempt was accepted."""
    EXPIRED_UNKNOWN = 10
    """The same, but an attempt may have been accepted."""
    PAUSE_OVER = 11
    """The pause is over."""
    SUPERSEDED = 12
    """It is a ws_open, and the canister has spoken to the client, so it was executed."""
    GIVEN_UP = 13
    """The gateway gives it up."""
    HANDED_OVER = 14
    """This process has taken it over from another one; the answer to an attempt in flight is lost."""


class CallEffect(IntEnum):
    """What the relay has to do."""

    ENTER = 0
    """Request a call slot."""
    SUBMIT = 1
    """Send the current envelope."""
    RETRY = 2
    """Wait for :attr:`ClientCalls.pause` seconds, then report PAUSE_OVER; count a retry."""
    RESUBMIT = 3
    """The same; count a resubmission."""
    NOTIFY_OUTCOME = 4
    """Notify the owner of the outcome."""
    NOTIFY_FAILED = 5
    """Notify the owner that the call failed."""
    NOTIFY_UNKNOWN = 6
    """Notify the owner that the outcome is unknown."""
    NOTIFY_EXPIRED = 7
    """Notify the owner that the call failed because it expired."""
    NOTIFY_EXPIRED_UNKNOWN = 8
    """Notify the owner that the call expired and its outcome is unknown."""
    NEXT = 9
    """Start the next call: :meth:`ClientCalls.next`."""
    RELEASE_SLOT = 10
    """Release the call slot that it has just got."""
    LEAVE_QUEUE = 11
    """Stop waiting for a call slot."""
    CANCEL_CALL = 12
    """Cancel the attempt in flight."""
    CANCEL_PAUSE = 13
    """Cancel the timer of the pause."""
    COUNT_UNKNOWN = 14
    """Count a call whose outcome is unknown."""
    COUNT_ABANDONED = 15
    """Count :attr:`ClientCalls.abandoned` calls that were given up."""
    FULL = 16
    """Stop reading the client's socket."""
    DRAINED = 17
    """Read the client's socket again."""
    ALL_SENT = 18
    """The client has left, and all its calls have ended."""


class SendGate(IntEnum):
    """Whether another call may follow the current one."""

    SHUT = 0
    """Neither: ws_open has no outcome yet."""
    OPEN = 1
    """The canister has spoken to the client."""
    LEFT = 2
    """The client has left before the canister has spoken; its messages are still sent."""
    WITHDRAWN = 3
    """The client has left, and its ws_open cannot have arrived."""


class GateEvent(IntEnum):
    """What opens the gate."""

    SPOKE = 0
    """The canister has sent its first message to the client."""
    LEFT = 1
    """The client has left."""
    WITHDRAWN = 2
    """After that, ws_open was given up before an attempt can have arrived."""


class OutcomeKnowledge(IntEnum):
    """What is known of earlier attempts at the current call."""

    NONE = 0
    """None of them was accepted."""
    LOST = 1
    """One of them may have been accepted: its answer was lost."""
    ACCEPTED = 2
    """The network has accepted the call, and its outcome is unknown."""


Effects = tuple[CallEffect, ...]
S, E, F, G = CallState, CallEvent, CallEffect, SendGate

TABLE: dict[tuple[CallState, CallEvent], tuple[CallState, Effects]] = {
    (S.IDLE, E.LAUNCH): (S.WAITING, (F.ENTER,)),
    (S.WAITING, E.GRANTED): (S.IN_FLIGHT, (F.SUBMIT,)),
    (S.WAITING, E.EXPIRED): (S.IDLE, (F.RELEASE_SLOT, F.NOTIFY_EXPIRED, F.NEXT)),
    (S.WAITING, E.EXPIRED_UNKNOWN): (S.IDLE, (F.RELEASE_SLOT, F.NOTIFY_EXPIRED_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.ENDED): (S.IDLE, (F.NOTIFY_OUTCOME, F.NEXT)),
    (S.IN_FLIGHT, E.NOT_ACCEPTED): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.LOST): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.ACCEPTED): (S.RESUBMITTING, (F.RESUBMIT,)),
    (S.IN_FLIGHT, E.REFUSED_UNKNOWN): (S.RESUBMITTING, (F.RESUBMIT,)),
    (S.IN_FLIGHT, E.REFUSED): (S.IDLE, (F.NOTIFY_FAILED, F.NEXT)),
    (S.IN_FLIGHT, E.UNRESOLVED): (S.IDLE, (F.NOTIFY_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.EXPIRED): (S.IDLE, (F.NOTIFY_EXPIRED, F.NEXT)),
    (S.IN_FLIGHT, E.EXPIRED_UNKNOWN): (S.IDLE, (F.NOTIFY_EXPIRED_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.NEXT)),
    (S.WAITING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.LEAVE_QUEUE, F.NEXT)),
    (S.RETRYING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.CANCEL_PAUSE, F.NEXT)),
    (S.RESUBMITTING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.CANCEL_PAUSE, F.NEXT)),
    (S.RETRYING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.RESUBMITTING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.IDLE, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED,)),
    (S.WAITING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.LEAVE_QUEUE)),
    (S.IN_FLIGHT, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_CALL)),
    (S.RETRYING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_PAUSE)),
    (S.RESUBMITTING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_PAUSE)),
    (S.IDLE, E.HANDED_OVER): (S.IDLE, (F.NEXT,)),
    (S.WAITING, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.IN_FLIGHT, E.HANDED_OVER): (S.WAITING, (F.ENTER,)),
    (S.RETRYING, E.HANDED_OVER): (S.RETRYING, (F.RETRY,)),
    (S.RESUBMITTING, E.HANDED_OVER): (S.RESUBMITTING, (F.RESUBMIT,)),
}
#: The gate stays as it is at every other event.
GATES: dict[tuple[SendGate, GateEvent], SendGate] = {
    (G.SHUT, GateEvent.SPOKE): G.OPEN,
    (G.SHUT, GateEvent.LEFT): G.LEFT,
    (G.LEFT, GateEvent.WITHDRAWN): G.WITHDRAWN,
}
del S, E, F, G
