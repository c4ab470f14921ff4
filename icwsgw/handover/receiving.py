"""The transfer of a service's clients to this process, from one process or from several: the side that gets them.

See :mod:`icwsgw.handover.transfer` for the order of messages. Until all have come from all processes, nothing is
written to a client, and whatever goes wrong costs nothing: this process drops what it has. If one of several
processes is early, it waits, and serves, until the others are as far.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from icwsgw.errors import FormatError
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.service_state import EARLY, LAST_EARLY, Taken, uncollected
from icwsgw.handover.transfer import SILENCE_SECONDS
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate

if TYPE_CHECKING:
    from icwsgw.service import GatewayService

_log = get_logger("handover")
_NOT_CLOSED = "closing denied clients failed"


class Source(NamedTuple):
    """A process that hands over to this one.

    :ivar identities: for each of its identities, the number of the same one here; None: they are the same
    """

    channel: Channel
    identities: Sequence[int] | None = None


class NothingTaken(Exception):
    """The handover has failed, and this process has no clients; the text says why."""


class Receiving:
    """Takes over. The whole process does nothing else meanwhile.

    :ivar go: the last message of the other process; empty if it has crashed after it had handed over
    """

    def __init__(self, service: GatewayService, sources: Sequence[Source]) -> None:
        self._service = service
        self._sources = [(source.channel, Taken(service, source.identities)) for source in sources]
        self.go: dict[str, Any] = {}

    def __len__(self) -> int:
        """How many connections there are."""
        return sum(len(taken) for _, taken in self._sources)

    def run(self) -> None:
        """Take over everything, and serve it.

        :raises NothingTaken: it has failed, and this process has no clients
        """
        with uncollected():
            try:
                self._receive()
            except Exception as error:
                if not isinstance(error, (ChannelClosed, FormatError)):
                    _log.failure("taking over failed")
                # first of all, so that the end of this process ends no connection
                for _, taken in self._sources:
                    taken.discard()
                self._refuse(str(error))
                raise NothingTaken(str(error)) from None
            self._begin()
            # Otherwise the next collection would look at all that has been made, which takes as long as to make it.
            gc.freeze()

    def _receive(self) -> None:
        """Take what the other processes send.

        :raises ChannelClosed: one has ended, or continues itself
        :raises FormatError: one is of another version, or sends something invalid
        """
        whole = [self._until(LAST_EARLY, *source) for source in self._sources]
        for over, (channel, taken) in zip(whole, self._sources, strict=True):
            if not over:
                channel.send({"made": len(taken)})
                self._until("end", channel, taken)
        for _, taken in self._sources:
            taken.check()
        informed = self._send_taken()
        # Each of these lets go when it reads that. What fails now must not cost the clients of the others.
        self._sources = [source for source in informed if self._may_continue(source)]
        for source in informed:
            if source not in self._sources:
                source[1].discard()
        if informed and not self._sources:
            raise ChannelClosed("the other process continues")

    def _send_taken(self) -> list[tuple[Channel, Taken]]:
        """Tell the processes that this one has everything; returns those that have received it.

        :raises ChannelClosed: the first of them does not
        """
        informed: list[tuple[Channel, Taken]] = []
        for channel, taken in self._sources:
            try:
                channel.send({"taken": len(taken)})
            except ChannelClosed as error:
                if not informed:
                    raise
                _log.error("a process ends, or keeps its clients", reason=error)
                taken.discard()
            else:
                informed.append((channel, taken))
        return informed

    def _may_continue(self, source: tuple[Channel, Taken]) -> bool:
        """Read the last message of a process from which everything is taken; False: it keeps its clients."""
        try:
            document, _ = source[0].receive(SILENCE_SECONDS)
        except (ChannelClosed, FormatError):
            # It has released everything, or has crashed: either way no other process serves the clients now.
            return True
        if "stop" in document:
            return False
        self.go = document
        return True

    @staticmethod
    def _until(last: str, channel: Channel, taken: Taken) -> bool:
        """Take documents up to one that has a key, or to the last one; whether it was the last one."""
        while True:
            document, sockets = channel.receive(SILENCE_SECONDS)
            if "stop" in document:
                raise ChannelClosed("the other process continues")
            if taken.add(document, sockets):
                return True
            if last in document:
                return False
            if EARLY in document:
                channel.send({"made": len(taken)})

    def _begin(self) -> None:
        service = self._service
        began = service.reactor.seconds()
        for _, taken in self._sources:
            try:
                taken.begin()
            except Exception:
                # No other process serves now: new clients at least find a gateway.
                _log.failure("taking over failed")
        service.gateway.registry.taken_over()
        service.gateway.served_elsewhere = False
        tolerate(_log, _NOT_CLOSED, service.gateway.close_denied)
        tolerate(_log, _NOT_CLOSED, service.factory.close_denied)
        seconds = round(service.reactor.seconds() - began, 3)
        _log.info("taken over", connections=len(self), sessions=len(service.gateway.registry.sessions), seconds=seconds)

    def _refuse(self, reason: str) -> None:
        for channel, _ in self._sources:
            try:
                channel.send({"failed": reason})
            except ChannelClosed:
                pass
