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
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.hashtree import ABSENT, EMPTY, UNKNOWN, Found, Missing, Tree
from icwsgw.ic.principal import Principal

_SECOND = 1_000_000_000
#: The ingress expiry window, which agents take as the limit too.
MAX_AGE_NS = 5 * 60 * _SECOND
#: As the JavaScript agent has it; renewal is about weekly.
MAX_DELEGATION_AGE_NS = 30 * 24 * 3600 * _SECOND
#: How far ahead of our clock a certificate may be.
MAX_FUTURE_NS = 5 * 60 * _SECOND

_STATE_ROOT = b"\x0dic-state-root"
# The tree's levels, and the map around it.
_CBOR_DEPTH = hashtree.MAX_DEPTH + 2


class Delegation(NamedTuple):
    """Whom the root subnet lets speak: the subnet's id and the certificate that says so."""

    subnet_id: bytes
    certificate: bytes


class Certificate:
    """A decoded certificate; not verified by being one.

    :ivar tree: the witness
    :ivar signature: 48 bytes, of the message :func:`signed_message`
    :ivar delegation: the delegation, or None where the root key signed
    """

    __slots__ = ("_time_ns", "delegation", "signature", "tree")

    def __init__(self, tree: Tree, signature: bytes, delegation: Delegation | None = None) -> None:
        self.tree = tree
        self.signature = signature
        self.delegation = delegation
        self._time_ns: int | None = None

    @property
    def time_ns(self) -> int:
        """When the subnet made this state.

        :raises CertificateInvalid: no readable ``/time`` in the tree
        """
        if self._time_ns is None:
            time = self.lookup((b"time",))
            if not isinstance(time, Found):
                raise CertificateInvalid("the certificate has no time")
            self._time_ns = _natural(time.value)
        return self._time_ns

    def lookup(self, path: Iterable[bytes]) -> Found | Missing:
        """Return the value at `path`; see :func:`icwsgw.ic.hashtree.lookup`."""
        return hashtree.lookup(self.tree, path)


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


class RequestStatus(NamedTuple):
    """What a certificate says of a request (interface spec, "Request status").

    :ivar status: unknown, received, processing, replied, rejected or done
    :ivar reply: the reply's bytes, where replied
    :ivar reject_code: where rejected
    :ivar reject_message: where rejected
    :ivar error_code: for example "IC0503", where rejected and given
    """

    status: str
    reply: bytes | None = None
    reject_code: int | None = None
    reject_message: str | None = None
    error_code: str | None = None


def decode_certificate(data: bytes) -> Certificate:
    """Return the certificate in its CBOR.

    :raises FormatError: not a certificate
    """
    if len(data) > hashtree.MAX_SIZE:
        raise FormatError(f"certificate: {len(data)} bytes")
    fields = cbor.loads(data, max_depth=_CBOR_DEPTH)
    if not isinstance(fields, dict):
        raise FormatError("certificate: not a map")
    signature = fields.get("signature")
    if not isinstance(signature, bytes):
        raise FormatError("certificate: no signature")
    delegation: Delegation | None = None
    # An explicit null means the same as no field.
    if (given := fields.get("delegation")) is not None:
        if not isinstance(given, dict):
            raise FormatError("certificate: the delegation is not a map")
        subnet_id, certificate = given.get("subnet_id"), given.get("certificate")
        if not isinstance(subnet_id, bytes) or not isinstance(certificate, bytes):
            raise FormatError("certificate: malformed delegation")
        delegation = Delegation(subnet_id, certificate)
    tree = fields.get("tree")
    if not isinstance(tree, list):
        raise FormatError("certificate: no tree")
    return Certificate(hashtree.decode(tree), signature, delegation)


def signed_message(tree: Tree) -> bytes:
    """Return what a subnet signs to certify a tree."""
    return _STATE_ROOT + hashtree.reconstruct(tree)


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
        _check_time(certificate, now_ns, max_age_ns, max_future_ns, "the certificate")
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


def _check_time(certificate: Certificate, now_ns: int | None, max_age_ns: int, max_future_ns: int, what: str) -> None:
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
    _check_time(certificate, now_ns, max_age_ns, max_future_ns, "the delegation")
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


def subnet_of(certificate: Certificate, root_key_der: bytes) -> Principal:
    """Return the subnet that made a certificate: the delegation's, or the root subnet, named by its key."""
    if certificate.delegation is not None:
        return Principal(certificate.delegation.subnet_id)
    return Principal.self_authenticating(root_key_der)


def node_keys(certificate: Certificate, subnet_id: Principal) -> dict[bytes, bytes]:
    """Return the public keys (DER) of a subnet's nodes by node id, from ``/subnet/<id>/node/<node>/public_key``.

    :raises CertificateInvalid: the certificate does not show them
    """
    nodes = hashtree.lookup_subtree(certificate.tree, (b"subnet", subnet_id.raw, b"node"))
    if isinstance(nodes, Missing):
        raise CertificateInvalid(f"the certificate does not show the nodes of subnet {subnet_id}")
    keys: dict[bytes, bytes] = {}
    try:
        for node_id, node in hashtree.children(nodes):
            key = hashtree.lookup(node, (b"public_key",))
            if isinstance(key, Found):
                keys[node_id] = key.value
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error
    return keys


