"""Blocks: who makes them, what is in them, and from when on it is seen."""

from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.consensus import MAX_LAG, BlockTiming
from icwsgw.ic import cbor, ws
from icwsgw.ic.certificate import request_status
from icwsgw.ic.hashtree import ABSENT
from tests.support.devnet import GATEWAY, START_NS, Net, content_of, identity, pending, result_of

ALICE = identity(1)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)
POLL = ws.encode_get_messages(0)


def message(number: int) -> bytes:
    return ws.encode_message_args(ws.MessageArgs(ALICE.principal.raw, 0, number, START_NS, False, b"%d" % number))


def opened(pace: BlockTiming, nodes: int = 13) -> Net:
    """A network with Alice's session, whose block is certified everywhere."""
    net = Net(pace=pace, nodes=nodes)
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    net.advance((MAX_LAG + 3) * pace.interval, pace.interval)
    return net


def test_a_call_is_executed_by_a_block_and_seen_with_the_next() -> None:
    net = Net(pace=BlockTiming(1.0))
    request = net.call_request(ALICE, "ws_open", OPEN)
    answer = net.submit(request)
    net.advance(0.5)
    assert net.replica.stats["calls_executed"] == 0
    net.advance(0.5)
    assert net.replica.stats["calls_executed"] == 1
    assert pending(answer)
    assert net.poll().messages == []
    certificate = net.read_state(ALICE, [(b"request_status", request.request_id)])
    assert certificate.lookup((b"request_status", request.request_id, b"status")) is ABSENT
    net.advance(1)
    assert net.outcome(result_of(answer), request) == ws.encode_result_ok()
    batch = net.poll()
    assert len(batch.messages) == 1
    # The state is that of the block, and so is its time.
    assert net.verified(batch.cert).time_ns == START_NS + 10**9


def test_order_is_the_order_of_arrival_at_the_maker() -> None:
    kept = 0
    for seed in range(20):
        net = opened(BlockTiming(0.4, 0.2))
        net.replica.ingress._subnets[net.replica.state_of(ECHO_ID).subnet.id]._random.seed(seed)
        for number in range(1, 11):
            net.submit(net.call_request(ALICE, "ws_message", message(number)), version="v2")
        net.advance(4, 0.1)
        received = [content_of(each) for each in net.poll(1).messages]
        kept += received == [b"%d" % number for number in range(1, 11)]
        assert kept or ws.CloseMessage("WrongSequenceNumber") in received
    assert kept == 0


def test_without_gossip_order_is_kept() -> None:
    net = opened(BlockTiming(0.4))
    for number in range(1, 11):
        net.submit(net.call_request(ALICE, "ws_message", message(number)), version="v2")
        net.advance(0.01)
    net.advance(2, 0.4)
    assert net.received(1) == [b"%d" % number for number in range(1, 11)]


def test_a_call_waits_until_it_has_come_to_a_maker() -> None:
    net = Net(pace=BlockTiming(0.4, 4.0), nodes=13)
    requests = [net.call_request(identity(number), "ws_open", OPEN) for number in range(1, 11)]
    answers = [net.submit(request) for request in requests]
    net.advance(6, 0.1)
    blocks = set()
    for request, answer in zip(requests, answers, strict=True):
        assert net.outcome(result_of(answer), request) == ws.encode_result_ok()
        call = net.replica.ingress.get(request.request_id)
        assert call is not None
        blocks.add(call.block)
    assert len(blocks) > 3


def test_a_call_again_while_it_is_under_way() -> None:
    net = Net(pace=BlockTiming(1.0, 0.5), nodes=2)
    request = net.call_request(ALICE, "ws_open", OPEN)
    first = net.submit(request)
    again = [net.submit(request) for _ in range(8)]
    waiting = [first, *(each for each in again if pending(each))]
    at_once = [result_of(each) for each in again if not pending(each)]
    for _, headers, _ in at_once:
        del headers["x-request-id"]
    # The node that has it already answers at once, the other waits like the first.
    assert len(at_once) == 7
    words = b"Duplicate request. Message is already being tracked and executed."
    assert set(map(repr, at_once)) == {repr((202, {"Content-Type": "text/plain; charset=utf-8"}, words))}
    net.advance(3, 0.5)
    assert [net.outcome(result_of(each), request) for each in waiting] == [ws.encode_result_ok()] * 2
    assert net.replica.stats["calls_executed"] == 1
    # What is certified is answered at once, by the same certificate.
    assert net.outcome(result_of(net.submit(request)), request) == ws.encode_result_ok()


