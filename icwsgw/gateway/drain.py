"""Performs the shutdown of a gateway, which :class:`icwsgw.core.drain_machine.DrainMachine` decides."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from twisted.internet.defer import Deferred

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.drain_machine import (
    DRAIN_PERIOD,
    DrainEffect,
    DrainEffects,
    DrainEvent,
    DrainMachine,
    DrainState,
    plan_drain,
)
from icwsgw.core.move_machine import MoveState
from icwsgw.gateway.batches import for_each_session, in_batches
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.moving import ask_to_move
from icwsgw.gateway.registry import Registry
from icwsgw.gateway.session import ClientSession
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Timer

_log = get_logger("gateway")

_DRAINING = DrainState.DRAINING
#: Seconds below which time is over: a clock's rounding.
LEAST_WAIT = 0.001
#: How sessions end that are open while the gateway shuts down: close code and reason.
DRAINING = (CloseCode.DRAINING, "the gateway is shutting down, please reconnect")


class DrainedGateway(Protocol):
    """What shuts down: :class:`icwsgw.gateway.gateway.Gateway`.

    :ivar draining: new clients are refused
    :ivar served_elsewhere: another process serves
    """

    context: Context
    registry: Registry
    close_notices: CloseNotices
    draining: bool
    served_elsewhere: bool

    def finished(self, session: ClientSession) -> None:
        """Nothing of the session is left to do."""


class Drain(DrainMachine):
    """One gateway's shutdown.

    :param gateway: what shuts down
    """

    __slots__ = ("_asked_to_move", "_deadline", "_due", "_ended", "_gateway", "_late", "_next", "_waiting")

    def __init__(self, gateway: DrainedGateway) -> None:
        super().__init__()
        self._gateway = gateway
        # timers of the events DEADLINE, NEXT and LATE
        self._deadline: Timer | None = None
        self._next: Timer | None = None
        self._late: Timer | None = None
        # clients that were asked to move, and until when
        self._asked_to_move: deque[tuple[float, list[ClientSession]]] = deque()
        # when the next group of sessions is due, so that a busy event loop does not stretch the window
        self._due = 0.0
        # when the last session was ended: a busy event loop may be late with it
        self._ended = 0.0
        self._waiting: list[Deferred[None]] = []

    def begin(self, window: float | None) -> Deferred[None]:
        """Begin to shut down, unless that has begun; see :meth:`DrainMachine.drain`.

        :param window: seconds; None: see :func:`plan_drain`
        :return: fires when nothing is left
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        registry, config = self._gateway.registry, self._gateway.context.config
        clients = len(registry.sessions)
        plan = plan_drain(
            clients, window, config.longest_drain_window, config.queries_per_second, config.opens_per_second
        )
        effects = self.drain(plan.window, clients)
        if DrainEffect.REFUSE_CLIENTS in effects:
            canisters, seconds = len(registry.pollers), round(plan.window, 1)
            if not self._gateway.served_elsewhere:
                _log.info("draining", clients=clients, canisters=canisters, seconds=seconds)
            elif clients:
                event = "draining clients that could not be handed over"
                _log.info(event, clients=clients, canisters=canisters, seconds=seconds)
            if plan.hasty:
                _log.warn(
                    "clients are closed faster than the network takes their reconnections, see --drain-timeout"
                    if window is None
                    else "clients are closed faster than the network takes their reconnections, see --drain-window",
                    seconds=seconds,
                    needed=math.ceil(plan.needed),
                    drain_timeout=config.drain_timeout if window is None else None,
                )
        self._perform(effects)
        self.look()
        return done

    def speed_up(self) -> None:
        """End all sessions at once, if the gateway is shutting down; see :meth:`DrainMachine.hurry`."""
        clients = len(self._gateway.registry.sessions)
        effects = self.hurry(clients)
        if effects:
            _log.info("draining at once", clients=clients)
        self._perform(effects)

    def look(self) -> None:
        """Report EMPTY if the gateway is shutting down and nothing is left of any session."""
        registry = self._gateway.registry
        if self.state is _DRAINING and not registry.sessions and not registry.ending:
            self._perform(self.step(DrainEvent.EMPTY))

    def _perform(self, effects: DrainEffects) -> None:
        clock = self._gateway.context.clock
        for effect in effects:
            if effect is DrainEffect.REFUSE_CLIENTS:
                self._gateway.draining = True
            elif effect is DrainEffect.SET_DEADLINE:
                self._stop_timers()
                self._due = clock.seconds()
                self._deadline = clock.callLater(self.limit, self._time_is_over)
            elif effect is DrainEffect.END_SOME:
                self._end_some()
            elif effect is DrainEffect.END_LATE:
                self._end_late()
            elif effect is DrainEffect.GIVE_UP:
                self._give_up_all()
            elif effect is DrainEffect.STOP_TIMERS:
                self._stop_timers()
            elif effect is DrainEffect.REPORT:
                waiting, self._waiting = self._waiting, []
                for done in waiting:
                    done.callback(None)

    def _end_some(self) -> None:
        clock = self._gateway.context.clock
        asked: list[ClientSession] = []

        def end(session: ClientSession) -> None:
            if self.moving and ask_to_move(session, self.moving):
                asked.append(session)
            else:
                session.end(*DRAINING)

        progress = self._end_each(list(islice(self._remaining(), self.group)), end)
        if asked:
            self._asked_to_move.append((clock.seconds() + self.moving, asked))
            self._watch_moves()
        if self.state is _DRAINING and next(self._remaining(), None) is not None:
            self._due += self.pause
            # sessions that cannot be ended are tried again at a slow rate
            wait = max(0.0 if progress or asked else DRAIN_PERIOD, self._due - clock.seconds())
            self._next = clock.callLater(wait, self._happens, DrainEvent.NEXT)

    def _end_each(self, sessions: list[ClientSession], end: Callable[[ClientSession], object]) -> bool:
        """End sessions; return whether there are fewer than before."""
        registry = self._gateway.registry
        before = len(registry.sessions)
        for_each_session(sessions, end)
        if len(registry.sessions) == before:
            return False
        self._ended = self._gateway.context.clock.seconds()
        return True

    def _time_is_over(self) -> None:
        """Report DEADLINE, unless sessions have been ended so late that their canisters need more time."""
        clock = self._gateway.context.clock
        wait = self._ended + self.closing - clock.seconds()
        if wait > LEAST_WAIT:
            self._deadline = clock.callLater(wait, self._time_is_over)
        else:
            self._happens(DrainEvent.DEADLINE)

    def _remaining(self) -> Iterator[ClientSession]:
        """The sessions whose turn has not come: all of them if no client gets time to move."""
        sessions = self._gateway.registry.sessions
        return (session for session in sessions if session.move < MoveState.ASKED or not self.moving)

    def _watch_moves(self) -> None:
        clock = self._gateway.context.clock
        if self._late is None and self._asked_to_move:
            wait = max(0.0, self._asked_to_move[0][0] - clock.seconds())
            self._late = clock.callLater(wait, self._happens, DrainEvent.LATE)

    def _end_late(self) -> None:
        now = self._gateway.context.clock.seconds()
        # one group, if several are due: the next one follows in the next turn of the event loop
        if self._asked_to_move and self._asked_to_move[0][0] <= now:
            self._end_each(self._asked_to_move.popleft()[1], lambda session: session.end(*DRAINING))
        self._watch_moves()

    def _happens(self, event: DrainEvent) -> None:
        if event is DrainEvent.NEXT:
            self._next = None
        elif event is DrainEvent.LATE:
            self._late = None
        else:
            self._deadline = None
        self._perform(self.step(event))

    def _give_up_all(self) -> None:
        """End everything that is left, in batches."""
        self._stop_timers()
        registry = self._gateway.registry
        in_batches(
            self._gateway.context.clock,
            list(registry.sessions),
            lambda session: session.end(*DRAINING),
            self._drop_messages,
        )

    def _drop_messages(self) -> None:
        gateway = self._gateway
        in_batches(
            gateway.context.clock,
            list(gateway.registry.ending),
            _drop_messages_of,
            lambda: gateway.close_notices.abandon_in_batches(self._forget_rest),
        )

    def _forget_rest(self) -> None:
        gateway = self._gateway
        rest = [*gateway.registry.sessions, *gateway.registry.ending]
        in_batches(gateway.context.clock, rest, gateway.finished)

    def _stop_timers(self) -> None:
        for timer in (self._next, self._deadline, self._late):
            if timer is not None:
                timer.cancel()
        self._next = self._deadline = self._late = None
        self._asked_to_move.clear()


def _drop_messages_of(session: ClientSession) -> None:
    # an earlier one may have ended it
    if session.relay is not None:
        session.relay.drop()
