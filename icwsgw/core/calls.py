"""The calls of one client as a state machine: one call at a time, sent again until its end is known.

    state      event        next       effects
    ---------  -----------  ---------  ---------------------------------------------------------------------
    IDLE       LAUNCH       WAITING    ask for a place among the calls under way
    WAITING    GRANTED      IN_FLIGHT  send the envelope
    WAITING    EXPIRED      IDLE       tell the owner: failed or unknown, by the doubt; next
    IN_FLIGHT  EXPIRED      IDLE       the same (an answer says that its life ends before it may be sent again)
    IN_FLIGHT  ENDED        IDLE       tell the owner the outcome; next
    IN_FLIGHT  NOT_TAKEN    RETRYING   send it again after a pause that grows
    IN_FLIGHT  LOST         RETRYING   the same; the call may have been taken
    IN_FLIGHT  TAKEN        REPOSTING  send it again after a second or so, to learn its end
    IN_FLIGHT  DOUBTED      REPOSTING  the same: a repetition was refused, which says nothing of the first attempt
    IN_FLIGHT  REFUSED      IDLE       tell the owner that the call failed; next
    IN_FLIGHT  UNRESOLVED   IDLE       tell the owner that the end of the call is unknown; next
    RETRYING   PAUSE_OVER   WAITING    ask for a place
    REPOSTING  PAUSE_OVER   WAITING    ask for a place
    any        GIVEN_UP     IDLE       stop what is under way, tell nobody

Why a call is posted again although the network has it: a synchronous call whose end is not known within ten seconds is
answered 202, and so is a repetition of one that is under way. Only the sender of a call may read its status, but
whoever posts the identical envelope gets the certificate once there is one (decision 0030).

The state, the gate, the doubt and the counters are plain integers (:meth:`Call.dump`); what is decided about an answer
is a function of them and of what the answer says (:meth:`Call.judge`). No clock, no network: the relay performs.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

#: The reject code that invites to try again, and how often it is believed.
SYS_TRANSIENT = 2
TRANSIENT_ATTEMPTS = 4
#: So many refusals of repetitions in a row end the search for the end of a call.
REFUSED_REPETITIONS = 3
#: Seconds between two postings of a call that the network has, before jitter of a quarter either way.
REPOST_SECONDS = 1.0
#: The longest, of a ws_open: they are as long as it has taken so far.
LONGEST_REPOST_SECONDS = 10.0


class CallState(IntEnum):
    """Where the current call is."""

    IDLE = 0
    WAITING = 1
    IN_FLIGHT = 2
    RETRYING = 3
    REPOSTING = 4


class CallEvent(IntEnum):
    """What can happen to it."""

    LAUNCH = 0
    GRANTED = 1
    ENDED = 2
    NOT_TAKEN = 3
    LOST = 4
    TAKEN = 5
    DOUBTED = 6
    REFUSED = 7
    UNRESOLVED = 8
    EXPIRED = 9
    PAUSE_OVER = 10
    GIVEN_UP = 11


class CallEffect(IntEnum):
    """What the relay has to do."""

    ENTER = 0
    SUBMIT = 1
    RETRY = 2
    REPOST = 3
    TELL_OUTCOME = 4
    TELL_FAILED = 5
    TELL_BY_DOUBT = 6
    TELL_UNKNOWN = 7
    NEXT = 8
    FORGET_PLACE = 9
    CANCEL_CALL = 10
    CANCEL_PAUSE = 11


class Gate(IntEnum):
    """Whether what is queued may leave."""

    SHUT = 0
    """ws_open has not come to anything yet."""
    OPEN = 1
    """The canister has spoken to the client."""
    LEFT = 2
    """The client has left, and the canister had not spoken: what it sent leaves all the same."""


class Doubt(IntEnum):
    """What is known of earlier attempts at the current call."""

    NONE = 0
    """None of them was taken."""
    LOST = 1
    """One of them may have been taken: its answer was lost."""
    TAKEN = 2
    """The network has the call, and its end is not known."""


S, E, F = CallState, CallEvent, CallEffect

TABLE: dict[tuple[CallState, CallEvent], tuple[CallState, tuple[CallEffect, ...]]] = {
    (S.IDLE, E.LAUNCH): (S.WAITING, (F.ENTER,)),
    (S.WAITING, E.GRANTED): (S.IN_FLIGHT, (F.SUBMIT,)),
    (S.WAITING, E.EXPIRED): (S.IDLE, (F.TELL_BY_DOUBT, F.NEXT)),
    (S.IN_FLIGHT, E.EXPIRED): (S.IDLE, (F.TELL_BY_DOUBT, F.NEXT)),
    (S.IN_FLIGHT, E.ENDED): (S.IDLE, (F.TELL_OUTCOME, F.NEXT)),
    (S.IN_FLIGHT, E.NOT_TAKEN): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.LOST): (S.RETRYING, (F.RETRY,)),
    (S.IN_FLIGHT, E.TAKEN): (S.REPOSTING, (F.REPOST,)),
    (S.IN_FLIGHT, E.DOUBTED): (S.REPOSTING, (F.REPOST,)),
    (S.IN_FLIGHT, E.REFUSED): (S.IDLE, (F.TELL_FAILED, F.NEXT)),
    (S.IN_FLIGHT, E.UNRESOLVED): (S.IDLE, (F.TELL_UNKNOWN, F.NEXT)),
    (S.RETRYING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.REPOSTING, E.PAUSE_OVER): (S.WAITING, (F.ENTER,)),
    (S.IDLE, E.GIVEN_UP): (S.IDLE, ()),
    (S.WAITING, E.GIVEN_UP): (S.IDLE, (F.FORGET_PLACE,)),
    (S.IN_FLIGHT, E.GIVEN_UP): (S.IDLE, (F.CANCEL_CALL,)),
    (S.RETRYING, E.GIVEN_UP): (S.IDLE, (F.CANCEL_PAUSE,)),
    (S.REPOSTING, E.GIVEN_UP): (S.IDLE, (F.CANCEL_PAUSE,)),
}
# What nearly every call goes through, without a look-up: names of an enum's members cost more than the rest.
_IDLE, _WAITING, _IN_FLIGHT = S.IDLE, S.WAITING, S.IN_FLIGHT
_NO_DOUBT = Doubt.NONE
del S, E, F


class Heard(NamedTuple):
    """What an attempt brought, as far as it decides what follows.

    :ivar end: the call has ended, by a certificate or by ``accepted`` where nobody waits for more
    :ivar executed: it has ended and was executed, a certificate says so
    :ivar taken: the network has the call, its end is to come
    :ivar arrived: the attempt may have been taken
    :ivar again: the same envelope may be taken later
    :ivar transient: a reject that invites to try again a few times
    """

    end: bool = False
    taken: bool = False
    arrived: bool = False
    again: bool = False
    transient: bool = False
    executed: bool = False


ACCEPTED = Heard(end=True)
ENDED = Heard(end=True, executed=True)
TAKEN = Heard(taken=True)


class Call:
    """The current call of a client, and the gate before those that wait.

    :ivar state: where it is
    :ivar gate: whether others may follow
    :ivar doubt: what is known of its earlier attempts
    :ivar attempts: how often it has been sent
    :ivar refused: how many repetitions in a row were refused while it was in doubt
    """

    __slots__ = ("attempts", "doubt", "gate", "refused", "state")

    def __init__(self) -> None:
        self.state = CallState.IDLE
        self.gate = Gate.SHUT
        self.doubt = Doubt.NONE
        self.attempts = 0
        self.refused = 0

    def step(self, event: CallEvent) -> tuple[CallEffect, ...]:
        """Go on to the next state.

        :return: what the relay has to do, in this order
        :raises LookupError: the event cannot happen in this state
        """
        try:
            self.state, effects = TABLE[self.state, event]
        except KeyError:
            raise LookupError(f"{event.name} in {self.state.name}") from None
        return effects

    # The three events of a call that nothing happens to; they are in the table like the others.

    def launch(self) -> None:
        """Another envelope is the current one (LAUNCH).

        :raises LookupError: one is under way
        """
        if self.state is not _IDLE:
            raise LookupError(f"LAUNCH in {self.state.name}")
        self.state = _WAITING
        self.attempts = self.refused = 0
        self.doubt = _NO_DOUBT

    def granted(self) -> None:
        """There is a place for it, an attempt leaves (GRANTED).

        :raises LookupError: it does not wait for one
        """
        if self.state is not _WAITING:
            raise LookupError(f"GRANTED in {self.state.name}")
        self.state = _IN_FLIGHT
        self.attempts += 1

    def ended(self) -> None:
        """Its end has come (ENDED).

        :raises LookupError: no attempt is under way
        """
        if self.state is not _IN_FLIGHT:
            raise LookupError(f"ENDED in {self.state.name}")
        self.state = _IDLE

    def judge(self, heard: Heard) -> CallEvent:
        """Say what the end of an attempt means for the call."""
        if heard.end:
            return CallEvent.ENDED
        if heard.taken:
            self.doubt, self.refused = Doubt.TAKEN, 0
            return CallEvent.TAKEN
        if heard.arrived and self.doubt is Doubt.NONE:
            self.doubt = Doubt.LOST
        if heard.again or (heard.transient and self.attempts < TRANSIENT_ATTEMPTS):
            if self.doubt is Doubt.TAKEN:
                return CallEvent.TAKEN
            return CallEvent.LOST if heard.arrived else CallEvent.NOT_TAKEN
        if self.doubt is Doubt.NONE:
            return CallEvent.REFUSED
        self.refused += 1
        return CallEvent.DOUBTED if self.refused < REFUSED_REPETITIONS else CallEvent.UNRESOLVED

    @property
    def may_be_given_up(self) -> bool:
        """Whether a ws_open that is not needed any more need not be sent again: it waits, and is not taken."""
        if self.doubt is Doubt.TAKEN and self.gate is not Gate.OPEN:
            return False
        return self.state in (CallState.WAITING, CallState.RETRYING, CallState.REPOSTING)

    def dump(self) -> tuple[int, int, int, int, int]:
        """All there is, as numbers."""
        return int(self.state), int(self.gate), int(self.doubt), self.attempts, self.refused

    @classmethod
    def load(cls, data: tuple[int, int, int, int, int]) -> Call:
        """Make one from :meth:`dump`.

        :raises ValueError: not such numbers
        """
        call = cls()
        call.state, call.gate, call.doubt = CallState(data[0]), Gate(data[1]), Doubt(data[2])
        call.attempts, call.refused = data[3], data[4]
        return call


def may_have_kept_state(code: int, error_code: str | None) -> bool:
    """Whether a certified reject leaves open if the canister has kept what it did: the client, the sequence number.

    A trap (5, CANISTER_ERROR) rolls the state back, so the next number would be the wrong one. An explicit reject (4,
    CANISTER_REJECT) keeps what was done before it: with Motoko's CDK, whose handler is awaited, an application's trap
    arrives as one, after the number was taken. So does the state of a call that ended without a reply (IC0506, though
    its code is 5). Then the canister decides at the client's next message: it refuses a wrong number in a certified
    answer.
    """
    return code == 4 or error_code == "IC0506"


def repost_pause(jitter: Callable[[], float], retry_after: float | None = None, took: float = 0.0) -> float:
    """Seconds until a call that the network has is posted again.

    :param jitter: a random number in [0, 1)
    :param retry_after: what the server asked for, if it did
    :param took: seconds since a call was first sent that is worth less the longer it takes; 0 for others
    """
    return max(min(max(took, REPOST_SECONDS), LONGEST_REPOST_SECONDS) * (0.75 + jitter() / 2), retry_after or 0.0)
