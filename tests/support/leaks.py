"""Checks whether a text contains secret bytes in any form in which code might print them by mistake."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping


def forms(secret: bytes) -> Iterator[bytes]:
    """The bytes in each form: raw, hex, Python's repr, and base64 at each possible alignment."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield repr(secret)[2:-1].encode()
    yield ", ".join(map(str, secret)).encode()
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # without the characters that depend on the bytes before and after
            yield encode(bytes(before) + secret)[4:-4]


def assert_none_of(secrets: Mapping[str, bytes], text: bytes) -> None:
    """Fail with the name of a secret that ``text`` contains; a part is searched for if the secret is long."""
    for what, secret in secrets.items():
        assert len(secret) >= 12, f"{what} is too short: it could occur by chance"
        for form in forms(secret[:16]):
            assert form not in text, what
