"""One client's way up: its envelopes leave in order, one after the other.

The IC promises no order among calls, and the CDK drops a client at the first wrong sequence number, so the next
envelope of a client leaves only when the former has been executed (default) or accepted (``--relay-order``); ws_open
always waits for its execution. Sending the identical envelope again is harmless, so a call whose answer was lost, or
that met an overloaded or failing replica, is sent again with growing pauses as long as the envelope is valid. A call
that the network has and has not executed yet is posted again once a second, until its end is known: only its sender may
read its status, but whoever has the envelope gets its certificate. What is decided is in :mod:`icwsgw.core.calls`; this
module performs (decisions 0024 and 0030).

Each attempt leaves by an exit (:mod:`icwsgw.gateway.departures`): canisters share the calls that may be under way, and
all that leaves is bounded.

    ws_open | gate | ws_message ws_message ... | ws_close

The gate opens with the canister's first message to the client, or when the client has left and ws_open is done: what
a client sent before it left still arrives, and ws_close comes last. The queue is bounded in number, bytes and time
(:mod:`icwsgw.core.backlog`), and all clients' queues together are; a client that fills them is not read from until its
own has drained (TCP pushes back), so nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.clock import Timer
from icwsgw.core.backlog import Backlog
from icwsgw.core.calls import Call, CallEffect, CallEvent, Doubt, Gate, Heard, repost_pause
from icwsgw.core.network_time import LONGEST_LIFE_NS
from icwsgw.core.pacing import LONGEST_RETRY_AFTER, retry_pause
from icwsgw.errors import (
    CanisterRefused,
    ConnectFailed,
    FormatError,
    HttpError,
    IcwsError,
    NotReady,
    TransportError,
)
from icwsgw.gateway.departures import Exit
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import UNIT_OK, decode_unit_result
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope

_log = get_logger("relay")

#: No call is started with less time to live than this: it would expire on its way.
MIN_LIFE_NS = 500_000_000

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

    def relay_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """The same, but after an attempt whose answer was lost: it may have been executed."""
        raise NotImplementedError

    def relay_full(self) -> None:
        """The queue has reached its bound."""
        raise NotImplementedError

    def relay_drained(self) -> None:
        """The queue has room again."""
        raise NotImplementedError


class Relay:
    """The queue of one client's envelopes, and what the machine of its current call asks for.

    Steps of their own for the sake of :mod:`icwsgw.gateway.traced`, which puts spans around them: :meth:`_submit` (an
    attempt leaves) and :meth:`_no_more_opening` (ws_open is given up).

    :ivar sent: when the call under way, or the last one, left (again); while one waits, when the one before did
    """

    __slots__ = (
        "_backlog",
        "_call",
        "_canister",
        "_context",
        "_current",
        "_lane",
        "_messages",
        "_opening",
        "_owner",
        "_pause",
        "_request",
        "_started",
        "_turning",
        "_when_idle",
        "sent",
    )

    def __init__(self, context: Context, canister: Principal, owner: RelayOwner, opening: Exit | None = None) -> None:
        self._context = context
        self._canister = canister
        self._messages = context.departures.messages(canister.raw)
        self._opening = opening
        self._lane = self._messages  # or that of ws_open, while it is under way
        self._owner = owner
        self._backlog: Backlog[ClientEnvelope] = Backlog()
        self._call = Call()
        self._turning = False
        self._current: ClientEnvelope | None = None
        self._request: Deferred[CallOutcome] | None = None
        self._pause: Timer | None = None
        self._started = self.sent = 0.0
        self._when_idle: Callable[[], None] | None = None

    def open(self, envelope: ClientEnvelope) -> None:
        """Send ws_open; what follows waits at the gate."""
        if self._opening is not None:
            self._lane, self._opening = self._opening, None
        self._launch(envelope)

    def send(self, envelope: ClientEnvelope) -> None:
        """Send an envelope when its turn comes."""
        backlog = self._backlog
        if self._current is None and self._call.gate and backlog.queue is None:
            self._lane = self._messages
            self._launch(envelope)
            return
        context = self._context
        context.waiting.octets += backlog.add(envelope)
        config = context.config
        if not backlog.full and (
            backlog.too_much(config.relay_queue_messages, config.relay_queue_bytes, config.relay_queue_time)
            or context.waiting.octets > config.max_waiting_bytes
        ):
            backlog.full = True
            self._owner.relay_full()

    def release(self) -> None:
        """Open the gate: the canister has spoken to the client, so ws_open need not be tried again."""
        call = self._call
        if call.gate is Gate.SHUT:
            call.gate = Gate.OPEN
            if call.may_be_given_up:
                self._no_more_opening()
            self._next()

    def finish(self, done: Callable[[], None]) -> None:
        """Open the gate, let all that is queued leave, then call ``done``: the client has left.

        A ws_open that the network has not taken is given up instead, with all behind it: executed late, it would cost a
        newer connection of the same client its place at the canister.
        """
        self._when_idle = done
        call = self._call
        if call.gate is Gate.SHUT:
            call.gate = Gate.LEFT
        if call.gate is Gate.LEFT and call.may_be_given_up:
            self._no_more_opening()
        self._next()

    def _no_more_opening(self) -> None:
        """Do not try ws_open again; what is queued behind it leaves only if the canister has taken the client."""
        opened = self._call.gate is Gate.OPEN
        if self._current is not None:
            # if the canister has spoken to the client, it was executed, whatever became of its answer
            self._context.metrics.relays.inc("unknown" if opened else "abandoned")
        self._give_up()
        if not opened:
            self._forget_queue()

    def drop(self) -> None:
        """Forget what is queued and under way: the canister does not know this client (any more)."""
        self._forget_queue()
        if self._current is not None:
            self._context.metrics.relays.inc("abandoned")
        self._when_idle = None
        self._give_up()

    def _give_up(self) -> None:
        self._current = None
        for effect in self._call.step(CallEvent.GIVEN_UP):
            if effect is CallEffect.FORGET_PLACE:
                self._lane.forget(self)
            elif effect is CallEffect.CANCEL_PAUSE:
                assert self._pause is not None
                self._pause.cancel()
                self._pause = None
            elif self._request is not None:
                # it ends as one that failed, which gives its place back
                request, self._request = self._request, None
                request.cancel()

    def _forget_queue(self) -> None:
        backlog = self._backlog
        self._context.waiting.octets -= backlog.octets
        dropped = backlog.clear()
        if dropped:
            self._context.metrics.relays.inc("abandoned", dropped)

    @property
    def queued(self) -> int:
        """How many envelopes wait for their turn; the one under way is none of them."""
        return len(self._backlog)

    @property
    def under_way(self) -> bool:
        """Whether an envelope has been sent and has no outcome yet."""
        return self._current is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return self._current is None and self._backlog.queue is None

    @property
    def backlog(self) -> Backlog[ClientEnvelope]:
        """What waits, and how long it will."""
        return self._backlog

    def _next(self) -> None:
        if self._turning:
            # the loop below is at work and finds what there is; envelopes that expired together end without a pause
            return
        self._turning = True
        backlog, call = self._backlog, self._call
        try:
            while self._current is None and call.gate and backlog.queue is not None:
                envelope = backlog.pop()
                self._context.waiting.octets -= len(envelope.body)
                if backlog.full and self._has_room():
                    backlog.full = False
                    self._owner.relay_drained()
                self._lane = self._messages
                self._launch(envelope)
        finally:
            self._turning = False
        if self._current is not None or not call.gate:
            return
        done, self._when_idle = self._when_idle, None
        if done is not None:
            done()

    def _has_room(self) -> bool:
        config, backlog = self._context.config, self._backlog
        return not len(backlog) or (
            backlog.has_room(config.relay_queue_messages, config.relay_queue_bytes, config.relay_queue_time)
            # when too much waits in all, each may have one message that waits
            and self._context.waiting.octets <= config.max_waiting_bytes
        )

    def _launch(self, envelope: ClientEnvelope) -> None:
        self._current = envelope
        self._call.launch()
        self._started = now = self._context.clock.seconds()
        if self._lane.enter(self):
            self.sent = now
            self._submit()

    def _pause_over(self) -> None:
        self._pause = None
        self._call.step(CallEvent.PAUSE_OVER)
        if self._lane.enter(self):
            self.sent = self._context.clock.seconds()
            self._submit()

    def granted(self) -> None:
        """There is a place for the call (:class:`icwsgw.core.shares.Waiter`)."""
        self.sent = self._context.clock.seconds()
        self._submit()

    def _submit(self) -> None:
        envelope = self._current
        assert envelope is not None
        context, call = self._context, self._call
        # an envelope that was valid once has expired after its longest life, whatever time the network has
        old = call.attempts and context.clock.seconds() - self._started > LONGEST_LIFE_NS / 1e9
        earliest = context.network.time.earliest_ns(context.clock.seconds(), context.now_ns())
        if old or envelope.ingress_expiry - earliest < MIN_LIFE_NS:
            self._lane.leave()
            text = f"the envelope expired before the network took it, after {call.attempts} attempts"
            self._end(CallEvent.EXPIRED, Expired(text))
            return
        call.granted()
        if _log.level <= DEBUG:
            self._report("call", envelope, attempt=call.attempts, bytes=len(envelope.body))
        wait = context.config.relay_order == "executed" or envelope.method_name == "ws_open"
        request = context.network.call(self._canister, envelope.body, wait=wait, timeout=context.config.call_timeout)
        # remembered first: a call that has fired already runs on into the next one
        self._request = request
        request.addCallbacks(self._answered, self._failed)

    def _answered(self, outcome: CallOutcome) -> None:
        self._lane.leave()
        envelope = self._current
        if envelope is None:
            return
        if outcome.heard.end:
            self._ended(envelope, outcome)
            return
        self._not_ended(outcome.heard, outcome.reject or _UNDER_WAY, None)

    def _ended(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        took = self._context.clock.seconds() - self._started
        self._backlog.measured(took)
        reply = outcome.reply
        refusal = None if reply is None or reply == UNIT_OK else _refusal(reply)
        label = outcome.label if refusal is None else refusal.cause
        metrics = self._context.metrics
        metrics.relays.inc(label)
        metrics.relay_seconds.observe(took)
        if _log.level <= DEBUG:
            self._report("call ended", envelope, outcome=label, seconds=round(took, 3))
        self._call.ended()
        self._current = self._request = None
        if refusal is None:
            self._owner.relayed(envelope, outcome)
        else:
            self._owner.relay_failed(envelope, refusal)
        if self._backlog.queue is not None or self._when_idle is not None:
            self._next()

    def _failed(self, failure: Failure) -> None:
        self._lane.leave()
        if self._current is None:
            return
        error = failure.value
        if not isinstance(error, IcwsError):
            _log.failure("relaying a call failed", failure=failure, session=self._owner.id)
            error = IcwsError("internal error")
        asked = error.retry_after if isinstance(error, HttpError) else None
        self._not_ended(_heard(error, self._call.attempts), error, asked)

    def _not_ended(self, heard: Heard, error: IcwsError, retry_after: float | None) -> None:
        """An attempt has not brought the end of the call."""
        call, context = self._call, self._context
        envelope = self._current
        assert envelope is not None
        opened = call.gate is Gate.OPEN or (call.gate is Gate.LEFT and not (heard.taken or call.doubt is Doubt.TAKEN))
        event = call.judge(heard)
        if event in _FINAL:
            self._end(event, error)
            return
        if opened and envelope.method_name == "ws_open":
            # it is not needed any more: the canister has spoken, or the client has left and the network has it not
            self._request = None
            self._no_more_opening()
            self._next()
            return
        reposts = event is CallEvent.TAKEN or event is CallEvent.DOUBTED
        if reposts:
            # a session's first message tells it sooner; canisters that never answer would cost a call a second each
            slow = envelope.method_name == "ws_open" and event is CallEvent.TAKEN
            took = context.clock.seconds() - self._started if slow else 0.0
            pause = repost_pause(context.jitter, retry_after, took)
        else:
            pause = retry_pause(call.attempts, context.jitter, retry_after)
        if retry_after:
            left = (envelope.ingress_expiry - context.network_ns() - MIN_LIFE_NS) / 1e9
            most = (envelope.ingress_expiry - context.earliest_network_ns() - MIN_LIFE_NS) / 1e9
            asked = min(retry_after, LONGEST_RETRY_AFTER)
            if most < asked:
                self._end(
                    CallEvent.EXPIRED,
                    Expired(f"the network asks to wait {asked:.0f} s, the envelope expires in {left:.0f} s"),
                )
                return
            # it must not expire by the jitter that is added to what was asked for
            pause = min(pause, max(asked, left - 1.0))
        call.step(event)
        (context.metrics.relay_reposts if reposts else context.metrics.relay_retries).inc()
        _log.debug(
            "call in progress, resubmitting to get its outcome" if reposts else "call not accepted, retrying",
            seconds=round(pause, 3),
            error=error,
            canister=self._canister.text,
            attempt=call.attempts,
            session=self._owner.id,
        )
        self._request = None
        self._pause = context.clock.callLater(pause, self._pause_over)

    def _end(self, event: CallEvent, error: IcwsError) -> None:
        """The call has come to nothing, or to nothing that is known."""
        envelope, self._current, self._request = self._current, None, None
        assert envelope is not None
        call = self._call
        took = self._context.clock.seconds() - self._started
        if took > self._backlog.took:
            # one that is refused at once says nothing of how long calls take
            self._backlog.measured(took)
        unknown = event is CallEvent.UNRESOLVED or (event is CallEvent.EXPIRED and call.doubt is not Doubt.NONE)
        call.step(event)
        if unknown:
            self._context.metrics.relays.inc("unknown")
            self._owner.relay_unknown(envelope, error)
        else:
            self._context.metrics.relays.inc(error.cause)
            self._owner.relay_failed(envelope, error)
        self._next()

    def _report(self, what: str, envelope: ClientEnvelope, **fields: object) -> None:
        """A line that leads from the session to the call: by its request id, which the IC's own tools show."""
        call = request_of(envelope.body)
        _log.debug(what, session=self._owner.id, request=call, method=envelope.method_name, **fields)


_FINAL = (CallEvent.REFUSED, CallEvent.UNRESOLVED)
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


def _heard(error: IcwsError, attempts: int) -> Heard:
    """What a failed attempt says: whether it may have arrived, and whether to try again.

    A proxy's 5xx may stand for a replica's answer that was lost.
    """
    if isinstance(error, HttpError):
        over = error.forbidden and attempts >= FORBIDDEN_ATTEMPTS
        return Heard(arrived=error.status >= 500 or error.resent, again=error.retryable and not over)
    if isinstance(error, TransportError):
        return Heard(arrived=not isinstance(error, ConnectFailed), again=error.retryable)
    return Heard(again=isinstance(error, NotReady))


def request_of(body: bytes) -> str:
    """The beginning of an envelope's request id, in hex; for logs."""
    try:
        return request_id(loads_known(body, ENVELOPE)["content"]).hex()[:16]
    except (FormatError, AttributeError, TypeError, KeyError, ValueError):
        return "none"
