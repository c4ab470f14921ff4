"""A reset is found, and a replica that lags is not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.cursor import Cursor, LastMessage, Message
from icwsgw.core.reset_detector import (
    ABSENT_PROBES,
    ABSENT_SECONDS,
    OLDER_PROBES,
    OLDER_SECONDS,
    PROBE_SECONDS,
    WAITING_PROBE_SECONDS,
    ResetDetector,
    ResetState,
    former_message,
)
from icwsgw.ic import cbor


def content(number: int, at: int, life: int = 1) -> bytes:
    return cbor.dumps({"timestamp": at, "content": b"%d in life %d" % (number, life)})


def message(number: int, at: int, life: int = 1, client: bytes = b"client") -> Message:
    return (client, 1, b"gateway_%020d" % number, content(number, at, life))


ANCHOR = LastMessage(7, content(7, 700))


def test_the_same_message_is_the_same_life_and_another_a_new_one() -> None:
    reset_detector = ResetDetector(ANCHOR)
    assert reset_detector.probed(ANCHOR, [message(7, 700), message(8, 800)], 0) is ResetState.SAME
    assert reset_detector.probed(ANCHOR, [message(7, 900, life=2)], 0) is ResetState.NEW


def test_an_older_message_there_is_of_the_life_before() -> None:
    reset_detector = ResetDetector(ANCHOR)
    older = [message(7, 699, life=0)]
    for attempt in range(OLDER_PROBES + 1):
        assert reset_detector.probed(ANCHOR, older, 1000.0 + attempt) is ResetState.UNSURE
    assert reset_detector.probed(ANCHOR, older, 1000.0 + OLDER_SECONDS - 0.01) is ResetState.UNSURE
    assert reset_detector.probed(ANCHOR, [message(7, 900, life=2)], 1001.0) is ResetState.NEW


@pytest.mark.parametrize("between", [None, "the anchor", "a restart"])
def test_a_clock_that_goes_back_counts_after_a_while_if_nothing_contradicts(between: str | None) -> None:
    reset_detector = ResetDetector(ANCHOR)
    older = [message(7, 699, life=0)]
    for attempt in range(OLDER_PROBES - 1):
        assert reset_detector.probed(ANCHOR, older, 1000.0 + attempt) is ResetState.UNSURE
    if between == "the anchor":
        assert reset_detector.probed(ANCHOR, [message(7, 700)], 1030.0) is ResetState.SAME
    elif between == "a restart":
        reset_detector.restart()
    verdict = reset_detector.probed(ANCHOR, older, 1000.0 + OLDER_SECONDS)
    assert verdict is (ResetState.NEW if between is None else ResetState.UNSURE)


def test_time_alone_does_not_make_an_older_message_a_reset() -> None:
    reset_detector = ResetDetector(ANCHOR)
    older = [message(7, 699, life=0)]
    verdicts = [reset_detector.probed(ANCHOR, older, 1000.0 + 100 * attempt) for attempt in range(OLDER_PROBES)]
    assert verdicts == [ResetState.UNSURE] * (OLDER_PROBES - 1) + [ResetState.NEW]


def test_older_messages_beyond_the_anchor_are_of_the_life_before_too() -> None:
    """The replica lags behind the reset, and the old queue began beyond the anchor: nothing is confirmed."""
    detector = ResetDetector(ANCHOR)
    older = [message(9, 690, life=0)]
    assert detector.probed(ANCHOR, older, 1000.0) is ResetState.UNSURE
    assert detector.probed(ANCHOR, [message(9, 700)], 1001.0) is ResetState.SAME, "of the same moment"
    verdicts = [detector.probed(ANCHOR, older, 1000.0 + OLDER_SECONDS * attempt) for attempt in range(OLDER_PROBES)]
    assert verdicts == [ResetState.UNSURE] * (OLDER_PROBES - 1) + [ResetState.NEW]


def read(*messages: Message) -> Cursor:
    cursor = Cursor()
    cursor.take(list(messages), 0.0, 0.0)
    return cursor


@pytest.mark.parametrize("end", [None, False, True])
def test_the_newest_delivered_message_beside_the_anchor_is_the_next_anchor(end: bool | None) -> None:
    answer = [message(number, 100 * number) for number in (7, 8, 9, 11)]
    detector, cursor = ResetDetector(ANCHOR), read(*answer[:3])
    detector.confirmed(answer, cursor, end)
    assert detector.anchor is cursor.last, "11 is beyond a gap"
    detector = ResetDetector(ANCHOR)
    detector.confirmed(answer[:2], read(*answer[:3]), end)
    assert detector.anchor is not None
    assert (detector.anchor.nonce, detector.anchor.is_same(answer[1][3])) == (8, True), "the page ends with it"


@pytest.mark.parametrize("end", [None, False, True])
def test_what_another_replica_gave_is_not_the_anchor(end: bool | None) -> None:
    """It may be of a queue that this replica does not know yet; it is if nothing else can be."""
    cursor = read(message(7, 700), message(8, 900, life=2))
    detector = ResetDetector(ANCHOR)
    detector.confirmed([message(7, 700)], cursor, end)
    assert detector.anchor is (cursor.last if end is False else ANCHOR), "an anchor may fill its page alone"
    detector.confirmed([message(7, 700), message(8, 800)], cursor, end)
    assert detector.anchor is not None
    assert detector.anchor.nonce == 8
    assert detector.anchor.is_same(content(8, 800)) is (end is not False)


@pytest.mark.parametrize("answer", [[], [message(9, 900)]])
def test_an_answer_without_a_delivered_message_leaves_the_anchor(answer: list[Message]) -> None:
    detector = ResetDetector(ANCHOR)
    detector.confirmed(answer, read(message(7, 700)), True)
    assert detector.anchor is ANCHOR


def test_a_queue_whose_old_messages_were_deleted_goes_on() -> None:
    assert ResetDetector(ANCHOR).probed(ANCHOR, [message(12, 1200)], 0) is ResetState.SAME


def test_nothing_there_asks_for_a_look_at_the_start() -> None:
    reset_detector = ResetDetector(ANCHOR)
    assert reset_detector.probed(ANCHOR, [], 0) is ResetState.LOOK
    assert reset_detector.looked(ANCHOR, [message(0, 50)], {}, 0) is ResetState.UNSURE
    assert reset_detector.looked(ANCHOR, [message(0, 701, life=2)], {}, 0) is ResetState.NEW


def test_messages_beyond_the_anchor_prove_nothing() -> None:
    reset_detector = ResetDetector(ANCHOR)
    reset_detector.probed(ANCHOR, [], 0)
    assert reset_detector.looked(ANCHOR, [message(9, 900)], {(b"client", 1)}, 0) is ResetState.UNSURE


def test_messages_without_a_time_prove_nothing() -> None:
    reset_detector = ResetDetector(ANCHOR)
    strange: Message = (b"client", 1, b"gateway_%020d" % 0, b"not the CDK's")
    assert reset_detector.looked(ANCHOR, [strange], {}, 0) is ResetState.UNSURE
    timeless = LastMessage(7, b"not the CDK's")
    assert reset_detector.looked(timeless, [message(0, 10**18)], {}, 0) is ResetState.UNSURE
    # but that a client waits for them does
    assert reset_detector.looked(ANCHOR, [strange], {(b"client", 1)}, 0) is ResetState.NEW
    assert reset_detector.looked(timeless, [message(0, 50)], {(b"client", 1)}, 0) is ResetState.NEW


def test_an_empty_queue_counts_after_time_and_probes() -> None:
    reset_detector = ResetDetector(ANCHOR)
    now = 0.0
    verdicts = []
    for _ in range(20):
        assert reset_detector.probed(ANCHOR, [], now) is ResetState.LOOK
        verdicts.append((now, reset_detector.looked(ANCHOR, [], {}, now)))
        reset_detector.sent(now, False)
        assert reset_detector.due(now + WAITING_PROBE_SECONDS)
        now += WAITING_PROBE_SECONDS
    first = next(at for at, verdict in verdicts if verdict is ResetState.NEW)
    assert first >= ABSENT_SECONDS
    assert first <= ABSENT_SECONDS + WAITING_PROBE_SECONDS


def test_absence_is_counted_from_the_first_empty_answer() -> None:
    reset_detector = ResetDetector(ANCHOR)
    verdicts = []
    for now in (1000.0, 1000.5, 1001.0, 1000.0 + ABSENT_SECONDS - 0.01, 1000.0 + ABSENT_SECONDS):
        reset_detector.probed(ANCHOR, [], now)
        verdicts.append(reset_detector.looked(ANCHOR, [], {}, now))
    assert verdicts == [ResetState.UNSURE] * 4 + [ResetState.NEW]
    # as many probes as are needed, after more than the time
    late = ResetDetector(ANCHOR)
    for attempt in range(ABSENT_PROBES):
        late.probed(ANCHOR, [], 1000.0 + attempt)
        verdict = late.looked(ANCHOR, [], {}, 1000.0 + attempt)
        assert (verdict is ResetState.NEW) is (attempt == ABSENT_PROBES - 1)


def test_any_message_ends_the_absence() -> None:
    for found in ("by a probe", "at the start", "by a restart"):
        reset_detector = ResetDetector(ANCHOR)
        for attempt in range(ABSENT_PROBES):
            reset_detector.probed(ANCHOR, [], attempt * 10.0)
        if found == "by a probe":
            assert reset_detector.probed(ANCHOR, [message(7, 700)], 50.0) is ResetState.SAME
        elif found == "at the start":
            assert reset_detector.looked(ANCHOR, [message(0, 50)], {}, 50.0) is ResetState.UNSURE
        else:
            reset_detector.restart()
            reset_detector.begin(ANCHOR, 50.0)
        reset_detector.sent(50.0, False)
        assert not reset_detector.due(50.0 + PROBE_SECONDS - 0.01), found
        # and the time begins anew
        for attempt in range(ABSENT_PROBES):
            reset_detector.probed(ANCHOR, [], 60.0 + attempt / 10)
            assert reset_detector.looked(ANCHOR, [], {}, 60.0 + attempt / 10) is ResetState.UNSURE


def test_what_is_newer_proves_a_new_life_up_to_the_anchors_own_number() -> None:
    reset_detector = ResetDetector(ANCHOR)
    reset_detector.probed(ANCHOR, [], 0)
    assert reset_detector.looked(ANCHOR, [message(7, 701, life=2)], {}, 0) is ResetState.NEW
    assert reset_detector.looked(ANCHOR, [message(0, 700, life=2)], {}, 0) is ResetState.UNSURE, "not newer"


def test_few_probes_are_not_enough_however_long_they_take() -> None:
    reset_detector = ResetDetector(ANCHOR)
    for attempt in range(ABSENT_PROBES - 1):
        reset_detector.probed(ANCHOR, [], attempt * 100.0)
        assert reset_detector.looked(ANCHOR, [], {}, attempt * 100.0) is ResetState.UNSURE


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_lagging_replica_that_is_contradicted_in_time_is_never_a_reset(lags: list[bool]) -> None:
    """Probes every 0.25 s; whichever replica answers, one in ten of them at least is up to date."""
    reset_detector = ResetDetector(ANCHOR)
    run = 0
    for step, lag in enumerate(lags):
        now = step * WAITING_PROBE_SECONDS
        run = run + 1 if lag and run < 9 else 0
        if run:
            assert reset_detector.probed(ANCHOR, [], now) is ResetState.LOOK
            assert reset_detector.looked(ANCHOR, [], {}, now) is ResetState.UNSURE
        else:
            assert reset_detector.probed(ANCHOR, [message(7, 700)], now) is ResetState.SAME


def test_when_probes_are_due() -> None:
    reset_detector = ResetDetector()
    assert not reset_detector.due(100)
    reset_detector.begin(ANCHOR, 0)
    assert not reset_detector.due(PROBE_SECONDS - 0.01)
    assert reset_detector.due(PROBE_SECONDS)
    assert ResetDetector(ANCHOR).due(0)
    reset_detector.sent(0, False)
    assert not reset_detector.due(PROBE_SECONDS - 0.01)
    assert reset_detector.due(PROBE_SECONDS)
    reset_detector.sent(10, True)
    assert reset_detector.due(10 + WAITING_PROBE_SECONDS)
    reset_detector.sent(20, False)
    reset_detector.probe_now()
    assert reset_detector.due(20)
    assert reset_detector.due(0.0)
    reset_detector.restart()
    assert not reset_detector.due(20)


def test_a_client_key_that_is_used_again_proves_nothing_by_its_old_messages() -> None:
    reset_detector = ResetDetector(ANCHOR)
    reset_detector.probed(ANCHOR, [], 0)
    assert reset_detector.looked(ANCHOR, [message(3, 300)], {(b"client", 1)}, 0) is ResetState.UNSURE
    assert reset_detector.looked(ANCHOR, [message(3, 701, life=2)], {(b"client", 1)}, 0) is ResetState.NEW


LATER, SAME_MOMENT = LastMessage(9, content(9, 800)), LastMessage(9, content(9, 900, life=2))
UNDATED = LastMessage(9, b"no time")


@pytest.mark.parametrize(
    ("last", "proof", "former"),
    [
        (LATER, [message(7, 900, life=2)], LATER),
        (SAME_MOMENT, [message(7, 900, life=2)], ANCHOR),
        (SAME_MOMENT, [message(0, 801, life=2), message(1, 901, life=2)], ANCHOR),
        (LATER, [], LATER),
        (LATER, [message(7, 699, life=2)], None),
        (LATER, [(b"client", 1, b"gateway_%020d" % 7, b"no time")], LATER),
        (UNDATED, [message(7, 900, life=2)], UNDATED),
        (None, [message(7, 900, life=2)], None),
    ],
    ids=[
        "older",
        "as old",
        "newer",
        "absent",
        "the clock has gone back",
        "proof without a time",
        "last without a time",
        "nothing delivered",
    ],
)
def test_what_is_not_older_than_the_new_queue_is_not_of_the_old_one(
    last: LastMessage | None, proof: list[Message], former: LastMessage | None
) -> None:
    assert former_message(ANCHOR, last, proof) is former
    assert former_message(None, last, proof) is last


@given(
    st.integers(0, 5),
    st.lists(st.integers(0, 400), min_size=20, max_size=40),
    st.booleans(),
)
def test_a_reset_is_found_soon_whatever_the_replicas_say_in_between(
    queued: int, lags: list[int], waiting: bool
) -> None:
    """The canister loses its state at 0; each probe and look meets a replica that is some milliseconds behind."""
    reset_detector = ResetDetector(ANCHOR)
    reset_detector.sent(0.0, waiting)
    old = [message(number, 100 * number) for number in range(8)]
    new = [message(number, 1000 + number, life=2) for number in range(queued)]
    now = 0.0
    for lag in lags:
        now += WAITING_PROBE_SECONDS
        if not reset_detector.due(now):
            continue
        reset_detector.sent(now, waiting)
        queue = old if now < lag / 1000 else new
        verdict = reset_detector.probed(ANCHOR, queue[7:], now)
        if verdict is ResetState.LOOK:
            verdict = reset_detector.looked(ANCHOR, queue, {}, now)
        if verdict is ResetState.NEW:
            break
    assert verdict is ResetState.NEW
    assert now <= PROBE_SECONDS + ABSENT_SECONDS + 2 * WAITING_PROBE_SECONDS
