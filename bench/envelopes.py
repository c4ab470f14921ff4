"""A client's signed calls in the JavaScript SDK's format, encoded as masked WebSocket frames.

Messages may be signed before their scheduled time: their timestamp counts from a base that is chosen later.
"""

from __future__ import annotations

import secrets
import time

from bench.stats import STAMP
from icwsgw.ic import ws
from icwsgw.ic.candid.leb import write_unsigned
from icwsgw.ic.cbor import SELF_DESCRIBE
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

#: The lifetime of an envelope in ns, as in the SDK: less than the five minutes that replicas allow.
LIFE_NS = 240 * 1_000_000_000
_START = SELF_DESCRIBE + b"\xa1\x68envelope"
# The bytes after the head: sequence number 8, content length 1, principal 2, nonce 8, timestamp 8, service 1, null 1.
_ARGS_HEAD = ws.encode_message_args(ws.MessageArgs(b"", 0, 0, 0, False, b""))[:-29]


def frame(opcode: int, payload: bytes) -> bytes:
    """Encode a client's frame, masked with a random key."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    mask = secrets.token_bytes(4)
    key = mask * (size // 4 + 1)
    body = int.from_bytes(payload, "little") ^ int.from_bytes(key[:size], "little")
    return head + mask + body.to_bytes(size, "little")


def close_frame(code: int) -> bytes:
    """Encode a close frame."""
    return frame(8, code.to_bytes(2, "big"))


class Envelopes:
    """Creates the calls of one session.

    :ivar client_nonce: the session's nonce
    """

    __slots__ = ("canister", "client_nonce", "identity", "sequence")

    def __init__(self, identity: Ed25519Identity, canister: Principal) -> None:
        self.identity = identity
        self.canister = canister
        # The highest bit is set, so that the nonce always has the same length in CBOR.
        self.client_nonce = secrets.randbits(63) | 1 << 63
        self.sequence = 0

    def open(self, gateway: bytes) -> bytes:
        """Return the call of ws_open."""
        return self._call("ws_open", ws.encode_open_args(self.client_nonce, gateway))

    def message(self, stamp_ns: int, size: int, ahead_ns: int = 0) -> bytes:
        """Return an application message with the next sequence number: ``size`` bytes, first the timestamp.

        :param ahead_ns: in how many ns it will be sent
        """
        return self._message(stamp_ns.to_bytes(STAMP, "big") + bytes(max(0, size - STAMP)), False, ahead_ns)

    def keep_alive(self, last: int) -> bytes:
        """Return the keep-alive that answers an acknowledgement."""
        return self._message(ws.encode_service_message(ws.KeepAliveMessage(last)), True)

    def _message(self, content: bytes, service: bool, ahead_ns: int = 0) -> bytes:
        self.sequence += 1
        now = time.time_ns() + ahead_ns
        principal = self.identity.principal.raw
        arg = b"%b%b%b%b\1%c%b%b%b%c\0" % (
            _ARGS_HEAD,
            self.sequence.to_bytes(8, "little"),
            write_unsigned(len(content)),
            content,
            len(principal),
            principal,
            self.client_nonce.to_bytes(8, "little"),
            now.to_bytes(8, "little"),
            service,
        )
        return self._call("ws_message", arg, now)

    def _call(self, method: str, arg: bytes, now_ns: int = 0) -> bytes:
        expiry = (now_ns or time.time_ns()) + LIFE_NS
        content = call_content(self.identity.principal, self.canister, method, arg, expiry, secrets.token_bytes(16))
        return frame(2, _START + sign_request(self.identity, content).body[3:])
