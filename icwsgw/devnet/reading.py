"""Who may read what of the state (interface spec, "Request: Read state")."""

from __future__ import annotations

from collections.abc import Sequence

from icwsgw.devnet.ingress import Ingress
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

#: Status, text, cause of a refusal.
Refusal = tuple[int, str, str]

_REQUEST_FIELDS = frozenset((b"status", b"reply", b"reject_code", b"reject_message", b"error_code"))
_CANISTER_FIELDS = frozenset((b"certified_data", b"controllers", b"module_hash"))
_SUBNET_FIELDS = frozenset((b"public_key", b"canister_ranges", b"node"))


def check_paths(
    paths: Sequence[Sequence[bytes]], sender: Principal, canister: Principal | None, ingress: Ingress
) -> Refusal | None:
    """Return why a read_state request is refused, or None.

    :param canister: the effective canister id; None at the subnet's endpoint
    :param ingress: knows whose calls are whose
    """
    requests: set[bytes] = set()
    for path in paths:
        head, rest = (path[0], path[1:]) if path else (b"", path)
        if head in (b"time", b"subnet", b"canister_ranges"):
            if not _is_public(head, rest):
                return _invalid(path)
        elif head == b"canister" and canister is not None and rest:
            if not _is_canister_path(rest) or not _same(rest[0], canister):
                return _invalid(path)
        elif head == b"request_status" and canister is not None and rest:
            if len(rest[0]) != 32 or len(rest) > 2 or (len(rest) == 2 and rest[1] not in _REQUEST_FIELDS):
                return _invalid(path)
            requests.add(rest[0])
        else:
            return _invalid(path)
    if len(requests) > 1:
        return 400, "the status of one request at a time", "malformed_request"
    for request_id in requests:
        call = ingress.get(request_id)
        if call is not None and (call.sender != sender or call.canister != canister):
            return 403, "the status of a call is for its sender, at the call's canister", "forbidden"
    return None


def _is_public(head: bytes, rest: Sequence[bytes]) -> bool:
    if head == b"time":
        return not rest
    if head == b"canister_ranges":
        return len(rest) <= 2
    if len(rest) <= 1:
        return True
    if rest[1] == b"node":
        return len(rest) <= 3 or (len(rest) == 4 and rest[3] == b"public_key")
    return len(rest) == 2 and rest[1] in _SUBNET_FIELDS


def _is_canister_path(rest: Sequence[bytes]) -> bool:
    if len(rest) == 3:
        return rest[1] == b"metadata"
    return len(rest) == 2 and rest[1] in _CANISTER_FIELDS


def _same(raw: bytes, canister: Principal) -> bool:
    try:
        return Principal(raw) == canister
    except FormatError:
        return False


def _invalid(path: Sequence[bytes]) -> Refusal:
    shown = "/".join(label[:32].decode("ascii", "replace") for label in path[:4])
    return 400, f"invalid path /{shown}", "malformed_request"
