"""Decides who is the source of a failed poll: the network or the canister.

During a subnet's upgrade every request is answered 503 for minutes, while the canister and its clients' sessions stay
as they were. So failures of the *network* do not use up a canister's grace period (``--canister-grace``); they have
their own (``--network-grace``). What the canister itself answers counts for the canister: rejects, traps, replies that
do not decode.

An answer is the network's by its status, or by its error cause, a name in snake case. It is in the header
``x-ic-error-cause``, which ic-gateway removes, and in the body, which it keeps: ``error: no_healthy_nodes`` in the
first line, as API boundary nodes write it, or ``"error_type": "subnet_updating"`` in the JSON of ic-gateway itself.
"none" does not count.

Sources: dfinity/ic rs/boundary_node/ic_boundary/src/errors.rs (causes and statuses), dfinity/ic-gateway
src/routing/error_cause.rs (JSON, "none"), dfinity/ic rs/types/error_types/src/lib.rs (IC0204, IC0208); decision 0038.
"""

from __future__ import annotations

import json
import re
from enum import Enum

from icwsgw.core.network_time import refuses_expiry
from icwsgw.errors import (
    ConnectFailed,
    ConnectionLost,
    HttpError,
    NotReady,
    Rejected,
    RequestTimeout,
)


class FailureSource(Enum):
    """Who has caused a failure."""

    NETWORK = "network"
    CANISTER = "canister"


#: No complete answer arrived: nothing is known of the canister.
_UNREACHED = (ConnectFailed, ConnectionLost, RequestTimeout, NotReady)

#: Causes that concern the canister or the request, whatever the status.
_CANISTER_CAUSES = frozenset(
    (
        "canister_not_found",
        "canister_route_not_found",
        "canister_id_incorrect",
        "canister_id_not_resolved",
        "subnet_not_found",
        "denylisted",
        "payload_too_large",
        "malformed_request",
        "unable_to_parse_cbor",
    )
)
#: Statuses below 500 that show nothing of the canister: refused by policy or rate, unknown path, slow body, wrong host,
#: too early.
_NETWORK_STATUSES = frozenset((403, 404, 408, 421, 425, 429))

#: Rejects that a replica gives for itself: its ingress history is full, its certified state is not available yet.
_NETWORK_REJECTS = frozenset(("IC0204", "IC0208"))

_PLAIN_CAUSE = re.compile(r"\s*error: ([a-z][a-z0-9_]{1,63})\s*(?:\n|$)")
_CAUSE = re.compile(r"[a-z][a-z0-9_]{1,63}")


def side_of(error: BaseException | None) -> FailureSource:
    """Who has caused the failure of a poll or a call."""
    if isinstance(error, _UNREACHED):
        return FailureSource.NETWORK
    if isinstance(error, Rejected):
        return FailureSource.NETWORK if error.error_code in _NETWORK_REJECTS else FailureSource.CANISTER
    if not isinstance(error, HttpError) or error.error_cause in _CANISTER_CAUSES:
        return FailureSource.CANISTER
    status = error.status
    network = status >= 500 or status < 400 or status in _NETWORK_STATUSES
    # A server that asks to wait is not the canister. A wrong expiry is the fault of this machine's clock.
    return (
        FailureSource.NETWORK
        if network or error.retry_after is not None or refuses_expiry(error.detail)
        else FailureSource.CANISTER
    )


def cause_of(header: str, body: str) -> tuple[str, str]:
    """The error cause in an answer of the network, and its text.

    :param header: x-ic-error-cause, or empty
    :param body: text of the answer, possibly cut
    :return: the error cause, or empty; the text for people
    """
    error_cause = header if header != "none" and _CAUSE.fullmatch(header) else ""
    message = body.strip()
    if message.startswith("{"):
        try:
            document = json.loads(message)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            kind, description = document.get("error_type"), document.get("description")
            if isinstance(kind, str) and _CAUSE.fullmatch(kind):
                error_cause = error_cause or kind
                if isinstance(description, str):
                    message = f"{kind}: {description}"
    elif found := _PLAIN_CAUSE.match(message):
        error_cause = error_cause or found[1]
    return error_cause, message
