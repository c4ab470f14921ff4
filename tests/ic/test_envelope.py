from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icp_agent.agent import sign_request as sign_with_icp_py_core
from icp_identity import Identity

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.envelope import (
    MAX_LABELS,
    MAX_PATHS,
    SignedRequest,
    anonymous_request,
    call_content,
    expiry_after,
    query_content,
    read_state_content,
    sign_request,
    verify_envelope,
)
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS, SECOND_NS
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.request_id import IC_REQUEST_SEPARATOR, request_id
from tests.ic.test_signatures import ALICE, BOB, CAROL, NOW, delegate
from tests.support.strategies import contents, damaged, identities

CANISTER = Principal.from_text("rrkah-fqaaa-aaaaa-aaaaq-cai")
EXPIRY = NOW + 240 * SECOND_NS
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "envelopes" / "envelopes.json").read_text())


def _call(sender: Principal = ALICE.principal, /, **fields: Any) -> dict[str, Any]:
    return {**call_content(sender, CANISTER, "ws_message", b"DIDL\x00\x00", EXPIRY, b"nonce"), **fields}


def _envelope(content: Any, **fields: Any) -> bytes:
    return cbor.dumps_tagged({"content": content, **fields})


def _signed(signer: Ed25519Identity, content: dict[str, Any], sender: Ed25519Identity, chain: Any) -> bytes:
    signature = signer.sign(IC_REQUEST_SEPARATOR + request_id(content))
    return _envelope(content, sender_pubkey=sender.public_key_der, sender_sig=signature, sender_delegation=chain)


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda vector: f"{vector['name']}, {vector['kind']}")
def test_envelopes_of_javascript_agents(vector: dict[str, str]) -> None:
    now = int(VECTORS["now_ns"])
    body = bytes.fromhex(vector["body"])
    verified = verify_envelope(body, now)
    assert verified.sender.text == vector["sender"]
    assert verified.content["request_type"] == vector["kind"]
    assert verified.request_id == request_id(verified.content)
    targets = {Principal.from_text(VECTORS["canister"]).raw} if "targets" in vector["name"] else None
    assert verified.targets == targets
    if "anonymous" not in vector["name"]:
        at = body.index(verified.content.get("arg", b"time"))
        with pytest.raises(SignatureInvalid):
            verify_envelope(body[:at] + b"\x00" + body[at + 1 :], now)
        with pytest.raises(SignatureInvalid, match="expiry"):
            verify_envelope(body, now + 300 * SECOND_NS)


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1", "p256"])
def test_envelopes_of_icp_py_core(kind: str) -> None:
    identity = Identity(privkey="77" * 32, type=kind)
    content = _call(Principal(identity.sender().bytes))
    identifier, body = sign_with_icp_py_core(content, identity)
    assert verify_envelope(body, NOW) == (content, Principal(content["sender"]), identifier, None)


def test_signed_requests() -> None:
    content = _call()
    request = sign_request(ALICE, content)
    assert request == SignedRequest(request.body, request_id(content), EXPIRY)
    assert request.body[:3] == cbor.SELF_DESCRIBE
    envelope = cbor2.loads(request.body)
    assert set(envelope) == {"content", "sender_pubkey", "sender_sig"}
    assert verify_envelope(request.body, NOW) == (content, ALICE.principal, request.request_id, None)
    assert verify_envelope(request.body[3:], NOW).content == content


def test_anonymous_requests() -> None:
    content = query_content(ANONYMOUS, CANISTER, "ws_get_messages", b"", EXPIRY)
    request = anonymous_request(content)
    assert cbor2.loads(request.body) == {"content": content}
    assert verify_envelope(request.body, NOW) == (content, ANONYMOUS, request.request_id, None)


