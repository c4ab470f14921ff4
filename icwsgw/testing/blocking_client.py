"""A client whose methods wait, for tests without an event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from icwsgw.client.asyncio_client import AsyncioClient
from icwsgw.client.client_events import Ended, ForApplication
from icwsgw.client.client_machine import ClientState

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
E = TypeVar("E")


class BlockingClient(Generic[T]):
    """A client with an event loop in a thread of its own; a context manager that opens and closes it.

    :param urls: as for :class:`~icwsgw.client.asyncio_client.AsyncioClient`, as are further options
    :param timeout: seconds that each method waits at most
    :ivar events: the events of the client so far, each of
        :data:`~icwsgw.client.client_events.ForApplication`
    """

    def __init__(self, urls: str, canister: str, *, timeout: float = 60.0, **options: Any) -> None:
        self.events: list[ForApplication] = []
        self._timeout = timeout
        self._seen = 0
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def make() -> AsyncioClient[T]:
            return AsyncioClient(urls, canister, on_event=self._event_received, **options)

        try:
            self._client = self._wait(make())
        except BaseException:
            self._end_loop()
            raise

    def _wait(self, work: Coroutine[Any, Any, E]) -> E:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, self._timeout), self._loop).result()

    def _event_received(self, event: ForApplication) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    @property
    def state(self) -> ClientState:
        """The client's state."""
        return self._client.state

    @property
    def principal(self) -> str:
        """Who the canister sees."""
        return self._client.identity.principal.text

    def open(self) -> None:
        """Begin to connect, if that is not done, and wait until the session is open.

        :raises ClientError: the client has ended
        :raises asyncio.TimeoutError: it is not open in time
        """
        self._wait(self._client.opened())

    def send(self, value: T) -> None:
        """Queue a message; it waits for the session to open.

        :raises FormatError: the value does not fit the codec
        """

        async def work() -> None:
            await self._client.send_soon(value)

        self._wait(work())

    def receive(self) -> T:
        """Return the next message.

        :raises FormatError: it does not fit the codec
        :raises ClientError: the client has ended
        :raises asyncio.TimeoutError: none comes in time
        """
        return self._wait(self._client.receive())

    def request(self, value: T, matches: Callable[[T], bool]) -> T:
        """Send a message and return the first one for which ``matches`` is true.

        :raises ClientError: the session ended before
        :raises asyncio.TimeoutError: none comes in time
        """
        return self._wait(self._client.request(value, matches, None))

    def wait_for(self, kind: type[E]) -> E:
        """Return the next event of a kind; those before it are passed over by later calls.

        :raises TimeoutError: none comes in time
        """

        def found() -> E | None:
            while self._seen < len(self.events):
                self._seen += 1
                event = self.events[self._seen - 1]
                if isinstance(event, kind):
                    return event
            return None

        with self._news:
            event = self._news.wait_for(found, self._timeout)
        if event is None:
            raise TimeoutError(f"no {kind.__name__} in {self._timeout:g} s; there was {self.events}")
        return event

    def close(self) -> Ended:
        """End the client; it may be closed again.

        :returns: which messages were not sent, and of which it is not known whether they were executed
        """
        if self._loop.is_closed():
            (ended,) = (event for event in self.events if isinstance(event, Ended))
            return ended
        try:
            return self._wait(self._client.close())
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
