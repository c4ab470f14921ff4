"""The calls of one client as a state machine: one at a time, resubmitted until the outcome is known.

:mod:`icwsgw.core.call_table` contains states, events and effects. Which event an answer is depends on what is known of
the earlier attempts (``doubt``) and on the gate. State, gate, doubt and counters can be written down as numbers
(:meth:`ClientCalls.dump`).

The machine uses neither clock nor network. Its methods get the time and the answers as arguments. They return effects,
which the relay (:mod:`icwsgw.gateway.calls.relay`) performs in order. The effect NEXT asks for
:meth:`ClientCalls.next`: the owner is notified of the end of a call before the next one starts, because it may drop all
that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

from icwsgw.core.backoff import LONGEST_RETRY_AFTER, retry_pause
from icwsgw.core.call_answers import REFUSED_RESUBMISSIONS, TRANSIENT_ATTEMPTS, Answer, resubmit_delay
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

#: A call with less time to live is not sent: it would expire on its way.
MIN_LIFE_NS = 500_000_000

# The transitions of nearly every call, taken without a look-up: access to enum members would cost more than the rest.
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
    """What the machine uses of an envelope (:class:`icwsgw.core.messages.ClientEnvelope`)."""

    body: bytes
    method_name: str
    ingress_expiry: int


class CallLimits(Protocol):
    """The limits of the queue (:class:`icwsgw.config.schema.GatewayConfig`)."""

    @property
    def relay_queue_messages(self) -> int:
        """Maximum number of envelopes in one client's queue."""

    @property
    def relay_queue_bytes(self) -> int:
        """Maximum number of bytes in it."""

    @property
    def relay_queue_time(self) -> float:
        """Maximum number of seconds until its calls have ended, at the present rate."""

    @property
    def max_waiting_bytes(self) -> int:
        """Maximum number of bytes in the relay queues and sequence buffers of all clients."""


class WaitingBytes:
    """How much waits in the relay queues and sequence buffers of all clients.

    :ivar octets: bytes of envelopes
    """

    __slots__ = ("octets",)

    def __init__(self) -> None:
        self.octets = 0


class RequestedPause(NamedTuple):
    """The network asks to wait before the next attempt.

    :ivar seconds: so long
    :ivar left: seconds until the envelope expires, by the network's time as far as it is known
    :ivar most: the same by the earliest time that the network may have
    """

    seconds: float
    left: float
    most: float

    @property
    def bounded(self) -> float:
        """Seconds that the machine waits at most."""
        return min(self.seconds, LONGEST_RETRY_AFTER)


T = TypeVar("T", bound=Sendable)


