"""The process that serves now: starts its successor, waits until it is ready, and hands over.

    this process                          the successor
    ------------                          -------------
    starts it                        ──>  reads the configuration, checks it, reaches the network
                                     <──  {"at": what it waits for} every second
                                     <──  {"ready": its version, "early": true}
    the transfer (icwsgw.handover.transfer)

Whatever goes wrong before the transfer's point of no return costs nothing: the successor is killed, this process
continues and says why.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

from icwsgw._version import __version__
from icwsgw.core.written_state import Document
from icwsgw.errors import IcwsError
from icwsgw.handover.channel import Channel
from icwsgw.handover.conversation import Conversation
from icwsgw.handover.handed_service import WrappedService
from icwsgw.handover.transfer import SILENCE_SECONDS, takes_early
from icwsgw.observe.logs import get_logger
from icwsgw.process.child_end import how_it_ended
from icwsgw.process.startup import stop

if TYPE_CHECKING:
    from icwsgw.reactor.clock import Timer

#: The environment variables of a successor: its end of the channel, the listening sockets by address, and what it has
#: to know of this process.
HANDOVER_VARIABLES = CHANNEL, SOCKETS, FACTS = (
    *("ICWSGW_HANDOVER", "ICWSGW_HANDOVER_SOCKETS", "ICWSGW_HANDOVER_FACTS"),
)
#: Seconds until the successor's first message, and until it is ready. A busy machine takes long to start a program.
FIRST_MESSAGE_SECONDS, START_SECONDS = 40.0, 120.0

_log = get_logger("handover")


class HandoverFailed(IcwsError):
    """The handover has failed, and this process continues as before; the text says why."""

    cause = "handover"


class Predecessor:
    """Hands a service over to a new process.

    :param command: gives the command line of the new process, or raises HandoverFailed
    :param directory: where it starts
    :param environment: its environment
    :param announce: called with the process id of the successor before it continues
    :param pidfile: the file that holds the process id of the gateway; None: there is none
    """

    def __init__(
        self,
        service: HandingService,
        command: Callable[[], list[str]],
        directory: str,
        environment: Mapping[str, str],
        announce: Callable[[int], None],
        pidfile: PidFile | None = None,
    ) -> None:
        self._service = service
        self._pidfile = pidfile
        self._command = command
        self._directory = directory
        self._environment = environment
        self._announce = announce
        self._attempt: _Attempt | None = None

    def hand_over(self) -> Deferred[dict[str, Any]]:
        """Start a successor and hand over to it.

        :return: fires with what was handed over, or fails with HandoverFailed
        """
        done: Deferred[dict[str, Any]] = Deferred()
        try:
            command = self._command()
            if reason := self._cannot():
                raise HandoverFailed(reason)
        except HandoverFailed as failure:
            _log.error("handover refused", reason=failure)
            done.errback(failure)
            return done
        self._attempt = _Attempt(self._service, self._announce, self._pidfile, done)
        done.addErrback(self._failed)
        self._attempt.start(command, self._directory, self._environment)
        return done

    def signalled(self) -> None:
        """Hand over and stop, or continue: SIGUSR2."""
        self.hand_over().addCallbacks(lambda result: self.retire(), lambda failure: None)

    def reload(self, read: Callable[[], None]) -> None:
        """Reload, and let the successor reload, which may have read the configuration already: SIGHUP.

        The successor is sent it when it continues, and after that by a signal.

        :param read: reads the configuration again; not called if this process has handed over
        """
        if self._attempt is None or self._attempt.reload_asked():
            read()

    def rotate_logs(self, rotate: Callable[[], None]) -> None:
        """Begin new log files, and let the successor do so, which may have opened the former ones already: SIGUSR1.

        :param rotate: begins them in this process
        """
        if self._attempt is not None:
            self._attempt.rotation_asked()
        rotate()

    def retire(self) -> None:
        """Stop this process, which has handed over. Clients that could not be handed over are drained."""
        stop(self._service.reactor)

    def _cannot(self) -> str | None:
        if self._attempt is not None:
            # also after it, when the successor has everything
            return "a handover is under way already"
        if self._service.draining:
            return "the gateway is shutting down"
        if self._service.config.devnet:
            return "the embedded replica lives in this process; a restart ends it"
        if os.getpid() == 1:
            return "this process is the first one of a container, which ends with it: replace the container"
        return None

    def _failed(self, failure: Failure) -> Failure:
        self._attempt = None
        return failure


class PidFile(Protocol):
    """The file that holds the process id of the gateway.

    :ivar path: its path; empty: there is none
    """

    path: str

    def release(self) -> None:
        """The successor writes its own id there."""


class Transferring(Protocol):
    """Hands over to a process that is ready: :class:`icwsgw.handover.transfer.Transfer`, or that of a supervisor."""

    def begin(self, early: bool) -> None:
        """Begin."""

    def received(self, document: Document) -> None:
        """A document of the other process has come."""

    def pass_on(self, request: str) -> None:
        """A ``reload``, or new log files (``rotate``), were asked for."""

    def fail(self, reason: str) -> None:
        """Give up."""


class HandingService(WrappedService, Protocol):
    """A service that can be handed over: that of one process, or the supervisor of several."""

    @property
    def handover_facts(self) -> Document:
        """What its successor has to know at its start."""

    def transfer(
        self,
        channel: Channel,
        ends: list[int],
        ready: Document,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> Transferring:
        """Make the transfer to a process that is ready.

        :param ends: the sockets that came with its message
        """


class _Attempt:
    """One handover."""

    def __init__(
        self,
        service: HandingService,
        announce: Callable[[int], None],
        pidfile: PidFile | None,
        done: Deferred[dict[str, Any]],
    ) -> None:
        self._service = service
        self._pidfile = pidfile
        self._announce = announce
        self._done: Deferred[dict[str, Any]] | None = done
        self._reactor = service.reactor
        self._timer: Timer | None = None
        self._process: Any = None
        self._conversation: Conversation | None = None
        self._transfer: Transferring | None = None
        self._started = self._reactor.seconds()
        self._waits_for = "its start"
        self._release = ""
        self._reload = self._rotate = False
        self._handed_over = False

    def start(self, command: Sequence[str], directory: str, environment: Mapping[str, str]) -> None:
        try:
            channel = self._start_process(command, directory, environment)
        except OSError as error:
            self._fail(f"the new process cannot be started: {error.strerror or error}")
            return
        _log.info("handover begins", successor=self._process.pid)
        self._conversation = Conversation(self._reactor, channel, self._received, self._ended)
        self._conversation.begin()
        self._wait(FIRST_MESSAGE_SECONDS)

    def _start_process(self, command: Sequence[str], directory: str, environment: Mapping[str, str]) -> Channel:
        """Start the successor; returns this process's end of the channel.

        :raises OSError: there are too many processes or open files, or not enough memory
        """
        listening = {
            listener.address: listener.port.fileno()
            for listener in self._service.listening_services
            if listener.port is not None
        }
        with open(os.devnull, "rb") as nothing, ExitStack() as on_failure:
            ours, theirs = map(on_failure.enter_context, socket.socketpair())
            given = (1, 2, theirs.fileno(), *listening.values())
            self._process = self._reactor.spawnProcess(
                _Child(self._child_ended),
                command[0],
                command,
                env={
                    **environment,
                    CHANNEL: str(theirs.fileno()),
                    SOCKETS: json.dumps(listening),
                    # what the successor needs if this process dies before it can send it the order to continue
                    FACTS: json.dumps({**self._service.handover_facts, "pidfile": self._path}),
                },
                path=directory,
                childFDs={0: nothing.fileno(), **{number: number for number in given}},
            )
            on_failure.pop_all()
        theirs.close()
        return Channel(ours)

    def _received(self, document: Document, ends: list[int]) -> None:
        if self._transfer is not None:
            self._transfer.received(document)
        elif "failed" in document:
            self._fail(str(document["failed"]))
        elif "ready" in document:
            self._wait(None)
            self._waits_for = "clients"
            self._release = str(document["ready"])
            assert self._conversation is not None
            channel = self._conversation.channel
            given = list(ends)
            self._transfer = self._service.transfer(channel, given, document, self._go, self._over, self._fail)
            for asked, request in ((self._reload, "reload"), (self._rotate, "rotate")):
                if asked:
                    self._transfer.pass_on(request)
            self._transfer.begin(takes_early(document))
        else:
            self._waits_for = str(document.get("at", self._waits_for))
            self._wait(SILENCE_SECONDS)
            if self._service.draining:
                self._fail("the gateway is shutting down")
            elif self._reactor.seconds() - self._started > START_SECONDS:
                self._fail(f"the new process is not ready after {START_SECONDS:.0f} s: {self._waits_for}")

    def _wait(self, seconds: float | None) -> None:
        """Wait for the next message."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._reactor.callLater(seconds, self._silent, seconds)

    def _silent(self, seconds: float) -> None:
        self._timer = None
        self._fail(f"the new process was silent for {seconds:.0f} s, waiting for {self._waits_for}")

    def _ended(self, reason: str | None) -> None:
        """The conversation is over."""
        if reason is not None:
            self._give_up(reason)
        # otherwise the end of the process, which says more, is reported next

    def _child_ended(self, reason: Failure) -> None:
        self._process = None
        if self._done is not None:
            how = how_it_ended(reason)
            self._give_up(f"the new process ended ({how}) while it waited for {self._waits_for}; its output says why")

    def _give_up(self, reason: str) -> None:
        if self._transfer is not None:
            self._transfer.fail(reason)
        else:
            self._fail(reason)

    @property
    def _path(self) -> str:
        return self._pidfile.path if self._pidfile is not None else ""

    def _go(self) -> Document:
        # before the successor reports that it serves: the service manager listens only to the main process
        if self._process is not None:
            self._announce(self._process.pid)
        if self._pidfile is not None:
            self._pidfile.release()
        return {"pidfile": self._path, "reload": self._reload, "rotate": self._rotate}

    def reload_asked(self) -> bool:
        """Take note that a reload is asked for; whether this process has to reload too."""
        self._reload = True
        self._pass_on("HUP", "reload")
        return not self._handed_over

    def rotation_asked(self) -> None:
        """Take note that new log files are asked for."""
        self._rotate = True
        self._pass_on("USR1", "rotate")

    def _pass_on(self, signal: str, request: str) -> None:
        """Signal the successor, if it continues already; else send it the request, if it is ready."""
        if self._handed_over:
            if self._process is not None:
                with suppress(ProcessExitedAlready):
                    self._process.signalProcess(signal)
        elif self._transfer is not None:
            self._transfer.pass_on(request)

    def _over(self, result: Document) -> None:
        """Everything is handed over."""
        process = self._process
        result = {"from": __version__, "to": self._release, "process": process.pid if process else None, **result}
        _log.info("handed over", **result)
        self._handed_over = True
        self._close()
        done, self._done = self._done, None
        assert done is not None
        done.callback(result)

    def _fail(self, reason: str) -> None:
        done, self._done = self._done, None
        self._close()
        if self._process is not None:
            self._process.signalProcess("KILL")
        if done is not None:
            _log.error("handover failed, this process continues", reason=reason)
            done.errback(HandoverFailed(reason))

    def _close(self) -> None:
        self._wait(None)
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.close()


