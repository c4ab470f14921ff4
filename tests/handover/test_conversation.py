"""A channel that is read in the reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from icwsgw.handover.channel import Channel
from icwsgw.handover.conversation import Conversation


class Readers:
    """What a reactor reads."""

    def __init__(self) -> None:
        self.read: set[Any] = set()
        self.addReader = self.read.add
        self.removeReader = self.read.remove


class Heard:
    """A conversation and what it has brought."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.reactor = Readers()
        self.other = Channel(theirs)
        self.documents: list[Any] = []
        self.ends: list[str | None] = []
        self.conversation = Conversation(self.reactor, Channel(ours), self.hear, self.ends.append)
        self.conversation.begin()

    def hear(self, document: Any, sockets: list[int]) -> None:
        self.documents.append((document, len(sockets)))
        for each in sockets:
            os.close(each)


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.conversation.close()
    made.other.close()


def test_documents_come_with_their_sockets(heard: Heard) -> None:
    assert heard.reactor.read == {heard.conversation}
    heard.other.send({"at": 1})
    heard.other.send({"sockets": 1}, [heard.other.socket.fileno()])
    heard.conversation.doRead()
    heard.conversation.doRead()
    assert heard.documents == [({"at": 1}, 0), ({"sockets": 1}, 1)]
    heard.conversation.doRead()
    assert heard.ends == []


def test_the_end_is_told_once(heard: Heard) -> None:
    heard.other.send({"at": 1})
    heard.other.socket.shutdown(socket.SHUT_WR)
    heard.conversation.doRead()
    heard.conversation.doRead()
    assert (len(heard.documents), heard.ends, heard.reactor.read) == (1, [None], set())
    heard.conversation.doRead()
    heard.conversation.connectionLost(None)
    assert (len(heard.documents), heard.ends) == (1, [None])


def test_the_end_of_the_reactor_is_told_too(heard: Heard) -> None:
    heard.conversation.connectionLost(None)
    assert (heard.ends, heard.reactor.read) == (["the process is shutting down"], set())


def test_what_is_closed_is_heard_no_more_and_has_no_socket(heard: Heard) -> None:
    assert heard.conversation.logPrefix() == "handover"
    heard.conversation.close()
    assert (heard.reactor.read, heard.conversation.fileno()) == (set(), -1)
    never = Conversation(heard.reactor, Channel(socket.socket()), heard.hear, heard.ends.append)
    never.close()
    assert (never.fileno(), heard.ends) == (-1, [])


def test_nonsense_is_an_end(heard: Heard) -> None:
    heard.other.socket.sendall(b"\xff" * 10)
    heard.conversation.doRead()
    assert heard.ends[0] is not None
    assert "nonsense" in heard.ends[0]


def test_nothing_is_heard_after_a_stop(heard: Heard) -> None:
    heard.other.send({"at": 1})
    heard.other.send({"at": 2})
    heard.conversation._heard = lambda document, sockets: heard.conversation.stop()
    heard.conversation.doRead()
    assert heard.reactor.read == set()
    heard.conversation.connectionLost(None)
    assert heard.ends == []
