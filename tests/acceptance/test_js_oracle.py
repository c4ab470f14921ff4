"""The IC's formats as this package makes them, read by the JavaScript libraries, and the other way round.

The libraries (@icp-sdk/core 6, and @dfinity/agent 2.4 where it matters to users of the SDK) were not made here, so
an error in the reading of the specification does not cancel out as it would in a round trip through our own code.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from icwsgw.errors import CertificateInvalid, FormatError, SignatureInvalid
from icwsgw.ic import bls, candid, cbor, certificate, delegations, envelope, hashtree, signatures, ws
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.request_id import request_id
from tests.acceptance.processes import NodeFailed, Oracle
from tests.support.certificates import IVG37, read_state_answer

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

CHANCE = random.Random(4_943)
"""Seeded: a failure can be looked at again."""

SUBNET_KEY, ROOT_KEY = bls.secret_key(b"subnet" * 8), bls.secret_key(b"root" * 8)
CANISTER = Principal(b"\0\0\0\0\0\0\4\xd2\1\1")

# Candid types and values in the JSON form of sdk/oracle.mjs.

SCALARS = ("bool", "nat", "int", "nat8", "nat32", "nat64", "int8", "int64", "text", "blob", "principal")
NAMES = ("Ok", "Err", "client_key", "content", "key", "nonce", "a", "b", "x y", "é")


def random_type(depth: int) -> Any:
    kind = CHANCE.choice(("scalar",) if depth == 0 else ("scalar", "opt", "vec", "record", "variant"))
    if kind == "scalar":
        return CHANCE.choice(SCALARS)
    if kind in ("opt", "vec"):
        inner = random_type(depth - 1)
        # vec nat8 is a blob, and opt of something whose values include null has no plain JSON form.
        return [kind, "text" if inner == "nat8" or (kind == "opt" and inner[0] == "opt") else inner]
    names = CHANCE.sample(NAMES, CHANCE.randrange(1, 5))
    return [kind, [[name, random_type(depth - 1)] for name in names]]


def random_integer(kind: str) -> str:
    signed, bits = kind.startswith("int"), int(kind.removeprefix("int").removeprefix("nat") or 80)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return str(CHANCE.choice((low, high, 0, CHANCE.randint(low, high), CHANCE.randint(max(low, -300), min(high, 300)))))


def random_value(kind: Any) -> Any:
    if kind == "bool":
        return CHANCE.random() < 0.5
    if kind == "text":
        return "".join(CHANCE.choice("aZ 0é€𝄞\n") for _ in range(CHANCE.randrange(12)))
    if kind == "blob":
        return CHANCE.randbytes(CHANCE.randrange(40)).hex()
    if kind == "principal":
        return Principal(CHANCE.randbytes(CHANCE.randrange(30))).text
    if isinstance(kind, str):
        return random_integer(kind)
    head, inner = kind
    if head == "opt":
        return None if CHANCE.random() < 0.4 else [random_value(inner)]
    if head == "vec":
        return [random_value(inner) for _ in range(CHANCE.randrange(4))]
    if head == "record":
        return {name: random_value(field) for name, field in inner}
    name, field = CHANCE.choice(inner)
    return {name: random_value(field)}


def python_type(kind: Any) -> candid.Type:
    if kind == "blob":
        return candid.Blob
    if kind == "principal":
        return candid.PrincipalType
    if isinstance(kind, str):
        found: candid.Type = getattr(candid, kind.capitalize())
        return found
    head, inner = kind
    if head in ("opt", "vec"):
        return {"opt": candid.Opt, "vec": candid.Vec}[head](python_type(inner))
    fields = {name: python_type(field) for name, field in inner}
    return candid.Record(fields) if head == "record" else candid.Variant(fields)


def python_value(kind: Any, value: Any) -> Any:
    if kind == "blob":
        return bytes.fromhex(value)
    if kind == "principal":
        return Principal.from_text(value)
    if isinstance(kind, str):
        return int(value) if kind.startswith(("nat", "int")) else value
    head, inner = kind
    if head == "opt":
        return None if value is None else python_value(inner, value[0])
    if head == "vec":
        return [python_value(inner, item) for item in value]
    fields = dict(map(tuple, inner))
    return {name: python_value(fields[name], item) for name, item in value.items()}


def test_candid_goes_both_ways(oracle: Oracle) -> None:
    for _ in range(300):
        kinds = [random_type(3) for _ in range(CHANCE.randrange(1, 4))]
        values = [random_value(kind) for kind in kinds]
        ours, theirs = [python_type(kind) for kind in kinds], oracle.ask("encode", types=kinds, values=values)
        expected = [python_value(kind, value) for kind, value in zip(kinds, values, strict=True)]
        assert candid.decode_as(bytes.fromhex(theirs), ours) == expected, kinds
        encoded = candid.encode(ours, expected).hex()
        assert oracle.ask("decode", types=kinds, bytes=encoded) == values, kinds


CLIENT_KEY = ["record", [["client_principal", "principal"], ["client_nonce", "nat64"]]]
OUTPUT = ["record", [["client_key", CLIENT_KEY], ["key", "text"], ["content", "blob"]]]
END_OF_QUEUE = {"opt": ["opt", "bool"], "bool": "bool"}


def get_messages_result(end: str) -> Any:
    fields = [["messages", ["vec", OUTPUT]], ["cert", "blob"], ["tree", "blob"]]
    if end in END_OF_QUEUE:
        fields.append(["is_end_of_queue", END_OF_QUEUE[end]])
    return ["variant", [["Ok", ["record", fields]], ["Err", "text"]]]


@pytest.mark.parametrize("end", ["opt", "bool", "absent"])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_answers_of_ws_get_messages_are_read_as_the_library_writes_them(oracle: Oracle, end: str, count: int) -> None:
    client, gateway = Principal(CHANCE.randbytes(29)), Principal(CHANCE.randbytes(29))
    messages: list[dict[str, Any]] = [
        {
            "client_key": {"client_principal": client.text, "client_nonce": str(CHANCE.getrandbits(64))},
            "key": f"{gateway}_{number:020}",
            "content": CHANCE.randbytes(number * 7).hex(),
        }
        for number in range(count)
    ]
    ok: dict[str, Any] = {"messages": messages, "cert": "d9d9f7a0", "tree": "8100"}
    if end in END_OF_QUEUE:
        ok["is_end_of_queue"] = [True] if end == "opt" else True
    reply = bytes.fromhex(oracle.ask("encode", types=[get_messages_result(end)], values=[{"Ok": ok}]))
    batch = ws.parse_get_messages(reply)
    assert [(p, n, k.decode(), c.hex()) for p, n, k, c in batch.messages] == [
        (client.raw, int(message["client_key"]["client_nonce"]), message["key"], message["content"])
        for message in messages
    ]
    assert (batch.cert, batch.tree) == (bytes.fromhex("d9d9f7a0"), bytes.fromhex("8100"))
    assert batch.end_of_queue is (None if end == "absent" else True)


def test_arguments_of_the_gateway_are_read_by_the_library(oracle: Oracle) -> None:
    principal = Principal(CHANCE.randbytes(29))
    nonces = ["record", [["nonce", "nat64"]]]
    get = ws.encode_get_messages((1 << 64) - 1).hex()
    assert oracle.ask("decode", types=[nonces], bytes=get) == [{"nonce": str((1 << 64) - 1)}]
    close = ws.encode_close(principal.raw, 7).hex()
    assert oracle.ask("decode", types=[["record", [["client_key", CLIENT_KEY]]]], bytes=close) == [
        {"client_key": {"client_principal": principal.text, "client_nonce": "7"}}
    ]
    opening = ["record", [["client_nonce", "nat64"], ["gateway_principal", "principal"]]]
    value = {"client_nonce": "3", "gateway_principal": principal.text}
    theirs = oracle.ask("encode", types=[opening], values=[value])
    assert ws.decode_open_args(bytes.fromhex(theirs)) == (3, principal.raw)


def test_principals(oracle: Oracle) -> None:
    for length in (0, 1, 4, 10, 28, 29):
        raw = CHANCE.randbytes(length)
        text = oracle.ask("principalText", bytes=raw.hex())
        assert Principal(raw).text == text
        assert Principal.from_text(text).raw == raw
        assert oracle.ask("principalBytes", text=Principal(raw).text) == raw.hex()
    der = Ed25519Identity(CHANCE.randbytes(32)).public_key_der
    assert oracle.ask("principalOfKey", der=der.hex()) == Principal.self_authenticating(der).text


def random_content(depth: int) -> tuple[dict[str, Any], Any]:
    """A content value in the oracle's form and in ours."""
    kind = CHANCE.choice(("bytes", "nat", "text") if depth == 0 else ("bytes", "nat", "text", "list", "map"))
    if kind == "bytes":
        raw = CHANCE.randbytes(CHANCE.randrange(40))
        return {"bytes": raw.hex()}, raw
    if kind == "nat":
        number = CHANCE.choice((0, 127, 128, CHANCE.getrandbits(64)))
        return {"nat": str(number)}, number
    if kind == "text":
        text = CHANCE.choice(("", "call", "é€𝄞"))
        return {"text": text}, text
    items = [random_content(depth - 1) for _ in range(CHANCE.randrange(4))]
    if kind == "list":
        return {"list": [theirs for theirs, _ in items]}, [ours for _, ours in items]
    names = CHANCE.sample(NAMES, len(items))
    pairs = list(zip(names, items, strict=True))
    return {"map": {name: item[0] for name, item in pairs}}, {name: item[1] for name, item in pairs}


