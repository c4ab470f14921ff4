"""Performs what :mod:`icwsgw.core.move_machine` decides: a session's client opens a new one elsewhere first."""

from __future__ import annotations

from typing import Protocol

from icwsgw.core.messages import frame
from icwsgw.core.move_machine import (
    CALLS_RELAYED,
    TABLE,
    MoveEffect,
    MoveEvent,
    MoveState,
    is_leaving,
    move_request,
)
from icwsgw.core.session_machine import State
from icwsgw.gateway.calls.relay import Relay
from icwsgw.gateway.inbound_messages import InboundMessages
from icwsgw.gateway.interfaces import Client


class MovingSession(Protocol):
    """The session of a client that may move: :class:`icwsgw.gateway.session.ClientSession`.

    :ivar move: how far the client is
    """

    client: Client
    relay: Relay | None
    stream: InboundMessages | None
    state: State
    move: MoveState


def ask_to_move(session: MovingSession, seconds: float) -> bool:
    """Ask a client to open its next session elsewhere, now.

    :param seconds: until its connection is closed
    :returns: False if it has no open session, or does not know how to move
    """
    if session.state is not State.OPEN:
        return False
    return _step(session, MoveEvent.ASK, seconds)


def accept_leaving(session: MovingSession, payload: bytes) -> bool:
    """Whether a message that is no envelope is the last one of a client that moves; then its calls are finished."""
    return session.move is MoveState.ASKED and is_leaving(payload) and _step(session, MoveEvent.LEAVING)


def _step(session: MovingSession, event: MoveEvent, seconds: float = 0.0) -> bool:
    row = TABLE.get((session.move, event))
    if row is None:
        return False
    session.move, effects = row
    for effect in effects:
        if effect is MoveEffect.SEND_REQUEST:
            session.client.deliver([frame(move_request(seconds))])
        elif effect is MoveEffect.FINISH_CALLS:
            if session.stream is not None:
                session.stream.finish()
            if session.relay is not None:
                session.relay.finish(lambda: _relayed(session))
        elif effect is MoveEffect.SEND_RELAYED:
            session.client.deliver([frame(CALLS_RELAYED)])
    return True


def _relayed(session: MovingSession) -> None:
    if session.state is not State.CLOSED:
        _step(session, MoveEvent.RELAYED)
