"""The client for asyncio, on Autobahn::

    async with AsyncioClient("wss://gateway.example", "bkyz2-fmaaa-aaaaa-qaaaq-cai") as client:
        client.send(b"hello")
        async for message in client:
            ...

Autobahn serves one event loop library in a process. A process that uses Autobahn with Twisted, as the gateway itself
does, uses :mod:`icwsgw.client.twisted_client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

from icwsgw.client.autobahn_link import AutobahnLink, LinkedProtocol, protocol_options
from icwsgw.client.client_errors import NotOpen, QueueFull
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended, ForApplication, RoomAgain
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import DEFAULT_SETTINGS, ClientSettings
from icwsgw.client.codecs import RAW, Codec, decode_message
from icwsgw.client.driver import ClientDriver, DrivenClient, call_application
from icwsgw.client.pending_requests import PendingRequests
from icwsgw.client.root_key import MAINNET_ROOT_KEY
from icwsgw.close_codes import ABNORMAL_CLOSURE
from icwsgw.errors import FormatError
from icwsgw.ic.envelope import Signer
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_LOG: Final = logging.getLogger("icwsgw.client")

# Autobahn warns of each connection that fails, which the client reports by itself; a program may still listen.
logging.getLogger("autobahn").addHandler(logging.NullHandler())


class AsyncioClient(DrivenClient, Generic[T]):
    """A client of one canister. It is made in a running event loop and belongs to it.

    :param urls: WebSocket URL of the gateway, or several of them; a :class:`ClientError` is raised if one is none
    :param canister: the canister, or its text
    :param identity: signs the calls; None: a new one
    :param root_key: the root key of the network, in DER; for local networks see
        :func:`icwsgw.client.root_key.fetch_root_key`
    :param codec: how messages become bytes
    :param settings: limits and times
    :param tls: for wss:// URLs; None: the platform's certificates
    :param origin: the header Origin, which gateways may check
    :param on_event: is called with each event (:data:`~icwsgw.client.client_events.ForApplication`). Without it, lost
        connections are warnings of the logger ``icwsgw.client``. At an
        :class:`~icwsgw.client.client_events.ClientOpened`, what it sends with ``first=True`` goes before what waits.
        An exception in this or another callback is an error of that logger, and the client goes on
    :param on_payload: is called with each message of the gateway, before it is verified, for tools that show them
    :param on_sent: is called with each message to the gateway, in the same way
    :param max_received: messages that wait for the application; then the gateway is not read
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        canister: Principal | str,
        *,
        identity: Signer | None = None,
        root_key: bytes = MAINNET_ROOT_KEY,
        codec: Codec[T] = RAW,  # type: ignore[assignment]
        settings: ClientSettings = DEFAULT_SETTINGS,
        tls: ssl.SSLContext | None = None,
        origin: str | None = None,
        on_event: Callable[[ForApplication], object] | None = None,
        on_payload: Callable[[bytes], object] | None = None,
        on_sent: Callable[[bytes], object] | None = None,
        max_received: int = 1000,
    ) -> None:
        self._codec = codec
        self._on_event = on_event
        self._max_received = max_received
        self._loop = asyncio.get_running_loop()
        machine = self._make_machine(urls, canister, identity, root_key, os.urandom, settings, codec.message_type)
        link = _AsyncioLink(self._loop, tls, origin, settings)
        shown = [
            None if callback is None else partial(call_application, _LOG.exception, callback)
            for callback in (on_payload, on_sent)
        ]
        self._driver = ClientDriver(machine, link, self._loop.time, time.time_ns, self._emit, *shown)
        link.driver = self._driver
        self._received: deque[T | FormatError] = deque()
        self._requests = PendingRequests(self._driver.waits)
        self._ended: Ended | None = None
        self._news = asyncio.Event()

    # -- the application's side -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, without waiting."""
        self._driver.start()

    async def opened(self) -> None:
        """Begin to connect, if that is not done, and wait until the session is open.

        :raises ClientError: the client has ended
        """
        while self.state is not ClientState.OPEN:
            self._raise_if_ended()
            await self._next_news()

    def send(self, value: T, *, first: bool = False) -> int:
        """Queue a message; it may wait for the session to open.

        :param first: ahead of those that wait
        :returns: a handle that events name
        :raises FormatError: the value does not fit the codec
        :raises MessageTooBig: its bytes are more than the network accepts in a call
        :raises QueueFull: too many wait; :meth:`send_soon` waits for room
        :raises NotOpen: the client has ended
        """
        return self._driver.send(self._codec.encode(value), first=first)

    async def send_soon(self, value: T) -> int:
        """Queue a message when there is room; see :meth:`send`. Begins to connect if it has to wait."""
        content = self._codec.encode(value)
        while True:
            with contextlib.suppress(QueueFull):
                return self._driver.send(content)
            await self._next_news()

    async def request(self, value: T, matches: Callable[[T], bool], timeout: float | None = 60.0) -> T:
        """Send a message and return the first message that answers it. Begins to connect, if that is not done.

        The message may wait for the session to open, and for the next one where a connection ends before it was sent.
        A request that ends while its message waits, by the time limit or by a cancellation, takes the message back.

        :param matches: whether a message is the answer
        :param timeout: seconds; None: any time
        :raises asyncio.TimeoutError: no answer came; if the message was sent, the canister may have executed it
        :raises ClientError: the session ended after the message was sent, which the canister may have executed; or the
            client has ended
        :raises Exception: what ``matches`` has raised
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def resolve(reply: T) -> None:
            if not future.done():
                future.set_result(reply)

        def fail(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        content = self._codec.encode(value)
        request = self._requests.add(matches, resolve, fail)
        try:
            request.handle = self._driver.send(content)
            self.start()
            return await asyncio.wait_for(future, timeout)
        except BaseException:
            self._requests.remove(request)
            if request.handle is not None:
                self._driver.withdraw(request.handle)
            raise

    async def receive(self) -> T:
        """Return the next message. Begins to connect, if that is not done.

        :raises FormatError: it does not fit the codec; the one after it can be received
        :raises ClientError: the client has ended
        """
        while not self._received:
            self._raise_if_ended()
            await self._next_news()
        message = self._received.popleft()
        if len(self._received) * 2 <= self._max_received:
            self._link.pause_reading(False)
        if isinstance(message, FormatError):
            raise message
        return message

    async def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over messages until the application stops the client. Begins to connect, if that is not done.

        :raises ClientError: the client has ended for another reason
        """
        while True:
            try:
                yield await self.receive()
            except NotOpen:
                return

    async def close(self, code: int = 1000, reason: str = "") -> Ended:
        """End the client and wait until its connection has ended.

        :returns: which messages were not sent, and of which it is not known whether they were executed
        """
        self._driver.stop(code, reason)
        while self._ended is None:
            await self._next_news()
        return self._ended

    async def __aenter__(self) -> Self:
        try:
            await self.opened()
        except BaseException:
            # the caller does not get the client, so it cannot close it
            self._driver.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- the driver's side ------------------------------------------------------------------------------------

    @property
    def _link(self) -> _AsyncioLink:
        link = self._driver.link
        assert isinstance(link, _AsyncioLink)
        return link

    def _emit(self, event: ForApplication) -> None:
        if isinstance(event, MessageReceived):
            self._got(event.content)
        elif isinstance(event, Ended):
            self._ended = event
        if isinstance(event, (Disconnected, Ended)):
            error = event.error or NotOpen("the client was closed")
            self._requests.fail(error, queued=isinstance(event, Ended))
        if isinstance(event, (MessageReceived, ClientOpened, Ended, RoomAgain)):
            self._news.set()
        if self._on_event is not None:
            call_application(_LOG.exception, self._on_event, event)
        elif isinstance(event, Disconnected):
            _LOG.warning("%s", event.explained())

    def _got(self, content: bytes) -> None:
        try:
            value = decode_message(self._codec, content)
        except FormatError as error:
            self._received.append(error)
        else:
            if self._requests.take(value):
                return
            self._received.append(value)
        if len(self._received) >= self._max_received:
            self._link.pause_reading(True)

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise self._ended.error or NotOpen("the client was closed")

    async def _next_news(self) -> None:
        """Wait for the next event, which a client that has not been started would never have."""
        self._news.clear()
        self.start()
        await self._news.wait()


