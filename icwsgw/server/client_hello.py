"""Reads what a client offers from the first bytes of a TLS connection (RFC 8446, section 4.1.2).

OpenSSL chooses a certificate before it tells the application which protocols the client offers (ALPN). The answer to a
TLS-ALPN-01 challenge depends on both, so the gateway looks at the bytes itself.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Bytes of a ClientHello that are looked at: OpenSSL accepts 16 KiB in one record.
MAX_HELLO = 1 << 14
#: Records that a ClientHello may come in: one is usual. More would have to be joined again for each piece that comes.
MAX_RECORDS = 8
#: The protocol of a validation (RFC 8737, section 4).
ACME_TLS = b"acme-tls/1"

_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16


def offers_acme(data: bytes) -> bool | None:
    """Whether a client offers the protocol of a TLS-ALPN-01 validation.

    :param data: the first bytes of the connection
    :return: None if more bytes are needed. What is no ClientHello offers nothing
    """
    hello = _hello(data)
    if hello is None:
        return None if len(data) < MAX_HELLO else False
    try:
        return ACME_TLS in protocols(hello)
    except ValueError:
        return False


def protocols(hello: bytes) -> list[bytes]:
    """Return the protocols that a ClientHello offers.

    :param hello: its body, without the header of the handshake message
    :raises ValueError: it does not follow its format
    """
    rest = _skip(hello, 34)  # version and random
    for size in (1, 2, 1):  # session, cipher suites, compression
        _, rest = _vector(rest, size)
    if not rest:
        return []  # without extensions
    extensions, _ = _vector(rest, 2)
    while extensions:
        kind = int.from_bytes(extensions[:2], "big")
        body, extensions = _vector(_skip(extensions, 2), 2)
        if kind == _ALPN:
            names, _ = _vector(body, 2)
            return list(_names(names))
    return []


def _names(names: bytes) -> Iterator[bytes]:
    while names:
        name, names = _vector(names, 1)
        yield name


def _hello(data: bytes) -> bytes | None:
    """The body of a ClientHello, perhaps from several records; None: there is more to come. Empty: it is none."""
    message = b""
    for _ in range(MAX_RECORDS):
        if not data:
            return None
        if data[0] != _HANDSHAKE:
            return b""
        length = int.from_bytes(data[3:5], "big")
        message += data[5 : 5 + length]
        if message and message[0] != _CLIENT_HELLO:
            return b""
        if len(data) >= 5 and length == 0:
            return b""
        size = int.from_bytes(message[1:4], "big")
        if len(message) >= 4 and len(message) >= 4 + size:
            return message[4 : 4 + size]
        if len(data) < 5 + length or len(data) < 5:
            return None
        data = data[5 + length :]
    return b""


def _skip(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise ValueError("the ClientHello ends too early")
    return data[size:]


def _vector(data: bytes, size: int) -> tuple[bytes, bytes]:
    """Split a vector, whose length is in its first ``size`` bytes, from what follows."""
    length = int.from_bytes(data[:size], "big")
    rest = _skip(_skip(data, size), length)
    return data[size : size + length], rest
