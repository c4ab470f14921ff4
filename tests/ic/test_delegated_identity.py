"""Delegated identities, against envelopes of JavaScript agents and the Python package icp-py-core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from icp_identity import DelegateIdentity, Identity

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.delegated_identity import DelegatedIdentity, SignedDelegation, sign_delegation
from icwsgw.ic.ecdsa_identity import EcdsaIdentity
from icwsgw.ic.envelope import call_content, sign_request, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, request_id

NOW = 1_767_323_045_678_000_000
MINUTE = 60 * 10**9
CANISTER = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
ROOT = EcdsaIdentity.of_secret("p256", b"\1" * 32)
MIDDLE = EcdsaIdentity.of_secret("secp256k1", b"\2" * 32)
SESSION = Ed25519Identity(b"\3" * 32)
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "envelopes" / "envelopes.json").read_text())


def chain(expiration: int = NOW + MINUTE, targets: list[Principal] | None = None) -> list[SignedDelegation]:
    return [
        sign_delegation(ROOT, MIDDLE.public_key_der, NOW + 2 * MINUTE),
        sign_delegation(MIDDLE, SESSION.public_key_der, expiration, targets),
    ]


def as_json(public_key: bytes, links: list[SignedDelegation]) -> str:
    entries: list[dict[str, Any]] = []
    for link in links:
        delegation: dict[str, Any] = {"pubkey": link.public_key.hex(), "expiration": f"{link.expiration:x}"}
        if link.targets is not None:
            delegation["targets"] = [target.raw.hex() for target in link.targets]
        if link.permissions is not None:
            delegation["permissions"] = link.permissions
        entries.append({"delegation": delegation, "signature": link.signature.hex()})
    return json.dumps({"delegations": entries, "publicKey": public_key.hex()})


def call(identity: DelegatedIdentity, now: int = NOW) -> Any:
    content = call_content(identity.principal, CANISTER, "ws_open", b"DIDL\0\0", now + MINUTE)
    return verify_envelope(sign_request(identity, content).body, now)


def test_a_replica_accepts_its_calls() -> None:
    identity = DelegatedIdentity(SESSION, ROOT.public_key_der, chain(targets=[CANISTER]))
    verified = call(identity)
    assert verified.sender == ROOT.principal == identity.principal
    assert verified.targets == {CANISTER.raw}
    assert not identity.expired(NOW)
    identity.verify(NOW)
    with pytest.raises(SignatureInvalid):
        call(DelegatedIdentity(SESSION, ROOT.public_key_der, chain(targets=[Principal(b"")])))


@pytest.mark.parametrize("permissions", ["all", "queries"])
def test_a_delegation_with_permissions_is_signed_with_them(permissions: str) -> None:
    signed = {"pubkey": SESSION.public_key_der, "expiration": NOW + MINUTE, "permissions": permissions}
    signature = ROOT.sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(signed))
    link = SignedDelegation(SESSION.public_key_der, NOW + MINUTE, None, signature, permissions)
    identity = DelegatedIdentity.from_json(SESSION, as_json(ROOT.public_key_der, [link]))
    assert list(identity.delegations) == [{"delegation": signed, "signature": signature}]
    identity.verify(NOW)


def test_it_expires_with_the_first_of_its_delegations() -> None:
    identity = DelegatedIdentity(SESSION, ROOT.public_key_der, chain())
    assert identity.expiration == NOW + MINUTE
    assert not identity.expired(NOW + MINUTE)
    assert identity.expired(NOW + MINUTE + 1)
    with pytest.raises(SignatureInvalid, match="expired"):
        identity.verify(NOW + MINUTE + 1)


def test_chains_of_javascript_agents() -> None:
    """Their JSON is made of what their envelopes hold; the keys of the chains fit, though we lack the session keys."""
    seen = 0
    for entry in VECTORS["envelopes"]:
        delegations = cbor.loads(bytes.fromhex(entry["body"])).get("sender_delegation")
        if delegations is None:
            continue
        seen += 1
        envelope = cbor.loads(bytes.fromhex(entry["body"]))
        links = [
            SignedDelegation(
                link["delegation"]["pubkey"],
                link["delegation"]["expiration"],
                tuple(map(Principal, link["delegation"]["targets"])) if link["delegation"].get("targets") else None,
                link["signature"],
            )
            for link in delegations
        ]
        session = _Session(links[-1].public_key)
        identity = DelegatedIdentity.from_json(session, as_json(envelope["sender_pubkey"], links))
        assert identity.principal.text == entry["sender"]
        assert list(identity.delegations) == delegations
        identity.verify(int(VECTORS["now_ns"]))
    assert seen >= 6


class _Session:
    """A session key whose secret is not known."""

    delegations = ()

    def __init__(self, public_key_der: bytes) -> None:
        self.public_key_der = public_key_der
        self.principal = Principal.self_authenticating(public_key_der)

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


def test_the_json_is_that_of_another_library() -> None:
    text = as_json(ROOT.public_key_der, chain())
    # that library reads a hexadecimal time with its prefix alone
    prefixed = text.replace('"expiration": "', '"expiration": "0x')
    theirs = DelegateIdentity(Identity(privkey=SESSION.seed.hex()), json.loads(prefixed))
    ours = DelegatedIdentity.from_json(SESSION, text)
    assert ours.principal.text == theirs.sender().to_str()
    assert ours.public_key_der == theirs.der_pubkey
    assert list(ours.delegations) == theirs.delegations


@pytest.mark.parametrize(
    ("links", "words"),
    [([], "1 to 20"), (chain()[:1], "another session key"), (chain()[:1] * 21, "1 to 20")],
)
def test_chains_that_do_not_fit(links: list[SignedDelegation], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        DelegatedIdentity(SESSION, ROOT.public_key_der, links)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", '{"delegations": [1], "publicKey": ""}', '{"delegations": [], "publicKey": 5}'),
        pytest.param(as_json(b"", chain()).replace('"expiration": "', '"expiration": "-'), id="negative time"),
        pytest.param(as_json(b"", chain()).replace('"expiration": "', '"expiration": "ffffffff'), id="time too long"),
        pytest.param(as_json(b"", chain()).replace('"pubkey": "', '"pubkey": "x'), id="key is no hex"),
        pytest.param(
            as_json(b"", chain()).replace('"expiration": "', '"permissions": "some", "expiration": "'),
            id="unknown permissions",
        ),
        pytest.param(" " * (1 << 20) + as_json(ROOT.public_key_der, chain()), id="text too long"),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_what_is_no_chain(text: str) -> None:
    with pytest.raises(FormatError, match="not a chain"):
        DelegatedIdentity.from_json(SESSION, text)
