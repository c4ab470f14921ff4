"""The part of the clients that both event loops share, with a driver that records its calls."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.client.autobahn_link import READ_PING, AutobahnLink, LinkedProtocol, protocol_options
from icwsgw.client.client_settings import DEFAULT_SETTINGS


class Recorder:
    """Writes down its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: self.calls.append((name, *arguments, *named.values()))


class Link(AutobahnLink):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Recorder()
        self.attempts_ended = 0

    def end_attempt(self) -> None:
        self.attempts_ended += 1

    def calls(self) -> list[tuple[Any, ...]]:
        assert isinstance(self.driver, Recorder)
        return self.driver.calls


class Connection(LinkedProtocol):
    def __init__(self, link: Link) -> None:
        self.link = link
        self.remoteCloseCode = self.remoteCloseReason = None
        link.protocol = self


@pytest.mark.parametrize(("code", "sent"), [(1000, 1000), (1001, 1000), (1011, 1000), (3000, 3000), (4001, 4001)])
def test_a_code_that_programs_may_not_send_becomes_1000(code: int, sent: int) -> None:
    link = Link()
    link.protocol = Recorder()
    link.close(code, "why")
    assert link.protocol.calls == [("sendClose", sent, "why")]


def test_messages_are_binary_and_pings_have_their_payload() -> None:
    link = Link()
    link.protocol = Recorder()
    link.write(b"message")
    link.ping()
    assert link.protocol.calls == [("sendMessage", b"message", True), ("sendPing", READ_PING)]


def test_an_abort_ends_the_connection_or_else_the_attempt() -> None:
    link = Link()
    link.abort()
    assert link.attempts_ended == 1
    link.protocol = Recorder()
    link.abort()
    assert link.protocol.calls == [("dropConnection", True)]
    assert link.attempts_ended == 1


def test_without_a_connection_there_is_nothing_to_close_and_nothing_to_ask() -> None:
    link = Link()
    link.close(1000, "")
    link.ping()
    assert link.calls() == []


def test_a_connection_tells_what_comes() -> None:
    link = Link()
    connection = Connection(link)
    connection.onOpen()
    connection.onMessage(b"message", True)
    connection.onPong(b"autobahn's own")
    connection.onPong(READ_PING)
    assert link.calls() == [("connected",), ("received", b"message", True), ("ponged",)]


def test_the_end_has_the_code_of_the_gateway() -> None:
    link = Link()
    connection = Connection(link)
    connection.remoteCloseCode, connection.remoteCloseReason = 4100, "draining"
    connection.onClose(True, 1000, "ours")
    assert link.calls() == [("lost", 4100, "draining")]


def test_the_end_without_a_code_is_1006() -> None:
    link = Link()
    Connection(link).onClose(False, 1006, "connection was closed uncleanly")
    assert link.calls() == [("lost", 1006, "connection was closed uncleanly")]


def test_a_refused_handshake_has_its_http_status() -> None:
    link = Link()
    Connection(link).onClose(False, None, "(WebSocket connection upgrade failed [503]: gateway is full)")
    assert [call[:2] for call in link.calls()] == [("refused", 503)]


def test_the_end_of_an_earlier_connection_is_not_that_of_the_present_one() -> None:
    link = Link()
    earlier, present = Connection(link), Connection(link)
    earlier.onClose(False, None, "late")
    assert link.calls() == []
    present.onClose(False, None, "now")
    assert link.calls() == [("lost", 1006, "now")]


def test_autobahn_gives_up_later_than_the_machine() -> None:
    options = protocol_options(DEFAULT_SETTINGS)
    assert options["openHandshakeTimeout"] > DEFAULT_SETTINGS.connect_timeout
    assert options["closeHandshakeTimeout"] > DEFAULT_SETTINGS.closing_timeout
