"""A client that moves: its next session opens at another gateway before this one ends (decision 0072).

The gateway requests it when it is about to stop. While the client moves, there are two connections: *this* one, which
:class:`~icwsgw.client.client_machine.ClientMachine` knows, and the *next* one:

    phase        event      next         effect
    -----------  ---------  -----------  ---------
    STAYING      ASKED      CONNECTING   CONNECT
    CONNECTING   GREETED    LEAVING      LEAVE
    CONNECTING   FAILED     CONNECTING   RETRY
    LEAVING      RELAYED    OPENING      SEND_OPEN
    LEAVING      FAILED     LEFT         RETRY
    LEFT         GREETED    LEAVING      -
    LEFT         RELAYED    RELAYED      -
    LEFT         FAILED     LEFT         RETRY
    RELAYED      GREETED    OPENING      SEND_OPEN
    RELAYED      FAILED     RELAYED      RETRY
    OPENING      OPENED     OVERLAPPING  OVERLAP
    OPENING      FAILED     RELAYED      RETRY
    OVERLAPPING  OVER       STAYING      PROMOTE
    OVERLAPPING  FAILED     RELAYED      RETRY

Events in other phases do nothing. Until the next gateway has sent its handshake message, messages are sent as usual.
Then they wait until all calls of this session have ended and the next session is open. Messages of the next session
wait until those that the canister had sent to this one have come, for
:attr:`~icwsgw.client.client_settings.ClientSettings.overlap` seconds.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.client_events import AbortNext, ClientOpened, ConnectNext, Output, Promote
from icwsgw.client.client_machine import CALL_NONCE, ClientMachine, ClientState
from icwsgw.client.client_session import CanisterSession, Greeted, SessionOpened
from icwsgw.core.move_machine import CLIENT_LEAVING, GatewayMessage, can_move, read_gateway_message


class MovePhase(Enum):
    """How far the client is."""

    STAYING = auto()
    CONNECTING = auto()
    LEAVING = auto()
    LEFT = auto()
    RELAYED = auto()
    OPENING = auto()
    OVERLAPPING = auto()


class MovingEvent(Enum):
    """What can happen to it."""

    ASKED = auto()
    GREETED = auto()
    RELAYED = auto()
    OPENED = auto()
    OVER = auto()
    FAILED = auto()


class MovingEffect(Enum):
    """What the machine has to do."""

    CONNECT = auto()
    LEAVE = auto()
    SEND_OPEN = auto()
    OVERLAP = auto()
    RETRY = auto()
    PROMOTE = auto()


P, E, F = MovePhase, MovingEvent, MovingEffect
TABLE: Final[dict[tuple[MovePhase, MovingEvent], tuple[MovePhase, MovingEffect | None]]] = {
    (P.STAYING, E.ASKED): (P.CONNECTING, F.CONNECT),
    (P.CONNECTING, E.GREETED): (P.LEAVING, F.LEAVE),
    (P.CONNECTING, E.FAILED): (P.CONNECTING, F.RETRY),
    (P.LEAVING, E.RELAYED): (P.OPENING, F.SEND_OPEN),
    (P.LEAVING, E.FAILED): (P.LEFT, F.RETRY),
    (P.LEFT, E.GREETED): (P.LEAVING, None),
    (P.LEFT, E.RELAYED): (P.RELAYED, None),
    (P.LEFT, E.FAILED): (P.LEFT, F.RETRY),
    (P.RELAYED, E.GREETED): (P.OPENING, F.SEND_OPEN),
    (P.RELAYED, E.FAILED): (P.RELAYED, F.RETRY),
    (P.OPENING, E.OPENED): (P.OVERLAPPING, F.OVERLAP),
    (P.OPENING, E.FAILED): (P.RELAYED, F.RETRY),
    (P.OVERLAPPING, E.OVER): (P.STAYING, F.PROMOTE),
    (P.OVERLAPPING, E.FAILED): (P.RELAYED, F.RETRY),
}
#: Phases in which nothing more is sent on this connection.
_SILENT: Final = frozenset((P.LEAVING, P.LEFT, P.RELAYED, P.OPENING, P.OVERLAPPING))
del P, E, F


class MovingClientMachine(ClientMachine):
    """A client of one canister that can move. See :class:`ClientMachine` for its parameters and for the rest.

    Besides, the transport calls :meth:`next_received` and :meth:`next_lost` for the second connection, and sends there
    what :meth:`next_payload` returns.

    :ivar phase: how far the client is
    """

    phase = MovePhase.STAYING
    _next: CanisterSession | None = None
    _next_open_due = False
    _leave_due = False
    _held: list[tuple[bytes, int]]

    # -- this connection --------------------------------------------------------------------------------------

    def received(self, payload: bytes, now: float, now_ns: int, *, binary: bool = True) -> list[Output]:
        """Tell that a message came."""
        if self.state is ClientState.OPEN and binary:
            message = read_gateway_message(payload)
            if message is GatewayMessage.MOVE and self._settings.reconnect:
                return self._step(MovingEvent.ASKED, now)
            if message is GatewayMessage.RELAYED:
                return self._step(MovingEvent.RELAYED, now)
            if message is not None:
                return []
        return self._unless_open(super().received(payload, now, now_ns, binary=binary))

    def lost(self, code: int, reason: str, now: float) -> list[Output]:
        """Tell that the connection ended, or could not be opened."""
        if self.phase is MovePhase.OVERLAPPING and self.state is ClientState.OPEN:
            return self._step(MovingEvent.OVER, now)
        return self._unless_open(super().lost(code, reason, now))

    def stop(self, now: float, code: int = 1000, reason: str = "") -> list[Output]:
        """End for good."""
        return self._unless_open(super().stop(now, code, reason))

    def tick(self, now: float) -> list[Output]:
        """Tell that time has passed; does nothing before the deadline."""
        if self.state is not ClientState.OPEN or self.deadline is None or now < self.deadline:
            return super().tick(now)
        # an open session has no deadline of its own
        self.deadline = None
        if self.phase is MovePhase.OVERLAPPING:
            return self._step(MovingEvent.OVER, now)
        if self._next is not None:
            return [AbortNext(), *self._step(MovingEvent.FAILED, now)]
        return self._connect_next(now)

    def payload(self, now_ns: int) -> tuple[bytes | None, list[Output]]:
        """Return the next message to send, numbered and signed now."""
        if self.phase in _SILENT and self.state is ClientState.OPEN:
            due, self._leave_due = self._leave_due, False
            return CLIENT_LEAVING if due else None, []
        opens = self._open_due
        payload, outputs = super().payload(now_ns)
        if opens and payload is not None and self._settings.reconnect:
            payload = can_move(payload)
        return payload, outputs

    # -- the next one -----------------------------------------------------------------------------------------

    def next_received(self, payload: bytes, now: float, now_ns: int, *, binary: bool = True) -> list[Output]:
        """Tell that a message came on the second connection."""
        session = self._next
        if session is None:
            return []
        if self.phase is MovePhase.OVERLAPPING:
            self._held.append((payload, now_ns))
            if sum(len(held) for held, _ in self._held) > self._settings.max_held_bytes:
                return self._failed(now)
            return []
        try:
            event = session.receive(payload, now_ns) if binary else None
        except MessageInvalid:
            event = None
        if isinstance(event, Greeted):
            return self._step(MovingEvent.GREETED, now)
        if isinstance(event, SessionOpened):
            return self._step(MovingEvent.OPENED, now)
        return self._failed(now)

    def next_lost(self, now: float) -> list[Output]:
        """Tell that the second connection ended, or could not be opened."""
        return [] if self._next is None else self._step(MovingEvent.FAILED, now)

    def next_payload(self, now_ns: int) -> bytes | None:
        """Return what is to be sent on the second connection; None: nothing."""
        if self._next is None or not self._next_open_due:
            return None
        self._next_open_due = False
        return can_move(self._next.open_payload(now_ns, self._random(CALL_NONCE)))

    # -- inside -----------------------------------------------------------------------------------------------

    def _unless_open(self, outputs: list[Output]) -> list[Output]:
        """Give the next session up if this one is not open any more."""
        if self.phase is MovePhase.STAYING or self.state is ClientState.OPEN:
            return outputs
        connected = self._next is not None
        self._forget_next(MovePhase.STAYING)
        return [AbortNext(), *outputs] if connected else outputs

    def _forget_next(self, phase: MovePhase) -> None:
        self.phase = phase
        self._next = None
        self._next_open_due = self._leave_due = False

    def _failed(self, now: float) -> list[Output]:
        return [AbortNext(), *self._step(MovingEvent.FAILED, now)]

    def _step(self, event: MovingEvent, now: float) -> list[Output]:
        row = TABLE.get((self.phase, event))
        if row is None:
            return []
        self.phase, effect = row
        if effect is MovingEffect.CONNECT:
            return self._connect_next(now)
        if effect is MovingEffect.LEAVE:
            self._leave_due = True
        elif effect is MovingEffect.SEND_OPEN:
            self._next_open_due = True
        elif effect is MovingEffect.OVERLAP:
            self._held = []
            self.deadline = now + self._settings.overlap
        elif effect is MovingEffect.RETRY:
            self._next, self._next_open_due = None, False
            self.deadline = now + self._settings.move_pause
        elif effect is MovingEffect.PROMOTE:
            return self._promote(now)
        return []

    def _connect_next(self, now: float) -> list[Output]:
        self._next = self._new_session()
        self.deadline = now + self._settings.open_timeout
        return [ConnectNext(self._next_url())]

    def _promote(self, now: float) -> list[Output]:
        assert self._session is not None
        assert self._next is not None
        uncertain = self._session.uncertain()
        session = self._session = self._next
        assert session.gateway is not None
        self._forget_next(MovePhase.STAYING)
        self.deadline = None
        outputs: list[Output] = [Promote(), ClientOpened(session.gateway, True, uncertain)]
        held, self._held = self._held, []
        for payload, arrived_ns in held:
            outputs += self.received(payload, now, arrived_ns)
        return outputs
