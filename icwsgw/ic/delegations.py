"""Replaces a certificate's delegation with one that every agent can read.

A subnet signs the tree of a certificate, but not its delegation. So another delegation of the same subnet,
with the same key, can take its place; agents verify it like any other. :mod:`icwsgw.ic.certificate` describes the two
forms of canister ranges. @dfinity/agent up to 3.4.3 reads only the flat form.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.certificate import (
    MAX_DELEGATION_AGE_NS,
    DelegationCache,
    TrustedDelegation,
    ranges_of,
    verify_delegation,
)
from icwsgw.ic.certificate_format import Certificate, Delegation, decode_certificate
from icwsgw.ic.hashtree import Found
from icwsgw.ic.network_limits import MAX_CACHED_DELEGATIONS

_KEY = b"\x6adelegation"
#: The most items in a delegation. It is a map of two fields; later versions may add fields.
_MAX_ITEMS = 64
#: The most bytes in a delegation. A delegation with a hundred canister ranges has 5,000.
MAX_SIZE = 32 << 10
#: The most bytes that may follow a delegation that is not the last field.
_REST = 32 << 10


def _span(certificate: bytes) -> tuple[int, int] | None:
    """Find the value of ``delegation`` by its key, without parsing the tree before it, which may have any size.

    If the content of a certificate includes the bytes of the key, it can mislead this search. This affects only the
    certificates of the sender that chose that content: they stay unchanged, or become invalid.

    :returns: offsets (start, end), or None without the key
    :raises FormatError: the value is malformed or too long
    """
    key = certificate.rfind(_KEY)
    if key < 0:
        return None
    start = key + len(_KEY)
    if len(certificate) - start > MAX_SIZE + _REST:
        raise FormatError("certificate: the delegation is too long")
    return start, cbor.item_end(certificate, start, _MAX_ITEMS)


def tail_of(certificate: bytes) -> bytes:
    """Return the bytes from the key ``delegation`` to the end, or empty bytes without it.

    Replicas write that field last.
    """
    key = certificate.rfind(_KEY)
    return certificate[key:] if key >= 0 else b""


def delegation_of(certificate: bytes) -> Delegation | None:
    """Return a certificate's delegation, or None if it has none. The rest of the certificate is not decoded.

    :raises FormatError: the field is not a delegation
    """
    span = _span(certificate)
    if span is None:
        return None
    fields = cbor.loads(certificate[span[0] : span[1]])
    if fields is None:
        return None
    subnet_id = fields.get("subnet_id") if isinstance(fields, dict) else None
    inner = fields.get("certificate") if isinstance(fields, dict) else None
    if not isinstance(subnet_id, bytes) or not isinstance(inner, bytes):
        raise FormatError("certificate: malformed delegation")
    if len(inner) > MAX_SIZE:
        raise FormatError("certificate: the delegation is too long")
    return Delegation(subnet_id, inner)


def with_delegation(certificate: bytes, delegation: Delegation) -> bytes:
    """Replace the delegation in a certificate's bytes; all other bytes stay the same.

    :raises FormatError: the certificate has no delegation
    """
    span = _span(certificate)
    if span is None:
        raise FormatError("certificate: no delegation")
    fields = {"subnet_id": delegation.subnet_id, "certificate": delegation.certificate}
    return certificate[: span[0]] + cbor.dumps(fields) + certificate[span[1] :]


class DelegationView(NamedTuple):
    """The content of a delegation, not verified.

    :ivar public_key: the subnet's key in DER; None: the delegation shows no key
    :ivar flat: whether the canister ranges are in the flat form, which every agent reads
    """

    public_key: bytes | None
    flat: bool


def read_delegation(delegation: Delegation) -> DelegationView:
    """Read a delegation.

    :raises FormatError: the bytes are not a certificate, or the canister ranges are malformed
    """
    certificate = decode_certificate(delegation.certificate)
    key = certificate.lookup((b"subnet", delegation.subnet_id, b"public_key"))
    flat, _ = ranges_of(certificate, delegation.subnet_id)
    return DelegationView(key.value if isinstance(key, Found) else None, flat is not None)


def merged(one: Delegation, other: Delegation) -> Delegation:
    """Merge two witnesses of one delegation into one that shows the canister ranges in both forms.

    :raises FormatError: the two are not witnesses of the same signed tree
    """
    first, second = decode_certificate(one.certificate), decode_certificate(other.certificate)
    if one.subnet_id != other.subnet_id or first.signature != second.signature:
        raise FormatError("two delegations that are not one")
    tree = hashtree.merge(first.tree, second.tree)
    return Delegation(one.subnet_id, _encoded(Certificate(tree, first.signature)))


def _encoded(certificate: Certificate) -> bytes:
    """Return the CBOR of a certificate without a delegation."""
    rest = cbor.dumps({"signature": certificate.signature})
    return b"".join((cbor.SELF_DESCRIBE, b"\xa2\x64tree", hashtree.to_cbor(certificate.tree), rest[1:]))


class _Kept(NamedTuple):
    delegation: Delegation
    trusted: TrustedDelegation


class CompatibleDelegations:
    """Keeps the latest verified delegation of each subnet in the flat form, which every agent reads.

    :param cache: a cache of verified delegations
    :param max_subnets: the most entries; the least recently used is dropped first
    :ivar kept: the delegations by root key (DER) and subnet id; callers read it to see whether there are any
    """

    __slots__ = ("_cache", "_max_subnets", "_merged", "kept")

    def __init__(self, cache: DelegationCache, max_subnets: int = 256) -> None:
        self._cache = cache
        self._max_subnets = max_subnets
        self.kept: OrderedDict[tuple[bytes, bytes], _Kept] = OrderedDict()
        # results of merging pairs of delegations, so that each pair is decoded once; None: they cannot be merged
        self._merged: OrderedDict[tuple[Delegation, Delegation], _Kept | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.kept)

    def time_of(self, root_key_der: bytes, subnet_id: bytes) -> int | None:
        """Return the time of a subnet's kept delegation in ns since 1970, or None if there is none."""
        kept = self.kept.get((root_key_der, subnet_id))
        return None if kept is None else kept.trusted.time_ns

    def keep(self, root_key_der: bytes, delegation: Delegation, now_ns: int) -> None:
        """Verify a delegation and keep it, unless a newer one of the subnet is already kept.

        :param now_ns: the time now, ns since 1970
        :raises CertificateInvalid: it does not verify, or has no canister ranges in the flat form
        """
        try:
            trusted = verify_delegation(delegation, root_key_der=root_key_der, now_ns=now_ns, cache=self._cache)
        except FormatError as error:
            raise CertificateInvalid(str(error)) from error
        if trusted.flat is None:
            raise CertificateInvalid("the delegation shows no flat canister ranges")
        key = (root_key_der, delegation.subnet_id)
        before = self.kept.get(key)
        if before is None or before.trusted.time_ns <= trusted.time_ns:
            self.kept[key] = _Kept(delegation, trusted)
            self.kept.move_to_end(key)
            if len(self.kept) > self._max_subnets:
                self.kept.popitem(last=False)

    def in_place_of(
        self, root_key_der: bytes, delegation: Delegation, shown: DelegationView, canister_id: bytes, now_ns: int
    ) -> Delegation | None:
        """Return a delegation that can replace another one, or None.

        It is of the same subnet with the same key, and not older than
        :data:`icwsgw.ic.certificate.MAX_DELEGATION_AGE_NS`. If both are witnesses of one tree, it is their merger, with
        the canister ranges in both forms.

        :param delegation: the delegation to replace
        :param shown: the content of that delegation
        :param canister_id: the canister that the result must cover
        :param now_ns: the time now, ns since 1970
        """
        key = (root_key_der, delegation.subnet_id)
        kept = self.kept.get(key)
        if kept is None or shown.public_key is None:
            return None
        trusted = kept.trusted
        if now_ns - trusted.time_ns > MAX_DELEGATION_AGE_NS:
            del self.kept[key]
            return None
        if bls.der_wrap(trusted.public_key) != shown.public_key or not trusted.shows_flat(canister_id):
            return None
        self.kept.move_to_end(key)
        both = self._both(root_key_der, kept.delegation, delegation, now_ns)
        return both.delegation if both is not None and both.trusted.covers(canister_id) else kept.delegation

    def _both(self, root_key_der: bytes, one: Delegation, other: Delegation, now_ns: int) -> _Kept | None:
        pair = (one, other)
        if pair not in self._merged:
            try:
                both = merged(one, other)
                trusted = verify_delegation(both, root_key_der=root_key_der, now_ns=now_ns, cache=self._cache)
                self._merged[pair] = _Kept(both, trusted)
            except (FormatError, CertificateInvalid):
                self._merged[pair] = None
            if len(self._merged) > MAX_CACHED_DELEGATIONS:
                self._merged.popitem(last=False)
        return self._merged[pair]
