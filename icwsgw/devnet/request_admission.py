"""Admits a request: finds its endpoint, subnet and node, or refuses it.

A boundary node refuses unknown endpoints, ids that are on no subnet, and bodies that are not CBOR. It gives the cause
in ``x-ic-error-cause`` and in the text (dfinity/ic, ``rs/boundary_node/ic_boundary/src/errors.rs``). The replica behind
it refuses all other invalid requests, in plain text (``rs/http_endpoints/public/src``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from icwsgw.devnet.faults import Answer
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.topology import FLAT, NO_RANGES, Node, Ranged
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from icwsgw.devnet.network_state import NetworkState

TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
CBOR_TYPE: Final = "application/cbor"
_VERSIONS: Final = {"call": ("v2", "v3", "v4"), "query": ("v2", "v3"), "read_state": ("v2", "v3")}


def boundary_error(status: int, cause: str, text: str) -> Answer:
    """Return the answer of a boundary node that does not forward a request."""
    return status, {**TEXT, "x-ic-error-cause": cause}, f"error: {cause}\ndetails: {text}".encode()


class RequestRefused(Exception):
    """The request is refused with an HTTP status.

    :param cause: the cause of a boundary node's refusal; None: the replica refuses
    :ivar answer: the answer to send
    """

    def __init__(self, status: int, text: str, cause: str | None = None) -> None:
        super().__init__(text)
        self.answer: Answer = (
            (status, dict(TEXT), text.encode()) if cause is None else boundary_error(status, cause, text)
        )


class Target(NamedTuple):
    """The destination of a request.

    :ivar version: version of the endpoint
    :ivar canister: the id in the URL, None at a subnet's endpoint
    :ivar on: call, query or read_state
    :ivar state: the subnet's state
    :ivar node: the node that answers
    """

    version: str
    canister: Principal | None
    on: str
    state: StateTree
    node: Node

    def shown(self) -> Ranged:
        """Return the form of canister ranges in the delegation of an answer."""
        if self.version == ("v3" if self.on == "call" else "v2") or (self.canister and not self.canister.raw):
            return FLAT
        return NO_RANGES if self.canister is None else Ranged(False, self.canister)


@lru_cache(maxsize=1024)
def _principal(text: str) -> Principal:
    """Parse an id in a URL. Results are cached because most requests contain one of few ids."""
    return Principal.from_text(text)


def target_of(replica: NetworkState, parts: Sequence[str]) -> Target:
    """Return the destination of a request.

    :param parts: the segments of the path
    :raises RequestRefused: no such endpoint, canister or subnet
    """
    if len(parts) != 5 or parts[0] != "api" or parts[2] not in ("canister", "subnet"):
        raise RequestRefused(404, "no such endpoint")
    version, kind, on = parts[1], parts[2], parts[4]
    if version not in _versions(replica, on) or (kind == "subnet" and on != "read_state"):
        raise RequestRefused(404, "no such endpoint")
    try:
        principal = _principal(parts[3])
    except FormatError as error:
        raise RequestRefused(400, str(error), "malformed_request") from error
    try:
        # The management canister is on no subnet. An HTTP gateway of a local network sends calls to it anywhere.
        state = replica.state_of(principal) if principal.raw else replica.default_state
    except KeyError:
        state = None
    if state is None or (kind == "subnet") != (state.subnet.id == principal):
        raise RequestRefused(400, f"{kind} {principal} is not on this network", f"{kind}_not_found")
    node = replica.some_node(state.subnet)
    return Target(version, principal if kind == "canister" else None, on, state, node)


def _versions(replica: NetworkState, on: str) -> Sequence[str]:
    versions = _VERSIONS.get(on, ())
    if replica.legacy_api:
        return versions[:-1]
    return versions[1:] if replica.v2_gone and on != "call" else versions
