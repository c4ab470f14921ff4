"""Representation-independent hashes. They give request ids and the bytes that a signature covers.

To hash a map, the SHA-256 of each field's name is joined with the hash of its value. These 64-byte pairs are sorted,
joined and hashed with SHA-256. The hash of a value is the SHA-256 of: the bytes; the text in UTF-8; a natural number as
shortest unsigned LEB128; a negative number as shortest signed LEB128; the joined hashes of a list's elements. The hash
of a map inside a map is its hash as a map, which is not hashed again (IC interface specification, section
"Representation-independent hashing of structured data").

A signature covers a domain separator and the hash. The separator is one byte with the length of its text, and the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from icwsgw.errors import FormatError
from icwsgw.ic.cbor import UNDEFINED
from icwsgw.ic.principal import Principal

IC_REQUEST_SEPARATOR: Final = b"\x0aic-request"
IC_REQUEST_AUTH_DELEGATION_SEPARATOR: Final = b"\x1aic-request-auth-delegation"
IC_RESPONSE_SEPARATOR: Final = b"\x0bic-response"

_MAX_DEPTH: Final = 32
_NAMES: Final = {
    name: sha256(name.encode()).digest()
    for name in (
        *("request_type", "sender", "ingress_expiry", "nonce", "canister_id", "method_name", "arg", "paths"),
        *("sender_info", "info", "signer", "sig", "pubkey", "expiration", "targets", "permissions"),
        *("status", "reply", "timestamp", "request_id", "reject_code", "reject_message", "error_code"),
    )
}
"""Hashes of the field names that the IC uses. They halve the work of hashing an ordinary request."""


def request_id(content: Mapping[str, Any]) -> bytes:
    """Hash a map: a request's content, a delegation, or the answer to a query.

    Fields with the value None, or JavaScript's undefined, are left out.

    :returns: 32 bytes
    :raises FormatError: a value has no hash (float, bool, None inside a list), or nesting is deeper than 32
    """
    return _hash_map(content, _MAX_DEPTH)


def hash_value(value: Any) -> bytes:
    """Hash one value.

    :param value: bytes, str, int, Principal, a list or tuple of these, or a mapping from str to these
    :returns: 32 bytes
    :raises FormatError: a value has no hash, or nesting is deeper than 32
    """
    return _hash_value(value, _MAX_DEPTH)


def leb128(value: int) -> bytes:
    """Encode a natural number as shortest unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sleb128(value: int) -> bytes:
    """Encode an integer as shortest signed LEB128."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def _hash_map(content: Mapping[str, Any], depth: int) -> bytes:
    if depth <= 0:
        raise FormatError("nested too deep to hash")
    pairs = []
    for name, value in content.items():
        if value is None or value is UNDEFINED:
            continue
        name_hash = _NAMES.get(name)
        if name_hash is None:
            if not isinstance(name, str):
                raise FormatError("a field name that is not text")
            name_hash = sha256(_utf8(name)).digest()
        if type(value) is bytes:
            pairs.append(name_hash + sha256(value).digest())
        elif type(value) is str:
            pairs.append(name_hash + sha256(_utf8(value)).digest())
        elif type(value) is int and value >= 0:
            pairs.append(name_hash + sha256(leb128(value)).digest())
        elif type(value) is dict:
            pairs.append(name_hash + _hash_map(value, depth - 1))
        else:
            pairs.append(name_hash + _hash_value(value, depth - 1))
    pairs.sort()
    return sha256(b"".join(pairs)).digest()


def _hash_value(value: Any, depth: int) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return sha256(value).digest()
    if isinstance(value, str):
        return sha256(_utf8(value)).digest()
    if isinstance(value, int) and not isinstance(value, bool):
        return sha256(leb128(value) if value >= 0 else sleb128(value)).digest()
    if isinstance(value, Principal):
        return sha256(value.raw).digest()
    if isinstance(value, Mapping):
        return _hash_map(value, depth)
    if isinstance(value, (list, tuple)):
        if depth <= 0:
            raise FormatError("nested too deep to hash")
        return sha256(b"".join([_hash_value(item, depth - 1) for item in value])).digest()
    raise FormatError(f"a {type(value).__name__} has no representation-independent hash")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError("text that is not Unicode") from None
