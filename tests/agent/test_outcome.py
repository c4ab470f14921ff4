"""Answers to calls, read without trusting them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.outcome import (
    ACCEPTED,
    UNDER_WAY,
    CallOutcome,
    OutcomeKind,
    call_outcome,
    certified_outcome,
    decoded,
    http_error,
    query_reply,
    reject_of,
    retry_after,
)
from icwsgw.errors import AnswerMalformed, CertificateInvalid, IcwsError, Rejected
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.certificate import Certificate, build_certificate

ID = b"\x01" * 32
NOW = 1_790_000_000.0


def answer(fields: dict[bytes, bytes] | None, pruned: bool = True) -> bytes:
    """The answer of a synchronous call with a certificate that nobody signed."""
    state: dict[bytes, Any] = {
        b"canister": {b"\x01": {b"certified_data": b"x"}},
        b"request_status": {bytes([n]) * 32: {b"status": b"replied", b"reply": b"other"} for n in (0, 2)},
        b"time": b"\x01",
    }
    if fields is not None:
        state[b"request_status"][ID] = fields
    tree = hashtree.from_mapping(state)
    paths = [(b"time",), (b"request_status", ID)]
    if pruned:
        tree = hashtree.witness(tree, paths)
    return cbor.dumps_tagged({"status": "replied", "certificate": build_certificate(tree, lambda _: b"s" * 48)})


def in_answer(tree: Any) -> bytes:
    """The answer of a synchronous call with any value in place of the certificate's tree."""
    certificate = cbor.dumps({"tree": tree, "signature": b""})
    return cbor.dumps({"status": "replied", "certificate": certificate})


def with_leaves(status: Any, **fields: Any) -> bytes:
    """As :func:`answer`, where leaves may hold what no replica writes. A status in text stands for its bytes."""
    request: Any = [2, b"status", [3, status.encode() if fields and isinstance(status, str) else status]]
    for name, value in fields.items():
        request = [1, [2, name.encode(), [3, value]], request]
    return in_answer([2, b"request_status", [2, ID, request]])


def test_replied() -> None:
    outcome = call_outcome(answer({b"status": b"replied", b"reply": b"DIDL\0\0"}))
    assert (outcome.kind, outcome.reply, outcome.reject) == (OutcomeKind.REPLIED, b"DIDL\0\0", None)


@pytest.mark.parametrize("unknown", [b"\xc1\x01", b"\xa1\x01\x02", b"\x81" * 40 + b"\x80", cbor.dumps([0] * 70_000)])
def test_unknown_fields_do_not_hide_the_outcome(unknown) -> None:
    """In the answer, and in the certificate within it."""
    plain = answer({b"status": b"replied", b"reply": b"DIDL\0\0"})
    certificate = cbor.loads(plain)["certificate"].removeprefix(cbor.SELF_DESCRIBE)
    inner = bytes((certificate[0] + 1,)) + certificate[1:] + b"\x63new" + unknown
    body = b"\xa3\x63new" + unknown + b"\x66status\x67replied\x6bcertificate" + cbor.dumps(inner)
    outcome = call_outcome(body)
    assert (outcome.kind, outcome.reply) == (OutcomeKind.REPLIED, b"DIDL\0\0")
    assert decoded(b"\xa2\x68root_key\x41k\x01" + unknown)["root_key"] == b"k"


def test_certified_reject() -> None:
    outcome = call_outcome(
        answer({b"status": b"rejected", b"reject_code": b"\x04", b"reject_message": b"no", b"error_code": b"IC0406"})
    )
    assert (outcome.kind, outcome.certified) == (OutcomeKind.REJECTED, True)
    assert (outcome.reject.code, outcome.reject.message, outcome.reject.error_code) == (4, "no", "IC0406")


@pytest.mark.parametrize("fields", [{b"status": b"processing"}, {b"status": b"received"}, {b"status": b"unheard-of"}])
def test_not_at_its_end(fields) -> None:
    outcome = call_outcome(answer(fields))
    assert outcome is UNDER_WAY
    assert outcome.answer.accepted
    assert not outcome.answer.end


def test_executed_and_forgotten() -> None:
    outcome = call_outcome(answer({b"status": b"done"}))
    assert (outcome.kind, outcome.reply, outcome.answer.executed) == (OutcomeKind.DONE, None, True)


def test_a_certificate_that_does_not_know_the_request() -> None:
    assert call_outcome(answer(None)) is UNDER_WAY


def test_refused_before_execution() -> None:
    body = cbor.dumps_tagged(
        {"status": "non_replicated_rejection", "reject_code": 3, "reject_message": "gone", "error_code": "IC0301"}
    )
    assert (call_outcome(body).reject.code, call_outcome(body).certified) == (3, False)
    body = cbor.dumps({"reject_code": 5, "reject_message": "trap"})
    assert call_outcome(body).reject.error_code is None


