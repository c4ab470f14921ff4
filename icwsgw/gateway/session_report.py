"""Counts and logs how sessions end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from icwsgw.close_hints import what_to_do
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
from icwsgw.gateway.ended_sessions import MAX_REASON, EndRecord, shown_fields
from icwsgw.gateway.interfaces import Client, Context
from icwsgw.gateway.reasons import who, why_not_open
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.observe.tracing import SessionTrace

_log = get_logger("session")

#: The counts of a session, by their names in its line of the log.
_COUNTS = {"up": "messages_up", "down": "messages_down", "bytes_up": "bytes_up", "bytes_down": "bytes_down"}


class EndedSession(Protocol):
    """The session, as its report sees it: :class:`icwsgw.gateway.session.ClientSession`."""

    id: str
    context: Context
    client: Client
    client_key: tuple[bytes, int] | None
    cause: int
    failure: str
    opened: Opened
    started: float
    messages_up: int
    messages_down: int
    bytes_up: int
    bytes_down: int
    trace: SessionTrace | None

    @property
    def group(self) -> str: ...

    def canister_text(self) -> str | None: ...


def report_end(session: EndedSession, before: State, text: str, left: bool) -> None:
    """Count and log the end of a session.

    :param before: the state in which it has ended
    :param text: the reason in the close frame
    :param left: the client has ended it
    """
    cause = int(session.cause or CloseCode.INTERNAL)
    context = session.context
    metrics = context.metrics
    metrics.closes.inc(str(cause))
    now = context.clock.seconds()
    lasted = now - session.started
    if before is not State.INIT:
        metrics.connection_duration.observe(lasted)
    if before < State.OPEN:
        metrics.opens.inc("left" if left else why_not_open(cause, before))
    counts = {name: getattr(session, attribute) for name, attribute in _COUNTS.items()}
    if session.trace is not None:
        session.trace.ended({"cause": cause, "state": before.label, **counts})
    group, canister, client = session.group, session.canister_text(), who(session.client, session.client_key)
    record = _record(session, before, cause, text, left, now, canister, client)
    context.ended_sessions.add(group, record)
    # A client chooses its own close code, and could choose another one each time.
    what = "left" if left else f"closed with {cause}"
    if session.opened is Opened.UNKNOWN and not context.log_limiter.allows(what, group, now):
        return
    _log.info(
        "session ended",
        cause=cause,
        session=session.id,
        canister=canister,
        **client,
        state=before.label,
        reason=text or None,
        seconds=record.seconds,
        **counts,
        **({"trace": session.trace.id} if session.trace is not None and session.trace.id else {}),
        **({"hint": record.hint} if record.hint else {}),
    )


def _record(
    session: EndedSession,
    before: State,
    cause: int,
    text: str,
    left: bool,
    now: float,
    canister: str | None,
    client: dict[str, str],
) -> EndRecord:
    """The end, for the status page and the admin API."""
    config, by_client = session.context.config, left and not session.failure
    kept = shown_fields(config.log_clients, client)
    return EndRecord(
        at=now,
        id=session.id,
        canister=canister,
        principal=kept.get("client"),
        peer=kept.get("peer"),
        origin=kept.get("origin"),
        state=before.label,
        seconds=round(now - session.started, 3),
        messages_up=session.messages_up,
        messages_down=session.messages_down,
        bytes_up=session.bytes_up,
        bytes_down=session.bytes_down,
        code=cause,
        status=None,
        by="client" if by_client else "gateway",
        reason=text[:MAX_REASON],
        hint=what_to_do(
            cause, text, by_client=by_client, delivered=session.messages_down, network=config.ic_network_url
        ),
    )
