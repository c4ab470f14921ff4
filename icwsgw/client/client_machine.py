"""A client of one canister over any number of connections, without a socket, a clock or randomness of its own.

A transport (:mod:`icwsgw.client.asyncio_client`, :mod:`icwsgw.client.twisted_client`, or another program's) notifies
the machine of what happens and does what it returns:

* It calls :meth:`~ClientMachine.start`, and opens a connection where a :class:`~icwsgw.client.client_events.Connect`
  is returned.
* It calls :meth:`~ClientMachine.connected`, :meth:`~ClientMachine.received` and :meth:`~ClientMachine.lost`.
* After each call, and whenever its connection has room, it sends what :meth:`~ClientMachine.payload` returns until that
  is None. A message gets its sequence number at this moment.
* It calls :meth:`~ClientMachine.tick` when :attr:`~ClientMachine.deadline` has passed.

Times are seconds of a monotonic clock, and nanoseconds since 1970 where a parameter ends in ``_ns``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final

from icwsgw.client.client_errors import ClientError, MessageInvalid, MessageTooBig, NotOpen, SessionEnded
from icwsgw.client.client_events import (
    Abort,
    ClientOpened,
    CloseConnection,
    Connect,
    Disconnected,
    Ended,
    Output,
    RoomAgain,
)
from icwsgw.client.client_session import (
    CanisterSession,
    ClosedByCanister,
    Greeted,
    SessionOpened,
)
from icwsgw.client.client_settings import DEFAULT_SETTINGS, ClientSettings
from icwsgw.client.message_verifier import MessageVerifier
from icwsgw.client.outgoing_queue import OutgoingQueue
from icwsgw.client.reconnection import Reconnection
from icwsgw.close_codes import ABNORMAL_CLOSURE, CloseCode
from icwsgw.core.transitions import transition
from icwsgw.ic.candid import Null, Opt, Type
from icwsgw.ic.delegated_identity import DelegatedIdentity
from icwsgw.ic.envelope import Signer
from icwsgw.ic.principal import Principal

#: The codes with which a client closes, as the JavaScript SDK does.
CLIENT_GAVE_UP: Final = 4000
CANISTER_CLOSED: Final = 4001
#: Sessions in a row whose first messages are invalid, after which the client gives up.
MAX_INVALID_OPENINGS: Final = 3
#: HTTP statuses after which another attempt may succeed.
_TEMPORARY: Final = frozenset((408, 429, 500, 502, 503, 504))
#: Bytes of the random part of a call.
CALL_NONCE: Final = 16
_MAX_REASON: Final = 123


class ClientState(Enum):
    """The state of a client."""

    IDLE = "not started"
    CONNECTING = "connecting to the gateway"
    HANDSHAKE = "waiting for the gateway's handshake message"
    OPENING = "waiting for the canister to open the session"
    OPEN = "open"
    ENDING = "closing the connection"
    WAITING = "waiting to connect again"
    CLOSED = "closed"


class _Event(Enum):
    CONNECT = auto()
    CONNECTED = auto()
    GREETED = auto()
    OPENED = auto()
    END = auto()
    LOST = auto()
    FINISHED = auto()


_S = ClientState
_TABLE: Final[Mapping[tuple[ClientState, _Event], tuple[ClientState, None]]] = {
    (_S.IDLE, _Event.CONNECT): (_S.CONNECTING, None),
    (_S.WAITING, _Event.CONNECT): (_S.CONNECTING, None),
    (_S.CONNECTING, _Event.CONNECTED): (_S.HANDSHAKE, None),
    (_S.HANDSHAKE, _Event.GREETED): (_S.OPENING, None),
    (_S.OPENING, _Event.OPENED): (_S.OPEN, None),
    **{
        (state, event): (after, None)
        for state in (_S.CONNECTING, _S.HANDSHAKE, _S.OPENING, _S.OPEN, _S.ENDING)
        for event, after in ((_Event.END, _S.ENDING), (_Event.LOST, _S.WAITING), (_Event.FINISHED, _S.CLOSED))
    },
    (_S.IDLE, _Event.FINISHED): (_S.CLOSED, None),
    (_S.WAITING, _Event.FINISHED): (_S.CLOSED, None),
}
#: States in which messages are read. What comes while a connection is being closed is not.
_RECEIVING: Final = frozenset((_S.HANDSHAKE, _S.OPENING, _S.OPEN))


class ClientMachine:
    """A client of one canister.

    :param urls: WebSocket URLs of gateways; a reconnection takes the next one
    :param canister: the canister
    :param identity: signs the calls
    :param root_key_der: the root key of the gateways' network, 133 bytes of DER
    :param random_bytes: returns a number of secure random bytes, as ``os.urandom`` does
    :param settings: limits and times
    :param message_type: the application's message type, which goes with each message as an ``opt`` that is null
    :ivar state: its state
    :ivar deadline: when :meth:`tick` is to be called, in seconds; None: there is nothing to wait for
    :ivar gateway: the principal of the gateway of this session
    :ivar last_error: why the last connection ended
    """

    def __init__(
        self,
        urls: Sequence[str],
        canister: Principal,
        identity: Signer,
        root_key_der: bytes,
        random_bytes: Callable[[int], bytes],
        settings: ClientSettings = DEFAULT_SETTINGS,
        message_type: Type = Null,
    ) -> None:
        if not urls:
            raise ValueError("a client needs the URL of a gateway")
        self.state = ClientState.IDLE
        self.deadline: float | None = None
        self.last_error: ClientError | None = None
        self._urls = list(urls)
        self._canister = canister
        self._identity = identity
        self._verifier = MessageVerifier(canister, root_key_der)
        self._random = random_bytes
        self._settings = settings
        self._type_argument = ((Opt(message_type), None),)
        self._queue = OutgoingQueue(settings.max_messages, settings.max_bytes)
        self._was_full = False
        self._reconnection = Reconnection(settings.pauses)
        self._session: CanisterSession | None = None
        self._open_due = False
        self._opened_at: float | None = None
        self._opened_before = False
        self._invalid_openings = 0
        self._connections = 0
        self._handles = 0
        self._uncertain: tuple[int, ...] = ()
        # why this side closes, and whether it connects again afterwards; None: the other side's code decides
        self._ending: tuple[ClientError | None, bool] | None = None

    # -- what the application may call -----------------------------------------------------------------------------

    @property
    def gateway(self) -> Principal | None:
        """The principal of the gateway of this session, if it is known."""
        return None if self._session is None else self._session.gateway

    @property
    def buffered(self) -> tuple[int, int]:
        """The number of messages that wait to be sent, and their bytes."""
        return len(self._queue), self._queue.size

    def send(self, content: bytes, *, first: bool = False) -> int:
        """Queue a message; it may wait for the session to open.

        :param first: ahead of those that wait, for example to send the canister something after a reconnection
        :returns: a handle, which :class:`Acknowledged`, :class:`ClientOpened` and :class:`Ended` name
        :raises MessageTooBig: it is longer than the network accepts
        :raises QueueFull: too many wait; :class:`RoomAgain` follows when there is room
        :raises NotOpen: the client has ended
        """
        if self.state is ClientState.CLOSED or self._stopped:
            raise NotOpen("the client has ended", "Make a new one.")
        if len(content) > self._settings.max_message_bytes:
            raise MessageTooBig(
                f"a message has {len(content)} bytes, at most {self._settings.max_message_bytes} are sent",
                "A call has at most 2 MiB. Split the message, or store the data with a call of its own.",
            )
        handle = self._handles + 1
        try:
            self._queue.put(handle, content, first=first)
        except ClientError:
            self._was_full = True
            raise
        self._handles = handle
        return handle

    def waits(self, handle: int) -> bool:
        """Return whether a message waits to be sent."""
        return handle in self._queue

    def withdraw(self, handle: int) -> list[Output]:
        """Remove a message that waits to be sent, so that it is not; does nothing if it has left."""
        self._queue.remove(handle)
        return self._room_again()

    # -- what the transport reports ---------------------------------------------------------------------------------

    def start(self, now: float) -> list[Output]:
        """Begin to connect."""
        return self._connect(now)

    def stop(self, now: float, code: int = CloseCode.NORMAL, reason: str = "") -> list[Output]:
        """End for good. Messages that wait are not sent; :class:`Ended` names them."""
        if self.state is ClientState.CLOSED or self._stopped:
            return []
        self._ending = (None, False)
        if self.state in (ClientState.IDLE, ClientState.WAITING):
            return self._finish(None)
        return self._close(now, code, reason)

    def connected(self, now: float) -> list[Output]:
        """Tell that the WebSocket handshake is done."""
        if self.state is ClientState.CONNECTING:
            self._move(_Event.CONNECTED)
        return []

    def received(self, payload: bytes, now: float, now_ns: int, *, binary: bool = True) -> list[Output]:
        """Tell that a message came.

        :param binary: whether it was a binary message; the protocol has no others
        """
        if self._session is None or self.state not in _RECEIVING:
            return []
        try:
            if not binary:
                raise MessageInvalid("a text message came", "Check the URL: this is no gateway for canisters.")
            event = self._session.receive(payload, now_ns)
        except MessageInvalid as error:
            return self._invalid(error, now)
        if isinstance(event, Greeted):
            return self._greeted(now, now_ns)
        if isinstance(event, SessionOpened):
            return self._opened(now)
        if isinstance(event, ClosedByCanister):
            return self._closed_by_canister(event.reason, now)
        return [] if event is None else [event]

    def refused(self, status: int, reason: str, now: float) -> list[Output]:
        """Tell that the gateway answered the WebSocket handshake with an HTTP status, and the connection is over."""
        error = ClientError(f"the gateway answered HTTP {status}: {reason}", _HTTP_HINTS.get(status, _NO_GATEWAY))
        self._ending = self._ending or (error, status in _TEMPORARY)
        return self.lost(CloseCode.OVERLOADED, reason, now)

    def lost(self, code: int, reason: str, now: float) -> list[Output]:
        """Tell that the connection ended, or could not be opened.

        :param code: the code of the close frame; 1006: there was none
        :param reason: the reason in the close frame, or why the connection failed
        """
        if self.state in (ClientState.IDLE, ClientState.WAITING, ClientState.CLOSED):
            return []
        unreached = self.state is ClientState.CONNECTING and code == ABNORMAL_CLOSURE
        error: ClientError | None = SessionEnded(code, reason, _unreached(reason) if unreached else None)
        again = self._settings.reconnect
        if self._ending is not None:
            error, wanted = self._ending
            again = again and wanted
            self._ending = None
        if self._session is not None:
            self._uncertain += self._session.uncertain()
            self._session = None
        open_for = 0.0 if self._opened_at is None else now - self._opened_at
        self._opened_at = None
        pause = self._pause(code, open_for) if again else None
        if pause is None or error is None:
            return self._finish(error)
        self.last_error = error
        self._move(_Event.LOST)
        self.deadline = now + pause
        return [Disconnected(error, pause)]

    def tick(self, now: float) -> list[Output]:
        """Tell that time has passed; does nothing before the deadline."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.state is ClientState.WAITING:
            return self._connect(now)
        if self.state is ClientState.ENDING:
            self.deadline = None
            return [Abort()]
        error = ClientError(
            f"no answer in time while {self.state.value}",
            "Check that the gateway reaches the network and that the canister has the WebSocket methods."
            if self.state is ClientState.OPENING
            else "Check the URL, and that nothing on the way keeps WebSockets from passing.",
        )
        self._ending = (error, True)
        return self._close(now, CLIENT_GAVE_UP, str(error))

    def payload(self, now_ns: int) -> tuple[bytes | None, list[Output]]:
        """Return the next message to send, numbered and signed now.

        :returns: its payload, None: there is none; and the events for the application
        """
        session = self._session
        if session is None or self.state not in (ClientState.OPENING, ClientState.OPEN):
            return None, []
        if self._open_due:
            self._open_due = False
            return session.open_payload(now_ns, self._random(CALL_NONCE)), []
        if self.state is not ClientState.OPEN:
            return None, []
        if session.keep_alive_due:
            return session.keep_alive(now_ns, self._random(CALL_NONCE)), []
        taken = self._queue.take()
        if taken is None:
            return None, []
        handle, content = taken
        room = self._room_again()
        return session.message(handle, content, now_ns, self._random(CALL_NONCE)), room

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _stopped(self) -> bool:
        return self._ending == (None, False)

    def _move(self, event: _Event) -> None:
        self.state, _ = transition(_TABLE, self.state, event)

    def _room_again(self) -> list[Output]:
        queue = self._queue
        if not self._was_full or len(queue) * 2 > queue.max_messages or queue.size * 2 > queue.max_bytes:
            return []
        self._was_full = False
        return [RoomAgain()]

    def _connect(self, now: float) -> list[Output]:
        self._move(_Event.CONNECT)
        self._session = self._new_session()
        self.deadline = now + self._settings.connect_timeout
        return [Connect(self._next_url())]

    def _new_session(self) -> CanisterSession:
        nonce = int.from_bytes(self._random(8), "big")
        return CanisterSession(self._canister, self._identity, nonce, self._verifier, self._type_argument)

    def _next_url(self) -> str:
        url = self._urls[self._connections % len(self._urls)]
        self._connections += 1
        return url

    def _greeted(self, now: float, now_ns: int) -> list[Output]:
        if isinstance(self._identity, DelegatedIdentity) and self._identity.expired(now_ns):
            error = ClientError("the identity's delegation has expired", "Log in again to get a new one.")
            self._ending = (error, False)
            return self._close(now, CloseCode.NORMAL, str(error))
        self._move(_Event.GREETED)
        self._open_due = True
        self.deadline = now + self._settings.open_timeout
        return []

    def _opened(self, now: float) -> list[Output]:
        assert self.gateway is not None
        self._move(_Event.OPENED)
        self.deadline = None
        self._opened_at = now
        self._invalid_openings = 0
        uncertain, self._uncertain = self._uncertain, ()
        resumed, self._opened_before = self._opened_before, True
        return [ClientOpened(self.gateway, resumed, uncertain)]

    def _invalid(self, error: MessageInvalid, now: float) -> list[Output]:
        if self.state is not ClientState.OPEN:
            self._invalid_openings += 1
        self._ending = (error, self._invalid_openings < MAX_INVALID_OPENINGS)
        return self._close(now, CLIENT_GAVE_UP, str(error))

    def _closed_by_canister(self, reason: str, now: float) -> list[Output]:
        hint = _CANISTER_HINTS.get(reason, "")
        error = SessionEnded(CANISTER_CLOSED, f"the canister closed the session: {reason}", hint)
        # what the application in the canister has decided, a new session would not change
        self._ending = (error, reason != "ClosedByApplication")
        return self._close(now, CANISTER_CLOSED, reason)

    def _close(self, now: float, code: int, reason: str) -> list[Output]:
        connecting = self.state is ClientState.CONNECTING
        self._move(_Event.END)
        self.deadline = now + self._settings.closing_timeout
        if connecting:
            return [Abort()]
        return [CloseConnection(code, reason.encode()[:_MAX_REASON].decode(errors="ignore"))]

    def _pause(self, code: int, open_for: float) -> float | None:
        chance = int.from_bytes(self._random(4), "big") / 0xFFFFFFFF
        pause = self._reconnection.pause(code, opened=self._opened_before, open_for=open_for, chance=chance)
        most = self._settings.max_attempts
        return None if most is not None and self._reconnection.attempts > most else pause

    def _finish(self, error: ClientError | None) -> list[Output]:
        self._move(_Event.FINISHED)
        self.deadline = None
        self.last_error = error
        return [Ended(error, self._queue.handles(), self._uncertain)]