def test_empty_says_nothing_of_the_end() -> None:
    assert call_outcome(b"") is UNDER_WAY


@pytest.mark.parametrize(
    ("body", "transient"),
    [({"reject_code": 2, "reject_message": "busy"}, True), ({"reject_code": 3, "reject_message": "gone"}, False)],
)
def test_a_reject_before_execution_ends_nothing(body, transient) -> None:
    answer = call_outcome(cbor.dumps(body)).answer
    assert (answer.end, answer.executed, answer.transient) == (False, False, transient)


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"<html>",
        cbor.dumps([]),
        cbor.dumps({"status": "replied"}),
        cbor.dumps({"status": "replied", "certificate": b"\xff"}),
        cbor.dumps({"status": "replied", "certificate": cbor.dumps([1])}),
        cbor.dumps({"status": "replied", "certificate": cbor.dumps({"tree": [1, 2]})}),
        cbor.dumps({"status": "replied", "certificate": cbor.dumps({"tree": [2, b"request_status", [2, b"i", 7]]})}),
        cbor.dumps({"reject_code": "4", "reject_message": "x"}),
        cbor.dumps({"reject_code": 4, "reject_message": b"x"}),
        answer({b"status": b"replied"}),
        answer({b"status": b"rejected", b"reject_code": b"\x04"}),
        *(with_leaves(status="replied", reply=value) for value in (1 << 63, 10**12, 3 * 10**9, 1, -1, "text", [1, 2])),
        with_leaves(status="replied", reply={}),
        *(with_leaves(status="rejected", reject_code=value, reject_message=b"no") for value in ("4", 4, [999], [4])),
        *(with_leaves(status="rejected", reject_code=b"\4", reject_message=value) for value in ("no", 4, [b"no"])),
        *(
            with_leaves(status="rejected", reject_code=b"\4", reject_message=b"no", error_code=value)
            for value in ("IC0503", 5, [b"IC0503"])
        ),
        *(with_leaves(status=value) for value in ("replied", 4, [b"replied"], True)),
    ],
)
def test_malformed(body) -> None:
    with pytest.raises(AnswerMalformed):
        call_outcome(body)


NODES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.binary(max_size=8), st.text(max_size=8)),
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.text(max_size=4), below, max_size=2),
        st.tuples(st.just(1), below, below).map(list),
        st.tuples(st.just(2), st.sampled_from([b"request_status", b"status", b"reply"]), below).map(list),
        st.tuples(st.just(3), below).map(list),
    ),
    max_leaves=12,
)


@given(NODES, st.sampled_from(["tree", "request", "field"]))
def test_a_tree_of_any_kind_is_an_outcome_or_malformed(node, place) -> None:
    if place == "field":
        body = with_leaves(status="replied", reply=node)
    else:
        tree = node if place == "tree" else [2, b"request_status", [2, ID, node]]
        body = in_answer(tree)
    try:
        outcome = call_outcome(body)
    except AnswerMalformed:
        return
    assert isinstance(outcome, CallOutcome)
    assert outcome.reply is None or type(outcome.reply) is bytes


@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 60))
def test_damaged(noise, position, cut) -> None:
    """A damaged answer is an outcome or one of our errors, nothing else."""
    good = answer({b"status": b"replied", b"reply": b"DIDL\0\0"})
    try:
        outcome = call_outcome(good[:position] + noise + good[position + cut :])
    except IcwsError:
        return
    assert isinstance(outcome, CallOutcome)


def test_http_error() -> None:
    error = http_error(
        ParsedResponse(
            503, {b"x-ic-error-cause": b"no_healthy_nodes", b"retry-after": b"7"}, b"try\nlater\x00 " + b"x" * 500
        ),
        NOW,
    )
    assert (error.status, error.retry_after, error.retryable) == (503, 7.0, True)
    assert error.detail.startswith("no_healthy_nodes: try later x")
    assert len(error.detail) == 200
    assert http_error(ParsedResponse(400, {b"content-type": b"text/html"}, b"<p>"), NOW).detail == ""


