"""The subnets of the devnet: their keys, nodes and canister ranges, and the root subnet's delegations to them.

By default the devnet has the layout of the public network (:data:`BY_VERSION`): a root subnet, which signs with the
root key, and two application subnets, whose keys are certified by *delegations*. A delegation is a certificate of the
root subnet about another subnet. The endpoint of the request determines in which form it shows the canister ranges
(dfinity/ic, ``rs/http_endpoints/public/src``: ``query.rs``, ``read_state.rs``, ``call/call_sync.rs``):

=============================  =====================  ======================================
endpoint                       shows                  path
=============================  =====================  ======================================
query and read_state v2        :data:`FLAT`           ``/subnet/<subnet>/canister_ranges``
call v3                        :data:`FLAT`           the same
query and read_state v3        the canister's shard   ``/canister_ranges/<subnet>/<first id>``
call v4                        the canister's shard   the same
read_state v3 of a subnet      no ranges
=============================  =====================  ======================================

All forms are prunings of one tree under one signature. Each node fetches its delegation separately every five minutes
(``nns_delegation_manager``), so the nodes of a subnet have different delegations at any time. Certificates of the root
subnet contain no delegation.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.certificate import Delegation, build_certificate
from icwsgw.ic.hashtree import Tree, pruned, reconstruct
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

#: Layout with three subnets; the API version of the endpoint determines the form of the delegation.
BY_VERSION: Final = "by-version"
#: Layouts of the devnet; all except the first have one subnet for canisters. ``none``: it signs with the root key, like
#: a local replica. ``legacy`` and ``sharded``: its key comes from a delegation, in the same form at all endpoints.
DELEGATIONS: Final = (BY_VERSION, "none", "legacy", "sharded")

#: The lowest and highest id in the format of canister ids (eight bytes, then 01 01).
FIRST_CANISTER = Principal(bytes(8) + b"\1\1")
LAST_CANISTER = Principal(b"\xff" * 8 + b"\1\1")

#: The first number for canisters without a fixed id. It follows those of the demo canisters, as on a local replica.
FIRST_FREE: Final = 0x8000_0000_0010_0003

#: Default number of nodes in each subnet. An application subnet of the public network has 13.
NODES: Final = 4
MAX_NODES: Final = 100
#: Number of canister ranges in one shard (dfinity/ic, ``rs/canonical_state/src/lazy_tree_conversion.rs``).
RANGES_IN_A_SHARD: Final = 5
#: Period at which a node fetches its delegation, in ns.
DELEGATION_PERIOD_NS: Final = 300 * 1_000_000_000

Ranges = Sequence[tuple[Principal, Principal]]
Sign = Callable[[int, bytes], bytes]
"""Makes the BLS signature (48 bytes) of a message with a secret key."""

_ROOT: Final = ((0, 0xF_FFFF),)
# The subnets get alternating blocks of 2^20 ids, as in the public network. The ids of local replicas follow; there the
# two demo canisters have adjacent ids in different subnets. No subnet has higher ids.
_APPLICATIONS: Final = (
    (
        *((block << 20, (block << 20) + 0xF_FFFF) for block in range(1, 32, 2)),
        (0x8000_0000_0000_0000, 0x8000_0000_0010_0001),
        (0x8000_0000_0020_0000, 0xEFFF_FFFF_FFFF_FFFF),
    ),
    (
        *((block << 20, (block << 20) + 0xF_FFFF) for block in range(2, 32, 2)),
        (0x200_0000, 0x7FFF_FFFF_FFFF_FFFF),
        (0x8000_0000_0010_0002, 0x8000_0000_001F_FFFF),
    ),
)


def canister_id(number: int) -> Principal:
    """Return the canister id of a number below 2^64."""
    return Principal(number.to_bytes(8, "big") + b"\1\1")


class Ranged:
    """The canister ranges that a certificate shows.

    :ivar flat: whether it shows the list under ``/subnet``
    :ivar canister: the canister whose shard it shows; None: no shard
    """

    __slots__ = ("canister", "flat")

    def __init__(self, flat: bool, canister: Principal | None = None) -> None:
        self.flat = flat
        self.canister = canister


FLAT: Final = Ranged(True)
NO_RANGES: Final = Ranged(False)


class Node:
    """One node of a subnet.

    :ivar number: its number within the subnet, from 0
    :ivar key: the key that signs answers to queries
    """

    __slots__ = ("_delegations", "_fetched_ns", "key", "number", "offset_ns")

    def __init__(self, number: int, key: Ed25519Identity, offset_ns: int) -> None:
        self.number = number
        self.key = key
        self.offset_ns = offset_ns
        self._fetched_ns: int | None = None
        self._delegations: dict[bytes | bool, Delegation] = {}

    def delegations(self, time_ns: int) -> dict[bytes | bool, Delegation]:
        """Return the node's cache for the forms of the delegation that it fetched at ``time_ns``."""
        if self._fetched_ns != time_ns:
            self._fetched_ns = time_ns
            self._delegations = {}
        return self._delegations


