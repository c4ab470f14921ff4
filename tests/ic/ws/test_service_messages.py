from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic import ws
from icwsgw.ic.candid import Nat, Null, Record, Variant, encode

RUST = json.loads((Path(__file__).parents[2] / "vectors" / "cdk" / "rust.json").read_text())

numbers = st.integers(0, (1 << 64) - 1)
service_messages = st.one_of(
    st.builds(ws.OpenMessage, st.binary(max_size=29), numbers),
    st.builds(ws.AckMessage, numbers),
    st.builds(ws.KeepAliveMessage, numbers),
    st.builds(ws.CloseMessage, st.sampled_from(ws.CLOSE_REASONS)),
)


@given(service_messages)
def test_round_trip(message: ws.ServiceMessage) -> None:
    read = ws.decode_service_message(ws.encode_service_message(message))
    assert read == message
    assert type(read) is type(message)


def test_the_rust_cdk() -> None:
    """The content of the OpenMessage in the Rust answer, byte for byte."""
    message = ws.OpenMessage(bytes.fromhex(RUST["client_principal"]), RUST["client_nonce"])
    assert ws.encode_service_message(message) in bytes.fromhex(RUST["get_messages_open"])


def test_variants_of_fewer_alternatives_are_read() -> None:
    """Other encoders list only the alternative that is there."""
    kind = Variant({"CloseMessage": Record({"reason": Variant({"KeepAliveTimeout": Null})})})
    raw = encode([kind], [{"CloseMessage": {"reason": {"KeepAliveTimeout": None}}}])
    assert ws.decode_service_message(raw) == ws.CloseMessage("KeepAliveTimeout")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DIDL\x00\x00",
        encode([Variant({"PingMessage": Null})], [{"PingMessage": None}]),
        encode([Variant({"AckMessage": Null})], [{"AckMessage": None}]),
        encode(
            [Variant({"AckMessage": Record({"last_incoming_sequence_num": Nat})})],
            [{"AckMessage": {"last_incoming_sequence_num": 1}}],
        ),
        ws.encode_service_message(ws.AckMessage(1)) + b"\0",
    ],
)
def test_not_service_messages(content: bytes) -> None:
    with pytest.raises(FormatError):
        ws.decode_service_message(content)


def test_unknown_reason() -> None:
    with pytest.raises(FormatError):
        ws.encode_service_message(ws.CloseMessage("Bored"))
