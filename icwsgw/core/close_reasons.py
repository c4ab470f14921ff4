"""The reasons in close frames, next to the close codes (:mod:`icwsgw.close_codes`).

A reason is one sentence with the session's id behind it, so that a user's report leads to the session's lines in the
log. A close frame has room for a reason of 123 bytes (RFC 6455, 5.5).
"""

from __future__ import annotations

from icwsgw.close_codes import CloseCode
from icwsgw.escaping import is_visible

__all__ = ["MAX_REASON_BYTES", "CloseCode", "close_reason"]

MAX_REASON_BYTES = 123


def close_reason(text: str, session_id: str) -> str:
    """The reason for a close frame: ``text``, cut so that the session's id fits behind it.

    :param text: a sentence; control characters and other invisible ones become spaces
    :param session_id: the session's id, ASCII
    :return: text with at most 123 bytes of UTF-8 that ends in the id in brackets
    """
    tail = f" [{session_id}]".encode()
    if not is_visible(text):
        text = "".join(c if is_visible(c) else " " for c in text)
    clean = " ".join(text.split())
    room = MAX_REASON_BYTES - len(tail)
    raw = clean.encode()
    if len(raw) > room:
        cut = raw[: room - 3].decode(errors="ignore")
        # at the end of a word, unless a long one fills most of the room
        whole = cut if raw[room - 3 : room - 2] == b" " else cut.rpartition(" ")[0]
        raw = (whole if len(whole) * 2 > len(cut) else cut).rstrip().encode() + b"..."
    return (raw + tail).decode()
