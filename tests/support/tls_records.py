"""A TLS client whose handshake OpenSSL does, and whose records the test makes: KeyUpdates, padding, empty records.

RFC 8446, sections 5.2 (records), 7.2 (KeyUpdate) and 7.3 (keys); RFC 5246, section 6.3, and RFC 5288 for TLS 1.2.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

APPLICATION_DATA, HANDSHAKE, ALERT = 23, 22, 21
#: A request for the other side's KeyUpdate too.
KEY_UPDATE = b"\x18\x00\x00\x01\x01"


def _expand(secret: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand-Label with SHA-256 and an empty context, at most 32 bytes."""
    name = f"tls13 {label}".encode()
    info = size.to_bytes(2, "big") + bytes((len(name),)) + name + b"\x00"
    return hmac.digest(secret, info + b"\x01", "sha256")[:size]


def _prf(secret: bytes, seed: bytes, size: int) -> bytes:
    """The PRF of TLS 1.2 with SHA-256."""
    out, a = b"", seed
    while len(out) < size:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + seed, "sha256")
    return out[:size]


class RecordClient:
    """The client's side of a connection, with AES-128-GCM.

    :param version: SSL.TLS1_3_VERSION or SSL.TLS1_2_VERSION
    """

    def __init__(self, version: int = SSL.TLS1_3_VERSION) -> None:
        self._secrets: dict[str, bytes] = {}
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_keylog_callback(self._learn)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        self._is_13 = version == SSL.TLS1_3_VERSION
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        self._number = 0

    def _learn(self, _: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.decode().split()
        self._secrets[label] = bytes.fromhex(secret)

    def shake_hands(self, exchange: Callable[[bytes], bytes]) -> None:
        """Do the handshake.

        :param exchange: sends bytes to the server and returns what it has answered
        """
        while True:
            try:
                self._connection.do_handshake()
                break
            except SSL.WantReadError:
                answer = exchange(self._connection.bio_read(1 << 16))
                if answer:
                    self._connection.bio_write(answer)
        self.last_flight = b""
        try:
            self.last_flight = self._connection.bio_read(1 << 16)
        except SSL.WantReadError:
            pass
        if self._is_13:
            self._take(self._secrets["CLIENT_TRAFFIC_SECRET_0"])
        else:
            # its Finished was number 0
            self._number = 1
            server, client = self._connection.server_random(), self._connection.client_random()
            assert server is not None
            assert client is not None
            randoms = server + client
            block = _prf(self._secrets["CLIENT_RANDOM"], b"key expansion" + randoms, 40)
            self._cipher, self._iv = AESGCM(block[:16]), block[32:36]

    def _take(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._cipher, self._iv = AESGCM(_expand(secret, "key", 16)), _expand(secret, "iv", 12)

    def record(self, content: bytes, kind: int = APPLICATION_DATA, padding: int = 0) -> bytes:
        """Make a record.

        :param padding: bytes, TLS 1.3 only
        """
        number = self._number.to_bytes(8, "big")
        self._number += 1
        if not self._is_13:
            head = bytes((kind, 3, 3))
            sealed = self._cipher.encrypt(self._iv + number, content, number + head + len(content).to_bytes(2, "big"))
            return head + (8 + len(sealed)).to_bytes(2, "big") + number + sealed
        inner = content + bytes((kind,)) + bytes(padding)
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._iv, "big") ^ int.from_bytes(number, "big")
        return head + self._cipher.encrypt(nonce.to_bytes(12, "big"), inner, head)

    def key_update(self) -> bytes:
        """Make a KeyUpdate that requests one of the server; the records that follow have the next keys."""
        record = self.record(KEY_UPDATE, HANDSHAKE)
        self._take(_expand(self._secret, "traffic upd", 32))
        return record

    def read(self, data: bytes) -> bytes:
        """What the server's records contain; empty after the first KeyUpdate of the server."""
        out = b""
        self._connection.bio_write(data)
        try:
            while True:
                out += self._connection.recv(1 << 16)
        except SSL.WantReadError:
            return out
