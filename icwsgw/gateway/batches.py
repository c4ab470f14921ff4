"""Processes many sessions in batches, one in each turn of the event loop, so that others are served meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession

#: Sessions, or connections, in a batch: about ten milliseconds.
BATCH = 100

_log = get_logger("gateway")


def for_each_session(sessions: Iterable[ClientSession], act: Callable[[ClientSession], object]) -> None:
    """Call ``act`` for each session. An exception for one session is logged and does not affect the others."""
    for session in sessions:
        try:
            act(session)
        except Exception:
            _log.failure("handling a session failed", session=session.id)


def in_batches(
    clock: Clock,
    sessions: list[ClientSession],
    act: Callable[[ClientSession], object],
    done: Callable[[], object] | None = None,
) -> None:
    """Call ``act`` for each session, the first batch at once.

    :param act: has to accept a session that has ended since
    :param done: called after the last one
    """
    for_each_session(sessions[:BATCH], act)
    if rest := sessions[BATCH:]:
        clock.callLater(0, in_batches, clock, rest, act, done)
    elif done is not None:
        done()
