"""One client's session: performs what the state machine in :mod:`icwsgw.core.session_machine` decides.

Three parties call a session. The client's connection calls :meth:`ClientSession.received` and
:meth:`~ClientSession.left`. The canister's poller calls :meth:`~ClientSession.deliver`, and :meth:`~ClientSession.end`
when the canister does not answer any more. The relay reports the outcome of the client's calls. A session outlives its
connection until everything that the client had sent, and ``ws_close``, are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.core.call_answers import may_have_been_executed
from icwsgw.core.close_reasons import CloseCode, close_reason
from icwsgw.core.messages import ClientEnvelope, frame, handshake, message_place, parse_client_frame
from icwsgw.core.move_machine import MoveState, understands_moving
from icwsgw.core.session_machine import Effect, Event, Opened, State, step
from icwsgw.errors import CanisterRefused, FormatError, IcwsError
from icwsgw.gateway.calls.relay import Relay, RelayOwner
from icwsgw.gateway.inbound_messages import InboundMessages, InboundMessagesOwner
from icwsgw.gateway.interfaces import Client, Context
from icwsgw.gateway.moving import accept_leaving
from icwsgw.gateway.opening import Refusal, admit_opening
from icwsgw.gateway.reasons import REPLACED, reason_of, why_overdue, wrong_expiry
from icwsgw.gateway.session_owners import SessionGateway, SessionPoller
from icwsgw.gateway.session_report import report_end
from icwsgw.gateway.spans import RelaySpans
from icwsgw.ic.call_signatures import Proof
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import decode_unit_result
from icwsgw.observe.logs import get_logger
from icwsgw.observe.peers import peer_group
from icwsgw.reactor.clock import Timer

if TYPE_CHECKING:
    from icwsgw.agent.outcome import CallOutcome
    from icwsgw.observe.tracing import SessionTrace

_log = get_logger("session")

#: How many seconds a session waits for the canister's next message: for its first one if the outcome of ws_open is
#: unknown, or for its close message if it has refused a message of the client.
NEXT_MESSAGE_SECONDS = 5.0
_NONE = Principal(b"")


class ClientSession(RelayOwner, InboundMessagesOwner):
    """One client at one canister, from the handshake message to ``ws_close``.

    :ivar id: for logs and close reasons
    :ivar state: see :mod:`icwsgw.core.session_machine`
    :ivar stream: passes messages to the relay; None before ``ws_open``
    :ivar outgoing: frames of the batch that the poller is delivering, else None
    :ivar client_key: (raw principal, nonce); None before ``ws_open``
    :ivar opened: what is known of its ``ws_open`` at the canister
    :ivar opened_at_ns: the canister's timestamp of its first message to the client, ns since 1970; 0 if there is none
    :ivar cause: the close code; 0 while the session lives
    :ivar move: whether the client can open its next session elsewhere before this one ends, and how far it is
    :ivar failure, named_canister: why the server failed the connection; the canister of the first envelope; else empty
    :ivar trace: the session's spans, if it is sampled
    :ivar wait, after_wait: timer of a wait for the canister's next message; close code and reason for its end
    """

    __slots__ = (
        "_gateway",
        "after_wait",
        "bytes_down",
        "bytes_up",
        "cause",
        "client",
        "client_key",
        "context",
        "deadline",
        "failure",
        "id",
        "identity_index",
        "messages_down",
        "messages_up",
        "move",
        "named_canister",
        "opened",
        "opened_at_ns",
        "outgoing",
        "poller",
        "relay",
        "started",
        "state",
        "stream",
        "trace",
        "wait",
    )

    def __init__(
        self, gateway: SessionGateway[ClientSession], client: Client, session_id: str, identity_index: int
    ) -> None:
        self._gateway = gateway
        self.context: Context = gateway.context
        self.client = client
        self.id = session_id
        self.identity_index = identity_index
        self.state = State.INIT
        self.client_key: tuple[bytes, int] | None = None
        self.poller: SessionPoller[ClientSession] | None = None
        self.relay: Relay | None = None
        self.stream: InboundMessages | None = None
        self.outgoing: list[bytes] | None = None
        self.opened = Opened.UNKNOWN
        self.opened_at_ns = 0
        self.messages_up = self.messages_down = 0
        self.bytes_up = self.bytes_down = 0
        self.trace: SessionTrace | None = None
        self.wait: Timer | None = None
        self.after_wait: tuple[CloseCode, str] | None = None
        self.cause = 0
        self.move = MoveState.ABSENT
        self.failure = ""
        self.named_canister = _NONE
        self.started = self.context.clock.seconds()
        self.deadline = self.started + self.context.config.first_message_timeout

    def greet(self) -> None:
        """Send the handshake message, with the principal that the client has to name in ``ws_open``."""
        principal = self.context.identities[self.identity_index].principal
        self.client.deliver([frame(handshake(principal.raw))])

    # called by the client's connection

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Handle a message of the client. An invalid one, such as text, ends the session with a close code."""
        if self.state is State.CLOSED:
            return
        context = self.context
        metrics = context.metrics
        metrics.client_messages.value += 1
        self.messages_up += 1
        size = len(payload)
        self.bytes_up += size
        metrics.client_bytes.value += size
        try:
            if not is_binary:
                raise Refusal(CloseCode.NOT_BINARY, "messages are binary CBOR, this one was text")
            try:
                envelope = parse_client_frame(payload)
            except FormatError as error:
                if self.move and accept_leaving(self, payload):
                    return
                raise Refusal(CloseCode.UNDECODABLE, f"not an envelope of the client or SDK: {error}") from None
            earliest, latest = context.network.time.enclosed_ns(context.clock.seconds(), context.now_ns())
            if not earliest < envelope.ingress_expiry <= latest + MAX_INGRESS_TTL_NS:
                self._check_expiry(envelope)
            if self.state is State.INIT:
                self._open(envelope)
                if understands_moving(payload):
                    self.move = MoveState.STAYING
            else:
                self._message(envelope)
        except Refusal as refusal:
            self.end(refusal.code, refusal.text)

    def left(self, code: int, reason: str = "") -> None:
        """The client's connection has ended.

        :param code: the client's close code, or 1006 if it sent none
        :param reason: why the client's connection ended, for the log
        """
        if not self.cause:
            self.cause = code
        self._step(Event.CLIENT_LEFT, self.failure or reason)

    def overdue(self, now: float) -> bool:
        """End the session if its ``ws_open`` or the canister's first message is overdue; whether it was ended."""
        if now < self.deadline or self.state >= State.OPEN:
            return False
        if self.state is State.INIT:
            self.end(CloseCode.NOT_OPENED, "no ws_open received in time")
        else:
            self.end(CloseCode.NOT_OPENED, why_overdue(self.opened, self.relay, self.poller))
        return True

    # called by the poller

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        """Send frames of the canister's messages in order; with ``more``, others are likely to follow at once."""
        state = self.state
        if state is not State.OPEN and (state is State.CLOSED or state is State.INIT):
            return
        self.messages_down += len(frames)
        size = 0
        for one in frames:
            size += len(one)
        self.bytes_down += size
        self.context.metrics.canister_bytes.inc(size)
        if state < State.OPEN:
            # The messages are counted before: if this turns out to be the older connection, it has got some all the
            # same.
            self._opened()
        stream = self.stream
        if stream is not None and stream.watch is not None:
            stream.delivered(frames)
        self.client.deliver(frames, more)

    def first_message(self, content: bytes) -> bool:
        """Check the canister's first message; False if an earlier one is lost.

        Then the canister was reset, and its new queue has grown as long as the old one was. The session ends; the
        client may open a new one.
        """
        number, time_ns = message_place(content)
        self.opened_at_ns = time_ns or 0
        if number is None or number <= 1:
            return True
        self.end(CloseCode.CANISTER_RESET, "the canister was reset (upgraded or reinstalled), please reconnect")
        return False

    def has_missed(self, content: bytes) -> bool:
        """Whether the next message to this client shows that the client has missed one; then the session ends.

        :param content: the message, in the CDK's CBOR
        """
        number, _ = message_place(content)
        if number is None or number <= self.messages_down + 1:
            return False
        self.end(CloseCode.MESSAGES_MISSED, "a message of the canister could not be read, please reconnect")
        return True

    def canister_reset(self) -> None:
        """The canister was reset, so it does not know this client any more."""
        if self.state is State.CLOSED:
            return
        self.cause = CloseCode.CANISTER_RESET
        self._step(Event.CANISTER_RESET, "the canister was reset (upgraded or reinstalled), please reconnect")

    def end(self, code: CloseCode, text: str) -> None:
        """End the session; the client gets ``code`` and ``text``."""
        if self.state is State.CLOSED:
            return
        self.cause = code
        self._step(Event.END, text)

    # called by the relay

    def relayed(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        """A call was accepted or has ended; see :class:`RelayOwner`."""
        is_open = envelope.method_name == "ws_open"
        reject = outcome.reject
        if reject is not None:
            if not may_have_been_executed(reject.code, reject.error_code):
                self._refused(envelope, reject)
            elif is_open:
                self._opening_uncertain(*reason_of(envelope, reject))
            else:
                self._undecided("the canister rejected a message, the next number decides", reject)
            return
        poller, stream = self.poller, self.stream
        if stream is not None and stream.watch is not None:
            stream.executed(envelope)
        if outcome.answer.executed:
            if is_open:
                self._opened_with(outcome.reply)
            elif outcome.reply is not None:
                if self.opened is Opened.SPOKE:
                    self.opened = Opened.CONFIRMED
                if poller is not None and self in poller.undecided:
                    self._gateway.replacements.known(self)
            if poller is not None:
                poller.wake()
        elif is_open and poller is not None:
            # It was accepted, and the canister's messages will show the outcome.
            poller.wake()

    def _opened_with(self, reply: bytes | None) -> None:
        """``ws_open`` was executed; if its reply cannot be decoded, the canister's first message shows the outcome."""
        try:
            if reply is None:
                raise FormatError("it is forgotten")
            decode_unit_result(reply)
        except FormatError as error:
            text = f"the canister's answer to ws_open does not decode: {error}"
            self._opening_uncertain(CloseCode.OPEN_REFUSED, text)
        else:
            self.opened = max(self.opened, Opened.EXECUTED)
            if self.state is State.CLOSED:
                self._gateway.answered(self)

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """A call was refused or has expired; see :class:`RelayOwner`."""
        if isinstance(error, CanisterRefused) and envelope.method_name != "ws_open":
            self._dismissed(envelope, error)
        else:
            self._refused(envelope, error)

    def _dismissed(self, envelope: ClientEnvelope, error: CanisterRefused) -> None:
        """The canister does not know the client any more. Wait for the close message that it may have queued before."""
        if self.relay is not None:
            self.relay.drop()
            if self.state is State.CLOSED:
                # The canister would refuse the rest of what the client sent before it left.
                self._all_sent()
        if self.state is not State.OPEN:
            return
        _log.info("the canister refused a message", error=error, canister=self.canister_text(), session=self.id)
        poller = self.poller
        if poller is not None and self in poller.undecided:
            self.end(*REPLACED)
            return
        code, text = reason_of(envelope, error)
        self._step(Event.REFUSED, text, code)
        if poller is not None:
            poller.wake()

    def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """A call may have been executed; see :class:`RelayOwner`."""
        if envelope.method_name == "ws_open":
            self._opening_uncertain(*reason_of(envelope, error))
            return
        self._undecided("it is unknown whether a message has reached its canister", error)

    def _undecided(self, what: str, error: IcwsError) -> None:
        """Continue: if this message was not executed, the canister refuses the next one."""
        context, canister = self.context, self.canister_text()
        if context.log_limiter.allows(what, canister or "", context.clock.seconds()):
            _log.info(what, error=error, canister=canister, session=self.id)
        if self.poller is not None:
            self.poller.wake()

    def relay_full(self) -> None:
        """Stop reading the client's socket."""
        if self.state is not State.CLOSED:
            if self.poller is None or not self.poller.holds(self):
                self.client.pause()
            if self.stream is not None:
                self.stream.keep_alive_late()

    def relay_drained(self) -> None:
        """Read the client's socket again."""
        if self.state is not State.CLOSED and (self.poller is None or not self.poller.holds(self)):
            self.client.resume()

    # helpers

    def _check_expiry(self, envelope: ClientEnvelope) -> None:
        """Refuse an expiry that no replica would accept; where that is uncertain, a replica decides."""
        self.named_canister = Principal(envelope.canister_id)
        text = wrong_expiry(self.context.network_ns(), envelope.ingress_expiry)
        if text is not None and self.stream is not None and self._expired_behind(self.stream, envelope):
            raise Refusal(CloseCode.TOO_FAST, f"{self.stream.why_late()}: this one expired on its way")
        if text is not None:
            raise Refusal(CloseCode.EXPIRED, text)

    def _expired_behind(self, stream: InboundMessages, envelope: ClientEnvelope) -> bool:
        """Whether an expiry that is refused has passed while earlier messages waited, and is not too far ahead."""
        return stream.behind and envelope.ingress_expiry - self.context.network_ns() <= MAX_INGRESS_TTL_NS

    def _open(self, envelope: ClientEnvelope) -> None:
        canister = self.named_canister = Principal(envelope.canister_id)
        group = self.group
        self.client_key, proof = admit_opening(self._gateway, envelope, canister, self.identity_index, group)
        self.deadline = self.context.clock.seconds() + self.context.config.open_timeout
        newcomer = self._gateway.registry.is_newcomer(canister)
        opening = self.context.call_scheduler.opening(canister.raw, group, newcomer, proof is Proof.HOLDS)
        spans = None if self.trace is None else RelaySpans(self.trace, canister.text)
        self.relay = Relay(self.context, canister, self, opening, spans)
        self.stream = InboundMessages(self.context, self.relay, self)
        self._step(Event.ENVELOPE, envelope=envelope, canister=canister)

    def _message(self, envelope: ClientEnvelope) -> None:
        poller, key, stream = self.poller, self.client_key, self.stream
        assert poller is not None
        assert key is not None
        assert stream is not None
        if envelope.method_name != "ws_message":
            raise Refusal(CloseCode.PROTOCOL_ERROR, f"an envelope calls {envelope.method_name!r}, not ws_message")
        if envelope.canister_id != poller.canister.raw:
            raise Refusal(CloseCode.PROTOCOL_ERROR, "an envelope is for another canister than ws_open was")
        if envelope.sender != key[0]:
            raise Refusal(CloseCode.PROTOCOL_ERROR, "an envelope has another sender than ws_open had")
        if self.move >= MoveState.LEAVING:
            raise Refusal(CloseCode.PROTOCOL_ERROR, "a message came after the one that was to be the last")
        poller.messages_up += 1
        if poller.held_clients is not None:
            poller.held_clients.came(self, len(envelope.body))
        if self.state is State.DISMISSED:
            return  # the canister refuses it, and the session is about to end
        stream.take(envelope)

    def _opened(self) -> None:
        self.opened = Opened.SPOKE
        took = self.context.clock.seconds() - self.started
        metrics = self.context.metrics
        metrics.opens.inc("opened")
        metrics.client_connected_count.inc()
        metrics.connection_opening_time.observe(took)
        self._step(Event.CANISTER_SPOKE)
        self._gateway.accepted(self)

    def _refused(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        """A call will not be executed. That ends the session: later messages would have a wrong sequence number."""
        is_open = envelope.method_name == "ws_open"
        if is_open and self.opened >= Opened.SPOKE:
            # The canister knows the client, so an earlier attempt was executed and this one is refused as a repetition.
            return
        if self.state is State.CLOSED:
            if is_open and self.relay is not None:
                # The client has left and the canister does not know it: no close notice is needed.
                self.relay.drop()
                self._gateway.finished(self)
            return
        self.cause, text = reason_of(envelope, error)
        stream = self.stream
        if self.cause == CloseCode.EXPIRED and stream is not None and self._expired_behind(stream, envelope):
            self.cause, text = CloseCode.TOO_FAST, f"{stream.why_late()}: one expired while it waited"
        self._step(Event.OPEN_REFUSED if is_open else Event.END, text)

    def _opening_uncertain(self, code: CloseCode, text: str) -> None:
        """It is unknown whether ``ws_open`` was executed; if it was, the canister's first message is queued."""
        if self.state is State.SETUP:
            self._step(Event.OPEN_UNCERTAIN, text, code)
        if self.poller is not None:
            self.poller.wake()

    def stop_waiting(self) -> None:
        """Cancel the wait, if there is one."""
        wait, self.wait = self.wait, None
        if wait is not None:
            wait.cancel()

    def wait_over(self) -> None:
        """End the session: the canister's next message has not come."""
        self.wait = None
        assert self.after_wait is not None, "a wait has begun"
        self.end(*self.after_wait)

    def _step(
        self,
        event: Event,
        text: str = "",
        code: CloseCode = CloseCode.INTERNAL,
        envelope: ClientEnvelope | None = None,
        canister: Principal | None = None,
    ) -> None:
        """Step to the next state and perform the effects.

        :param text: the reason for the client
        :param code: the close code for the end of a wait that begins now
        """
        before = self.state
        after, effects = step(before, event)
        self.state = after
        for effect in effects:
            if effect is Effect.REGISTER:
                assert canister is not None
                self.poller = self._gateway.register(self, canister)
            elif effect is Effect.RELAY:
                assert envelope is not None
                assert self.relay is not None
                self.relay.open(envelope)
            elif effect is Effect.RELEASE:
                assert self.relay is not None
                self.relay.release()
            elif effect is Effect.WAIT:
                self.after_wait = code, text
                self.wait = self.context.clock.callLater(NEXT_MESSAGE_SECONDS, self.wait_over)
            elif effect is Effect.STOP_WAITING:
                self.stop_waiting()
            elif effect is Effect.UNREGISTER:
                self._gateway.unregister(self)
            elif effect is Effect.CLOSE:
                self.client.close(self.cause, close_reason(text, self.id))
            elif effect is Effect.QUEUE_CLOSE_NOTICE:
                assert self.relay is not None
                if self.stream is not None:
                    self.stream.finish()
                self.relay.finish(self._all_sent)
        # An effect may have ended the session in a step of its own: an envelope may be found expired at once.
        if after is State.CLOSED and before is not State.CLOSED:
            self._closed(before, text, Effect.QUEUE_CLOSE_NOTICE in effects, event is Event.CLIENT_LEFT)

    def _closed(self, before: State, text: str, notice: bool, left: bool) -> None:
        if not notice:
            if self.relay is not None:
                self.relay.drop()
            if self.stream is not None:
                self.stream.stop()
            self._gateway.finished(self)
        report_end(self, before, text, left)

    @property
    def group(self) -> str:
        """The group of the client's address, by which limits count it."""
        return peer_group(self.client.peer)

    def _all_sent(self) -> None:
        """Everything that the client sent is done: send the close notice."""
        self._gateway.send_close_notice(self)

    def canister_text(self) -> str | None:
        """The canister's id, also if the client may not open a session with it; None before ``ws_open``."""
        return self.named_canister.text if self.named_canister.raw else None
