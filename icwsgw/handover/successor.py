"""The new process: gets ready, takes over from the process that serves, and continues.

See :mod:`icwsgw.handover.predecessor` for the order of messages. Until the message to continue, this process accepts no
connection and ends when the other one ends its channel. If the other process ends after ``taken``, no other process has
the connections any more: then this process continues too.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.carried_overrides import take_overrides
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.early_messages import read_early
from icwsgw.handover.inheritance import Inheritance, share
from icwsgw.handover.predecessor import CHANNEL, FACTS, SOCKETS
from icwsgw.handover.receiving import NothingTaken, Receiving, Source
from icwsgw.handover.service_state import EARLY
from icwsgw.handover.transfer import SILENCE_SECONDS
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate
from icwsgw.process.startup import stop
from icwsgw.workers.sockets import GivenEndpoint

if TYPE_CHECKING:
    from icwsgw.server.endpoints import ListeningService
    from icwsgw.service import GatewayService

#: Seconds between two looks whether the network is reached, and between two messages to the other process.
LOOK_SECONDS, REPORT_SECONDS = 0.1, 1.0
#: For the log.
NO_OVERRIDES_TAKEN = "what was set at run time is not taken over"

_log = get_logger("handover")


class Successor:
    """Takes over from the process that has started this one.

    :param channel: to that process
    :param sockets: descriptors of its listening sockets, by address
    :param facts: what that process has written of itself
    """

    def __init__(self, channel: Channel, sockets: dict[str, int], reactor: Any, facts: Document | None = None) -> None:
        self._channel = channel
        self.facts = facts or {}
        self._sockets = sockets
        self._reactor = reactor
        self._service: GatewayService | None = None
        self._began: Callable[[Document], None] = lambda last_message: None
        self._reported_at = -REPORT_SECONDS
        self._loop = LoopingCall(self._look)
        self._loop.clock = cast(Any, reactor)
        self._inheritance = Inheritance()

    @classmethod
    def from_environment(cls, reactor: Any, environment: MutableMapping[str, str] = os.environ) -> Successor | None:
        """The successor that this process is, if another one has started it to hand over."""
        channel, sockets = environment.pop(CHANNEL, None), environment.pop(SOCKETS, "{}")
        facts = environment.pop(FACTS, "{}")
        if channel is None:
            return None
        return cls(Channel(socket.socket(fileno=int(channel))), json.loads(sockets), reactor, json.loads(facts))

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
            with socket.socket(fileno=os.dup(int(environment[CHANNEL]))) as end, suppress(ChannelClosed):
                Channel(end).send({"failed": reason})

    def failed(self, reason: str) -> None:
        """Tell the other process that this one cannot start."""
        with suppress(ChannelClosed):
            self._channel.send({"failed": reason})

    def close_unused(self, listeners: Sequence[ListeningService]) -> None:
        """Close the sockets of addresses that the configuration does not have any more: the kernel would go on to
        accept connections there.

        :param listeners: what listens in this process
        """
        used = {listener.address for listener in listeners}
        for address, descriptor in self._sockets.items():
            if address not in used:
                with suppress(OSError):
                    os.close(descriptor)

    @property
    def channel(self) -> Channel:
        return self._channel

    def inherit(self, workers: int, identities: int) -> list[Inheritance]:
        """What each process takes over.

        :param workers: the number of processes
        :param identities: how many each one has
        """
        sources = self.facts.get("workers")
        if sources is None:
            return [Inheritance()] * workers
        found = share(sources, workers, identities)
        self._inheritance = found[0]
        return found

    def prepare(self, service: GatewayService, began: Callable[[Document], None]) -> None:
        """Take over when this process is ready.

        :param began: called when it serves, with the last message of the other process; without ``go``: it has crashed
        """
        self._service = service
        self._began = began
        service.gateway.served_elsewhere = True
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
                self._take_over(service, self._report_ready())
            elif now - self._reported_at >= REPORT_SECONDS:
                self._reported_at = now
                self._channel.send({"at": f"the network ({reason})"})
        except ChannelClosed as error:
            self._give_up(str(error))

    def _report_ready(self) -> list[Source]:
        """Report that this process is ready; returns the processes that hand over to it."""
        inheritance = self._inheritance
        ready = {"ready": __version__, EARLY: True}
        if not self.facts.get("supervisor"):
            self._channel.send(ready)
            return [Source(self._channel, inheritance.identities[0] if inheritance.identities else None)]
        # each worker hands over by a channel of its own
        pairs = [socket.socketpair() for _ in inheritance.sources]
        ends = [theirs for _, theirs in pairs]
        self._channel.send(
            {**ready, "groups": [inheritance.sources], "sockets": len(ends)}, [end.fileno() for end in ends]
        )
        for end in ends:
            end.close()
        channels = [Channel(ours) for ours, _ in pairs]
        return list(map(Source, channels, inheritance.identities))

    def _take_over(self, service: GatewayService, sources: list[Source]) -> None:
        receiving = Receiving(service, sources)
        try:
            receiving.run()
        except NothingTaken as error:
            self._give_up(str(error))
            return
        # From here on no other process has the clients: this process serves, whatever fails.
        accept_all(service.listening_services)
        go = receiving.go
        if self.facts.get("supervisor"):
            go = self._wait_for_supervisor()
        tolerate(_log, "reporting that this process serves failed", lambda: self._began(go))
        if overrides := go.get("overrides"):
            tolerate(_log, NO_OVERRIDES_TAKEN, lambda: take_overrides(service, overrides))
        tolerate(_log, "closing the channel failed", self._channel.close)

    def _wait_for_supervisor(self) -> Document:
        """Wait until the supervisor has released its sockets too; returns its last messages."""
        received: Document = {}
        with suppress(ChannelClosed, FormatError):
            while "go" not in received:
                received |= read_early(*self._channel.receive(SILENCE_SECONDS))
        return received

    def _give_up(self, reason: str) -> None:
        if self._loop.running:
            self._loop.stop()
        _log.error("nothing is taken over, this process ends", reason=reason)
        self._channel.close()
        if self._service is not None:
            for listener in self._service.listening_services:
                # a stop would end it for the other process
                listener.detach()
        stop(self._reactor)


def accept_all(listeners: Sequence[ListeningService]) -> None:
    """Accept connections at all addresses; one that cannot costs itself alone."""
    for listener in listeners:
        tolerate(_log, f"accepting connections at {listener.address} failed", listener.accept)


def _family(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        return duplicate.family
