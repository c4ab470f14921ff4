"""One client's way up: its envelopes leave in order, one after the other.

The IC promises no order among calls, and the CDK drops a client at the first wrong sequence number, so the next
envelope of a client leaves only when the former has been accepted (default) or executed (``--relay-order``); ws_open
always waits for its execution (design 3.4). Sending the identical envelope again is harmless, so a call whose answer
was lost, or that met an overloaded or failing replica, is sent again with growing pauses as long as the envelope is
valid. One that is refused after an attempt whose answer was lost may have been executed all the same, and only its
sender may ask the IC what became of it (facts 1.5): its outcome is unknown, and the next one leaves.

Each attempt leaves by an exit (:mod:`icwsgw.gateway.departures`): canisters share the calls that may be under way, and
all that leaves is bounded.

    ws_open | gate | ws_message ws_message ... | ws_close

The gate opens with the canister's first message to the client, or when the client has left and ws_open is done: what
a client sent before it left still arrives, and ws_close comes last. The queue is bounded, and all clients' queues
together are; a client that fills them is not read from until its own has drained (TCP pushes back), so nothing is
dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.clock import Timer
from icwsgw.core.network_time import LONGEST_LIFE_NS
from icwsgw.core.pacing import LONGEST_RETRY_AFTER, retry_pause
from icwsgw.errors import ConnectFailed, FormatError, HttpError, IcwsError, NotReady, TransportError
from icwsgw.gateway.departures import Exit
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope

_log = get_logger("relay")

#: No call is started with less time to live than this: it would expire on its way.
MIN_LIFE_NS = 500_000_000

#: The reject code that invites to try again, and how often it is believed.
SYS_TRANSIENT = 2
TRANSIENT_ATTEMPTS = 4
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
        """The call was accepted or executed; a reject in ``outcome`` is for the owner to judge."""
        raise NotImplementedError

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """The call was refused for good, or its envelope expired undelivered."""
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
    """The queue of one client's envelopes and the call under way.

    Steps of their own for the sake of :mod:`icwsgw.gateway.traced`, which puts spans around them: :meth:`_submit` (an
    attempt leaves) and :meth:`_no_more_opening` (ws_open is given up).

    :ivar sent: when the call under way, or the last one, left (again)
    """

    __slots__ = (
        "_attempt",
        "_call",
        "_canister",
        "_context",
        "_current",
        "_doubtful",
        "_full",
        "_gated",
        "_lane",
        "_messages",
        "_opened",
        "_opening",
        "_owner",
        "_queue",
        "_queued_bytes",
        "_retry",
        "_started",
        "_turning",
        "_waiting",
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
        self._queue: deque[ClientEnvelope] | None = None
        self._queued_bytes = 0
        self._gated = True
        self._opened = False
        self._full = False
        self._turning = False
        self._waiting = False  # for a place in the lane
        self._current: ClientEnvelope | None = None
        self._call: Deferred[CallOutcome] | None = None
        self._retry: Timer | None = None
        self._attempt = 0
        self._doubtful = False  # an attempt at the current call may have arrived although it was not answered
        self._started = self.sent = 0.0
        self._when_idle: Callable[[], None] | None = None

    def open(self, envelope: ClientEnvelope) -> None:
        """Send ws_open; what follows waits at the gate."""
        if self._opening is not None:
            self._lane, self._opening = self._opening, None
        self._launch(envelope)

    def send(self, envelope: ClientEnvelope) -> None:
        """Send an envelope when its turn comes."""
        if self._current is None and not self._gated and not self._queue:
            self._lane = self._messages
            self._launch(envelope)
            return
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(envelope)
        self._queued_bytes += len(envelope.body)
        self._context.waiting.octets += len(envelope.body)
        config = self._context.config
        if not self._full and (
            len(queue) >= config.relay_queue_messages
            or self._queued_bytes >= config.relay_queue_bytes
            or self._context.waiting.octets > config.max_waiting_bytes
        ):
            self._full = True
            self._owner.relay_full()

    def release(self) -> None:
        """Open the gate: the canister has spoken to the client, so ws_open need not be tried again."""
        if self._gated:
            self._gated = False
            self._opened = True
            if self._retry is not None or self._waiting:
                self._no_more_opening()
            self._next()

    def finish(self, done: Callable[[], None]) -> None:
        """Open the gate, let all that is queued leave, then call ``done``: the client has left.

        A ws_open that is being tried again is given up instead, with all behind it: executed late, it would cost a
        newer connection of the same client its place at the canister.
        """
        self._when_idle = done
        self._gated = False
        if (self._retry is not None or self._waiting) and not self._opened:
            self._no_more_opening()
        self._next()

    def _no_more_opening(self) -> None:
        """Do not try ws_open again; what is queued behind it leaves only if the canister has taken the client."""
        if self._current is not None:
            # if the canister has spoken to the client, it was executed, whatever became of its answer
            self._context.metrics.relays.inc("unknown" if self._opened else "abandoned")
        self._current = self._call = None
        self._rest()
        if not self._opened:
            self._forget_queue()

    def drop(self) -> None:
        """Forget what is queued and under way: the canister does not know this client (any more)."""
        self._forget_queue()
        if self._current is not None:
            self._context.metrics.relays.inc("abandoned")
            self._current = None
        self._when_idle = None
        self._rest()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _forget_queue(self) -> None:
        queue, self._queue = self._queue, None
        self._context.waiting.octets -= self._queued_bytes
        self._queued_bytes = 0
        if queue:
            self._context.metrics.relays.inc("abandoned", len(queue))

    def _rest(self) -> None:
        """Neither wait for the next attempt nor for a place."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._waiting:
            self._waiting = False
            self._lane.forget(self)

    @property
    def queued(self) -> int:
        """How many envelopes wait for their turn; the one under way is none of them."""
        return len(self._queue) if self._queue is not None else 0

    @property
    def under_way(self) -> bool:
        """Whether an envelope has been sent and has no outcome yet."""
        return self._current is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return self._current is None and not self._queue

    def _next(self) -> None:
        if self._turning:
            # the loop below is at work and finds what there is; envelopes that expired together end without a pause
            return
        self._turning = True
        try:
            while self._current is None and not self._gated and self._queue:
                envelope = self._queue.popleft()
                self._queued_bytes -= len(envelope.body)
                self._context.waiting.octets -= len(envelope.body)
                if self._full and self._has_room(len(self._queue)):
                    self._full = False
                    self._owner.relay_drained()
                self._lane = self._messages
                self._launch(envelope)
        finally:
            self._turning = False
        if self._current is not None or self._gated:
            return
        self._queue = None
        done, self._when_idle = self._when_idle, None
        if done is not None:
            done()

    def _has_room(self, queued: int) -> bool:
        config = self._context.config
        return not queued or (
            2 * queued <= config.relay_queue_messages
            and 2 * self._queued_bytes <= config.relay_queue_bytes
            # when too much waits in all, each may have one message that waits
            and self._context.waiting.octets <= config.max_waiting_bytes
        )

    def _launch(self, envelope: ClientEnvelope) -> None:
        self._current = envelope
        self._attempt = 0
        self._doubtful = False
        self._started = self.sent = self._context.clock.seconds()
        self._try()

    def _try_again(self) -> None:
        self.sent = self._context.clock.seconds()
        self._try()

    def _try(self) -> None:
        self._retry = None
        if self._lane.enter(self):
            self._submit()
        else:
            self._waiting = True

    def granted(self) -> None:
        """There is a place for the call (:class:`icwsgw.core.shares.Waiter`)."""
        self._waiting = False
        self.sent = self._context.clock.seconds()
        self._submit()

    def _submit(self) -> None:
        envelope = self._current
        assert envelope is not None
        context = self._context
        # an envelope that was valid once has expired after its longest life, whatever time the network has
        old = self._attempt and context.clock.seconds() - self._started > LONGEST_LIFE_NS / 1e9
        if old or envelope.ingress_expiry - context.earliest_network_ns() < MIN_LIFE_NS:
            self._lane.leave()
            self._fail(Expired(f"the envelope expired before the network took it, after {self._attempt} attempts"))
            return
        self._attempt += 1
        if _log.level <= DEBUG:
            self._report("call", envelope, attempt=self._attempt, bytes=len(envelope.body))
        wait = envelope.method_name == "ws_open" or context.config.relay_order == "executed"
        call = context.network.call(self._canister, envelope.body, wait=wait, timeout=context.config.call_timeout)
        # remembered first: a call that has fired already runs on into the next one
        self._call = call
        call.addCallbacks(self._answered, self._failed)

    def _answered(self, outcome: CallOutcome) -> None:
        self._lane.leave()
        envelope = self._current
        if envelope is None:
            return
        metrics = self._context.metrics
        metrics.relays.inc(outcome.label)
        metrics.relay_seconds.observe(self._context.clock.seconds() - self._started)
        if _log.level <= DEBUG:
            took = self._context.clock.seconds() - self._started
            self._report("call ended", envelope, outcome=outcome.label, seconds=round(took, 3))
        if outcome.reject is not None and outcome.reject.code == SYS_TRANSIENT and self._attempt < TRANSIENT_ATTEMPTS:
            # The identical envelope may pass later. Not for ever: a certified reject stays what it is.
            self._again(outcome.reject, None)
            return
        if outcome.reject is not None and self._doubtful and not outcome.certified:
            self._fail(outcome.reject)
            return
        self._current = None
        self._call = None
        self._owner.relayed(envelope, outcome)
        self._next()

    def _failed(self, failure: Failure) -> None:
        self._lane.leave()
        if self._current is None:
            return
        error = failure.value
        if _may_have_arrived(error):
            self._doubtful = True
        if isinstance(error, HttpError) and error.forbidden and self._attempt >= FORBIDDEN_ATTEMPTS:
            self._fail(error)
        elif isinstance(error, HttpError) and error.retryable:
            self._again(error, error.retry_after)
        elif (isinstance(error, TransportError) and error.retryable) or isinstance(error, NotReady):
            self._again(error, None)
        elif isinstance(error, IcwsError):
            self._fail(error)
        else:
            _log.failure("relaying a call failed", failure=failure, session=self._owner.id)
            self._fail(IcwsError("internal error"))

    def _again(self, error: IcwsError, retry_after: float | None) -> None:
        context = self._context
        if not self._gated and self._current is not None and self._current.method_name == "ws_open":
            self._no_more_opening()
            self._next()
            return
        pause = retry_pause(self._attempt, context.jitter, retry_after)
        if retry_after and self._current is not None:
            left = (self._current.ingress_expiry - context.network_ns() - MIN_LIFE_NS) / 1e9
            most = (self._current.ingress_expiry - context.earliest_network_ns() - MIN_LIFE_NS) / 1e9
            asked = min(retry_after, LONGEST_RETRY_AFTER)
            if most < asked:
                self._fail(Expired(f"the network asks to wait {asked:.0f} s, the envelope expires in {left:.0f} s"))
                return
            # it must not expire by the jitter that is added to what was asked for
            pause = min(pause, max(asked, left - 1.0))
        context.metrics.relay_retries.inc()
        _log.debug(
            "call not taken, trying again",
            seconds=round(pause, 3),
            error=error,
            canister=self._canister.text,
            attempt=self._attempt,
            session=self._owner.id,
        )
        self._call = None
        self._retry = context.clock.callLater(pause, self._try_again)

    def _fail(self, error: IcwsError) -> None:
        envelope, self._current, self._call = self._current, None, None
        assert envelope is not None
        if self._doubtful:
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


def _may_have_arrived(error: BaseException | None) -> bool:
    """Whether a call that failed may have been taken: a proxy's 5xx may stand for a replica's answer that was lost."""
    if isinstance(error, HttpError):
        return error.status >= 500
    return isinstance(error, TransportError) and not isinstance(error, ConnectFailed)


def request_of(body: bytes) -> str:
    """The beginning of an envelope's request id, in hex; for logs."""
    try:
        return request_id(loads_known(body, ENVELOPE)["content"]).hex()[:16]
    except (FormatError, AttributeError, TypeError, KeyError, ValueError):
        return "none"
