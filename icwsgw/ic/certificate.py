"""Verifies certificates: statements under a subnet's threshold signature (interface spec, section "Certification").

A certificate is CBOR ``{tree, signature, delegation?}``: a witness of the state tree, and the BLS signature of a
subnet over the witness's digest. The subnet's key is the root key, or is in a *delegation*: a certificate of the
root subnet with the subnet's key and the ranges of its canisters. These ranges are in
``/canister_ranges/<subnet>/<first canister of the shard>`` (answers of the v3/v4 endpoints) or in
``/subnet/<subnet>/canister_ranges`` (older ones). There is one level of delegation, no more.

A certificate without a delegation is signed by the root subnet. It is valid only for the root subnet's own canisters:
see :func:`root_ranges_cover`.

Each replica of a subnet fetches a delegation of its own from the root subnet every five minutes (dfinity/ic,
``nns_delegation_manager``), so a subnet of 13 nodes has 13 of them at a time, and more by shards. Agents take them for
30 days. They are cached by their bytes, so that a certificate costs one pairing (1.5 ms) instead of two. Times are
nanoseconds since 1970.
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
from icwsgw.ic.hashtree import Found, Missing
from icwsgw.ic.network_limits import MAX_AGE_NS, MAX_CACHED_DELEGATIONS, MAX_FUTURE_NS, SECOND_NS
from icwsgw.ic.principal import Principal

__all__ = [
    "MAX_DELEGATION_AGE_NS",
    "CanisterRanges",
    "Certificate",
    "Delegation",
    "DelegationCache",
    "RequestStatus",
    "TrustedDelegation",
    "build_certificate",
    "build_delegation",
    "certified_data",
    "check_age",
    "check_messages",
    "decode_certificate",
    "node_keys",
    "request_status",
    "root_ranges_cover",
    "signed_message",
    "subnet_of",
    "subnet_ranges",
    "verify_batch",
    "verify_certificate",
    "verify_delegation",
]

#: As the JavaScript agents have it.
MAX_DELEGATION_AGE_NS = 30 * 24 * 3600 * SECOND_NS


#: Canister ranges: from the first to the last id of each pair, both included.
Ranges = tuple[tuple[bytes, bytes], ...]


class CanisterRanges(NamedTuple):
    """The canister ranges of a subnet, as a certificate shows them.

    :ivar subnet_id: the subnet
    :ivar flat: the ranges in the form that every agent reads; None: the certificate does not show them
    :ivar shards: the ranges by shard, in the order of the shards' labels; None: the certificate shows no shards
    """

    subnet_id: bytes
    flat: Ranges | None
    shards: tuple[tuple[bytes, Ranges], ...] | None

    def covers(self, canister_id: bytes) -> bool:
        """Return whether the subnet may speak for a canister, as agents decide it; no ranges hold none."""
        if self.shards is None:
            return self.flat is not None and _in_ranges(self.flat, canister_id)
        last: Ranges = ()
        for first, ranges in self.shards:
            if first > canister_id:
                break
            last = ranges
        return _in_ranges(last, canister_id)


class TrustedDelegation(NamedTuple):
    """The content of a verified delegation.

    :ivar time_ns: the time in its certificate
    :ivar public_key: the subnet's key, 96 bytes
    :ivar subnet_id: the subnet
    :ivar flat: the ranges in the form that every agent reads; None: the certificate does not show them
    :ivar shards: the ranges by shard, in the order of the shards' labels; None: the certificate shows no shards
    """

    time_ns: int
    public_key: bytes
    subnet_id: bytes
    flat: Ranges | None
    shards: tuple[tuple[bytes, Ranges], ...] | None

    def covers(self, canister_id: bytes) -> bool:
        """Return whether the subnet may speak for a canister, as agents decide it; no ranges hold none."""
        return CanisterRanges(self.subnet_id, self.flat, self.shards).covers(canister_id)

    def shows_flat(self, canister_id: bytes) -> bool:
        """Return whether agents that know the flat form alone find the canister in it."""
        return self.flat is not None and _in_ranges(self.flat, canister_id)


class DelegationCache:
    """A cache of verified delegations, by root key, subnet and bytes. The least recently used are dropped first.

    :param max_entries: the most delegations
    :ivar hits: number of successful look-ups
    :ivar misses: number of look-ups without success; each costs a pairing
    """

    __slots__ = ("_entries", "_max_entries", "hits", "misses")

    def __init__(self, max_entries: int = MAX_CACHED_DELEGATIONS) -> None:
        if max_entries < 1:
            raise ValueError("a cache holds at least one entry")
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[bytes, Delegation], TrustedDelegation] = OrderedDict()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, root_key_der: bytes, delegation: Delegation) -> TrustedDelegation | None:
        """Return the verified delegation, if it is here."""
        key = (root_key_der, delegation)
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
            self._entries.move_to_end(key)
        return entry

    def put(self, root_key_der: bytes, delegation: Delegation, trusted: TrustedDelegation) -> None:
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
    """Decode and verify a certificate for a canister or a subnet.

    :param root_key_der: the root key, 133 bytes of DER
    :param canister_id: the effective canister id: the delegation must cover it
    :param subnet_id: instead of a canister: the delegation must be this subnet's
    :param now_ns: the time now; None: no age is checked
    :param cache: keeps verified delegations
    :raises CertificateInvalid: with the reason, also if the bytes are not a certificate
    """
    if (canister_id is None) == (subnet_id is None):
        raise ValueError("give either canister_id or subnet_id")
    try:
        if not isinstance(certificate, Certificate):
            certificate = decode_certificate(certificate)
        # The cheap checks first: an old certificate must not cost a pairing.
        check_age(certificate, now_ns, max_age_ns, max_future_ns)
        key = bls.der_unwrap(root_key_der)
        if certificate.delegation is not None:
            trusted = verify_delegation(
                certificate.delegation,
                root_key_der=root_key_der,
                now_ns=now_ns,
                max_age_ns=max_delegation_age_ns,
                max_future_ns=max_future_ns,
                cache=cache,
            )
            _check_scope(trusted, canister_id, subnet_id)
            key = trusted.public_key
        elif canister_id is not None and root_ranges_cover(certificate, root_key_der, canister_id) is False:
            raise CertificateInvalid(f"the root subnet may not speak for canister {canister_id}")
        if not bls.verify(key, certificate.signature, signed_message(certificate.tree)):
            raise CertificateInvalid("the certificate's signature does not verify")
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error
    return certificate


def _check_scope(trusted: TrustedDelegation, canister_id: Principal | None, subnet_id: Principal | None) -> None:
    """Check that a delegation is of the subnet, or covers the canister, that a certificate is for."""
    if subnet_id is not None and subnet_id.raw != trusted.subnet_id:
        raise CertificateInvalid(f"the certificate is of another subnet than {subnet_id}")
    if canister_id is not None and not trusted.covers(canister_id.raw):
        raise CertificateInvalid(f"the subnet may not speak for canister {canister_id}")


def check_age(
    certificate: Certificate,
    now_ns: int | None,
    max_age_ns: int = MAX_AGE_NS,
    max_future_ns: int = MAX_FUTURE_NS,
    what: str = "the certificate",
) -> None:
    """Check only a certificate's time, because a verified certificate that is kept becomes too old.

    :param now_ns: the time now, ns since 1970; None: no check
    :param max_age_ns: how far its time may be in the past
    :param max_future_ns: how far its time may be in the future
    :param what: the subject of the error's text

    :raises CertificateInvalid: the time is too old, too far ahead, or missing
    """
    _check_time(certificate.time_ns, now_ns, max_age_ns, max_future_ns, what)


def _check_time(time_ns: int, now_ns: int | None, max_age_ns: int, max_future_ns: int, what: str) -> None:
    if now_ns is None:
        return
    if time_ns < now_ns - max_age_ns:
        raise CertificateInvalid(f"{what} is {(now_ns - time_ns) // SECOND_NS} s old")
    if time_ns > now_ns + max_future_ns:
        raise CertificateInvalid(f"{what} is {(time_ns - now_ns) // SECOND_NS} s ahead of this machine's clock")


def verify_delegation(
    delegation: Delegation,
    *,
    root_key_der: bytes,
    now_ns: int | None,
    max_age_ns: int = MAX_DELEGATION_AGE_NS,
    max_future_ns: int = MAX_FUTURE_NS,
    cache: DelegationCache | None = None,
) -> TrustedDelegation:
    """Decode and verify a delegation of the root subnet.

    :param now_ns: the time now; None: its age is not checked
    :param cache: keeps verified delegations
    :raises CertificateInvalid: with the reason
    :raises FormatError: the bytes are not a certificate, or the ranges are malformed
    """
    trusted = cache.get(root_key_der, delegation) if cache is not None else None
    if trusted is not None:
        _check_time(trusted.time_ns, now_ns, max_age_ns, max_future_ns, "the delegation")
        return trusted
    certificate = decode_certificate(delegation.certificate)
    check_age(certificate, now_ns, max_age_ns, max_future_ns, "the delegation")
    if certificate.delegation is not None:
        raise CertificateInvalid("the delegation is itself delegated")
    if not bls.verify(bls.der_unwrap(root_key_der), certificate.signature, signed_message(certificate.tree)):
        raise CertificateInvalid("the delegation's signature does not verify")
    key_der = certificate.lookup((b"subnet", delegation.subnet_id, b"public_key"))
    if not isinstance(key_der, Found):
        raise CertificateInvalid("the delegation does not name the subnet's key")
    flat, shards = ranges_of(certificate, delegation.subnet_id)
    trusted = TrustedDelegation(certificate.time_ns, bls.der_unwrap(key_der.value), delegation.subnet_id, flat, shards)
    if cache is not None:
        cache.put(root_key_der, delegation, trusted)
    return trusted


def root_ranges_cover(certificate: Certificate, root_key_der: bytes, canister_id: Principal) -> bool | None:
    """Return whether a certificate says that a canister is the root subnet's; None where it does not show it.

    Answers to read_state of ``/subnet`` show the root subnet's ranges; a data certificate and the status of a request
    do not (dfinity/agent-rs, ``fetch_subnet_by_canister``).

    :param certificate: verified, or to be verified, and without a delegation
    :param root_key_der: whose hash is the root subnet's id
    :raises FormatError: the ranges are none
    """
    root = Principal.self_authenticating(root_key_der).raw
    ranges = CanisterRanges(root, *ranges_of(certificate, root))
    if ranges.flat is None and ranges.shards is None:
        return None
    return ranges.covers(canister_id.raw)


def subnet_ranges(certificate: Certificate, root_key_der: bytes) -> CanisterRanges:
    """Return the canister ranges of the subnet that has signed a certificate.

    The delegation shows them; without one, the certificate itself may show those of the root subnet.

    :param certificate: verified
    :param root_key_der: whose hash is the root subnet's id
    :raises FormatError: the ranges are none
    """
    if certificate.delegation is None:
        root = Principal.self_authenticating(root_key_der).raw
        return CanisterRanges(root, *ranges_of(certificate, root))
    subnet_id, shown = certificate.delegation.subnet_id, decode_certificate(certificate.delegation.certificate)
    return CanisterRanges(subnet_id, *ranges_of(shown, subnet_id))


def ranges_of(
    certificate: Certificate, subnet_id: bytes
) -> tuple[Ranges | None, tuple[tuple[bytes, Ranges], ...] | None]:
    """Return the canister ranges of a subnet that a certificate shows: in the flat form, and by shard.

    A shard that is pruned, or holds no ranges, holds no canister.

    :raises FormatError: what should be ranges is not
    """
    found = certificate.lookup((b"subnet", subnet_id, b"canister_ranges"))
    flat = _ranges(found.value) if isinstance(found, Found) else None
    below = hashtree.lookup_subtree(certificate.tree, (b"canister_ranges", subnet_id))
    if isinstance(below, Missing):
        return flat, None
    shown = hashtree.children(below)
    return flat, tuple((first, _ranges(shard[1]) if shard[0] == 3 else ()) for first, shard in shown)


def _ranges(encoded: bytes) -> Ranges:
    ranges = cbor.loads(encoded)
    if not isinstance(ranges, list):
        raise FormatError("canister ranges: not a list")
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(bound, bytes) for bound in pair):
            raise FormatError("canister ranges: not pairs of principals")
    return tuple((low, high) for low, high in ranges)


def _in_ranges(ranges: Ranges, canister_id: bytes) -> bool:
    return any(low <= canister_id <= high for low, high in ranges)


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
