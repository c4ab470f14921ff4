"""The bytes that bring a new connection to the point that another one has reached in a message.

A message may have come in part: some of its fragments, a part of a frame, a ping in between. Autobahn has decoded and
unmasked that part. This module makes frames of it again. If a new connection reads them, and then what comes next from
the socket, it finds the same messages.
"""

from __future__ import annotations

from typing import Any

from autobahn.websocket.xormasker import create_xor_masker

_NO_MASK = b"\0\0\0\0"
_CONTROL = 8
_TEXT, _BINARY = 1, 2


def unread_bytes(connection: Any) -> bytes:
    """The frames of the message that has come in part, as a client sends them, and what follows it.

    :param connection: a WebSocketServerProtocol that is open
    """
    frame = connection.current_frame
    control = frame is not None and frame.opcode >= _CONTROL
    parts: list[bytes] = []
    if connection.inside_message:
        opcode = _BINARY if connection.message_is_binary else _TEXT
        whole = connection.message_data or []
        # the frame that has begun is the message's first one
        first = frame is not None and not control and frame.opcode
        if not first:
            payload = b"".join(whole)
            parts += _header(opcode, False, len(payload), _NO_MASK), payload
    if frame is not None:
        mask = frame.mask or _NO_MASK
        payload = b"".join((connection.control_frame_data if control else connection.frame_data) or ())
        parts += _header(frame.opcode, frame.fin, frame.length, mask), _masked(payload, mask)
    return b"".join((*parts, connection.data))


def unread_while_closing(connection: Any) -> bytes:
    """The same for a connection that waits for the client's close frame: what messages contained is dropped already.

    :param connection: a WebSocketServerProtocol that is closing
    """
    frame = connection.current_frame
    control = frame is not None and frame.opcode >= _CONTROL
    parts: list[bytes] = []
    if connection.inside_message and (frame is None or control or not frame.opcode):
        parts.append(_header(_BINARY, False, 0, _NO_MASK))
    if control:
        mask = frame.mask or _NO_MASK
        payload = b"".join(connection.control_frame_data or ())
        parts += _header(frame.opcode, frame.fin, frame.length, mask), _masked(payload, mask)
    elif frame is not None:
        left = frame.length - connection.current_frame_masker.pointer()
        parts.append(_header(_BINARY if frame.opcode else 0, frame.fin, left, _NO_MASK))
    return b"".join((*parts, connection.data))


def _header(opcode: int, final: bool, length: int, mask: bytes) -> bytes:
    first = bytes(((0x80 if final else 0) | opcode,))
    if length < 126:
        return first + bytes((0x80 | length,)) + mask
    if length < 1 << 16:
        return first + b"\xfe" + length.to_bytes(2, "big") + mask
    return first + b"\xff" + length.to_bytes(8, "big") + mask


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(create_xor_masker(mask, len(payload)).process(payload)) if payload else b""
