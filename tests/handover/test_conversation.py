"""A channel that is read in the reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from icwsgw.handover.channel import Channel
from icwsgw.handover.conversation import Conversation


class FakeReactor:
    """A reactor that only stores its readers."""

    def __init__(self) -> None:
        self.read: set[Any] = set()
        self.addReader = self.read.add
        self.removeReader = self.read.remove


class RecordedConversation:
    """A conversation, and the documents and ends that it has reported."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.reactor = FakeReactor()
        self.other = Channel(theirs)
        self.documents: list[Any] = []
        self.ends: list[str | None] = []
        self.conversation = Conversation(self.reactor, Channel(ours), self.receive, self.ends.append)
        self.conversation.begin()

    def receive(self, document: Any, sockets: list[int]) -> None:
        self.documents.append((document, len(sockets)))
        for each in sockets:
            os.close(each)


@pytest.fixture
def recorded() -> Iterator[RecordedConversation]:
    made = RecordedConversation()
    yield made
    made.conversation.close()
    made.other.close()


def test_documents_come_with_their_sockets(recorded: RecordedConversation) -> None:
    assert recorded.reactor.read == {recorded.conversation}
    recorded.other.send({"at": 1})
    recorded.other.send({"sockets": 1}, [recorded.other.socket.fileno()])
    recorded.conversation.doRead()
    recorded.conversation.doRead()
    assert recorded.documents == [({"at": 1}, 0), ({"sockets": 1}, 1)]
    recorded.conversation.doRead()
    assert recorded.ends == []


def test_the_end_is_reported_once(recorded: RecordedConversation) -> None:
    recorded.other.send({"at": 1})
    recorded.other.socket.shutdown(socket.SHUT_WR)
    recorded.conversation.doRead()
    recorded.conversation.doRead()
    assert (len(recorded.documents), recorded.ends, recorded.reactor.read) == (1, [None], set())
    recorded.conversation.doRead()
    recorded.conversation.connectionLost(None)
    assert (len(recorded.documents), recorded.ends) == (1, [None])


def test_the_end_of_the_reactor_is_reported_too(recorded: RecordedConversation) -> None:
    recorded.conversation.connectionLost(None)
    assert (recorded.ends, recorded.reactor.read) == (["the process is shutting down"], set())


def test_a_closed_conversation_reports_nothing_and_has_no_socket(recorded: RecordedConversation) -> None:
    assert recorded.conversation.logPrefix() == "handover"
    recorded.conversation.close()
    assert (recorded.reactor.read, recorded.conversation.fileno()) == (set(), -1)
    never = Conversation(recorded.reactor, Channel(socket.socket()), recorded.receive, recorded.ends.append)
    never.close()
    assert (never.fileno(), recorded.ends) == (-1, [])


def test_invalid_data_ends_the_conversation(recorded: RecordedConversation) -> None:
    recorded.other.socket.sendall(b"\xff" * 10)
    recorded.conversation.doRead()
    assert recorded.ends[0] is not None
    assert "no valid document" in recorded.ends[0]


def test_nothing_is_reported_after_a_stop(recorded: RecordedConversation) -> None:
    recorded.other.send({"at": 1})
    recorded.other.send({"at": 2})
    recorded.conversation._received = lambda document, sockets: recorded.conversation.stop()
    recorded.conversation.doRead()
    assert recorded.reactor.read == set()
    recorded.conversation.connectionLost(None)
    assert recorded.ends == []
