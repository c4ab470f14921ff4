"""Counts and logs how sessions end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
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
    opened: Opened
    started: float
    trace: SessionTrace | None

    @property
    def group(self) -> str: ...

    def canister_text(self) -> str | None: ...


def report_end(session: EndedSession, before: State, text: str, left: bool) -> None:
    """Count and log the end of a session.

    :param before: the state in which it has ended
    :param text: the reason that the client was told
    :param left: the client has ended it
    """
    cause = int(session.cause or CloseCode.INTERNAL)
    context = session.context
    metrics = context.metrics
    metrics.closes.inc(str(cause))
    lasted = context.clock.seconds() - session.started
    if before is not State.INIT:
        metrics.connection_duration.observe(lasted)
    if before < State.OPEN:
        metrics.opens.inc("left" if left else why_not_open(cause, before))
    counts = {name: getattr(session, attribute) for name, attribute in _COUNTS.items()}
    if session.trace is not None:
        session.trace.ended({"cause": cause, "state": before.label, **counts})
    # A client chooses its own close code, and could choose another one each time.
    what = "left" if left else f"closed with {cause}"
    if session.opened is Opened.UNKNOWN and not context.log_limiter.allows(
        what, session.group, context.clock.seconds()
    ):
        return
    _log.info(
        "session ended",
        cause=cause,
        session=session.id,
        canister=session.canister_text(),
        **who(session.client, session.client_key),
        state=before.label,
        reason=text or None,
        seconds=round(lasted, 3),
        **counts,
        **({} if session.trace is None else {"trace": session.trace.id}),
    )
