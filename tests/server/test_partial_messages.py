"""A connection that has ended keeps no bytes of a partial message, even if something still refers to the connection."""

from __future__ import annotations

import pytest

from icwsgw.server.outbox import CROWDED_BYTES
from icwsgw.server.partial_messages import CLOSED_TRANSPORT, NO_LOG, PartialMessages
from tests.server.test_protocol import World, lose
from tests.support.ws_wire import masked


@pytest.mark.parametrize("half", [masked(2, bytes(50_000))[:-1], masked(2, bytes(50_000), fin=False)])
def test_an_ended_connection_holds_no_byte_of_an_unfinished_message(half: bytes) -> None:
    """A session refers to its ended connection until ws_close has been sent."""
    world = World()
    protocol, _, _ = world.open()
    protocol.dataReceived(half)
    assert sum(map(len, protocol.frame_data or protocol.message_data)) >= len(half) - 20  # type: ignore[arg-type]
    lose(protocol)
    assert {protocol.message_data, protocol.frame_data, protocol.control_frame_data, protocol.data} == {None, b""}
    assert protocol.transport is CLOSED_TRANSPORT
    # what others may still ask of it
    protocol.deliver([b"x"])
    protocol.pause()
    protocol.resume()
    protocol.close(4100, "late")
    protocol.transport.write(b"x")
    protocol.transport.abortConnection()
    assert protocol.waiting_bytes == 0


def test_what_stands_in_for_autobahns_log_takes_anything() -> None:
    NO_LOG.debug("{a}", a=1)
    NO_LOG.whatever()


class Holder:
    def pause_partial(self) -> None:
        """Not in this test."""

    read_on = pause_partial

    def give_up(self, text: str) -> None:
        raise AssertionError(text)


def test_a_connection_stops_reading_once_for_each_message() -> None:
    paused: list[int] = []

    class Paused(Holder):
        def pause_partial(self) -> None:
            paused.append(1)

    account, holder = PartialMessages(CROWDED_BYTES), Paused()
    for number in (1, 2):
        assert account.count(holder, CROWDED_BYTES + 1)
        assert not account.count(holder, CROWDED_BYTES + 2), "it is paused already"
        assert not account.count(holder, 0)
        assert len(paused) == number


def test_what_a_message_held_until_it_was_whole_is_credited() -> None:
    account = PartialMessages(1000)
    holders = [Holder() for _ in range(3)]
    for _ in range(10):
        for holder in holders:
            assert not account.count(holder, 100)
            assert not account.count(holder, 300)
        assert (account.octets, len(account)) == (900, 3)
        account.look()
        for holder in holders:
            account.count(holder, 0)
        assert (account.octets, len(account)) == (0, 0)