def test_contents() -> None:
    assert call_content(ALICE.principal, CANISTER, "m", b"a", 5) == {
        "request_type": "call",
        "sender": ALICE.principal.raw,
        "ingress_expiry": 5,
        "canister_id": CANISTER.raw,
        "method_name": "m",
        "arg": b"a",
    }
    assert query_content(ALICE.principal, CANISTER, "m", b"a", 5, b"n") == {
        **call_content(ALICE.principal, CANISTER, "m", b"a", 5),
        "request_type": "query",
        "nonce": b"n",
    }
    assert read_state_content(ALICE.principal, [(b"time",)], 5, b"n") == {
        "request_type": "read_state",
        "sender": ALICE.principal.raw,
        "ingress_expiry": 5,
        "paths": [[b"time"]],
        "nonce": b"n",
    }
    assert "nonce" not in read_state_content(ALICE.principal, [], 5)


def test_expiry_is_rounded_down_as_agents_do() -> None:
    minute = 1_699_999_980 * SECOND_NS
    now = minute + 59 * SECOND_NS + 123
    assert expiry_after(now, 180) == minute + 180 * SECOND_NS
    assert expiry_after(now, 240) == minute + 240 * SECOND_NS
    assert expiry_after(now, 90) == minute + 149 * SECOND_NS
    assert expiry_after(now, 0.5) == minute + 59 * SECOND_NS


@given(st.integers(0, 2**62), st.integers(1, 330))
def test_expiry_is_never_later_than_asked_for(now_ns: int, seconds: int) -> None:
    expiry = expiry_after(now_ns, seconds)
    assert seconds - (60 if seconds > 90 else 1) < (expiry - now_ns) / SECOND_NS <= seconds


@given(st.data(), identities())
def test_round_trip(data: st.DataObject, identity: Ed25519Identity) -> None:
    content = data.draw(contents(identity.principal))
    content.pop("something_new", None)
    now = max(0, content["ingress_expiry"] - data.draw(st.integers(1, MAX_INGRESS_TTL_NS)))
    if content["ingress_expiry"] == 0:
        return
    request = sign_request(identity, content)
    assert verify_envelope(request.body, now) == (content, identity.principal, request.request_id, None)


@given(st.data())
def test_damaged_envelopes_never_say_something_else(data: st.DataObject) -> None:
    chain = [delegate(ALICE, BOB.public_key_der, EXPIRY, targets=[CANISTER.raw])]
    content = _call(sender_info={"info": b"i", "signer": b"s", "sig": b"g"})
    body = _signed(BOB, content, ALICE, chain)
    try:
        verified = verify_envelope(data.draw(damaged(body)), NOW)
    except (FormatError, SignatureInvalid):
        return
    assert verified == (content, ALICE.principal, request_id(content), frozenset({CANISTER.raw}))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for body in (data, b"\xa1\x67content" + data):
        with pytest.raises((FormatError, SignatureInvalid)):
            verify_envelope(body, NOW)


@pytest.mark.parametrize("kind", ["call", "query"])
def test_expiry_window(kind: str) -> None:
    for expiry, fits in (
        (NOW, False),
        (NOW + 1, True),
        (NOW + MAX_INGRESS_TTL_NS, True),
        (NOW + MAX_INGRESS_TTL_NS + 1, False),
        (0, False),
        (2**64 - 1, False),
    ):
        body = sign_request(ALICE, _call(request_type=kind, ingress_expiry=expiry)).body
        if fits:
            verify_envelope(body, NOW)
        else:
            with pytest.raises(SignatureInvalid, match="ingress_expiry not within expected range"):
                verify_envelope(body, NOW)


def test_expiry_window_as_asked_for() -> None:
    body = sign_request(ALICE, _call()).body
    with pytest.raises(SignatureInvalid, match="expiry"):
        verify_envelope(body, NOW, max_ttl_ns=239 * SECOND_NS)


