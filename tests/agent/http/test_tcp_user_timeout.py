"""Connections whose packets go nowhere: the kernel of the other end drops them, as a NAT that has forgotten them."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater

from icwsgw.agent.http.tcp_user_timeout import limit_unacknowledged_time
from tests.agent.http.test_transport import TransportCase

reactor: Any = _reactor

SO_ATTACH_FILTER = 26
RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


def read_nothing(sock: socket.socket) -> None:
    """Have the kernel drop whatever arrives for a socket, without acknowledging it (a filter that passes 0 bytes)."""
    program = ctypes.create_string_buffer(RETURN_NOTHING)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


class Silence(TransportCase):
    if sys.platform != "linux":
        skip = "TCP_USER_TIMEOUT is Linux's"

    @inlineCallbacks
    def test_a_request_leaves_a_connection_that_has_gone_silent(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(silence=0.5)
        server = self.serve(lambda c, h, b: c.answer(b))
        yield self.post(server, b"first")
        read_nothing(server.connections[0].transport.socket)
        # its deadline is beyond the test's: nothing but the kernel's word lets it go
        answer = yield self.post(server, b"message", timeout=600.0)
        self.assertEqual(answer.body, b"message")
        self.assertEqual(len(server.connections), 2)
        self.assertEqual(self.transport.counts.resent, 1)
        server.connections[0].reset()

    @inlineCallbacks
    def test_a_peer_that_is_slow_to_answer_is_waited_for(self) -> Generator[Any, Any, None]:
        yield self.transport.close()
        self.transport = self.make(silence=0.25)
        held = []
        server = self.serve(lambda c, h, b: c.answer(b) if b == b"first" else held.append(c))
        yield self.post(server, b"first")
        request = self.post(server, b"second")
        # the time that passes is what is tested: more than the silence that is allowed
        yield deferLater(reactor, 0.8)
        held[0].answer(b"late")
        answer = yield request
        self.assertEqual(answer.body, b"late")
        self.assertEqual(len(server.connections), 1)


def test_what_is_no_tcp_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not limit_unacknowledged_time(SimpleNamespace(transport=SimpleNamespace(socket=ours)), 1.0)
    assert not limit_unacknowledged_time(SimpleNamespace(), 1.0)


def test_it_is_found_below_what_is_laid_over_it() -> None:
    with socket.socket() as sock:
        made = limit_unacknowledged_time(SimpleNamespace(transport=SimpleNamespace(socket=sock)), 1.5)
        assert made is hasattr(socket, "TCP_USER_TIMEOUT")
        if made:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
