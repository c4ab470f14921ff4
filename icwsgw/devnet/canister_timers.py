"""Timers of canisters in Python, as ``ic-cdk-timers`` has them for Rust."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from icwsgw.devnet.cdk_types import Trap
from icwsgw.reactor.clock import Clock, Timer


@dataclass
class _Pending:
    """A timer that is set.

    :ivar interval: seconds between two calls; None: there is one call
    """

    act: Callable[[], object]
    interval: float | None
    timer: Timer


class CanisterTimers:
    """The timers of one canister. Each call is a message of its own: an exception is a trap, which undoes it.

    A message that traps has neither set nor cleared timers.

    :param clock: the canister's clock
    :param transaction: undoes what a block did to the CDK if it raises an exception other than WsError
    :param undone_by: in a transaction, takes the step that undoes what was just done
    :param log: takes the texts of traps
    """

    def __init__(
        self,
        clock: Clock,
        transaction: Callable[[], AbstractContextManager[None]],
        undone_by: Callable[[Callable[[], object]], None],
        log: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._transaction = transaction
        self._undone_by = undone_by
        self._log = log
        self._timers: dict[int, _Pending] = {}
        self._number = 0

    def set_timer(self, delay: float, act: Callable[[], object]) -> int:
        """Call ``act`` once.

        :param delay: seconds from now
        :returns: a number for :meth:`clear_timer`
        :raises ValueError: the delay is negative
        """
        return self._set(delay, None, act)

    def set_timer_interval(self, interval: float, act: Callable[[], object]) -> int:
        """Call ``act`` again and again.

        :param interval: seconds between two calls
        :returns: a number for :meth:`clear_timer`
        :raises ValueError: the interval is not above 0
        """
        if interval <= 0:
            raise ValueError("an interval is more than 0 seconds")
        return self._set(interval, interval, act)

    def clear_timer(self, number: int) -> None:
        """Do not make the calls of a timer any more; a timer that is over may be given."""
        cleared = self._end(number)
        if cleared is not None:
            due = cleared.timer.getTime()
            self._undone_by(lambda: self._arm(number, due - self._clock.seconds(), cleared.interval, cleared.act))

    def clear_all(self) -> None:
        """End all timers, as an upgrade does."""
        for number in list(self._timers):
            self._end(number)

    def _set(self, delay: float, interval: float | None, act: Callable[[], object]) -> int:
        if delay < 0:
            raise ValueError("a delay is at least 0 seconds")
        self._number += 1
        number = self._number
        self._arm(number, delay, interval, act)
        self._undone_by(lambda: self._end(number))
        return number

    def _arm(self, number: int, delay: float, interval: float | None, act: Callable[[], object]) -> None:
        timer = self._clock.callLater(max(delay, 0), self._fire, number, interval, act)
        self._timers[number] = _Pending(act, interval, timer)

    def _end(self, number: int) -> _Pending | None:
        pending = self._timers.pop(number, None)
        if pending is not None and pending.timer.active():
            pending.timer.cancel()
        return pending

    def _fire(self, number: int, interval: float | None, act: Callable[[], object]) -> None:
        # before the call, which may clear its own timer
        if interval is None:
            del self._timers[number]
        else:
            self._arm(number, interval, interval, act)
        try:
            with self._transaction():
                _run(act)
        except Trap as trap:
            if trap.__cause__ is not None:
                self._log(_traceback(trap.__cause__))
            self._log(f"a timer trapped: {trap}")


def _run(act: Callable[[], object]) -> None:
    """Run an application's code, in which any exception is a trap; WsError too, which is an answer in the CDK alone."""
    try:
        act()
    except Trap:
        raise
    except Exception as error:
        raise Trap(f"{type(error).__name__}: {error}") from error


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
