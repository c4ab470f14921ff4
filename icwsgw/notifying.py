"""Notifies the service manager of the start and the stop; as the last service it starts last and stops first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service

from icwsgw.config import GatewayConfig
from icwsgw.observe.notify import Notifier

#: Seconds beyond the drain's own that connections and processes may take to end.
SLACK = 20.0


def stop_patience(config: GatewayConfig) -> float:
    """Seconds that a stop takes at most: the window, as much again for canisters to be told, and some slack."""
    return config.drain_window + max(config.drain_window, 5.0) + SLACK


class NotifyingService(Service):
    """Says ready when everything before it has started and the reactor runs, and stopping when the stop begins.

    :param patience: gives the seconds that the stop may take, for the manager to know; asked when it begins
    """

    def __init__(self, notifier: Notifier, reactor: Any, patience: Callable[[], float]) -> None:
        self._notifier = notifier
        self._reactor = reactor
        self._patience = patience

    def startService(self) -> None:  # noqa: N802
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._ready)

    def stopService(self) -> None:  # noqa: N802
        """Say stopping; the manager's watchdog goes on being fed, since the drain takes its time."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping(self._patience(), "draining")

    def _ready(self) -> None:
        if self.running:
            self._notifier.ready("serving")
