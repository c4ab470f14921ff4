"""A fast model of the WebSocket CDK's behaviour towards a gateway, with one queue for each gateway principal.

As in omnia-network/ic-websocket-cdk-rs 0.4.1: pages have 50 messages and ``is_end_of_queue``; unknown callers and
nonces beyond the end get an empty Ok; sequence numbers start at 1, and the first wrong one removes the client with a
CloseMessage; a newer client of a principal removes the older one; clients send KeepAlive and Close messages; the
keep-alive check follows an acknowledgement round after a fixed time. Unlike the CDK, rounds happen on demand, and the
queue is limited by number of messages instead of by age.

A message is encoded as Candid once, when it is sent; an answer joins up to 50 encoded messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from bench.certs import Authority
from icwsgw.devnet.certified_map import CertifiedMap
from icwsgw.ic import hashtree, ws
from icwsgw.ic.candid.leb import write_unsigned
from icwsgw.ic.cbor import SELF_DESCRIBE, head
from icwsgw.ic.principal import Principal

#: The answer of an idle queue.
EMPTY = ws.encode_batch([], b"", b"", True)
#: The Candid type table, and the variant tag of Ok.
_HEAD = EMPTY[:-4]
FAKE_CERTIFICATE = sha256(b"certificate").digest() * 31 + bytes(8)
FAKE_TREE = sha256(b"tree").digest() * 15 + bytes(20)


class Refused(Exception):
    """The method returns the CDK's Err."""


#: The number of messages that a queue keeps.
RETAIN = 200_000


@dataclass(slots=True)
class Settings:
    """The behaviour of newly created canisters.

    :ivar max_messages: maximum number of messages of a page
    :ivar retain: number of messages that a queue keeps; the oldest are deleted when it has twice as many
    :ivar real: certificates and trees are valid; otherwise fixed bytes, 1,000 and 500 long
    :ivar echo: the canister sends each message back
    """

    max_messages: int = 50
    retain: int = RETAIN
    real: bool = False
    echo: bool = True


class Client:
    """One client of a canister."""

    __slots__ = ("alive", "expected", "key", "queue", "row_end", "sent", "start", "waiting_since")

    def __init__(self, key: tuple[bytes, int], queue: Queue) -> None:
        principal, nonce = key
        self.key = key
        self.queue = queue
        self.expected = 1
        self.sent = 0
        self.alive = True
        #: time in ns of the acknowledgement round that the client has not answered yet; 0: none
        self.waiting_since = 0
        self.start = b"%b\xa5\x6aclient_key\xa2\x70client_principal%b%b\x6cclient_nonce%b\x6csequence_num" % (
            SELF_DESCRIBE,
            head(2, len(principal)),
            principal,
            head(0, nonce),
        )
        self.row_end = b"\1%c%b%b" % (len(principal), principal, nonce.to_bytes(8, "little"))


class Queue:
    """The messages for one gateway principal.

    :ivar next: nonce of the next message
    :ivar visible: polls return only messages below this nonce, so that a flood can be prepared; None: all messages
    """

    def __init__(self, canister: bytes, gateway: Principal, settings: Settings, authority: Authority) -> None:
        self.clients = 0
        self.next = 0
        self.visible: int | None = None
        self.last_poll = 0
        self._canister = canister
        self._prefix = gateway.text.encode() + b"_"
        self._settings = settings
        self._authority = authority
        self._first = 0
        self._rows: list[bytes] = []
        self._tree = CertifiedMap() if settings.real else None
        self._certificate: bytes | None = None
        self._pages: dict[int, bytes] = {}

    def send(self, client: Client, content: bytes, service: bool = False) -> None:
        """Append a message."""
        client.sent += 1
        body = b"%b%b\x69timestamp%b%b\x67content%b%b" % (
            client.start,
            head(0, client.sent),
            head(0, time.time_ns()),
            b"\x72is_service_message\xf5" if service else b"\x72is_service_message\xf4",
            head(2, len(content)),
            content,
        )
        key = self._key(self.next)
        self.next += 1
        self._rows.append(
            b"%b%b%b%b%b" % (write_unsigned(len(key)), key, write_unsigned(len(body)), body, client.row_end)
        )
        if self._tree is not None:
            self._tree.put(key, hashtree.leaf(sha256(body).digest()))
            self._certificate = None
            self._authority.changed.add(self)
        if self._pages:
            self._pages.clear()
        if len(self._rows) > 2 * self._settings.retain:
            self._forget(len(self._rows) - self._settings.retain)

    def _key(self, nonce: int) -> bytes:
        return self._prefix + b"%020d" % nonce

    def _forget(self, count: int) -> None:
        if self._tree is not None:
            for nonce in range(self._first, self._first + count):
                self._tree.remove(self._key(nonce))
        del self._rows[:count]
        self._first += count

    def page(self, nonce: int) -> tuple[bytes, int]:
        """Return the Candid answer to a poll at a nonce, and its number of messages."""
        end = self.next if self.visible is None else self.visible
        start = max(nonce, self._first)
        stop = min(start + self._settings.max_messages, end)
        if start >= stop:
            return EMPTY, 0
        reply = self._pages.get(nonce)
        if reply is None:
            reply = self._pages[nonce] = self._page(start, stop, stop == end)
        return reply, stop - start

    def _page(self, start: int, stop: int, last: bool) -> bytes:
        rows = self._rows[start - self._first : stop - self._first]
        certificate, tree = self._witness(start, stop - 1)
        return b"%b%b%b%b%b%b%b%b" % (
            _HEAD,
            write_unsigned(len(rows)),
            b"".join(rows),
            write_unsigned(len(certificate)),
            certificate,
            write_unsigned(len(tree)),
            tree,
            b"\1" if last else b"\0",
        )

    def _witness(self, first: int, last: int) -> tuple[bytes, bytes]:
        if self._tree is None:
            return FAKE_CERTIFICATE, FAKE_TREE
        if self._certificate is None:
            _certify(self._authority)
        assert self._certificate is not None
        shown = self._tree.range_witness(self._key(first), self._key(last))
        return self._certificate, hashtree.encode(hashtree.labeled(b"websocket", shown))

    def certified_data(self) -> tuple[bytes, bytes]:
        """The canister's id, and what it certifies."""
        assert self._tree is not None
        top = hashtree.labeled(b"websocket", hashtree.pruned(self._tree.digest()))
        return self._canister, hashtree.reconstruct(top)

    def certify(self, certificate: bytes) -> None:
        """Take the certificate of the data."""
        self._certificate = certificate

    def hide(self) -> None:
        """Hide messages that are sent from now on from polls, until :meth:`show`."""
        self.visible = self.next

    def prepare(self) -> None:
        """Encode the pages of the hidden messages in advance."""
        assert self.visible is not None
        for nonce in range(self.visible, self.next, self._settings.max_messages):
            stop = min(nonce + self._settings.max_messages, self.next)
            self._pages[nonce] = self._page(nonce, stop, stop == self.next)

    def show(self) -> None:
        """Make the hidden messages visible to polls."""
        if self.visible is not None:
            # Cached pages that end where the hidden part begins are out of date.
            self._pages = {nonce: page for nonce, page in self._pages.items() if nonce >= self.visible}
            self.visible = None


