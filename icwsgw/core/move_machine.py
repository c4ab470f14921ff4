"""A client that opens a session at another gateway before its session here ends: a table, and the messages.

Before a gateway stops it asks its clients to move, instead of closing them (decision 0072). Only clients whose first
message declares that they understand the request get it; others are closed with 4100.

    state    event    next     effects
    -------  -------  -------  ------------
    STAYING  ASK      ASKED    SEND_REQUEST
    ASKED    LEAVING  LEAVING  FINISH_CALLS
    LEAVING  RELAYED  RELAYED  SEND_RELAYED

The client connects elsewhere, then sends its last message here (LEAVING). When all its calls have ended here (RELAYED)
it sends ``ws_open`` there: the canister replaces the session here in the same moment, and would refuse calls of this
one that come later. The client reads this connection for a little longer, then closes it.

The messages, all CBOR with the self-describe tag; a receiver ignores entries that it does not know:

    client -> gateway   {envelope, moves: true}     the first message of a client that understands the rest
    gateway -> client   {move: {seconds: nat}}      please move; the connection is closed after so many seconds
    client -> gateway   {leaving: true}             nothing more follows on this connection
    gateway -> client   {relayed: true}             all calls of the client have ended
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from icwsgw.errors import FormatError
from icwsgw.ic import cbor


class MoveState(IntEnum):
    """Where a client is. The order matters: from LEAVING on, the client sends nothing more."""

    ABSENT = 0
    """The client does not know how to move."""
    STAYING = 1
    """It can move, and was not asked to."""
    ASKED = 2
    """It was asked to move."""
    LEAVING = 3
    """It sends nothing more, and its calls have not all ended."""
    RELAYED = 4
    """Its calls have ended."""


class MoveEvent(IntEnum):
    """What can happen to a client that moves."""

    ASK = 0
    """The gateway is about to stop."""
    LEAVING = 1
    """The client has sent its last message."""
    RELAYED = 2
    """All its calls have ended."""


class MoveEffect(IntEnum):
    """What the session has to do."""

    SEND_REQUEST = 0
    """Send :func:`move_request`."""
    FINISH_CALLS = 1
    """Relay all that waits, and report RELAYED when it has ended."""
    SEND_RELAYED = 2
    """Send :data:`CALLS_RELAYED`."""


S, E, F = MoveState, MoveEvent, MoveEffect
TABLE: dict[tuple[MoveState, MoveEvent], tuple[MoveState, tuple[MoveEffect, ...]]] = {
    (S.STAYING, E.ASK): (S.ASKED, (F.SEND_REQUEST,)),
    (S.ASKED, E.LEAVING): (S.LEAVING, (F.FINISH_CALLS,)),
    (S.LEAVING, E.RELAYED): (S.RELAYED, (F.SEND_RELAYED,)),
}
del S, E, F

#: The client's last message on a connection.
CLIENT_LEAVING = cbor.dumps_tagged({"leaving": True})
#: The gateway's answer when all calls have ended.
CALLS_RELAYED = cbor.dumps_tagged({"relayed": True})
_MOVES = cbor.dumps("moves") + b"\xf5"
#: The longest message that is neither an envelope nor one of a canister.
_MAX_BYTES: Final = 256
#: The beginning of a client's first message: a map with an entry.
_ONE_ENTRY: Final = cbor.SELF_DESCRIBE + b"\xa1"


class GatewayMessage(Enum):
    """A message of the gateway itself."""

    MOVE = "move"
    """Please open the next session elsewhere."""
    RELAYED = "relayed"
    """All calls of the client have ended."""
    UNKNOWN = "unknown"
    """Something that this version does not know."""


def move_request(seconds: float) -> bytes:
    """The message that asks a client to move.

    :param seconds: until its connection is closed
    """
    return cbor.dumps_tagged({"move": {"seconds": int(seconds)}})


def understands_moving(payload: bytes) -> bool:
    """Whether a client's first message, which has been decoded before, declares that the client can move."""
    # The SDK does not declare it; its envelopes are not decoded again.
    if _MOVES not in payload:
        return False
    return _declares(payload, "moves")


def is_leaving(payload: bytes) -> bool:
    """Whether a message is the last one of a client that moves to another gateway; False for any other bytes."""
    return len(payload) <= _MAX_BYTES and _declares(payload, "leaving")


def can_move(opening: bytes) -> bytes:
    """The first message of a client that can move.

    :param opening: the message without that: tag, and a map with the envelope alone
    :raises ValueError: it is no such message
    """
    if not opening.startswith(_ONE_ENTRY):
        raise ValueError("not the first message of this client")
    return cbor.SELF_DESCRIBE + b"\xa2" + opening[len(_ONE_ENTRY) :] + _MOVES


def read_gateway_message(payload: bytes) -> GatewayMessage | None:
    """The message of the gateway itself to a client whose session is open; None if the message is the canister's.

    A canister's message has no tag, is longer, and has a key.
    """
    if len(payload) > _MAX_BYTES or not payload.startswith(cbor.SELF_DESCRIBE):
        return None
    try:
        message = cbor.loads(payload)
    except FormatError:
        return None
    if type(message) is not dict or "key" in message:
        return None
    if type(message.get("move")) is dict:
        return GatewayMessage.MOVE
    return GatewayMessage.RELAYED if message.get("relayed") is True else GatewayMessage.UNKNOWN


def _declares(payload: bytes, name: str) -> bool:
    try:
        message = cbor.loads(payload)
    except FormatError:
        return False
    return type(message) is dict and message.get(name) is True
