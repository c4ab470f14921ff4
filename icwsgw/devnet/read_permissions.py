"""Checks which paths of the state a sender may read (dfinity/ic, ``rs/http_endpoints/public/src/read_state.rs``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from icwsgw.devnet.ingress import Ingress
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

#: HTTP status and text of a refusal.
Refusal = tuple[int, str]
Path = Sequence[bytes]
MayReadMetadata = Callable[[Principal, str, Principal], bool]
"""Whether a principal may read a metadata section of a canister."""

_REQUEST_FIELDS = frozenset((b"status", b"reply", b"reject_code", b"reject_message", b"error_code"))
_CANISTER_FIELDS = frozenset((b"controllers", b"module_hash"))
_SUBNET_FIELDS = frozenset((b"public_key", b"type", b"node"))
_NODE_FIELDS = frozenset((b"domain", b"ipv4_address", b"ipv6_address"))
_NO_SUCH_PATH: Refusal = (404, "Invalid path requested.")


class Reader(NamedTuple):
    """The sender and destination of a read_state request.

    :ivar sender: the request's sender
    :ivar targets: canisters that the sender's delegations allow; None: any
    :ivar place: the id in the URL
    :ivar canister: whether the endpoint is a canister's, not a subnet's
    :ivar subnet: the subnet whose state is read
    :ivar version: version of the endpoint
    :ivar root: the id of the root subnet
    """

    sender: Principal
    targets: frozenset[bytes] | None
    place: Principal
    canister: bool
    subnet: Principal
    version: str
    root: Principal


def check_paths(
    paths: Sequence[Path], reader: Reader, ingress: Ingress, may_read_metadata: MayReadMetadata
) -> Refusal | None:
    """Return the reason to refuse a read_state request, or None.

    :param ingress: has the sender of each call
    :param may_read_metadata: whether the sender may read a metadata section
    """
    request: bytes | None = None
    for path in paths:
        head, rest = (path[0], path[1:]) if path else (b"", path)
        refusal: Refusal | None = _NO_SUCH_PATH
        if head == b"time" and not rest:
            refusal = None
        elif head == b"canister" and reader.canister:
            refusal = _canister(rest, reader, may_read_metadata)
        elif head == b"api_boundary_nodes":
            refusal = None if len(rest) < 2 or (len(rest) == 2 and rest[1] in _NODE_FIELDS) else _NO_SUCH_PATH
        elif head == b"subnet":
            refusal = _subnet(rest, reader)
        elif head == b"canister_ranges" and not reader.canister:
            refusal = None if len(rest) == 1 else _NO_SUCH_PATH
        elif head == b"request_status" and (reader.canister or reader.version == "v3"):
            refusal = _request(rest, request, reader, ingress)
            request = rest[0] if rest else None
        if refusal is not None:
            return refusal
    return None


def _canister(rest: Path, reader: Reader, may_read_metadata: MayReadMetadata) -> Refusal | None:
    if len(rest) == 2 and rest[1] in _CANISTER_FIELDS:
        return _own(rest[0], reader)
    if len(rest) == 3 and rest[1] == b"metadata":
        try:
            name = rest[2].decode()
        except UnicodeDecodeError as error:
            return 400, f"Could not parse the custom section name: {error}."
        refusal = _own(rest[0], reader)
        if refusal is None and not may_read_metadata(reader.place, name, reader.sender):
            return 403, f"Custom section {name[:100]} can only be requested by the controllers of the canister."
        return refusal
    return _NO_SUCH_PATH


def _subnet(rest: Path, reader: Reader) -> Refusal | None:
    if len(rest) < 2 or (len(rest) == 2 and rest[1] in _SUBNET_FIELDS):
        return None
    if len(rest) == 2 and rest[1] == b"canister_ranges":
        return None if reader.version == "v2" or rest[0] == reader.root.raw else _NO_SUCH_PATH
    if len(rest) == 2 and rest[1] == b"metrics" and not reader.canister:
        return _own(rest[0], reader)
    if rest[1] == b"node" and (len(rest) == 3 or (len(rest) == 4 and rest[3] == b"public_key")):
        return None
    return _NO_SUCH_PATH


def _request(rest: Path, before: bytes | None, reader: Reader, ingress: Ingress) -> Refusal | None:
    if not rest or len(rest) > 2 or (len(rest) == 2 and rest[1] not in _REQUEST_FIELDS):
        return _NO_SUCH_PATH
    if len(rest[0]) != 32:
        return 400, "Invalid request id in paths. Maybe the request ID is not of 32 bytes in length?!"
    if before is not None and before != rest[0]:
        shown = f"{before.hex()} and {rest[0].hex()}"
        return 400, f"More than one non-unique request ID exists in request_status paths: {shown}."
    call = ingress.get(rest[0])
    if call is None or call.state.subnet.id != reader.subnet:
        return None
    if call.sender != reader.sender:
        return 403, "The user tries to access Request ID not signed by the caller."
    if reader.targets is not None and call.canister.raw not in reader.targets:
        return 403, ("The user tries to access request IDs for canisters not belonging to sender delegation targets.")
    return None


def _own(raw: bytes, reader: Reader) -> Refusal | None:
    try:
        asked = Principal(raw)
    except FormatError as error:
        return 400, f"Could not parse principal ID: {error}."
    if asked != reader.place:
        return 400, f"Effective principal id in URL {reader.place} does not match requested principal id: {asked}."
    return None
