"""ECDSA identities, against the Python package icp-py-core, OpenSSL's files and our own verification."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
from icp_identity import Identity

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic.ecdsa_identity import EcdsaIdentity, identity_of_pem
from icwsgw.ic.envelope import call_content, sign_request, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.signatures import verify_signature

SECRET = bytes(range(1, 33))
CANISTER = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
Curve = Literal["secp256k1", "p256"]
CURVES: list[Any] = ["secp256k1", "p256"]
OPENSSL = {"secp256k1": "secp256k1", "p256": "prime256v1"}


@pytest.mark.parametrize("curve", CURVES)
def test_principal_and_key_are_those_of_another_library(curve: Curve) -> None:
    ours, theirs = EcdsaIdentity.of_secret(curve, SECRET), Identity(privkey=SECRET.hex(), type=curve)
    assert ours.principal.text == theirs.sender().to_str()
    assert ours.public_key_der == theirs.der_pubkey
    # each accepts the other's signatures
    verify_signature(ours.public_key_der, b"message", theirs.sign(b"message")[1])
    assert theirs.verify(b"message", ours.sign(b"message"))
    with pytest.raises(SignatureInvalid):
        verify_signature(ours.public_key_der, b"massage", ours.sign(b"message"))


@pytest.mark.parametrize("curve", CURVES)
def test_a_replica_accepts_its_calls(curve: Curve) -> None:
    identity = EcdsaIdentity.generate(curve)
    content = call_content(identity.principal, CANISTER, "ws_open", b"DIDL\0\0", 10**9 + 1)
    assert verify_envelope(sign_request(identity, content).body, 10**9).sender == identity.principal


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("form", ["SEC1", "SEC1 with parameters", "PKCS8"])
def test_files_of_openssl(curve: Curve, form: str, tmp_path: Path) -> None:
    made = ["openssl", "ecparam", "-name", OPENSSL[curve], "-genkey"]
    if form == "SEC1":
        made.append("-noout")
    pem = subprocess.run(made, capture_output=True, check=True).stdout
    if form == "PKCS8":
        pem = subprocess.run(
            ["openssl", "pkcs8", "-topk8", "-nocrypt"], input=pem, capture_output=True, check=True
        ).stdout
    der = subprocess.run(
        ["openssl", "ec", "-pubout", "-outform", "DER"], input=pem, capture_output=True, check=True
    ).stdout
    identity = identity_of_pem(pem)
    assert isinstance(identity, EcdsaIdentity)
    assert identity.public_key_der == der
    assert identity_of_pem(identity.to_pem()).principal == identity.principal


def test_ed25519_files() -> None:
    pem = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    identity = identity_of_pem(pem)
    assert isinstance(identity, Ed25519Identity)
    assert identity.principal.text == Identity.from_pem(pem.decode()).sender().to_str()


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("", "not a private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (b"\xff\xfe", "not a private key"),
        # an X448 key has 56 bytes; OpenSSL fails to set one of 32 up
        (
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VvBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n"
            "-----END PRIVATE KEY-----\n",
            "not a private key",
        ),
    ],
)
def test_what_is_no_key(pem: str | bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        identity_of_pem(pem)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret"], "encrypted"),
        (["ecparam", "-name", "secp384r1", "-genkey", "-noout"], "no keys on the curve secp384r1"),
        (["genpkey", "-algorithm", "x25519"], "another kind"),
    ],
)
def test_keys_that_cannot_be_used(command: list[str], words: str) -> None:
    pem = subprocess.run(["openssl", *command], capture_output=True, check=True).stdout
    with pytest.raises(FormatError, match=words):
        identity_of_pem(pem)


def test_secrets_that_are_none() -> None:
    for secret in (b"", bytes(32), b"\xff" * 32, bytes(33)):
        with pytest.raises(FormatError):
            EcdsaIdentity.of_secret("p256", secret)