@pytest.mark.parametrize("library", ["requestId", "oldRequestId"])
def test_request_ids(oracle: Oracle, library: str) -> None:
    for _ in range(100):
        fields = {name: random_content(1) for name in CHANCE.sample(NAMES, 4)}
        theirs = {name: value for name, (value, _) in fields.items()}
        assert oracle.ask(library, map=theirs) == request_id({name: value for name, (_, value) in fields.items()}).hex()


def test_identities_and_signatures(oracle: Oracle) -> None:
    seed, message = CHANCE.randbytes(32), CHANCE.randbytes(100)
    identity = Ed25519Identity(seed)
    assert oracle.ask("identityOfSeed", seed=seed.hex()) == {
        "principal": identity.principal.text,
        "der": identity.public_key_der.hex(),
    }
    signature = identity.sign(message)
    request = {"der": identity.public_key_der.hex(), "message": message.hex()}
    assert oracle.ask("verify", signature=signature.hex(), **request) is True
    assert oracle.ask("verify", signature=(signature[:-1] + bytes([signature[-1] ^ 1])).hex(), **request) is False
    theirs = bytes.fromhex(oracle.ask("sign", seed=seed.hex(), message=message.hex()))
    signatures.verify_signature(identity.public_key_der, message, theirs)
    with pytest.raises(SignatureInvalid):
        signatures.verify_signature(identity.public_key_der, message + b"x", theirs)


