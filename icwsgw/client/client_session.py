"""One session of a client: from the gateway's handshake message to the end of the connection, without a socket.

A session takes the payloads of WebSocket messages and returns what they mean, and makes the payloads to send. Keys,
time and the session's nonce come from outside, so that a session is a function of what it was given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.message_verifier import MessageVerifier, parse_certified, parse_content
from icwsgw.errors import FormatError
from icwsgw.ic import cbor
from icwsgw.ic.candid import Null, Opt, Type
from icwsgw.ic.envelope import Signer, call_content, sign_request
from icwsgw.ic.network_limits import REQUEST_TTL_SECONDS, SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import (
    AckMessage,
    CloseMessage,
    KeepAliveMessage,
    MessageArgs,
    OpenMessage,
    decode_service_message,
    encode_message_args,
    encode_open_args,
    encode_service_message,
)

#: The second argument of ``ws_message``, which no canister reads: an ``opt`` that is null.
_NO_TYPE = ((Opt(Null), None),)


class SessionPhase(Enum):
    """What a session waits for."""

    HANDSHAKE = "the gateway's handshake message"
    OPENING = "the canister's OpenMessage"
    OPEN = "messages"
    CLOSED = "nothing: the canister has closed it"


class Greeted(NamedTuple):
    """The gateway has sent its principal; ``ws_open`` can be sent."""

    gateway: Principal


class SessionOpened(NamedTuple):
    """The canister has opened the session."""


class MessageReceived(NamedTuple):
    """An application message, verified and in order.

    :ivar content: its bytes
    :ivar sequence_num: its number in the session
    :ivar timestamp: the canister's time when it was sent, ns since 1970
    """

    content: bytes
    sequence_num: int
    timestamp: int


class Acknowledged(NamedTuple):
    """The canister has executed these messages.

    :ivar handles: what :meth:`CanisterSession.message` was given for each
    """

    handles: tuple[int, ...]


class ClosedByCanister(NamedTuple):
    """The canister has ended the session, for a reason such as ``KeepAliveTimeout``."""

    reason: str


SessionEvent = Greeted | SessionOpened | MessageReceived | Acknowledged | ClosedByCanister


class CanisterSession:
    """One session.

    :param canister: the canister
    :param identity: signs the calls
    :param client_nonce: a random number of 64 bits, another one in each session
    :param verifier: verifies the canister's messages
    :param type_argument: types and values of the further arguments of ``ws_message``
    :ivar phase: what it waits for
    :ivar gateway: the gateway's principal, once it is known
    :ivar keep_alive_due: a keep-alive is to be sent before any other message
    """

    def __init__(
        self,
        canister: Principal,
        identity: Signer,
        client_nonce: int,
        verifier: MessageVerifier,
        type_argument: Sequence[tuple[Type, Any]] = _NO_TYPE,
    ) -> None:
        self.phase = SessionPhase.HANDSHAKE
        self.gateway: Principal | None = None
        self.keep_alive_due = False
        self._canister = canister
        self._identity = identity
        self._nonce = client_nonce
        self._verifier = verifier
        self._type_argument = type_argument
        self._received = 0
        self._sent = 0
        self._acknowledged = 0
        # the handle of each message that the canister has not acknowledged, None for a keep-alive
        self._unacknowledged: deque[int | None] = deque()

    # -- from the gateway -----------------------------------------------------------------------------------------

    def receive(self, payload: bytes, now_ns: int) -> SessionEvent | None:
        """Take the payload of a binary message.

        :param now_ns: the time now, ns since 1970
        :returns: what it means; None: nothing that concerns the application
        :raises MessageInvalid: malformed, not certified, for another client, or not the next message
        """
        if self.phase is SessionPhase.HANDSHAKE:
            return self._greeted(payload)
        message = parse_certified(payload)
        content = parse_content(message.content)
        if (content.client_principal, content.client_nonce) != (self._identity.principal.raw, self._nonce):
            raise MessageInvalid("a message is for another client")
        if content.sequence_num != self._received + 1:
            raise MessageInvalid(
                f"a message with sequence number {content.sequence_num} came instead of {self._received + 1}",
                "Messages are missing; ask the canister for its state after the client has connected again.",
            )
        self._verifier.verify(message, now_ns)
        self._received += 1
        if content.is_service_message:
            return self._service(content.content)
        if self.phase is not SessionPhase.OPEN:
            raise MessageInvalid(f"a message came while the session waited for {self.phase.value}")
        return MessageReceived(content.content, content.sequence_num, content.timestamp)

    def _greeted(self, payload: bytes) -> Greeted:
        hint = "Check the URL: it leads to another service than a WebSocket gateway of the Internet Computer."
        try:
            fields = cbor.loads(payload)
            gateway = Principal(fields["gateway_principal"])
        except (FormatError, KeyError, TypeError) as error:
            raise MessageInvalid("the first message names no gateway principal", hint) from error
        self.gateway = gateway
        self.phase = SessionPhase.OPENING
        return Greeted(gateway)

    def _service(self, data: bytes) -> SessionEvent | None:
        try:
            message = decode_service_message(data)
        except FormatError as error:
            raise MessageInvalid(f"a service message is malformed: {error}") from error
        if isinstance(message, OpenMessage):
            if self.phase is not SessionPhase.OPENING or message != (self._identity.principal.raw, self._nonce):
                raise MessageInvalid("an OpenMessage that is not for this session")
            self.phase = SessionPhase.OPEN
            return SessionOpened()
        if isinstance(message, AckMessage):
            return self._acknowledge(message.last_incoming_sequence_num)
        if isinstance(message, CloseMessage):
            self.phase = SessionPhase.CLOSED
            return ClosedByCanister(message.reason)
        raise MessageInvalid("a KeepAliveMessage came from the canister")

    def _acknowledge(self, last: int) -> Acknowledged | None:
        if not self._acknowledged <= last <= self._sent:
            raise MessageInvalid(f"the canister acknowledges message {last} of {self._sent}")
        self.keep_alive_due = True
        taken = [self._unacknowledged.popleft() for _ in range(last - self._acknowledged)]
        self._acknowledged = last
        handles = tuple(handle for handle in taken if handle is not None)
        return Acknowledged(handles) if handles else None

    # -- to the gateway -------------------------------------------------------------------------------------------

    def open_payload(self, now_ns: int, call_nonce: bytes) -> bytes:
        """Return the first message, the signed call of ``ws_open``.

        :param now_ns: the time now, ns since 1970
        :param call_nonce: random bytes that make the call unique
        """
        if self.gateway is None:
            raise LookupError("the gateway's principal is not known yet")
        return self._envelope("ws_open", encode_open_args(self._nonce, self.gateway.raw), now_ns, call_nonce)

    def message(self, handle: int, content: bytes, now_ns: int, call_nonce: bytes) -> bytes:
        """Return an application message with the next sequence number.

        :param handle: what an :class:`Acknowledged` will name
        """
        self._unacknowledged.append(handle)
        return self._numbered(content, False, now_ns, call_nonce)

    def keep_alive(self, now_ns: int, call_nonce: bytes) -> bytes:
        """Return a keep-alive with the next sequence number."""
        self.keep_alive_due = False
        self._unacknowledged.append(None)
        return self._numbered(encode_service_message(KeepAliveMessage(self._received)), True, now_ns, call_nonce)

    def uncertain(self) -> tuple[int, ...]:
        """Return the handles of messages that were sent and are not acknowledged."""
        return tuple(handle for handle in self._unacknowledged if handle is not None)

    def _numbered(self, content: bytes, service: bool, now_ns: int, call_nonce: bytes) -> bytes:
        self._sent += 1
        args = MessageArgs(self._identity.principal.raw, self._nonce, self._sent, now_ns, service, content)
        return self._envelope("ws_message", encode_message_args(args, self._type_argument), now_ns, call_nonce)

    def _envelope(self, method: str, arg: bytes, now_ns: int, call_nonce: bytes) -> bytes:
        expiry = now_ns + int(REQUEST_TTL_SECONDS) * SECOND_NS
        content = call_content(self._identity.principal, self._canister, method, arg, expiry, call_nonce)
        body = sign_request(self._identity, content).body
        return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body.removeprefix(cbor.SELF_DESCRIBE)