class Subnet:
    """The keys and canister ranges of one subnet.

    :ivar kind: ``system`` or ``application``
    :ivar id: the principal derived from its public key
    :ivar ranges: the first and last canister of each range, in order
    :ivar shards: the encoded ranges of each shard, by the shard's first canister
    """

    def __init__(self, seed: bytes, name: bytes, kind: str, secret: int, ranges: Ranges, nodes: int) -> None:
        self.kind = kind
        self.secret = secret
        self.key_der = bls.der_wrap(bls.public_key(secret))
        self.id = Principal.self_authenticating(self.key_der)
        self.ranges = tuple(ranges)
        self._firsts = [first.raw for first, _ in self.ranges]
        self.encoded_ranges = _encoded(self.ranges)
        self.shards = {
            self.ranges[at][0].raw: _encoded(self.ranges[at : at + RANGES_IN_A_SHARD])
            for at in range(0, len(self.ranges), RANGES_IN_A_SHARD)
        }
        self.nodes = [
            Node(
                number,
                Ed25519Identity(hashlib.sha256(b"icws-devnet node %d " % number + name + seed).digest()),
                number * DELEGATION_PERIOD_NS // nodes,
            )
            for number in range(nodes)
        ]

    def covers(self, canister: Principal) -> bool:
        """Return whether a canister is in the subnet's ranges."""
        at = bisect_right(self._firsts, canister.raw) - 1
        return at >= 0 and canister.raw <= self.ranges[at][1].raw

    def shard_of(self, canister: Principal) -> bytes | None:
        """Return the label of the only shard that may hold a canister."""
        return max((first for first in self.shards if first <= canister.raw), default=None)


def _encoded(ranges: Ranges) -> bytes:
    return cbor.dumps_tagged([[first.raw, last.raw] for first, last in ranges])


