"""Targets of the admin API: whole HTTP requests, bodies and queries."""

from __future__ import annotations

import contextlib
import json
from functools import lru_cache
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from icwsgw.admin.access import Access, Refused
from icwsgw.admin.api import Api, Replies, Upgrader
from icwsgw.admin.api_site import ApiSite
from icwsgw.admin.control import NO_OVERRIDES, Control, ControlRequest, Overrides
from icwsgw.admin.parameters import read_body, read_levels, read_query
from icwsgw.config.addresses import Exposure
from icwsgw.config.provenance import Provenance
from tests.fuzz.target import Target, in_pieces
from tests.memory.world import World

_NAMES = ("canister", "principal", "session", "state", "limit", "code", "window")


class _Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class _Service:
    """A gateway without clients, in memory."""

    draining = False
    upgrader: Upgrader | None = None
    provenance: Provenance | None = None

    def __init__(self, world: World) -> None:
        self.config = self.configured = world.config
        self.overrides = NO_OVERRIDES
        self._control = Control(world.gateway)

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        return self._control.reply(request).addCallback(lambda answer: Replies({0: answer}, []))

    def override(self, overrides: Overrides) -> Deferred[Replies]:
        self.overrides = overrides
        return succeed(Replies({0: {"closed": 0}}, []))

    def status_document(self) -> Deferred[dict[str, Any]]:
        return succeed({})

    def seconds(self) -> float:
        return 1_000.0

    def drain(self, window: float | None) -> None:
        assert window is None or 0 <= window < float("inf")


@lru_cache(1)
def _world() -> World:
    return World()


def _request(data: bytes) -> None:
    """A request, in pieces whose length is the first byte: it gets an answer other than 500, or is disconnected."""
    if not data:
        return
    clock = Clock()
    site = ApiSite(Api(_Service(_world())), Access(Exposure.LOOPBACK, None), clock)
    transport = _Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4711))
    protocol: Any = site.buildProtocol(None)
    protocol.makeConnection(transport)
    for piece in in_pieces(data[1:], data[0]):
        if transport.disconnecting or transport.aborted:
            break
        protocol.dataReceived(piece)
    # a request that is not whole may have got no more than this
    answer = transport.value().removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    protocol.connectionLost(Failure(ConnectionDone()))
    assert not site.connections
    if answer and not answer.startswith(b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        assert status in (200, 202, 400, 401, 403, 404, 405, 409, 413, 415), answer
        assert not body or isinstance(json.loads(body), dict)


def _parameters(data: bytes) -> None:
    """Bodies and queries: read as JSON defines them, each name once."""
    for read in (read_body, lambda body, *names: read_levels(body)):
        with contextlib.suppress(Refused):
            read(data, *_NAMES)
            pairs: list[tuple[str, Any]] = []
            if data.strip():
                json.loads(data, object_pairs_hook=pairs.extend)
            assert len({name for name, _ in pairs}) == len(pairs), "a name that appears twice is ambiguous"
    with contextlib.suppress(Refused):
        found = read_query(data.decode("latin-1"), *_NAMES)
        assert set(found) <= set(_NAMES)


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    host = b"Host: 127.0.0.1:9091\r\n"
    body = b'{"session": "s-1", "code": 4100}'
    post = b" HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    requests = [
        b"\x00GET /v1/sessions?canister=aaaaa-aa&limit=5 HTTP/1.1\r\n" + host + b"\r\n",
        b"\x00POST /v1/kick" + post % len(body) + body,
        b"\x05POST /v1/drain" + post % 15 + b'{"window": 1.5}',
        b"\x00PUT /v1/log-levels" + post % 19 + b'{"gateway": "debug"}'[:19],
        b"\x00POST /v1/deny" + post % 24 + b'{"canister": "aaaaa-aa"}',
        b"\x00GET /v1/sessions/s%2D1 HTTP/1.0\r\n\r\n",
    ]
    names = tuple(b'"%b"' % name.encode() for name in _NAMES)
    paths = (b"/v1/status", b"/v1/canisters", b"/v1/allow", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue")
    bodies = [body, b'{"window": 1e3}', b'{"reset": true, "gateway": "info"}', b"state=open&limit=10", b"session=x%41"]
    return {
        "admin_request": Target(_request, requests, (*names, *paths)),
        "admin_parameters": Target(_parameters, bodies, (*names, b"NaN", b"Infinity", b"null", b"1e999")),
    }
