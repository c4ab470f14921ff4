"""What signals do.

    SIGTERM, SIGINT     drain and exit with status 0; a second one hurries
    SIGHUP              reload the configuration
    SIGUSR1             begin new log files
    others              those that would end the process by default, but are not sent to end it, are logged

Signals that arrive before the reactor runs are held (:data:`held`), and obeyed as soon as it runs: SIGHUP and the
others from when twistd finds the plugin, SIGTERM and SIGINT from when it starts it. These two end the start.

This module is imported before anything else of the gateway, and so imports nothing of it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Container
from functools import partial
from types import FrameType
from typing import Any

#: Signals that ask for the end.
STOP = (signal.SIGTERM, signal.SIGINT)
#: Signals that end a process by default, without a drain, and have no meaning here. SIGQUIT and SIGABRT are not among
#: them: they are sent to get a core file.
UNUSED: tuple[int, ...] = (
    *(signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
    *((signal.SIGPWR, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)) if sys.platform == "linux" else ()),
)


class HeldSignals:
    """Signals that have arrived and wait for the reactor."""

    def __init__(self) -> None:
        self._arrived: set[int] = set()
        self._before: dict[int, Any] = {}

    @property
    def stopping(self) -> bool:
        """Whether one has asked for the end."""
        return not self._arrived.isdisjoint(STOP)

    def hold(self) -> None:
        """Hold the signals that this module handles, from now on."""
        self._hold(*STOP)
        self.hold_unless_they_stop()

    def hold_unless_they_stop(self) -> None:
        """Hold those that are not sent to end the process, from now on."""
        self._hold(signal.SIGHUP, signal.SIGUSR1, *UNUSED)

    def _hold(self, *numbers: int) -> None:
        for number in numbers:
            if number not in self._before:
                self._before[number] = signal.signal(number, self._arrive)

    def release(self) -> None:
        """Restore what the signals did before, and end the process if one of those that came asks for it."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
        arrived, self._arrived = self._arrived, set()
        for number in STOP:
            if number in arrived:
                signal.raise_signal(number)

    def take(self, number: int) -> bool:
        """Whether a signal has arrived; it does not wait any more."""
        arrived = number in self._arrived
        self._arrived.discard(number)
        return arrived

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        self._arrived.add(number)


#: The signals of this process.
held = HeldSignals()


def when_signalled(reactor: Any, number: int, act: Callable[[], object]) -> None:
    """Act on a signal in the reactor's thread; on one that is held, once the reactor runs."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(act)

    def install() -> None:
        signal.signal(number, on_signal)
        if held.take(number):
            act()

    # once the reactor runs, because it installs other handlers when it starts
    reactor.callWhenRunning(install)


def ignore_unused(reactor: Any, log: Callable[[str], object], but: Container[int] = ()) -> None:
    """Ignore the signals that have no meaning here.

    :param but: signals that have one
    :param log: gets the name of a signal, the first time that it arrives
    """
    reported: set[int] = set()

    def ignored(number: int) -> None:
        if number not in reported:
            reported.add(number)
            log(name_of(number))

    for number in UNUSED:
        if number not in but:
            when_signalled(reactor, number, partial(ignored, number))


def name_of(number: int) -> str:
    """The name of a signal, such as ``SIGUSR2`` or ``SIGRTMIN+3``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        # those between the first and the last real-time signal have no names
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
