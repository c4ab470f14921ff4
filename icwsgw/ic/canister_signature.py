"""Verifies signatures by canisters, such as Internet Identity (interface spec, section "Canister signatures").

The key is a canister id and a seed. The signature is the CBOR map ``{certificate, tree}`` after the self-describe tag.
The subnet certifies the root hash of the canister's tree, and the tree contains ``/sig/<SHA-256 of the seed>/<SHA-256
of the message>``. The age of the certificate is not checked, because each signed message has its own expiry.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from icwsgw.errors import CertificateInvalid, FormatError, SignatureInvalid
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.certificate import DelegationCache, certified_data, verify_certificate
from icwsgw.ic.hashtree import Found
from icwsgw.ic.principal import Principal

_TREE_DEPTH: Final = 128


def signer_of(key: bytes) -> tuple[Principal, bytes]:
    """Return the canister id and the seed of a key.

    :param key: the key without its DER wrapping, see :func:`icwsgw.ic.public_key.algorithm`
    :raises SignatureInvalid: the key is too short, or its canister id is not a principal
    """
    if not key or len(key) < 1 + key[0]:
        raise SignatureInvalid("a key of a canister that is malformed")
    try:
        return Principal(key[1 : 1 + key[0]]), key[1 + key[0] :]
    except FormatError as error:
        raise SignatureInvalid(str(error)) from None


def verify_canister_signature(
    key: bytes, message: bytes, signature: bytes, root_key_der: bytes, cache: DelegationCache | None = None
) -> None:
    """Verify a canister's signature.

    :param key: the key without its DER wrapping
    :param message: the signed bytes
    :param signature: CBOR with the self-describe tag
    :param root_key_der: the root key, 133 bytes of DER
    :param cache: a cache of verified delegations of subnets
    :raises SignatureInvalid: the signature is malformed, or not valid for this message and key
    """
    canister, seed = signer_of(key)
    try:
        fields = cbor.loads(signature, max_depth=_TREE_DEPTH + 4)
        if not signature.startswith(cbor.SELF_DESCRIBE) or not isinstance(fields, dict):
            raise FormatError("not a map behind the self-describe tag")
        raw, tree = fields.get("certificate"), fields.get("tree")
        if not isinstance(raw, bytes) or not isinstance(tree, list):
            raise FormatError("without certificate or tree")
        certificate = verify_certificate(raw, root_key_der=root_key_der, canister_id=canister, now_ns=None, cache=cache)
        witness = hashtree.decode(tree)
        if hashtree.reconstruct(witness) != certified_data(certificate, canister):
            raise FormatError("the canister's tree is not the one it certified")
    except (FormatError, CertificateInvalid) as error:
        raise SignatureInvalid(f"canister signature: {error}") from None
    path = (b"sig", sha256(seed).digest(), sha256(message).digest())
    if not isinstance(hashtree.lookup(witness, path), Found):
        raise SignatureInvalid("the canister has not signed this")
