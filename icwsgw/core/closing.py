"""Close codes towards clients, and the reasons that go with them.

The codes are the gateway's part of the protocol (docs/protocol.md). 1000 to 1015 are RFC 6455's; 4100 to 4113 are
ours; 4000 and 4001 belong to the JavaScript SDK and are only ever echoed. A reason is one plain sentence with the
session's id behind it, so that a user's report leads to the session's lines in the log. A close frame has room for
123 bytes of it (RFC 6455, section 5.5).
"""

from __future__ import annotations

from enum import IntEnum

from icwsgw.visible import is_visible

MAX_REASON_BYTES = 123


class CloseCode(IntEnum):
    """Why a client's connection ended, as the client sees it."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NOT_BINARY = 1003
    UNDECODABLE = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    OVERLOADED = 1013
    DRAINING = 4100
    OPEN_REFUSED = 4101
    EXPIRED = 4102
    WRONG_GATEWAY = 4103
    TOO_SLOW = 4104
    CANISTER_RESET = 4105
    CANISTER_SILENT = 4106
    NOT_OPENED = 4107
    RATE_LIMIT = 4108
    REPLACED = 4109
    CANISTER_NOT_ALLOWED = 4110
    MESSAGE_REFUSED = 4111
    MESSAGES_MISSED = 4112
    TOO_FAST = 4113


def close_reason(text: str, session_id: str) -> str:
    """The reason for a close frame: ``text`` cut so that it and the session id fit.

    :param text: a plain sentence; characters that are not plainly seen become spaces
    :param session_id: the session's id, ASCII
    :return: text whose UTF-8 form has at most 123 bytes and ends in the session id in brackets
    """
    tail = f" [{session_id}]".encode()
    clean = " ".join("".join(c if is_visible(c) else " " for c in text).split())
    room = MAX_REASON_BYTES - len(tail)
    raw = clean.encode()
    if len(raw) > room:
        raw = raw[: room - 3].decode(errors="ignore").rstrip().encode() + b"..."
    return (raw + tail).decode()
