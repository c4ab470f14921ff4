"""One client's way up: its envelopes leave in order, one after the other.

The IC promises no order among calls, and the CDK drops a client at the first wrong sequence number, so the next
envelope of a client leaves only when the former has been executed (default) or accepted (``--relay-order``); ws_open
always waits for its execution. Sending the identical envelope again is harmless, so a call whose answer was lost, or
that met an overloaded or failing replica, is sent again with growing pauses as long as the envelope is valid. A call
that the network has and has not executed yet is posted again once a second, until its end is known: only its sender may
read its status, but whoever has the envelope gets its certificate (decisions 0024 and 0030).

The state machine :mod:`icwsgw.core.client_calls` decides; this module performs its effects. Each attempt leaves by an
exit (:mod:`icwsgw.gateway.calls.scheduler`): canisters share the calls that may be under way, and all that leaves is
bounded.

    ws_open | gate | ws_message ws_message ... | ws_close

The gate opens with the canister's first message to the client, or when the client has left and ws_open is done: what
a client sent before it left still arrives, and ws_close comes last. The queue is bounded in number, bytes and time
(:mod:`icwsgw.core.relay_queue`), and all clients' queues together are; a client that fills them is not read from until
its own has drained (TCP pushes back), so nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.core.call_answers import Answer
from icwsgw.core.call_table import CallEffect, CallEvent, CallState, Effects, SendGate
from icwsgw.core.client_calls import ALL_SENT, LAUNCHED, MIN_LIFE_NS, SUBMITTED, Asked, ClientCalls
from icwsgw.core.relay_queue import RelayQueue
from icwsgw.errors import (
    CanisterRefused,
    ConnectFailed,
    FormatError,
    HttpError,
    IcwsError,
    NotReady,
    TransportError,
)
from icwsgw.gateway.calls.scheduler import CallQueue
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import UNIT_OK, decode_unit_result
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.spans import RelaySpans

_log = get_logger("relay")

#: How often a call is sent that a boundary node's policy forbids: for a quarter of a minute.
FORBIDDEN_ATTEMPTS = 10


class Expired(IcwsError):
    """The envelope's ingress expiry passed before a replica took the call."""

    cause = "expired"


