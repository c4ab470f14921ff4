"""A client's messages before the relay: in turn, and told why when they are too many."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.keepalive_deadline import AFTER_WAIT_SECONDS, KEEP_ALIVE_SECONDS
from icwsgw.core.messages import BatchFramer
from icwsgw.core.sequence_buffer import HOLD_SECONDS
from icwsgw.devnet.cdk_types import ClientKey, message_content
from icwsgw.ic.ws import AckMessage, MessageArgs, decode_message_args, encode_message_args, encode_service_message
from tests.gateway.test_session import World
from tests.support.fake_network import REPLIED_OK
from tests.support.sdk_client import SdkClient


def payload(world: World, number: int, content: bytes = b"x", ttl: float = 240.0) -> bytes:
    """A message with a number of its own, as the SDK encodes it."""
    args = MessageArgs(world.sdk.identity.principal.raw, world.sdk.client_nonce, number, 0, False, content)
    return world.sdk.envelope("ws_message", encode_message_args(args), world.now_ns(), ttl)


def sent(world: World) -> list[int]:
    """The numbers of the messages that have left, in order."""
    return [
        decode_message_args(call.content["arg"]).sequence_num
        for call in world.network.calls
        if call.content["method_name"] == "ws_message"
    ]


def answer_all(world: World, took: float = 0.0) -> None:
    while not world.network.calls[-1].deferred.called:
        world.clock.advance(took)
        world.network.calls[-1].answer(REPLIED_OK)


def test_an_envelope_ahead_of_its_turn_waits_for_the_missing_one() -> None:
    world = World().open()
    for number in (1, 3, 2, 4):
        world.receive(payload(world, number))
    answer_all(world)
    assert sent(world) == [1, 2, 3, 4]
    assert world.context.metrics.relay_out_of_turn.values == {"came": 1, "missed": 0, "other": 0}
    world.session.left(1000)
    world.network.calls[-1].answer(REPLIED_OK)
    assert world.clock.getDelayedCalls() == []


def test_it_goes_after_a_second() -> None:
    world = World().open()
    world.receive(payload(world, 2))
    world.clock.advance(HOLD_SECONDS - 0.01)
    assert sent(world) == []
    world.clock.advance(0.02)
    assert sent(world) == [2]
    assert world.context.metrics.relay_out_of_turn.values["missed"] == 1


def test_it_goes_when_the_client_leaves_and_comes_before_ws_close() -> None:
    world = World().open()
    world.receive(payload(world, 2))
    world.session.left(1000)
    answer_all(world)
    assert sent(world) == [2]
    assert world.methods()[-1] == "ws_close"
    assert world.clock.getDelayedCalls() == []


def test_the_missing_one_may_be_in_a_socket_that_is_not_read() -> None:
    world = World(relay_queue_messages=3).open()
    for number in (1, 2, 3, 4, 6):
        world.receive(payload(world, number))
    assert not world.connection.reading
    world.clock.advance(3 * HOLD_SECONDS)
    for _ in range(3):
        world.network.calls[-1].answer(REPLIED_OK)
    assert world.connection.reading
    world.receive(payload(world, 5))
    answer_all(world)
    assert sent(world) == [1, 2, 3, 4, 5, 6]


def test_nothing_is_waited_for_when_the_client_leaves_while_its_socket_is_not_read() -> None:
    world = World(relay_queue_messages=3).open()
    for number in (1, 2, 3, 4, 6):
        world.receive(payload(world, number))
    world.clock.advance(3 * HOLD_SECONDS)
    world.session.left(1000)
    answer_all(world)
    assert sent(world) == [1, 2, 3, 4, 6]
    assert world.clock.getDelayedCalls() == []


SHORT = encode_message_args(MessageArgs(b"p", 1, 9, 0, False, b""), extra=())


@pytest.mark.parametrize("arg", [b"", b"DIDL\0\0", SHORT])
def test_what_has_no_readable_number_passes_as_it_comes(arg: bytes) -> None:
    world = World().open()
    world.receive(world.sdk.envelope("ws_message", arg, world.now_ns()))
    assert len(world.methods()) == 2
    world.receive(payload(world, 7))
    answer_all(world)
    assert world.methods() == ["ws_open", "ws_message", "ws_message"]


def test_one_of_another_shape_among_usual_ones_passes_too() -> None:
    world = World().open()
    world.receive(payload(world, 1))
    world.receive(world.sdk.envelope("ws_message", SHORT, world.now_ns()))
    world.receive(payload(world, 2))
    answer_all(world)
    assert sent(world) == [1, 9, 2]


def ack(world: World) -> bytes:
    return acknowledgement(world.sdk)


def acknowledgement(sdk: SdkClient) -> bytes:
    """The frame of a canister's acknowledgement to a client."""
    content = message_content(
        ClientKey(sdk.identity.principal.raw, sdk.client_nonce),
        2,
        0,
        True,
        encode_service_message(AckMessage(0)),
    )
    return BatchFramer(b"c", b"t").frame(b"key", content)


