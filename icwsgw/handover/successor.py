"""The new process: gets ready, takes over from the process that serves, and goes on.

See :mod:`icwsgw.handover.predecessor` for the order of messages. Until it is told to go on, this process accepts no
connection and ends when the other one ends its channel. If the other process ends after ``taken``, nobody else has the
connections any more: then this process goes on too.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.errors import FormatError
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.predecessor import CHANNEL, SILENCE_SECONDS, SOCKETS
from icwsgw.handover.service_state import EARLY, Taken, uncollected
from icwsgw.observe.logs import get_logger
from icwsgw.process.startup import stop
from icwsgw.workers.sockets import GivenEndpoint

if TYPE_CHECKING:
    from icwsgw.service import GatewayService

#: Seconds between two looks whether the network is reached, and between two words to the other process.
LOOK_SECONDS, WORD_SECONDS = 0.1, 1.0

_log = get_logger("handover")


class Successor:
    """Takes over from the process that has started this one.

    :param channel: to that process
    :param sockets: descriptors of its listening sockets, by address
    """

    def __init__(self, channel: Channel, sockets: dict[str, int], reactor: Any) -> None:
        self._channel = channel
        self._sockets = sockets
        self._reactor = reactor
        self._service: GatewayService | None = None
        self._began: Callable[[str], None] = lambda pidfile: None
        self._last_word = -WORD_SECONDS
        self._loop = LoopingCall(self._look)
        self._loop.clock = cast(Any, reactor)
        self._over = False

    @classmethod
    def from_environment(cls, reactor: Any, environment: MutableMapping[str, str] = os.environ) -> Successor | None:
        """The successor that this process is, if another one has started it to hand over."""
        channel, sockets = environment.pop(CHANNEL, None), environment.pop(SOCKETS, "{}")
        if channel is None:
            return None
        return cls(Channel(socket.socket(fileno=int(channel))), json.loads(sockets), reactor)

    def endpoints(self) -> dict[str, GivenEndpoint]:
        """The listening sockets of the other process, by address."""
        return {
            address: GivenEndpoint(self._reactor, descriptor, _family(descriptor))
            for address, descriptor in self._sockets.items()
        }

    @staticmethod
    def report(reason: str, environment: MutableMapping[str, str] = os.environ) -> None:
        """Tell the process that has started this one, if there is one, that this one cannot start."""
        if CHANNEL in environment:
            Channel(socket.socket(fileno=os.dup(int(environment[CHANNEL])))).send({"failed": reason})

    def failed(self, reason: str) -> None:
        """Tell the other process that this one cannot start."""
        try:
            self._channel.send({"failed": reason})
        except ChannelClosed:
            pass

    def prepare(self, service: GatewayService, began: Callable[[str], None]) -> None:
        """Take over when this process is ready.

        :param began: called when it serves, with the file that has to hold its process id, or nothing
        """
        self._service = service
        self._began = began
        for listener in service.listening_services:
            listener.accepting = False
        self._reactor.callWhenRunning(self._loop.start, LOOK_SECONDS)

    def _look(self) -> None:
        service = self._service
        assert service is not None
        now = self._reactor.seconds()
        reason = service.network_monitor.network()
        try:
            if reason is None:
                self._loop.stop()
                self._channel.send({"ready": __version__, EARLY: True})
                with uncollected():
                    self._take_over(service)
            elif now - self._last_word >= WORD_SECONDS:
                self._last_word = now
                self._channel.send({"at": f"the network ({reason})"})
        except ChannelClosed as error:
            self._give_up(str(error))

    def _take_over(self, service: GatewayService) -> None:
        channel, taken = self._channel, Taken(service)
        try:
            self._receive(taken)
            taken.check()
            channel.send({"taken": len(taken)})
        except Exception as error:
            if not isinstance(error, (ChannelClosed, FormatError)):
                _log.failure("taking over failed")
            # first of all, so that the end of this process ends no connection
            taken.discard()
            self.failed(str(error))
            self._give_up(str(error))
            return
        go: dict[str, Any] = {}
        try:
            go, _ = channel.receive(SILENCE_SECONDS)
        except ChannelClosed:
            # It has let go of everything, or has crashed: either way nobody else serves the clients now.
            pass
        began = self._reactor.seconds()
        self._close_unused(service)
        try:
            taken.begin()
        except Exception:
            # Nobody else serves now: new clients at least find a gateway.
            _log.failure("taking over failed")
        for listener in service.listening_services:
            listener.accept()
        channel.close()
        self._over = True
        self._began(str(go.get("pidfile") or ""))
        seconds = round(self._reactor.seconds() - began, 3)
        _log.info(
            "taken over", connections=len(taken), sessions=len(service.gateway.registry.sessions), seconds=seconds
        )

    def _receive(self, taken: Taken) -> None:
        """Take what the other process sends.

        :raises ChannelClosed: it has ended
        :raises FormatError: it is of another version, or invalid
        """
        over = False
        while not over:
            document, sockets = self._channel.receive(SILENCE_SECONDS)
            over = taken.add(document, sockets)
            if EARLY in document:
                self._channel.send({"made": len(taken)})

    def _close_unused(self, service: GatewayService) -> None:
        """Close the sockets of addresses that the configuration does not have any more."""
        used = {listener.address for listener in service.listening_services}
        for address, descriptor in self._sockets.items():
            if address not in used:
                os.close(descriptor)

    def _give_up(self, reason: str) -> None:
        if self._loop.running:
            self._loop.stop()
        _log.error("nothing is taken over, this process ends", reason=reason)
        self._channel.close()
        stop(self._reactor)


def _family(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        return duplicate.family
