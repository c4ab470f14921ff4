"""Connects a gateway with its successor and its predecessor: command line, pid file, service manager, SIGUSR2."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from icwsgw.errors import ConfigError
from icwsgw.handover.handed_service import HandedService
from icwsgw.handover.predecessor import HANDOVER_VARIABLES, HandingService, Predecessor, command_line
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate
from icwsgw.process.signals import when_signalled

if TYPE_CHECKING:
    from icwsgw.handover.successor import Successor
    from icwsgw.process.systemd import Notifier, NotifyingService
    from icwsgw.service import GatewayService

_log = get_logger("handover")


class CommandLine(Protocol):
    """The parsed command line of ``twistd icws``.

    :ivar parent: twistd's own options
    :ivar directory: where the process was started
    """

    parent: Any
    directory: str


@contextmanager
def reported_to_predecessor(successor: Successor | None) -> Iterator[None]:
    """Tell the process that has started this one, if there is one, that this one cannot start."""
    try:
        yield
    except ConfigError as error:
        if successor is not None:
            successor.failed(str(error))
        raise


def log_options(twistd: Mapping[str, Any]) -> list[str]:
    """Options that keep a daemon's log where it is; its successor, which is no daemon, would write to stdout."""
    daemon = not twistd.get("nodaemon", True)
    if not daemon or twistd.get("logfile") or twistd.get("syslog") or twistd.get("logger"):
        return []
    return [f"--logfile={os.path.abspath('twistd.log')}"]


def prepare_handover(
    gateway: GatewayService,
    options: CommandLine,
    environment: Mapping[str, str],
    notifier: Notifier,
    notifying: NotifyingService,
    successor: Successor | None,
    handed: HandingService | None = None,
    succeed: Callable[[Callable[[str], None]], None] | None = None,
) -> None:
    """Let the gateway hand over to a new process, and take over from the process that has started this one.

    :param handed: the gateway as it is handed over; None: a service of one process
    :param succeed: lets the gateway take over; its argument is as for :meth:`Successor.prepare`; None: that method
    """
    twistd: Any = options.parent or {}
    pidfile = os.path.abspath(twistd["pidfile"]) if twistd.get("pidfile") else ""

    def began(path: str) -> None:
        nonlocal pidfile
        if path:
            pidfile = twistd["pidfile"] = path
            tolerate(_log, "writing the pid file failed", lambda: Path(path).write_text(str(os.getpid())))
        notifying.begin()

    def hand_over_pidfile() -> str:
        # The other process writes its own id there, and this one must not remove it.
        twistd["pidfile"] = ""
        return pidfile

    if successor is not None:
        notifying.serves = False
        if succeed is not None:
            succeed(began)
        else:
            successor.prepare(gateway, began)
    unchanged = {
        name: value for name, value in environment.items() if name not in (*HANDOVER_VARIABLES, "WATCHDOG_PID")
    }
    predecessor = Predecessor(
        handed or HandedService(gateway),
        partial(command_line, sys.orig_argv, log_options(twistd)),
        options.directory,
        unchanged,
        notifier.main_process,
        hand_over_pidfile,
    )
    gateway.upgrader = predecessor
    when_signalled(gateway.reactor, signal.SIGUSR2, predecessor.signalled)
