"""Checks what the gateway reckons with: how long a client's calls take, and whether its keep-alive will be in time.

- The time of a call counts from its first attempt, however often it was sent again. The average of a client's calls is
  therefore at least that of the times between the first attempt and the end of each.
- A keep-alive is expected after all that the client has sent before it, the call under way included.
- A client is closed with 4113 for a late keep-alive only while it owes one, and in time: less than a minute after the
  acknowledgement, and not before that minute is nearly over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.core.keepalive_deadline import KEEP_ALIVE_SECONDS, MARGIN
from icwsgw.core.relay_queue import WEIGHT
from icwsgw.core.session_machine import State
from tests.simulation.subject import Subject

if TYPE_CHECKING:
    from tests.simulation.oracle import Key, SimSession

EPSILON = 1e-6
#: Seconds by which its end may come late: batches of sessions, a timer of the same moment.
LATE = 0.5


class Estimates(Subject):
    """Looks at all sessions after each step."""

    name = "estimates"

    def after_step(self) -> None:
        now = self.world.clock.seconds()
        sessions: dict[Key, list[SimSession]] = {}
        for session in self.oracle.sessions:
            if session.client_key is not None:
                sessions.setdefault(session.client_key, []).append(session)
        for key, mine in sessions.items():
            session = mine[0]
            if len(mine) > 1 or session.relay is None or session.state is State.CLOSED:
                # somebody has sent the ws_open of another one once more
                continue
            least, took = average(self.oracle.durations.get(key, ())), session.relay.relay_queue.took
            if took < least - EPSILON:
                self.oracle.fail(f"calls of {session.id} are thought to take {took:.3f} s, and take {least:.3f} s")
            late = 0.0 if session.owes_since is None else now - session.owes_since - KEEP_ALIVE_SECONDS - LATE
            watched = session.stream is not None and session.stream.watch is not None
            if late > 0 and watched and session.state is State.OPEN:
                self.oracle.fail(f"session {session.id} owes a keep-alive for {late:.1f} s too long")

    check_when_quiet = after_step


def average(durations: list[float] | tuple[()]) -> float:
    """The moving average of the durations of calls, seconds."""
    least = 0.0
    for seconds in durations:
        least = least + (seconds - least) * WEIGHT if least else seconds
    return least


def too_early(session: SimSession, now: float) -> str:
    """Why a session must not be closed yet for its keep-alive; empty where it may."""
    if session.owes_since is None:
        return "it owed no keep-alive"
    left = KEEP_ALIVE_SECONDS - MARGIN - (now - session.owes_since)
    return "" if left <= EPSILON else f"it had {left:.1f} s left until its keep-alive would be late"
