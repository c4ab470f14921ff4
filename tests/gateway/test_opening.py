"""What a first envelope is refused for."""

from __future__ import annotations

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.messages import ClientEnvelope
from icwsgw.gateway.opening import Refusal, open_args
from icwsgw.ic.principal import ANONYMOUS
from icwsgw.ic.ws import encode_open_args
from tests.support.fake_network import CANISTER

GATEWAY, CLIENT = b"\x07" * 29, b"\x01" * 29
GOOD = encode_open_args(42, GATEWAY)
#: IDL.encode([IDL.Record({client_nonce: IDL.Nat64})], [{client_nonce: 42n}]) of @dfinity/candid, as 0.1.2 sends it
OLD = bytes.fromhex("4449444c016c01bbd1eacd0e7801002a00000000000000")


def first(arg: bytes, method: str = "ws_open", sender: bytes = CLIENT) -> ClientEnvelope:
    return ClientEnvelope(b"", sender, CANISTER.raw, method, arg, 0)


def test_what_can_be_relayed() -> None:
    assert open_args(first(GOOD), GATEWAY) == (42, GATEWAY)


@pytest.mark.parametrize(
    ("envelope", "code", "words"),
    [
        (first(GOOD, "ws_message"), CloseCode.PROTOCOL_ERROR, "not ws_open"),
        (first(b"DIDL"), CloseCode.UNDECODABLE, "does not decode"),
        (first(OLD), CloseCode.OPEN_REFUSED, "use ic-websocket-js 0.3 or later"),
        (first(GOOD, sender=ANONYMOUS.raw), CloseCode.OPEN_REFUSED, "anonymous"),
        (first(encode_open_args(42, CLIENT)), CloseCode.WRONG_GATEWAY, "another gateway principal"),
    ],
)
def test_what_cannot(envelope: ClientEnvelope, code: CloseCode, words: str) -> None:
    with pytest.raises(Refusal, match=words) as caught:
        open_args(envelope, GATEWAY)
    assert caught.value.code is code
