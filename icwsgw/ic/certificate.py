"""Certificates: what the IC says under its threshold signature (interface spec, section "Certification").

A certificate is CBOR ``{tree, signature, delegation?}``: a witness of the state tree, and the BLS signature of a
subnet over the witness's digest. The subnet's key is the root key, or comes by a *delegation*: a certificate of the
root subnet that names the subnet's key and the canisters it may speak for. These ranges are in
``/canister_ranges/<subnet>/<first canister of the shard>`` (answers of the v3/v4 endpoints) or in
``/subnet/<subnet>/canister_ranges`` (older ones). There is one level of delegation, no more.

Subnets renew delegations about once a week while certificates are minutes old at most, so both have an age limit
of their own, and verified delegations are cached by their bytes: one pairing (1.5 ms) a certificate instead of two.
Times are nanoseconds since 1970.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.certificate_format import (
    Certificate,
    Delegation,
    build_certificate,
    build_delegation,
    decode_certificate,
    signed_message,
)
from icwsgw.ic.certified import RequestStatus, certified_data, check_messages, node_keys, request_status, subnet_of
from icwsgw.ic.hashtree import EMPTY, Found, Missing, Tree
from icwsgw.ic.principal import Principal

__all__ = [
    "MAX_AGE_NS",
    "MAX_DELEGATION_AGE_NS",
    "MAX_FUTURE_NS",
    "Certificate",
    "Delegation",
    "DelegationCache",
    "RequestStatus",
    "build_certificate",
    "build_delegation",
    "certified_data",
    "check_age",
    "check_messages",
    "decode_certificate",
    "node_keys",
    "request_status",
    "signed_message",
    "subnet_of",
    "verify_batch",
    "verify_certificate",
]

_SECOND = 1_000_000_000
#: The ingress expiry window, which agents take as the limit too.
MAX_AGE_NS = 5 * 60 * _SECOND
#: As the JavaScript agent has it; renewal is about weekly.
MAX_DELEGATION_AGE_NS = 30 * 24 * 3600 * _SECOND
#: How far ahead of our clock a certificate may be.
MAX_FUTURE_NS = 5 * 60 * _SECOND


class _TrustedDelegation(NamedTuple):
    """A delegation whose signature was verified."""

    certificate: Certificate
    public_key: bytes
    subnet_id: bytes


class DelegationCache:
    """The delegations that verified, by root key, subnet and bytes; the least recently used leave first.

    :param max_entries: bound; a subnet has one delegation at a time for each shard of its canister ranges
    """

    __slots__ = ("_entries", "_max_entries")

    def __init__(self, max_entries: int = 256) -> None:
        if max_entries < 1:
            raise ValueError("a cache holds at least one entry")
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[bytes, Delegation], _TrustedDelegation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, root_key_der: bytes, delegation: Delegation) -> _TrustedDelegation | None:
        """Return the verified delegation, if it is here."""
        key = (root_key_der, delegation)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, root_key_der: bytes, delegation: Delegation, trusted: _TrustedDelegation) -> None:
        """Keep a verified delegation."""
        self._entries[(root_key_der, delegation)] = trusted
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


def verify_certificate(
    certificate: bytes | Certificate,
    *,
    root_key_der: bytes,
    canister_id: Principal | None = None,
    subnet_id: Principal | None = None,
    now_ns: int | None,
    max_age_ns: int = MAX_AGE_NS,
    max_delegation_age_ns: int = MAX_DELEGATION_AGE_NS,
    max_future_ns: int = MAX_FUTURE_NS,
    cache: DelegationCache | None = None,
) -> Certificate:
    """Return the certificate, once it is known to be the IC's word for this canister or subnet.

    :param root_key_der: the root key, 133 bytes of DER
    :param canister_id: the effective canister id: the delegation must cover it
    :param subnet_id: instead of a canister: the delegation must be this subnet's
    :param now_ns: the time now; None leaves all ages unchecked
    :param cache: keeps verified delegations
    :raises CertificateInvalid: with the reason, also where the bytes are no certificate
    """
    if (canister_id is None) == (subnet_id is None):
        raise ValueError("give either canister_id or subnet_id")
    try:
        if not isinstance(certificate, Certificate):
            certificate = decode_certificate(certificate)
        # The cheap checks first: nobody should make us compute pairings for an old certificate.
        check_age(certificate, now_ns, max_age_ns, max_future_ns)
        key = bls.der_unwrap(root_key_der)
        if certificate.delegation is not None:
            trusted = _verify_delegation(
                certificate.delegation, root_key_der, key, now_ns, max_delegation_age_ns, max_future_ns, cache
            )
            if subnet_id is not None and subnet_id.raw != trusted.subnet_id:
                raise CertificateInvalid(f"the certificate is of another subnet than {subnet_id}")
            if canister_id is not None and not _covers(trusted, canister_id.raw):
                raise CertificateInvalid(f"the subnet may not speak for canister {canister_id}")
            key = trusted.public_key
        if not bls.verify(key, certificate.signature, signed_message(certificate.tree)):
            raise CertificateInvalid("the certificate's signature does not verify")
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error
    return certificate


def check_age(
    certificate: Certificate,
    now_ns: int | None,
    max_age_ns: int = MAX_AGE_NS,
    max_future_ns: int = MAX_FUTURE_NS,
    what: str = "the certificate",
) -> None:
    """Check a certificate's time alone: one that verified once grows old where it is kept.

    :raises CertificateInvalid: too old, too far ahead, or without a time
    """
    time_ns = certificate.time_ns
    if now_ns is None:
        return
    if time_ns < now_ns - max_age_ns:
        raise CertificateInvalid(f"{what} is {(now_ns - time_ns) // _SECOND} s old")
    if time_ns > now_ns + max_future_ns:
        raise CertificateInvalid(f"{what} is {(time_ns - now_ns) // _SECOND} s ahead of this machine's clock")


def _verify_delegation(
    delegation: Delegation,
    root_key_der: bytes,
    root_key: bytes,
    now_ns: int | None,
    max_age_ns: int,
    max_future_ns: int,
    cache: DelegationCache | None,
) -> _TrustedDelegation:
    trusted = cache.get(root_key_der, delegation) if cache is not None else None
    certificate = trusted.certificate if trusted is not None else decode_certificate(delegation.certificate)
    check_age(certificate, now_ns, max_age_ns, max_future_ns, "the delegation")
    if trusted is not None:
        return trusted
    if certificate.delegation is not None:
        raise CertificateInvalid("the delegation is itself delegated")
    if not bls.verify(root_key, certificate.signature, signed_message(certificate.tree)):
        raise CertificateInvalid("the delegation's signature does not verify")
    key_der = certificate.lookup((b"subnet", delegation.subnet_id, b"public_key"))
    if not isinstance(key_der, Found):
        raise CertificateInvalid("the delegation does not name the subnet's key")
    trusted = _TrustedDelegation(certificate, bls.der_unwrap(key_der.value), delegation.subnet_id)
    if cache is not None:
        cache.put(root_key_der, delegation, trusted)
    return trusted


def _covers(trusted: _TrustedDelegation, canister_id: bytes) -> bool:
    """Return whether the delegation's canister ranges hold a canister; no ranges hold none."""
    tree = trusted.certificate.tree
    shards = hashtree.lookup_subtree(tree, (b"canister_ranges", trusted.subnet_id))
    if isinstance(shards, Missing):
        ranges = hashtree.lookup(tree, (b"subnet", trusted.subnet_id, b"canister_ranges"))
        return isinstance(ranges, Found) and _in_ranges(ranges.value, canister_id)
    last: Tree = EMPTY
    for first, shard in hashtree.children(shards):
        if first > canister_id:
            break
        last = shard
    return last[0] == 3 and _in_ranges(last[1], canister_id)


def _in_ranges(encoded: bytes, canister_id: bytes) -> bool:
    ranges = cbor.loads(encoded)
    if not isinstance(ranges, list):
        raise FormatError("canister ranges: not a list")
    inside = False
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(bound, bytes) for bound in pair):
            raise FormatError("canister ranges: not pairs of principals")
        inside = inside or pair[0] <= canister_id <= pair[1]
    return inside


def verify_batch(
    certificate: bytes | Certificate,
    tree: bytes,
    messages: Sequence[tuple[bytes, bytes]],
    *,
    root_key_der: bytes,
    canister_id: Principal,
    now_ns: int | None,
    max_age_ns: int = MAX_AGE_NS,
    cache: DelegationCache | None = None,
) -> Certificate:
    """Return the verified certificate of a canister's answer to ``ws_get_messages``; see :func:`check_messages`.

    :raises CertificateInvalid: the certificate or the batch does not hold
    """
    verified = verify_certificate(
        certificate,
        root_key_der=root_key_der,
        canister_id=canister_id,
        now_ns=now_ns,
        max_age_ns=max_age_ns,
        cache=cache,
    )
    check_messages(verified, tree, messages, canister_id=canister_id)
    return verified
