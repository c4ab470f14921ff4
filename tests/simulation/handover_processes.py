"""Two simulated processes that hand over, with the program's own code for both sides.

Each side runs as a coroutine, because the side that takes over waits for each message. A coroutine is a thread; only
one runs at a time, and only while :meth:`Coroutine.resume` waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Semaphore, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.channel import ChannelClosed
from icwsgw.handover.receiving import NothingTaken, Receiving, Source
from icwsgw.handover.transfer import Transfer
from icwsgw.ic import cbor
from tests.simulation.handover_links import connections_of

if TYPE_CHECKING:
    from icwsgw.admin.control import Overrides
    from tests.simulation.process import SimProcess
    from tests.simulation.world import OrderedSet


class Killed(BaseException):
    """The process has been killed."""


class Coroutine:
    """A function that can pause itself.

    :ivar over: the function has returned
    """

    def __init__(self, run: Callable[[], object]) -> None:
        self.over = False
        self._killed = False
        self._error: BaseException | None = None
        self._go, self._back = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._main, args=(run,), daemon=True)
        self._thread.start()

    def _main(self, run: Callable[[], object]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                run()
        except Killed:
            pass
        except BaseException as error:
            self._error = error
        self.over = True
        self._back.release()

    def resume(self) -> None:
        """Run it until it pauses again or returns."""
        self._go.release()
        self._back.acquire()
        if self.over:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Pause; called by the function itself."""
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """End it where it has paused."""
        if not self.over:
            self._killed = True
            self.resume()


class SimChannel:
    """One end of the channel between the processes.

    :param process: the process at this end
    :param wait: pauses the process
    :ivar far: the other end
    :ivar waits: the process does nothing but wait for the next message
    :ivar broken: the next message is not a valid document
    :ivar sent_taken: the process has sent that it has everything
    """

    far: SimChannel

    def __init__(self, process: SimProcess, wait: Callable[[], None]) -> None:
        self.process = process
        self.open = True
        self.waits = self.broken = self.sent_taken = False
        self.socket = SimpleNamespace(settimeout=lambda seconds: None, setblocking=lambda flag: None)
        self._wait = wait
        self._inbox: deque[bytes] = deque()
        self._deadline = float("inf")

    @property
    def readable(self) -> bool:
        """Whether a message or the end of the channel can be received."""
        return bool(self._inbox) or not self.far.open or self.broken or self._late

    @property
    def _late(self) -> bool:
        return self.waits and self.process.world.clock.seconds() >= self._deadline

    def time_out(self) -> None:
        """Time out: the other process has been silent for too long."""
        self._deadline = float("-inf")

    def send(self, document: Document, sockets: Sequence[int] = ()) -> None:
        if not self.far.open:
            raise ChannelClosed("the other process has ended")
        self.sent_taken |= "taken" in document
        self.far._inbox.append(cbor.dumps([document, list(sockets)]))

    def next(self) -> Document | None:
        """The next document, or None if none has arrived."""
        return cbor.loads(self._inbox.popleft())[0] if self._inbox else None

    def receive(self, seconds: float) -> tuple[Document, list[int]]:
        self._deadline = self.process.world.clock.seconds() + seconds
        while True:
            if self.broken:
                raise FormatError("a document that is none")
            if self._inbox:
                document, sockets = cbor.loads(self._inbox.popleft())
                return document, sockets
            if not self.far.open:
                raise ChannelClosed("the other process has ended")
            if self.process.world.clock.seconds() >= self._deadline:
                raise ChannelClosed(f"the other process was silent for {seconds:.0f} s")
            self.waits = True
            self._wait()
            self.waits = False

    def close(self) -> None:
        self.open = False


def connect(*ends: SimChannel) -> None:
    """Connect two ends."""
    ends[0].far, ends[1].far = ends[1], ends[0]


class SimService:
    """A process with the interface that a handover expects, like :class:`icwsgw.service.GatewayService`.

    :param overrides: options that the operator has changed
    :param override: changes them
    """

    listening_services = ()

    def __init__(
        self, process: SimProcess, overrides: Callable[[], Overrides], override: Callable[[Overrides], object]
    ) -> None:
        self.process = process
        self.gateway = process.gateway
        self.metrics = process.metrics
        self.override = override
        self.reactor = self
        self.factory = self
        self.limits = process.factory.limits
        self.configured = process.config
        self.status = SimpleNamespace(written=dict, continue_from=lambda document: None)
        #: calls that the process makes next
        self.due: deque[Callable[[], object]] = deque()
        self._overrides = overrides
        self._direct: dict[Any, Any] = {}

    @property
    def overrides(self) -> Overrides:
        return self._overrides()

    @property
    def draining(self) -> bool:
        return self.gateway.draining

    @property
    def connections(self) -> OrderedSet:
        from tests.simulation.world import OrderedSet

        return OrderedSet(connections_of(self.process, self._direct))

    def close_denied(self) -> None:
        self.process.factory.close_denied()

    def seconds(self) -> float:
        return self.process.world.clock.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any) -> Any:
        if delay:
            return self.process.clock.callLater(delay, call, *args)
        self.due.append(call)
        return None


