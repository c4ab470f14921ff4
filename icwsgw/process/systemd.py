"""Notifies the service manager: ready, reloading, stopping, alive (systemd's ``Type=notify``).

A notification (sd_notify(3)) is a datagram of lines ``NAME=value``. It goes to the unix socket in ``$NOTIFY_SOCKET``:
a path or, after ``@``, a name in Linux' abstract namespace. If the variable is not set, nothing is sent.

A timer of the event loop sends ``WATCHDOG=1`` at half the interval in ``$WATCHDOG_USEC``. If the event loop is blocked,
these notifications stop, and the service manager restarts the gateway.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.application.service import Service

from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer

#: Longest status line, in characters; ``systemctl status`` shows it.
MAX_STATUS = 200

_log = get_logger("notify")


class Notifier:
    """Sends notifications to the service manager, if there is one.

    Every method may be called in any state. None raises: a failed notification must not stop the gateway.

    :param address: the value of ``$NOTIFY_SOCKET``; empty to send nothing
    :param watchdog: watchdog timeout in seconds; 0 without a watchdog
    :param clock: the reactor, or a test's clock
    :param monotonic_ns: the system's monotonic clock in nanoseconds; the service manager uses the same clock
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
        """Make a notifier from the environment; remove its variables, so that child processes do not inherit them."""
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
        """The watchdog timeout in seconds; 0 without a watchdog."""
        return self._watchdog if self._address else 0.0

    def ready(self, status: str = "") -> None:
        """Report that the start is complete, and start the watchdog timer."""
        self._send("READY=1", _status(status))
        if self.watchdog and self._call is None:
            self._ping_watchdog()

    def main_process(self, process: int) -> None:
        """Report that another process is the service's main process from now on, and stop the watchdog timer."""
        self._send(f"MAINPID={process}")
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._address = ""

    def status(self, text: str) -> None:
        """Set the status line that ``systemctl status`` shows."""
        self._send(_status(text))

    def reloading(self, begins: bool) -> None:
        """Report that a reload begins (True) or has ended (False)."""
        if begins:
            self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")
        else:
            self._send("READY=1")

    def stopping(self, seconds: float = 0.0, status: str = "") -> None:
        """Report that the stop has begun and ask for up to ``seconds`` for it. The watchdog timer continues."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}" if seconds else "", _status(status))

    def close(self) -> None:
        """Close the socket to the service manager."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ping_watchdog(self) -> None:
        self._send("WATCHDOG=1")
        self._call = self._clock.callLater(self.watchdog / 2, self._ping_watchdog)

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
            # Later notifications may succeed, so failures are logged only once.
            if not self._complained:
                _log.warn("notifying the service manager failed", reason=error.strerror or str(error))
            self._complained = True


def _status(text: str) -> str:
    line = " ".join(text.split())[:MAX_STATUS]
    return f"STATUS={line}" if line else ""


class NotifyingService(Service):
    """Reports ready when all earlier services have started and the reactor runs, and stopping when the stop begins.

    :param stop_timeout: returns the seconds that the stop may take; called when the stop begins
    :ivar serves: whether the gateway serves as soon as it has started; see :meth:`begin`
    """

    serves = True

    def __init__(self, notifier: Notifier, reactor: Any, stop_timeout: Callable[[], float]) -> None:
        self._notifier = notifier
        self._reactor = reactor
        self._stop_timeout = stop_timeout

    def startService(self) -> None:  # noqa: N802
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._ready)

    def stopService(self) -> None:  # noqa: N802
        """Report stopping; watchdog notifications continue during the drain."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping(self._stop_timeout(), "draining")

    def begin(self) -> None:
        """Report ready: the gateway serves now."""
        self.serves = True
        self._ready()

    def _ready(self) -> None:
        if self.running and self.serves:
            self._notifier.ready("serving")
