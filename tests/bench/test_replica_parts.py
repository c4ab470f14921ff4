"""The mock replica's certificates hold, and its queues answer as the CDK does."""

from __future__ import annotations

import time
from hashlib import sha256
from itertools import pairwise

import pytest

from bench.certs import Authority
from bench.http import BadRequest, Head, parse_head
from bench.queues import EMPTY, Canister, Queue, Refused, Settings
from bench.target import canister_id
from icwsgw.ic import hashtree, ws
from icwsgw.ic.certificate import decode_certificate, request_status, verify_batch, verify_certificate
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

CANISTER = canister_id(7)
GATEWAY = Ed25519Identity(bytes(32)).principal.raw
CLIENTS = [Ed25519Identity(bytes([number]) * 32).principal.raw for number in range(1, 4)]
AUTHORITY = Authority(b"tests")


def canister(**settings: object) -> Canister:
    return Canister(CANISTER.raw, Settings(**settings), AUTHORITY, lambda _event: None)  # type: ignore[arg-type]


def message(client: bytes, sequence: int, content: bytes = b"x", service: bool = False) -> ws.MessageArgs:
    return ws.MessageArgs(client, 1, sequence, 0, service, content)


def page(queue: Queue, nonce: int) -> ws.Batch:
    return ws.parse_get_messages(queue.page(nonce)[0])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_calls_share_a_signature_and_each_has_its_certificate(count: int) -> None:
    requests = [(sha256(bytes([number])).digest(), b"reply %d" % number) for number in range(count)]
    requests[0] = (requests[0][0], ws.encode_result_ok())
    before = AUTHORITY.signatures
    now = time.time_ns()
    certificates = AUTHORITY.calls(requests, now)
    assert AUTHORITY.signatures == before + 1
    for identifier, reply in requests:
        certificate = verify_certificate(
            certificates[identifier], root_key_der=AUTHORITY.root_key_der, canister_id=CANISTER, now_ns=now
        )
        assert request_status(certificate, identifier).reply == reply
        assert certificate.time_ns == now


def test_a_state_without_calls_proves_that_there_are_none() -> None:
    certificate = decode_certificate(AUTHORITY.unknown(5))
    assert request_status(certificate, bytes(32)).status == "unknown"


def test_real_batches_hold() -> None:
    here = canister(real=True, max_messages=4)
    for client in CLIENTS:
        here.open(client, 1, GATEWAY)
    for sequence in range(1, 4):
        for client in CLIENTS:
            here.message(client, message(client, sequence, b"hello"))
    queue = here.queues[GATEWAY]
    seen = 0
    while True:
        batch = page(queue, seen)
        verify_batch(
            batch.cert,
            batch.tree,
            [(each[2], each[3]) for each in batch.messages],
            root_key_der=AUTHORITY.root_key_der,
            canister_id=CANISTER,
            now_ns=time.time_ns(),
        )
        assert [ws.nonce_of_key(each[2]) for each in batch.messages] == list(range(seen, seen + len(batch.messages)))
        seen += len(batch.messages)
        if batch.end_of_queue:
            break
    assert seen == queue.next == 12


def test_queues_that_have_changed_share_a_signature() -> None:
    authority = Authority(b"blocks")
    ids = [canister_id(number).raw for number in range(5)]
    canisters = [Canister(each, Settings(real=True), authority, lambda _event: None) for each in ids]
    for each in canisters:
        each.open(CLIENTS[0], 1, GATEWAY)
    for others in (canisters, canisters[3:]):
        before = authority.signatures
        for each in others:
            each.message(CLIENTS[0], message(CLIENTS[0], each.clients[CLIENTS[0], 1].expected))
        for each in reversed(canisters):
            batch = page(each.queues[GATEWAY], 0)
            verify_batch(
                batch.cert,
                batch.tree,
                [(row[2], row[3]) for row in batch.messages],
                root_key_der=authority.root_key_der,
                canister_id=Principal(each.id),
                now_ns=time.time_ns(),
            )
            assert len(batch.messages) == each.queues[GATEWAY].next
        assert authority.signatures == before + 1


def test_unknown_clients_and_the_end_get_nothing() -> None:
    here = canister()
    here.open(CLIENTS[0], 1, GATEWAY)
    assert here.queues[GATEWAY].page(1) == (EMPTY, 0)
    assert here.queues[GATEWAY].page(99) == (EMPTY, 0)
    assert ws.parse_get_messages(EMPTY).end_of_queue


