"""A client that behaves as the JavaScript SDK does, without a socket: it takes and returns payloads of frames.

With a root key, it verifies what the SDK verifies (certificate, certified data, witness, content, sequence numbers). It
answers each AckMessage with a KeepAliveMessage.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Any

from icwsgw.ic import cbor, hashtree
from icwsgw.ic.certificate import certified_data, verify_certificate
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import (
    AckMessage,
    CloseMessage,
    KeepAliveMessage,
    MessageArgs,
    OpenMessage,
    decode_service_message,
    encode_message_args,
    encode_open_args,
    encode_service_message,
)


class SdkClient:
    """One client of one canister.

    :ivar received: contents of the application messages, in order
    :ivar opened: the OpenMessage has come
    :ivar closed_by_canister: the reason of a CloseMessage
    """

    def __init__(self, canister: Principal, identity: Ed25519Identity | None = None, root_key: bytes | None = None):
        self.canister = canister
        self.identity = identity or Ed25519Identity(secrets.token_bytes(32))
        self.client_nonce = secrets.randbits(64)
        self.gateway: Principal | None = None
        self.received: list[bytes] = []
        self.keys: list[str] = []
        self.opened = False
        self.closed_by_canister: str | None = None
        self.acks = 0
        self._root_key = root_key
        self._sequence_in = 0
        self._sequence_out = 0

    def handle(self, payload: bytes, now_ns: int) -> list[bytes]:
        """Handle a payload from the gateway; returns the payloads to send in answer."""
        message = cbor.loads(payload)
        if self.gateway is None:
            self.gateway = Principal(message["gateway_principal"])
            return [self.open_payload(now_ns)]
        assert list(message) == ["key", "content", "cert", "tree"]
        return self._incoming(message, now_ns)

    def open_payload(self, now_ns: int, **changes: Any) -> bytes:
        """The ws_open envelope."""
        assert self.gateway is not None
        arg = encode_open_args(self.client_nonce, changes.pop("gateway", self.gateway).raw)
        return self.envelope("ws_open", arg, now_ns, **changes)

    def message_payload(self, content: bytes, now_ns: int, service: bool = False) -> bytes:
        """A ws_message envelope with the next sequence number."""
        self._sequence_out += 1
        args = MessageArgs(self.identity.principal.raw, self.client_nonce, self._sequence_out, now_ns, service, content)
        return self.envelope("ws_message", encode_message_args(args), now_ns)

    def envelope(self, method: str, arg: bytes, now_ns: int, ttl: float = 240.0) -> bytes:
        """A signed envelope for any method, as the SDK makes it."""
        content = call_content(
            self.identity.principal, self.canister, method, arg, now_ns + int(ttl * 1e9), secrets.token_bytes(16)
        )
        body = sign_request(self.identity, content).body
        return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body.removeprefix(cbor.SELF_DESCRIBE)

    def _incoming(self, message: dict[str, Any], now_ns: int) -> list[bytes]:
        content = cbor.loads(message["content"])
        key = content["client_key"]
        assert key == {"client_principal": self.identity.principal.raw, "client_nonce": self.client_nonce}
        self._sequence_in += 1
        assert content["sequence_num"] == self._sequence_in, (content["sequence_num"], self._sequence_in)
        self._verify(message, now_ns)
        self.keys.append(message["key"])
        if not content["is_service_message"]:
            self.received.append(content["content"])
            return []
        service = decode_service_message(content["content"])
        if isinstance(service, OpenMessage):
            assert not self.opened
            self.opened = True
        elif isinstance(service, AckMessage):
            self.acks += 1
            keep_alive = encode_service_message(KeepAliveMessage(self._sequence_in))
            return [self.message_payload(keep_alive, now_ns, service=True)]
        elif isinstance(service, CloseMessage):
            self.closed_by_canister = service.reason
        return []

    def _verify(self, message: dict[str, Any], now_ns: int) -> None:
        if self._root_key is None:
            return
        certificate = verify_certificate(
            message["cert"], root_key_der=self._root_key, canister_id=self.canister, now_ns=now_ns
        )
        tree = hashtree.decode(message["tree"])
        assert hashtree.reconstruct(tree) == certified_data(certificate, self.canister)
        found = hashtree.lookup(tree, [b"websocket", message["key"].encode()])
        assert isinstance(found, hashtree.Found)
        assert found.value == sha256(message["content"]).digest()
