"""Fast encoding of certificates for the mock replica: creating one must cost less than the gateway needs to read it.

The hash trees (interface spec, "Certification") and the signatures are valid: a certificate of this module verifies
against the root key. Certificates are cheap for two reasons: the trees have few, fixed shapes, and calls that are
executed in the same turn of the event loop share a signature, as the calls of a block do on the IC, and so do all
canisters that have changed since the last certificate of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from icwsgw.ic import bls, ws
from icwsgw.ic.cbor import SELF_DESCRIBE, head
from icwsgw.ic.request_id import leb128

if TYPE_CHECKING:
    from bench.queues import Queue

_FORK = b"\x10ic-hashtree-fork"
_LABELED = b"\x13ic-hashtree-labeled"
_LEAF = b"\x10ic-hashtree-leaf"
_STATE_ROOT = b"\x0dic-state-root"

#: A tree's CBOR bytes and its digest.
Node = tuple[bytes, bytes]


def blob(data: bytes) -> bytes:
    """Encode a CBOR byte string."""
    return head(2, len(data)) + data


def leaf(value: bytes) -> Node:
    """A leaf node."""
    return b"\x82\x03" + blob(value), sha256(_LEAF + value).digest()


def labeled(label: bytes, below: Node) -> Node:
    """A labeled node above a tree."""
    return b"\x83\x02" + blob(label) + below[0], sha256(_LABELED + label + below[1]).digest()


def fork(left: Node, right: Node) -> Node:
    """A fork of two trees."""
    return b"\x83\x01" + left[0] + right[0], sha256(_FORK + left[1] + right[1]).digest()


def pruned(digest: bytes) -> bytes:
    """The CBOR bytes of a pruned tree."""
    return b"\x82\x04\x58\x20" + digest


def witnesses(nodes: Sequence[Node]) -> tuple[list[bytes], bytes]:
    """Return, for each of the adjacent trees, a tree that contains it and prunes the others; and their digest."""
    shown = [node[0] for node in nodes]
    level = [(node[1], range(at, at + 1)) for at, node in enumerate(nodes)]
    while len(level) > 1:
        above = []
        for at in range(0, len(level) - 1, 2):
            (left, lefts), (right, rights) = level[at], level[at + 1]
            pruned_left, pruned_right = pruned(left), pruned(right)
            for i in lefts:
                shown[i] = b"\x83\x01" + shown[i] + pruned_right
            for i in rights:
                shown[i] = b"\x83\x01" + pruned_left + shown[i]
            above.append((sha256(_FORK + left + right).digest(), range(lefts.start, rights.stop)))
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return shown, level[0][0]


def _request(reply: bytes) -> Node:
    return fork(labeled(b"reply", leaf(reply)), labeled(b"status", leaf(b"replied")))


_OK = _request(ws.encode_result_ok())
_UNKNOWN = (b"\x81\x00", sha256(b"\x11ic-hashtree-empty").digest())


class Authority:
    """Signs certificates with the subnet's key.

    :param seed: the same seed gives the same key
    :ivar root_key_der: the root key as ``/api/v2/status`` returns it
    :ivar signatures: number of signatures made
    :ivar changed: the queues that have changed since their last certificate
    """

    def __init__(self, seed: bytes) -> None:
        self._secret = bls.secret_key(sha256(b"icwsgw bench" + seed).digest() * 2)
        self.root_key_der = bls.der_wrap(bls.public_key(self._secret))
        self.signatures = 0
        self.changed: set[Queue] = set()

    def _signature(self, digest: bytes) -> bytes:
        self.signatures += 1
        return bls.sign(self._secret, _STATE_ROOT + digest)

    def _certificate(self, tree: bytes, signature: bytes) -> bytes:
        return b"%b\xa2\x64tree%b\x69signature%b" % (SELF_DESCRIBE, tree, blob(signature))

    def data(self, canisters: Sequence[tuple[bytes, bytes]], now_ns: int) -> list[bytes]:
        """Return the certificates of canisters' certified data (canister id, data); they share one signature.

        :param canisters: in the order of their ids; not empty
        """
        nodes = [labeled(canister, labeled(b"certified_data", leaf(data))) for canister, data in canisters]
        return self._certificates(b"canister", nodes, now_ns)

    def _certificates(self, label: bytes, nodes: Sequence[Node], now_ns: int) -> list[bytes]:
        """Return a certificate for each of the adjacent trees below a label; they share one signature."""
        time, time_digest = labeled(b"time", leaf(leb128(now_ns)))
        shown, all_digest = witnesses(nodes)
        top_digest = sha256(_FORK + sha256(_LABELED + label + all_digest).digest() + time_digest).digest()
        signature = self._signature(top_digest)
        start = b"\x83\x01\x83\x02" + blob(label)
        return [self._certificate(start + tree + time, signature) for tree in shown]

    def calls(self, requests: Sequence[tuple[bytes, bytes]], now_ns: int) -> dict[bytes, bytes]:
        """Return the certificates of calls (request id, reply) by request id; they share one signature."""
        known = dict(requests)
        ok = ws.encode_result_ok()
        order = sorted(known)
        nodes = [labeled(each, _OK if known[each] == ok else _request(known[each])) for each in order]
        return dict(zip(order, self._certificates(b"request_status", nodes, now_ns), strict=True))

    def unknown(self, now_ns: int) -> bytes:
        """The certificate of a state without calls."""
        tree, digest = fork(labeled(b"request_status", _UNKNOWN), labeled(b"time", leaf(leb128(now_ns))))
        return self._certificate(tree, self._signature(digest))
