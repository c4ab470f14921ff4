from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.client.codecs import RAW, CandidCodec
from icwsgw.devnet.canisters import app_message
from icwsgw.errors import FormatError
from icwsgw.ic.candid import types as t

ECHO = (Path(__file__).parents[2] / "icwsgw" / "devnet" / "echo.did").read_text()


def test_raw_messages_are_bytes() -> None:
    assert RAW.encode(b"a") == b"a"
    assert RAW.decode(b"a") == b"a"
    with pytest.raises(FormatError, match="bytes, not str"):
        RAW.encode("a")  # type: ignore[arg-type]


def test_candid_messages_have_the_canister_s_type() -> None:
    codec = CandidCodec.from_did(ECHO)
    assert codec.encode({"text": "hi"}) == app_message("hi")
    assert codec.decode(app_message("hi")) == {"text": "hi"}
    with pytest.raises(FormatError):
        codec.encode({"txet": "hi"})
    with pytest.raises(FormatError):
        codec.decode(b"DIDL\x00\x01\x71\x01a")


def test_a_type_by_name() -> None:
    assert isinstance(CandidCodec.from_did(ECHO, "ClientKey").message_type, t.Record)
    with pytest.raises(FormatError, match="no type Nothing; it has ClientKey, "):
        CandidCodec.from_did(ECHO, "Nothing")
    with pytest.raises(FormatError, match="no ws_message with an opt of a message type; it has no types"):
        CandidCodec.from_did("service : {}")
