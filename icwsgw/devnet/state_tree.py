"""The certified state of the devnet's only subnet: keys, state tree, certificates (interface spec, "Certification").

::

    /canister/<id>/certified_data, controllers, module_hash
    /canister_ranges/<subnet>/<first id>              every canister id, in one shard
    /request_status/<id>/status, reply | reject_code, reject_message, error_code
    /subnet/<subnet>/public_key, canister_ranges, node/<node>/public_key
    /time

A real subnet certifies its state once a block. Here a block is made when a certificate is asked for and something has
changed, or the last one is older than the granularity of time; until then all certificates are witnesses of the same
state under the same signature (a signature costs 0.2 ms).

By default the subnet signs with the root key and is named by it, as a local replica's system subnet; then certificates
have no delegation. Otherwise the root key delegates to a subnet key, canister ranges in the form asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from icwsgw.devnet.merkle import MerkleMap
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.certificate import Delegation, build_certificate, build_delegation
from icwsgw.ic.hashtree import Tree
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

#: How the subnet's key comes from the root key.
DELEGATIONS = ("none", "legacy", "sharded")
#: Every id of the form that canisters have (eight bytes and 01 01) lies between.
FIRST_CANISTER = Principal(bytes(8) + b"\1\1")
LAST_CANISTER = Principal(b"\xff" * 8 + b"\1\1")

TIME_GRANULARITY_NS = 1_000_000_000
_RENEW_DELEGATION_NS = 24 * 3600 * 1_000_000_000

Path = Sequence[bytes]


class StateTree:
    """Keys and state of the subnet.

    :param seed: all keys come from it; the same seed gives the same root key
    :param delegation: one of :data:`DELEGATIONS`
    :ivar root_key_der: 133 bytes, what ``/api/v2/status`` gives away
    :ivar subnet_id: who signs
    :ivar node: the key of the only node, for signatures of query answers
    :ivar signatures: how many BLS signatures were made
    """

    def __init__(self, seed: bytes, delegation: str = "none") -> None:
        if delegation not in DELEGATIONS:
            raise ValueError(f"delegation is one of {', '.join(DELEGATIONS)}")
        self._form = delegation
        self._root_secret = bls.secret_key(hashlib.sha512(b"icws-devnet root" + seed).digest())
        self._secret = self._root_secret
        if delegation != "none":
            self._secret = bls.secret_key(hashlib.sha512(b"icws-devnet subnet" + seed).digest())
        self.root_key_der = bls.der_wrap(bls.public_key(self._root_secret))
        self._key_der = bls.der_wrap(bls.public_key(self._secret))
        self.subnet_id = Principal.self_authenticating(self._key_der)
        self.node = Ed25519Identity(hashlib.sha256(b"icws-devnet node" + seed).digest())
        self.signatures = 0
        self._canisters = MerkleMap()
        self._requests = MerkleMap()
        self._stale: dict[Principal, Callable[[], Tree]] = {}
        ranges = cbor.dumps_tagged([[FIRST_CANISTER.raw, LAST_CANISTER.raw]])
        self._ranges = hashtree.from_mapping({self.subnet_id.raw: {FIRST_CANISTER.raw: ranges}})
        self._subnets = hashtree.from_mapping(
            {
                self.subnet_id.raw: {
                    b"canister_ranges": ranges,
                    b"node": {self.node.principal.raw: {b"public_key": self.node.public_key_der}},
                    b"public_key": self._key_der,
                }
            }
        )
        self._time_ns: int | None = None
        self._signed = b""
        self._signature = b""
        self._delegation: Delegation | None = None
        self._delegation_time_ns = 0

    @staticmethod
    def covers(canister_id: Principal) -> bool:
        """Return whether the subnet may have this canister: an opaque id in its range."""
        return FIRST_CANISTER <= canister_id <= LAST_CANISTER and canister_id.raw[-1] == 1

    # -- state ----------------------------------------------------------------------------------------------------

    def canister_changed(self, canister_id: Principal, render: Callable[[], Tree]) -> None:
        """Note that what stands under ``/canister/<id>`` is to be rendered anew for the next block."""
        self._stale[canister_id] = render
        self._time_ns = None

    def set_request(self, request_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Set the status of a request."""
        self._requests.put(request_id, hashtree.from_mapping(fields))
        self._time_ns = None

    def remove_request(self, request_id: bytes) -> None:
        """Forget a request."""
        if self._requests.remove(request_id):
            self._time_ns = None

    # -- certificates ---------------------------------------------------------------------------------------------

    def certificate(self, paths: Iterable[Path], now_ns: int) -> bytes:
        """Return the certificate that shows some paths, or proves their absence, and the time."""
        return build_certificate(self.witness([*paths, (b"time",)], now_ns), self._sign, self.delegation(now_ns))

    def data_certificate(self, canister_id: Principal, now_ns: int) -> bytes:
        """Return the certificate that a canister gets in a query."""
        return self.certificate([(b"canister", canister_id.raw, b"certified_data")], now_ns)

    def witness(self, paths: Iterable[Path], now_ns: int) -> Tree:
        """Return the state tree pruned to some paths."""
        for canister_id, render in self._stale.items():
            self._canisters.put(canister_id.raw, render())
        self._stale.clear()
        age = None if self._time_ns is None else now_ns - self._time_ns
        if age is None or not 0 <= age < TIME_GRANULARITY_NS:
            self._time_ns = now_ns
        wanted = [tuple(path) for path in paths]
        keep = [path[:1] if path[:1] in ((b"canister",), (b"request_status",)) else path for path in wanted]
        top = hashtree.label_map(
            [
                (b"canister", _below(self._canisters, b"canister", wanted)),
                (b"canister_ranges", self._ranges),
                (b"request_status", _below(self._requests, b"request_status", wanted)),
                (b"subnet", self._subnets),
                (b"time", hashtree.leaf(leb128(self._time_ns or 0))),
            ]
        )
        return hashtree.witness(top, keep)

    def _sign(self, message: bytes) -> bytes:
        if message != self._signed:
            self._signed = message
            self._signature = bls.sign(self._secret, message)
            self.signatures += 1
        return self._signature

    def delegation(self, now_ns: int) -> Delegation | None:
        """Return the root key's delegation to the subnet, or None where the root key signs itself."""
        if self._form == "none":
            return None
        if self._delegation is None or not 0 <= now_ns - self._delegation_time_ns < _RENEW_DELEGATION_NS:
            self._delegation_time_ns = now_ns
            self._delegation = build_delegation(
                subnet_id=self.subnet_id,
                subnet_key_der=self._key_der,
                ranges=[(FIRST_CANISTER, LAST_CANISTER)],
                time_ns=now_ns,
                sign=lambda message: bls.sign(self._root_secret, message),
                sharded=self._form == "sharded",
            )
        return self._delegation


def _below(level: MerkleMap, label: bytes, paths: Sequence[tuple[bytes, ...]]) -> Tree:
    """Return a level pruned to those of the paths that go through its label."""
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
