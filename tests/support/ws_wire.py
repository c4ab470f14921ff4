"""The client side of a WebSocket as bytes, without a library: handshake, masked frames, reader (RFC 6455)."""

from __future__ import annotations

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def handshake(*headers: str) -> bytes:
    return HANDSHAKE + "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n"


def masked(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    mask = b"\x01\x02\x03\x04"
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | size,))
    elif size < 1 << 16:
        head = b"\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\xff" + size.to_bytes(8, "big")
    # XOR all bytes at once, as two large integers
    over = (mask * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(over, "big")).to_bytes(size, "big")
    return bytes((opcode | (0x80 if fin else 0),)) + head + mask + body


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    return masked(8, b"" if code is None else code.to_bytes(2, "big") + reason)


def read_frames(data: bytes) -> list[tuple[int, bytes]]:
    """All frames in a server's bytes after its HTTP answer: (opcode, payload)."""
    frames = []
    while data:
        assert len(data) >= 2
        assert data[0] & 0xF0 == 0x80, "fragmented or compressed"
        size, start = data[1], 2
        assert size < 128, "a server does not mask"
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= start + size
        frames.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return frames
