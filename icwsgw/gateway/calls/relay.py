"""Relays one client's envelopes to its canister, in order and one at a time.

The IC does not keep calls in order, and the CDK closes a client at the first wrong sequence number. So the next
envelope is sent only when the call before it was executed (default) or accepted (``--relay-order``); ``ws_open`` always
has to be executed first. The network executes an envelope only once, so it is safe to send it again: after a lost
answer or an error that may pass, the relay resubmits it with growing pauses until its ingress expiry. A call that the
network has accepted but not executed is resubmitted about once a second until its outcome is known: only the sender may
read a call's status, but the answer to the identical envelope contains its certificate (decisions 0024 and 0030).

The state machine :mod:`icwsgw.core.client_calls` decides; this module performs its effects. Each attempt needs a call
slot and a token of the request budget (:mod:`icwsgw.gateway.calls.scheduler`).

    ws_open | gate | ws_message ws_message ... | ws_close

The gate opens with the canister's first message to the client, or when the client has left and ``ws_open`` has ended:
what the client sent before it left still arrives, and ``ws_close`` comes last. The relay queue is bounded in messages,
bytes and time (:mod:`icwsgw.core.relay_queue`), and so are the queues of all clients together. While a queue is full,
its client's socket is not read, so nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.core.call_answers import Answer, after_failure, refusal_in
from icwsgw.core.call_table import CallEffect, CallEvent, CallState, Effects, SendGate
from icwsgw.core.client_calls import ALL_SENT, LAUNCHED, MIN_LIFE_NS, SUBMITTED, ClientCalls, RequestedPause
from icwsgw.core.failure_source import side_of
from icwsgw.core.messages import parse_envelope, parse_waiting
from icwsgw.core.relay_queue import RelayQueue
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError, HttpError, IcwsError
from icwsgw.gateway.calls.scheduler import CallQueue
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import UNIT_OK
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.spans import RelaySpans

_log = get_logger("relay")


class Expired(IcwsError):
    """The envelope's ingress expiry passed before the network accepted the call."""

    cause = "expired"


