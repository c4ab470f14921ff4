"""Bodies by what comes, not by what was announced; tests of both endpoints have the rest."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, HTTPFactory

from icwsgw.admin.bodies import BoundedBody


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Short(BoundedBody):
    most_kept = 10
    most_read = 100

    def process(self) -> None:
        content: Any = self.content
        self.write(b"%d bytes: %b" % (self.carried, content.read()))
        self.finish()


def post(length: int, *pieces: bytes) -> Transport:
    channel, transport = HTTPChannel(), Transport()
    channel.requestFactory = Short
    channel.factory = HTTPFactory()
    channel.makeConnection(transport)
    channel.dataReceived(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % length)
    for piece in pieces:
        channel.dataReceived(piece)
    return transport


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([], b"0 bytes: "),
        ([b"12345", b"67890"], b"10 bytes: 1234567890"),
        ([b"12345", b"678901"], b"11 bytes: 12345"),
        ([b"1" * 60, b"2" * 40], b"100 bytes: "),
    ],
)
def test_a_short_body_is_kept_and_a_longer_one_read_past(pieces: list[bytes], answer: bytes) -> None:
    transport = post(sum(map(len, pieces)), *pieces)
    assert transport.value().endswith(b"\r\n\r\n" + answer)
    assert not transport.aborted


def test_one_that_does_not_stop_ends_the_connection() -> None:
    assert not post(1 << 40, b"1" * 60, b"2" * 40).aborted
    assert post(1 << 40, b"1" * 60, b"2" * 41).aborted


@pytest.mark.parametrize("kind", [b"\x1eapplication/json", b"text/plain;\x0b", b"multipart/form-data; boundary=x"])
def test_bodies_are_not_parsed_as_forms(kind: bytes) -> None:
    channel, transport = HTTPChannel(), Transport()
    channel.requestFactory = Short
    channel.factory = HTTPFactory()
    channel.makeConnection(transport)
    channel.dataReceived(b"POST / HTTP/1.0\r\nContent-Type: %b\r\nContent-Length: 5\r\n\r\n12345" % kind)
    assert transport.value().endswith(b"\r\n\r\n5 bytes: 12345")
