"""The process that serves now: starts its successor, waits until it is ready, and hands over.

    this process                          the successor
    ------------                          -------------
    starts it                        ──>  reads the configuration, checks it, reaches the network
                                     <──  {"at": what it waits for} every second
                                     <──  {"ready": its version, "early": true}
    connections as they are, sockets ──>  makes them, and does nothing else
                                     <──  {"made": number of connections} after each document
    stops to serve
    state, and what has changed      ──>  takes it
                                     <──  {"taken": number of connections}
    {"go": true}                     ──>  goes on
    lets go of everything

Up to ``taken`` this process has all clients, and whatever goes wrong costs nothing: the successor is killed, this
process goes on and says why. From ``stops to serve`` on it does nothing else, so nothing changes any more. ``taken`` is
the point of no return.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from icwsgw._version import __version__
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError, IcwsError
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.service_state import Handed, uncollected
from icwsgw.observe.logs import get_logger
from icwsgw.process.startup import stop

if TYPE_CHECKING:
    from icwsgw.reactor.clock import Timer
    from icwsgw.service import GatewayService

#: The environment variables of a successor: its end of the channel, and the listening sockets by address.
HANDOVER_VARIABLES = CHANNEL, SOCKETS = "ICWSGW_HANDOVER", "ICWSGW_HANDOVER_SOCKETS"
#: Seconds that the successor may be silent, that its first word may take, and that it may take until it is ready. A
#: busy machine takes long to start a program.
SILENCE_SECONDS, FIRST_WORD_SECONDS, START_SECONDS = 10.0, 40.0, 120.0

_log = get_logger("handover")

T = TypeVar("T")


class HandoverFailed(IcwsError):
    """The handover has failed, and this process goes on as before; the text says why."""

    cause = "handover"


class Predecessor:
    """Hands a service over to a new process.

    :param command: gives the command line of the new process, or raises HandoverFailed
    :param directory: where it starts
    :param environment: its environment
    :param announce: called with the process id of the successor before it goes on
    :param pidfile: the file that holds the process id of the gateway; empty: there is none
    """

    def __init__(
        self,
        service: GatewayService,
        command: Callable[[], list[str]],
        directory: str,
        environment: Mapping[str, str],
        announce: Callable[[int], None],
        pidfile: Callable[[], str] = str,
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
        done.addBoth(self._ended)
        self._attempt.start(command, self._directory, self._environment)
        return done

    def signalled(self) -> None:
        """Hand over and stop, or go on: SIGUSR2."""
        self.hand_over().addCallbacks(lambda result: self.retire(), lambda failure: None)

    def retire(self) -> None:
        """Stop this process, which has handed over. Clients that could not be handed over are drained."""
        stop(self._service.reactor)

    def _cannot(self) -> str | None:
        if self._attempt is not None:
            return "a handover is under way already"
        if self._service.draining:
            return "the gateway is shutting down"
        if self._service.config.devnet:
            return "the embedded replica lives in this process; a restart ends it"
        if os.getpid() == 1:
            return "this process is the first one of a container, which ends with it: replace the container"
        return None

    def _ended(self, result: Any) -> Any:
        self._attempt = None
        return result


class _Attempt:
    """One handover."""

    def __init__(
        self,
        service: GatewayService,
        announce: Callable[[int], None],
        pidfile: Callable[[], str],
        done: Deferred[dict[str, Any]],
    ) -> None:
        self._service = service
        self._pidfile = pidfile
        self._announce = announce
        self._done: Deferred[dict[str, Any]] | None = done
        self._reactor = service.reactor
        self._timer: Timer | None = None
        self._process: Any = None
        self._channel: Channel | None = None
        self._started = self._reactor.seconds()
        self._waits_for = "its start"
        self._handed = Handed(service)
        self._pieces: Iterator[tuple[Document, list[int]]] = iter(())
        self._release = ""

    def start(self, command: Sequence[str], directory: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        listening = {
            listener.address: listener.port.fileno()
            for listener in self._service.listening_services
            if listener.port is not None
        }
        environment = {**environment, CHANNEL: str(theirs.fileno()), SOCKETS: json.dumps(listening)}
        given = (1, 2, theirs.fileno(), *listening.values())
        with open(os.devnull, "rb") as nothing, theirs:
            self._process = self._reactor.spawnProcess(
                _Child(self._child_ended),
                command[0],
                command,
                env=environment,
                path=directory,
                childFDs={0: nothing.fileno(), **{number: number for number in given}},
            )
        _log.info("handover begins", successor=self._process.pid)
        ours.setblocking(False)
        self._channel = Channel(ours)
        self._reactor.addReader(self)
        self._timer = self._reactor.callLater(FIRST_WORD_SECONDS, self._silent, FIRST_WORD_SECONDS)

    # Twisted's IReadDescriptor

    def fileno(self) -> int:
        assert self._channel is not None
        return self._channel.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Return the name for Twisted's log."""
        return "handover"

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor ends."""
        self._fail("the gateway is shutting down")

    def doRead(self) -> None:  # noqa: N802
        """The successor has said something, or has ended."""
        channel = self._channel
        if channel is None:
            return
        try:
            alive = channel.read()
            while self._done is not None and (found := channel.next()) is not None:
                self._heard(found[0])
        except BlockingIOError:
            return
        except FormatError as error:
            self._fail(f"the new process sends nonsense: {error}")
            return
        if not alive:
            # The end of the process, which says more, is reported next.
            self._reactor.removeReader(self)

    def _heard(self, document: dict[str, Any]) -> None:
        if "failed" in document:
            self._fail(str(document["failed"]))
        elif "ready" in document:
            self._release = str(document["ready"])
            if document.get("early"):
                self._waits_for = "connections"
                self._pieces = self._handed.early()
            self._send_early()
        elif "made" in document:
            # the reactor serves clients first
            self._reactor.callLater(0, self._send_early)
        else:
            self._waits_for = str(document.get("at", self._waits_for))
            self._wait()
            if self._reactor.seconds() - self._started > START_SECONDS:
                self._fail(f"the new process is not ready after {START_SECONDS:.0f} s: {self._waits_for}")

    def _wait(self) -> None:
        """Wait for the next word."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._reactor.callLater(SILENCE_SECONDS, self._silent, SILENCE_SECONDS)

    def _silent(self, seconds: float) -> None:
        self._timer = None
        self._fail(f"the new process was silent for {seconds:.0f} s, waiting for {self._waits_for}")

    def _child_ended(self, reason: Failure) -> None:
        self._process = None
        if self._done is not None:
            how = reason.getErrorMessage().removeprefix("A process has ended ").rstrip(".")
            self._fail(f"the new process ended ({how}) while it waited for {self._waits_for}; its output says why")

    def _send_early(self) -> None:
        """Send the next connections while this process serves; when all have been sent, hand over."""
        if self._channel is None:
            return
        if self._service.draining:
            self._fail("the gateway is shutting down")
            return
        found = self._said(lambda channel: next(self._pieces, None))
        if found is not None:
            self._said(lambda channel: channel.send(*found))
            self._wait()
        elif self._done is not None:
            with uncollected():
                self._transfer()

    def _said(self, talk: Callable[[Channel], T]) -> T | None:
        """Say something to the successor; if that fails, so does the handover."""
        channel = self._channel
        assert channel is not None
        try:
            channel.socket.settimeout(SILENCE_SECONDS)
            result = talk(channel)
            channel.socket.setblocking(False)
        except (ChannelClosed, FormatError) as error:
            self._fail(str(error))
        except Exception:
            _log.failure("writing the state down failed")
            self._fail("the state cannot be written down; the log has the reason")
        else:
            return result
        return None

    def _send_rest(self, channel: Channel) -> Document:
        for document, sockets in self._handed.documents():
            channel.send(document, sockets)
        return channel.receive(SILENCE_SECONDS)[0]

    def _transfer(self) -> None:
        """Hand over. Nothing else runs in this process meanwhile."""
        channel, process, handed = self._channel, self._process, self._handed
        assert channel is not None
        began = self._reactor.seconds()
        answer = self._said(self._send_rest)
        if answer is None:
            return
        if "taken" not in answer:
            self._fail(str(answer.get("failed", "the new process refuses the state")))
            return
        # From here on there is no way back.
        left = len(self._service.factory.connections) - len(handed.connections)
        count = len(handed.connections)
        try:
            channel.socket.settimeout(SILENCE_SECONDS)
            channel.send({"go": True, "pidfile": self._pidfile()})
        except ChannelClosed as error:
            _log.error("the successor has ended before it could go on", reason=error)
        seconds = self._reactor.seconds() - began
        try:
            handed.detach()
            self._announce(process.pid)
        except Exception:
            _log.failure("letting go failed")
        result = {
            "from": __version__,
            "to": self._release,
            "process": process.pid,
            "connections": count,
            "left": left,
            "seconds": round(seconds, 3),
        }
        _log.info("handed over", **result)
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
            _log.error("handover failed, this process goes on", reason=reason)
            done.errback(HandoverFailed(reason))

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._channel is not None:
            self._reactor.removeReader(self)
            self._channel.close()
            self._channel = None


class _Child(ProcessProtocol):
    """Waits for the end of the successor."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """The successor has ended."""
        self._ended(reason)


def command_line(arguments: Sequence[str], more: Sequence[str] = (), subcommand: str = "icws") -> list[str]:
    """The command line of a successor.

    :param arguments: this process's, with the interpreter (:data:`sys.orig_argv`)
    :param more: further options of twistd
    :raises HandoverFailed: the process changes its user or root directory, which cannot be done twice
    """
    at = list(arguments).index(subcommand)
    before = [each.partition("=")[0] for each in arguments[:at]]
    for option in ("--uid", "-u", "--gid", "-g", "--chroot"):
        if option in before:
            raise HandoverFailed(f"twistd's {option} cannot be applied twice: restart the gateway instead")
    # A script names the interpreter of its own version; the path to it may lead to a new one by now.
    script = not arguments[1].startswith("-") and os.access(arguments[1], os.X_OK)
    program = [] if script else [sys.executable]
    return [*program, *arguments[1:at], "--nodaemon", "--pidfile=", *more, *arguments[at:]]