def _certify(authority: Authority) -> None:
    """Certify all queues that have changed, with one signature."""
    changed = [(*queue.certified_data(), queue) for queue in authority.changed]
    changed.sort(key=lambda each: each[0])
    authority.changed.clear()
    certificates = authority.data([each[:2] for each in changed], time.time_ns())
    for (_, _, queue), certificate in zip(changed, certificates, strict=True):
        queue.certify(certificate)


class Canister:
    """A canister with its clients.

    :param note: called with the name of each event, for the statistics
    """

    def __init__(self, id: bytes, settings: Settings, authority: Authority, note: Callable[[str], None]) -> None:
        self.id = id
        self.clients: dict[tuple[bytes, int], Client] = {}
        self.queues: dict[bytes, Queue] = {}
        self._current: dict[bytes, Client] = {}
        self._settings = settings
        self._authority = authority
        self._note = note

    def open(self, caller: bytes, client_nonce: int, gateway: bytes) -> None:
        """Handle ws_open."""
        key = (caller, client_nonce)
        if key in self.clients:
            raise Refused(f"Client with key {Principal(caller)}_{client_nonce} already has an open connection")
        older = self._current.get(caller)
        if older is not None:
            self._remove(older, None)
        queue = self.queues.get(gateway)
        if queue is None:
            queue = self.queues[gateway] = Queue(self.id, Principal(gateway), self._settings, self._authority)
        queue.clients += 1
        client = self.clients[key] = self._current[caller] = Client(key, queue)
        queue.send(client, ws.encode_service_message(ws.OpenMessage(caller, client_nonce)), service=True)

    def close(self, caller: bytes, key: tuple[bytes, int]) -> None:
        """Handle ws_close."""
        client = self.clients.get(key)
        if client is None or client.queue is not self.queues.get(caller):
            raise Refused(f"Client with key {Principal(key[0])}_{key[1]} doesn't have an open connection")
        self._remove(client, None)

    def message(self, caller: bytes, args: ws.MessageArgs) -> Client:
        """Handle ws_message."""
        client = self._current.get(caller)
        if client is None or client.key != (args.client_principal, args.client_nonce):
            raise Refused(f"Client with principal {Principal(caller)} doesn't have an open connection")
        if args.sequence_num != client.expected:
            self._note("wrong_sequence")
            self._remove(client, "WrongSequenceNumber")
            raise Refused(f"Expected incoming sequence number {client.expected} but got {args.sequence_num}")
        client.expected += 1
        if args.is_service_message:
            if not isinstance(ws.decode_service_message(args.content), ws.KeepAliveMessage):
                raise Refused("Invalid service message")
            client.waiting_since = 0
            self._note("keep_alives")
        elif self._settings.echo:
            self._note("pushed")
            client.queue.send(client, args.content)
        return client

    def round(self, now_ns: int) -> None:
        """Send all clients an AckMessage."""
        for client in self.clients.values():
            client.waiting_since = now_ns
            acknowledgement = ws.encode_service_message(ws.AckMessage(client.expected - 1))
            client.queue.send(client, acknowledgement, service=True)

    def check(self, round_ns: int) -> None:
        """Remove the clients that have not answered an acknowledgement round."""
        for client in list(self.clients.values()):
            if client.waiting_since == round_ns:
                self._note("keep_alive_timeouts")
                self._remove(client, "KeepAliveTimeout")

    def _remove(self, client: Client, reason: str | None) -> None:
        if reason is not None:
            client.queue.send(client, ws.encode_service_message(ws.CloseMessage(reason)), service=True)
        client.alive = False
        del self.clients[client.key]
        del self._current[client.key[0]]
        client.queue.clients -= 1
