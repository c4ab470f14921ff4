"""The transfer of a service's clients to a process that is ready: the side that has them.

    connections as they are, sockets ──>  makes them, and does nothing else
                                     <──  {"made": number of connections} after each document
    stops to serve
    state, and what has changed      ──>  takes it
                                     <──  {"taken": number of connections}
    {"go": true}                     ──>  continues
    releases everything

Up to ``taken`` this process has all clients, and whatever goes wrong costs nothing. It sends ``{"stop": true}`` then:
the other process must not take the end of the conversation for a crash. From ``stops to serve`` on it does nothing
else, so nothing changes any more. ``taken`` is the point of no return.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from icwsgw._version import __version__
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.service_state import EARLY, LAST_EARLY, Handed, uncollected
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate

if TYPE_CHECKING:
    from icwsgw.reactor.clock import Timer
    from icwsgw.service import GatewayService

#: Seconds that the other process may be silent; and while it waits for a third one that hands over to it too.
SILENCE_SECONDS, LAST_EARLY_SECONDS = 10.0, 120.0
#: Seconds for which a process that has handed over does nothing, because the other one has much to do first.
GIVE_WAY_SECONDS = 0.5

_log = get_logger("handover")

T = TypeVar("T")


class Transfer:
    """One transfer.

    :param channel: to the other process; its owner reads it, and calls :meth:`received`
    :param go: gives what the other process is sent when it continues, beside that it does; called after the point of no
        return
    :param done: called with what was handed over, when this process has released it
    :param failed: called with the reason: nothing has changed
    """

    def __init__(
        self,
        service: GatewayService,
        channel: Channel,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> None:
        self._service = service
        self._channel: Channel | None = channel
        self._go = go
        self._done = done
        self._failed = failed
        self._handed = Handed(service)
        self._pieces: Iterator[tuple[Document, list[int]]] = iter(())
        self._timer: Timer | None = None

    def begin(self, early: bool) -> None:
        """Begin.

        :param early: whether the other process takes connections while this one serves
        """
        if early:
            self._pieces = self._handed.early()
        self._send_early()

    def received(self, document: Document) -> None:
        """The other process has said something."""
        if "failed" in document:
            self.fail(str(document["failed"]))
        elif "made" in document:
            # the reactor serves clients first
            self._service.reactor.callLater(self._handed.pause, self._send_early)

    def pass_on(self, request: str) -> None:
        """A reload or new log files were asked for: the other process receives it at the end, before it serves."""

    def fail(self, reason: str) -> None:
        """Give up: this process keeps all clients."""
        channel, self._channel = self._channel, None
        self._wait(None)
        if channel is None:
            return
        try:
            channel.socket.settimeout(SILENCE_SECONDS)
            channel.send({"stop": True})
        except (ChannelClosed, OSError):
            pass
        self._failed(reason)

    def _wait(self, seconds: float | None) -> None:
        """Wait for the next message of the other process."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._service.reactor.callLater(seconds, self._silent, seconds)

    def _silent(self, seconds: float) -> None:
        self._timer = None
        self.fail(f"the new process was silent for {seconds:.0f} s")

    def _send_early(self) -> None:
        """Send the next connections while this process serves; when all have been sent, hand over."""
        if self._channel is None:
            return
        if self._service.draining:
            self.fail("the gateway is shutting down")
            return
        found = self._talk(lambda channel: next(self._pieces, None))
        if found is not None:
            self._talk(lambda channel: channel.send(*found))
            if self._channel is not None:
                self._wait(LAST_EARLY_SECONDS if LAST_EARLY in found[0] else SILENCE_SECONDS)
        elif self._channel is not None:
            self._wait(None)
            with uncollected():
                self._finish()

    def _talk(self, talk: Callable[[Channel], T]) -> T | None:
        """Say something to the other process; if that fails, so does the transfer."""
        channel = self._channel
        assert channel is not None
        try:
            channel.socket.settimeout(SILENCE_SECONDS)
            result = talk(channel)
            channel.socket.setblocking(False)
        except (ChannelClosed, FormatError) as error:
            self.fail(str(error))
        except Exception:
            _log.failure("writing the state down failed")
            self.fail("the state cannot be written down; the log has the reason")
        else:
            return result
        return None

    def _send_rest(self, channel: Channel) -> Document:
        for document, sockets in self._handed.documents():
            channel.send(document, sockets)
        return channel.receive(SILENCE_SECONDS)[0]

    def _finish(self) -> None:
        """Hand over. Nothing else runs in this process meanwhile."""
        handed = self._handed
        began = self._service.reactor.seconds()
        answer = self._talk(self._send_rest)
        if answer is None:
            return
        if "taken" not in answer:
            self.fail(str(answer.get("failed", "the new process refuses the state")))
            return
        # From here on there is no way back: this process lets go, whatever fails.
        channel, self._channel = self._channel, None
        assert channel is not None
        count = len(handed.connections)
        left = len(self._service.factory.connections) - count
        send_go(channel, self._go)
        seconds = self._service.reactor.seconds() - began
        if not left:
            tolerate(_log, "giving way failed", give_way)
        tolerate(_log, "releasing what was handed over failed", handed.detach)
        self._done({"connections": count, "left": left, "seconds": round(seconds, 3), "from": __version__})


def send_go(channel: Channel, what: Callable[[], Document]) -> None:
    """Tell the other process to continue. It does so even without this message.

    :param what: gives what it has to know; a fault there costs no more than that
    """
    document: Document = {"go": True}
    tolerate(_log, "not all can be sent to the successor", lambda: document.update(what()))
    try:
        channel.socket.settimeout(SILENCE_SECONDS)
        channel.send(document)
    except (ChannelClosed, OSError) as error:
        _log.error("the successor has ended before it could continue", reason=error)
    except Exception:
        _log.failure("the message to continue could not be sent to the successor")


def give_way() -> None:
    """Leave the CPU to the other process: this one only clears up, which takes as long as the silence did."""
    os.nice(10)
    time.sleep(GIVE_WAY_SECONDS)  # noqa: TID251 no client is served here any more


def takes_early(document: Document) -> bool:
    """Whether a process that is ready takes connections while the other one serves."""
    return bool(document.get(EARLY))
