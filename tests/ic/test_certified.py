"""What certificates say of requests, nodes and batches of messages."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from icwsgw.errors import CertificateInvalid
from icwsgw.ic import hashtree
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import (
    Certificate,
    RequestStatus,
    build_certificate,
    certified_data,
    check_messages,
    decode_certificate,
    node_keys,
    request_status,
    subnet_of,
    verify_batch,
)
from icwsgw.ic.hashtree import ABSENT, Tree, from_mapping, leaf, witness
from icwsgw.ic.network_limits import MAX_AGE_NS
from icwsgw.ic.principal import Principal
from tests.support.certificates import (
    C224OD,
    CANISTER,
    NOW,
    QXESV,
    ROOT_KEY_DER,
    SECOND,
    SUBNET,
    VECTORS,
    bare,
    canister,
    delegate,
    read_state_answer,
    sign_as_root,
    sign_as_subnet,
    state,
    verify_mainnet,
)

# -- what a certificate says of a request

REQUEST = b"r" * 32


def status_of(**fields: bytes) -> RequestStatus:
    below = {name.encode(): value for name, value in fields.items()}
    return request_status(Certificate(state(request_status={REQUEST: below}), b""), REQUEST)


def test_request_statuses() -> None:
    assert status_of(status=b"received") == RequestStatus("received")
    assert status_of(status=b"processing") == RequestStatus("processing")
    assert status_of(status=b"done") == RequestStatus("done")
    assert status_of(status=b"replied", reply=b"DIDL\0\0") == RequestStatus("replied", reply=b"DIDL\0\0")
    assert status_of(
        status=b"rejected", reject_code=b"\x04", reject_message=b"no", error_code=b"IC0406"
    ) == RequestStatus("rejected", reject_code=4, reject_message="no", error_code="IC0406")
    assert status_of(status=b"rejected", reject_code=b"\x05", reject_message=b"") == RequestStatus(
        "rejected", reject_code=5, reject_message=""
    )


def test_a_request_proved_unknown() -> None:
    assert request_status(Certificate(state(), b""), REQUEST) == RequestStatus("unknown")
    assert request_status(Certificate(state(request_status={}), b""), REQUEST) == RequestStatus("unknown")
    assert request_status(Certificate(state(request_status={b"s": {}}), b""), REQUEST) == RequestStatus("unknown")


@pytest.mark.parametrize(
    "fields",
    [
        {"status": b"replied"},
        {"status": b"rejected"},
        {"status": b"rejected", "reject_code": b"\x04"},
        {"status": b"rejected", "reject_message": b"no"},
        {"status": b"rejected", "reject_code": b"", "reject_message": b"no"},
        {"status": b"rejected", "reject_code": b"\x04", "reject_message": b"\xff"},
        {"status": b"\xff"},
    ],
    ids=repr,
)
def test_half_a_status(fields: dict[str, bytes]) -> None:
    with pytest.raises(CertificateInvalid):
        status_of(**fields)


def test_a_pruned_status_is_not_an_unknown_request() -> None:
    tree = witness(state(request_status={REQUEST: {b"status": b"replied"}}), [(b"time",)])
    with pytest.raises(CertificateInvalid, match="does not show"):
        request_status(Certificate(tree, b""), REQUEST)


def test_node_keys_that_are_hidden_or_malformed() -> None:
    shown = state(subnet={SUBNET.raw: {b"node": {b"n1": {b"public_key": b"k1"}, b"n2": {}}}})
    assert node_keys(Certificate(shown, b""), SUBNET) == {b"n1": b"k1"}
    with pytest.raises(CertificateInvalid):
        node_keys(Certificate(witness(shown, [(b"time",)]), b""), SUBNET)
    with pytest.raises(CertificateInvalid):
        node_keys(Certificate(state(subnet={SUBNET.raw: {b"node": b"leaf"}}), b""), SUBNET)


# -- of the mainnet


def test_request_status_of_a_mainnet_certificate() -> None:
    certificate = decode_certificate(bare("ivg37_request_status.bin"))
    (request_id,) = hashtree.list_labels(certificate.tree, (b"request_status",))
    status = request_status(certificate, request_id)
    assert status == RequestStatus(
        "rejected",
        reject_code=3,
        reject_message="Canister ivg37-qiaaa-aaaab-aaaga-cai has no update method 'register'",
    )
    # The tree has more requests, pruned: of others it says nothing.
    with pytest.raises(CertificateInvalid, match="does not show"):
        request_status(certificate, bytes(32))


def test_node_keys_of_a_mainnet_subnet() -> None:
    certificate = verify_mainnet(read_state_answer("224od_subnet.bin"), canister_id=C224OD)
    keys = node_keys(certificate, subnet_of(certificate, MAINNET_ROOT_KEY_DER))
    assert len(keys) >= 13
    for node_id, key in keys.items():
        # A node is named by its key.
        assert Principal.self_authenticating(key).raw == node_id
        assert len(key) == 44
    with pytest.raises(CertificateInvalid, match="does not show the nodes"):
        node_keys(certificate, QXESV)


# -- batches of messages

KEYS = [f"gateway_{number:020}".encode() for number in range(20)]
CONTENT = {key: b"content of " + key for key in KEYS}
MESSAGES = [(key, CONTENT[key]) for key in KEYS[5:10]]
CANISTER_TREE = from_mapping({b"websocket": {key: sha256(CONTENT[key]).digest() for key in KEYS}})
BATCH_TREE = hashtree.encode(witness(CANISTER_TREE, [(b"websocket", key) for key, _ in MESSAGES]))
BATCH_STATE = state(canister={CANISTER.raw: {b"certified_data": hashtree.reconstruct(CANISTER_TREE)}})
BATCH_CERTIFICATE = build_certificate(BATCH_STATE, sign_as_subnet, delegate())


def batch(
    tree: bytes = BATCH_TREE,
    messages: list[tuple[bytes, bytes]] = MESSAGES,
    certificate: bytes = BATCH_CERTIFICATE,
    canister_id: Principal = CANISTER,
    now_ns: int = NOW,
) -> Certificate:
    return verify_batch(certificate, tree, messages, root_key_der=ROOT_KEY_DER, canister_id=canister_id, now_ns=now_ns)


def test_a_batch_that_holds() -> None:
    certificate = batch()
    assert certified_data(certificate, CANISTER) == hashtree.reconstruct(CANISTER_TREE)
    # With its certificate verified once, only the messages are left to check.
    check_messages(certificate, BATCH_TREE, MESSAGES[2:], canister_id=CANISTER)
    batch(messages=MESSAGES + MESSAGES[:1])
    batch(messages=[])
    batch(tree=hashtree.encode(CANISTER_TREE))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([(KEYS[5], b"other content")], "another content"),
        ([(KEYS[5], CONTENT[KEYS[6]])], "another content"),
        ([(KEYS[11], CONTENT[KEYS[11]])], "is not certified"),
        ([(b"gateway_x", b"")], "is not certified"),
        ([(b"\xff", b"")], "is not certified"),
        ([MESSAGES[0], MESSAGES[2]], "missing"),
        ([*MESSAGES[:2], *MESSAGES[3:]], "missing"),
    ],
)
def test_messages_that_do_not_hold(messages: list[tuple[bytes, bytes]], reason: str) -> None:
    with pytest.raises(CertificateInvalid, match=reason):
        batch(messages=messages)


def test_a_message_hidden_by_pruning_is_missed() -> None:
    shown = [(b"websocket", key) for key in (KEYS[5], KEYS[9])]
    with pytest.raises(CertificateInvalid, match="missing"):
        batch(hashtree.encode(witness(CANISTER_TREE, shown)), [MESSAGES[0], MESSAGES[4]])


@pytest.mark.parametrize("tree", [b"", b"\x81\x00", b"\x81\x09", BATCH_TREE[:-1], hashtree.encode(leaf(b""))])
def test_trees_the_canister_did_not_certify(tree: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        batch(tree)


def test_no_flipped_bit_of_a_batch_tree_holds() -> None:
    certificate = batch()
    for position in range(3, len(BATCH_TREE)):
        flipped = bytearray(BATCH_TREE)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(CertificateInvalid):
            check_messages(certificate, bytes(flipped), MESSAGES, canister_id=CANISTER)


def certify(tree: Tree) -> bytes:
    certified = state(canister={CANISTER.raw: {b"certified_data": hashtree.reconstruct(tree)}})
    return build_certificate(certified, sign_as_subnet, delegate())


def test_trees_with_another_shape() -> None:
    key, content = MESSAGES[0]
    node = leaf(sha256(content).digest())
    disorder = hashtree.fork(hashtree.labeled(KEYS[6], node), hashtree.labeled(key, node))
    for tree in (
        hashtree.labeled(b"websocket", disorder),
        hashtree.labeled(b"websocket", node),
        hashtree.labeled(b"websocket", hashtree.labeled(key, hashtree.labeled(b"more", node))),
        hashtree.labeled(b"other", hashtree.labeled(key, node)),
        hashtree.labeled(key, node),
    ):
        with pytest.raises(CertificateInvalid):
            batch(hashtree.encode(tree), [(key, content)], certify(tree))


def test_the_certificate_of_a_batch_is_verified() -> None:
    with pytest.raises(CertificateInvalid, match="old"):
        batch(now_ns=NOW + MAX_AGE_NS + SECOND)
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        batch(canister_id=canister(201))
    with pytest.raises(CertificateInvalid, match=r"certified data .* is absent"):
        batch(canister_id=canister(151))
    with pytest.raises(CertificateInvalid, match="signature"):
        batch(certificate=build_certificate(BATCH_STATE, sign_as_root, delegate()))
    hidden = witness(BATCH_STATE, [(b"time",)])
    with pytest.raises(CertificateInvalid, match=r"certified data .* is unknown"):
        batch(certificate=build_certificate(hidden, sign_as_subnet, delegate()))


def test_lookup_distinguishes_absent() -> None:
    assert decode_certificate(BATCH_CERTIFICATE).lookup((b"nothing",)) is ABSENT


# -- messages of a real canister on a real replica

REAL = json.loads((VECTORS.parent / "messages" / "messages.json").read_text())
REAL_CANISTER = Principal.from_text(REAL["canister"])
REAL_MESSAGES = {message["name"]: message for message in REAL["messages"]}


def check_real(*names: str, canister_id: Principal = REAL_CANISTER, **changes: bytes) -> None:
    first = REAL_MESSAGES[names[0]]
    messages = []
    for name in names:
        message = REAL_MESSAGES[name]
        assert (message["cert"], message["tree"]) == (first["cert"], first["tree"])
        messages.append((message["key"].encode(), changes.get("content", bytes.fromhex(message["content"]))))
    verify_batch(
        changes.get("cert", bytes.fromhex(first["cert"])),
        changes.get("tree", bytes.fromhex(first["tree"])),
        messages,
        root_key_der=changes.get("root_key", bytes.fromhex(REAL["root_keys"][first["root_key"]])),
        canister_id=canister_id,
        now_ns=None,
    )


def test_real_messages() -> None:
    check_real("VALID_OPEN_MESSAGE")
    check_real("VALID_ACK_MESSAGE")
    check_real("messageToVerify")


def test_a_real_batch_of_two() -> None:
    check_real("VALID_MESSAGE_SEQ_NUM_3", "VALID_CLOSE_MESSAGE")
    check_real("VALID_MESSAGE_SEQ_NUM_3")


def test_real_messages_that_were_tampered_with() -> None:
    other = REAL_MESSAGES["VALID_ACK_MESSAGE"]
    with pytest.raises(CertificateInvalid, match="wrong-key is not certified"):
        check_real("INVALID_MESSAGE_KEY")
    with pytest.raises(CertificateInvalid, match="another content"):
        check_real("VALID_OPEN_MESSAGE", content=bytes(4))
    with pytest.raises(CertificateInvalid, match="not the one it certified"):
        check_real("VALID_OPEN_MESSAGE", tree=bytes.fromhex(other["tree"]))
    with pytest.raises(CertificateInvalid, match="not the one it certified"):
        check_real("VALID_OPEN_MESSAGE", cert=bytes.fromhex(other["cert"]))
    with pytest.raises(CertificateInvalid, match="signature"):
        check_real("VALID_OPEN_MESSAGE", root_key=MAINNET_ROOT_KEY_DER)
    with pytest.raises(CertificateInvalid, match="certified data"):
        check_real("VALID_OPEN_MESSAGE", canister_id=Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai"))