def slow(world: World, took: float = 2.0) -> World:
    """A client whose calls take so long, and that has sent more than fits."""
    world.receive(payload(world, 1))
    answer_all(world, took)
    for number in range(2, 30):
        if world.connection.reading:
            world.receive(payload(world, number))
    assert not world.connection.reading
    return world


def test_a_keep_alive_that_will_be_late_ends_the_session_with_the_reason_before_the_canister_does() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.session.deliver([ack(world)])
    for _ in range(int(KEEP_ALIVE_SECONDS) - 10):
        world.clock.advance(1)
    assert world.connection.closed == []
    world.clock.advance(9.9)
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.TOO_FAST
    assert reason.startswith("messages come faster than the canister executes them (2")
    assert "the keep-alive comes too late [" in reason


def test_a_keep_alive_in_time_ends_nothing() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.session.deliver([ack(world)])
    answer_all(world, 2.0)
    last = sent(world)[-1]
    args = MessageArgs(world.sdk.identity.principal.raw, world.sdk.client_nonce, last + 1, 0, True, b"alive")
    world.receive(world.sdk.envelope("ws_message", encode_message_args(args), world.now_ns()))
    answer_all(world, 2.0)
    world.clock.advance(2 * KEEP_ALIVE_SECONDS)
    assert world.connection.closed == []
    # and the next round is watched again if there is no room then
    for number in range(last + 2, last + 30):
        if world.connection.reading:
            world.receive(payload(world, number))
    assert not world.connection.reading
    world.session.deliver([ack(world)])
    world.clock.advance(KEEP_ALIVE_SECONDS)
    assert world.connection.closed


def watched(world: World) -> bool:
    assert world.session.stream is not None
    return world.session.stream.watch is not None


@pytest.mark.parametrize("owes", [False, True])
def test_a_client_is_not_watched_any_more_when_its_queue_has_had_room_for_a_while(owes: bool) -> None:
    world = slow(World(relay_queue_time=40.0).open())
    if owes:
        world.session.deliver([ack(world)])
    world.clock.advance(2 * AFTER_WAIT_SECONDS)
    while not world.connection.reading:
        assert watched(world)
        world.network.calls[-1].answer(REPLIED_OK)
        world.clock.advance(1.0)
    room = world.clock.seconds()
    while not world.network.calls[-1].deferred.called:
        world.network.calls[-1].answer(REPLIED_OK)
        world.clock.advance(0.1)
    assert watched(world), "what has waited in the socket may be a keep-alive"
    last = sent(world)[-1]
    world.clock.advance(room + AFTER_WAIT_SECONDS + 1.0 - world.clock.seconds())
    if owes:
        world.receive(payload(world, last + 1))
        answer_all(world)
        assert watched(world)
        args = MessageArgs(world.sdk.identity.principal.raw, world.sdk.client_nonce, last + 2, 0, True, b"alive")
        world.receive(world.sdk.envelope("ws_message", encode_message_args(args), world.now_ns()))
    else:
        world.receive(payload(world, last + 1))
    answer_all(world)
    assert not watched(world)
    world.session.deliver([ack(world)])
    world.clock.advance(2 * KEEP_ALIVE_SECONDS)
    assert world.connection.closed == [], "as of a client whose queue was never full"


def test_the_watch_of_a_client_without_further_messages_ends_with_the_next_acknowledgement() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    answer_all(world, 0.01)
    assert world.connection.reading
    assert watched(world)
    world.clock.advance(2 * AFTER_WAIT_SECONDS)
    world.session.deliver([ack(world)])
    assert not watched(world)
    world.session.left(1000)
    answer_all(world)
    assert world.clock.getDelayedCalls() == []


def test_a_client_whose_queue_is_full_again_and_again_stays_watched() -> None:
    """Its queue has room for moments only, and a keep-alive waits in its socket all the same."""
    world = slow(World(relay_queue_time=10.0).open())
    number = 100
    for _ in range(20):
        world.clock.advance(1.0)
        world.network.calls[-1].answer(REPLIED_OK)
        while world.connection.reading:
            number += 1
            world.receive(payload(world, number))
    assert watched(world)
    world.session.deliver([ack(world)])
    assert world.session.stream is not None
    assert world.session.stream.watch is not None
    assert world.session.stream.watch.due is not None


def test_a_round_that_follows_soon_leaves_no_second_timer() -> None:
    """Each round's look at the keep-alive takes the place of the one before; with the session all are over."""
    world = slow(World(relay_queue_time=10.0).open())
    stream = world.session.stream
    assert stream is not None
    for _ in range(3):
        world.session.deliver([ack(world)])
        assert stream.watch is not None
        stream.watch.executed()
    looks = [call for call in world.clock.getDelayedCalls() if getattr(call.func, "__self__", None) is stream]
    assert len(looks) == 1
    world.session.left(1000)
    assert not [call for call in world.clock.getDelayedCalls() if getattr(call.func, "__self__", None) is stream]


def test_clients_that_are_not_too_fast_are_not_watched() -> None:
    world = World().open()
    world.session.deliver([ack(world)])
    world.clock.advance(2 * KEEP_ALIVE_SECONDS)
    assert world.connection.closed == []