def test_the_reason_states_the_time_as_replicas_do() -> None:
    with pytest.raises(SignatureInvalid) as refused:
        verify_envelope(sign_request(ALICE, _call(ingress_expiry=1_609_459_440 * SECOND_NS)).body, NOW + 5)
    assert str(refused.value) == (
        "Invalid request expiry: Specified ingress_expiry not within expected range: "
        "Minimum allowed expiry: 2023-11-14 22:13:20.000000005 UTC, "
        "Maximum allowed expiry: 2023-11-14 22:18:50.000000005 UTC, "
        "Provided expiry:        2021-01-01 00:04:00.000000000 UTC"
    )


def test_anonymous_queries_may_be_as_old_as_they_like() -> None:
    for content in (
        query_content(ANONYMOUS, CANISTER, "m", b"", 0),
        read_state_content(ANONYMOUS, [[b"time"]], 2**64 - 1),
    ):
        assert verify_envelope(anonymous_request(content).body, NOW).sender is ANONYMOUS
    with pytest.raises(SignatureInvalid, match="expiry"):
        verify_envelope(anonymous_request(call_content(ANONYMOUS, CANISTER, "m", b"", 0)).body, NOW)


def test_the_anonymous_sender_signs_nothing() -> None:
    content = _call(ANONYMOUS)
    signature = ALICE.sign(IC_REQUEST_SEPARATOR + request_id(content))
    signed: list[dict[str, Any]] = [
        {"sender_pubkey": ALICE.public_key_der, "sender_sig": signature},
        {"sender_pubkey": ALICE.public_key_der},
        {"sender_sig": signature},
        {"sender_delegation": []},
    ]
    for fields in signed:
        with pytest.raises(SignatureInvalid, match="anonymous"):
            verify_envelope(_envelope(content, **fields), NOW)
    absent = _envelope(content, sender_pubkey=None, sender_sig=cbor.UNDEFINED, sender_delegation=None)
    assert verify_envelope(absent, NOW).sender is ANONYMOUS


def test_all_others_sign() -> None:
    content = _call()
    signature = ALICE.sign(IC_REQUEST_SEPARATOR + request_id(content))
    incomplete: list[dict[str, Any]] = [
        {},
        {"sender_pubkey": ALICE.public_key_der},
        {"sender_sig": signature},
        {"sender_pubkey": "text", "sender_sig": signature},
        {"sender_pubkey": ALICE.public_key_der, "sender_sig": [signature]},
    ]
    for fields in incomplete:
        with pytest.raises(SignatureInvalid, match="missing"):
            verify_envelope(_envelope(content, **fields), NOW)


def test_the_sender_is_the_principal_of_the_key() -> None:
    with pytest.raises(SignatureInvalid, match="principal"):
        verify_envelope(sign_request(BOB, _call(ALICE.principal)).body, NOW)


def test_the_signature_is_over_the_request_id_with_its_separator() -> None:
    content = _call()
    for message in (request_id(content), b"ic-request" + request_id(content), IC_REQUEST_SEPARATOR + bytes(32)):
        with pytest.raises(SignatureInvalid, match="signature"):
            verify_envelope(_envelope(content, sender_pubkey=ALICE.public_key_der, sender_sig=ALICE.sign(message)), NOW)


def test_delegations() -> None:
    chain = [delegate(ALICE, BOB.public_key_der), delegate(BOB, CAROL.public_key_der)]
    content = _call()
    assert verify_envelope(_signed(CAROL, content, ALICE, chain), NOW).sender == ALICE.principal
    assert verify_envelope(_signed(ALICE, content, ALICE, []), NOW).sender == ALICE.principal
    for signer, links in ((BOB, chain), (ALICE, chain), (CAROL, chain[:1]), (CAROL, [])):
        with pytest.raises(SignatureInvalid, match="signature"):
            verify_envelope(_signed(signer, content, ALICE, links), NOW)
    others: list[Any] = [{}, b"", 5, "text"]
    for other in others:
        with pytest.raises(FormatError, match="list"):
            verify_envelope(_signed(ALICE, content, ALICE, other), NOW)