class RelayOwner:
    """What a relay tells its session. (A base class rather than a protocol: it is called for every message.)

    :ivar id: for logs
    """

    __slots__ = ()
    id: str = ""

    def relayed(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        """The call was accepted, or has ended; a certified reject in ``outcome`` is for the owner to judge."""
        raise NotImplementedError

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """The call was refused for good, by the network or in the canister's words, or expired undelivered."""
        raise NotImplementedError

    def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """The same, but after an attempt whose answer was lost: it may have been executed."""
        raise NotImplementedError

    def relay_full(self) -> None:
        """The queue has reached its bound."""
        raise NotImplementedError

    def relay_drained(self) -> None:
        """The queue has room again."""
        raise NotImplementedError


class _Cancellable(Protocol):
    """An attempt under way, or the timer of a pause."""

    def cancel(self) -> None:
        """End it."""


class Relay:
    """Performs what the machine of one client's calls asks for.

    :param spans: makes spans of the calls; None where nobody collects them
    :ivar sent: when the call under way, or the last one, left (again); while one waits, when the one before did
    """

    __slots__ = (
        "_all_sent",
        "_calls",
        "_canister",
        "_context",
        "_messages",
        "_owner",
        "_slot_queue",
        "_spans",
        "_starting",
        "_under_way",
        "sent",
    )

    def __init__(
        self,
        context: Context,
        canister: Principal,
        owner: RelayOwner,
        opening: CallQueue | None = None,
        spans: RelaySpans | None = None,
    ) -> None:
        self._context = context
        self._canister = canister
        self._owner = owner
        self._spans = spans
        self._messages = context.call_scheduler.messages(canister.raw)
        # where the current call leaves: ws_open by an exit of its own
        self._slot_queue = opening or self._messages
        self._calls: ClientCalls[ClientEnvelope] = ClientCalls(context.waiting)
        # what the machine's state has under way: the attempt of IN_FLIGHT, the timer of RETRYING and RESUBMITTING
        self._under_way: _Cancellable | None = None
        self._all_sent: Callable[[], None] | None = None
        self._starting = False
        self.sent = 0.0

    # what the session asks for

    def open(self, envelope: ClientEnvelope) -> None:
        """Send ws_open; what follows waits at the gate."""
        if self._spans is not None:
            self._spans.queued(envelope)
        self._calls.launch(envelope, self._context.clock.seconds())
        self._enter()

    def send(self, envelope: ClientEnvelope) -> None:
        """Send an envelope when its turn comes."""
        if self._spans is not None:
            self._spans.queued(envelope)
        context = self._context
        effects = self._calls.send(envelope, context.clock.seconds(), context.config)
        if effects is LAUNCHED:
            self._slot_queue = self._messages
            self._enter()
        elif effects:
            self._owner.relay_full()

    def release(self) -> None:
        """Open the gate: the canister has spoken to the client, so ws_open need not be tried again."""
        effects = self._calls.spoke()
        if effects:
            self._perform(effects)

    def finish(self, done: Callable[[], None]) -> None:
        """Open the gate, let all that is queued leave, then call ``done``: the client has left."""
        effects = self._calls.left()
        if effects is ALL_SENT:
            done()
            return
        self._all_sent = done
        self._perform(effects)

    def drop(self) -> None:
        """Forget what is queued and under way: the canister does not know this client (any more)."""
        if self._spans is not None:
            self._spans.dropped()
        self._all_sent = None
        self._perform(self._calls.drop())

    @property
    def withdrawn(self) -> bool:
        """Whether the client has left, and the canister cannot have got its ws_open."""
        return self._calls.gate is SendGate.WITHDRAWN

    @property
    def queued(self) -> int:
        """How many envelopes wait for their turn; the one under way is none of them."""
        return len(self._calls)

    @property
    def under_way(self) -> bool:
        """Whether an envelope has been sent and has no outcome yet."""
        return self._calls.state is not CallState.IDLE

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return self._calls.state is CallState.IDLE and self._calls.queue is None

    @property
    def relay_queue(self) -> RelayQueue[ClientEnvelope]:
        """What waits, and how long it will."""
        return self._calls

    # effects

    def _perform(
        self, effects: Effects, envelope: ClientEnvelope | None = None, error: IcwsError | None = None
    ) -> None:
        """Do what the machine asks for.

        :param envelope: of the call that the effects are about
        :param error: what the owner is told of it, and what a pause is due to
        """
        for effect in effects:
            if effect is CallEffect.NEXT:
                self._next()
            elif effect is CallEffect.DRAINED:
                self._owner.relay_drained()
            elif effect is CallEffect.ENTER:
                self._enter()
            elif effect in _PAUSES:
                calls, context = self._calls, self._context
                if effect is CallEffect.RESUBMIT:
                    what, counter = _REPOSTS, context.metrics.relay_reposts
                else:
                    what, counter = _RETRIES, context.metrics.relay_retries
                counter.inc()
                self._under_way = context.clock.callLater(calls.pause, self._pause_over)
                if _log.level <= DEBUG:
                    fields = {"canister": self._canister.text, "session": self._owner.id, "attempt": calls.attempts}
                    _log.debug(what, seconds=round(calls.pause, 3), error=error, **fields)
            elif effect in _TOLD:
                self._tell(effect, envelope, error)
            elif effect in _COUNTED:
                self._count(effect)
            elif effect in _CANCELLED:
                under_way, self._under_way = self._under_way, None
                if under_way is not None:
                    # an attempt ends as one that failed, which gives its place back
                    under_way.cancel()
            elif effect is CallEffect.GIVE_PLACE_BACK:
                self._slot_queue.leave()
            elif effect is CallEffect.FORGET_PLACE:
                self._slot_queue.forget(self)
            elif effect is CallEffect.ALL_SENT:
                done, self._all_sent = self._all_sent, None
                assert done is not None
                done()

    def _next(self) -> None:
        if self._starting:
            # the loop below is at work and finds what there is; envelopes that expired together end without a pause
            return
        self._starting = True
        context, calls = self._context, self._calls
        try:
            while effects := calls.next(context.clock.seconds(), context.config):
                self._slot_queue = self._messages
                self._perform(effects)
        finally:
            self._starting = False

    def _enter(self) -> None:
        if self._slot_queue.enter(self):
            self.sent = self._context.clock.seconds()
            self._submit()

    def granted(self) -> None:
        """There is a place for the call (:class:`icwsgw.core.call_slots.SlotWaiter`)."""
        self.sent = self._context.clock.seconds()
        self._submit()

    def _submit(self) -> None:
        context, calls = self._context, self._calls
        envelope = calls.current
        assert envelope is not None
        if self._spans is not None:
            self._spans.attempt(envelope, calls.attempts + 1)
        earliest = context.network.time.earliest_ns(self.sent, context.now_ns())
        effects = calls.granted(self.sent, earliest)
        if effects is not SUBMITTED:
            text = f"the envelope expired before the network took it, after {calls.attempts} attempts"
            self._perform(effects, envelope, Expired(text))
            return
        if _log.level <= DEBUG:
            self._report("call", envelope, attempt=calls.attempts, bytes=len(envelope.body))
        wait = context.config.relay_order == "executed" or envelope.method_name == "ws_open"
        request = context.network.call(self._canister, envelope.body, wait=wait, timeout=context.config.call_timeout)
        # remembered first: a call that has fired already runs on into the next one
        self._under_way = request
        request.addCallbacks(self._answered, self._failed)

    def _pause_over(self) -> None:
        self._under_way = None
        self._calls.step(CallEvent.PAUSE_OVER)
        # as _enter() does, without a call: a call that the network has comes by here each second
        if self._slot_queue.enter(self):
            self.sent = self._context.clock.seconds()
            self._submit()

    def _tell(self, effect: CallEffect, envelope: ClientEnvelope | None, error: IcwsError | None) -> None:
        """Tell the owner that a call has come to nothing, or to nothing that is known."""
        assert envelope is not None
        assert error is not None
        unknown = effect is CallEffect.TELL_UNKNOWN or effect is CallEffect.TELL_EXPIRED_UNKNOWN
        if self._spans is not None:
            self._spans.ended(envelope, "unknown" if unknown else error.cause, True)
        if unknown:
            self._context.metrics.relays.inc("unknown")
            self._owner.relay_outcome_unknown(envelope, error)
        else:
            self._context.metrics.relays.inc(error.cause)
            self._owner.relay_failed(envelope, error)

    def _count(self, effect: CallEffect) -> None:
        """Count calls of which the owner is not told."""
        metrics = self._context.metrics
        if effect is CallEffect.COUNT_UNKNOWN:
            metrics.relays.inc("unknown")
        elif self._calls.abandoned:
            metrics.relays.inc("abandoned", self._calls.abandoned)
        if self._spans is not None:
            self._spans.opening_given_up(effect is CallEffect.COUNT_ABANDONED)

    # what an attempt brings

    def _answered(self, outcome: CallOutcome) -> None:
        self._slot_queue.leave()
        context, calls = self._context, self._calls
        envelope = calls.current
        if envelope is None:
            return
        self._under_way = None
        if not outcome.heard.end:
            self._not_ended(envelope, outcome.heard, outcome.reject or _UNDER_WAY, None)
            return
        now = context.clock.seconds()
        took = now - calls.started
        reply = outcome.reply
        refusal = None if reply is None or reply == UNIT_OK else _refusal(reply)
        label = outcome.label if refusal is None else refusal.cause
        metrics = context.metrics
        metrics.relays.inc(label)
        metrics.relay_seconds.observe(took)
        if _log.level <= DEBUG:
            self._report("call ended", envelope, outcome=label, seconds=round(took, 3))
        # TELL_OUTCOME and NEXT, without a loop: nearly every call ends here
        calls.ended(now)
        if self._spans is not None:
            self._spans.ended(envelope, label, refusal is not None or outcome.reject is not None)
        if refusal is None:
            self._owner.relayed(envelope, outcome)
        else:
            self._owner.relay_failed(envelope, refusal)
        if calls.queue is not None or calls.ending:
            self._next()

    def _failed(self, failure: Failure) -> None:
        self._slot_queue.leave()
        calls = self._calls
        envelope = calls.current
        if envelope is None:
            return
        self._under_way = None
        error = failure.value
        if not isinstance(error, IcwsError):
            _log.failure("relaying a call failed", failure=failure, session=self._owner.id)
            error = IcwsError("internal error")
        retry_after = error.retry_after if isinstance(error, HttpError) else None
        self._not_ended(envelope, _heard(error, calls.attempts), error, retry_after)

    def _not_ended(self, envelope: ClientEnvelope, heard: Answer, error: IcwsError, retry_after: float | None) -> None:
        context = self._context
        asked = self._asked(envelope, retry_after) if retry_after else None
        effects = self._calls.not_ended(heard, context.clock.seconds(), context.jitter, asked)
        if asked is not None and not _EXPIRIES.isdisjoint(effects):
            text = f"the network asks to wait {asked.bounded:.0f} s, the envelope expires in {asked.left:.0f} s"
            error = Expired(text)
        self._perform(effects, envelope, error)

    def _asked(self, envelope: ClientEnvelope, seconds: float) -> Asked:
        context, expiry = self._context, envelope.ingress_expiry - MIN_LIFE_NS
        return Asked(seconds, (expiry - context.network_ns()) / 1e9, (expiry - context.earliest_network_ns()) / 1e9)

    def _report(self, what: str, envelope: ClientEnvelope, **fields: object) -> None:
        """A line that leads from the session to the call: by its request id, which the IC's own tools show."""
        call = request_of(envelope.body)
        _log.debug(what, session=self._owner.id, request=call, method=envelope.method_name, **fields)


_REPOSTS = "call in progress, resubmitting to get its outcome"
_RETRIES = "call not accepted, retrying"
_PAUSES = frozenset((CallEffect.RETRY, CallEffect.RESUBMIT))
_EXPIRIES = frozenset((CallEffect.TELL_EXPIRED, CallEffect.TELL_EXPIRED_UNKNOWN))
_TOLD = _EXPIRIES | {CallEffect.TELL_FAILED, CallEffect.TELL_UNKNOWN}
_COUNTED = frozenset((CallEffect.COUNT_UNKNOWN, CallEffect.COUNT_ABANDONED))
_CANCELLED = frozenset((CallEffect.CANCEL_CALL, CallEffect.CANCEL_PAUSE))
_UNDER_WAY = IcwsError("the network has the call, its end is to come")


def _refusal(reply: bytes) -> CanisterRefused | None:
    """The canister's ``Err``, if that is its reply; what does not decode is for the owner to judge."""
    try:
        decode_unit_result(reply)
    except CanisterRefused as error:
        return error
    except FormatError:
        pass
    return None


def _heard(error: IcwsError, attempts: int) -> Answer:
    """What a failed attempt says: whether it may have arrived, and whether to try again.

    A proxy's 5xx may stand for a replica's answer that was lost.
    """
    if isinstance(error, HttpError):
        over = error.forbidden and attempts >= FORBIDDEN_ATTEMPTS
        return Answer(arrived=error.status >= 500 or error.resent, again=error.retryable and not over)
    if isinstance(error, TransportError):
        return Answer(arrived=not isinstance(error, ConnectFailed), again=error.retryable)
    return Answer(again=isinstance(error, NotReady))


def request_of(body: bytes) -> str:
    """The beginning of an envelope's request id, in hex; for logs."""
    try:
        return request_id(loads_known(body, ENVELOPE)["content"]).hex()[:16]
    except (FormatError, AttributeError, TypeError, KeyError, ValueError):
        return "none"
