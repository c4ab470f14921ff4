"""The state of a gateway's service as documents: written by the process that ends, read by the one that goes on.

    {"version", "revision", "gateway", "overrides", ...}   first
    {"connections": [...], "sockets": n}              as often as needed; each with the sockets, in this order
    {"end": true}

Writing changes nothing. A document of another :data:`VERSION` is refused; new fields need another :data:`REVISION`
only, because fields that are missing keep their initial values and unknown ones are ignored (decision 0071).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from icwsgw._version import __version__
from icwsgw.admin.control import Overrides
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.gateway.batches import finish_batches
from icwsgw.gateway.gateway_handover import (
    check_identities,
    complete,
    departed,
    detach_sessions,
    gateway_document,
    take_over_gateway,
    take_over_session,
)
from icwsgw.gateway.session import ClientSession
from icwsgw.handover.channel import MOST_SOCKETS
from icwsgw.observe.logs import get_logger
from icwsgw.observe.meters import counters_of, go_on_from

if TYPE_CHECKING:
    from icwsgw.gateway.gateway import Gateway
    from icwsgw.server.protocol import GatewayProtocol
    from icwsgw.service import GatewayService

#: The version of the state. A process takes over only from one with the same.
VERSION = 1
#: Which fields it has. Each revision has a kept sample in the tests (decision 0071).
REVISION = 1

#: The close code of a client whose connection was lost.
_ABNORMAL = 1006

_log = get_logger("handover")


class Handed:
    """What was written down for the other process.

    :ivar connections: those that it gets
    """

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self.connections: list[GatewayProtocol] = []

    def documents(self) -> Iterator[tuple[Document, list[int]]]:
        """The documents, each with its sockets."""
        service, clock = self._service, self._service.gateway.context.clock
        # what has been decided about many sessions, in this process alone
        finish_batches(clock)
        yield (
            {
                "version": VERSION,
                "revision": REVISION,
                "release": __version__,
                "root_key": service.gateway.context.network.root_key,
                "gateway": gateway_document(service.gateway),
                "overrides": service.overrides.to_json(),
                "counters": counters_of(service.metrics.declared),
                "limits": service.factory.limits.written(clock.seconds()),
                "status": service.status.written(),
            },
            [],
        )
        rows: list[Document] = []
        sockets: list[int] = []
        for connection in list(service.factory.connections):
            row = connection.written()
            if row is None:
                continue
            self.connections.append(connection)
            rows.append(row)
            sockets.append(connection.descriptor)
            if len(rows) == MOST_SOCKETS:
                yield {"connections": rows, "sockets": len(rows)}, sockets
                rows, sockets = [], []
        if rows:
            yield {"connections": rows, "sockets": len(rows)}, sockets
        yield {"end": True}, []

    def detach(self) -> None:
        """Let go of everything that the other process has taken over."""
        service = self._service
        for listener in service.listening_services:
            listener.detach()
        found = {connection.detach() for connection in self.connections}
        detach_sessions(service.gateway, [session for session in found if session is not None])


class Taken:
    """What has come from the other process."""

    def __init__(self) -> None:
        self._state: Mapping[str, Any] = {}
        self._connections: list[tuple[Mapping[str, Any], int]] = []

    def add(self, document: Mapping[str, Any], sockets: list[int]) -> bool:
        """Add a document; True: it was the last one.

        :raises FormatError: it is of another version, or invalid
        """
        if "version" in document:
            if document["version"] != VERSION:
                raise FormatError(f"the state has version {document['version']}, this program reads {VERSION}")
            self._state = document
        rows = document.get("connections", [])
        if len(rows) != len(sockets):
            raise FormatError(f"{len(rows)} connections came with {len(sockets)} sockets")
        self._connections.extend(zip(rows, sockets, strict=True))
        if "end" in document and not self._state:
            raise FormatError("the state is missing")
        return "end" in document

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def check(self, gateway: Gateway) -> None:
        """Check that a gateway can go on with what has come.

        :raises FormatError: it has other identities, or is at another network
        """
        state = self._state
        check_identities(gateway, state.get("gateway", {}))
        theirs, ours = state.get("root_key"), gateway.context.network.root_key
        if theirs is not None and ours is not None and theirs != ours:
            raise FormatError("the new process is at another network, whose canisters know none of the clients")

    def begin(self, service: GatewayService) -> None:
        """Go on with all that the other process has had. A connection whose state is invalid costs only itself."""
        state, gateway = self._state, service.gateway
        self._take_over(take_over_gateway, gateway, "gateway")
        self._take_over(go_on_from, service.metrics.declared, "counters")
        self._take_over(lambda service, value: service.override(Overrides.from_json(value)), service, "overrides")
        # behind the overrides, which may begin and end limits
        self._take_over(lambda limits, value: limits.read(value), service.factory.limits, "limits")
        taken: list[GatewayProtocol] = []
        left: list[ClientSession] = []
        for document, descriptor in self._connections:
            try:
                connection = _adopt(service, document, descriptor)
                if connection is not None:
                    taken.append(connection)
                elif "session" in document:
                    left.append(take_over_session(gateway, departed(document), document["session"]))
            except Exception:
                _log.failure("a connection is not taken over")
        sessions: list[ClientSession] = [each.session for each in taken if each.session is not None]
        complete(gateway, state.get("gateway", {}), [*sessions, *left])
        for session in left:
            session.left(_ABNORMAL)
        for connection in taken:
            try:
                connection.read_unread()
            except Exception:
                _log.failure("a connection is not taken over")
                connection.transport.abortConnection()
        self._take_over(lambda status, value: status.go_on_from(value), service.status, "status")

    def _take_over(self, read: Callable[[Any, Any], object], owner: Any, part: str) -> None:
        """Let the owner of a part read it, if there is one. A fault costs that part."""
        value = self._state.get(part)
        if not value:
            return
        try:
            read(owner, value)
        except Exception:
            _log.failure("a part of the former process's state is not taken over", part=part)


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
