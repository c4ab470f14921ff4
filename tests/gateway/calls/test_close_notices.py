from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.agent.outcome import CallOutcome, OutcomeKind
from icwsgw.core.close_notice import MAX_RETRY_SECONDS, OBSOLETE_SECONDS
from icwsgw.core.in_flight_limits import MAX_CLOSES
from icwsgw.errors import CertificateInvalid, ConnectionLost, HttpError
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.ic.envelope import verify_envelope
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import decode_close_args
from tests.support.fake_network import (
    CANISTER,
    IDENTITY,
    NOW_NS,
    REPLIED_OK,
    make_context,
    rejected,
    replied_err,
)

KEY = (b"\x02" * 29, 77)


def test_a_signed_ws_close_notifies_the_canister() -> None:
    context, network, _ = make_context()
    done: list[int] = []
    close_notices = CloseNotices(context)
    close_notices.enqueue(CANISTER, 0, KEY, lambda: done.append(1))
    (call,) = network.calls
    verified = verify_envelope(call.body, NOW_NS)
    assert (verified.sender, verified.content["method_name"]) == (IDENTITY.principal, "ws_close")
    assert decode_close_args(verified.content["arg"]) == KEY
    assert call.wait
    assert (done, len(close_notices)) == ([], 1)
    call.answer(REPLIED_OK)
    assert (done, len(close_notices)) == ([1], 0)
    assert context.metrics.ws_closes.values["done"] == 1


def test_a_close_notice_is_done_whatever_the_canister_answers() -> None:
    for outcome, label in [
        (replied_err("no such client"), "done"),
        (rejected(5, "trapped"), "refused"),
        (CallOutcome(OutcomeKind.REPLIED, b"no Candid"), "format"),
    ]:
        context, network, clock = make_context()
        done: list[int] = []
        close_notices = CloseNotices(context)
        close_notices.enqueue(CANISTER, 0, KEY, lambda done=done: done.append(1))
        network.calls[0].answer(outcome)
        assert done == [1]
        assert context.metrics.ws_closes.values[label] == 1
        assert clock.getDelayedCalls() == []


def test_a_failing_network_is_tried_again_with_a_fresh_envelope_and_given_up_late() -> None:
    context, network, clock = make_context()
    done: list[float] = []
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: done.append(clock.seconds()))
    while not done:
        network.calls[-1].answer(ConnectionLost("lost") if len(network.calls) % 2 else HttpError(503))
        clock.advance(5)
    assert MAX_RETRY_SECONDS <= done[0] <= MAX_RETRY_SECONDS + 10
    assert len({call.body for call in network.calls}) > 1
    assert context.metrics.ws_close_retries.value == len(network.calls) - 1
    verify_envelope(network.calls[-1].body, NOW_NS + int(clock.seconds() * 1e9))


def test_an_answer_that_must_be_certified_and_is_not_is_like_none() -> None:
    context, network, clock = make_context()
    known: list[bool | None] = []
    close_notices = CloseNotices(context)
    close_notices.enqueue(CANISTER, 0, KEY, lambda: None, answered=known.append, verified=True)
    for _ in range(2):
        assert network.calls[-1].request_id == request_id(network.calls[-1].content)
        network.calls[-1].answer(CertificateInvalid("signed by nobody"))
        assert known == []
        clock.advance(5)
    assert len({call.request_id for call in network.calls}) == 3, "each attempt is a request of its own"
    network.calls[-1].answer(REPLIED_OK)
    assert (known, len(close_notices)) == ([True], 0)
    close_notices.enqueue(CANISTER, 0, KEY, lambda: None, answered=known.append, verified=True)
    while len(known) == 1:
        network.calls[-1].answer(CertificateInvalid("signed by nobody"))
        clock.advance(5)
    assert known == [True, None]
    assert context.metrics.ws_closes.values["certificate"] == 1


def test_a_refusal_of_the_http_layer_is_final() -> None:
    context, network, clock = make_context()
    done: list[int] = []
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: done.append(1))
    network.calls[0].answer(HttpError(400))
    assert done == [1]
    assert clock.getDelayedCalls() == []


