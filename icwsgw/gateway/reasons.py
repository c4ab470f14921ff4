"""Why a session ends, in words: for its client, and for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.core.closing import CloseCode
from icwsgw.core.session import State
from icwsgw.errors import HttpError, IcwsError, Rejected
from icwsgw.gateway.relay import Expired

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope

#: Outcomes of :attr:`icwsgw.observe.metrics.Metrics.opens` by close code.
_NOT_OPEN: dict[int, str] = {
    CloseCode.PROTOCOL_ERROR: "malformed",
    CloseCode.NOT_BINARY: "malformed",
    CloseCode.UNDECODABLE: "malformed",
    CloseCode.TOO_BIG: "malformed",
    CloseCode.POLICY: "malformed",
    CloseCode.OVERLOADED: "overloaded",
    CloseCode.RATE_LIMIT: "overloaded",
    CloseCode.DRAINING: "draining",
    CloseCode.OPEN_REFUSED: "refused",
    CloseCode.EXPIRED: "expired",
    CloseCode.WRONG_GATEWAY: "wrong_gateway",
    CloseCode.CANISTER_NOT_ALLOWED: "not_allowed",
    CloseCode.NOT_OPENED: "timeout",
}


def why_not_open(cause: int, state: State) -> str:
    """Why the gateway has ended a session that was never open, a word of the metric."""
    if cause == CloseCode.NOT_OPENED and state is State.INIT:
        return "silent"
    return _NOT_OPEN.get(cause, "failed")


def reason_of(envelope: ClientEnvelope, error: IcwsError) -> tuple[CloseCode, str]:
    """The close code and the words for a call that was refused, or never taken."""
    method = envelope.method_name
    if isinstance(error, Expired):
        return CloseCode.EXPIRED, f"{method}: {error}"
    code = CloseCode.OPEN_REFUSED if method == "ws_open" else CloseCode.MESSAGE_REFUSED
    return code, f"{method} refused: {_plain(error)}"


def _plain(error: IcwsError) -> str:
    """An error in words for a client: what the IC or the canister said, without our machinery around it."""
    if isinstance(error, Rejected):
        code = f" {error.error_code}" if error.error_code else ""
        return f"reject {error.code}{code}: {error.message}"
    if isinstance(error, HttpError):
        return f"HTTP {error.status} {error.detail}".rstrip()
    return str(error)
