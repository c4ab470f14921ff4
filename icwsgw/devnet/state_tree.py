"""The certified state of one subnet: state tree, blocks, certificates (interface spec, "Certification").

::

    /api_boundary_nodes/<node>/domain, ipv4_address, ipv6_address
    /canister/<id>/certified_data, controllers, module_hash
    /canister_ranges/<subnet>/<first id of a shard>
    /request_status/<id>/status, reply | reject_code, reject_message, error_code
    /subnet/<subnet>/public_key, type, canister_ranges; for this subnet also node/<node>/public_key
    /time

A real subnet certifies its state once per block. If :mod:`icwsgw.devnet.consensus` does not make blocks at intervals,
this module makes one when a certificate is requested and either the state has changed or the last block is older than
the granularity of time. Until then, all certificates are witnesses of the same state under the same signature, because
a signature costs 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from icwsgw.devnet.merkle import MerkleMap
from icwsgw.devnet.topology import FLAT, Node, Ranged, Subnet, Topology
from icwsgw.ic import hashtree
from icwsgw.ic.certificate import build_certificate
from icwsgw.ic.hashtree import Tree
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

TIME_GRANULARITY_NS: Final = 1_000_000_000

Path = Sequence[bytes]
_MAPS: Final = ((b"canister",), (b"request_status",))
#: The API boundary nodes that the state lists; nothing listens at their addresses.
_BOUNDARY_NODES: Final = hashtree.from_mapping(
    {
        Principal.self_authenticating(b"icws-devnet boundary node").raw: {
            b"domain": b"boundary.devnet.invalid",
            b"ipv4_address": b"127.0.0.1",
            b"ipv6_address": b"::1",
        }
    }
)


_Fixed = tuple[Tree, Tree]
"""A constant part of the state: the whole tree and the pruned tree."""


class Block:
    """The state of a subnet at one height. It is signed at the first request for its signature.

    :ivar height: number of earlier blocks
    :ivar time_ns: ns since 1970
    :ivar views: the canisters' queues in this block, if older blocks must answer queries
    """

    __slots__ = ("_canisters", "_requests", "_signature", "_signed", "height", "time_ns", "views")

    def __init__(
        self,
        height: int,
        time_ns: int,
        canisters: MerkleMap,
        requests: MerkleMap,
        views: Mapping[Principal, Any],
    ) -> None:
        self.height = height
        self.views = views
        self.time_ns = time_ns
        self._canisters = canisters
        self._requests = requests
        self._signed = b""
        self._signature = b""

    def witness(self, paths: Iterable[Path], fixed: Mapping[bytes, _Fixed]) -> Tree:
        """Return the state tree pruned to the given paths.

        :param fixed: the parts that are the same in all blocks
        """
        wanted = [tuple(path) for path in paths]
        keep = [path[:1] if path[:1] in _MAPS else path for path in wanted]
        heads = {path[0] for path in wanted if path}
        parts = {
            b"canister": _below(self._canisters, b"canister", wanted),
            b"request_status": _below(self._requests, b"request_status", wanted),
            b"time": hashtree.leaf(leb128(self.time_ns)),
        }
        for label, (tree, hidden) in fixed.items():
            parts[label] = tree if label in heads else hidden
        return hashtree.witness(hashtree.label_map(sorted(parts.items())), keep)

    def signature(self, message: bytes, sign: Callable[[bytes], bytes]) -> bytes:
        """Return the subnet's signature. It is cached: the message is the same for all witnesses of the block."""
        if message != self._signed:
            self._signed, self._signature = message, sign(message)
        return self._signature

    def status(self, request_id: bytes) -> Tree | None:
        """Return the subtree under ``/request_status/<id>``."""
        return self._requests.get(request_id)


