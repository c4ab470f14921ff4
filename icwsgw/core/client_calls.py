"""The queue of one client's calls as a state machine: one call at a time, sent again until its end is known.

:mod:`icwsgw.core.call_table` has the states, the events, and the effects. The doubt says what is known of the earlier
attempts at the current call; with the gate it selects the event. State, gate, doubt, and counters are numbers
(:meth:`ClientCalls.dump`).

The machine knows no clock and no network. Its methods take the time and what has been heard; they return the effects
that the relay (:mod:`icwsgw.gateway.calls.relay`) performs, in order. NEXT asks for :meth:`ClientCalls.next`. The owner
is told of the end of a call before the next one starts, because it may drop all that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from icwsgw.core.backoff import LONGEST_RETRY_AFTER, retry_pause
from icwsgw.core.call_answers import REFUSED_REPETITIONS, TRANSIENT_ATTEMPTS, Answer, resubmit_delay
from icwsgw.core.call_table import (
    GATES,
    TABLE,
    CallEffect,
    CallEvent,
    CallState,
    Effects,
    GateEvent,
    OutcomeKnowledge,
    SendGate,
)
from icwsgw.core.relay_queue import WEIGHT, RelayQueue
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS

#: No call is started with less time to live than this: it would expire on its way.
MIN_LIFE_NS = 500_000_000

# What nearly every call goes through, without a look-up: names of an enum's members cost more than the rest.
_IDLE, _WAITING, _IN_FLIGHT = CallState.IDLE, CallState.WAITING, CallState.IN_FLIGHT
_NO_DOUBT = OutcomeKnowledge.NONE
NOTHING: Effects = ()
LAUNCHED: Effects = TABLE[CallState.IDLE, CallEvent.LAUNCH][1]
SUBMITTED: Effects = TABLE[CallState.WAITING, CallEvent.GRANTED][1]
_ENDED: Effects = TABLE[CallState.IN_FLIGHT, CallEvent.ENDED][1]
_DRAINED: Effects = (CallEffect.DRAINED, *LAUNCHED)
_FULL: Effects = (CallEffect.FULL,)
_NEXT: Effects = (CallEffect.NEXT,)
ALL_SENT: Effects = (CallEffect.ALL_SENT,)


class Sendable(Protocol):
    """What the machine knows of an envelope (:class:`icwsgw.core.messages.ClientEnvelope`)."""

    body: bytes
    method_name: str
    ingress_expiry: int


class CallLimits(Protocol):
    """The bounds of what waits (:class:`icwsgw.config.schema.GatewayConfig`)."""

    @property
    def relay_queue_messages(self) -> int:
        """Envelopes that one client may have waiting."""

    @property
    def relay_queue_bytes(self) -> int:
        """Their bytes."""

    @property
    def relay_queue_time(self) -> float:
        """Seconds until they have ended, as calls take now."""

    @property
    def max_waiting_bytes(self) -> int:
        """Bytes that wait in the queues of all clients."""


class WaitingBytes:
    """How much waits in the queues of all clients together.

    :ivar octets: bytes of envelopes
    """

    __slots__ = ("octets",)

    def __init__(self) -> None:
        self.octets = 0


class Asked(NamedTuple):
    """The network asks to wait before the next attempt.

    :ivar seconds: for so long
    :ivar left: seconds for which the envelope may still be sent, by the network's time as it is reckoned
    :ivar most: the same by the earliest time that the network may have
    """

    seconds: float
    left: float
    most: float

    @property
    def bounded(self) -> float:
        """For how long it is obeyed, seconds."""
        return min(self.seconds, LONGEST_RETRY_AFTER)


T = TypeVar("T", bound=Sendable)


class ClientCalls(RelayQueue[T]):
    """A client's current call, and those that wait behind it.

    :ivar state: where the current call is
    :ivar gate: whether others may follow
    :ivar doubt: what is known of the current call's earlier attempts
    :ivar attempts: how often it has been sent
    :ivar refused: how many repetitions in a row were refused while it was in doubt
    :ivar current: its envelope, None while IDLE
    :ivar started: when its turn came, seconds
    :ivar pause: seconds until the next attempt, for RETRY and RESUBMIT
    :ivar abandoned: how many calls COUNT_ABANDONED is about
    :ivar ending: the client has left, and ALL_SENT is to come
    :ivar waiting: what waits in the queues of all clients
    """

    __slots__ = (
        "abandoned",
        "attempts",
        "current",
        "doubt",
        "ending",
        "gate",
        "pause",
        "refused",
        "started",
        "state",
        "waiting",
    )

    def __init__(self, waiting: WaitingBytes) -> None:
        super().__init__()
        self.waiting = waiting
        self.state = CallState.IDLE
        self.gate = SendGate.SHUT
        self.doubt = OutcomeKnowledge.NONE
        self.attempts = self.refused = self.abandoned = 0
        self.current: T | None = None
        self.started = self.pause = 0.0
        self.ending = False

    # what the client and its session do

    def launch(self, envelope: T, now: float) -> Effects:
        """Make an envelope the current call, whatever the gate: ws_open, and what :meth:`next` finds.

        :raises LookupError: a call is under way
        """
        if self.state is not _IDLE:
            raise LookupError(f"LAUNCH in {self.state.name}")
        self.state = _WAITING
        self.current = envelope
        self.started = now
        self.attempts = self.refused = 0
        self.doubt = _NO_DOUBT
        return LAUNCHED

    def send(self, envelope: T, now: float, limits: CallLimits) -> Effects:
        """Send an envelope when its turn comes."""
        if self.state is _IDLE and self.gate and self.queue is None:
            return self.launch(envelope, now)
        waiting = self.waiting
        waiting.octets += self.add(envelope)
        if not self.full and (
            self.too_much(limits.relay_queue_messages, limits.relay_queue_bytes, limits.relay_queue_time)
            or waiting.octets > limits.max_waiting_bytes
        ):
            self.full = True
            return _FULL
        return NOTHING

    def spoke(self) -> Effects:
        """Open the gate: the canister has spoken to the client, so ws_open need not be tried again."""
        gate = GATES.get((self.gate, GateEvent.SPOKE))
        if gate is None:
            return NOTHING
        self.gate = gate
        if self.state is _IDLE:
            return _NEXT if self.queue is not None else NOTHING
        return self.step(CallEvent.SUPERSEDED) if self._may_be_given_up else NOTHING

    def left(self) -> Effects:
        """Open the gate and let all that is queued leave, then give ALL_SENT: the client has left.

        A ws_open that the network has not taken is given up instead, with all behind it: executed late, it would cost a
        newer connection of the same client its place at the canister. If no attempt can have arrived, the gate is
        WITHDRAWN, and the canister need not be told that the client has left.
        """
        self.gate = GATES.get((self.gate, GateEvent.LEFT), self.gate)
        if self.state is _IDLE and self.queue is None:
            return ALL_SENT
        self.ending = True
        if self.gate is SendGate.LEFT and self._may_be_given_up:
            return self._withdraw()
        return _NEXT

    def drop(self) -> Effects:
        """Forget what is queued and under way: the canister does not know this client (any more)."""
        self.ending = False
        return self._give_up()

    # what becomes of the current call

    def next(self, now: float, limits: CallLimits) -> Effects:
        """Start the next call if there is one and nothing is under way."""
        if self.state is not _IDLE or not self.gate:
            return NOTHING
        if self.queue is None:
            ending, self.ending = self.ending, False
            return ALL_SENT if ending else NOTHING
        envelope = self.pop()
        self.waiting.octets -= len(envelope.body)
        drained = self.full and self._may_be_read(limits)
        self.launch(envelope, now)
        if drained:
            self.full = False
            return _DRAINED
        return LAUNCHED

    def granted(self, now: float, earliest_ns: int) -> Effects:
        """There is a place for the current call.

        :param earliest_ns: a time that the network's clock has passed for certain, ns since 1970
        :raises LookupError: it does not wait for one
        """
        current = self.current
        if self.state is not _WAITING or current is None:
            raise LookupError(f"GRANTED in {self.state.name}")
        # an envelope that was valid once has expired after its longest life, whatever time the network has
        old = self.attempts and now - self.started > MAX_INGRESS_TTL_NS / 1e9
        if old or current.ingress_expiry - earliest_ns < MIN_LIFE_NS:
            return self._expired(now)
        self.state = _IN_FLIGHT
        self.attempts += 1
        return SUBMITTED

    def ended(self, now: float) -> Effects:
        """An attempt has brought the end of the call.

        :raises LookupError: no attempt is under way
        """
        if self.state is not _IN_FLIGHT:
            raise LookupError(f"ENDED in {self.state.name}")
        took = now - self.started
        # as measured() does, without a call
        self.took = took if not self.took else self.took + (took - self.took) * WEIGHT
        self.state = _IDLE
        self.current = None
        return _ENDED

    def not_ended(self, heard: Answer, now: float, jitter: Callable[[], float], asked: Asked | None = None) -> Effects:
        """An attempt has ended without the end of the call.

        :param jitter: a random number in [0, 1)
        :param asked: how long the network asks to wait, if it does
        """
        current = self.current
        assert current is not None
        opening = current.method_name == "ws_open"
        # ws_open is not needed any more when the canister has spoken, or when the client has left before it was taken
        unneeded = opening and (
            self.gate is SendGate.OPEN
            or (self.gate is SendGate.LEFT and not (heard.taken or self.doubt is OutcomeKnowledge.TAKEN))
        )
        event = self._judge(heard)
        if event is CallEvent.REFUSED or event is CallEvent.UNRESOLVED:
            return self._fail(event, now)
        if unneeded:
            return self.step(CallEvent.SUPERSEDED) if self.gate is SendGate.OPEN else self._withdraw()
        retry_after = asked.seconds if asked is not None else None
        if event is CallEvent.TAKEN or event is CallEvent.DOUBTED:
            # a session's first message tells it sooner; canisters that never answer would cost a call a second each
            took = now - self.started if opening and event is CallEvent.TAKEN else 0.0
            self.pause = resubmit_delay(jitter, retry_after, took)
        else:
            self.pause = retry_pause(self.attempts, jitter, retry_after)
        if asked is not None:
            if asked.most < asked.bounded:
                return self._expired(now)
            # it must not expire by the jitter that is added to what was asked for
            self.pause = min(self.pause, max(asked.bounded, asked.left - 1.0))
        return self.step(event)

    def step(self, event: CallEvent) -> Effects:
        """Go on to the next state: the pause is over, or what another method has found.

        :raises LookupError: the event cannot happen in this state
        """
        try:
            self.state, effects = TABLE[self.state, event]
        except KeyError:
            raise LookupError(f"{event.name} in {self.state.name}") from None
        if self.state is _IDLE:
            self.current = None
        return effects

    # inside

    def _judge(self, heard: Answer) -> CallEvent:
        """Say what an attempt that has not brought the end means for the call."""
        if heard.taken:
            self.doubt, self.refused = OutcomeKnowledge.TAKEN, 0
            return CallEvent.TAKEN
        if heard.arrived and self.doubt is OutcomeKnowledge.NONE:
            self.doubt = OutcomeKnowledge.LOST
        if heard.again or (heard.transient and self.attempts < TRANSIENT_ATTEMPTS):
            if self.doubt is OutcomeKnowledge.TAKEN:
                return CallEvent.TAKEN
            return CallEvent.LOST if heard.arrived else CallEvent.NOT_TAKEN
        if self.doubt is OutcomeKnowledge.NONE:
            return CallEvent.REFUSED
        self.refused += 1
        return CallEvent.DOUBTED if self.refused < REFUSED_REPETITIONS else CallEvent.UNRESOLVED

    @property
    def _may_be_given_up(self) -> bool:
        """Whether a ws_open that is not needed any more need not be sent again: it waits, and is not taken."""
        if self.doubt is OutcomeKnowledge.TAKEN and self.gate is not SendGate.OPEN:
            return False
        return self.state in (CallState.WAITING, CallState.RETRYING, CallState.RESUBMITTING)

    def _withdraw(self) -> Effects:
        """Give up ws_open, with all behind it: its client has left."""
        if self.doubt is _NO_DOUBT:
            self.gate = GATES[self.gate, GateEvent.WITHDRAWN]
        return (*self._give_up(), *_NEXT)

    def _give_up(self) -> Effects:
        self.waiting.octets -= self.octets
        self.abandoned = self.clear() + (self.current is not None)
        return self.step(CallEvent.GIVEN_UP)

    def _expired(self, now: float) -> Effects:
        return self._fail(CallEvent.EXPIRED if self.doubt is OutcomeKnowledge.NONE else CallEvent.EXPIRED_IN_DOUBT, now)

    def _fail(self, event: CallEvent, now: float) -> Effects:
        took = now - self.started
        if took > self.took:
            # one that is refused at once says nothing of how long calls take
            self.measured(took)
        return self.step(event)

    def _may_be_read(self, limits: CallLimits) -> bool:
        return not len(self) or (
            self.has_room(limits.relay_queue_messages, limits.relay_queue_bytes, limits.relay_queue_time)
            # when too much waits in all, each may have one message that waits
            and self.waiting.octets <= limits.max_waiting_bytes
        )

    def dump(self) -> tuple[int, int, int, int, int, float, bool]:
        """All but the envelopes, as numbers: what decides about the current call."""
        return (
            int(self.state),
            int(self.gate),
            int(self.doubt),
            self.attempts,
            self.refused,
            self.started,
            self.ending,
        )

    def load(self, data: tuple[int, int, int, int, int, float, bool], current: T | None) -> None:
        """Take what :meth:`dump` gave.

        :param current: the envelope of the current call
        :raises ValueError: not such numbers
        """
        self.state, self.gate, self.doubt = CallState(data[0]), SendGate(data[1]), OutcomeKnowledge(data[2])
        self.attempts, self.refused, self.started, self.ending = data[3], data[4], data[5], bool(data[6])
        self.current = current