def test_an_envelope_that_expired_behind_others_gets_that_reason() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.receive(payload(world, 100, ttl=-120.0))
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.TOO_FAST
    assert "expired on its way" in reason


def test_an_envelope_that_expires_too_late_did_not_expire_behind_others() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.receive(payload(world, 100, ttl=400.0))
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.EXPIRED
    assert "the envelope expires in 400 s" in reason


def test_a_keep_alive_that_waits_in_the_queue_is_in_time_if_it_will_be_executed_in_time() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.session.deliver([ack(world)])
    world.clock.advance(1.0)
    # room for it, then nothing is executed until the last moment
    for _ in range(3):
        world.network.calls[-1].answer(REPLIED_OK)
    args = MessageArgs(world.sdk.identity.principal.raw, world.sdk.client_nonce, 100, 0, True, b"alive")
    world.receive(world.sdk.envelope("ws_message", encode_message_args(args), world.now_ns()))
    world.clock.advance(KEEP_ALIVE_SECONDS - 2.0)
    assert world.connection.closed == []
    world.clock.advance(2.0)
    ((code, _),) = world.connection.closed
    assert code == CloseCode.TOO_FAST


def test_a_client_that_leaves_is_not_watched_any_more() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.session.deliver([ack(world)])
    world.session.left(1000)
    answer_all(world)
    assert world.methods()[-1] == "ws_close"
    assert world.clock.getDelayedCalls() == []


def traced(world: World, numbers: range) -> int:
    """Bytes that the gateway holds for messages of 50 kB with these numbers."""
    payloads = [payload(world, number, bytes(50_000)) for number in numbers]
    gc.collect()
    tracemalloc.start()
    try:
        for one in payloads:
            world.receive(one)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_waiting_message_takes_the_memory_that_is_counted() -> None:
    world = World().open()
    world.receive(payload(world, 1))
    taken = traced(world, range(2, 32))
    counted = world.context.waiting.octets
    assert counted > 30 * 50_000
    assert taken < 1.2 * counted


def test_a_message_ahead_of_its_turn_takes_its_bytes_once() -> None:
    world = World().open()
    assert traced(world, range(2, 6)) < 1.2 * 4 * 50_000
    assert sent(world) == []
    assert world.context.waiting.octets > 4 * 50_000


@pytest.mark.parametrize("end", ["missing one", "time", "leaves", "reset", "more"])
def test_what_is_ahead_of_its_turn_is_counted_while_it_waits(end: str) -> None:
    world = World().open()
    waiting = world.context.waiting
    world.receive(payload(world, 2, bytes(50_000)))
    world.receive(payload(world, 4, bytes(50_000)))
    assert 100_000 < waiting.octets < 101_000
    if end == "missing one":
        world.receive(payload(world, 3))
        world.receive(payload(world, 1))
        assert 100_000 < waiting.octets < 102_000, "in the relay queue"
    elif end == "time":
        world.clock.advance(HOLD_SECONDS + 0.1)
        assert 50_000 < waiting.octets < 51_000, "one is sent, the other one waits for its outcome"
    elif end == "leaves":
        world.session.left(1000)
    elif end == "reset":
        world.session.canister_reset()
    else:
        world.receive(payload(world, 100))
    answer_all(world)
    assert waiting.octets == 0


def test_what_is_ahead_of_its_turn_leaves_less_room_for_the_queues_of_all() -> None:
    world = World(max_waiting_bytes=1 << 20).open()
    world.receive(payload(world, 1))
    world.context.waiting.octets = (1 << 20) - 60_000
    world.receive(payload(world, 3, bytes(50_000)))
    assert world.connection.reading, "the missing one is to come"
    # behind its number, so it is relayed as it comes, and waits for the first one
    world.receive(payload(world, 1, bytes(20_000)))
    assert not world.connection.reading


def test_where_too_much_waits_one_message_of_a_client_waits_for_the_missing_one() -> None:
    world = World(max_waiting_bytes=1 << 20).open()
    world.context.waiting.octets = 1 << 20
    for number in (2, 1):
        world.receive(payload(world, number))
    answer_all(world)
    for number in (4, 5):
        world.receive(payload(world, number))
    answer_all(world)
    assert sent(world) == [1, 2, 4, 5]
    assert world.context.waiting.octets == 1 << 20
    assert world.context.metrics.relay_out_of_turn.values["missed"] == 1


def test_a_keep_alive_that_waited_in_the_queue_is_known_by_its_end() -> None:
    world = slow(World(relay_queue_time=10.0).open())
    world.session.deliver([ack(world)])
    for _ in range(3):
        world.network.calls[-1].answer(REPLIED_OK)
    args = MessageArgs(world.sdk.identity.principal.raw, world.sdk.client_nonce, 100, 0, True, b"alive")
    world.receive(world.sdk.envelope("ws_message", encode_message_args(args), world.now_ns()))
    assert world.session.relay is not None
    assert world.session.relay.queued > 1
    answer_all(world)
    world.clock.advance(2 * KEEP_ALIVE_SECONDS)
    assert world.connection.closed == []