def test_an_envelope_is_read_by_the_library_s_cbor(oracle: Oracle) -> None:
    identity, canister = Ed25519Identity(CHANCE.randbytes(32)), CANISTER
    content = envelope.query_content(
        identity.principal,
        canister,
        "ws_get_messages",
        ws.encode_get_messages(5),
        1_685_570_400_000_000_000,
    )
    request = envelope.sign_request(identity, content)
    read = oracle.ask("cbor", bytes=request.body.hex())
    assert read["content"]["canister_id"] == canister.raw.hex()
    assert read["content"]["ingress_expiry"] == "1685570400000000000"
    assert read["sender_pubkey"] == identity.public_key_der.hex()
    signed = (b"\x0aic-request" + request.request_id).hex()
    der = identity.public_key_der.hex()
    assert oracle.ask("verify", der=der, message=signed, signature=read["sender_sig"]) is True


def random_tree(size: int) -> tuple[hashtree.Tree, list[bytes]]:
    """A tree of two levels whose labels are one byte long.

    Both JavaScript libraries call a label greater than another where *any* of its bytes is the greater one, so with
    longer labels they say Absent of some that are Unknown (they still find what is there).
    """
    labels = sorted(bytes([byte]) for byte in CHANCE.sample(range(256), size))
    inside = hashtree.label_map([(label, hashtree.leaf(CHANCE.randbytes(5))) for label in labels])
    return hashtree.label_map([(b"t", hashtree.leaf(b"\1")), (b"w", inside)]), labels


