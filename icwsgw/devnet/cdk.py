"""Reproduces the behaviour of the WebSocket CDK inside a canister.

The reference is omnia-network/ic-websocket-cdk-rs 0.4.1 (``lib.rs``, ``state.rs``, ``timers.rs``, ``types.rs``,
``errors.rs``). This module has the same order of checks, error texts, and messages when a client is removed.

Each gateway principal has a queue of messages with nonces from 0. A message's ``key`` is the principal's text, ``_``
and the nonce with 20 digits. A tree maps each key to the SHA-256 of its message; the canister certifies the root of
the tree. Each send first deletes up to five messages that are older than the acknowledgement interval. Once per
interval, all clients get an AckMessage. After the keep-alive timeout, the CDK removes the clients that have not
answered with a KeepAlive, and the queues of gateways that have had no client for an interval.

An update that traps has no effect: its changes to the state are undone (:meth:`WebSocketCdk.transaction`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256

from icwsgw.devnet.canister_timers import CanisterTimers
from icwsgw.devnet.cdk_types import ClientKey, Handlers, Output, Page, Trap, WsError, message_content
from icwsgw.devnet.certified_map import CertifiedMap
from icwsgw.errors import FormatError
from icwsgw.ic import hashtree
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.ws import (
    AckMessage,
    CloseMessage,
    KeepAliveMessage,
    OpenMessage,
    ServiceMessage,
    decode_service_message,
    encode_service_message,
)
from icwsgw.reactor.clock import Clock, Timer

MAX_RETURNED_MESSAGES = 50
ACK_INTERVAL_MS = 300_000
KEEP_ALIVE_TIMEOUT_MS = 60_000
MESSAGES_TO_DELETE = 5

_MS = 1_000_000
_LABEL = b"websocket"


def _page(queue: Sequence[Output], skip: int, count: int) -> Page:
    start = max(skip, 0)
    end = min(start + count, len(queue))
    return Page([queue[at] for at in range(start, end)], start + count >= len(queue))


class QueueView:
    """An immutable view of a canister's queues in one state, from which polls are answered."""

    __slots__ = ("_max_messages", "_queues", "_tree")

    def __init__(
        self, queues: dict[Principal, tuple[int, tuple[Output, ...]]], tree: CertifiedMap, max_messages: int
    ) -> None:
        self._queues = queues
        self._tree = tree
        self._max_messages = max_messages

    def ws_get_messages(self, caller: Principal, nonce: int) -> Page:
        """Return a gateway's messages, see :meth:`WebSocketCdk.ws_get_messages`."""
        first, queue = self._queues.get(caller, (0, ()))
        return _page(queue, nonce - first, self._max_messages)

    def witness(self, first: bytes, last: bytes) -> bytes:
        """Return the CBOR of the tree that shows the messages first..last and prunes the others."""
        return hashtree.encode(hashtree.labeled(_LABEL, self._tree.range_witness(first, last)))


class _Client:
    __slots__ = ("expected", "gateway", "last_keep_alive", "sent", "waiting")

    def __init__(self, gateway: Principal, now_ns: int) -> None:
        self.gateway = gateway
        self.last_keep_alive = now_ns
        self.expected = 1
        self.sent = 0
        self.waiting = False


class _Gateway:
    __slots__ = ("clients", "next_nonce", "prefix", "queue", "timestamps")

    def __init__(self, principal: Principal) -> None:
        self.prefix = principal.text.encode() + b"_"
        self.queue: deque[Output] = deque()
        self.timestamps: deque[int] = deque()
        self.next_nonce = 0
        self.clients = 0

    def key(self, nonce: int) -> bytes:
        return self.prefix + b"%020d" % nonce


