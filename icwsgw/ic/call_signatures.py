"""Checks a call's signatures before the gateway relays it.

The gateway must not refuse a call that a replica would accept, and it cannot verify everything that a replica can. So
there are three results:

* The signatures are valid (:attr:`Proof.HOLDS`).
* Only a replica can verify them (:attr:`Proof.UNKNOWN`): keys other than Ed25519, P-256 and secp256k1 (canister
  signatures, WebAuthn), or fields that this version does not know.
* No replica would accept the call (:class:`~icwsgw.errors.SignatureInvalid`).

See decision 0035.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, Final, NamedTuple

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import IC_REQUEST_SEPARATOR, request_id
from icwsgw.ic.signatures import MAX_DELEGATIONS, is_verifiable, verify_link, verify_signature

CLOCK_GRACE_NS: Final = 5_000_000_000
"""A delegation is refused here when it expired longer ago than this: clocks differ, and the replica decides."""

_CONTENT: Final = frozenset(
    ("request_type", "sender", "ingress_expiry", "nonce", "canister_id", "method_name", "arg", "sender_info")
)
_Link = tuple[Mapping[str, Any], bytes]
"""A delegation and its signature."""

_DELEGATION: Final = frozenset(("pubkey", "expiration", "targets", "permissions"))


class Proof(Enum):
    """The result of a check that found nothing wrong."""

    HOLDS = "holds"
    UNKNOWN = "unknown"


class CallSignatures(NamedTuple):
    """A call that may be relayed.

    :ivar proof: whether the signatures are valid or unknown
    :ivar request: 32 bytes that identify the call: the request id over the fields that a replica knows; if the content
        has no such hash, the SHA-256 of the envelope
    """

    proof: Proof
    request: bytes


def check_call_signatures(body: bytes, now_ns: int) -> CallSignatures:
    """Check the signatures of a call's envelope, as far as this is possible without the network.

    The request's own signature is verified first. So a forged request costs one verification, however many
    delegations it has.

    :param body: CBOR of the envelope; its sender is not the anonymous principal
    :param now_ns: the network's time, ns since 1970
    :raises SignatureInvalid: a signature is missing or wrong, the sender is wrong, or a delegation has expired or does
        not allow this call
    """
    try:
        envelope, readable = cbor.loads(body), True
    except FormatError:
        # the envelope has an unknown field that cannot be decoded
        envelope, readable = loads_known(body, ENVELOPE), False
    content = envelope["content"]
    public_key, signature, delegations = (
        cbor.optional(envelope, name) for name in ("sender_pubkey", "sender_sig", "sender_delegation")
    )
    if not isinstance(public_key, bytes) or not isinstance(signature, bytes):
        raise SignatureInvalid("the envelope is not signed")
    if Principal.self_authenticating(public_key).raw != content["sender"]:
        raise SignatureInvalid("the sender is not the principal of sender_pubkey")
    if delegations is not None and not isinstance(delegations, list):
        raise SignatureInvalid("sender_delegation is not a list")
    links = [_link(entry, content, now_ns) for entry in delegations or ()]
    if len(links) > MAX_DELEGATIONS:
        raise SignatureInvalid(f"more than {MAX_DELEGATIONS} delegations")
    keys = [public_key, *(link[0]["pubkey"] for link in links)]
    if len(set(keys)) < len(keys):
        raise SignatureInvalid("a cycle in the delegations")
    # a replica hashes the fields that it knows; a client with more fields may have signed all of them or only these
    usual = content.keys() <= _CONTENT
    try:
        request = request_id(content if usual else {name: content[name] for name in content.keys() & _CONTENT})
    except FormatError:
        return CallSignatures(Proof.UNKNOWN, sha256(body).digest())
    known = readable and usual and all(link.keys() <= _DELEGATION for link, _ in links)
    try:
        return CallSignatures(_verify(keys, links, request, signature) if known else Proof.UNKNOWN, request)
    except FormatError:
        return CallSignatures(Proof.UNKNOWN, request)


def _verify(keys: Sequence[bytes], links: Sequence[_Link], request: bytes, signature: bytes) -> Proof:
    proof = Proof.HOLDS
    if is_verifiable(keys[-1]):
        verify_signature(keys[-1], IC_REQUEST_SEPARATOR + request, signature)
    else:
        proof = Proof.UNKNOWN
    for key, (delegation, link_signature) in zip(keys, links, strict=False):
        if is_verifiable(key):
            verify_link(key, request_id(delegation), link_signature)
        else:
            proof = Proof.UNKNOWN
    return proof


def _link(entry: Any, content: Mapping[str, Any], now_ns: int) -> _Link:
    """Check one entry of the chain without its signature; returns the delegation and the signature."""
    delegation = entry.get("delegation") if isinstance(entry, Mapping) else None
    signature = entry.get("signature") if isinstance(entry, Mapping) else None
    if not isinstance(delegation, Mapping) or not isinstance(signature, bytes):
        raise SignatureInvalid("a delegation without its fields")
    expiration, targets = delegation.get("expiration"), cbor.optional(delegation, "targets")
    if not isinstance(delegation.get("pubkey"), bytes):
        raise SignatureInvalid("a delegation without a public key")
    if type(expiration) is not int:
        raise SignatureInvalid("a delegation without an expiration")
    if expiration < now_ns - CLOCK_GRACE_NS:
        raise SignatureInvalid("a delegation has expired")
    if targets is not None and (not isinstance(targets, list) or content["canister_id"] not in targets):
        raise SignatureInvalid("the canister is not among a delegation's targets")
    return delegation, signature
