from __future__ import annotations

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic.candid import decode_as, encode
from icwsgw.ic.ws.client_keys import CLIENT_KEY, client_key, read_client_key


def test_round_trip() -> None:
    raw = encode([CLIENT_KEY], [client_key(b"\1\2", 7)])
    (value,) = decode_as(raw, [CLIENT_KEY])
    assert read_client_key({"client_key": value}) == (b"\1\2", 7)


def test_not_a_principal() -> None:
    with pytest.raises(FormatError):
        client_key(b"p" * 30, 7)