def test_an_http_error_is_found_again_by_the_edge_s_id() -> None:
    error = http_error(ParsedResponse(500, {b"x-request-id": b"0199\r\n-" + b"a" * 100}, b"no"), NOW)
    assert error.edge_id == "0199-" + "a" * 59
    # in the log, but not in the reason that clients get
    assert str(error) == f"HTTP 500: no (x-request-id {error.edge_id})"
    assert error.detail == "no"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"120", 120.0),
        (b"0", 0.0),
        (b"99999", 3600.0),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        (b"\xff", None),
        (b"Mon, 21 Sep 2026 14:13:30 GMT", 10.0),
        (b"Mon, 21 Sep 2020 14:13:30 GMT", 0.0),
        (b"Mon Sep 21 14:13:30 2026", 10.0),
    ],
)
def test_retry_after(value, seconds) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({b"status": b"replied", b"reply": b"DIDL"}, (OutcomeKind.REPLIED, b"DIDL", None)),
        ({b"status": b"done"}, (OutcomeKind.DONE, None, None)),
        ({b"status": b"processing"}, (OutcomeKind.UNDER_WAY, None, None)),
        (
            {b"status": b"rejected", b"reject_code": b"\x05", b"reject_message": b"m" * 9000, b"error_code": b"IC0503"},
            (OutcomeKind.REJECTED, None, Rejected(5, "m" * 8192, "IC0503")),
        ),
    ],
)
def test_the_outcome_in_a_verified_certificate(fields, expected) -> None:
    tree = hashtree.from_mapping({b"request_status": {ID: fields}})
    outcome = certified_outcome(Certificate(tree, b"s" * 48, None), ID)
    assert (outcome.kind, outcome.reply) == expected[:2]
    assert str(outcome.reject) == str(expected[2])
    assert outcome.certified is (expected[2] is not None)


@pytest.mark.parametrize("requests", [{b"\x02" * 32: {b"status": b"done"}}, {ID: {b"status": b"replied"}}])
def test_a_certificate_that_shows_no_outcome_of_the_request(requests) -> None:
    tree = hashtree.from_mapping({b"request_status": requests})
    with pytest.raises(CertificateInvalid):
        certified_outcome(Certificate(tree, b"s" * 48, None), ID)


def test_a_web_page_is_called_so() -> None:
    with pytest.raises(AnswerMalformed, match="a web page"):
        decoded(b"\n<!doctype html><title>Sign in</title>")


def test_decoded_and_reject_of() -> None:
    assert decoded(cbor.dumps_tagged({"a": 1})) == {"a": 1}
    with pytest.raises(AnswerMalformed):
        reject_of({"reject_message": "x"})
    without_words = reject_of({"reject_code": 3})
    assert (without_words.code, without_words.message, without_words.error_code) == (3, "", None)


@pytest.mark.parametrize("certified", [False, True])
def test_a_long_reject_is_cut(certified) -> None:
    """As replicas cut the messages of canisters; a boundary node could send 3 MB, which reports would keep."""
    message, code = "Canister trapped: " + "é" * 2_000_000, "IC0503" + "x" * 1_000_000
    if certified:
        fields = {b"reject_code": b"\x05", b"reject_message": message.encode(), b"error_code": code.encode()}
        reject = call_outcome(answer({b"status": b"rejected", **fields})).reject
    else:
        reject = reject_of({"reject_code": 5, "reject_message": message, "error_code": code})
    assert (reject.code, reject.message, reject.error_code) == (5, message[:8192], code[:64])
    assert len(str(reject)) < 8300


def test_repr() -> None:
    assert "accepted" in repr(ACCEPTED)
    assert "IC0503" in repr(call_outcome(cbor.dumps({"reject_code": 5, "reject_message": "t", "error_code": "IC0503"})))


def test_the_networks_word_for_the_cause_is_read_from_header_and_body() -> None:
    def error(status, body, **headers):
        return http_error(
            ParsedResponse(status, {name.encode(): value.encode() for name, value in headers.items()}, body), 0.0
        )

    body = b"error: forbidden\ndetails: Request is forbidden according to currently active policy, it might work later."
    forbidden = error(403, body)
    assert (forbidden.error_cause, forbidden.forbidden, forbidden.retryable) == ("forbidden", True, True)
    assert forbidden.detail.startswith("error: forbidden details: Request is forbidden")
    wrong = error(403, b"Failed to authenticate request due to: Invalid signature")
    assert (wrong.error_cause, wrong.forbidden, wrong.retryable) == ("", False, False)
    assert error(503, b"down", **{"x-ic-error-cause": "none"}).detail == "down"
    assert error(503, b"down", **{"x-ic-error-cause": "replica_error"}).detail == "replica_error: down"
    # ic-gateway's own, which is no text/plain
    json = b'{\n  "error_type": "subnet_updating",\n  "description": "It upgrades.",\n  "details": null\n}'
    updating = error(503, json, **{"content-type": "application/json"})
    assert (updating.error_cause, updating.detail) == ("subnet_updating", "subnet_updating: It upgrades.")


def test_the_reply_of_a_query() -> None:
    assert query_reply({"status": "replied", "reply": {"arg": b"DIDL\0\0"}}) == b"DIDL\0\0"
    with pytest.raises(Rejected) as caught:
        query_reply({"status": "rejected", "reject_code": 3, "reject_message": "no such method"})
    assert (caught.value.code, caught.value.message) == (3, "no such method")


@pytest.mark.parametrize(
    "answer",
    [{}, {"status": "replied"}, {"status": "replied", "reply": {"arg": "text"}}, {"status": "rejected"}, {"status": 7}],
)
def test_a_query_answer_without_either_is_malformed(answer: dict[str, Any]) -> None:
    with pytest.raises(AnswerMalformed):
        query_reply(answer)