class RelayOwner:
    """The session, as its relay sees it. It is a base class, not a protocol, because each message calls it.

    :ivar id: the session's id, for logs
    """

    __slots__ = ()
    id: str = ""

    def relayed(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        """The call was accepted, or it has ended. A certified reject is in ``outcome``; the owner judges it."""
        raise NotImplementedError

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """The call will not be executed: the network or the canister refused it, or it expired before that."""
        raise NotImplementedError

    def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """As :meth:`relay_failed`, but an earlier attempt may have arrived, so the call may have been executed."""
        raise NotImplementedError

    def relay_full(self) -> None:
        """The relay queue is full."""
        raise NotImplementedError

    def relay_drained(self) -> None:
        """The relay queue has room again."""
        raise NotImplementedError


class _Cancellable(Protocol):
    """An attempt in flight, or the timer of a pause."""

    def cancel(self) -> None:
        """Cancel it."""


class Relay:
    """Performs the effects of one client's call machine.

    :param spans: makes spans of the calls; None if no collector is configured
    :ivar sent: seconds when the current call was last sent, or the one before it while the current call waits
    :ivar last_error: why the last attempt that did not end a call did not; with an empty text: there was none
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
        "last_error",
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
        # The call queue of the current call; ws_open has its own.
        self._slot_queue = opening or self._messages
        self._calls: ClientCalls[ClientEnvelope] = ClientCalls(context.waiting)
        # The call of IN_FLIGHT, or the timer of RETRYING and RESUBMITTING.
        self._under_way: _Cancellable | None = None
        self._all_sent: Callable[[], None] | None = None
        self._starting = False
        self.sent = 0.0
        self.last_error = _NO_ERROR

    # called by the session

    def open(self, envelope: ClientEnvelope) -> None:
        """Send ``ws_open``. Messages wait at the gate."""
        if self._spans is not None:
            self._spans.queued(envelope)
        self._calls.launch(envelope, self._context.clock.seconds())
        self._enter()

    def send(self, envelope: ClientEnvelope) -> None:
        """Send a message when the messages before it have ended."""
        if self._spans is not None:
            self._spans.queued(envelope)
        context = self._context
        effects = self._calls.send(envelope, context.clock.seconds(), context.config)
        if effects is LAUNCHED:
            self._slot_queue = self._messages
            self._enter()
            return
        envelope.shrink()
        if effects:
            self._owner.relay_full()

    def release(self) -> None:
        """Open the gate: the canister has sent the client a message, so ``ws_open`` was executed."""
        effects = self._calls.spoke()
        if effects:
            self._perform(effects)

    def finish(self, done: Callable[[], None]) -> None:
        """Send what is queued, then call ``done``: the client has left."""
        effects = self._calls.left()
        if effects is ALL_SENT:
            done()
            return
        self._all_sent = done
        self._perform(effects)

    def drop(self) -> None:
        """Drop the current call and the queue: the canister does not know this client."""
        if self._spans is not None:
            self._spans.dropped()
        self._all_sent = None
        self._perform(self._calls.drop())

    # the handover to another process

    def written(self) -> Document:
        """The state as plain values."""
        calls = self._calls
        return {
            **calls.written(),
            "current": calls.current and calls.current.body,
            "queue": [envelope.body for envelope in calls.queue or ()],
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document; :meth:`resume` continues with it.

        :raises FormatError: a value is of the wrong kind
        """
        current = document.get("current")
        self._calls.read(document)
        self._calls.take_over(
            None if current is None else parse_envelope(current), map(parse_waiting, document.get("queue", ()))
        )

    def resume(self, all_sent: Callable[[], None]) -> None:
        """Continue after a handover.

        :param all_sent: as in :meth:`finish`, if the client has left before
        """
        calls = self._calls
        if calls.ending:
            self._all_sent = all_sent
        if calls.current is None or calls.current.method_name != "ws_open":
            self._slot_queue = self._messages
        if calls.full:
            self._owner.relay_full()
        if calls.ending or not self.idle:
            self._perform(calls.resume())

    def detach(self) -> None:
        """Stop without reporting outcomes: another process continues."""
        self._all_sent = None
        if self._spans is not None:
            self._spans.left()
        effects, self._calls.abandoned = self._calls.drop(), 0
        self._perform(effects)

    @property
    def withdrawn(self) -> bool:
        """Whether the client has left before any attempt of its ``ws_open`` can have arrived."""
        return self._calls.gate is SendGate.WITHDRAWN

    @property
    def waits_for_slot(self) -> bool:
        """Whether the current call waits for a call slot."""
        return self._calls.state is CallState.WAITING

    @property
    def queued(self) -> int:
        """How many envelopes wait, without the current call."""
        return len(self._calls)

    @property
    def under_way(self) -> bool:
        """Whether there is a current call: waiting, in flight, or between two attempts."""
        return self._calls.state is not CallState.IDLE

    @property
    def idle(self) -> bool:
        """Whether there is no current call and the queue is empty."""
        return self._calls.state is CallState.IDLE and self._calls.queue is None

    @property
    def relay_queue(self) -> RelayQueue[ClientEnvelope]:
        """The queue, with its estimate of how long a message waits."""
        return self._calls

    # effects

    def _perform(
        self, effects: Effects, envelope: ClientEnvelope | None = None, error: IcwsError | None = None
    ) -> None:
        """Perform effects of the state machine.

        :param envelope: of the call that the effects are about
        :param error: why the call failed or pauses
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
                again, metrics = effect is CallEffect.RESUBMIT, context.metrics
                what, counter = (_RESUBMITTED, metrics.relay_reposts) if again else (_RETRIED, metrics.relay_retries)
                counter.inc()
                self._under_way = context.clock.callLater(calls.pause, self._pause_over)
                if _log.level <= DEBUG:
                    fields = {"canister": self._canister.text, "session": self._owner.id, "attempt": calls.attempts}
                    _log.debug(what, seconds=round(calls.pause, 3), error=error, **fields)
            elif effect in _NOTIFIED:
                self._notify(effect, envelope, error)
            elif effect in _COUNTED:
                self._count(effect)
            elif effect in _CANCELLED:
                under_way, self._under_way = self._under_way, None
                if under_way is not None:
                    # A cancelled call fails, and its errback gives the slot back.
                    under_way.cancel()
            elif effect is CallEffect.RELEASE_SLOT:
                self._slot_queue.leave()
            elif effect is CallEffect.LEAVE_QUEUE:
                self._slot_queue.forget(self)
            elif effect is CallEffect.ALL_SENT:
                done, self._all_sent = self._all_sent, None
                assert done is not None
                done()

    def _next(self) -> None:
        if self._starting:
            # The loop below is running and will find it. This way envelopes that expired together end one after the
            # other, without recursion.
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
        """The call has got its slot and token (:class:`icwsgw.core.call_slots.SlotWaiter`)."""
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
        # Store the call first: if its callbacks run at once, they start the next call.
        self._under_way = request
        request.addCallbacks(self._answered, self._failed)

    def _pause_over(self) -> None:
        self._under_way = None
        self._calls.step(CallEvent.PAUSE_OVER)
        # As _enter(), inlined: each call that the network has accepted comes by here once a second.
        if self._slot_queue.enter(self):
            self.sent = self._context.clock.seconds()
            self._submit()

    def _notify(self, effect: CallEffect, envelope: ClientEnvelope | None, error: IcwsError | None) -> None:
        """Notify the owner that a call has failed or has an unknown outcome."""
        assert envelope is not None
        assert error is not None
        unknown = effect is CallEffect.NOTIFY_UNKNOWN or effect is CallEffect.NOTIFY_EXPIRED_UNKNOWN
        if self._spans is not None:
            self._spans.ended(envelope, "unknown" if unknown else error.cause, True)
        metrics = self._context.metrics
        metrics.relay_failures.inc(side_of(error).value)
        if unknown:
            metrics.relays.inc("unknown")
            self._owner.relay_outcome_unknown(envelope, error)
        else:
            metrics.relays.inc(error.cause)
            self._owner.relay_failed(envelope, error)

    def _count(self, effect: CallEffect) -> None:
        """Count calls of which the owner is not notified."""
        metrics = self._context.metrics
        if effect is CallEffect.COUNT_UNKNOWN:
            metrics.relays.inc("unknown")
        elif self._calls.abandoned:
            metrics.relays.inc("abandoned", self._calls.abandoned)
        if self._spans is not None:
            self._spans.opening_given_up(effect is CallEffect.COUNT_ABANDONED)

    # the end of an attempt

    def _answered(self, outcome: CallOutcome) -> None:
        self._slot_queue.leave()
        context, calls = self._context, self._calls
        envelope = calls.current
        if envelope is None:
            return
        self._under_way = None
        if not outcome.answer.end:
            self._not_ended(envelope, outcome.answer, outcome.reject or _UNDER_WAY, None)
            return
        now = context.clock.seconds()
        took = now - calls.started
        reply = outcome.reply
        refusal = None if reply is None or reply == UNIT_OK else refusal_in(reply)
        label = outcome.label if refusal is None else refusal.cause
        metrics = context.metrics
        metrics.relays.inc(label)
        metrics.relay_seconds.observe(took)
        if _log.level <= DEBUG:
            self._report("call ended", envelope, outcome=label, seconds=round(took, 3))
        # The effects NOTIFY_OUTCOME and NEXT, inlined: nearly every call ends here.
        calls.ended(now)
        if self._spans is not None:
            self._spans.ended(envelope, label, refusal is not None or outcome.reject is not None)
        if refusal is None:
            self._owner.relayed(envelope, outcome)
        else:
            metrics.relay_failures.inc(side_of(refusal).value)
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
        self._not_ended(envelope, after_failure(error, calls.attempts), error, retry_after)

    def _not_ended(self, envelope: ClientEnvelope, answer: Answer, error: IcwsError, retry_after: float | None) -> None:
        context, self.last_error = self._context, error
        requested = self._requested_pause(envelope, retry_after) if retry_after else None
        effects = self._calls.not_ended(answer, context.clock.seconds(), context.jitter, requested)
        if requested is not None and not _EXPIRIES.isdisjoint(effects):
            text = f"the network asks to wait {requested.bounded:.0f} s, the envelope expires in {requested.left:.0f} s"
            error = Expired(text)
        self._perform(effects, envelope, error)

    def _requested_pause(self, envelope: ClientEnvelope, seconds: float) -> RequestedPause:
        context, expiry = self._context, envelope.ingress_expiry - MIN_LIFE_NS
        return RequestedPause(
            seconds, (expiry - context.network_ns()) / 1e9, (expiry - context.earliest_network_ns()) / 1e9
        )

    def _report(self, what: str, envelope: ClientEnvelope, **fields: object) -> None:
        """Log a line with the call's request id, by which tools of the IC find the call."""
        call = request_of(envelope.body)
        _log.debug(what, session=self._owner.id, request=call, method=envelope.method_name, **fields)


_RESUBMITTED = "call in progress, resubmitting to get its outcome"
_RETRIED = "call not accepted, retrying"
_PAUSES = frozenset((CallEffect.RETRY, CallEffect.RESUBMIT))
_EXPIRIES = frozenset((CallEffect.NOTIFY_EXPIRED, CallEffect.NOTIFY_EXPIRED_UNKNOWN))
_NOTIFIED = _EXPIRIES | {CallEffect.NOTIFY_FAILED, CallEffect.NOTIFY_UNKNOWN}
_COUNTED = frozenset((CallEffect.COUNT_UNKNOWN, CallEffect.COUNT_ABANDONED))
_CANCELLED = frozenset((CallEffect.CANCEL_CALL, CallEffect.CANCEL_PAUSE))
_NO_ERROR = IcwsError("")
_UNDER_WAY = IcwsError("the network has the call, its end is to come")


def request_of(body: bytes) -> str:
    """The first 16 hex digits of an envelope's request id, for logs."""
    try:
        return request_id(loads_known(body, ENVELOPE)["content"]).hex()[:16]
    except (FormatError, AttributeError, TypeError, KeyError, ValueError):
        return "none"
