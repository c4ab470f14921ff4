"""The state of a gateway's service as documents: written by the process that ends, read by the one that continues.

    {"version", "gateway", "early": true}             while the first process serves: what sessions need
    {"early": true, ...}                              connections as they are then, as below, in several rounds
    {"early": true, "last": true}                     the last of these
    {"version", "revision", "gateway", ...}           from here on the first process does nothing else
    {"connections": [...], "sockets": n}              as often as needed; each with the sockets, in this order
    {"changed": [[number, connection], ...]}          those that are others by now, by their number in this order
    {"gone": [number, ...]}                           those that have ended
    {"end": true}

Most of the work is done early: the second process makes connections of the documents while the first one still serves.
What is left then does not grow with the clients, but with what they have done since the last round. Without the early
part everything comes later.

Writing changes nothing. A document of another :data:`VERSION` is refused; new fields need another :data:`REVISION`
only, because fields that are missing keep their initial values and unknown ones are ignored (decision 0071).
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from icwsgw._version import __version__
from icwsgw.close_codes import ABNORMAL_CLOSURE
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.gateway.batches import finish_batches, for_each_session
from icwsgw.gateway.gateway_handover import (
    check_identities,
    complete,
    departed,
    detach_sessions,
    early_document,
    gateway_document,
    take_over_early,
    take_over_gateway,
    take_over_session,
    with_identities,
)
from icwsgw.gateway.session import ClientSession
from icwsgw.handover.carried_overrides import take_overrides
from icwsgw.handover.channel import MOST_SOCKETS
from icwsgw.handover.early_rounds import PAUSE_SECONDS, EarlyRounds, Next
from icwsgw.ic import cbor
from icwsgw.observe.logs import get_logger
from icwsgw.observe.meters import continue_from, counters_of
from icwsgw.observe.tolerant import tolerate

if TYPE_CHECKING:
    from icwsgw.server.protocol import GatewayProtocol
    from icwsgw.service import GatewayService

#: The version of the state. A process takes over only from one with the same.
VERSION = 1
#: Which fields it has. Each revision has a kept sample in the tests (decision 0071).
REVISION = 4

#: Marks documents that come while the first process still serves.
EARLY = "early"
#: Marks the last of them.
LAST_EARLY = "last"
#: Connections looked at in one piece at most. To look at one that has not changed takes some microseconds.
MOST_LOOKS = 1_000

_log = get_logger("handover")


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile: a collection takes as long as the handover."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Handed:
    """What was written down for the other process.

    :ivar connections: those that it gets
    :ivar pause: seconds to wait before the next early piece
    """

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self.pause = 0.0
        # by connection: the number, what was sent last, and its mark
        self._sent: dict[GatewayProtocol, tuple[int, bytes, object]] = {}
        self._count = 0

    @property
    def connections(self) -> list[GatewayProtocol]:
        return list(self._sent)

    def early(self) -> Iterator[tuple[Document, list[int]]]:
        """The connections as they are now, in pieces, between which this process serves; :meth:`documents` follows.

        Each round sends what has changed since the round before (:mod:`icwsgw.handover.early_rounds`).
        """
        yield {**self._head(), EARLY: True, "gateway": early_document(self._service.gateway)}, []
        clock = self._service.gateway.context.clock
        yield from self._round(0)
        rounds = EarlyRounds(clock.seconds())
        for number in count(1):
            began = clock.seconds()
            changed = yield from self._round(number)
            now = clock.seconds()
            _log.debug("connections sent early", round=number, changed=changed, seconds=round(now - began, 3))
            after = rounds.next(changed, now - began, now)
            if after is Next.STOP:
                break
            if after is Next.PAUSE:
                self.pause = PAUSE_SECONDS
                yield {EARLY: True}, []
                self.pause = 0.0
        yield {EARLY: True, LAST_EARLY: True}, []

    def _round(self, number: int) -> Generator[tuple[Document, list[int]], None, int]:
        """One round, in pieces; returns how many connections have come, changed or ended."""
        changed = 0
        for piece in self._pieces(number):
            changed += piece.size
            yield piece.document(EARLY), piece.sockets
        return changed

    def documents(self) -> Iterator[tuple[Document, list[int]]]:
        """The rest: the state as it is now, and what has come, changed or ended since the last round."""
        service, clock = self._service, self._service.gateway.context.clock
        # what has been decided about many sessions, in this process alone
        finish_batches(clock)
        yield (
            {
                **self._head(),
                "root_key": service.gateway.context.network.root_key,
                "gateway": gateway_document(service.gateway),
                "overrides": service.overrides.to_json(),
                "counters": counters_of(service.metrics.declared),
                "limits": service.factory.limits.written(clock.seconds()),
                "status": service.status.written(),
            },
            [],
        )
        for piece in self._pieces():
            if piece.size:
                yield piece.document(), piece.sockets
        yield {"end": True}, []

    @staticmethod
    def _head() -> Document:
        return {"version": VERSION, "revision": REVISION, "release": __version__}

    def _pieces(self, number: int | None = None) -> Iterator[_Piece]:
        """What has come, changed or ended since the last time.

        :param number: of the early round; None: this process has stopped to serve
        """
        piece, looks = _Piece(), 0
        for connection in list(self._service.factory.connections):
            self._look(connection, piece, number)
            looks += 1
            if looks == MOST_LOOKS or piece.size == MOST_SOCKETS:
                yield piece
                piece, looks = _Piece(), 0
        there = self._service.factory.connections
        for connection in [each for each in self._sent if each not in there]:
            piece.gone.append(self._sent.pop(connection)[0])
        yield piece

    def _look(self, connection: GatewayProtocol, piece: _Piece, number: int | None) -> None:
        sent, mark = self._sent.get(connection), connection.mark()
        if mark is None:
            # The other process would have to make it anew when it is at rest again, which takes longer than a change.
            # So it is sent then, or at the end; a new one is sent in the next round in any case.
            if number is not None and (not number if sent is None else sent[2] is not None):
                return
        elif sent is not None and mark == sent[2]:
            return
        row = connection.written()
        if row is None:
            if sent is not None:
                piece.gone.append(sent[0])
                del self._sent[connection]
            return
        # encoded, because a document may refer to what changes later
        encoded = cbor.dumps(row)
        if sent is None:
            sent = self._count, b"", None
            self._count += 1
            piece.rows.append(row)
            piece.sockets.append(connection.descriptor)
        elif encoded != sent[1]:
            piece.changed.append([sent[0], row])
        self._sent[connection] = sent[0], encoded, mark

    def detach(self) -> None:
        """Let go of everything that the other process has taken over."""
        service = self._service
        service.gateway.served_elsewhere = True
        for listener in service.listening_services:
            tolerate(_log, "releasing a listening socket failed", listener.detach)
        # also those of connections that cannot be released: the other process has them
        found = [connection.session for connection in self._sent if connection.session is not None]
        for connection in self._sent:
            tolerate(_log, "releasing a connection failed", connection.detach)
        detach_sessions(service.gateway, found)


class _Piece:
    """Some connections that have come, changed or ended."""

    def __init__(self) -> None:
        self.rows: list[Document] = []
        self.sockets: list[int] = []
        self.changed: list[list[Any]] = []
        self.gone: list[int] = []

    @property
    def size(self) -> int:
        return len(self.rows) + len(self.changed) + len(self.gone)

    def document(self, *flags: str) -> Document:
        found: Document = dict.fromkeys(flags, True)
        if self.rows:
            found |= {"connections": self.rows, "sockets": len(self.rows)}
        if self.changed:
            found["changed"] = self.changed
        if self.gone:
            found["gone"] = self.gone
        return found


class _Row:
    """One connection that has come.

    :ivar connection: None: its client has left, or it could not be made
    :ivar left: its client has left
    """

    __slots__ = ("connection", "document", "left")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.connection: GatewayProtocol | None = None
        self.left = False


class Taken:
    """What has come from the other process. It is made into connections at once, which continue with :meth:`begin`.

    A connection whose state is invalid costs only itself.

    :param identities: for each identity of the other process, the number of the same one here; None: they are the same
    """

    def __init__(self, service: GatewayService, identities: Sequence[int] | None = None) -> None:
        self._service = service
        self._identities = identities
        self._state: Mapping[str, Any] = {}
        self._rows: list[_Row | None] = []

    def add(self, document: Mapping[str, Any], sockets: list[int]) -> bool:
        """Take a document; True: it was the last one.

        :raises FormatError: it is of another version, or invalid
        """
        if self._identities is not None:
            document = with_identities(document, self._identities)
        if "version" in document:
            self._head(document)
        rows = document.get("connections", [])
        if len(rows) != len(sockets):
            raise FormatError(f"{len(rows)} connections came with {len(sockets)} sockets")
        for document_of_one, descriptor in zip(rows, sockets, strict=True):
            row = _Row(document_of_one)
            self._rows.append(row)
            self._make(row, document_of_one, descriptor)
        for number, changed in document.get("changed", ()):
            self._change(self._row(number), changed)
        for number in document.get("gone", ()):
            self._forget(self._row(number))
            self._rows[number] = None
        if "end" in document and not self._state:
            raise FormatError("the state is missing")
        return "end" in document

    def __len__(self) -> int:
        """How many connections there are."""
        return sum(row is not None for row in self._rows)

    def _head(self, document: Mapping[str, Any]) -> None:
        if document["version"] != VERSION:
            raise FormatError(f"the state has version {document['version']}, this program reads {VERSION}")
        gateway = self._service.gateway
        if EARLY in document:
            self._part(take_over_early, gateway, document.get("gateway"))
        else:
            self._state = document
            self._part(take_over_gateway, gateway, document.get("gateway"))

    def _row(self, number: object) -> _Row:
        row = self._rows[number] if type(number) is int and 0 <= number < len(self._rows) else None
        if row is None:
            raise FormatError(f"there is no connection {number}")
        return row

    def _make(self, row: _Row, document: Mapping[str, Any], descriptor: int) -> None:
        row.document = document
        try:
            row.connection = _adopt(self._service, document, descriptor)
            row.left = row.connection is None
        except Exception:
            _log.failure("a connection is not taken over")

    def _change(self, row: _Row, document: Mapping[str, Any]) -> None:
        connection, row.document = row.connection, document
        if connection is None:
            return
        try:
            if connection.update(document):
                return
        except Exception:
            _log.failure("a connection is not taken over")
        descriptor = os.dup(connection.descriptor)
        self._forget(row)
        self._make(row, document, descriptor)

    def _forget(self, row: _Row) -> None:
        """Forget a connection without a message to its client."""
        connection, row.connection = row.connection, None
        if connection is not None:
            session = connection.detach()
            if session is not None:
                detach_sessions(self._service.gateway, [session])

    def discard(self) -> None:
        """Forget all connections without messages to clients: the other process continues with them."""
        for row in self._rows:
            try:
                if row is not None:
                    self._forget(row)
            except Exception:
                _log.failure("releasing a connection failed")
        self._rows = []

    def begin(self) -> None:
        """Continue with all that the other process has had."""
        state, service, gateway = self._state, self._service, self._service.gateway
        self._part(continue_from, service.metrics.declared, state.get("counters"))
        self._part(take_overrides, service, state.get("overrides"))
        # behind the overrides, which may begin and end limits
        self._part(lambda limits, value: limits.read(value), service.factory.limits, state.get("limits"))
        rows = [row for row in self._rows if row is not None]
        taken = [row.connection for row in rows if row.connection is not None]
        # before any session continues: it may end at once, and then a close frame follows
        for_each_session(taken, lambda each: self._continue(each, each.send_unsent))
        left = [session for row in rows if row.left and (session := self._left(row.document)) is not None]
        sessions: list[ClientSession] = [each.session for each in taken if each.session is not None]
        complete(gateway, state.get("gateway", {}), [*sessions, *left])
        for_each_session(left, lambda session: session.left(ABNORMAL_CLOSURE))
        # All at once: the event loop has their sockets, and would read those that have not continued yet.
        for_each_session(taken, lambda each: self._continue(each, each.read_unread))
        self._part(lambda status, value: status.continue_from(value), service.status, state.get("status"))

    @staticmethod
    def _continue(connection: GatewayProtocol, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            _log.failure("a connection is not taken over")
            connection.transport.abortConnection()

    @staticmethod
    def _part(read: Callable[[Any, Any], object], owner: Any, value: Any) -> None:
        """Let the owner of a part read it, if there is one. A fault costs that part."""
        if not value:
            return
        try:
            read(owner, value)
        except Exception:
            _log.failure("a part of the former process's state is not taken over")

    def check(self) -> None:
        """Check that this process can continue with what has come.

        :raises FormatError: it has other identities, or is at another network
        """
        state, gateway = self._state, self._service.gateway
        check_identities(gateway, state.get("gateway", {}), self._identities)
        theirs, ours = state.get("root_key"), gateway.context.network.root_key
        if theirs is not None and ours is not None and theirs != ours:
            raise FormatError("the new process is at another network, whose canisters know none of the clients")

    def _left(self, document: Mapping[str, Any]) -> ClientSession | None:
        """The session of a client that has left."""
        if "session" not in document:
            return None
        try:
            return take_over_session(self._service.gateway, departed(document), document["session"])
        except Exception:
            _log.failure("a session is not taken over")
            return None


def _adopt(service: GatewayService, document: Mapping[str, Any], descriptor: int) -> GatewayProtocol | None:
    """Make a connection of a socket; None: its client has left meanwhile."""
    maker = _Maker(service.factory, document)
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            family = duplicate.family
        os.set_blocking(descriptor, False)
        # duplicates the descriptor
        service.reactor.adoptStreamConnection(descriptor, family, maker)
    except OSError as error:
        _log.debug("a client has left during the handover", error=error)
        return None
    except Exception:
        if maker.made is not None:
            maker.made.transport.abortConnection()
        raise
    finally:
        os.close(descriptor)
    return maker.made


class _Maker:
    """Makes one connection, for Twisted as a factory."""

    def __init__(self, factory: Any, document: Mapping[str, Any]) -> None:
        self._factory = factory
        self._document = document
        self.made: GatewayProtocol | None = None

    def buildProtocol(self, address: object) -> GatewayProtocol:  # noqa: N802
        """Make the connection."""
        made: GatewayProtocol = self._factory.buildProtocol(address)
        made.handed_over = self._document
        self.made = made
        return made