def test_delegations_to_targets() -> None:
    chain = [delegate(ALICE, BOB.public_key_der, targets=[CANISTER.raw])]
    assert verify_envelope(_signed(BOB, _call(), ALICE, chain), NOW).targets == frozenset({CANISTER.raw})
    with pytest.raises(SignatureInvalid, match="targets"):
        verify_envelope(_signed(BOB, _call(canister_id=b"\x01"), ALICE, chain), NOW)
    read_state = read_state_content(ALICE.principal, [[b"time"]], EXPIRY)
    assert verify_envelope(_signed(BOB, read_state, ALICE, chain), NOW).targets == frozenset({CANISTER.raw})


def test_delegations_for_queries_only() -> None:
    chain = [delegate(ALICE, BOB.public_key_der, permissions="queries")]
    query = query_content(ALICE.principal, CANISTER, "m", b"", EXPIRY)
    read_state = read_state_content(ALICE.principal, [[b"time"]], EXPIRY)
    for content in (query, read_state):
        assert verify_envelope(_signed(BOB, content, ALICE, chain), NOW).sender == ALICE.principal
    with pytest.raises(SignatureInvalid, match="queries"):
        verify_envelope(_signed(BOB, _call(), ALICE, chain), NOW)
    everything = [delegate(ALICE, BOB.public_key_der, permissions="all")]
    assert verify_envelope(_signed(BOB, _call(), ALICE, everything), NOW).sender == ALICE.principal


def test_unknown_fields_are_no_part_of_the_request_id() -> None:
    """As the replica reads a request (dfinity/ic, rs/types/types/src/messages/http.rs)."""
    known = sign_request(ALICE, _call())
    content = _call(something_new=[{"a": 1}, 1.5])
    body = cbor.dumps_tagged({**cbor.loads(known.body), "content": content})
    verified = verify_envelope(body, NOW)
    assert verified.content == content
    assert verified.request_id == known.request_id == request_id(_call())
    with pytest.raises(SignatureInvalid):
        verify_envelope(sign_request(ALICE, _call(something_new=1)).body, NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"request_type": "status"},
        {"request_type": None},
        {"request_type": []},
        {"sender": None},
        {"sender": "2vxsx-fae"},
        {"sender": bytes(30)},
        {"ingress_expiry": None},
        {"ingress_expiry": -1},
        {"ingress_expiry": 2**64},
        {"ingress_expiry": 1.5},
        {"ingress_expiry": True},
        {"nonce": bytes(33)},
        {"nonce": "text"},
        {"canister_id": None},
        {"canister_id": "text"},
        {"canister_id": bytes(30)},
        {"method_name": None},
        {"method_name": b"bytes"},
        {"arg": None},
        {"arg": [1, 2]},
    ],
)
def test_fields_of_other_types(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        verify_envelope(_envelope(_call(**fields), sender_pubkey=ALICE.public_key_der, sender_sig=bytes(64)), NOW)


@pytest.mark.parametrize(
    "paths", [None, {}, b"", [b"time"], [["time"]], [[]] * (MAX_PATHS + 1), [[b""] * (MAX_LABELS + 1)]]
)
def test_paths_of_other_types(paths: Any) -> None:
    content = {**read_state_content(ALICE.principal, [], EXPIRY), "paths": paths}
    with pytest.raises(FormatError, match="path"):
        verify_envelope(_envelope(content), NOW)


@pytest.mark.parametrize("envelope", [None, 1, [], {}, {"content": None}, {"content": []}, {"content": {}}])
def test_other_envelopes(envelope: Any) -> None:
    with pytest.raises(FormatError):
        verify_envelope(cbor.dumps_tagged(envelope), NOW)


@pytest.mark.parametrize("paths", [[[b"time"]] * MAX_PATHS, [[b""] * MAX_LABELS], [[]], []])
def test_as_many_paths_and_labels_as_replicas_take(paths: Any) -> None:
    content = {**read_state_content(ANONYMOUS, [], EXPIRY), "paths": paths}
    verify_envelope(cbor.dumps_tagged({"content": content}), NOW)
