"""Much to do for many sessions, a slice of them in each turn of the event loop: others have to be served meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from icwsgw.clock import Clock

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession

#: Sessions that are ended in one turn: ten milliseconds or so.
SLICE = 100


def in_slices(
    clock: Clock,
    sessions: list[ClientSession],
    act: Callable[[ClientSession], object],
    done: Callable[[], object] | None = None,
) -> None:
    """Do something for each session, the first slice at once.

    :param act: has to bear a session that has ended since
    :param done: called after the last one
    """
    for session in sessions[:SLICE]:
        act(session)
    if rest := sessions[SLICE:]:
        clock.callLater(0, in_slices, clock, rest, act, done)
    elif done is not None:
        done()
