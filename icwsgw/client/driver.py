"""Runs a :class:`~icwsgw.client.client_machine.ClientMachine` on a connection: what all transports have in common.

A transport implements :class:`ClientLink` and calls the driver. What the application does in a callback, such as
sending or stopping, is done after what caused the callback.

A gateway does not read a client that sends faster than its canister executes. What is in the buffers on the way has its
sequence number already, and a keep-alive would have to wait behind it. So the driver keeps few messages on the way: a
WebSocket ping follows each, and its pong shows that the gateway has read what was sent before (RFC 6455, 5.5.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from icwsgw.client.client_errors import ClientError
from icwsgw.client.client_events import (
    Abort,
    AbortNext,
    CloseConnection,
    Connect,
    ConnectNext,
    ForApplication,
    Output,
    Promote,
)
from icwsgw.client.client_machine import ClientMachine, ClientState
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.gateway_url import check_gateway_url
from icwsgw.client.moving_machine import MovingClientMachine
from icwsgw.ic.candid import Type
from icwsgw.ic.envelope import Signer
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

T = TypeVar("T")

#: The most messages, and the bytes from which on there is no further one, that the gateway has not yet read.
MAX_UNREAD: Final = 8
MAX_UNREAD_BYTES: Final = 64 << 10


class LinkEvents(Protocol):
    """What a transport reports to: the driver, or a part of it."""

    def connected(self) -> None:
        """Tell that the WebSocket handshake is done."""

    def received(self, payload: bytes, *, binary: bool) -> None:
        """Tell that a message came."""

    def refused(self, status: int, reason: str) -> None:
        """Tell that the gateway answered the handshake with an HTTP status, and the connection is over."""

    def lost(self, code: int, reason: str) -> None:
        """Tell that the connection ended, or could not be opened."""

    def ponged(self) -> None:
        """Tell that the pong of a ping has come."""

    def tick(self) -> None:
        """Tell that the time of :meth:`ClientLink.wake_at` has come."""


class ClientLink(Protocol):
    """What the driver needs of a transport. There is one connection at a time.

    :ivar driver: is notified of what happens
    """

    driver: LinkEvents

    def another(self) -> ClientLink:
        """Return a second transport of the same kind, for the next session of a client that moves."""

    def open(self, url: str) -> None:
        """Begin to open a connection."""

    def write(self, payload: bytes) -> None:
        """Send a binary message."""

    def ping(self) -> None:
        """Send a ping; at its pong call :meth:`ClientDriver.ponged`."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the connection to end."""

    def abort(self) -> None:
        """End the connection, or the attempt to open it, at once."""

    def wake_at(self, when: float | None) -> None:
        """Call :meth:`ClientDriver.tick` at this time of the driver's clock; None: never."""


