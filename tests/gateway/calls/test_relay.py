"""One client's way up, step by step against a network that waits for the test."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from icwsgw.agent.outcome import ACCEPTED, UNDER_WAY, CallOutcome, call_outcome
from icwsgw.core.call_answers import REFUSED_RESUBMISSIONS, RESUBMIT_SECONDS, TRANSIENT_ATTEMPTS
from icwsgw.core.in_flight_limits import MAX_CALLS
from icwsgw.core.messages import ClientEnvelope
from icwsgw.core.network_time import NetworkTime
from icwsgw.errors import (
    AnswerMalformed,
    AnswerTooLarge,
    CanisterRefused,
    ConnectFailed,
    ConnectionLost,
    HttpError,
    IcwsError,
    NotReady,
    RequestTimeout,
)
from icwsgw.gateway.calls.relay import Expired, Relay, RelayOwner
from icwsgw.gateway.interfaces import Context
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from tests.support.fake_network import CANISTER, REPLIED_OK, FakeNetwork, envelope, make_context, rejected, replied_err


class Owner(RelayOwner):
    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[Any] = []

    def relayed(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        self.events.append((envelope.body, outcome))

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        self.events.append((envelope.body, error))

    def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        self.events.append((envelope.body, "unknown", error))

    def relay_full(self) -> None:
        self.events.append("full")

    def relay_drained(self) -> None:
        self.events.append("drained")


def make(**options: Any) -> tuple[Relay, Owner, FakeNetwork, Clock]:
    context, network, clock = make_context(**options)
    owner = Owner()
    return Relay(context, CANISTER, owner), owner, network, clock


def opened(**options: Any) -> tuple[Relay, Owner, FakeNetwork, Clock]:
    relay, owner, network, clock = make(**options)
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(REPLIED_OK)
    relay.release()
    owner.events.clear()
    network.calls.clear()
    return relay, owner, network, clock


def bodies(network: FakeNetwork) -> list[bytes]:
    return [call.body for call in network.calls]


def test_ws_open_is_waited_for_and_messages_wait_at_the_gate() -> None:
    relay, owner, network, _ = make()
    relay.open(envelope(0, "ws_open"))
    relay.send(envelope(1))
    relay.send(envelope(2))
    assert [call.wait for call in network.calls] == [True]
    network.calls[0].answer(REPLIED_OK)
    assert owner.events == [(b"0", REPLIED_OK)]
    assert bodies(network) == [b"0"]
    relay.release()
    assert bodies(network) == [b"0", b"1"]
    network.calls[1].answer()
    assert bodies(network) == [b"0", b"1", b"2"]


def test_it_is_idle_when_nothing_is_under_way_and_nothing_waits() -> None:
    relay, _, network, _ = opened()
    assert relay.idle
    relay.send(envelope(1))
    assert not relay.idle
    relay.send(envelope(2))
    network.calls[0].answer()
    assert not relay.idle, "the second one is under way"
    network.calls[1].answer()
    assert relay.idle


@pytest.mark.parametrize(("order", "waits"), [("accepted", False), ("executed", True)])
def test_one_call_at_a_time_in_order(order: str, waits: bool) -> None:
    relay, _, network, _ = opened(relay_order=order)
    for number in range(5):
        relay.send(envelope(number))
    for number in range(5):
        assert bodies(network) == [b"%d" % n for n in range(number + 1)]
        assert network.calls[number].wait is waits
        network.calls[number].answer()
    assert relay.idle


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (ConnectionLost("lost"), [0.05, 0.1, 0.2, 0.4]),
        (RequestTimeout("late"), [0.05, 0.1, 0.2, 0.4]),
        (HttpError(503), [0.05, 0.1, 0.2, 0.4]),
        (HttpError(429, "", 3.0), [3.0, 3.0, 3.0, 3.0]),
        (NotReady("no root key"), [0.05, 0.1, 0.2, 0.4]),
    ],
)
def test_a_lost_call_is_sent_again_unchanged_and_the_next_waits(error: IcwsError, pauses: list[float]) -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    relay.send(envelope(2))
    for pause in pauses:
        network.calls[-1].answer(error)
        sent = len(network.calls)
        clock.advance(pause - 0.01)
        assert len(network.calls) == sent
        clock.advance(0.02)
        assert len(network.calls) == sent + 1
    network.calls[-1].answer()
    assert bodies(network) == [b"1"] * 5 + [b"2"]
    assert len(owner.events) == 1


def test_trying_again_ends_with_the_envelopes_life() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1, ttl=20))
    relay.send(envelope(2))
    while not owner.events:
        network.calls[-1].answer(ConnectFailed("down"))
        clock.advance(5)
    body, error = owner.events[0]
    assert body == b"1"
    assert isinstance(error, Expired)
    assert clock.seconds() <= 25
    assert bodies(network)[-1] == b"2"


@pytest.mark.parametrize("error", [HttpError(400, "malformed"), HttpError(413), IcwsError("odd")])
def test_a_refusal_is_final_and_reported(error: IcwsError) -> None:
    relay, owner, network, _ = opened()
    relay.send(envelope(1))
    relay.send(envelope(2))
    network.calls[0].answer(error)
    assert owner.events == [(b"1", error)]
    assert bodies(network) == [b"1", b"2"]


UNANSWERED = [
    ConnectionLost("lost"),
    RequestTimeout("late"),
    AnswerMalformed("garbage"),
    HttpError(500),
    HttpError(502),
    HttpError(504),
]
UNTAKEN = [ConnectFailed("down"), NotReady("no root key"), HttpError(429), HttpError(408)]


@pytest.mark.parametrize("refusal", [HttpError(400, "expired"), HttpError(403), rejected(5, "stopped")])
@pytest.mark.parametrize("lost", UNANSWERED, ids=repr)
def test_a_refusal_after_an_attempt_whose_answer_was_lost_proves_nothing(lost: IcwsError, refusal: Any) -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    relay.send(envelope(2))
    network.calls[0].answer(lost)
    clock.advance(5)
    network.calls[1].answer(HttpError(429))
    clock.advance(5)
    # it is read a few times more: every sender of the envelope gets the certificate
    for number in range(2, 2 + REFUSED_RESUBMISSIONS):
        assert owner.events == []
        network.calls[number].answer(refusal)
        clock.advance(RESUBMIT_SECONDS)
    ((body, what, error),) = owner.events
    assert (body, what) == (b"1", "unknown")
    assert error in (refusal, getattr(refusal, "reject", None))
    assert bodies(network) == [*[b"1"] * (2 + REFUSED_RESUBMISSIONS), b"2"]
    # the doubt was about that one alone
    network.calls[-1].answer(HttpError(400))
    assert len(owner.events[1]) == 2


RESENT_REJECT = call_outcome(cbor.dumps({"reject_code": 5, "reject_message": "stopped"}), resent=True)


@pytest.mark.parametrize("refusal", [HttpError(400, "no", resent=True), RESENT_REJECT], ids=repr)
def test_a_refusal_of_what_the_transport_has_sent_twice_proves_nothing(refusal: Any) -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    network.calls[0].answer(refusal)
    clock.advance(RESUBMIT_SECONDS * 2)
    assert bodies(network) == [b"1", b"1"]
    network.calls[1].answer(REPLIED_OK)
    assert owner.events == [(b"1", REPLIED_OK)]


@pytest.mark.parametrize("refusal", [HttpError(403), rejected(5, "stopped")])
def test_a_refusal_of_a_repetition_does_not_hide_the_end_that_the_next_one_brings(refusal: Any) -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    network.calls[0].answer(ConnectionLost("lost"))
    clock.advance(5)
    network.calls[1].answer(refusal)
    clock.advance(RESUBMIT_SECONDS)
    network.calls[2].answer(REPLIED_OK)
    assert owner.events == [(b"1", REPLIED_OK)]


def test_a_call_under_way_is_posted_again_about_once_a_second_and_the_next_waits() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    relay.send(envelope(2))
    for _ in range(30):
        network.calls[-1].answer(UNDER_WAY)
        sent = len(network.calls)
        clock.advance(0.7)
        assert len(network.calls) == sent
        clock.advance(0.3)
        assert len(network.calls) == sent + 1
    assert bodies(network) == [b"1"] * 31
    assert owner.events == []
    network.calls[-1].answer(REPLIED_OK)
    assert owner.events == [(b"1", REPLIED_OK)]
    assert bodies(network)[-1] == b"2"


def test_a_lost_answer_is_found_again() -> None:
    """What would have been unknown is not: the repetition brings 202 ("Duplicate request"), then the certificate."""
    context, network, clock = make_context()
    owner = Owner()
    relay = Relay(context, CANISTER, owner)
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(ConnectionLost("lost"))
    clock.advance(1)
    network.calls[1].answer(UNDER_WAY)
    clock.advance(RESUBMIT_SECONDS)
    network.calls[2].answer(REPLIED_OK)
    assert owner.events == [(b"0", REPLIED_OK)]
    assert outcomes(context) == {"replied": 1}
    assert context.metrics.relay_reposts.value == 1


def test_a_call_under_way_whose_envelope_expires_is_unknown() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1, ttl=20))
    relay.send(envelope(2))
    while not owner.events:
        network.calls[-1].answer(UNDER_WAY)
        clock.advance(RESUBMIT_SECONDS)
    ((body, what, error),) = owner.events
    assert (body, what, type(error)) == (b"1", "unknown", Expired)
    assert len(network.calls) <= 30
    assert bodies(network)[-1] == b"2"


def test_a_ws_open_that_the_network_has_is_not_given_up_when_its_client_leaves() -> None:
    relay, _, network, clock = make()
    done: list[str] = []
    relay.open(envelope(0, "ws_open"))
    relay.send(envelope(1))
    network.calls[0].answer(UNDER_WAY)
    relay.finish(lambda: done.append("done"))
    assert done == []
    clock.advance(RESUBMIT_SECONDS)
    network.calls[1].answer(REPLIED_OK)
    network.calls[2].answer(REPLIED_OK)
    assert (done, bodies(network)) == (["done"], [b"0", b"0", b"1"])
    assert clock.getDelayedCalls() == []


def test_a_ws_open_whose_end_does_not_come_costs_few_calls() -> None:
    """An unauthenticated client names a canister that never answers, and leaves: its ws_open is valid for minutes."""
    relay, _, network, clock = make()
    relay.open(envelope(0, "ws_open", ttl=240))
    network.calls[0].answer(UNDER_WAY)
    relay.finish(lambda: None)
    for _ in range(2400):
        clock.advance(0.1)
        if not network.calls[-1].deferred.called:
            network.calls[-1].answer(UNDER_WAY)
    assert 20 <= len(network.calls) <= 40
    assert set(bodies(network)) == {b"0"}


def test_what_the_canister_answers_with_err_is_no_success() -> None:
    context, network, _ = make_context()
    owner = Owner()
    relay = Relay(context, CANISTER, owner)
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(REPLIED_OK)
    relay.release()
    relay.send(envelope(1))
    network.calls[1].answer(replied_err("wrong number"))
    assert isinstance(owner.events[1][1], CanisterRefused)
    assert outcomes(context) == {"replied": 1, "canister_refused": 1}


def test_what_waits_is_bounded_in_time() -> None:
    relay, owner, network, clock = make(relay_queue_time=10.0)
    relay.open(envelope(0, "ws_open"))
    clock.advance(2.0)
    network.calls[0].answer(REPLIED_OK)
    relay.release()
    owner.events.clear()
    for number in range(1, 7):
        assert owner.events == []
        relay.send(envelope(number))
    assert owner.events == ["full"]
    for _ in range(3):
        clock.advance(2.0)
        network.calls[-1].answer(REPLIED_OK)
    assert [event for event in owner.events if isinstance(event, str)] == ["full", "drained"]
    assert relay.queued == 2


@pytest.mark.parametrize("untaken", UNTAKEN, ids=repr)
def test_a_refusal_after_attempts_that_were_not_taken_is_one(untaken: IcwsError) -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    network.calls[0].answer(untaken)
    clock.advance(5)
    network.calls[1].answer(HttpError(400))
    assert [type(error) for _, error in owner.events] == [HttpError]


def test_a_certified_reject_is_the_end_whatever_was_lost_before() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    network.calls[0].answer(ConnectionLost("lost"))
    clock.advance(5)
    outcome = rejected(5, "trapped", certified=True)
    network.calls[1].answer(outcome)
    assert owner.events == [(b"1", outcome)]


def test_an_envelope_that_expires_after_a_lost_answer_is_not_known_to_be_undelivered() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1, ttl=20))
    network.calls[0].answer(ConnectionLost("lost"))
    while not owner.events:
        clock.advance(5)
        if not owner.events:
            network.calls[-1].answer(ConnectFailed("down"))
    assert owner.events[0][1] == "unknown"
    assert isinstance(owner.events[0][2], Expired)


def test_an_envelope_that_will_have_expired_when_it_may_be_sent_again_is_given_up_at_once() -> None:
    relay, owner, network, _ = opened()
    relay.send(envelope(1, ttl=20))
    relay.send(envelope(2))
    network.calls[0].answer(HttpError(429, "", 30.0))
    ((body, error),) = owner.events
    assert body == b"1"
    assert isinstance(error, Expired)
    assert "30 s" in str(error)
    assert bodies(network) == [b"1", b"2"]


def test_the_jitter_of_a_pause_does_not_let_an_envelope_expire() -> None:
    context, network, clock = make_context()
    object.__setattr__(context, "jitter", lambda: 0.999)
    relay = Relay(context, CANISTER, Owner())
    relay.open(envelope(1, "ws_open", ttl=21))
    network.calls[0].answer(HttpError(429, "", 20.0))
    clock.pump([0.1] * 202)
    assert len(network.calls) == 2


def test_an_envelope_is_not_tried_for_longer_than_any_may_live_whatever_the_time_is() -> None:
    context, network, clock = make_context()
    network.time = NetworkTime()
    relay, owner = Relay(context, CANISTER, ended := Owner()), ended
    relay.open(envelope(1, "ws_open", ttl=-3600))
    while not owner.events:
        assert clock.seconds() < 400
        if not network.calls[-1].deferred.called:
            network.calls[-1].answer(ConnectFailed("down"))
        clock.advance(0.5)
    assert clock.seconds() > 330
    assert isinstance(owner.events[0][1], Expired)


def test_an_answer_that_is_too_long_was_given_to_a_call_that_was_taken() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    for _ in range(REFUSED_RESUBMISSIONS):
        network.calls[-1].answer(AnswerTooLarge("4 MB"))
        clock.advance(RESUBMIT_SECONDS)
    assert owner.events[0][1] == "unknown"


def test_a_fault_of_ours_is_reported_without_internals() -> None:
    relay, owner, network, _ = opened()
    relay.send(envelope(1))
    network.calls[0].answer(ZeroDivisionError("private"))
    ((_, error),) = owner.events
    assert str(error) == "internal error"


def test_transient_rejects_are_tried_again_but_not_for_ever() -> None:
    relay, owner, network, clock = opened()
    relay.send(envelope(1))
    for _ in range(TRANSIENT_ATTEMPTS - 1):
        network.calls[-1].answer(rejected(2, "busy"))
        assert owner.events == []
        clock.advance(5)
    network.calls[-1].answer(rejected(2, "busy"))
    assert owner.events[0][1].message == "busy"
    assert len(network.calls) == TRANSIENT_ATTEMPTS


def test_a_full_queue_pushes_back_by_count_and_by_bytes() -> None:
    for options, size in [
        ({"relay_queue_messages": 10}, 0),
        ({"relay_queue_bytes": 3 << 20, "max_message_bytes": 1 << 20}, 400_000),
    ]:
        relay, owner, network, _ = opened(**options)
        for number in range(11):
            relay.send(envelope(number, size=size))
        assert owner.events == ["full"]
        while not relay.idle:
            network.calls[-1].answer()
        assert [event for event in owner.events if isinstance(event, str)] == ["full", "drained"]
        assert [body.rstrip(b"\x00") for body in bodies(network)] == [b"%d" % number for number in range(11)]


def test_when_all_wait_too_much_each_may_have_one_waiting() -> None:
    first, owner, network, _ = opened(max_waiting_bytes=1 << 20)
    other_owner = Owner()
    other = Relay(first._context, CANISTER, other_owner)
    other.open(envelope(0, "ws_open"))
    other.release()
    network.calls[-1].answer(REPLIED_OK)
    waiting = first._context.waiting
    for number in range(4):
        first.send(envelope(number, size=400_000))
    assert waiting.octets > 1 << 20
    assert owner.events[-1] == "full"
    other.send(envelope(10))
    assert "full" not in other_owner.events
    other.send(envelope(11))
    assert other_owner.events[-1] == "full"
    calls = len(network.calls)
    network.calls[calls - 1].answer()
    assert other_owner.events[-2:].count("drained") == 1
    other.send(envelope(12))
    assert other_owner.events[-1] == "full"
    first.drop()
    other.drop()
    assert waiting.octets == 0


def test_finish_lets_everything_leave_and_then_says_so() -> None:
    relay, _, network, _ = make()
    done: list[str] = []
    relay.open(envelope(0, "ws_open"))
    relay.send(envelope(1))
    relay.send(envelope(2))
    relay.finish(lambda: done.append("done"))
    for number in range(3):
        assert done == []
        network.calls[number].answer(REPLIED_OK)
    assert done == ["done"]
    assert bodies(network) == [b"0", b"1", b"2"]


def test_finish_of_an_idle_relay_is_done_at_once() -> None:
    relay, *_ = opened()
    done: list[str] = []
    relay.finish(lambda: done.append("done"))
    assert done == ["done"]


def stuck(**options: Any) -> tuple[list[Relay], FakeNetwork, Clock, Any]:
    """Relays of a canister that has all the calls it may, which hang; none is left for one more."""
    context, network, clock = make_context(**options)
    call_slots = context.calls
    relays: list[Any] = []
    while len(network.calls) == len(relays):
        relays.append(Relay(context, CANISTER, Owner()))
        relays[-1].open(envelope(len(relays) - 1, "ws_open"))
        assert len(relays) <= call_slots.limit
    return relays, network, clock, context


def test_a_canister_whose_calls_hang_leaves_room_for_others() -> None:
    _relays, network, _, context = stuck()
    assert len(network.calls) == MAX_CALLS // 2
    network.calls.clear()
    owner = Owner()
    other = Relay(context, Principal(b"\x08\x01\x01"), owner)
    other.open(envelope(9999, "ws_open"))
    network.calls[0].answer(REPLIED_OK)
    assert len(owner.events) == 1


def test_a_waiting_call_gets_the_slot_of_a_call_that_ends_in_any_way() -> None:
    for end in ("answer", "error", "drop"):
        relays, network, _, context = stuck()
        if end == "answer":
            network.calls[0].answer(REPLIED_OK)
        elif end == "error":
            network.calls[0].answer(HttpError(400))
        else:
            relays[0].drop()
        assert bodies(network)[-1] == b"%d" % (len(relays) - 1)
        for relay in relays:
            relay.drop()
        assert context.calls.busy == 0


def test_a_place_that_comes_too_late_is_given_back() -> None:
    relays, network, clock, context = stuck()
    owner = Owner()
    late, later = Relay(context, CANISTER, owner), Relay(context, CANISTER, Owner())
    late.open(envelope(1, "ws_open", ttl=20))
    later.open(envelope(2, "ws_open"))
    relays[-1].drop()
    clock.advance(30)
    network.calls[0].answer(REPLIED_OK)
    assert isinstance(owner.events[0][1], Expired)
    assert bodies(network)[-1] == b"2"


def test_a_ws_open_that_waits_for_a_place_is_not_sent_when_its_client_has_left() -> None:
    relays, network, _, context = stuck()
    done: list[str] = []
    relays[-1].finish(lambda: done.append("done"))
    assert done == ["done"]
    sent = len(network.calls)
    network.calls[0].answer(REPLIED_OK)
    assert len(network.calls) == sent
    for relay in relays:
        relay.drop()
    assert (context.calls.busy, len(context.calls.line)) == (0, 0)


def test_drop_forgets_all_and_leaves_no_timer() -> None:
    relay, owner, network, clock = opened()
    done: list[str] = []
    relay.send(envelope(1))
    relay.send(envelope(2))
    relay.finish(lambda: done.append("done"))
    relay.drop()
    assert network.calls[0].cancelled
    assert relay.idle
    relay.send(envelope(3))
    network.calls[-1].answer(ConnectionLost("lost"))
    relay.drop()
    assert clock.getDelayedCalls() == []
    assert (owner.events, done) == ([], [])


@given(st.lists(st.sampled_from(["send", "ok", "lost", "busy", "refused", "wait"]), max_size=80))
def test_order_holds_whatever_happens(script: list[str]) -> None:
    relay, _, network, clock = opened(relay_queue_messages=5)
    sent = 0
    answered = 0
    for word in script:
        if word == "send":
            relay.send(envelope(sent))
            sent += 1
        elif word == "wait":
            clock.advance(3)
        elif len(network.calls) > answered:
            answered = len(network.calls)
            network.calls[-1].answer(
                {"ok": REPLIED_OK, "lost": ConnectionLost("x"), "busy": HttpError(429), "refused": HttpError(400)}[word]
            )
    while not relay.idle:
        if len(network.calls) > answered:
            answered = len(network.calls)
            network.calls[-1].answer()
        else:
            clock.advance(1)
    first_times = list(dict.fromkeys(bodies(network)))
    assert first_times == [b"%d" % number for number in range(sent)]


def test_envelopes_that_expire_together_end_one_by_one_however_many() -> None:
    relay, owner, network, clock = opened(relay_queue_messages=5000)
    done: list[str] = []
    relay.send(envelope(0, ttl=20))
    for number in range(1, 3000):
        relay.send(envelope(number, ttl=1))
    clock.advance(4)
    relay.finish(lambda: done.append("done"))
    network.calls[0].answer()
    assert done == ["done"]
    assert [body for body, _ in owner.events] == [b"%d" % number for number in range(3000)]
    assert all(isinstance(error, Expired) for _, error in owner.events[1:])


def test_calls_that_end_at_once_do_not_pile_up() -> None:
    relay, owner, network, _ = opened(relay_queue_messages=5000)
    relay.send(envelope(0))
    for number in range(1, 3000):
        relay.send(envelope(number))
    network.call = lambda *_, **__: succeed(ACCEPTED)
    network.calls[0].answer()
    assert relay.idle
    assert [body for body, _ in owner.events] == [b"%d" % number for number in range(3000)]


def test_dropping_from_within_a_refusal_ends_it_all() -> None:
    class Dropping(Owner):
        def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
            super().relay_failed(envelope, error)
            relay.drop()

    context, network, clock = make_context()
    owner = Dropping()
    relay = Relay(context, CANISTER, owner)
    relay.open(envelope(0, "ws_open"))
    relay.release()
    for number in range(1, 5):
        relay.send(envelope(number))
    network.calls[0].answer(HttpError(400))
    assert [body for body, _ in owner.events] == [b"0"]
    assert (relay.idle, len(network.calls), clock.getDelayedCalls()) == (True, 1, [])


@given(st.lists(st.sampled_from([0, 0, 0, 20_000, 1 << 16]), min_size=50, max_size=200))
def test_what_is_queued_stays_near_its_bound_whatever_the_sizes(sizes: list[int]) -> None:
    """A client that sends all the while it is read, however its small and large messages follow each other."""
    relay, owner, network, _ = opened(relay_queue_messages=20, relay_queue_bytes=2 << 16, max_message_bytes=1 << 16)
    sent = answered = 0
    while answered < len(sizes):
        while sent < len(sizes) and [event for event in owner.events if isinstance(event, str)][-1:] != ["full"]:
            relay.send(envelope(sent, size=sizes[sent]))
            sent += 1
        waiting = sizes[answered + 1 : sent]
        assert len(waiting) <= 20
        assert sum(waiting) <= (2 << 16) + (1 << 16)
        network.calls[answered].answer()
        answered += 1
    assert relay.idle


def test_retry_after_nothing_is_no_invitation_to_hammer() -> None:
    relay, _, network, clock = opened()
    relay.send(envelope(1))
    for _ in range(600):
        if not network.calls[-1].deferred.called:
            network.calls[-1].answer(HttpError(429, "", 0.0))
        clock.advance(0.1)
    assert len(network.calls) < 40


def test_a_call_that_waited_for_its_place_left_when_it_got_it() -> None:
    _, network, clock, context = stuck()
    late = Relay(context, CANISTER, Owner())
    late.open(envelope(1, "ws_open"))
    clock.advance(7.0)
    # the last of the relays that are stuck waits before it
    network.calls[0].answer(REPLIED_OK)
    network.calls[1].answer(REPLIED_OK)
    assert bodies(network)[-1] == b"1"
    assert late.sent == 7.0


def outcomes(context: Context) -> dict[str, float]:
    return {label: count for label, count in context.metrics.relays.values.items() if count}


def test_what_is_dropped_is_counted() -> None:
    context, network, clock = make_context()
    relay = Relay(context, CANISTER, Owner())
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(REPLIED_OK)
    relay.release()
    for number in range(1, 4):
        relay.send(envelope(number))
    relay.drop()
    assert outcomes(context) == {"replied": 1, "abandoned": 3}
    relay.drop()
    assert outcomes(context) == {"replied": 1, "abandoned": 3}
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("answer", "sides"),
    [
        (REPLIED_OK, {}),
        (replied_err("no"), {"canister": 1}),
        (HttpError(400, "no such canister", error_cause="canister_not_found"), {"canister": 1}),
        (HttpError(403, "banned"), {"network": 1}),
    ],
)
def test_who_has_caused_a_failure_is_counted(answer: Any, sides: dict[str, int]) -> None:
    context, network, _ = make_context()
    relay = Relay(context, CANISTER, Owner())
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(answer)
    assert {side: count for side, count in context.metrics.relay_failures.values.items() if count} == sides


@pytest.mark.parametrize("opened", [True, False])
def test_a_ws_open_that_is_not_tried_again_is_counted_with_what_goes_with_it(opened: bool) -> None:
    context, network, _ = make_context()
    relay = Relay(context, CANISTER, Owner())
    relay.open(envelope(0, "ws_open"))
    relay.send(envelope(1))
    relay.send(envelope(2))
    network.calls[0].answer(ConnectionLost("lost"))
    if opened:
        # the canister has spoken, so it was executed
        relay.release()
        network.calls[1].answer(REPLIED_OK)
        network.calls[2].answer(REPLIED_OK)
        assert outcomes(context) == {"unknown": 1, "replied": 2}
    else:
        relay.finish(lambda: None)
        assert outcomes(context) == {"abandoned": 3}


def test_how_long_a_call_takes_is_counted_from_its_turn_however_often_it_is_posted() -> None:
    relay, _, network, clock = opened()
    relay.send(envelope(1))
    for _ in range(5):
        network.calls[-1].answer(UNDER_WAY)
        clock.advance(2 * RESUBMIT_SECONDS)
    network.calls[-1].answer(REPLIED_OK)
    assert relay.relay_queue.took == pytest.approx(10 * RESUBMIT_SECONDS)