class StateTree:
    """The state of a subnet.

    :param view: returns the view of a canister's queues that a block keeps
    :ivar height: height of the newest block
    """

    def __init__(self, topology: Topology, subnet: Subnet, view: Callable[[Principal], Any] | None = None) -> None:
        self._view = view
        self._views: dict[Principal, Any] = {}
        self._topology = topology
        self.subnet = subnet
        self._canisters = MerkleMap()
        self._requests = MerkleMap()
        self._stale: dict[Principal, Callable[[], Tree] | None] = {}
        fixed = {b"api_boundary_nodes": _BOUNDARY_NODES, b"canister_ranges": topology.canister_ranges}
        self._fixed = {
            ranges: {
                label: (tree, hashtree.pruned(hashtree.reconstruct(tree)))
                for label, tree in {**fixed, b"subnet": topology.subnets_tree(subnet, ranges=ranges)}.items()
            }
            for ranges in (False, True)
        }
        self._block: Block | None = None
        self.height = 0

    # -- state ----------------------------------------------------------------------------------------------------

    def canister_changed(self, canister_id: Principal, render: Callable[[], Tree]) -> None:
        """Mark ``/canister/<id>`` as changed; the next block renders it again."""
        self._stale[canister_id] = render
        self._block = None

    def canister_removed(self, canister_id: Principal) -> None:
        """Remove ``/canister/<id>`` from the next block on."""
        self._stale[canister_id] = None
        self._block = None

    def set_request(self, request_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Set the status of a request."""
        self._requests.put(request_id, hashtree.from_mapping(fields))
        self._block = None

    def remove_request(self, request_id: bytes) -> None:
        if self._requests.remove(request_id):
            self._block = None

    def new_block(self, now_ns: int, *, keep_views: bool = False) -> Block:
        """Make a block from the current state.

        :param keep_views: whether the block must still answer queries when there are newer blocks
        """
        for canister_id, render in self._stale.items():
            if render is None:
                self._canisters.remove(canister_id.raw)
            else:
                self._canisters.put(canister_id.raw, render())
        if keep_views and self._view is not None and self._stale:
            self._views = {**self._views, **{each: self._view(each) for each in self._stale}}
        self._stale.clear()
        self.height += 1
        return Block(self.height, now_ns, self._canisters.copy(), self._requests.copy(), self._views)

    def block(self, now_ns: int) -> Block:
        """Return the newest block; make one first if the last does not have the current state or is too old."""
        block = self._block
        if block is None or not 0 <= now_ns - block.time_ns < TIME_GRANULARITY_NS:
            block = self._block = self.new_block(now_ns)
        return block

    # -- certificates ---------------------------------------------------------------------------------------------

    def certificate(
        self,
        paths: Iterable[Path],
        now_ns: int,
        node: Node | None = None,
        shown: Ranged = FLAT,
        *,
        block: Block | None = None,
    ) -> bytes:
        """Return the certificate that contains the time and the given paths, or proves their absence.

        :param now_ns: the time in ns since 1970; determines the node's current delegation
        :param node: the node that answers; None: the first
        :param shown: the canister ranges in the delegation; without FLAT, the ranges of subnets other than the root
            are pruned under ``/subnet``, as newer endpoints do
        :param block: the block to certify; None: the newest
        """
        if block is None:
            block = self.block(now_ns)
        tree = block.witness([*paths, (b"time",)], self._fixed[shown.flat])
        delegation = self._topology.delegation(self.subnet, node or self.subnet.nodes[0], shown, now_ns)
        return build_certificate(tree, lambda message: block.signature(message, self._sign), delegation)

    def data_certificate(
        self,
        canister_id: Principal,
        now_ns: int,
        node: Node | None = None,
        shown: Ranged = FLAT,
        *,
        block: Block | None = None,
    ) -> bytes:
        """Return the data certificate that a canister receives in a query."""
        path = (b"canister", canister_id.raw, b"certified_data")
        return self.certificate([path], now_ns, node, shown, block=block)

    def _sign(self, message: bytes) -> bytes:
        return self._topology.sign(self.subnet, message)


def _below(level: MerkleMap, label: bytes, paths: Sequence[tuple[bytes, ...]]) -> Tree:
    """Return a level pruned to the paths that go through its label."""
    wanted: dict[bytes, list[tuple[bytes, ...]]] = {}
    for path in paths:
        if path[:1] != (label,):
            continue
        if len(path) == 1:
            return level.tree()
        wanted.setdefault(path[1], []).append(path[2:])
    if not wanted:
        return hashtree.pruned(level.digest())
    shown: dict[bytes, Tree | None] = {}
    for key, rests in wanted.items():
        subtree = level.get(key)
        if subtree is not None:
            shown[key] = hashtree.witness(subtree, rests)
    return level.witness(shown, [key for key in wanted if key not in shown])