class ClientCalls(RelayQueue[T]):
    """A client's current call, and the calls that wait behind it.

    :ivar state: where the current call is
    :ivar gate: whether others may follow
    :ivar doubt: what is known of the current call's earlier attempts
    :ivar attempts: how often the current call has been sent
    :ivar refused: how many attempts in a row were refused although an earlier one may have arrived
    :ivar current: the envelope of the current call, None in IDLE
    :ivar started: seconds when it became the current call
    :ivar pause: seconds until the next attempt, for RETRY and RESUBMIT
    :ivar abandoned: number of calls that COUNT_ABANDONED is about
    :ivar ending: the client has left, and ALL_SENT is to come
    :ivar waiting: the bytes that wait for all clients
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
    WRITTEN = {
        "state": CallState,
        "gate": SendGate,
        "doubt": OutcomeKnowledge,
        "attempts": int,
        "refused": int,
        "started": float,
        "pause": float,
        "took": float,
        "full": bool,
        "ending": bool,
    }

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

    # called for the client and its session

    def launch(self, envelope: T, now: float) -> Effects:
        """Make an envelope the current call, whatever the gate: ``ws_open``, and what :meth:`next` finds.

        :raises LookupError: there is a current call
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
        """Queue an envelope, or make it the current call if nothing is before it."""
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
        """Open the gate: the canister has sent the client a message, so ``ws_open`` was executed."""
        gate = GATES.get((self.gate, GateEvent.SPOKE))
        if gate is None:
            return NOTHING
        self.gate = gate
        if self.state is _IDLE:
            return _NEXT if self.queue is not None else NOTHING
        return self.step(CallEvent.SUPERSEDED) if self._may_be_given_up else NOTHING

    def left(self) -> Effects:
        """The client has left: open the gate, send what is queued, then give ALL_SENT.

        A ``ws_open`` that the network has not accepted is given up with everything behind it: executed late, it would
        replace a newer connection of the same client. If no attempt can have arrived, the gate becomes WITHDRAWN, and
        no close notice is needed.
        """
        self.gate = GATES.get((self.gate, GateEvent.LEFT), self.gate)
        if self.state is _IDLE and self.queue is None:
            return ALL_SENT
        self.ending = True
        if self.gate is SendGate.LEFT and self._may_be_given_up:
            return self._withdraw()
        return _NEXT

    def drop(self) -> Effects:
        """Drop the current call and the queue: the canister does not know this client."""
        self.ending = False
        return self._give_up()

    # the current call

    def next(self, now: float, limits: CallLimits) -> Effects:
        """Start the next call if one is queued and there is no current one."""
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
        """The current call has got its slot.

        :param earliest_ns: a time that the network's clock has certainly passed, ns since 1970
        :raises LookupError: it does not wait for a slot
        """
        current = self.current
        if self.state is not _WAITING or current is None:
            raise LookupError(f"GRANTED in {self.state.name}")
        # An envelope that was valid once has expired after its longest life, even if the network's time is unknown.
        old = self.attempts and now - self.started > MAX_INGRESS_TTL_NS / 1e9
        if old or current.ingress_expiry - earliest_ns < MIN_LIFE_NS:
            return self._expired(now)
        self.state = _IN_FLIGHT
        self.attempts += 1
        return SUBMITTED

    def ended(self, now: float) -> Effects:
        """An attempt has brought the outcome of the call.

        :raises LookupError: no attempt is in flight
        """
        if self.state is not _IN_FLIGHT:
            raise LookupError(f"ENDED in {self.state.name}")
        took = now - self.started
        # as measured(), inlined
        self.took = took if not self.took else self.took + (took - self.took) * WEIGHT
        self.state = _IDLE
        self.current = None
        return _ENDED

    def not_ended(
        self, answer: Answer, now: float, jitter: Callable[[], float], requested: RequestedPause | None = None
    ) -> Effects:
        """An attempt has ended without the outcome of the call.

        :param jitter: gives a random number in [0, 1)
        :param requested: how long the network asks to wait, if it does
        """
        current = self.current
        assert current is not None
        opening = current.method_name == "ws_open"
        # ws_open is superfluous if the canister has spoken, or if the client has left before the network accepted it.
        unneeded = opening and (
            self.gate is SendGate.OPEN
            or (self.gate is SendGate.LEFT and not (answer.accepted or self.doubt is OutcomeKnowledge.ACCEPTED))
        )
        event = self._judge(answer)
        if event is CallEvent.REFUSED or event is CallEvent.UNRESOLVED:
            return self._fail(event, now)
        if unneeded:
            return self.step(CallEvent.SUPERSEDED) if self.gate is SendGate.OPEN else self._withdraw()
        retry_after = requested.seconds if requested is not None else None
        if event is CallEvent.ACCEPTED or event is CallEvent.REFUSED_UNKNOWN:
            # The canister's first message shows the outcome sooner. Canisters that never answer would cost a call a
            # second each.
            took = now - self.started if opening and event is CallEvent.ACCEPTED else 0.0
            self.pause = resubmit_delay(jitter, retry_after, took)
        else:
            self.pause = retry_pause(self.attempts, jitter, retry_after)
        if requested is not None:
            if requested.most < requested.bounded:
                return self._expired(now)
            # The jitter that is added must not make it expire.
            self.pause = min(self.pause, max(requested.bounded, requested.left - 1.0))
        return self.step(event)

    def step(self, event: CallEvent) -> Effects:
        """Step to the next state, after a pause or with an event that another method has selected.

        :raises LookupError: the event cannot happen in this state
        """
        try:
            self.state, effects = TABLE[self.state, event]
        except KeyError:
            raise LookupError(f"{event.name} in {self.state.name}") from None
        if self.state is _IDLE:
            self.current = None
        return effects

    # the handover

    def take_over(self, current: T | None, queued: Iterable[T]) -> None:
        """Take over a client's envelopes from another process; :meth:`read` has taken the rest of the state."""
        self.current = current
        for envelope in queued:
            self.waiting.octets += self.add(envelope)

    def resume(self) -> Effects:
        """Continue after a handover. An attempt that was in flight may have arrived."""
        if self.state is _IN_FLIGHT and self.doubt is _NO_DOUBT:
            self.doubt = OutcomeKnowledge.LOST
        return self.step(CallEvent.HANDED_OVER)

    # helpers

    def _judge(self, answer: Answer) -> CallEvent:
        """The event of an attempt that has not brought the outcome."""
        if answer.accepted:
            self.doubt, self.refused = OutcomeKnowledge.ACCEPTED, 0
            return CallEvent.ACCEPTED
        if answer.arrived and self.doubt is OutcomeKnowledge.NONE:
            self.doubt = OutcomeKnowledge.LOST
        if answer.retryable or (answer.transient and self.attempts < TRANSIENT_ATTEMPTS):
            if self.doubt is OutcomeKnowledge.ACCEPTED:
                return CallEvent.ACCEPTED
            return CallEvent.LOST if answer.arrived else CallEvent.NOT_ACCEPTED
        if self.doubt is OutcomeKnowledge.NONE:
            return CallEvent.REFUSED
        self.refused += 1
        return CallEvent.REFUSED_UNKNOWN if self.refused < REFUSED_RESUBMISSIONS else CallEvent.UNRESOLVED

    @property
    def _may_be_given_up(self) -> bool:
        """Whether a superfluous ``ws_open`` need not be sent again: it is neither in flight nor accepted."""
        if self.doubt is OutcomeKnowledge.ACCEPTED and self.gate is not SendGate.OPEN:
            return False
        return self.state in (CallState.WAITING, CallState.RETRYING, CallState.RESUBMITTING)

    def _withdraw(self) -> Effects:
        """Give up ``ws_open`` with everything behind it: its client has left."""
        if self.doubt is _NO_DOUBT:
            self.gate = GATES[self.gate, GateEvent.WITHDRAWN]
        return (*self._give_up(), *_NEXT)

    def _give_up(self) -> Effects:
        self.waiting.octets -= self.octets
        self.abandoned = self.clear() + (self.current is not None)
        return self.step(CallEvent.GIVEN_UP)

    def _expired(self, now: float) -> Effects:
        return self._fail(CallEvent.EXPIRED if self.doubt is OutcomeKnowledge.NONE else CallEvent.EXPIRED_UNKNOWN, now)

    def _fail(self, event: CallEvent, now: float) -> Effects:
        took = now - self.started
        if took > self.took:
            # A call that is refused at once does not show how long calls take.
            self.measured(took)
        return self.step(event)

    def _may_be_read(self, limits: CallLimits) -> bool:
        return not len(self) or (
            self.has_room(limits.relay_queue_messages, limits.relay_queue_bytes, limits.relay_queue_time)
            # If the queues of all clients are too long together, each client may still queue one message.
            and self.waiting.octets <= limits.max_waiting_bytes
        )