class _Child(ProcessProtocol):
    """Waits for the end of the successor."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """The successor has ended."""
        self._ended(reason)


def command_line(
    arguments: Sequence[str], more: Sequence[str] = (), twistd: Mapping[str, Any] = MappingProxyType({})
) -> list[str]:
    """The command line of a successor.

    :param arguments: this process's, with the interpreter (:data:`sys.orig_argv`)
    :param more: further options of twistd
    :param twistd: the options of twistd that this process has
    :raises HandoverFailed: the process changes its user or root directory, which cannot be done twice
    """
    for option in ("uid", "gid", "chroot"):
        if twistd.get(option) is not None:
            raise HandoverFailed(f"twistd's --{option} cannot be applied twice: restart the gateway instead")
    at = _index_of("icws", arguments)
    # A script names the interpreter of its own version; the path to it may lead to a new one by now.
    script = not arguments[1].startswith("-") and os.access(arguments[1], os.X_OK)
    program = [] if script else [sys.executable]
    added = ["--nodaemon", "--pidfile=", *more]
    if list(arguments[at - len(added) : at]) == added:
        # a predecessor has added them: the command line does not grow with each upgrade
        added = []
    return [*program, *arguments[1:at], *added, *arguments[at:]]


def _index_of(subcommand: str, arguments: Sequence[str]) -> int:
    """Where the subcommand is; the value of an option before it may be the same: ``--prefix icws icws``."""
    options = ServerOptions()
    with_value = {
        *(f"--{name.removesuffix('=')}" for name in options.longOpt if name.endswith("=")),
        *(f"-{letter}" for letter, colon in pairwise(f"{options.shortOpt} ") if colon == ":"),
    }
    return next(
        index
        for index, (before, argument) in enumerate(pairwise(arguments), 1)
        if argument == subcommand and before not in with_value
    )