class Giver:
    """The process that hands over.

    :ivar done: the result; None: nothing was handed over
    :ivar failed: why it failed
    :ivar pollers, ending: its pollers when it stopped serving, and the sessions of clients that had left
    """

    def __init__(self, service: SimService, early: bool) -> None:
        self.process = service.process
        self.done: Document | None = None
        self.failed: str | None = None
        self._service = service
        self._early = early
        self._begun = False
        self.pollers: dict[tuple[bytes, int], Any] = {}
        self.ending: list[Any] = []
        self._running = Coroutine(self._run)
        self.channel = SimChannel(self.process, self._running.wait)
        of: Any = service
        channel: Any = self.channel
        self._transfer = Transfer(of, channel, dict, self._has_done, self._has_failed)

    def _run(self) -> None:
        self._transfer.begin(self._early)
        while self.done is None and self.failed is None:
            if self._service.due:
                self._service.due.popleft()()
            elif (document := self.channel.next()) is not None:
                self._transfer.received(document)
            elif not self.channel.far.open:
                self._transfer.fail("the new process has ended")
            else:
                self._running.wait()

    def _has_done(self, result: Document) -> None:
        self.done = result
        self.channel.close()

    def _has_failed(self, reason: str) -> None:
        self.failed = reason
        self.channel.close()

    @property
    def silent(self) -> bool:
        """Whether it has stopped serving."""
        return self.channel.waits and not self.over

    @property
    def over(self) -> bool:
        return self._running.over or self.done is not None or self.failed is not None

    @property
    def can_run(self) -> bool:
        return not self._running.over and (self.channel.readable or self.over or not self._begun)

    def resume(self) -> None:
        self._begun = True
        self._running.resume()
        if self.silent:
            registry = self.process.gateway.registry
            self.pollers, self.ending = dict(registry.pollers), list(registry.ending)
            self._look_at_marks()

    def _look_at_marks(self) -> None:
        """Check that connections with unchanged marks have unchanged documents."""
        for connection, (_, sent, mark) in self._transfer._handed._sent.items():
            if mark is not None and connection.mark() == mark and cbor.dumps(connection.written()) != sent:
                self.process.world.oracle.fail(f"a connection has another state, and the same mark: {mark}")

    def kill(self) -> None:
        """The process is killed."""
        self._running.kill()
        self.channel.close()

    @property
    def connections(self) -> list[Any]:
        """The connections that the other process receives."""
        return list(self._transfer._handed.connections)


class Taker:
    """The process that takes over.

    :param sources: the other processes' ends, and the numbers of their identities here
    :param begins: called at the point of no return, before anything is served
    :ivar taken: it has taken over, and serves
    """

    def __init__(
        self,
        service: SimService,
        sources: Sequence[tuple[Giver, Sequence[int] | None]],
        begins: Callable[[Taker], None],
    ) -> None:
        self.process = service.process
        self.taken = self.hangs = self._begun = False
        self._oracle = self.process.world.oracle
        self._running = Coroutine(self._run)
        self.channels = []
        made: list[Source] = []
        for giver, identities in sources:
            channel: Any = SimChannel(self.process, self._running.wait)
            connect(channel, giver.channel)
            self.channels.append(channel)
            made.append(Source(channel, identities))
        of: Any = service
        self._receiving = _Receiving(of, made)
        self._receiving.begins = lambda: begins(self)
        # as Successor and Passage do
        self.process.gateway.served_elsewhere = True
        self.process.clock.block()

    def _run(self) -> None:
        try:
            self._receiving.run()
            self.taken = True
        except NothingTaken:
            pass
        for channel in self.channels:
            channel.close()

    @property
    def over(self) -> bool:
        return self._running.over

    @property
    def can_run(self) -> bool:
        return (
            not self.over and not self.hangs and (not self._begun or any(c.waits and c.readable for c in self.channels))
        )

    def resume(self) -> None:
        self._begun = True
        self._oracle.taking = True
        try:
            self._running.resume()
        finally:
            self._oracle.taking = False

    def refuse(self) -> None:
        """Make the next document invalid, unless everything has arrived already."""
        for channel in self.channels:
            channel.broken = not self.sent_taken

    def kill(self) -> None:
        """The process is killed."""
        self._running.kill()
        for channel in self.channels:
            channel.close()

    @property
    def connections(self) -> list[Any]:
        """The connections that it has made."""
        rows = (row for _, taken in self._receiving._sources for row in taken._rows)
        return [row.connection for row in rows if row is not None and row.connection is not None]

    @property
    def sent_taken(self) -> bool:
        """Whether it has sent that it has taken everything: the point of no return."""
        return any(channel.sent_taken for channel in self.channels)


class _Receiving(Receiving):
    """Calls a function when it begins to serve."""

    begins: Callable[[], None]

    def _begin(self) -> None:
        self.begins()
        super()._begin()
