from __future__ import annotations

from icwsgw.core.call_slots import CallSlots
from icwsgw.gateway.polling.poll_requests import MIN_LEFT_NS, InFlightPoll, PollRequests
from icwsgw.ic.envelope import verify_envelope
from icwsgw.ic.ws import decode_get_args
from tests.support.fake_network import CANISTER, IDENTITY, NOW_NS


def test_a_request_is_signed_once_and_valid_whenever_it_is_given_out() -> None:
    requests = PollRequests(IDENTITY, CANISTER)
    now = NOW_NS
    bodies = set()
    for _ in range(600):
        request = requests.get(7, now)
        verified = verify_envelope(request.body, now)
        assert decode_get_args(verified.content["arg"]) == 7
        assert verified.content["method_name"] == "ws_get_messages"
        assert verified.sender == IDENTITY.principal
        assert request.ingress_expiry - now > MIN_LEFT_NS
        bodies.add(request.body)
        now += 1_000_000_000
    assert len(bodies) < 10


def test_the_cursor_and_the_probe_are_kept_and_no_more() -> None:
    requests = PollRequests(IDENTITY, CANISTER)
    first, second = requests.get(1, NOW_NS), requests.get(2, NOW_NS)
    assert requests.get(1, NOW_NS) is first
    assert requests.get(2, NOW_NS) is second
    requests.get(3, NOW_NS)
    assert requests.get(2, NOW_NS) is second
    assert requests.get(1, NOW_NS) is not first


def test_a_query_takes_one_slot_and_gives_it_back_once() -> None:
    slots = CallSlots(10)
    slot_queue, other = slots.slot_queue("a"), slots.slot_queue("b")
    asks = [InFlightPoll(number, 1.0, None) for number in range(3)]
    for ask in asks:
        ask.take(slot_queue)
    other.take()
    for left, ask in zip((2, 1, 0), asks, strict=True):
        for _ in range(2):
            ask.leave()
            assert (slot_queue.busy, slots.busy) == (left, left + 1)


def test_a_request_that_a_wrong_clock_has_signed_is_not_used_when_the_clock_is_right() -> None:
    requests = PollRequests(IDENTITY, CANISTER)
    for wrong in (-600, 600):
        requests.get(7, NOW_NS + wrong * 1_000_000_000)
        request = requests.get(7, NOW_NS)
        verify_envelope(request.body, NOW_NS)
        assert requests.get(7, NOW_NS) is request