def _unreached(reason: str) -> str:
    """Return what to do about a connection that could not be opened."""
    return _UNTRUSTED if "certificate" in reason else _UNREACHED


_UNREACHED: Final = "Start the gateway, or check the URL: host, port, and ws:// or wss://."
_UNTRUSTED: Final = (
    "Give the gateway a certificate for this host that clients trust. For one of your own authority, set SSL_CERT_FILE "
    "to the authority's certificate."
)
_NO_GATEWAY: Final = "Check the URL: it leads to a server that is no WebSocket gateway."
_HTTP_HINTS: Final = {
    403: "The gateway does not allow this origin; its option --allowed-origin lists those that it allows.",
    426: "Check the URL: something on the way does not pass WebSockets on.",
    429: "The gateway limits connections from one address; connect less often.",
    502: "A proxy in front of the gateway does not reach it.",
    503: "The gateway is overloaded or shuts down; connect later.",
}
_CANISTER_HINTS: Final[dict[str, Any]] = {
    "WrongSequenceNumber": "A message was lost or came twice between the gateway and the canister; connect again.",
    "InvalidServiceMessage": "The canister uses another version of the WebSocket CDK than this client knows.",
    "KeepAliveTimeout": "A keep-alive came too late: send less often, so that it does not wait behind messages.",
    "ClosedByApplication": "The canister's own code has closed the session.",
}