class _AsyncioLink(AutobahnLink):
    """The connections of one client, one at a time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None, origin: str | None, settings: ClientSettings
    ) -> None:
        super().__init__()
        self._loop = loop
        self._tls = tls
        self._origin = origin
        self._settings = settings
        self._attempt: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def another(self) -> _AsyncioLink:
        return _AsyncioLink(self._loop, self._tls, self._origin, self._settings)

    def open(self, url: str) -> None:
        self._paused = False
        self._attempt = self._loop.create_task(self._connect(url))

    async def _connect(self, url: str) -> None:
        try:
            factory = WebSocketClientFactory(url, origin=self._origin, loop=self._loop)
            factory.protocol = lambda: _AsyncioProtocol(self)
            factory.setProtocolOptions(**protocol_options(self._settings))
            tls = (self._tls or ssl.create_default_context()) if factory.isSecure else None
            await self._loop.create_connection(factory, factory.host, factory.port, ssl=tls)
        except Exception as error:
            self.ended(None, ABNORMAL_CLOSURE, f"cannot connect to {url}: {error_text(error)}")

    def end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._loop.call_soon(self.ended, None, ABNORMAL_CLOSURE, "the attempt to connect was ended")

    def wake_at(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, lambda: self.driver.tick())

    def pause_reading(self, paused: bool) -> None:
        if paused != self._paused and self.protocol is not None and self.protocol.transport is not None:
            self._paused = paused
            getattr(self.protocol.transport, "pause_reading" if paused else "resume_reading")()


class _AsyncioProtocol(LinkedProtocol, WebSocketClientProtocol):  # type: ignore[misc]
    """Autobahn's part of one connection."""

    def __init__(self, link: _AsyncioLink) -> None:
        super().__init__()
        self.link = link

    def connection_made(self, transport: Any) -> None:
        self.link.protocol = self
        super().connection_made(transport)


def error_text(error: BaseException) -> str:
    """Return why a connection has failed, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS session: {error.reason}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
