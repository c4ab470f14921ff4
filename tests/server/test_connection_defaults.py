"""A new connection's attributes are those that Autobahn itself would set."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.testing import StringTransport

from icwsgw.server.connection_defaults import IGNORED_EVENT, Fresh
from tests.server.test_protocol import World


def autobahns_own() -> Any:
    factory: Any = WebSocketServerFactory()
    factory.setProtocolOptions(openHandshakeTimeout=0)
    factory.protocol = WebSocketServerProtocol
    connection = factory.buildProtocol(None)
    connection.makeConnection(StringTransport())
    return connection


def test_every_attribute_of_autobahns_is_there_and_the_same() -> None:
    theirs, (ours, _) = autobahns_own(), World().connect()
    options = set(WebSocketServerProtocol.CONFIG_ATTRS)
    # what is logged of connections, and how many there are, is ours
    different = {"peer", "transport", "factory", "trafficStats", "is_open", "is_closed", "_transport_details"}
    # of events that nobody listens to
    different |= {"_valid_events", "_results"} | options
    checked = 0
    for name, value in vars(theirs).items():
        if name in different:
            continue
        found = getattr(ours, name)
        assert type(found) is type(value), name
        if not isinstance(value, (deque, type(theirs.utf8validator))):
            assert found == value, name
            checked += 1
    assert checked >= 20


def test_objects_of_a_connection_are_its_own() -> None:
    world = World()
    (one, _), (other, _) = world.connect(), world.connect()
    for name in ("send_queue", "utf8validator"):
        assert getattr(one, name) is getattr(one, name)
        assert getattr(one, name) is not getattr(other, name)


def test_a_fresh_connection_holds_little() -> None:
    connection, _ = World().connect()
    before = set(vars(connection))
    assert "state" not in before
    assert "utf8validator" not in before
    assert connection.is_closed is IGNORED_EVENT


def test_an_autobahn_that_makes_more_makes_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = WebSocketProtocol._connectionMade

    def more(self: Any) -> None:
        made(self)
        self.something_new = {"of": "its own"}

    monkeypatch.setattr(WebSocketProtocol, "_connectionMade", more)
    world = World()
    (one, _), (other, _) = world.connect(), world.connect()
    assert one.something_new == {"of": "its own"}
    assert one.something_new is not other.something_new
    _, transport, _ = world.open()
    assert not transport.disconnecting


def test_what_is_found_is_shared() -> None:
    world = World()
    connection = world.factory.protocol()
    connection.factory = world.factory
    fresh = Fresh(connection)
    assert fresh.shared["data"] == b""
    assert fresh.shared["failedByMe"] is False
