"""Decodes and builds certificates (interface spec, section "Certification").

A certificate is CBOR ``{tree, signature, delegation?}``: a witness of the state tree, and the BLS signature of a
subnet over the witness's digest. If a subnet other than the root subnet signed, the delegation holds a certificate of
the root subnet with the key of that subnet. This module verifies nothing: see :mod:`icwsgw.ic.certificate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.fields import CERTIFICATE, loads_known
from icwsgw.ic.hashtree import Found, Missing, Tree
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

_STATE_ROOT = b"\x0dic-state-root"
# The levels of the tree, and the map around it.
_CBOR_DEPTH = hashtree.MAX_DEPTH + 2


class Delegation(NamedTuple):
    """A certificate's delegation: the subnet's id, and the root subnet's certificate with the subnet's key."""

    subnet_id: bytes
    certificate: bytes


class Certificate:
    """A decoded certificate, not verified.

    :ivar tree: the witness
    :ivar signature: the subnet's signature of :func:`signed_message`; 48 bytes if valid
    :ivar delegation: the delegation; None: the root subnet signed
    """

    __slots__ = ("_time_ns", "delegation", "signature", "tree")

    def __init__(self, tree: Tree, signature: bytes, delegation: Delegation | None = None) -> None:
        self.tree = tree
        self.signature = signature
        self.delegation = delegation
        self._time_ns: int | None = None

    @property
    def time_ns(self) -> int:
        """The time of this state, in nanoseconds since 1970.

        :raises CertificateInvalid: the tree shows no ``/time``, or it is malformed
        """
        if self._time_ns is None:
            time = self.lookup((b"time",))
            if not isinstance(time, Found):
                raise CertificateInvalid("the certificate has no time")
            self._time_ns = natural(time.value)
        return self._time_ns

    def lookup(self, path: Iterable[bytes]) -> Found | Missing:
        """Return the value at `path`; see :func:`icwsgw.ic.hashtree.lookup`."""
        return hashtree.lookup(self.tree, path)


def decode_certificate(data: bytes) -> Certificate:
    """Decode a certificate from its CBOR.

    :raises FormatError: the bytes are not a certificate, or too large
    """
    if len(data) > hashtree.MAX_SIZE:
        raise FormatError(f"certificate: {len(data)} bytes")
    fields = loads_known(data, CERTIFICATE, max_depth=_CBOR_DEPTH)
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
    """Return the bytes that a subnet signs to certify a tree."""
    return _STATE_ROOT + hashtree.reconstruct(tree)


def build_certificate(tree: Tree, sign: Callable[[bytes], bytes], delegation: Delegation | None = None) -> bytes:
    """Return the CBOR of a certificate of `tree`.

    :param sign: returns the subnet's 48-byte signature of a message, as :func:`icwsgw.ic.bls.sign` does with its key
    :param delegation: the subnet's delegation; None: the root subnet signs
    """
    fields: dict[str, Any] = {"signature": sign(signed_message(tree))}
    if delegation is not None:
        fields["delegation"] = {"subnet_id": delegation.subnet_id, "certificate": delegation.certificate}
    # The tree has its own encoder, because it is nested more deeply than the general encoder allows.
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

    :param subnet_key_der: the subnet's public key, 133 bytes of DER
    :param ranges: the canister ranges: the first and the last canister of each, both included
    :param time_ns: the time of the delegation, in nanoseconds since 1970
    :param sign: returns the root subnet's 48-byte signature of a message
    :param sharded: write the ranges under ``/canister_ranges`` in one shard, as the network does today; False: under
        ``/subnet/<id>``, the older form
    """
    encoded = cbor.dumps_tagged([[first.raw, last.raw] for first, last in ranges])
    subnet: dict[bytes, bytes] = {b"public_key": subnet_key_der}
    state: dict[bytes, Mapping[bytes, Any] | bytes] = {b"subnet": {subnet_id.raw: subnet}, b"time": leb128(time_ns)}
    if sharded and ranges:
        state[b"canister_ranges"] = {subnet_id.raw: {min(first for first, _ in ranges).raw: encoded}}
    else:
        subnet[b"canister_ranges"] = encoded
    return Delegation(subnet_id.raw, build_certificate(hashtree.from_mapping(state), sign))


def natural(value: bytes) -> int:
    """Decode an unsigned LEB128 number of at most 64 bits.

    :raises CertificateInvalid: malformed, followed by further bytes, or too large
    """
    number = 0
    for position, byte in enumerate(value[:10]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if position + 1 == len(value) and number < 1 << 64:
                return number
            break
    raise CertificateInvalid("a number in the certificate is malformed")
