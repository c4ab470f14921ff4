"""A reset is found, and a replica that lags is not taken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.cursor import LastMessage, Message
from icwsgw.core.lifeline import (
    ABSENT_PROBES,
    ABSENT_SECONDS,
    PROBE_SECONDS,
    WAITING_PROBE_SECONDS,
    Lifeline,
    Verdict,
)
from icwsgw.ic import cbor


def content(number: int, at: int, life: int = 1) -> bytes:
    return cbor.dumps({"timestamp": at, "content": b"%d in life %d" % (number, life)})


def message(number: int, at: int, life: int = 1, client: bytes = b"client") -> Message:
    return (client, 1, b"gateway_%020d" % number, content(number, at, life))


ANCHOR = LastMessage(7, content(7, 700))


def test_the_same_message_is_the_same_life_and_another_a_new_one() -> None:
    lifeline = Lifeline(ANCHOR)
    assert lifeline.probed(ANCHOR, [message(7, 700), message(8, 800)], 0) is Verdict.SAME
    assert lifeline.probed(ANCHOR, [message(7, 900, life=2)], 0) is Verdict.NEW


def test_a_queue_whose_old_messages_were_deleted_goes_on() -> None:
    assert Lifeline(ANCHOR).probed(ANCHOR, [message(12, 1200)], 0) is Verdict.SAME


def test_nothing_there_asks_for_a_look_at_the_start() -> None:
    lifeline = Lifeline(ANCHOR)
    assert lifeline.probed(ANCHOR, [], 0) is Verdict.LOOK
    assert lifeline.looked(ANCHOR, [message(0, 50)], {}, 0) is Verdict.UNSURE
    assert lifeline.looked(ANCHOR, [message(0, 701, life=2)], {}, 0) is Verdict.NEW


def test_messages_beyond_the_anchor_prove_nothing() -> None:
    lifeline = Lifeline(ANCHOR)
    lifeline.probed(ANCHOR, [], 0)
    assert lifeline.looked(ANCHOR, [message(9, 900)], {(b"client", 1)}, 0) is Verdict.UNSURE


def test_messages_without_a_time_prove_nothing() -> None:
    lifeline = Lifeline(ANCHOR)
    strange: Message = (b"client", 1, b"gateway_%020d" % 0, b"not the CDK's")
    assert lifeline.looked(ANCHOR, [strange], {}, 0) is Verdict.UNSURE
    timeless = LastMessage(7, b"not the CDK's")
    assert lifeline.looked(timeless, [message(0, 10**18)], {}, 0) is Verdict.UNSURE
    # but that a client waits for them does
    assert lifeline.looked(ANCHOR, [strange], {(b"client", 1)}, 0) is Verdict.NEW
    assert lifeline.looked(timeless, [message(0, 50)], {(b"client", 1)}, 0) is Verdict.NEW


def test_an_empty_queue_is_believed_after_time_and_probes() -> None:
    lifeline = Lifeline(ANCHOR)
    now = 0.0
    verdicts = []
    for _ in range(20):
        assert lifeline.probed(ANCHOR, [], now) is Verdict.LOOK
        verdicts.append((now, lifeline.looked(ANCHOR, [], {}, now)))
        lifeline.sent(now, False)
        assert lifeline.due(now + WAITING_PROBE_SECONDS)
        now += WAITING_PROBE_SECONDS
    first = next(at for at, verdict in verdicts if verdict is Verdict.NEW)
    assert first >= ABSENT_SECONDS
    assert first <= ABSENT_SECONDS + WAITING_PROBE_SECONDS


def test_absence_is_counted_from_the_first_empty_answer() -> None:
    lifeline = Lifeline(ANCHOR)
    verdicts = []
    for now in (1000.0, 1000.5, 1001.0, 1000.0 + ABSENT_SECONDS - 0.01, 1000.0 + ABSENT_SECONDS):
        lifeline.probed(ANCHOR, [], now)
        verdicts.append(lifeline.looked(ANCHOR, [], {}, now))
    assert verdicts == [Verdict.UNSURE] * 4 + [Verdict.NEW]
    # as many probes as are needed, after more than the time
    late = Lifeline(ANCHOR)
    for attempt in range(ABSENT_PROBES):
        late.probed(ANCHOR, [], 1000.0 + attempt)
        verdict = late.looked(ANCHOR, [], {}, 1000.0 + attempt)
        assert (verdict is Verdict.NEW) is (attempt == ABSENT_PROBES - 1)


def test_any_message_ends_the_absence() -> None:
    for found in ("by a probe", "at the start", "by a restart"):
        lifeline = Lifeline(ANCHOR)
        for attempt in range(ABSENT_PROBES):
            lifeline.probed(ANCHOR, [], attempt * 10.0)
        if found == "by a probe":
            assert lifeline.probed(ANCHOR, [message(7, 700)], 50.0) is Verdict.SAME
        elif found == "at the start":
            assert lifeline.looked(ANCHOR, [message(0, 50)], {}, 50.0) is Verdict.UNSURE
        else:
            lifeline.restart()
            lifeline.begin(ANCHOR, 50.0)
        lifeline.sent(50.0, False)
        assert not lifeline.due(50.0 + PROBE_SECONDS - 0.01), found
        # and the time begins anew
        for attempt in range(ABSENT_PROBES):
            lifeline.probed(ANCHOR, [], 60.0 + attempt / 10)
            assert lifeline.looked(ANCHOR, [], {}, 60.0 + attempt / 10) is Verdict.UNSURE


def test_what_is_newer_proves_a_new_life_up_to_the_anchors_own_number() -> None:
    lifeline = Lifeline(ANCHOR)
    lifeline.probed(ANCHOR, [], 0)
    assert lifeline.looked(ANCHOR, [message(7, 701, life=2)], {}, 0) is Verdict.NEW
    assert lifeline.looked(ANCHOR, [message(0, 700, life=2)], {}, 0) is Verdict.UNSURE, "not newer"


def test_few_probes_are_not_believed_however_long_they_take() -> None:
    lifeline = Lifeline(ANCHOR)
    for attempt in range(ABSENT_PROBES - 1):
        lifeline.probed(ANCHOR, [], attempt * 100.0)
        assert lifeline.looked(ANCHOR, [], {}, attempt * 100.0) is Verdict.UNSURE


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_lagging_replica_that_is_contradicted_in_time_is_never_a_reset(lags: list[bool]) -> None:
    """Probes every 0.25 s; whichever replica answers, one in ten of them at least is up to date."""
    lifeline = Lifeline(ANCHOR)
    run = 0
    for step, lag in enumerate(lags):
        now = step * WAITING_PROBE_SECONDS
        run = run + 1 if lag and run < 9 else 0
        if run:
            assert lifeline.probed(ANCHOR, [], now) is Verdict.LOOK
            assert lifeline.looked(ANCHOR, [], {}, now) is Verdict.UNSURE
        else:
            assert lifeline.probed(ANCHOR, [message(7, 700)], now) is Verdict.SAME


def test_when_probes_are_due() -> None:
    lifeline = Lifeline()
    assert not lifeline.due(100)
    lifeline.begin(ANCHOR, 0)
    assert not lifeline.due(PROBE_SECONDS - 0.01)
    assert lifeline.due(PROBE_SECONDS)
    assert Lifeline(ANCHOR).due(0)
    lifeline.sent(0, False)
    assert not lifeline.due(PROBE_SECONDS - 0.01)
    assert lifeline.due(PROBE_SECONDS)
    lifeline.sent(10, True)
    assert lifeline.due(10 + WAITING_PROBE_SECONDS)
    lifeline.sent(20, False)
    lifeline.hurry()
    assert lifeline.due(20)
    assert lifeline.due(0.0)
    lifeline.restart()
    assert not lifeline.due(20)


def test_a_client_key_that_is_used_again_proves_nothing_by_its_old_messages() -> None:
    lifeline = Lifeline(ANCHOR)
    lifeline.probed(ANCHOR, [], 0)
    assert lifeline.looked(ANCHOR, [message(3, 300)], {(b"client", 1)}, 0) is Verdict.UNSURE
    assert lifeline.looked(ANCHOR, [message(3, 701, life=2)], {(b"client", 1)}, 0) is Verdict.NEW


@given(
    st.integers(0, 5),
    st.lists(st.integers(0, 400), min_size=20, max_size=40),
    st.booleans(),
)
def test_a_reset_is_found_soon_whatever_the_replicas_say_in_between(
    queued: int, lags: list[int], waiting: bool
) -> None:
    """The canister loses its state at 0; each probe and look meets a replica that is some milliseconds behind."""
    lifeline = Lifeline(ANCHOR)
    lifeline.sent(0.0, waiting)
    old = [message(number, 100 * number) for number in range(8)]
    new = [message(number, 1000 + number, life=2) for number in range(queued)]
    now = 0.0
    for lag in lags:
        now += WAITING_PROBE_SECONDS
        if not lifeline.due(now):
            continue
        lifeline.sent(now, waiting)
        queue = old if now < lag / 1000 else new
        verdict = lifeline.probed(ANCHOR, queue[7:], now)
        if verdict is Verdict.LOOK:
            verdict = lifeline.looked(ANCHOR, queue, {}, now)
        if verdict is Verdict.NEW:
            break
    assert verdict is Verdict.NEW
    assert now <= PROBE_SECONDS + ABSENT_SECONDS + 2 * WAITING_PROBE_SECONDS
