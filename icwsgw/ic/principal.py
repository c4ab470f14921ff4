"""Principals: the identifiers of canisters, users and subnets.

A principal is a string of at most 29 bytes. Its text form is ``base32(crc32_be . bytes)`` in lower case without
padding, in groups of five characters with dashes between (IC interface specification, section "Textual representation
of principals"). Each principal has exactly one text, so a text that is not the text of its own bytes is refused. The
last byte is the class: 1 opaque (canisters), 2 self-authenticating (``SHA-224(DER public key) . 02``), 3 derived,
4 anonymous, 7 reserved. The principal of the management canister has no bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from functools import total_ordering
from typing import Final

from icwsgw.errors import FormatError

MAX_LENGTH: Final = 29
_MAX_TEXT: Final = 63
_SELF_AUTHENTICATING: Final = b"\x02"


@total_ordering
class Principal:
    """An immutable principal, ordered and hashed by its bytes.

    :ivar raw: its 0 to 29 bytes
    """

    __slots__ = ("_text", "raw")

    raw: bytes
    _text: str | None

    def __init__(self, raw: bytes) -> None:
        """Make a principal from its bytes.

        :raises FormatError: not of type bytes, or more than 29 bytes
        """
        if not isinstance(raw, bytes):
            raise FormatError(f"a principal is bytes, not {type(raw).__name__}")
        if len(raw) > MAX_LENGTH:
            raise FormatError(f"a principal has at most {MAX_LENGTH} bytes, not {len(raw)}")
        self.raw = raw
        self._text = None

    @classmethod
    def from_text(cls, text: str) -> Principal:
        """Read the text form, for example ``rrkah-fqaaa-aaaaa-aaaaq-cai``.

        :raises FormatError: wrong alphabet, checksum, grouping, case or length
        """
        if len(text) > _MAX_TEXT:
            raise FormatError("a principal's text has at most 63 characters")
        letters = text.replace("-", "").upper()
        try:
            data = base64.b32decode(letters + "=" * (-len(letters) % 8))
        except (binascii.Error, ValueError):
            raise FormatError(f"not a principal: {text!r}") from None
        if len(data) < 4:
            raise FormatError(f"a principal's text is too short: {text!r}")
        raw = data[4:]
        if data[:4] != zlib.crc32(raw).to_bytes(4, "big"):
            raise FormatError(f"wrong checksum in principal {text!r}")
        principal = cls(raw)
        if principal.text != text:
            raise FormatError(f"principal {text!r} is written {principal.text!r}")
        return principal

    @classmethod
    def self_authenticating(cls, der_public_key: bytes) -> Principal:
        """Return the principal of a public key.

        :param der_public_key: SubjectPublicKeyInfo in DER
        """
        return cls(hashlib.sha224(der_public_key).digest() + _SELF_AUTHENTICATING)

    @property
    def text(self) -> str:
        """The text form, which is computed once."""
        text = self._text
        if text is None:
            letters = base64.b32encode(zlib.crc32(self.raw).to_bytes(4, "big") + self.raw).decode("ascii")
            letters = letters.rstrip("=").lower()
            text = self._text = "-".join([letters[i : i + 5] for i in range(0, len(letters), 5)])
        return text

    @property
    def is_anonymous(self) -> bool:
        """Whether this is the anonymous principal ``2vxsx-fae``, the sender of unsigned requests."""
        return self.raw == b"\x04"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Principal({self.text})"

    def __bytes__(self) -> bytes:
        return self.raw

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, Principal) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.raw < other.raw if isinstance(other, Principal) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)


ANONYMOUS: Final = Principal(b"\x04")
