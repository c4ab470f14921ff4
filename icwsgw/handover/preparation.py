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

from icwsgw.core.written_state import Document
from icwsgw.errors import ConfigError
from icwsgw.handover.handed_service import HandedService
from icwsgw.handover.predecessor import HANDOVER_VARIABLES, HandingService, Predecessor, command_line
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate
from icwsgw.process.signals import when_signalled
from icwsgw.process.startup import reload_on_hangup

if TYPE_CHECKING:
    from icwsgw.handover.successor import Successor
    from icwsgw.process.systemd import Notifier, NotifyingService
    from icwsgw.service import GatewayService

#: Variables that are meant for this process alone.
_OWN_VARIABLES = frozenset({*HANDOVER_VARIABLES, "WATCHDOG_PID"})

_log = get_logger("handover")


class CommandLine(Protocol):
    """The parsed command line of ``twistd icws``.

    :ivar parent: twistd's own options
    :ivar directory: where the process was started
    """

    parent: Any
    directory: str


class TwistdPidFile:
    """The file that holds the process id of the gateway, and that twistd removes at the end.

    :param twistd: the options of twistd
    :ivar path: empty: there is none
    """

    def __init__(self, twistd: dict[str, Any]) -> None:
        self._twistd = twistd
        self.path = os.path.abspath(twistd["pidfile"]) if twistd.get("pidfile") else ""

    def take(self, path: str) -> None:
        """Write this process's id to a file; nothing if the path is empty."""
        if path:
            self.path = self._twistd["pidfile"] = path
            tolerate(_log, "writing the pid file failed", lambda: Path(path).write_text(str(os.getpid())))

    def release(self) -> None:
        """The other process writes its own id there, and this one must not remove it."""
        self._twistd["pidfile"] = ""


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


def _has_to_reload(last_message: Document) -> bool:
    """Whether a successor has to read the configuration again, by the last message of its predecessor.

    One that has died before it sent one may have been asked to. One of an older version does not send it.
    """
    return bool(last_message.get("reload", "go" not in last_message))


def prepare_handover(
    gateway: GatewayService,
    options: CommandLine,
    environment: Mapping[str, str],
    notifier: Notifier,
    notifying: NotifyingService,
    reload: Callable[[], None],
    successor: Successor | None,
    handed: HandingService | None = None,
    succeed: Callable[[Callable[[Document], None]], None] | None = None,
) -> None:
    """Let the gateway hand over to a new process, and take over from the process that has started this one.

    :param reload: reads the configuration again: SIGHUP
    :param handed: the gateway as it is handed over; None: a service of one process
    :param succeed: lets the gateway take over; its argument is as for :meth:`Successor.prepare`; None: that method
    """
    twistd: Any = options.parent or {}
    pidfile = TwistdPidFile(twistd)

    def began(last_message: Document) -> None:
        assert successor is not None
        tolerate(_log, "closing unused sockets failed", partial(successor.close_unused, gateway.listening_services))
        pidfile.take(str(last_message.get("pidfile", successor.facts.get("pidfile")) or ""))
        notifying.begin()
        if last_message.get("rotate"):
            gateway.reactor.callLater(0, gateway.rotate_logs)
        if _has_to_reload(last_message):
            gateway.reactor.callLater(0, reload)

    if successor is not None:
        notifying.serves = False
        if succeed is not None:
            succeed(began)
        else:
            successor.prepare(gateway, began)
    predecessor = Predecessor(
        handed or HandedService(gateway),
        partial(command_line, sys.orig_argv, log_options(twistd), twistd),
        options.directory,
        {name: value for name, value in environment.items() if name not in _OWN_VARIABLES},
        notifier.main_process,
        pidfile,
    )
    gateway.upgrader = predecessor
    reload_on_hangup(gateway.reactor, partial(predecessor.reload, reload))
    when_signalled(gateway.reactor, signal.SIGUSR1, partial(predecessor.rotate_logs, gateway.rotate_logs))
    when_signalled(gateway.reactor, signal.SIGUSR2, predecessor.signalled)