def certified_data(certificate: Certificate, canister_id: Principal) -> bytes:
    """Return ``/canister/<id>/certified_data``, at most 32 bytes.

    :raises CertificateInvalid: the certificate does not show it
    """
    data = certificate.lookup((b"canister", canister_id.raw, b"certified_data"))
    if not isinstance(data, Found):
        raise CertificateInvalid(f"the certified data of canister {canister_id} is {data.value}")
    return data.value


def request_status(certificate: Certificate, request_id: bytes) -> RequestStatus:
    """Return what a certificate says of a request; "unknown" where it proves that the IC does not know it.

    :raises CertificateInvalid: the certificate does not tell, or tells half
    """
    root = (b"request_status", request_id)
    found = certificate.lookup((*root, b"status"))
    if found is ABSENT:
        return RequestStatus("unknown")
    if found is UNKNOWN:
        raise CertificateInvalid("the certificate does not tell the request's status")
    status = _text(found.value)
    if status == "replied":
        return RequestStatus(status, reply=_field(certificate, (*root, b"reply")))
    if status != "rejected":
        return RequestStatus(status)
    error_code = certificate.lookup((*root, b"error_code"))
    return RequestStatus(
        status,
        reject_code=_natural(_field(certificate, (*root, b"reject_code"))),
        reject_message=_text(_field(certificate, (*root, b"reject_message"))),
        error_code=_text(error_code.value) if isinstance(error_code, Found) else None,
    )


def _field(certificate: Certificate, path: Sequence[bytes]) -> bytes:
    found = certificate.lookup(path)
    if not isinstance(found, Found):
        raise CertificateInvalid(f"the certificate lacks the request's {path[-1].decode()}")
    return found.value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CertificateInvalid("a text in the certificate is not UTF-8") from None


def _natural(value: bytes) -> int:
    """Return an unsigned LEB128 number that fits 64 bits."""
    number = 0
    for position, byte in enumerate(value[:10]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if position + 1 == len(value) and number < 1 << 64:
                return number
            break
    raise CertificateInvalid("a number in the certificate is malformed")


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


def check_messages(
    certificate: Certificate, tree: bytes, messages: Sequence[tuple[bytes, bytes]], *, canister_id: Principal
) -> None:
    """Check (key, content) pairs against the canister's label tree and a certificate that was verified before.

    The tree's digest must be the canister's certified data; it must hold the SHA-256 of each content under
    ``websocket``, and nothing, shown or pruned, between the first key and the last but the keys given.

    :param tree: CBOR of the canister's witness
    :raises CertificateInvalid: with the reason
    """
    try:
        witness = hashtree.decode(tree)
        if hashtree.reconstruct(witness) != certified_data(certificate, canister_id):
            raise CertificateInvalid("the canister's tree is not the one it certified")
        _check_contents(witness, messages)
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error


def _check_contents(witness: Tree, messages: Sequence[tuple[bytes, bytes]]) -> None:
    level = hashtree.lookup_subtree(witness, (b"websocket",))
    if isinstance(level, Missing):
        raise CertificateInvalid("the canister's tree shows no messages")
    shown = dict(hashtree.children(level))
    for key, content in messages:
        node = shown.get(key)
        if node is None or node[0] != 3:
            raise CertificateInvalid(f"message {key.decode(errors='replace')} is not certified")
        if node[1] != sha256(content).digest():
            raise CertificateInvalid(f"message {key.decode(errors='replace')} has another content than the certified")
    if messages and not hashtree.is_contiguous(level, {key for key, _ in messages}):
        raise CertificateInvalid("messages are missing from the batch")


def build_certificate(tree: Tree, sign: Callable[[bytes], bytes], delegation: Delegation | None = None) -> bytes:
    """Return the CBOR of a certificate of `tree`.

    :param sign: makes the subnet's 48-byte signature of a message, as :func:`icwsgw.ic.bls.sign` with its key
    """
    fields: dict[str, Any] = {"signature": sign(signed_message(tree))}
    if delegation is not None:
        fields["delegation"] = {"subnet_id": delegation.subnet_id, "certificate": delegation.certificate}
    # The tree is encoded apart: its nesting is deeper than what the general encoder is made for.
    rest = cbor.dumps(fields)
    return b"".join((cbor.SELF_DESCRIBE, cbor.head(5, len(fields) + 1), b"\x64tree", hashtree.to_cbor(tree), rest[1:]))


def build_delegation(
    *,
    subnet_id: Principal,
    subnet_key_der: bytes,
    ranges: Sequence[tuple[Principal, Principal]],
    time_ns: int,
    sign: Callable[[bytes], bytes],
    sharded: bool = True,
) -> Delegation:
    """Return a delegation to a subnet, signed by the root subnet.

    :param ranges: the canisters from the first to the last of each pair, both included
    :param sharded: ranges under ``/canister_ranges`` in one shard, as today; or under ``/subnet/<id>``, as before
    """
    encoded = cbor.dumps_tagged([[first.raw, last.raw] for first, last in ranges])
    subnet: dict[bytes, bytes] = {b"public_key": subnet_key_der}
    state: dict[bytes, Mapping[bytes, Any] | bytes] = {b"subnet": {subnet_id.raw: subnet}, b"time": _leb128(time_ns)}
    if sharded and ranges:
        state[b"canister_ranges"] = {subnet_id.raw: {min(first for first, _ in ranges).raw: encoded}}
    else:
        subnet[b"canister_ranges"] = encoded
    return Delegation(subnet_id.raw, build_certificate(hashtree.from_mapping(state), sign))


def _leb128(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
