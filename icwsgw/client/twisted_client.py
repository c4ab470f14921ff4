"""The client for Twisted, on Autobahn::

client = TwistedClient(reactor, "wss://gateway.example", "bkyz2-fmaaa-aaaaa-qaaaq-cai", on_message=print)
yield client.when_open()
client.send(b"hello")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure

from icwsgw.client.autobahn_link import AutobahnLink, LinkedProtocol, protocol_options
from icwsgw.client.client_errors import ClientError, NotOpen
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended, ForApplication
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import DEFAULT_SETTINGS, ClientSettings
from icwsgw.client.codecs import RAW, Codec, decode_message
from icwsgw.client.driver import ClientDriver, DrivenClient, call_application
from icwsgw.client.pending_requests import PendingRequest, PendingRequests
from icwsgw.client.root_key import MAINNET_ROOT_KEY
from icwsgw.close_codes import ABNORMAL_CLOSURE
from icwsgw.errors import FormatError
from icwsgw.ic.envelope import Signer
from icwsgw.ic.principal import Principal

T = TypeVar("T")


class TwistedClient(DrivenClient, Generic[T]):
    """A client of one canister.

    :param reactor: the reactor
    :param urls: WebSocket URL of the gateway, or several of them; a :class:`ClientError` is raised if one is none
    :param canister: the canister, or its text
    :param on_message: is called with each message
    :param on_event: is called with each event (:data:`~icwsgw.client.client_events.ForApplication`). Without it, lost
        connections are warnings in Twisted's log. At an
        :class:`~icwsgw.client.client_events.ClientOpened`, what it sends with ``first=True`` goes before what waits.
        An exception in this or another callback is logged, and the client goes on
    :param on_undecodable: is called with the error where a message does not fit the codec; None: it is logged
    :param identity: signs the calls; None: a new one
    :param root_key: the root key of the network, in DER; for local networks see
        :func:`icwsgw.client.root_key.fetch_root_key`, which blocks
    :param codec: how messages become bytes
    :param settings: limits and times
    :param tls: Twisted's options for wss:// URLs; None: the platform's certificates
    :param origin: the header Origin, which gateways may check
    """

    _log = Logger(namespace="icwsgw.client")

    def __init__(
        self,
        reactor: Any,
        urls: str | Sequence[str],
        canister: Principal | str,
        *,
        on_message: Callable[[T], object] | None = None,
        on_event: Callable[[ForApplication], object] | None = None,
        on_undecodable: Callable[[FormatError], object] | None = None,
        identity: Signer | None = None,
        root_key: bytes = MAINNET_ROOT_KEY,
        codec: Codec[T] = RAW,  # type: ignore[assignment]
        settings: ClientSettings = DEFAULT_SETTINGS,
        tls: Any = None,
        origin: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._codec = codec
        self._on_message = on_message
        self._on_event = on_event
        self._on_undecodable = on_undecodable
        machine = self._make_machine(urls, canister, identity, root_key, os.urandom, settings, codec.message_type)
        link = _TwistedLink(reactor, tls, origin, settings)
        self._driver = ClientDriver(machine, link, reactor.seconds, time.time_ns, self._emit)
        link.driver = self._driver
        self._requests = PendingRequests(self._driver.waits)
        self._opening: list[Deferred[None]] = []
        self._closing: list[Deferred[Ended]] = []
        self._ended: Ended | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._driver.start()

    def when_open(self) -> Deferred[None]:
        """Begin to connect, if that is not done, and return a Deferred that fires when the session is open.

        It fails with a :class:`ClientError` if the client ends.
        """
        self.start()
        waiter: Deferred[None] = Deferred()
        if self.state is ClientState.OPEN:
            waiter.callback(None)
        elif self._ended is not None:
            waiter.errback(self._ended.error or NotOpen("the client was closed"))
        else:
            self._opening.append(waiter)
        return waiter

    def send(self, value: T, *, first: bool = False) -> int:
        """Queue a message; it may wait for the session to open.

        :param first: ahead of those that wait
        :returns: a handle that events name
        :raises FormatError: the value does not fit the codec
        :raises MessageTooBig: its bytes are more than the network accepts in a call
        :raises QueueFull: too many wait; :class:`~icwsgw.client.client_events.RoomAgain` follows when there is room
        :raises NotOpen: the client has ended
        """
        return self._driver.send(self._codec.encode(value), first=first)

    def request(self, value: T, matches: Callable[[T], bool], timeout: float | None = 60.0) -> Deferred[T]:
        """Send a message and return the first message that answers it. Begins to connect, if that is not done.

        The message may wait for the session to open, and for the next one where a connection ends before it was sent.
        A request that ends while its message waits, by the time limit or by ``cancel()``, takes the message back.

        :param matches: whether a message is the answer
        :param timeout: seconds, after which the Deferred fails with TimeoutError; None: any time
        :returns: fails with a :class:`ClientError` if the session ends after the message was sent, which the canister
            may have executed, or if the client ends; with what ``matches`` has raised if it raises an exception
        """
        waiter: Deferred[T] = Deferred(lambda _: self._withdraw(request))
        request = self._requests.add(matches, waiter.callback, waiter.errback)
        try:
            request.handle = self.send(value)
        except Exception:
            self._requests.remove(request)
            raise
        self.start()
        if timeout is not None:
            waiter.addTimeout(timeout, self._reactor)
        return waiter

    def close(self, code: int = 1000, reason: str = "") -> Deferred[Ended]:
        """End the client.

        :returns: fires when the connection has ended, with what was not sent
        """
        waiter: Deferred[Ended] = Deferred()
        if self._ended is not None:
            waiter.callback(self._ended)
        else:
            self._closing.append(waiter)
            self._driver.stop(code, reason)
        return waiter

    # -- the driver's side ------------------------------------------------------------------------------------

    def _emit(self, event: ForApplication) -> None:
        if isinstance(event, Ended):
            self._ended = event
        if isinstance(event, (Disconnected, Ended)):
            error = event.error or NotOpen("the client was closed")
            self._requests.fail(error, queued=isinstance(event, Ended))
        if self._on_event is not None:
            call_application(self._log.failure, self._on_event, event)
        elif isinstance(event, Disconnected):
            self._log.warn("{text}", text=event.explained())
        if isinstance(event, MessageReceived):
            self._got(event.content)
        elif isinstance(event, ClientOpened):
            self._fire_opening(None)
        elif isinstance(event, Ended):
            self._fire_opening(event.error or NotOpen("the client was closed"))
            closing, self._closing = self._closing, []
            for waiter in closing:
                waiter.callback(event)

    def _withdraw(self, request: PendingRequest) -> None:
        self._requests.remove(request)
        if request.handle is not None:
            self._driver.withdraw(request.handle)

    def _got(self, content: bytes) -> None:
        try:
            value = decode_message(self._codec, content)
        except FormatError as error:
            if self._on_undecodable is not None:
                call_application(self._log.failure, self._on_undecodable, error)
            else:
                self._log.warn("a message does not fit its type: {error}", error=error)
            return
        if not self._requests.take(value) and self._on_message is not None:
            call_application(self._log.failure, self._on_message, value)

    def _fire_opening(self, error: ClientError | None) -> None:
        opening, self._opening = self._opening, []
        for waiter in opening:
            waiter.callback(None) if error is None else waiter.errback(error)


class _TwistedLink(AutobahnLink):
    """The connections of one client, one at a time."""

    def __init__(self, reactor: Any, tls: Any, origin: str | None, settings: ClientSettings) -> None:
        super().__init__()
        self._reactor = reactor
        self._tls = tls
        self._origin = origin
        self._settings = settings
        self._attempt: Deferred[Any] | None = None
        self._timer: Any = None

    def another(self) -> _TwistedLink:
        return _TwistedLink(self._reactor, self._tls, self._origin, self._settings)

    def open(self, url: str) -> None:
        try:
            self._attempt = self._connect(url)
        except Exception:
            # for example a host that can be in no certificate
            self._reactor.callLater(0, self._failed, Failure(), url)
        else:
            self._attempt.addErrback(self._failed, url)

    def _connect(self, url: str) -> Deferred[Any]:
        factory = WebSocketClientFactory(url, origin=self._origin, reactor=self._reactor)
        factory.noisy = False
        factory.protocol = lambda: _TwistedProtocol(self)
        factory.setProtocolOptions(**protocol_options(self._settings))
        endpoint: Any = HostnameEndpoint(self._reactor, factory.host, factory.port)
        if factory.isSecure:
            endpoint = wrapClientTLS(self._tls or optionsForClientTLS(factory.host), endpoint)
        attempt: Deferred[Any] = endpoint.connect(factory)
        return attempt

    def _failed(self, failure: Failure, url: str) -> None:
        reason = str(failure.value).rstrip(".") or type(failure.value).__name__
        self.ended(None, ABNORMAL_CLOSURE, f"cannot connect to {url}: {reason}")

    def end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    def wake_at(self, when: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        wait = None if when is None else max(0.0, when - self._reactor.seconds())
        self._timer = None if wait is None else self._reactor.callLater(wait, self.driver.tick)


class _TwistedProtocol(LinkedProtocol, WebSocketClientProtocol):  # type: ignore[misc]
    """Autobahn's part of one connection."""

    def __init__(self, link: _TwistedLink) -> None:
        super().__init__()
        self.link = link

    def connectionMade(self) -> None:
        self.link.protocol = self
        super().connectionMade()
