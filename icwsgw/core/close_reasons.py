"""The reasons that go with close codes (:mod:`icwsgw.close_codes`).

A reason is one plain sentence with the session's id behind it, so that a user's report leads to the session's lines in
the log. A close frame has room for 123 bytes of it (RFC 6455, section 5.5).
"""

from __future__ import annotations

from icwsgw.close_codes import CloseCode
from icwsgw.escaping import is_visible

__all__ = ["MAX_REASON_BYTES", "CloseCode", "close_reason"]

MAX_REASON_BYTES = 123


def close_reason(text: str, session_id: str) -> str:
    """The reason for a close frame: ``text`` cut so that it and the session id fit.

    :param text: a plain sentence; characters that are not plainly seen become spaces
    :param session_id: the session's id, ASCII
    :return: text whose UTF-8 form has at most 123 bytes and ends in the session id in brackets
    """
    tail = f" [{session_id}]".encode()
    if not is_visible(text):
        text = "".join(c if is_visible(c) else " " for c in text)
    clean = " ".join(text.split())
    room = MAX_REASON_BYTES - len(tail)
    raw = clean.encode()
    if len(raw) > room:
        raw = raw[: room - 3].decode(errors="ignore").rstrip().encode() + b"..."
    return (raw + tail).decode()
