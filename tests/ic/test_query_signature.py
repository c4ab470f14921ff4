"""Node signatures on query answers."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from nacl.signing import SigningKey

from icwsgw.errors import SignatureInvalid
from icwsgw.ic.network_limits import MAX_AGE_NS, MAX_FUTURE_NS
from icwsgw.ic.query_signature import (
    UnknownNode,
    signed_message,
    verify_query_response,
)

NOW = 1_700_000_000_000_000_000
REQUEST_ID = sha256(b"a query").digest()
DER_PREFIX = bytes.fromhex("302a300506032b6570032100")
NODES = [SigningKey(bytes([number]) * 32) for number in range(1, 4)]
KEYS = {b"node %d" % number: DER_PREFIX + bytes(node.verify_key) for number, node in enumerate(NODES)}

REPLIED: dict[str, Any] = {"status": "replied", "reply": {"arg": b"DIDL\0\0"}}
REJECTED: dict[str, Any] = {"status": "rejected", "reject_code": 5, "reject_message": "trapped"}
CODED: dict[str, Any] = {**REJECTED, "error_code": "IC0503"}
ANSWERS = pytest.mark.parametrize("answer", [REPLIED, REJECTED, CODED], ids=["replied", "rejected", "with error code"])


def signed_by(number: int, answer: dict[str, Any], timestamp: int = NOW) -> dict[str, Any]:
    signature = NODES[number].sign(signed_message(answer, REQUEST_ID, timestamp)).signature
    return {"timestamp": timestamp, "signature": signature, "identity": b"node %d" % number}


def signed(answer: dict[str, Any], *signatures: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "signatures": list(signatures or [signed_by(0, answer)])}


def verify(answer: Any, request_id: bytes = REQUEST_ID, now_ns: int | None = NOW) -> None:
    verify_query_response(answer, request_id, KEYS, now_ns=now_ns)


def field(name: str, value: bytes) -> bytes:
    return sha256(name.encode()).digest() + sha256(value).digest()


def test_what_a_node_signs() -> None:
    """The hash of the map, put together by hand from the spec's rules."""
    arg = sha256(field("arg", b"DIDL\0\0")).digest()
    fields = [
        field("status", b"replied"),
        sha256(b"reply").digest() + arg,
        field("timestamp", b"\xac\x02"),
        field("request_id", REQUEST_ID),
    ]
    assert signed_message(REPLIED, REQUEST_ID, 300) == b"\x0bic-response" + sha256(b"".join(sorted(fields))).digest()
    fields = [
        field("status", b"rejected"),
        field("reject_code", b"\x05"),
        field("reject_message", b"trapped"),
        field("timestamp", b"\xac\x02"),
        field("request_id", REQUEST_ID),
    ]
    assert signed_message(REJECTED, REQUEST_ID, 300) == b"\x0bic-response" + sha256(b"".join(sorted(fields))).digest()
    fields.append(field("error_code", b"IC0503"))
    assert signed_message(CODED, REQUEST_ID, 300) == b"\x0bic-response" + sha256(b"".join(sorted(fields))).digest()


@ANSWERS
def test_agrees_with_another_implementation(answer: dict[str, Any]) -> None:
    other = pytest.importorskip("icp_agent.agent")
    theirs = other.build_query_response_signable(
        answer["status"], REQUEST_ID, NOW, reply=answer.get("reply"), reject=answer
    )
    assert theirs.endswith(signed_message(answer, REQUEST_ID, NOW)[-32:])


@ANSWERS
def test_signed_answers(answer: dict[str, Any]) -> None:
    verify(signed(answer))
    verify(signed(answer, *(signed_by(number, answer) for number in range(3))))


def test_a_null_error_code_is_none() -> None:
    verify({**signed(REJECTED), "error_code": None})


