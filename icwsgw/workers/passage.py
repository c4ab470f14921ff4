"""A worker's side of a handover: what comes through the socket for handovers, which also carries other sockets.

    supervisor -> worker   {"hand_over": true, "sockets": 1}: hand your clients over through this socket
                           {"take_over": [identities, ...], "sockets": n}: take over from these; for each, the numbers
                           that the other process's identities have here

The worker answers through its pipe::

    {"type": "prepared", "waits_for": null}       a worker that waits is ready to take over; or why it is not yet
    {"type": "handed_over", "result": {...}}      {"type": "handover_failed", "reason": "..."}
    {"type": "taken_over", "connections": n}      {"type": "takeover_failed", "reason": "..."}
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from icwsgw.core.written_state import Document
from icwsgw.handover.channel import Channel
from icwsgw.handover.conversation import Conversation
from icwsgw.handover.receiving import NothingTaken, Receiving, Source
from icwsgw.handover.successor import accept_all
from icwsgw.handover.transfer import Transfer
from icwsgw.observe.logs import get_logger

#: Seconds between two looks whether the network is reached.
LOOK_SECONDS = 0.1

_log = get_logger("handover")


class Passage:
    """Hands a worker's clients over, or takes clients over.

    :param service: a :class:`icwsgw.service.GatewayService`
    :param descriptor: of the socket for handovers; this object owns it
    :param answer: sends an object to the supervisor
    :param stop: ends the process, which has handed over
    """

    def __init__(
        self,
        service: Any,
        descriptor: int,
        answer: Callable[[Mapping[str, Any]], None],
        stop: Callable[[], None],
    ) -> None:
        self._service = service
        self._reactor = service.reactor
        self._answer = answer
        self._stop = stop
        channel = Channel(socket.socket(fileno=descriptor))
        self._conversation = Conversation(self._reactor, channel, self._received, lambda reason: None)
        self._transfer: Transfer | None = None
        self._other: Conversation | None = None
        self._waits = False
        self._reported: str | None = ""
        self._loop = LoopingCall(self._look)
        self._loop.clock = cast(Any, self._reactor)

    def wait(self) -> None:
        """Accept no connections until :meth:`serve`, and report when this process is ready to take over.

        Call it before the service starts.
        """
        self._waits = True
        self._service.gateway.served_elsewhere = True
        for listener in self._service.listening_services:
            listener.accepting = False

    def begin(self) -> None:
        """Start to read what the supervisor sends."""
        self._conversation.begin()
        if self._waits:
            self._loop.start(LOOK_SECONDS)

    def serve(self) -> None:
        """Accept connections from now on."""
        if self._waits:
            self._waits = False
            self._service.gateway.served_elsewhere = False
            if self._loop.running:
                self._loop.stop()
            accept_all(self._service.listening_services)

    def _look(self) -> None:
        reason = self._service.network_monitor.network()
        if reason != self._reported:
            self._reported = reason
            self._answer({"type": "prepared", "waits_for": reason})

    def _received(self, document: Document, ends: list[int]) -> None:
        channels = [Channel(socket.socket(fileno=end)) for end in ends]
        if "hand_over" in document:
            self._hand_over(channels[0])
        else:
            # nothing is reported before the first of them hands over
            sources = list(map(Source, channels, document["take_over"]))
            first = channels[0].socket
            self._reactor.addReader(_Readable(self._reactor, first, lambda: self._take_over(sources)))

    # the process that hands over

    def _hand_over(self, channel: Channel) -> None:
        transfer = self._transfer = Transfer(self._service, channel, dict, self._handed_over, self._failed)
        self._other = Conversation(
            self._reactor,
            channel,
            lambda document, _: transfer.received(document),
            lambda reason: transfer.fail(reason or "the new process has ended"),
        )
        self._other.begin()
        transfer.begin(early=True)

    def _handed_over(self, result: Document) -> None:
        _log.info("handed over", **result)
        self._end_transfer()
        self._answer({"type": "handed_over", "result": result})
        self._stop()

    def _failed(self, reason: str) -> None:
        _log.error("handover failed, this process continues", reason=reason)
        self._end_transfer()
        self._answer({"type": "handover_failed", "reason": reason})

    def _end_transfer(self) -> None:
        other, self._other, self._transfer = self._other, None, None
        if other is not None:
            other.close()

    # the process that takes over

    def _take_over(self, sources: Sequence[Source]) -> None:
        receiving = Receiving(self._service, sources)
        try:
            receiving.run()
        except NothingTaken as error:
            self._answer({"type": "takeover_failed", "reason": str(error)})
        else:
            self.serve()
            self._answer({"type": "taken_over", "connections": len(receiving)})
        for source in sources:
            source.channel.close()


@implementer(IReadDescriptor)
class _Readable:
    """Waits until a socket can be read, and reads nothing of it."""

    def __init__(self, reactor: Any, waited: socket.socket, then: Callable[[], None]) -> None:
        self._of = reactor
        self._waited = waited
        self._then = then

    def fileno(self) -> int:
        return self._waited.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Return the name for Twisted's log."""
        return "handover"

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor ends."""

    def doRead(self) -> None:  # noqa: N802
        """Something has come."""
        self._of.removeReader(self)
        self._then()
