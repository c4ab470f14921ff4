"""The table of a client's calls: states, events, and effects.

    state         event             next          effects
    ------------  ----------------  ------------  ----------------------------------------------------------------------
    IDLE          LAUNCH            WAITING       ENTER
    WAITING       GRANTED           IN_FLIGHT     SUBMIT
    WAITING       EXPIRED           IDLE          GIVE_PLACE_BACK, TELL_EXPIRED, NEXT
    WAITING       EXPIRED_IN_DOUBT  IDLE          GIVE_PLACE_BACK, TELL_EXPIRED_UNKNOWN, NEXT
    IN_FLIGHT     ENDED             IDLE          TELL_OUTCOME, NEXT
    IN_FLIGHT     NOT_TAKEN         RETRYING      RETRY
    IN_FLIGHT     LOST              RETRYING      RETRY
    IN_FLIGHT     TAKEN             RESUBMITTING  RESUBMIT
    IN_FLIGHT     DOUBTED           RESUBMITTING  RESUBMIT
    IN_FLIGHT     REFUSED           IDLE          TELL_FAILED, NEXT
    IN_FLIGHT     UNRESOLVED        IDLE          TELL_UNKNOWN, NEXT
    IN_FLIGHT     EXPIRED           IDLE          TELL_EXPIRED, NEXT
    IN_FLIGHT     EXPIRED_IN_DOUBT  IDLE          TELL_EXPIRED_UNKNOWN, NEXT
    IN_FLIGHT     SUPERSEDED        IDLE          COUNT_UNKNOWN, NEXT
    WAITING       SUPERSEDED        IDLE          COUNT_UNKNOWN, FORGET_PLACE, NEXT
    RETRYING      SUPERSEDED        IDLE          COUNT_UNKNOWN, CANCEL_PAUSE, NEXT
    RESUBMITTING  SUPERSEDED        IDLE          COUNT_UNKNOWN, CANCEL_PAUSE, NEXT
    RETRYING      PAUSE_OVER        WAITING       ENTER
    RESUBMITTING  PAUSE_OVER        WAITING       ENTER
    IDLE          GIVEN_UP          IDLE          COUNT_ABANDONED
    WAITING       GIVEN_UP          IDLE          COUNT_ABANDONED, FORGET_PLACE
    IN_FLIGHT     GIVEN_UP          IDLE          COUNT_ABANDONED, CANCEL_CALL
    RETRYING      GIVEN_UP          IDLE          COUNT_ABANDONED, CANCEL_PAUSE
    RESUBMITTING  GIVEN_UP          IDLE          COUNT_ABANDONED, CANCEL_PAUSE

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
    """It waits for a place among the calls under way."""
    IN_FLIGHT = 2
    """An attempt is under way."""
    RETRYING = 3
    """It pauses before the next attempt; the network has not said that it has the call."""
    RESUBMITTING = 4
    """It pauses before it is posted again to learn its end."""


class CallEvent(IntEnum):
    """What can happen to the current call."""

    LAUNCH = 0
    """Its turn has come."""
    GRANTED = 1
    """It has a place."""
    ENDED = 2
    """Its end is known."""
    NOT_TAKEN = 3
    """The attempt was not taken; another one may be."""
    LOST = 4
    """The same, but the attempt may have been taken."""
    TAKEN = 5
    """The network has the call, and its end is to come."""
    DOUBTED = 6
    """A repetition was refused, which says nothing of the first attempt."""
    REFUSED = 7
    """It was refused for good."""
    UNRESOLVED = 8
    """Repetitions were refused so often that its end stays unknown."""
    EXPIRED = 9
    """The envelope has expired, or does before it may be sent again; no attempt was taken."""
    EXPIRED_IN_DOUBT = 10
    """The same, but an attempt may have been taken."""
    PAUSE_OVER = 11
    """It is time for the next attempt."""
    SUPERSEDED = 12
    """The canister has spoken to the client, so its ws_open was executed."""
    GIVEN_UP = 13
    """Nobody waits for it any more."""


class CallEffect(IntEnum):
    """What the relay has to do."""

    ENTER = 0
    """Ask for a place among the calls under way."""
    SUBMIT = 1
    """Post the current envelope."""
    RETRY = 2
    """Wait for :attr:`ClientCalls.pause` seconds, then report PAUSE_OVER; count a retry."""
    RESUBMIT = 3
    """The same; count a repetition that asks for the end of the call."""
    TELL_OUTCOME = 4
    """Tell the owner how the call ended."""
    TELL_FAILED = 5
    """Tell the owner that the call failed."""
    TELL_UNKNOWN = 6
    """Tell the owner that the end of the call is unknown."""
    TELL_EXPIRED = 7
    """Tell the owner that the call failed because it expired."""
    TELL_EXPIRED_UNKNOWN = 8
    """Tell the owner that the call expired and that its end is unknown."""
    NEXT = 9
    """Start the next call: :meth:`ClientCalls.next`."""
    GIVE_PLACE_BACK = 10
    """Leave the place that the call has just got."""
    FORGET_PLACE = 11
    """Stop waiting for a place."""
    CANCEL_CALL = 12
    """Cancel the attempt under way."""
    CANCEL_PAUSE = 13
    """Cancel the timer of the pause."""
    COUNT_UNKNOWN = 14
    """Count a call whose answer nobody has seen."""
    COUNT_ABANDONED = 15
    """Count :attr:`ClientCalls.abandoned` calls that were given up."""
    FULL = 16
    """Stop reading from the client."""
    DRAINED = 17
    """Read from the client again."""
    ALL_SENT = 18
    """The client has left and nothing of it is left to send."""


class SendGate(IntEnum):
    """Whether another call may follow the current one."""

    SHUT = 0
    """ws_open has not come to anything yet."""
    OPEN = 1
    """The canister has spoken to the client."""
    LEFT = 2
    """The client has left, and the canister had not spoken: what it sent leaves all the same."""
    WITHDRAWN = 3
    """The client has left, and the canister cannot have got its ws_open."""


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
    """None of them was taken."""
    LOST = 1
    """One of them may have been taken: its answer was lost."""
    TAKEN = 2
    """The network has the call, and its end is not known."""


Effects = tuple[CallEffect, ...]
S, E, F, G = CallState, CallEvent, CallEffect, SendGate

TABLE: dict[tuple[CallState, CallEvent], tuple[CallState, Effects]] = {
    (S.IDLE, E.LAUNCH): (S.WAITING, (F.ENTER,)),
    (S.WAITING, E.GRANTED): (S.IN_FLIGHT, (F.SUBMIT,)),
    (S.WAITING, E.EXPIRED): (S.IDLE, (F.GIVE_PLACE_BACK, F.TELL_EXPIRED, F.NEXT)),
    (S.WAITING, E.EXPIRED_IN_DOUBT): (S.IDLE, (F.GIVE_PLACE_BACK, F.TELL_EXPIRED_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.ENDED): (S.IDLE, (F.TELL_OUTCOME, F.NEXT)),
    (S.IN_FLIGHT, E.NOT_TAKEN): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.LOST): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.TAKEN): (S.RESUBMITTING, (F.RESUBMIT,)),
    (S.IN_FLIGHT, E.DOUBTED): (S.RESUBMITTING, (F.RESUBMIT,)),
    (S.IN_FLIGHT, E.REFUSED): (S.IDLE, (F.TELL_FAILED, F.NEXT)),
    (S.IN_FLIGHT, E.UNRESOLVED): (S.IDLE, (F.TELL_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.EXPIRED): (S.IDLE, (F.TELL_EXPIRED, F.NEXT)),
    (S.IN_FLIGHT, E.EXPIRED_IN_DOUBT): (S.IDLE, (F.TELL_EXPIRED_UNKNOWN, F.NEXT)),
    (S.IN_FLIGHT, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.NEXT)),
    (S.WAITING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.FORGET_PLACE, F.NEXT)),
    (S.RETRYING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.CANCEL_PAUSE, F.NEXT)),
    (S.RESUBMITTING, E.SUPERSEDED): (S.IDLE, (F.COUNT_UNKNOWN, F.CANCEL_PAUSE, F.NEXT)),
    (S.RETRYING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.RESUBMITTING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.IDLE, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED,)),
    (S.WAITING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.FORGET_PLACE)),
    (S.IN_FLIGHT, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_CALL)),
    (S.RETRYING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_PAUSE)),
    (S.RESUBMITTING, E.GIVEN_UP): (S.IDLE, (F.COUNT_ABANDONED, F.CANCEL_PAUSE)),
}
#: The gate stays as it is at every other event.
GATES: dict[tuple[SendGate, GateEvent], SendGate] = {
    (G.SHUT, GateEvent.SPOKE): G.OPEN,
    (G.SHUT, GateEvent.LEFT): G.LEFT,
    (G.LEFT, GateEvent.WITHDRAWN): G.WITHDRAWN,
}
del S, E, F, G
