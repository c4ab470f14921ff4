"""Timers of canisters in Python, as ``ic-cdk-timers`` has them for Rust."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager

from icwsgw.devnet.cdk_types import Trap
from icwsgw.reactor.clock import Clock, Timer


class CanisterTimers:
    """The timers of one canister. Each call is a message of its own: an exception is a trap, which undoes it.

    :param clock: the canister's clock
    :param transaction: undoes what a block did to the CDK if it raises an exception
    :param log: is called with the texts of traps
    """

    def __init__(
        self, clock: Clock, transaction: Callable[[], AbstractContextManager[None]], log: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._transaction = transaction
        self._log = log
        self._timers: dict[int, Timer] = {}
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
        timer = self._timers.pop(number, None)
        if timer is not None and timer.active():
            timer.cancel()

    def clear_all(self) -> None:
        """End all timers, as an upgrade does."""
        for number in list(self._timers):
            self.clear_timer(number)

    def _set(self, delay: float, interval: float | None, act: Callable[[], object]) -> int:
        if delay < 0:
            raise ValueError("a delay is at least 0 seconds")
        self._number += 1
        self._timers[self._number] = self._clock.callLater(delay, self._fire, self._number, interval, act)
        return self._number

    def _fire(self, number: int, interval: float | None, act: Callable[[], object]) -> None:
        # before the call, which may clear its own timer
        if interval is None:
            del self._timers[number]
        else:
            self._timers[number] = self._clock.callLater(interval, self._fire, number, interval, act)
        try:
            with self._transaction():
                act()
        except Trap as trap:
            self._log(f"a timer trapped: {trap}")
        except Exception as error:
            self._log("".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
            self._log(f"a timer trapped: {type(error).__name__}: {error}")
