"""Documents and sockets between two processes."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from icwsgw.errors import FormatError
from icwsgw.handover.channel import MOST_BYTES, MOST_SOCKETS, Channel, ChannelClosed
from icwsgw.ic import cbor


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = (Channel(end) for end in socket.socketpair())
    yield one, other
    one.close()
    other.close()


def raw(document: object) -> bytes:
    body = cbor.dumps(document)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_documents_arrive_in_order_whatever_their_size(ends: tuple[Channel, Channel], timeout: float | None) -> None:
    one, other = ends
    one.socket.settimeout(timeout)
    documents: list[dict[str, Any]] = [{"at": 1}, {"bytes": bytes(3 << 20)}, {}, {"end": True}]

    def send() -> None:
        for document in documents:
            one.send(document)

    sender = threading.Thread(target=send)
    sender.start()
    assert [other.receive(10.0)[0] for _ in documents] == documents
    sender.join()


def test_sockets_arrive_with_their_documents(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    pairs = [socket.socketpair() for _ in range(MOST_SOCKETS)]
    one.send({"sockets": 1}, [pairs[0][0].fileno()])
    one.send({"sockets": MOST_SOCKETS - 1}, [pair[0].fileno() for pair in pairs[1:]])
    found = [*other.receive(10.0)[1], *other.receive(10.0)[1]]
    assert len(found) == MOST_SOCKETS
    for number, ((mine, theirs), descriptor) in enumerate(zip(pairs, found, strict=True)):
        mine.close()
        with socket.socket(fileno=descriptor) as same:
            same.sendall(b"%d" % number)
        assert theirs.recv(10) == b"%d" % number
        theirs.close()


def test_silence_and_the_end_of_the_other_process_are_distinguished(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with pytest.raises(ChannelClosed, match="silent for 0 s"):
        other.receive(0.01)
    one.close()
    with pytest.raises(ChannelClosed, match="has ended"):
        other.receive(10.0)
    with pytest.raises(ChannelClosed, match=r"has ended: Broken pipe$"):
        other.send({})


def test_the_other_process_may_end_before_it_has_read_all(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.send({})
    one.close()
    with pytest.raises(ChannelClosed, match="has ended"):
        other.receive(10.0)


def test_a_connection_that_is_reset_is_at_its_end(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.send({})
    # unread data makes the kernel reset the connection
    one.close()
    assert other.read() is False


def test_more_sockets_than_go_with_one_document_end_the_channel(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with socket.socket() as any_socket:
        too_many = array.array("i", [any_socket.fileno()] * (MOST_SOCKETS + 1))
        one.socket.sendmsg([raw({})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, too_many)])
    with pytest.raises(ChannelClosed, match="has ended"):
        other.receive(10.0)


def test_a_document_may_be_long_and_have_many_items(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    document = {"many": [1] * (cbor.MAX_ITEMS + 1)}
    sender = threading.Thread(target=one.send, args=(document,))
    sender.start()
    assert other.receive(10.0)[0] == document
    sender.join()
    one.socket.sendall(MOST_BYTES.to_bytes(4, "big"))
    assert other.read()
    assert other.next() is None, "it comes later"


@pytest.mark.parametrize(
    "data",
    [
        (MOST_BYTES + 1).to_bytes(4, "big"),
        raw([1]),
        (3).to_bytes(4, "big") + b"\xff\xff\xff",
        raw({"sockets": 1}),
        raw({"sockets": -1}),
        raw({"sockets": "1"}),
    ],
    ids=["too long", "no map", "no CBOR", "no socket", "negative", "no number"],
)
def test_invalid_data_is_refused(ends: tuple[Channel, Channel], data: bytes) -> None:
    one, other = ends
    one.socket.sendall(data)
    with pytest.raises(FormatError):
        other.receive(10.0)


def test_unexpected_sockets_are_closed(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    mine, theirs = socket.socketpair()
    one.send({}, [mine.fileno()])
    mine.close()
    assert other.receive(10.0) == ({}, [])
    other.close()
    assert theirs.recv(1) == b""
    theirs.close()


def test_nothing_has_come_yet(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.read()
    one.socket.sendall(raw({"at": 1})[:3])
    assert other.read()
    assert other.next() is None
    os.set_blocking(other.socket.fileno(), True)