def test_what_has_expired_is_in_no_block() -> None:
    net = Net(pace=BlockTiming(2.0))
    request = net.call_request(ALICE, "ws_open", OPEN, ttl=1)
    answer = net.submit(request)
    net.advance(10, 1)
    assert result_of(answer)[0] == 202
    assert net.replica.stats["calls_executed"] == 0
    net.advance(80, 1)
    net.submit(net.call_request(ALICE, "ws_open", OPEN))
    assert len(net.replica.ingress) == 1


def test_nodes_are_behind_and_never_go_back() -> None:
    net = opened(BlockTiming(0.4, 0.0, 10))
    state = net.replica.state_of(ECHO_ID)
    ingress = net.replica.ingress
    before = [0] * 13
    distances = set()
    for _ in range(300):
        net.advance(0.4)
        blocks = [ingress.certified(state, node) for node in state.subnet.nodes]
        heights = [block.height for block in blocks if block is not None]
        assert all(now >= then for now, then in zip(heights, before, strict=True))
        before = heights
        newest = ingress.height(state)
        assert heights[0] == newest
        distances |= {newest - height for height in heights}
    assert distances == set(range(11))


def test_a_node_that_is_behind_answers_from_its_own_state() -> None:
    net = opened(BlockTiming(1.0, 0.0, 20))
    for number in range(1, 31):
        net.submit(net.call_request(ALICE, "ws_message", message(number)), version="v2")
        net.advance(1)
    seen = set()
    for _ in range(60):
        batch = net.poll(1)
        seen.add(len(batch.messages))
        if batch.messages:
            age = net.now_ns() - net.verified(batch.cert).time_ns
            assert len(batch.messages) == 30 - age // 10**9
    assert len(seen) > 3
    assert max(seen) == 29


def test_a_query_answer_bears_the_time_of_the_state() -> None:
    net = opened(BlockTiming(1.0))
    net.advance(0.75)
    fields = cbor.loads(result_of(net.ask(GATEWAY, "ws_get_messages", POLL))[2])
    assert fields["signatures"][0]["timestamp"] == net.now_ns() - 1_750_000_000


def test_subnets_make_their_own_blocks() -> None:
    net = opened(BlockTiming(1.0))
    net.submit(net.call_request(ALICE, "ws_open", OPEN, CHAT_ID), CHAT_ID, "v2")
    net.advance(2, 1.0)
    assert len(net.poll(canister=CHAT_ID).messages) == 2


def test_blocks_can_be_switched_on_and_off() -> None:
    net = Net()
    net.open(ALICE)
    net.replica.set_pace(BlockTiming(1.0))
    request = net.call_request(ALICE, "ws_message", message(1))
    answer = net.submit(request)
    assert pending(answer)
    assert len(net.poll().messages) == 1
    net.replica.set_pace(BlockTiming())
    assert net.outcome(result_of(answer), request) == ws.encode_result_ok()
    assert net.received(1) == [b"1"]
    status = request_status(net.read_state(ALICE, [(b"request_status", request.request_id)]), request.request_id)
    assert status.status == "replied"


def test_the_same_seed_gives_the_same_order() -> None:
    def run() -> list[object]:
        net = opened(BlockTiming(0.4, 0.2, 5))
        for number in range(1, 11):
            net.submit(net.call_request(ALICE, "ws_message", message(number)), version="v2")
        net.advance(4, 0.1)
        return [content_of(each) for each in net.poll(1).messages]

    assert run() == run()


def test_closing_leaves_no_timer() -> None:
    net = Net(pace=BlockTiming(0.4, 0.2))
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    net.advance(1, 0.1)
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


@pytest.mark.parametrize("values", [(-1, 0, 0), (1, -1, 0), (1, 1, -1), (1, 1, MAX_LAG + 1)])
def test_paces_that_are_none(values: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        BlockTiming(*values)