def test_one_that_was_signed_by_a_wrong_clock_is_signed_anew() -> None:
    """The refusal has shown the network's time: a gateway whose clock was set still notifies the canister."""
    context, network, clock = make_context()
    done: list[int] = []
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: done.append(1))
    words = (
        "Invalid request expiry: Specified ingress_expiry not within expected range: Minimum allowed expiry: "
        "2023-11-14 22:23:20.000000000 UTC, Maximum allowed expiry: 2023-11-14 22:28:50.000000000 UTC"
    )
    for _ in range(3):
        network.calls[-1].answer(HttpError(400, words))
        assert done == []
        clock.advance(5)
    assert len({call.body for call in network.calls}) == 4
    network.calls[-1].answer(REPLIED_OK)
    assert done == [1]
    assert (context.metrics.ws_closes.values["done"], sum(context.metrics.ws_closes.values.values())) == (1, 1)
    assert clock.getDelayedCalls() == []


def test_few_at_a_time() -> None:
    context, network, _ = make_context()
    done: list[int] = []
    close_notices = CloseNotices(context)
    for number in range(3 * MAX_CLOSES):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
    answered = 0
    assert len(network.calls) == MAX_CLOSES // 2
    while answered < len(network.calls):
        assert len(network.calls) - answered <= MAX_CLOSES
        network.calls[answered].answer(REPLIED_OK)
        answered += 1
    assert done == list(range(3 * MAX_CLOSES))


def test_abandoning_ends_all_once() -> None:
    context, network, clock = make_context()
    done: list[int] = []
    close_notices = CloseNotices(context)
    for number in range(MAX_CLOSES + 5):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
    network.calls[0].answer(ConnectionLost("lost"))
    close_notices.abandon()
    assert sorted(done) == list(range(MAX_CLOSES + 5))
    assert len(close_notices) == 0
    assert clock.getDelayedCalls() == []
    assert all(call.cancelled for call in network.calls[1:])
    assert context.metrics.ws_closes.values["abandoned"] == MAX_CLOSES + 5


def test_those_that_wait_are_not_sent_when_another_process_sends_them() -> None:
    context, network, clock = make_context()
    close_notices = CloseNotices(context)
    done: list[int] = []
    for number in range(3 * MAX_CLOSES):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
    sent = len(network.calls)
    assert sent < 3 * MAX_CLOSES
    close_notices.forget()
    assert (len(network.calls), len(close_notices), done) == (sent, 0, [])
    assert all(call.cancelled for call in network.calls)
    assert clock.getDelayedCalls() == []


def test_a_canister_whose_calls_hang_does_not_hold_up_the_others() -> None:
    context, network, _ = make_context()
    close_notices = CloseNotices(context)
    done: list[int] = []
    for canister in (CANISTER, *(Principal(bytes((9, number, 1, 1))) for number in range(20))):
        for number in range(2 * MAX_CLOSES):
            close_notices.enqueue(canister, 0, (KEY[0], number), lambda: None)
    hanging = len(network.calls)
    assert hanging <= MAX_CLOSES + 21
    other = Principal(b"\x00\x00\x00\x00\x00\x00\x00\x08\x01\x01")
    for number in range(100):
        close_notices.enqueue(other, 0, (KEY[0], number), lambda number=number: done.append(number))
    answered = hanging
    while answered < len(network.calls):
        network.calls[answered].answer(REPLIED_OK)
        answered += 1
    assert done == list(range(100))


def test_after_it_was_abandoned_no_more_notices_are_sent() -> None:
    context, network, clock = make_context()
    close_notices = CloseNotices(context)
    close_notices.abandon()
    done: list[int] = []
    close_notices.enqueue(CANISTER, 0, KEY, lambda: done.append(1))
    assert (done, len(close_notices)) == ([1], 0)
    assert (network.calls, clock.getDelayedCalls()) == ([], [])
    assert context.metrics.ws_closes.values["abandoned"] == 1


def test_a_failing_canister_does_not_hold_up_the_others() -> None:
    context, network, clock = make_context()
    close_notices = CloseNotices(context)
    done: list[str] = []
    for number in range(3 * MAX_CLOSES):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda: done.append("failing"))
    other = Principal(b"\x00\x00\x00\x00\x00\x00\x00\x08\x01\x01")
    close_notices.enqueue(other, 0, KEY, lambda: done.append("other"))
    answered = 0
    while answered < len(network.calls):
        call = network.calls[answered]
        assert len(network.calls) - answered <= MAX_CLOSES
        call.answer(REPLIED_OK if call.canister == other else HttpError(503))
        answered += 1
    assert done == ["other"]
    assert len(close_notices) == 3 * MAX_CLOSES
    close_notices.abandon()
    assert len(done) == 3 * MAX_CLOSES + 1
    assert (len(close_notices), clock.getDelayedCalls()) == (0, [])


