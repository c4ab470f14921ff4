"""Verifies signatures of senders (Ed25519, ECDSA on P-256 and on secp256k1) and delegation chains.

Public keys are given as DER SubjectPublicKeyInfo. ECDSA signatures are the 64 bytes ``r . s`` over SHA-256 (IC
interface specification, section "Signatures"). :mod:`icwsgw.ic.verifier` also verifies WebAuthn and canister
signatures.

A delegation chain leads from ``sender_pubkey``, whose principal is the sender, to the session key that signs the
request. The key before each delegation signs it, over ``"\\x1Aic-request-auth-delegation" . hash(delegation)`` (section
"Authentication").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic.cbor import optional
from icwsgw.ic.identity import ED25519_DER_PREFIX
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, request_id

MAX_DELEGATIONS: Final = 20
MAX_TARGETS: Final = 1000
_MAX_KEY: Final = 256
"""The most bytes of a DER key that are parsed. Keys on these curves have 56 to 91, with explicit parameters 250."""
_ECDSA: Final = ec.ECDSA(SHA256())
_ECDSA_DER_PREFIXES: Final = (
    bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04",
    bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200") + b"\x04",
)
"""The DER of a P-256 and a secp256k1 key, as agents write it (RFC 5480), before the 64 bytes of the point."""


#: The fields of a delegation that are signed. Other fields are ignored.
_HASHED: Final[tuple[str, ...]] = ("pubkey", "expiration", "targets", "permissions")


class Chain(NamedTuple):
    """The result of verifying a delegation chain: the key that must sign the request, and its permissions."""

    public_key: bytes
    """The key that must have signed the request, in DER."""
    targets: frozenset[bytes] | None
    """The canisters to which requests are allowed; None: all."""
    queries_only: bool
    """Whether calls are not allowed."""


def verify_signature(der_public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify an Ed25519 or ECDSA signature.

    :param der_public_key: SubjectPublicKeyInfo
    :param message: the signed bytes
    :param signature: 64 bytes
    :raises SignatureInvalid: the signature is invalid, or this function does not support the kind of key
    """
    if len(signature) != 64:
        raise SignatureInvalid(f"a signature of {len(signature)} bytes")
    if der_public_key[:12] == ED25519_DER_PREFIX and len(der_public_key) == 44:
        try:
            crypto_sign_open(signature + message, der_public_key[12:])
        except BadSignatureError:
            raise SignatureInvalid("wrong Ed25519 signature") from None
        return
    if len(der_public_key) > _MAX_KEY:
        raise SignatureInvalid("a public key of a kind that is not verified here")
    key = _ecdsa_key(der_public_key)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, _ECDSA)
    except InvalidSignature:
        raise SignatureInvalid("wrong ECDSA signature") from None


@lru_cache(maxsize=256)
def _ecdsa_key(der_public_key: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(der_public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureInvalid("a public key of a kind that is not verified here") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, (ec.SECP256R1, ec.SECP256K1)):
        raise SignatureInvalid("a public key of a kind that is not verified here")
    numbers = key.public_numbers()
    # RFC 5480, section 2.2, does not allow X9.62's hybrid form of a point (06, 07), but the library reads it
    point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    if der_public_key.endswith(point) and der_public_key[-65] != 4:
        raise SignatureInvalid("a public key whose point is in hybrid form")
    return key


def is_verifiable(der_public_key: bytes) -> bool:
    """Return whether :func:`verify_signature` can verify signatures of this key.

    True for Ed25519, P-256 and secp256k1 keys in the form that agents write. False for canister signatures (Internet
    Identity), COSE keys (WebAuthn, RSA), and unusual encodings of a point.
    """
    if der_public_key[:12] == ED25519_DER_PREFIX:
        return len(der_public_key) == 44
    return any(len(der_public_key) == len(p) + 64 and der_public_key.startswith(p) for p in _ECDSA_DER_PREFIXES)


@lru_cache(maxsize=1024)
def verify_link(der_public_key: bytes, delegation_hash: bytes, signature: bytes) -> None:
    """Verify the signature of one delegation. Valid ones are cached, because clients use a delegation for days.

    :param der_public_key: the key that signed the delegation, SubjectPublicKeyInfo
    :param delegation_hash: 32 bytes
    :param signature: 64 bytes
    :raises SignatureInvalid: see :func:`verify_signature`
    """
    verify_signature(der_public_key, IC_REQUEST_AUTH_DELEGATION_SEPARATOR + delegation_hash, signature)


def verify_delegations(
    sender_public_key: bytes,
    delegations: Sequence[Any],
    now_ns: int,
    verify: Callable[[bytes, bytes, bytes], None] = verify_signature,
) -> Chain:
    """Verify a chain of delegations that begins at the sender's key.

    :param sender_public_key: SubjectPublicKeyInfo
    :param delegations: the decoded ``sender_delegation``, maps of ``delegation`` and ``signature``; it may be empty
    :param now_ns: the time now, ns since 1970
    :param verify: verifies a signature; takes the key in DER, the message and the signature
    :returns: the key that must have signed the request, and what it may do
    :raises FormatError: a delegation is malformed
    :raises SignatureInvalid: an invalid signature, an expired delegation, a cycle, or too many delegations or targets
    """
    if len(delegations) > MAX_DELEGATIONS:
        raise SignatureInvalid(f"more than {MAX_DELEGATIONS} delegations")
    key = sender_public_key
    seen = {key}
    targets: frozenset[bytes] | None = None
    queries_only = False
    for signed in delegations:
        delegation, signature = _signed_delegation(signed)
        known = {name: delegation[name] for name in _HASHED if name in delegation}
        verify(key, IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(known), signature)
        if delegation["expiration"] < now_ns:
            raise SignatureInvalid("a delegation has expired")
        own = optional(delegation, "targets")
        if own is not None:
            targets = frozenset(own) if targets is None else targets.intersection(own)
        queries_only = queries_only or delegation.get("permissions") == "queries"
        key = delegation["pubkey"]
        if key in seen:
            raise SignatureInvalid("a cycle in the delegations")
        seen.add(key)
    return Chain(key, targets, queries_only)


def _signed_delegation(signed: Any) -> tuple[dict[str, Any], bytes]:
    if not isinstance(signed, Mapping):
        raise FormatError("a delegation is not a map")
    delegation, signature = signed.get("delegation"), signed.get("signature")
    if not isinstance(delegation, dict) or not isinstance(signature, bytes):
        raise FormatError("a delegation without its fields")
    expiration, permissions = delegation.get("expiration"), optional(delegation, "permissions")
    if not isinstance(delegation.get("pubkey"), bytes):
        raise FormatError("a delegation without a public key")
    if type(expiration) is not int or not 0 <= expiration < 1 << 64:
        raise FormatError("a delegation without an expiration")
    if permissions not in (None, "queries", "all"):
        raise FormatError("a delegation with unknown permissions")
    targets = optional(delegation, "targets")
    if targets is not None:
        if not isinstance(targets, list) or not all(isinstance(t, bytes) for t in targets):
            raise FormatError("a delegation's targets are not a list of principals")
        if len(targets) > MAX_TARGETS:
            raise SignatureInvalid(f"a delegation with more than {MAX_TARGETS} targets")
        for target in targets:
            Principal(target)
    return delegation, signature
