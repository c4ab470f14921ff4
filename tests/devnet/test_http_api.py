"""The IC's interface: what is answered, and what is refused before anything happens."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.http_api import MAX_BODY
from icwsgw.devnet.topology import DELEGATIONS
from icwsgw.errors import Rejected, SignatureInvalid
from icwsgw.ic import cbor, envelope, ws
from icwsgw.ic.certificate import node_keys
from icwsgw.ic.hashtree import ABSENT
from icwsgw.ic.principal import Principal
from icwsgw.ic.query_signature import verify_query_response
from tests.support.devnet import GATEWAY, Net, identity, pending, result_of

ALICE = identity(1)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)
POLL = ws.encode_get_messages(0)
CALL = f"/api/v4/canister/{ECHO_ID}/call"


def answered(net: Net, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    status, headers, raw = result_of(net.handle(method, path, body))
    if headers["Content-Type"] == "application/cbor":
        return status, headers, cbor.loads(raw) if raw else None
    return status, headers, raw.decode()


def test_the_status_names_the_root_key() -> None:
    net = Net()
    status, _, fields = answered(net, "GET", "/api/v2/status")
    assert (status, fields["replica_health_status"]) == (200, "healthy")
    assert fields["root_key"] == net.replica.root_key_der
    assert len(bytes.fromhex(fields["impl_hash"])) == 32
    assert type(fields["certified_height"]) is int
    net = Net(pace=BlockTiming(1.0))
    net.advance(10, 1.0)
    assert answered(net, "GET", "/api/v2/status")[2]["certified_height"] == 10


@pytest.mark.parametrize("delegation", DELEGATIONS)
def test_a_session_under_every_delegation(delegation: str) -> None:
    net = Net(delegation=delegation)
    net.open(ALICE)
    net.send_message(ALICE, 1, b"x")
    assert net.received(1) == [b"x"]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_query_answers_are_signed_by_the_node(version: str) -> None:
    net = Net()
    keys = node_keys(net.read_state(None, [(b"subnet",)]), net.replica.state_of(ECHO_ID).subnet.id)
    for method in ("ws_get_messages", "absent"):
        content = envelope.query_content(GATEWAY.principal, ECHO_ID, method, POLL, net.now_ns() + 10**11)
        request = net.signed(GATEWAY, content)
        _, _, fields = answered(net, "POST", f"/api/{version}/canister/{ECHO_ID}/query", request.body)
        verify_query_response(fields, request.request_id, keys, now_ns=net.now_ns())
        with pytest.raises(SignatureInvalid):
            verify_query_response(fields, b"x" * 32, keys, now_ns=net.now_ns())


def test_an_id_that_no_canister_has_is_refused_by_its_subnet() -> None:
    net = Net()
    absent = Principal((12345).to_bytes(8, "big") + b"\1\1")
    for ask in (net.query, net.call):
        with pytest.raises(Rejected) as raised:
            ask(ALICE, "ws_get_messages", POLL, absent)
        reject = raised.value
        assert (reject.code, reject.error_code) == (3, "IC0301")
        assert reject.message == f"Canister {absent} not found"
    certificate = net.read_state(None, [(b"canister", absent.raw, b"module_hash")], absent)
    assert certificate.lookup([b"canister", absent.raw, b"module_hash"]) is ABSENT


def test_an_id_outside_all_ranges_is_refused_by_the_boundary() -> None:
    net = Net(echo_any=True)
    nobodys = Principal(b"\xff" * 8 + b"\1\1")
    status, headers, text = answered(net, "POST", f"/api/v2/canister/{nobodys}/query", b"")
    assert (status, text.split("\n")[0]) == (400, "error: canister_not_found")
    assert "not on this network" in text
    assert "x-ic-error-cause" not in headers


def test_headers_are_those_of_the_edge() -> None:
    net = Net()
    ids = []
    for _ in range(100):
        headers = answered(net, "GET", "/api/v2/status")[1]
        assert set(headers) == {"Content-Type", "x-request-id"}
        ids.append(uuid.UUID(headers["x-request-id"]))
    assert len(set(ids)) == 100
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    bare = Net(delegation="none")
    path = f"/api/v2/canister/{ALICE.principal}/query"
    assert answered(bare, "POST", path)[1]["x-ic-error-cause"] == "canister_not_found"
    assert set(answered(bare, "GET", "/api/v2/status")[1]) == {"Content-Type"}
    assert "x-request-id" in answered(Net(delegation="none", edge_headers=True), "GET", "/api/v2/status")[1]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/cbor; charset=utf-8", "application/json"])
def test_bodies_say_that_they_are_cbor(kind: str) -> None:
    net = Net()
    body = net.call_request(ALICE, "ws_open", OPEN).body
    status, _, text = result_of(net.replica.handle("POST", CALL, body, kind))
    assert (status, text) == (400, b"Unexpected content-type, expected application/cbor.")
    assert result_of(net.replica.handle("POST", CALL, body, "Application/CBOR"))[0] == 200


def test_where_it_is_asked_for_any_canister_id_is_an_echo_canister() -> None:
    net = Net(echo_any=True)
    other = Principal((12345).to_bytes(8, "big") + b"\1\1")
    net.open(ALICE, canister=other)
    net.send_message(ALICE, 1, b"x", canister=other)
    assert net.received(1, canister=other) == [b"x"]
    assert net.poll().messages == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v2/other", 404),
        ("POST", "/api/v2/status", 405),
        ("GET", CALL, 405),
        ("POST", f"/api/v1/canister/{ECHO_ID}/call", 404),
        ("POST", f"/api/v4/canister/{ECHO_ID}/query", 404),
        ("POST", f"/api/v2/canister/{ECHO_ID}/other", 404),
        ("POST", f"/api/v3/subnet/{ECHO_ID}/call", 404),
        ("POST", "/api/v4/canister/nonsense/call", 400),
        ("POST", "/api/v4/canister/aaaaa-aa/call", 400),
        ("POST", f"/api/v4/canister/{ALICE.principal}/call", 400),
        ("POST", CALL, 400),
    ],
)
def test_what_is_no_endpoint(method: str, path: str, status: int) -> None:
    assert answered(Net(), method, path)[0] == status


def test_an_older_replica_lacks_the_newest_versions() -> None:
    net = Net(legacy_api=True)
    for path in (CALL, f"/api/v3/canister/{ECHO_ID}/query", f"/api/v3/canister/{ECHO_ID}/read_state"):
        assert answered(net, "POST", path)[0] == 404
    assert net.call(ALICE, "ws_open", OPEN, version="v3") == ws.encode_result_ok()
    assert result_of(net.ask(GATEWAY, "ws_get_messages", POLL, version="v2"))[0] == 200


def test_a_later_network_lacks_the_oldest_versions() -> None:
    net = Net(v2_gone=True)
    for path in (f"/api/v2/canister/{ECHO_ID}/query", f"/api/v2/canister/{ECHO_ID}/read_state"):
        assert answered(net, "POST", path)[0] == 404
    assert net.call(ALICE, "ws_open", OPEN, version="v3") == ws.encode_result_ok()
    assert result_of(net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2"))[0] == 202
    assert result_of(net.ask(GATEWAY, "ws_get_messages", POLL, version="v3"))[0] == 200


def content(net: Net, **changes: Any) -> dict[str, Any]:
    made = envelope.call_content(ALICE.principal, ECHO_ID, "ws_open", OPEN, net.now_ns() + 10**11)
    return {**made, **changes}


def test_envelopes_are_checked() -> None:
    net = Net()
    good = net.signed(ALICE, content(net)).body
    tampered = bytearray(good)
    tampered[-1] ^= 1
    wrong = {
        "signature": bytes(tampered),
        "cbor": good[:-1],
        "expired": net.signed(ALICE, content(net, ingress_expiry=net.now_ns())).body,
        "too far ahead": net.signed(ALICE, content(net, ingress_expiry=net.now_ns() + 331 * 10**9)).body,
        "another sender": net.signed(identity(2), content(net)).body,
        "another canister": net.signed(ALICE, content(net, canister_id=CHAT_ID.raw)).body,
        "a query": net.signed(ALICE, content(net, request_type="query")).body,
    }
    for what, body in wrong.items():
        status, headers, _ = answered(net, "POST", CALL, body)
        assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8"), what
    assert net.replica.stats["http:400"] == len(wrong)
    assert net.replica.stats["invalid_envelopes"] == 4
    assert answered(net, "POST", CALL, good)[0] == 200


def test_a_body_has_a_limit() -> None:
    assert answered(Net(), "POST", CALL, bytes(MAX_BODY + 1))[0] == 413


def test_a_call_to_a_stopped_canister_is_rejected_before_it_is_accepted() -> None:
    net = Net()
    net.replica.stop(ECHO_ID)
    for version in ("v2", "v3", "v4"):
        request = net.call_request(ALICE, "ws_open", OPEN)
        fields = cbor.loads(result_of(net.submit(request, version=version))[2])
        status = {} if version == "v2" else {"status": "non_replicated_rejection"}
        assert fields == {
            **status,
            "reject_code": 5,
            "reject_message": f"Canister {ECHO_ID} is stopped",
            "error_code": "IC0508",
        }


def test_a_known_call_is_looked_at_like_a_new_one() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_open", OPEN)
    assert net.outcome(result_of(net.submit(request)), request) == ws.encode_result_ok()
    net.replica.stop(ECHO_ID)
    fields = cbor.loads(result_of(net.submit(request))[2])
    assert (fields["status"], fields["error_code"]) == ("non_replicated_rejection", "IC0508")
    net.replica.start(ECHO_ID)
    assert net.outcome(result_of(net.submit(request)), request) == ws.encode_result_ok()
    net.advance(241)
    assert result_of(net.submit(request))[0] == 400


def test_a_query_takes_its_time_half_before_and_half_after_it_reads() -> None:
    net = Net(query_latency=0.2)
    early = net.ask(GATEWAY, "ws_get_messages", POLL)
    net.advance(0.1)
    net.open(ALICE)
    late = net.ask(GATEWAY, "ws_get_messages", POLL)
    assert pending(early)
    net.advance(0.1)
    assert ws.parse_get_messages(cbor.loads(result_of(early)[2])["reply"]["arg"]).messages == []
    net.advance(0.1)
    assert len(ws.parse_get_messages(cbor.loads(result_of(late)[2])["reply"]["arg"]).messages) == 1


def test_what_was_asked_is_counted() -> None:
    net = Net()
    net.open(ALICE)
    net.poll()
    net.read_state(None, [(b"time",)])
    net.handle("GET", "/api/v2/status")
    stats = net.replica.stats
    names = ("call", "ws_open", "query", "ws_get_messages", "read_state", "status", "messages_out")
    assert [stats[name] for name in names] == [1] * len(names)