def test_a_transient_reject_is_tried_again() -> None:
    context, network, clock = make_context()
    done: list[int] = []
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: done.append(1))
    network.calls[0].answer(rejected(2, "busy"))
    assert done == []
    clock.advance(5)
    network.calls[1].answer(REPLIED_OK)
    assert done == [1]
    assert context.metrics.ws_closes.values["done"] == 1


@given(st.lists(st.sampled_from(["enqueue", "ok", "err", "busy", "lost", "final", "wait", "abandon"]), max_size=60))
def test_each_is_done_exactly_once_however_it_ends(script: list[str]) -> None:
    context, network, clock = make_context()
    close_notices = CloseNotices(context)
    count = 0
    done: list[int] = []
    outcomes = {
        "ok": REPLIED_OK,
        "err": replied_err("no such client"),
        "busy": rejected(2, "busy"),
        "lost": ConnectionLost("lost"),
        "final": HttpError(400),
    }
    for word in script:
        open_calls = [call for call in network.calls if not call.deferred.called]
        if word == "enqueue":
            close_notices.enqueue(CANISTER, 0, (KEY[0], count), lambda number=count: done.append(number))
            count += 1
        elif word == "wait":
            clock.advance(40)
        elif word == "abandon":
            close_notices.abandon()
            assert len(close_notices) == 0
        elif open_calls:
            open_calls[0].answer(outcomes[word])
    for _ in range(20):
        clock.advance(40)
        for call in network.calls:
            if not call.deferred.called:
                call.answer(ConnectionLost("lost"))
    assert sorted(done) == list(range(count))
    assert (len(close_notices), clock.getDelayedCalls()) == (0, [])


def test_a_client_key_that_leaves_twice_has_two_notices() -> None:
    context, network, clock = make_context()
    close_notices = CloseNotices(context)
    close_notices.enqueue(CANISTER, 0, KEY, lambda: None)
    clock.advance(1)
    close_notices.enqueue(CANISTER, 0, KEY, lambda: None)
    assert network.calls[0].body != network.calls[1].body


def test_giving_up_sends_no_more() -> None:
    context, network, clock = make_context()
    done: list[int] = []
    close_notices = CloseNotices(context)
    for number in range(2 * MAX_CLOSES):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
    sent = len(network.calls)
    assert sent < MAX_CLOSES
    close_notices.abandon()
    assert len(network.calls) == sent, "a call that is cancelled makes room for none that waits"
    assert sorted(done) == list(range(2 * MAX_CLOSES))
    assert (close_notices.call_slots.busy, len(close_notices.call_slots.line)) == (0, 0)
    assert clock.getDelayedCalls() == []


def test_one_that_has_waited_until_its_canister_must_have_found_out_is_not_sent_any_more() -> None:
    context, network, clock = make_context()
    done: list[int] = []
    close_notices = CloseNotices(context)
    for number in range(MAX_CLOSES):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
    hanging = list(network.calls)
    clock.advance(OBSOLETE_SECONDS)
    close_notices.enqueue(CANISTER, 0, (KEY[0], 9999), lambda: done.append(9999))
    hanging[0].answer(REPLIED_OK)
    # all that waited as long are over, and the place is for who came later
    assert sorted(done) == [0, *range(len(hanging), MAX_CLOSES)]
    assert len(network.calls) == len(hanging) + 1
    assert decode_close_args(network.calls[-1].content["arg"]) == (KEY[0], 9999)
    assert context.metrics.ws_closes.values["abandoned"] == MAX_CLOSES - len(hanging)
    assert close_notices.call_slots.busy == len(hanging)


def test_of_too_many_the_oldest_is_given_up() -> None:
    context, network, _ = make_context(max_connections=200)
    done: list[int] = []
    close_notices = CloseNotices(context)
    for number in range(300):
        close_notices.enqueue(CANISTER, 0, (KEY[0], number), lambda number=number: done.append(number))
        assert len(close_notices) <= 200
    assert done == list(range(100))
    assert context.metrics.ws_closes.values["abandoned"] == 100
    assert sum(call.cancelled for call in network.calls) == 100
    assert close_notices.call_slots.busy == MAX_CLOSES // 2


def test_the_time_limit_begins_when_the_client_leaves_and_not_with_the_gateway() -> None:
    context, network, clock = make_context()
    clock.advance(10 * MAX_RETRY_SECONDS)
    done: list[float] = []
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: done.append(clock.seconds()))
    network.calls[-1].answer(ConnectionLost("lost"))
    clock.advance(5)
    assert (len(network.calls), done) == (2, [])
    network.calls[-1].answer(REPLIED_OK)
    assert done
