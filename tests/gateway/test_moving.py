"""A client that opens its next session elsewhere before the gateway stops: what the gateway does for it."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.drain_machine import MOVE_SECONDS
from icwsgw.core.messages import frame, payload_of
from icwsgw.core.move_machine import CALLS_RELAYED, CLIENT_LEAVING, MoveState
from icwsgw.gateway.moving import accept_leaving, ask_to_move
from icwsgw.gateway.session_handover import session_document, take_over
from tests.gateway.test_session import Connection, World
from tests.support.fake_network import NOW_NS, REPLIED_OK, replied_err

#: The entry that a client's first message has beside its envelope.
MOVES = b"\x65moves\xf5"


class MovingWorld(World):
    """A client that can move, with an open session."""

    def setup(self) -> MovingWorld:
        payload = self.sdk.open_payload(self.now_ns())
        assert payload[3] == 0xA1
        self.receive(payload[:3] + b"\xa2" + payload[4:] + MOVES)
        return self

    def open(self) -> MovingWorld:
        super().open()
        return self

    def sends(self, content: bytes) -> None:
        self.receive(self.sdk.message_payload(content, self.now_ns()))

    @property
    def notices(self) -> list[Any]:
        """The messages of the gateway itself after the handshake message."""
        return [
            cbor2.loads(payload_of(one))
            for one in self.connection.frames[1:]
            if one.startswith(b"\x82") and payload_of(one).startswith(b"\xd9\xd9\xf7")
        ]

    def drained(self, window: float = 20.0) -> list[None]:
        done: list[None] = []
        self.gateway.drain(window).addCallback(done.append)
        return done


def test_a_client_that_can_move_is_asked_and_not_closed() -> None:
    world = MovingWorld().open()
    world.drained()
    assert world.notices == [{"move": {"seconds": int(MOVE_SECONDS)}}]
    assert world.connection.closed == []
    assert world.session.move is MoveState.ASKED


def test_all_its_messages_have_ended_before_it_is_notified() -> None:
    world = MovingWorld().open()
    world.sends(b"one")
    world.sends(b"two")
    done = world.drained()
    world.receive(CLIENT_LEAVING)
    assert world.notices[1:] == []
    world.network.calls[1].answer(REPLIED_OK)
    assert world.notices[1:] == []
    assert world.methods() == ["ws_open", "ws_message", "ws_message"]
    world.network.calls[2].answer(REPLIED_OK)
    assert world.notices[1:] == [{"relayed": True}]
    # it goes on reading until it leaves
    world.session.deliver([b"the canister's last message"])
    assert world.connection.frames[-1] == b"the canister's last message"
    assert done == []
    world.session.left(1000)
    assert world.methods()[3:] == ["ws_close"]
    world.network.calls[3].answer(replied_err("Client with key 1 doesn't have an open connection"))
    assert done == [None]
    assert world.connection.closed == []
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


def test_a_client_with_nothing_on_the_way_is_notified_at_once() -> None:
    world = MovingWorld().open()
    world.drained()
    world.receive(CLIENT_LEAVING)
    assert world.notices[1:] == [{"relayed": True}]


def test_a_client_that_does_not_move_in_time_is_closed() -> None:
    world = MovingWorld().open()
    world.drained()
    world.clock.advance(MOVE_SECONDS - 0.1)
    assert world.connection.closed == []
    world.clock.advance(0.2)
    assert [code for code, _ in world.connection.closed] == [CloseCode.DRAINING]


def test_a_hurry_closes_those_that_were_asked_too() -> None:
    world = MovingWorld().open()
    world.drained()
    world.gateway.skip_drain_window()
    assert [code for code, _ in world.connection.closed] == [CloseCode.DRAINING]
    world.network.calls[-1].answer(REPLIED_OK)
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


def test_without_a_window_no_client_is_asked() -> None:
    world = MovingWorld().open()
    world.drained(0.0)
    assert world.notices == []
    assert [code for code, _ in world.connection.closed] == [CloseCode.DRAINING]


def test_others_are_closed_as_ever_and_so_are_those_without_an_open_session() -> None:
    plain, opening = World().open(), MovingWorld().setup()
    assert opening.session.move is MoveState.STAYING
    for world in (plain, opening):
        world.gateway.drain(20.0)
        assert [code for code, _ in world.connection.closed] == [CloseCode.DRAINING]


def test_its_turn_comes_as_that_of_others() -> None:
    """Requests to move are spread over the window, like closes, and each has its own end."""
    world = MovingWorld().open()
    others = []
    for _ in range(9):
        other = MovingWorld.__new__(MovingWorld)
        other.__dict__.update(world.__dict__)
        other.connection = Connection()
        other.sdk = type(world.sdk)(world.sdk.canister)
        other.sdk.gateway = world.sdk.gateway
        other.session = world.gateway.connect(other.connection)
        others.append(other.open())
    everyone = [world, *others]
    world.gateway.drain(20.0)
    requests, closed = [], []
    for _ in range(40):
        requests.append(sum(bool(one.notices) for one in everyone))
        closed.append(sum(bool(one.connection.closed) for one in everyone))
        world.clock.pump([0.25] * 4)
    assert requests[:19:2] == list(range(1, 11))
    assert closed[14:34:2] == list(range(10))
    assert closed[34] == 10


def test_a_message_after_the_last_one_is_an_error() -> None:
    world = MovingWorld().open()
    world.drained()
    world.receive(CLIENT_LEAVING)
    world.sends(b"one more")
    assert [code for code, _ in world.connection.closed] == [CloseCode.PROTOCOL_ERROR]


@pytest.mark.parametrize("asked", [False, True])
def test_a_last_message_without_a_request_is_an_error(asked: bool) -> None:
    world = MovingWorld().open()
    if asked:
        world.drained()
        world.receive(CLIENT_LEAVING)
    world.receive(CLIENT_LEAVING)
    assert [code for code, _ in world.connection.closed] == [CloseCode.UNDECODABLE]


def test_a_client_that_cannot_move_cannot_leave_so_either() -> None:
    world = World().open()
    world.receive(CLIENT_LEAVING)
    assert [code for code, _ in world.connection.closed] == [CloseCode.UNDECODABLE]


def test_a_canister_that_refuses_the_last_message_ends_the_session() -> None:
    world = MovingWorld().open()
    world.sends(b"refused")
    world.drained()
    world.receive(CLIENT_LEAVING)
    world.network.calls[1].answer(replied_err("no"))
    assert world.notices[1:] == []
    world.clock.advance(6)
    assert [code for code, _ in world.connection.closed] == [CloseCode.MESSAGE_REFUSED]


def test_a_message_ahead_of_its_number_leaves_before_the_client_is_notified() -> None:
    world = MovingWorld().open()
    first, second = (world.sdk.message_payload(content, world.now_ns()) for content in (b"one", b"two"))
    world.receive(second)
    assert world.methods() == ["ws_open"]
    world.drained()
    world.receive(CLIENT_LEAVING)
    assert world.methods() == ["ws_open", "ws_message"]
    assert world.notices[1:] == []
    assert first != second


def test_a_client_can_move_after_a_handover_too() -> None:
    world, other = MovingWorld().open(), World()
    document = session_document(world.session)
    take_over(other.session, other.gateway, document)
    assert other.session.move is MoveState.STAYING
    del document["move"]
    third = World()
    take_over(third.session, third.gateway, document)
    assert third.session.move is MoveState.ABSENT, "the process before did not know of it"


def test_asking_twice_does_nothing() -> None:
    world = MovingWorld().open()
    assert ask_to_move(world.session, 5.0)
    assert not ask_to_move(world.session, 5.0)
    assert accept_leaving(world.session, CLIENT_LEAVING)
    assert not accept_leaving(world.session, CLIENT_LEAVING)
    assert world.connection.frames[-1] == frame(CALLS_RELAYED)
    assert world.now_ns() == NOW_NS