def test_what_is_held_is_shown_at_once() -> None:
    here = canister(real=True)
    here.open(CLIENTS[0], 1, GATEWAY)
    queue = here.queues[GATEWAY]
    queue.hide()
    for _ in range(120):
        queue.send(here.clients[CLIENTS[0], 1], b"held")
    assert len(page(queue, 0).messages) == 1
    queue.prepare()
    assert queue.page(1) == (EMPTY, 0)
    queue.show()
    for nonce, count, end in ((0, 50, False), (1, 50, False), (51, 50, False), (101, 20, True)):
        assert queue.page(nonce)[1] == count
        batch = page(queue, nonce)
        assert (len(batch.messages), batch.end_of_queue) == (count, end)


@pytest.mark.parametrize("real", [False, True])
def test_the_oldest_messages_go(real: bool) -> None:
    here = canister(retain=10, real=real)
    here.open(CLIENTS[0], 1, GATEWAY)
    queue = here.queues[GATEWAY]
    for _ in range(20):
        queue.send(here.clients[CLIENTS[0], 1], b"m")
    assert [ws.nonce_of_key(each[2]) for each in page(queue, 0).messages] == list(range(11, 21))


def test_a_wrong_sequence_number_costs_the_session() -> None:
    here = canister()
    here.open(CLIENTS[0], 1, GATEWAY)
    here.message(CLIENTS[0], message(CLIENTS[0], 1))
    with pytest.raises(Refused, match="Expected incoming sequence number 2 but got 3"):
        here.message(CLIENTS[0], message(CLIENTS[0], 3))
    with pytest.raises(Refused, match="open connection"):
        here.message(CLIENTS[0], message(CLIENTS[0], 2))
    last = page(here.queues[GATEWAY], 0).messages[-1][3]
    assert b"is_service_message\xf5" in last
    assert not here.clients


def test_a_newer_session_replaces_the_older_one() -> None:
    here = canister()
    here.open(CLIENTS[0], 1, GATEWAY)
    with pytest.raises(Refused, match="already"):
        here.open(CLIENTS[0], 1, GATEWAY)
    here.open(CLIENTS[0], 2, GATEWAY)
    assert list(here.clients) == [(CLIENTS[0], 2)]
    with pytest.raises(Refused):
        here.close(GATEWAY, (CLIENTS[0], 1))
    with pytest.raises(Refused):
        here.close(CLIENTS[1], (CLIENTS[0], 2))
    here.close(GATEWAY, (CLIENTS[0], 2))
    assert not here.clients


def test_who_does_not_answer_a_round_is_removed() -> None:
    here = canister()
    for client in CLIENTS:
        here.open(client, 1, GATEWAY)
    here.round(5)
    answer = ws.encode_service_message(ws.KeepAliveMessage(1))
    here.message(CLIENTS[1], message(CLIENTS[1], 1, answer, service=True))
    here.check(5)
    assert list(here.clients) == [(CLIENTS[1], 1)]
    wrong = ws.encode_service_message(ws.AckMessage(1))
    with pytest.raises(Refused, match="service"):
        here.message(CLIENTS[1], message(CLIENTS[1], 2, wrong, service=True))


def test_witnesses_have_labels_in_order() -> None:
    requests = [(sha256(bytes([number])).digest(), b"r") for number in range(9)]
    certificates = AUTHORITY.calls(requests, 1)
    trees = [decode_certificate(certificates[identifier]).tree for identifier, _ in requests]
    assert len({hashtree.reconstruct(tree) for tree in trees}) == 1
    shown = [next(iter(hashtree.list_labels(tree, [b"request_status"]))) for tree in trees]
    assert all(one != other for one, other in pairwise(sorted(shown)))


def test_heads_of_requests() -> None:
    raw = b"POST /api/v3/canister/aaaaa-aa/query?x HTTP/1.1\r\nHost: a\r\nContent-LENGTH: 12\r\nConnection: close"
    assert parse_head(raw) == Head("POST", "/api/v3/canister/aaaaa-aa/query", 12, True)
    for wrong in (b"nonsense", b"GET / HTTP/1.1\r\ncontent-length: x", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked"):
        with pytest.raises(BadRequest):
            parse_head(wrong)


def test_canister_ids_are_canister_ids() -> None:
    assert Principal.from_text(canister_id(1 << 40).text) == canister_id(1 << 40)