def test_hash_trees_and_witnesses(oracle: Oracle) -> None:
    for size in (1, 2, 3, 7, 30, 200):
        tree, labels = random_tree(size)
        others = [bytes([byte]) for byte in range(256) if bytes([byte]) not in labels]
        shown = [*CHANCE.sample(labels, min(3, size)), CHANCE.choice(others)]
        witness = hashtree.witness(tree, [(b"w", label) for label in shown])
        encoded = hashtree.encode(witness).hex()
        assert oracle.ask("reconstruct", tree=encoded) == hashtree.reconstruct(tree).hex()
        for path in (
            *((b"w", label) for label in (*shown, *labels, *others)),
            (b"t",),
            (b"z",),
            (b"w", labels[0], b"x"),
        ):
            theirs = oracle.ask("lookup", tree=encoded, labels=[label.hex() for label in path])
            ours = hashtree.lookup(witness, path)
            if isinstance(ours, hashtree.Found):
                assert theirs == {"status": "Found", "value": ours.value.hex()}, path
            else:
                assert theirs["status"] == ours.value.capitalize(), path


def signer(secret: int) -> Callable[[bytes], bytes]:
    return lambda message: bls.sign(secret, message)


def made_certificate(delegated: str, now_ns: int) -> bytes:
    state: hashtree.Branch = {b"canister": {CANISTER.raw: {b"certified_data": b"d" * 32}}, b"time": _leb(now_ns)}
    tree = hashtree.witness(hashtree.from_mapping(state), [(b"time",), (b"canister", CANISTER.raw, b"certified_data")])
    if delegated == "none":
        return certificate.build_certificate(tree, signer(ROOT_KEY))
    subnet_key_der = bls.der_wrap(bls.public_key(SUBNET_KEY))
    delegation = certificate.build_delegation(
        subnet_id=Principal.self_authenticating(subnet_key_der),
        subnet_key_der=subnet_key_der,
        ranges=[(Principal(b"\0\0\0\0\0\0\0\0\1\1"), Principal(b"\0\0\0\0\0\xff\xff\xff\1\1"))],
        time_ns=now_ns - 3_600 * 10**9,
        sign=signer(ROOT_KEY),
        sharded=delegated == "sharded",
    )
    return certificate.build_certificate(tree, signer(SUBNET_KEY), delegation)


def _leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize("delegated", ["none", "sharded", "listed"])
def test_certificates(oracle: Oracle, delegated: str) -> None:
    now_ns = time.time_ns()
    root_key = bls.der_wrap(bls.public_key(ROOT_KEY))
    made = made_certificate(delegated, now_ns)
    path = (b"canister", CANISTER.raw, b"certified_data")
    request = {"rootKey": root_key.hex(), "canister": CANISTER.text, "labels": [label.hex() for label in path]}
    assert oracle.ask("certificate", certificate=made.hex(), **request) == {"status": "Found", "value": "64" * 32}
    ours = certificate.verify_certificate(made, root_key_der=root_key, canister_id=CANISTER, now_ns=now_ns)
    assert ours.lookup(path) == (b"d" * 32,)

    # What one refuses the other refuses: another root key, a canister outside the ranges, an old one.
    other_key = bls.der_wrap(bls.public_key(SUBNET_KEY + 1))
    old = made_certificate(delegated, now_ns - 3_600 * 10**9)
    cases: list[tuple[bytes, bytes, Principal]] = [(made, other_key, CANISTER), (old, root_key, CANISTER)]
    if delegated != "none":
        cases.append((made, root_key, Principal(b"\0\0\0\0\1\0\0\0\1\1")))
    for data, key, canister in cases:
        changed = {**request, "rootKey": key.hex(), "canister": canister.text}
        with pytest.raises(NodeFailed):
            oracle.ask("certificate", certificate=data.hex(), **changed)
        with pytest.raises(CertificateInvalid):
            certificate.verify_certificate(data, root_key_der=key, canister_id=canister, now_ns=now_ns)


def test_the_agent_of_the_sdk_verifies_a_certificate_by_the_delegation_that_stands_in_the_place_of_another(
    oracle: Oracle,
) -> None:
    """Mainnet's own certificates: of 2025 with shards, which this agent cannot read, and of 2022 with flat ranges."""
    sharded, flat = (read_state_answer(name) for name in ("ivg37_time.bin", "ivg37_delegated_v2.bin"))
    older = delegations.delegation_of(flat)
    newer = delegations.delegation_of(sharded)
    assert older is not None
    assert newer is not None
    now_ns = certificate.decode_certificate(older.certificate).time_ns
    kept = delegations.CompatibleDelegations(certificate.DelegationCache())
    kept.keep(bls.MAINNET_ROOT_KEY_DER, older, now_ns)
    shown = delegations.read_delegation(newer)
    place = kept.in_place_of(bls.MAINNET_ROOT_KEY_DER, newer, shown, IVG37.raw, now_ns)
    assert place is not None
    changed = delegations.with_delegation(sharded, place)
    request = {"rootKey": bls.MAINNET_ROOT_KEY_DER.hex(), "canister": IVG37.text, "labels": [b"time".hex()]}
    time = certificate.decode_certificate(sharded).lookup((b"time",))
    assert isinstance(time, hashtree.Found)
    with pytest.raises(NodeFailed):
        oracle.ask("oldCertificate", certificate=sharded.hex(), **request)
    assert oracle.ask("oldCertificate", certificate=changed.hex(), **request) == time.value.hex()


