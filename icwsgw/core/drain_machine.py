"""The shutdown of a gateway as a state machine: its clients are disconnected over a window of time.

    state     event     next      effects
    --------  --------  --------  ---------------------------------------
    SERVING   DRAIN     DRAINING  REFUSE_CLIENTS, SET_DEADLINE, END_SOME
    SERVING   HURRY     SERVING   -
    DRAINING  DRAIN     DRAINING  -
    DRAINING  HURRY     DRAINING  SET_DEADLINE, END_SOME
    DRAINING  NEXT      DRAINING  END_SOME
    DRAINING  LATE      DRAINING  END_LATE
    DRAINING  DEADLINE  DRAINING  GIVE_UP
    DRAINING  EMPTY     DRAINED   STOP_TIMERS, REPORT
    DRAINED   DRAIN     DRAINED   REPORT
    DRAINED   HURRY     DRAINED   -

Sessions end at a steady rate over the whole window, so that the clients do not all reconnect to other gateways in one
moment (:func:`plan_drain`, decision 0072). When it is the turn of clients that can move, they are asked to
(:mod:`icwsgw.core.move_machine`); the sessions of those that have not moved in time end. A window of 0 ends all
sessions at once, a group in each turn of the event loop. EMPTY means that no session and no close notice is left.
GIVE_UP leads to it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from icwsgw.core.transitions import transition

#: Update calls that a reconnection costs: ``ws_open`` at the gateway that the client goes to, ``ws_close`` here.
CALLS_PER_RECONNECTION = 2
#: The shortest window that :func:`plan_drain` chooses, in seconds.
LEAST_WINDOW = 10.0

#: Seconds between two groups of sessions that end, at least. Where one session each is more than the window asks for,
#: the groups are single sessions and the time between them is longer.
DRAIN_PERIOD = 0.05
#: The largest group. A session that ends costs 0.4 ms, and other work and close notices have to come in between.
LARGEST_GROUP = 100
#: Seconds in which canisters have to answer ``ws_close`` when a drain is hurried.
HURRY_SECONDS = 2.0
#: The same for a drain with a short window.
MIN_CLOSING_SECONDS = 5.0
#: Seconds that a client gets to open a session elsewhere, at most.
MOVE_SECONDS = 15.0


class DrainPlan(NamedTuple):
    """How fast a drain is.

    :ivar window: seconds over which the sessions end
    :ivar needed: seconds in which the network takes the reconnections; 0 if it takes any number at once
    """

    window: float
    needed: float

    @property
    def hasty(self) -> bool:
        """Whether the sessions end faster than the network takes their reconnections."""
        return self.window < self.needed


def plan_drain(
    sessions: int, window: float | None, longest: float, budget: float | None, opens: float | None
) -> DrainPlan:
    """Choose the window of a drain.

    The budget is this gateway's. It stands for that of the gateway to which the clients go, which is unknown here: a
    single one, in the worst case.

    :param sessions: how many there are
    :param window: seconds that the operator has set; None: as long as the network needs, and no longer than ``longest``
    :param longest: seconds that are left before the process is killed
    :param budget: requests a second to the network; None: no limit
    :param opens: ``ws_open`` calls a second; None: no limit
    """
    rates = [rate for rate in (opens, budget and budget / CALLS_PER_RECONNECTION) if rate is not None]
    needed = sessions / min(rates) if rates else 0.0
    return DrainPlan(min(max(LEAST_WINDOW, needed), longest) if window is None else window, needed)


class DrainState(IntEnum):
    """Where the gateway is."""

    SERVING = 0
    """Clients may connect."""
    DRAINING = 1
    """Sessions end, and close notices are sent."""
    DRAINED = 2
    """Nothing is left to do."""


class DrainEvent(IntEnum):
    """What can happen to a drain."""

    DRAIN = 0
    """The gateway is to shut down."""
    HURRY = 1
    """The shutdown is urgent."""
    NEXT = 2
    """It is time for the next group of sessions to end."""
    DEADLINE = 3
    """The time for everything is over."""
    EMPTY = 4
    """The last session has ended, and so has its close notice."""
    LATE = 5
    """Clients have not moved in time."""


class DrainEffect(IntEnum):
    """What the gateway has to do."""

    REFUSE_CLIENTS = 0
    """Open no session any more."""
    SET_DEADLINE = 1
    """Report DEADLINE after :attr:`DrainMachine.limit` seconds, and not before :attr:`DrainMachine.closing` seconds
    have passed since the last session was ended; this replaces the former deadline."""
    END_SOME = 2
    """Ask the clients of :attr:`DrainMachine.group` sessions to move within :attr:`DrainMachine.moving` seconds, and
    end those that cannot; report NEXT after :attr:`DrainMachine.pause` seconds (0: in the next turn of the event loop)
    if some are left, and LATE when the time of clients that were asked is over."""
    GIVE_UP = 3
    """End all sessions and send no ``ws_close`` any more."""
    STOP_TIMERS = 4
    """Cancel the timers of DEADLINE, NEXT and LATE."""
    REPORT = 5
    """Notify the callers of the drain that it is done."""
    END_LATE = 6
    """End the sessions of the clients that have not moved in time."""


DrainEffects = tuple[DrainEffect, ...]
S, E, F = DrainState, DrainEvent, DrainEffect

TABLE: dict[tuple[DrainState, DrainEvent], tuple[DrainState, DrainEffects]] = {
    (S.SERVING, E.DRAIN): (S.DRAINING, (F.REFUSE_CLIENTS, F.SET_DEADLINE, F.END_SOME)),
    (S.SERVING, E.HURRY): (S.SERVING, ()),
    (S.DRAINING, E.DRAIN): (S.DRAINING, ()),
    (S.DRAINING, E.HURRY): (S.DRAINING, (F.SET_DEADLINE, F.END_SOME)),
    (S.DRAINING, E.NEXT): (S.DRAINING, (F.END_SOME,)),
    (S.DRAINING, E.LATE): (S.DRAINING, (F.END_LATE,)),
    (S.DRAINING, E.DEADLINE): (S.DRAINING, (F.GIVE_UP,)),
    (S.DRAINING, E.EMPTY): (S.DRAINED, (F.STOP_TIMERS, F.REPORT)),
    (S.DRAINED, E.DRAIN): (S.DRAINED, (F.REPORT,)),
    (S.DRAINED, E.HURRY): (S.DRAINED, ()),
}
del S, E, F


class DrainMachine:
    """One gateway's shutdown.

    :ivar state: where it is
    :ivar closing: seconds that canisters have at least for the last ``ws_close``
    :ivar group: how many sessions end at a time
    :ivar limit: seconds until DEADLINE, for SET_DEADLINE
    :ivar moving: seconds that a client gets to move; 0: no client is asked to
    :ivar pause: seconds between two groups
    """

    __slots__ = ("closing", "group", "limit", "moving", "pause", "state")

    def __init__(self) -> None:
        self.state = DrainState.SERVING
        self.group = 1
        self.limit = self.moving = 0.0
        self.pause = DRAIN_PERIOD
        self.closing = HURRY_SECONDS

    def drain(self, window: float, sessions: int) -> DrainEffects:
        """The gateway is to shut down.

        :param window: seconds over which the sessions are to end; canisters get as many seconds more for ``ws_close``
        :param sessions: how many there are
        """
        if self.state is DrainState.SERVING:
            self._end_within(window, sessions)
            closing = max(window, MIN_CLOSING_SECONDS)
            self.limit = window + closing
            self.closing = HURRY_SECONDS if window else MIN_CLOSING_SECONDS
            # what is left of the time for ws_close is as in a hurry
            self.moving = min(MOVE_SECONDS, closing - HURRY_SECONDS) if window else 0.0
        return self.step(DrainEvent.DRAIN)

    def hurry(self, sessions: int) -> DrainEffects:
        """The shutdown is urgent: end all sessions at once.

        :param sessions: how many there are
        """
        if self.state is DrainState.DRAINING:
            self._end_within(0.0, sessions)
            self.limit = self.closing = HURRY_SECONDS
            self.moving = 0.0
        return self.step(DrainEvent.HURRY)

    def step(self, event: DrainEvent) -> DrainEffects:
        """Step to the next state.

        :raises LookupError: the event cannot happen in this state
        """
        self.state, effects = transition(TABLE, self.state, event)
        return effects

    def _end_within(self, seconds: float, sessions: int) -> None:
        """Choose the groups so that the first ends now and the last just within ``seconds``."""
        periods = max(1, int(seconds / DRAIN_PERIOD))
        self.group = min(max(1, -(-sessions // periods)), LARGEST_GROUP)
        self.pause = seconds * self.group / max(sessions, 1)