class Topology:
    """All subnets, and the root subnet's delegations to them.

    :param seed: all keys are derived from it; the same seed yields the same root key
    :param form: one of :data:`DELEGATIONS`
    :param nodes: the number of nodes in each subnet
    :param sign: makes BLS signatures
    :raises ValueError: the form is unknown, or the number of nodes is out of bounds
    :ivar root_key_der: the root key in DER (133 bytes), as ``/api/v2/status`` returns it
    :ivar subnets: the subnets that have canisters; the root subnet is first if it has any
    :ivar signatures: the number of BLS signatures made
    """

    def __init__(self, seed: bytes, form: str = BY_VERSION, nodes: int = NODES, sign: Sign = bls.sign) -> None:
        if form not in DELEGATIONS:
            raise ValueError(f"delegation is one of {', '.join(DELEGATIONS)}")
        if not 1 <= nodes <= MAX_NODES:
            raise ValueError(f"a subnet has 1 to {MAX_NODES} nodes")
        self.form = form
        self.signatures = 0
        self._sign = sign
        root_secret = bls.secret_key(hashlib.sha512(b"icws-devnet root" + seed).digest())
        everything = [(FIRST_CANISTER, LAST_CANISTER)]
        by_version = form == BY_VERSION
        root_ranges = [(canister_id(first), canister_id(last)) for first, last in _ROOT]
        self.root = Subnet(seed, b"", "system", root_secret, root_ranges if by_version else everything, nodes)
        self.root_key_der = self.root.key_der
        self.subnets = [self.root]
        if by_version:
            for number, ranges in enumerate(_APPLICATIONS):
                name = b"" if not number else b" %d" % number
                listed = [(canister_id(first), canister_id(last)) for first, last in ranges]
                self.subnets.append(_application(seed, name, listed, nodes))
        elif form != "none":
            self.subnets = [_application(seed, b"", everything, nodes)]
        self.by_id = {subnet.id: subnet for subnet in self.subnets}
        self.canister_ranges = hashtree.from_mapping({subnet.id.raw: subnet.shards for subnet in self.subnets})

    def find(self, canister: Principal) -> Subnet | None:
        """Return the subnet whose ranges contain the canister; None if there is none, or the id is not a canister's."""
        raw = canister.raw
        if len(raw) != 10 or raw[-1] != 1:
            return None
        for subnet in self.subnets:
            if subnet.covers(canister):
                return subnet
        return None

    def sign(self, subnet: Subnet, message: bytes) -> bytes:
        """Sign a message with the key of a subnet."""
        self.signatures += 1
        return self._sign(subnet.secret, message)

    def subnets_tree(self, own: Subnet, *, ranges: bool) -> Tree:
        """Return the tree under ``/subnet`` in the state of a subnet; it lists the nodes of that subnet only.

        :param ranges: whether to show ``canister_ranges`` of all subnets; if not, only the root subnet's are shown, and
            the others are pruned, which keeps the digest
        """
        items = []
        for subnet in sorted(self.subnets, key=lambda each: each.id.raw):
            encoded = hashtree.leaf(subnet.encoded_ranges)
            below: list[tuple[bytes, Tree]] = [
                (b"canister_ranges", encoded if ranges or subnet is self.root else pruned(reconstruct(encoded)))
            ]
            if subnet is own:
                nodes = {node.key.principal.raw: {b"public_key": node.key.public_key_der} for node in subnet.nodes}
                below.append((b"node", hashtree.from_mapping(nodes)))
            below.append((b"public_key", hashtree.leaf(subnet.key_der)))
            below.append((b"type", hashtree.leaf(subnet.kind.encode())))
            items.append((subnet.id.raw, hashtree.label_map(below)))
        return hashtree.label_map(items)

    # -- delegations ----------------------------------------------------------------------------------------------

    def delegation(self, subnet: Subnet, node: Node, shown: Ranged, now_ns: int) -> Delegation | None:
        """Return the delegation in a node's certificates; None for the root subnet.

        :param shown: the ranges that the endpoint shows; the layouts ``legacy`` and ``sharded`` ignore it
        """
        if subnet is self.root:
            return None
        if self.form == "legacy":
            shown = FLAT
        elif self.form == "sharded":
            shown = Ranged(False, FIRST_CANISTER)
        shard = None if shown.canister is None else subnet.shard_of(shown.canister)
        time_ns = now_ns - (now_ns - node.offset_ns) % DELEGATION_PERIOD_NS
        kept = node.delegations(time_ns)
        key = shown.flat if shard is None else shard
        delegation = kept.get(key)
        if delegation is None:
            delegation = kept[key] = self._delegate(subnet, shown.flat, shard, time_ns)
        return delegation

    def _delegate(self, subnet: Subnet, flat: bool, shard: bytes | None, time_ns: int) -> Delegation:
        paths: list[Sequence[bytes]] = [(b"time",), (b"subnet", subnet.id.raw, b"public_key")]
        if flat:
            paths.append((b"subnet", subnet.id.raw, b"canister_ranges"))
        if shard is not None:
            paths.append((b"canister_ranges", subnet.id.raw, shard))
        tree = hashtree.witness(self._root_state(time_ns), paths)
        return Delegation(subnet.id.raw, build_certificate(tree, lambda message: self.sign(self.root, message)))

    def _root_state(self, time_ns: int) -> Tree:
        """Return the state of the root subnet; the parts that no delegation shows are pruned."""
        hidden = pruned(hashlib.sha256(b"hidden").digest())
        return hashtree.label_map(
            [
                (b"api_boundary_nodes", hidden),
                (b"canister", hidden),
                (b"canister_ranges", self.canister_ranges),
                (b"request_status", hidden),
                (b"subnet", self.subnets_tree(self.root, ranges=True)),
                (b"time", hashtree.leaf(leb128(time_ns))),
            ]
        )


def _application(seed: bytes, name: bytes, ranges: Iterable[tuple[Principal, Principal]], nodes: int) -> Subnet:
    secret = bls.secret_key(hashlib.sha512(b"icws-devnet subnet" + name + seed).digest())
    return Subnet(seed, b"application" + name, "application", secret, list(ranges), nodes)
