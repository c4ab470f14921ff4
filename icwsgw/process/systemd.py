"""Notifies the service manager: ready, reloading, stopping, alive (systemd's ``Type=notify``).

The protocol (sd_notify(3)) is lines ``NAME=value`` in a datagram to the unix socket that ``$NOTIFY_SOCKET`` names, a
path or, after ``@``, a name in Linux' abstract namespace. Where the variable is not set, nothing is sent.

``WATCHDOG=1`` comes from a timer of the event loop, every half of what ``$WATCHDOG_USEC`` allows: a gateway whose loop
stands still falls silent, and the manager starts it anew.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.application.service import Service

from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer

#: Longest status line, characters: it is read by people in ``systemctl status``.
MAX_STATUS = 200

_log = get_logger("notify")


class Notifier:
    """Speaks to the service manager, or to nobody.

    Every method may be called in any state, and none raises: a manager that does not listen is no reason to stop.

    :param address: what ``$NOTIFY_SOCKET`` said; empty for nobody
    :param watchdog: seconds of silence that the manager allows; 0 when it does not watch
    :param clock: the reactor, or a test's clock
    :param monotonic_ns: the system's monotonic clock, which the manager compares its own with
    """

    def __init__(
        self,
        clock: Clock,
        address: str = "",
        watchdog: float = 0.0,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._monotonic_ns = monotonic_ns
        self._socket: socket.socket | None = None
        self._call: Timer | None = None
        self._complained = False

    @classmethod
    def from_environment(cls, clock: Clock, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Make the notifier that the environment asks for, and take its variables out: they are not for children."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        watched = usec.isdecimal() and pid in ("", str(os.getpid()))
        if address and address[0] not in "/@":
            _log.warn("$NOTIFY_SOCKET is invalid", address=address)
            address = ""
        return cls(clock, address, int(usec) / 1e6 if watched else 0.0)

    @property
    def watchdog(self) -> float:
        """Seconds of silence that the manager allows; 0 when it does not watch."""
        return self._watchdog if self._address else 0.0

    def ready(self, status: str = "") -> None:
        """The start is over, and the watchdog may begin."""
        self._send("READY=1", _status(status))
        if self.watchdog and self._call is None:
            self._beat()

    def status(self, words: str) -> None:
        """Say in words how things are, for ``systemctl status``."""
        self._send(_status(words))

    def reloading(self, begins: bool) -> None:
        """The configuration is being read again (True), or that is over (False)."""
        if begins:
            self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")
        else:
            self._send("READY=1")

    def stopping(self, seconds: float = 0.0, status: str = "") -> None:
        """The stop has begun; it takes up to ``seconds``, which the manager should grant. The watchdog goes on."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}" if seconds else "", _status(status))

    def close(self) -> None:
        """Close the socket to the service manager."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _beat(self) -> None:
        self._send("WATCHDOG=1")
        self._call = self._clock.callLater(self.watchdog / 2, self._beat)

    def _send(self, *assignments: str) -> None:
        message = "\n".join(filter(None, assignments)).encode()
        if not self._address or not message:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto(message, self._address)
        except OSError as error:
            # The next one may come through; one line says that some did not.
            if not self._complained:
                _log.warn("notifying the service manager failed", reason=error.strerror or str(error))
            self._complained = True


def _status(words: str) -> str:
    line = " ".join(words.split())[:MAX_STATUS]
    return f"STATUS={line}" if line else ""


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