def test_both_agents_verify_the_delegation_that_shows_both_forms(oracle: Oracle) -> None:
    now_ns = time.time_ns()
    subnet_key = bls.der_wrap(bls.public_key(SUBNET_KEY))
    subnet = Principal.self_authenticating(subnet_key)
    ranges = cbor.dumps([[b"\0" * 8 + b"\1\1", b"\0\0\0\0\0\xff\xff\xff\1\1"]])
    root = hashtree.from_mapping(
        {
            b"canister_ranges": {subnet.raw: {b"\0" * 8 + b"\1\1": ranges, b"\1" * 10: cbor.dumps([])}},
            b"subnet": {subnet.raw: {b"canister_ranges": ranges, b"public_key": subnet_key}},
            b"time": _leb(now_ns),
        }
    )
    key = (b"subnet", subnet.raw, b"public_key")
    paths = ((b"subnet", subnet.raw, b"canister_ranges"), (b"canister_ranges", subnet.raw, b"\0" * 8 + b"\1\1"))
    flat, sharded = (
        certificate.Delegation(
            subnet.raw,
            certificate.build_certificate(hashtree.witness(root, [(b"time",), key, path]), signer(ROOT_KEY)),
        )
        for path in paths
    )
    state = hashtree.from_mapping({b"time": _leb(now_ns)})
    request = {"canister": CANISTER.text, "labels": [b"time".hex()]}
    request["rootKey"] = bls.der_wrap(bls.public_key(ROOT_KEY)).hex()
    for delegation, old_agent in ((flat, True), (sharded, False), (delegations.merged(flat, sharded), True)):
        made = certificate.build_certificate(state, signer(SUBNET_KEY), delegation).hex()
        assert oracle.ask("certificate", certificate=made, **request)["value"] == _leb(now_ns).hex()
        if old_agent:
            assert oracle.ask("oldCertificate", certificate=made, **request) == _leb(now_ns).hex()
        else:
            with pytest.raises(NodeFailed):
                oracle.ask("oldCertificate", certificate=made, **request)


def test_an_envelope_signed_by_the_library_s_key_is_verified_here(oracle: Oracle) -> None:
    seed = os.urandom(32)
    identity = Ed25519Identity(seed)
    now_ns = time.time_ns()
    content = envelope.call_content(
        identity.principal,
        CANISTER,
        "ws_open",
        ws.encode_open_args(1, ANONYMOUS.raw),
        envelope.expiry_after(now_ns, 240),
    )
    map_of_content = {
        name: {"bytes": value.hex()}
        if isinstance(value, bytes)
        else {"nat": str(value)}
        if isinstance(value, int)
        else {"text": value}
        for name, value in content.items()
    }
    their_id = oracle.ask("requestId", map=map_of_content)
    signature = oracle.ask("sign", seed=seed.hex(), message=(b"\x0aic-request" + bytes.fromhex(their_id)).hex())
    body = {"content": content, "sender_pubkey": identity.public_key_der, "sender_sig": bytes.fromhex(signature)}
    verified = envelope.verify_envelope(cbor.dumps_tagged(body), now_ns)
    assert verified.request_id.hex() == their_id
    assert verified.sender == identity.principal


def test_what_the_library_refuses_to_decode_is_refused_here(oracle: Oracle) -> None:
    good = bytes.fromhex(oracle.ask("encode", types=["nat64", "text"], values=["7", "seven"]))
    for bad in (good[:-1], b"DIDM" + good[4:], good[:4] + b"\xff" + good[5:], b""):
        with pytest.raises(NodeFailed):
            oracle.ask("decode", types=["nat64", "text"], bytes=bad.hex())
        with pytest.raises(FormatError):
            candid.decode_as(bad, [candid.Nat64, candid.Text])