class WebSocketCdk:
    """The CDK's state in one canister.

    :param clock: runs the two timers
    :param now_ns: returns the canister's time, ns since 1970
    :param ack_interval_ms: time in ms between acknowledgement rounds, and the age at which messages may be deleted
    :param keep_alive_timeout_ms: time in ms from a round to the check of the clients' answers
    :param changed: called when :meth:`certified_data` has changed
    :ivar debug_print: writes to the canister's log
    :ivar timers: the application's timers
    :raises ValueError: the interval is not longer than the timeout
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        *,
        max_messages: int = MAX_RETURNED_MESSAGES,
        ack_interval_ms: int = ACK_INTERVAL_MS,
        keep_alive_timeout_ms: int = KEEP_ALIVE_TIMEOUT_MS,
        changed: Callable[[], object] = lambda: None,
        debug_print: Callable[[str], None] = lambda text: None,
    ) -> None:
        if ack_interval_ms <= keep_alive_timeout_ms:
            raise ValueError("the acknowledgement interval must be longer than the keep-alive time-out")
        self._clock = clock
        self._now_ns = now_ns
        self._changed = changed
        self.debug_print = debug_print
        self.max_messages = max_messages
        self._ack_interval_ms = ack_interval_ms
        self._keep_alive_timeout_ms = keep_alive_timeout_ms
        self.handlers: Handlers | None = None
        self._clients: dict[ClientKey, _Client] = {}
        self._current: dict[bytes, ClientKey] = {}
        self._gateways: dict[Principal, _Gateway] = {}
        self._gateways_to_remove: dict[Principal, int] = {}
        self._tree = CertifiedMap()
        self._certified = False
        self._undo: list[Callable[[], object]] | None = None
        self._ack_timer: Timer | None = None
        self._keep_alive_timer: Timer | None = None
        self.timers = CanisterTimers(clock, self.transaction, self._undone_by, debug_print)

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the acknowledgement rounds."""
        self._stop_rounds()
        self._ack_timer = self._clock.callLater(self._ack_interval_ms / 1000, self._ack_round)

    def stop(self) -> None:
        """Cancel all timers; the state stays."""
        self.timers.clear_all()
        self._stop_rounds()

    def _stop_rounds(self) -> None:
        for timer in (self._ack_timer, self._keep_alive_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._ack_timer = self._keep_alive_timer = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Undo the changes of the block if it raises an exception, as the IC does for a message that traps."""
        tree, certified = self._tree.copy(), self._certified
        undo: list[Callable[[], object]] = []
        self._undo = undo
        try:
            yield
        except WsError:
            raise  # a normal answer: the CDK keeps the changes that it made before the error
        except BaseException:
            self._undo = None
            self._roll_back(undo, tree, certified)
            raise
        finally:
            self._undo = None

    @contextmanager
    def discarded(self) -> Iterator[None]:
        """Undo the changes of the block in any case, as the IC does for a query."""
        tree, certified = self._tree.copy(), self._certified
        undo: list[Callable[[], object]] = []
        self._undo = undo
        try:
            yield
        finally:
            self._undo = None
            if undo:
                self._roll_back(undo, tree, certified)

    def _roll_back(self, undo: list[Callable[[], object]], tree: CertifiedMap, certified: bool) -> None:
        for step in reversed(undo):
            step()
        self._tree, self._certified = tree, certified
        self._changed()

    def _undone_by(self, step: Callable[[], object]) -> None:
        if self._undo is not None:
            self._undo.append(step)

    # -- state for inspection -------------------------------------------------------------------------------------

    @property
    def clients(self) -> list[ClientKey]:
        """The registered clients, in the order in which they opened."""
        return list(self._clients)

    @property
    def gateways(self) -> list[Principal]:
        """The registered gateways, with or without clients."""
        return list(self._gateways)

    def queue_length(self, gateway: Principal) -> int:
        """Return how many messages a gateway's queue holds."""
        entry = self._gateways.get(gateway)
        return len(entry.queue) if entry else 0

    def certified_data(self) -> bytes:
        """Return the root hash that the canister certifies: 32 bytes, or empty before the first message."""
        if not self._certified:
            return b""
        return hashtree.reconstruct(hashtree.labeled(_LABEL, hashtree.pruned(self._tree.digest())))

    def witness(self, first: bytes, last: bytes) -> bytes:
        """Return the CBOR of the tree that shows the messages first..last and prunes the others."""
        return hashtree.encode(hashtree.labeled(_LABEL, self._tree.range_witness(first, last)))

    def view(self) -> QueueView:
        """Return a view of the current queues that later changes do not affect."""
        queues = {
            principal: (entry.next_nonce - len(entry.queue), tuple(entry.queue))
            for principal, entry in self._gateways.items()
        }
        return QueueView(queues, self._tree.copy(), self.max_messages)

    # -- methods of the canister ----------------------------------------------------------------------------------

    def ws_open(self, caller: Principal, client_nonce: int, gateway: Principal) -> None:
        """Register a client and send it its OpenMessage.

        :raises WsError: the caller is anonymous, or the client is already registered
        """
        if caller == ANONYMOUS:
            raise WsError("Anonymous principal is not allowed")
        key = ClientKey(caller.raw, client_nonce)
        if key in self._clients:
            raise WsError(f"Client with key {key} already has an open connection")
        old = self._current.get(caller.raw)
        if old is not None:
            self._remove(old, None)
        self._add(key, gateway)
        self._send_service(key, OpenMessage(caller.raw, client_nonce))
        self._handle(lambda handlers: handlers.on_open(caller))

    def ws_close(self, caller: Principal, key: ClientKey) -> None:
        """Remove a client at its gateway's request.

        :raises WsError: the caller is not a registered gateway, or not this client's gateway
        """
        if caller not in self._gateways:
            raise WsError(f"Gateway with principal {caller} is not registered")
        client = self._clients.get(key)
        if client is None:
            raise WsError(f"Client with key {key} doesn't have an open connection")
        if client.gateway != caller:
            raise WsError(f"Client with key {key} was not registered to gateway {caller}")
        self._remove(key, None)

    def ws_message(
        self, caller: Principal, key: ClientKey, sequence_num: int, is_service_message: bool, content: bytes
    ) -> None:
        """Accept a client's message. A message with a wrong sequence number removes the client.

        :raises WsError: unknown client, wrong key, wrong sequence number, or a service message other than KeepAlive
        """
        registered = self._current.get(caller.raw)
        if registered is None:
            raise WsError(f"Client with principal {caller} doesn't have an open connection")
        if key != registered:
            raise WsError(
                f"Client with principal {Principal(key.principal)} has a different key than the one used in the message"
            )
        client = self._clients[key]
        expected = client.expected
        if sequence_num != expected:
            self._remove(key, "WrongSequenceNumber")
            raise WsError(f"Expected incoming sequence number {expected} but got {sequence_num}")
        client.expected += 1
        self._undone_by(lambda: setattr(client, "expected", expected))
        if is_service_message:
            self._on_service_message(client, content)
        else:
            self._handle(lambda handlers: handlers.on_message(caller, content))

    def _on_service_message(self, client: _Client, content: bytes) -> None:
        try:
            message = decode_service_message(content)
        except FormatError as error:
            raise WsError(f"Error decoding service message content: {error}") from None
        if not isinstance(message, KeepAliveMessage):
            raise WsError("Invalid service message")
        before = client.last_keep_alive
        client.last_keep_alive = self._now_ns()
        self._undone_by(lambda: setattr(client, "last_keep_alive", before))

    def ws_get_messages(self, caller: Principal, nonce: int) -> Page:
        """Return a gateway's messages from a nonce on, at most :attr:`max_messages`; none for other callers."""
        gateway = self._gateways.get(caller)
        if gateway is None or not gateway.queue:
            return Page([], True)
        queue = gateway.queue
        return _page(queue, nonce - (gateway.next_nonce - len(queue)), self.max_messages)

    def send(self, client: Principal, message: bytes) -> None:
        """Send an application message (Candid bytes) to a client.

        :raises TypeError: the message is not bytes
        :raises WsError: the client is not connected
        """
        if not isinstance(message, bytes):
            raise TypeError(f"a message is bytes, such as app_message(text) returns, not {type(message).__name__}")
        self._send(self._key_of(client), message, False)

    def close(self, client: Principal) -> None:
        """Close the connection of a client: it gets a CloseMessage with reason ClosedByApplication.

        :raises WsError: the client is not connected
        """
        self._remove(self._key_of(client), "ClosedByApplication")

    def _key_of(self, client: Principal) -> ClientKey:
        key = self._current.get(client.raw)
        if key is None:
            raise WsError(f"Client with principal {client} doesn't have an open connection")
        return key

    # -- clients and gateways -------------------------------------------------------------------------------------

    def _add(self, key: ClientKey, gateway: Principal) -> None:
        self._clients[key] = _Client(gateway, self._now_ns())
        self._current[key.principal] = key
        entry = self._gateways.get(gateway)
        added = self._gateways_to_remove.pop(gateway, None)
        if entry is None:
            entry = self._gateways[gateway] = _Gateway(gateway)
            self._undone_by(lambda: self._gateways.pop(gateway))
        entry.clients += 1

        def undo() -> None:
            del self._clients[key]
            del self._current[key.principal]
            entry.clients -= 1
            if added is not None:
                self._gateways_to_remove[gateway] = added

        self._undone_by(undo)

    def _remove(self, key: ClientKey, reason: str | None) -> None:
        client = self._clients.get(key)
        if client is None:
            return
        if reason is not None:
            self._send_service(key, CloseMessage(reason))
        del self._clients[key]
        del self._current[key.principal]
        entry = self._gateways[client.gateway]
        entry.clients -= 1
        if not entry.clients:
            self._gateways_to_remove[client.gateway] = self._now_ns()

        def undo() -> None:
            self._clients[key] = client
            self._current[key.principal] = key
            entry.clients += 1
            self._gateways_to_remove.pop(client.gateway, None)

        self._undone_by(undo)
        self._handle(lambda handlers: handlers.on_close(Principal(key.principal)))

    def _handle(self, act: Callable[[Handlers], None]) -> None:
        if self.handlers is None:
            return
        try:
            act(self.handlers)
        except WsError as error:
            raise Trap(f"unhandled: {error}") from error

    # -- the queue ------------------------------------------------------------------------------------------------

    def _send_service(self, key: ClientKey, message: ServiceMessage) -> None:
        self._send(key, encode_service_message(message), True)

    def _send(self, key: ClientKey, message: bytes, is_service: bool) -> None:
        client = self._clients[key]
        gateway = self._gateways[client.gateway]
        now = self._now_ns()
        nonce = gateway.next_nonce
        gateway.next_nonce += 1
        client.sent += 1
        content = message_content(key, client.sent, now, is_service, message)
        self._delete_old(gateway, now)
        output = Output(key.principal, key.nonce, gateway.key(nonce), content)
        self._certify(output)
        gateway.queue.append(output)
        gateway.timestamps.append(now)

        def undo() -> None:
            gateway.queue.pop()
            gateway.timestamps.pop()
            client.sent -= 1
            gateway.next_nonce -= 1

        self._undone_by(undo)

    def _certify(self, output: Output) -> None:
        self._tree.put(output.key, hashtree.leaf(sha256(output.content).digest()))
        self._certified = True
        self._changed()

    def _uncertify(self, output: Output) -> None:
        self._tree.remove(output.key)
        self._changed()

    def _delete_old(self, gateway: _Gateway, now: int) -> None:
        for _ in range(MESSAGES_TO_DELETE):
            if not gateway.timestamps or now - gateway.timestamps[0] <= self._ack_interval_ms * _MS:
                break
            self._delete_oldest(gateway)

    def _delete_oldest(self, gateway: _Gateway) -> None:
        output, timestamp = gateway.queue.popleft(), gateway.timestamps.popleft()
        self._uncertify(output)

        def undo() -> None:
            gateway.queue.appendleft(output)
            gateway.timestamps.appendleft(timestamp)

        self._undone_by(undo)

    # -- timers ---------------------------------------------------------------------------------------------------

    def _ack_round(self) -> None:
        self._ack_timer = self._clock.callLater(self._ack_interval_ms / 1000, self._ack_round)
        for key, client in list(self._clients.items()):
            self._send_service(key, AckMessage(client.expected - 1))
            client.waiting = True
        self._keep_alive_timer = self._clock.callLater(self._keep_alive_timeout_ms / 1000, self._on_keep_alive_timer)

    def _on_keep_alive_timer(self) -> None:
        # A trap in a handler undoes the whole check. The error is not reported because a timer has no caller.
        with suppress(Trap), self.transaction():
            self._check_keep_alive()

    def _check_keep_alive(self) -> None:
        self._remove_empty_gateways()
        now = self._now_ns()
        late = self._keep_alive_timeout_ms * _MS
        for key, client in list(self._clients.items()):
            if client.waiting and now - client.last_keep_alive > late:
                self._remove(key, "KeepAliveTimeout")

    def _remove_empty_gateways(self) -> None:
        now = self._now_ns()
        for principal, added in list(self._gateways_to_remove.items()):
            if now - added > self._ack_interval_ms * _MS:
                self._remove_gateway(principal, added)

    def _remove_gateway(self, principal: Principal, added: int) -> None:
        del self._gateways_to_remove[principal]
        entry = self._gateways.pop(principal)
        for output in entry.queue:
            self._uncertify(output)

        def undo() -> None:
            self._gateways_to_remove[principal] = added
            self._gateways[principal] = entry

        self._undone_by(undo)
