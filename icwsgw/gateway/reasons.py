"""Why and whose session ends: reasons for clients, labels for metrics, fields of the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.network_time import refuses_expiry, replica_time
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import HttpError, IcwsError, Rejected
from icwsgw.gateway.calls.relay import Expired
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from icwsgw.core.backoff import PollBackoff
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.interfaces import Client

#: How replicas begin a reject message (dfinity/ic, rs/embedders, rs/execution_environment).
_FROM: Final = re.compile(r"^Error from Canister [a-z0-9-]+: ")
_TRAPPED: Final = re.compile(r"^Canister (?:called `ic0\.trap` with message|trapped explicitly): ")
#: How a session ends when a newer connection of the same client replaces it: close code and reason.
REPLACED = (CloseCode.REPLACED, "replaced by a newer connection of the same client")

#: Outcomes of :attr:`icwsgw.observe.metrics.Metrics.opens` by close code.
_NOT_OPEN: dict[int, str] = {
    CloseCode.PROTOCOL_ERROR: "malformed",
    CloseCode.NOT_BINARY: "malformed",
    CloseCode.UNDECODABLE: "malformed",
    CloseCode.TOO_BIG: "malformed",
    CloseCode.POLICY: "malformed",
    CloseCode.OVERLOADED: "overloaded",
    CloseCode.RATE_LIMIT: "malformed",
    CloseCode.DRAINING: "draining",
    CloseCode.OPEN_REFUSED: "refused",
    CloseCode.EXPIRED: "expired",
    CloseCode.WRONG_GATEWAY: "wrong_gateway",
    CloseCode.CANISTER_NOT_ALLOWED: "not_allowed",
    CloseCode.NOT_OPENED: "timeout",
    CloseCode.REPLACED: "left",
    CloseCode.CANISTER_RESET: "canister",
    CloseCode.CANISTER_SILENT: "canister",
    CloseCode.MESSAGES_MISSED: "canister",
    CloseCode.MESSAGE_REFUSED: "refused",
    CloseCode.TOO_SLOW: "malformed",
    CloseCode.TOO_FAST: "malformed",
}


def why_not_open(cause: int, state: State) -> str:
    """The label of the metric for a session that the gateway has ended before it was open."""
    if cause == CloseCode.NOT_OPENED and state is State.INIT:
        return "silent"
    return _NOT_OPEN.get(cause, "failed")


class OpeningRelay(Protocol):
    """:class:`icwsgw.gateway.calls.relay.Relay`, as far as it shows why ``ws_open`` takes its time."""

    last_error: IcwsError


class OpeningPoller(Protocol):
    """:class:`icwsgw.gateway.polling.poller.Poller`, in the same way."""

    backoff: PollBackoff


def why_overdue(opened: Opened, relay: OpeningRelay | None, poller: OpeningPoller | None) -> str:
    """Why a canister has not opened a session in time, as far as that is known.

    :param opened: what is known of ``ws_open``
    """
    last_error = "" if relay is None else _plain(relay.last_error)
    polls = "" if poller is None or not poller.backoff.failures else poller.backoff.last_error
    if opened is Opened.UNKNOWN and last_error:
        return f"the canister did not answer ws_open in time: {last_error}"
    if polls:
        return f"the canister does not answer polls: {polls}"
    if opened is Opened.EXECUTED:
        return "the canister executed ws_open, and no message to the client came in time"
    return "the canister did not answer ws_open in time"


def who(client: Client, key: tuple[bytes, int] | None) -> dict[str, str]:
    """The fields of the log that identify a client: its address, its principal, the web page that it came from.

    :param key: (raw principal, nonce); None before a valid ``ws_open``
    """
    fields = {"peer": client.peer}
    if key is not None:
        fields["client"] = Principal(key[0]).text
    if client.origin:
        fields["origin"] = client.origin
    return fields


def wrong_expiry(now_ns: int, expiry_ns: int) -> str | None:
    """Why a replica refuses an ingress expiry; None if it does not.

    :param now_ns: the replica's time, ns since 1970
    """
    ahead = expiry_ns - now_ns
    if ahead <= 0:
        return f"the envelope expired {-ahead / 1e9:.1f} s ago: is the client's clock right?"
    if ahead > MAX_INGRESS_TTL_NS:
        return f"the envelope expires in {ahead / 1e9:.0f} s, at most 330 are allowed: is the client's clock right?"
    return None


def _refused_expiry(envelope: ClientEnvelope, error: IcwsError) -> str | None:
    """As :func:`wrong_expiry` for an envelope that a replica has refused: by its clock, or by its text."""
    refusal = error.detail if isinstance(error, HttpError) else error.message if isinstance(error, Rejected) else ""
    if not refuses_expiry(refusal):
        return None
    now_ns = replica_time(refusal)
    text = None if now_ns is None else wrong_expiry(now_ns, envelope.ingress_expiry)
    return text or f"{envelope.method_name} refused: {_plain(error)}"


def reason_of(envelope: ClientEnvelope, error: IcwsError) -> tuple[CloseCode, str]:
    """The close code and the reason for a call that was refused or never accepted."""
    method = envelope.method_name
    if isinstance(error, Expired):
        return CloseCode.EXPIRED, f"{method}: {error}"
    expiry = _refused_expiry(envelope, error)
    if expiry is not None:
        return CloseCode.EXPIRED, expiry
    code = CloseCode.OPEN_REFUSED if method == "ws_open" else CloseCode.MESSAGE_REFUSED
    return code, f"{method} refused: {_plain(error)}"


def _plain(error: IcwsError) -> str:
    """An error for a client: what the IC or the canister has answered."""
    if isinstance(error, Rejected):
        code = f" {error.error_code}" if error.error_code else ""
        # the client knows its canister, and a close frame has little room
        message = _TRAPPED.sub("the canister trapped: ", _FROM.sub("", error.message))
        return f"reject {error.code}{code}: {message}"
    if isinstance(error, HttpError):
        return f"HTTP {error.status} {error.detail}".rstrip()
    return str(error)