@pytest.mark.parametrize(
    ("answer", "change"),
    [
        (REPLIED, {"reply": {"arg": b"DIDL\0\1"}}),
        (REPLIED, {**REJECTED}),
        (REJECTED, {"reject_code": 4}),
        (REJECTED, {"reject_message": "no"}),
        (REJECTED, {"error_code": "IC0503"}),
        (CODED, {"error_code": None}),
        (CODED, {"error_code": "IC0504"}),
    ],
)
def test_changed_answers(answer: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify({**signed(answer), **change})


def test_the_answer_to_another_query() -> None:
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(signed(REPLIED), request_id=bytes(32))


def test_every_signature_counts() -> None:
    good = signed_by(0, REPLIED)
    for wrong in (
        {**signed_by(1, REPLIED), "identity": b"node 2"},
        {**signed_by(1, REPLIED), "timestamp": NOW + 1},
        {**signed_by(1, REPLIED), "signature": bytes(64)},
        {**signed_by(1, REPLIED), "signature": b""},
        {**signed_by(1, REPLIED), "signature": good["signature"] + b"\0"},
    ):
        with pytest.raises(SignatureInvalid, match="does not verify"):
            verify(signed(REPLIED, good, wrong))


def test_no_flipped_bit_of_a_signature_verifies() -> None:
    entry = signed_by(0, REPLIED)
    for bit in range(512):
        flipped = bytearray(entry["signature"])
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            verify(signed(REPLIED, {**entry, "signature": bytes(flipped)}))


def test_an_unknown_node() -> None:
    with pytest.raises(UnknownNode, match="6e6f646520"):
        verify(signed(REPLIED, {**signed_by(0, REPLIED), "identity": b"node 9"}))


@pytest.mark.parametrize("signatures", [None, [], (), {}, "text"])
def test_unsigned_answers(signatures: Any) -> None:
    with pytest.raises(SignatureInvalid, match="not signed"):
        verify({**REPLIED, "signatures": signatures})
    with pytest.raises(SignatureInvalid, match="not signed"):
        verify(REPLIED)


def test_more_signatures_than_nodes() -> None:
    with pytest.raises(SignatureInvalid, match="more signatures"):
        verify(signed(REPLIED, *[signed_by(0, REPLIED)] * 4))


@pytest.mark.parametrize(
    "change",
    [{"timestamp": None}, {"timestamp": True}, {"timestamp": "1"}, {"signature": "s"}, {"identity": None}],
    ids=repr,
)
def test_malformed_signatures(change: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid, match="malformed"):
        verify(signed(REPLIED, {**signed_by(0, REPLIED), **change}))
    with pytest.raises(SignatureInvalid, match="malformed"):
        verify(signed(REPLIED, b"entry"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "done"},
        {"status": 7},
        {"status": "replied"},
        {"status": "replied", "reply": None},
        {"status": "replied", "reply": {}},
        {"status": "replied", "reply": {"arg": 1.5}},
        {"status": "rejected"},
        {"status": "rejected", "reject_code": 1},
        {"status": "rejected", "reject_code": None, "reject_message": ""},
    ],
    ids=repr,
)
def test_malformed_answers(answer: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verify({**answer, "signatures": [signed_by(0, REPLIED)]})


def test_time() -> None:
    for timestamp in (NOW - MAX_AGE_NS, NOW + MAX_FUTURE_NS):
        verify(signed(REPLIED, signed_by(0, REPLIED, timestamp)))
    old = signed(REPLIED, signed_by(0, REPLIED, NOW - MAX_AGE_NS - 1))
    with pytest.raises(SignatureInvalid, match="300 s old"):
        verify(old)
    verify(old, now_ns=None)
    with pytest.raises(SignatureInvalid, match="300 s ahead"):
        verify(signed(REPLIED, signed_by(0, REPLIED, NOW + MAX_FUTURE_NS + 1)))


@pytest.mark.parametrize("timestamp", [-1, 2**64])
def test_times_out_of_range(timestamp: int) -> None:
    entry = {"timestamp": timestamp, "signature": bytes(64), "identity": b"node 0"}
    with pytest.raises(SignatureInvalid):
        verify(signed(REPLIED, entry), now_ns=None)


@pytest.mark.parametrize("key", [b"", bytes(44), KEYS[b"node 0"][:-1], KEYS[b"node 0"] + b"\0", KEYS[b"node 0"][12:]])
def test_keys_that_are_not_ed25519(key: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="not Ed25519"):
        verify_query_response(signed(REPLIED), REQUEST_ID, {b"node 0": key}, now_ns=NOW)