class ClientDriver:
    """Runs one client.

    :param machine: the client
    :param link: the transport
    :param clock: seconds of a monotonic clock
    :param now_ns: the time now, ns since 1970
    :param emit: is called with what concerns the application, in order
    :param on_payload: is called with each message of the gateway, before it is verified; None: no call
    :param on_sent: is called with each message to the gateway; None: no call
    """

    def __init__(
        self,
        machine: ClientMachine,
        link: ClientLink,
        clock: Callable[[], float],
        now_ns: Callable[[], int],
        emit: Callable[[ForApplication], None],
        on_payload: Callable[[bytes], object] | None = None,
        on_sent: Callable[[bytes], object] | None = None,
    ) -> None:
        self.machine = machine
        #: the transport of this connection
        self.link = link
        self._next_link: ClientLink | None = None
        self._clock = clock
        self._now_ns = now_ns
        self._emit = emit
        self._on_payload = on_payload
        self._on_sent = on_sent
        self._outputs: deque[Output] = deque()
        self._running = False
        self._wake_at: float | None = None
        # messages and bytes that were sent before the last ping and after it; the pong is for those before
        self._before = (0, 0)
        self._after = (0, 0)

    # -- from the application ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; does nothing if the client has begun."""
        if self.machine.state is ClientState.IDLE:
            self._run(self.machine.start(self._clock()))

    def stop(self, code: int = 1000, reason: str = "") -> None:
        """End the client."""
        self._run(self.machine.stop(self._clock(), code, reason))

    def send(self, content: bytes, *, first: bool = False) -> int:
        """Queue a message; see :meth:`ClientMachine.send`."""
        handle = self.machine.send(content, first=first)
        self._run([])
        return handle

    def waits(self, handle: int) -> bool:
        """Return whether a message waits to be sent."""
        return self.machine.waits(handle)

    def withdraw(self, handle: int) -> None:
        """Remove a message that waits to be sent; does nothing if it has left."""
        self._run(self.machine.withdraw(handle))

    # -- from the transport -----------------------------------------------------------------------------------

    def connected(self) -> None:
        """Tell that the WebSocket handshake is done."""
        self._run(self.machine.connected(self._clock()))

    def received(self, payload: bytes, *, binary: bool) -> None:
        """Tell that a message came."""
        if self._on_payload is not None:
            self._on_payload(payload)
        self._run(self.machine.received(payload, self._clock(), self._now_ns(), binary=binary))

    def refused(self, status: int, reason: str) -> None:
        """Tell that the gateway answered the handshake with an HTTP status, and the connection is over."""
        self._run(self.machine.refused(status, reason, self._clock()))

    def lost(self, code: int, reason: str) -> None:
        """Tell that the connection ended, or could not be opened."""
        self._run(self.machine.lost(code, reason, self._clock()))

    def ponged(self) -> None:
        """Tell that the pong of a ping has come."""
        self._before, self._after = self._after, (0, 0)
        if self._before[0]:
            self.link.ping()
        self._run([])

    def tick(self) -> None:
        """Tell that the time of :meth:`ClientLink.wake_at` has come."""
        self._wake_at = None
        self._run(self.machine.tick(self._clock()))

    # -- inside -----------------------------------------------------------------------------------------------

    def _run(self, outputs: list[Output]) -> None:
        self._outputs.extend(outputs)
        if self._running:
            return
        self._running = True
        try:
            while self._outputs or self._write_next() or self._write_one():
                if self._outputs:
                    self._do(self._outputs.popleft())
        finally:
            self._running = False
            # without its timer the client would wait for ever
            if self.machine.deadline != self._wake_at:
                self._wake_at = self.machine.deadline
                self.link.wake_at(self._wake_at)

    def _write_one(self) -> bool:
        (before, before_bytes), (after, after_bytes) = self._before, self._after
        if before + after >= MAX_UNREAD or before_bytes + after_bytes >= MAX_UNREAD_BYTES:
            return False
        payload, outputs = self.machine.payload(self._now_ns())
        self._outputs.extend(outputs)
        if payload is None:
            return False
        if self._on_sent is not None:
            self._on_sent(payload)
        self.link.write(payload)
        if before:
            self._after = (after + 1, after_bytes + len(payload))
        else:
            self._before = (1, len(payload))
            self.link.ping()
        return True

    def _write_next(self) -> bool:
        machine = self.machine
        payload = machine.next_payload(self._now_ns()) if isinstance(machine, MovingClientMachine) else None
        if payload is None or self._next_link is None:
            return False
        if self._on_sent is not None:
            self._on_sent(payload)
        self._next_link.write(payload)
        return True

    def next_received(self, payload: bytes, binary: bool) -> None:
        """Tell that a message came on the second connection."""
        if isinstance(self.machine, MovingClientMachine):
            if self._on_payload is not None:
                self._on_payload(payload)
            self._run(self.machine.next_received(payload, self._clock(), self._now_ns(), binary=binary))

    def next_lost(self) -> None:
        """Tell that the second connection ended, or could not be opened."""
        if isinstance(self.machine, MovingClientMachine):
            self._run(self.machine.next_lost(self._clock()))

    def _do(self, output: Output) -> None:
        if isinstance(output, Connect):
            self._before = self._after = (0, 0)
            self.link.open(output.url)
        elif isinstance(output, CloseConnection):
            self.link.close(output.code, output.reason)
        elif isinstance(output, Abort):
            self.link.abort()
        elif isinstance(output, ConnectNext):
            link = self._next_link = self.link.another()
            link.driver = _SecondConnection(self)
            link.open(output.url)
        elif isinstance(output, AbortNext):
            self._abort_next()
        elif isinstance(output, Promote):
            self._promote()
        else:
            self._emit(output)

    def _abort_next(self) -> None:
        link, self._next_link = self._next_link, None
        if link is not None:
            link.driver = _IGNORED
            link.abort()

    def _promote(self) -> None:
        old, link = self.link, self._next_link
        assert link is not None
        old.driver = _IGNORED
        old.wake_at(None)
        old.close(1000, "moved to another gateway")
        self.link, self._next_link = link, None
        link.driver = self
        self._wake_at = None
        self._before = self._after = (0, 0)


