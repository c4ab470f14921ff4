"""What a first envelope is refused for, and whether its client is admitted."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.messages import ClientEnvelope, parse_envelope
from icwsgw.core.replay_cache import ReplayCache
from icwsgw.gateway.opening import Refusal, admit_opening, open_args
from icwsgw.ic.call_signatures import Proof
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.principal import ANONYMOUS
from icwsgw.ic.ws import encode_open_args
from tests.support.fake_network import CANISTER, IDENTITY, make_context

GATEWAY, CLIENT = b"\x07" * 29, b"\x01" * 29
GOOD = encode_open_args(42, GATEWAY)
#: IDL.encode([IDL.Record({client_nonce: IDL.Nat64})], [{client_nonce: 42n}]) of @dfinity/candid, as 0.1.2 sends it
OLD = bytes.fromhex("4449444c016c01bbd1eacd0e7801002a00000000000000")


def first(arg: bytes, method: str = "ws_open", sender: bytes = CLIENT) -> ClientEnvelope:
    return ClientEnvelope(b"", sender, CANISTER.raw, method, arg, 0)


def test_what_can_be_relayed() -> None:
    assert open_args(first(GOOD), GATEWAY) == (42, GATEWAY)


@pytest.mark.parametrize(
    ("envelope", "code", "reason"),
    [
        (first(GOOD, "ws_message"), CloseCode.PROTOCOL_ERROR, "not ws_open"),
        (first(b"DIDL"), CloseCode.UNDECODABLE, "does not decode"),
        (first(OLD), CloseCode.OPEN_REFUSED, "use ic-websocket-js 0.3 or later"),
        (first(GOOD, sender=ANONYMOUS.raw), CloseCode.OPEN_REFUSED, "anonymous"),
        (first(encode_open_args(42, CLIENT)), CloseCode.WRONG_GATEWAY, "another gateway principal"),
    ],
)
def test_what_cannot(envelope: ClientEnvelope, code: CloseCode, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as caught:
        open_args(envelope, GATEWAY)
    assert caught.value.code is code


class Gateway:
    """A gateway that records its requests to admit clients."""

    def __init__(self, refused: tuple[CloseCode, str] | None = None) -> None:
        self.context, _, self.clock = make_context()
        self.replays = ReplayCache(self.clock.seconds())
        self.refused = refused
        self.requests: list[tuple[Any, ...]] = []

    def admit(self, *given: Any) -> tuple[CloseCode, str] | None:
        self.requests.append(given)
        return self.refused


def signed(gateway: Gateway) -> ClientEnvelope:
    """A ``ws_open`` as a client signs it."""
    arg = encode_open_args(42, gateway.context.identities[0].principal.raw)
    expiry = gateway.context.network_ns() + 60_000_000_000
    content = call_content(IDENTITY.principal, CANISTER, "ws_open", arg, expiry, b"nonce")
    return parse_envelope(sign_request(IDENTITY, content).body)


def admit(gateway: Any, envelope: ClientEnvelope) -> tuple[tuple[bytes, int], Proof]:
    return admit_opening(gateway, envelope, CANISTER, 0, "192.0.2.1")


def test_a_client_is_admitted_with_its_key_and_its_proof() -> None:
    gateway = Gateway()
    envelope = signed(gateway)
    assert admit(gateway, envelope) == ((envelope.sender, 42), Proof.HOLDS)
    assert gateway.requests == [(CANISTER, (envelope.sender, 42), 0, "192.0.2.1")]


def test_a_client_that_is_not_admitted_is_refused_before_its_signature_costs_anything() -> None:
    gateway = Gateway((CloseCode.OVERLOADED, "too many clients"))
    with pytest.raises(Refusal, match="too many clients") as caught:
        admit(gateway, signed(gateway))
    assert caught.value.code is CloseCode.OVERLOADED
    assert set(gateway.context.metrics.open_signatures.values.values()) == {0}


def test_the_same_call_opens_one_session() -> None:
    gateway = Gateway()
    envelope = signed(gateway)
    admit(gateway, envelope)
    with pytest.raises(Refusal, match="relayed before") as caught:
        admit(gateway, envelope)
    assert caught.value.code is CloseCode.OPEN_REFUSED


def test_a_call_that_is_refused_for_its_gateway_is_not_counted_as_a_forgery() -> None:
    gateway = Gateway()
    with pytest.raises(Refusal, match="another gateway principal"):
        admit(gateway, first(GOOD))
    assert gateway.requests == []