class _IgnoredConnection:
    """Ignores what happens on a connection that is not the client's any more."""

    def connected(self) -> None:
        """Do nothing."""

    def received(self, payload: bytes, *, binary: bool) -> None:
        """Do nothing."""

    def refused(self, status: int, reason: str) -> None:
        """Do nothing."""

    def lost(self, code: int, reason: str) -> None:
        """Do nothing."""

    def ponged(self) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""


_IGNORED: Final = _IgnoredConnection()


class _SecondConnection(_IgnoredConnection):
    """Tells a driver what happens on the connection of the next session."""

    def __init__(self, driver: ClientDriver) -> None:
        self._driver = driver

    def received(self, payload: bytes, *, binary: bool) -> None:
        self._driver.next_received(payload, binary)

    def refused(self, status: int, reason: str) -> None:
        self._driver.next_lost()

    def lost(self, code: int, reason: str) -> None:
        self._driver.next_lost()


def call_application(log_failure: Callable[[str], object], callback: Callable[[T], object], argument: T) -> None:
    """Call the application. An exception of its callback goes to the log, so it does not end the connection.

    :param log_failure: logs the exception that is being handled, with this text
    """
    try:
        callback(argument)
    except Exception:
        log_failure("a callback failed")


class DrivenClient:
    """What the clients of all transports have in common.

    :ivar identity: signs the calls
    :ivar canister: the canister
    """

    identity: Signer
    canister: Principal
    _driver: ClientDriver

    def _make_machine(
        self,
        urls: str | Sequence[str],
        canister: Principal | str,
        identity: Signer | None,
        root_key: bytes,
        random: Callable[[int], bytes],
        settings: ClientSettings,
        message_type: Type,
    ) -> MovingClientMachine:
        """Make the machine from what an application gives to its client.

        :param identity: None: a new one
        :param random: returns so many random bytes
        :raises ClientError: a URL is none of a gateway
        """
        self.identity = Ed25519Identity.generate(random) if identity is None else identity
        self.canister = Principal.from_text(canister) if isinstance(canister, str) else canister
        gateways = [urls] if isinstance(urls, str) else list(urls)
        for url in gateways:
            check_gateway_url(url)
        return MovingClientMachine(gateways, self.canister, self.identity, root_key, random, settings, message_type)

    @property
    def state(self) -> ClientState:
        """The state of the client."""
        return self._driver.machine.state

    @property
    def gateway(self) -> Principal | None:
        """The principal of the gateway, while it is known."""
        return self._driver.machine.gateway

    @property
    def last_error(self) -> ClientError | None:
        """Why the last connection ended."""
        return self._driver.machine.last_error

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages that wait to be sent."""
        return self._driver.machine.buffered[1]
