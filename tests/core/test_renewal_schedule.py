import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.renewal_schedule import (
    LONGEST_PAUSE,
    Dates,
    FailureKind,
    NameState,
    attempt_time,
    next_name,
    renewal_time,
)

DAY = 86_400.0
times = st.floats(0.0, 4e9)
lifetimes = st.floats(1.0, 400 * DAY)
texts = st.text(max_size=20)
kinds = st.sampled_from(FailureKind)


@given(texts, times, lifetimes)
def test_a_certificate_is_renewed_in_good_time(name: str, begin: float, lifetime: float) -> None:
    dates = Dates(begin, begin + lifetime)
    at = renewal_time(name, dates)
    assert at == renewal_time(name, dates), "a restart does not change it"
    share = (at - begin) / lifetime
    assert 0.61 < share < 0.67, "Let's Encrypt advises two thirds"


def test_certificates_are_not_all_renewed_at_once() -> None:
    dates = Dates(0.0, 90 * DAY)
    shares = sorted(renewal_time(f"{number}.example", dates) / DAY for number in range(100))
    assert 55.5 <= shares[0] < 56.5
    assert 59.0 < shares[-1] <= 60.0


@pytest.mark.parametrize(
    ("kind", "hours"),
    [
        (FailureKind.REFUSED, [5, 10, 20, 40, 80, 160, 320, 640, 720, 720]),
        (FailureKind.UNREACHABLE, [1, 2, 4, 8, 16, 32, 60, 60]),
    ],
)
def test_pauses_grow(kind: FailureKind, hours: list[int]) -> None:
    state, now = NameState(), 1e9
    for minutes in hours:
        state = state.after(kind, "why", now)
        assert minutes * 60 <= state.not_before - now < minutes * 75
        assert attempt_time("a", None, state, now) == state.not_before
        now = state.not_before
        assert attempt_time("a", None, state, now) <= now


def test_a_failure_is_noted_with_its_reason_and_its_pause_is_up_to_a_quarter_longer() -> None:
    states = [NameState().after(FailureKind.UNREACHABLE, f"reason {number}", 1e9) for number in range(200)]
    assert [state.reason for state in states] == [f"reason {number}" for number in range(200)]
    longer = sorted((state.not_before - 1e9) / 60 - 1 for state in states)
    assert 0 <= longer[0] < 0.01
    assert 0.24 < longer[-1] <= 0.25


def test_refused_validations_stay_below_the_limit_of_lets_encrypt() -> None:
    """Five for an account, a host name and an hour."""
    state, now, attempts = NameState(), 0.0, []
    while now < DAY:
        attempts.append(now)
        state = state.after(FailureKind.REFUSED, "", now)
        now = state.not_before
    assert all(sum(begin <= at < begin + 3600 for at in attempts) <= 4 for begin in attempts)


@given(st.integers(0, 50), kinds, times, st.none() | st.floats(0, 1e7))
def test_what_the_authority_asks_for_counts_if_it_is_longer(
    failures: int, kind: FailureKind, now: float, asked: float | None
) -> None:
    state = NameState(failures).after(kind, "x", now, asked)
    pause = state.not_before - now
    plain = NameState(failures).after(kind, "x", now).not_before - now
    assert pause == pytest.approx(min(max(plain, asked or 0.0), LONGEST_PAUSE), abs=1e-3)


@given(st.none() | st.tuples(times, lifetimes), times, times, times)
def test_no_state_keeps_a_name_waiting_for_ever(
    held: tuple[float, float] | None, failed_at: float, not_before: float, now: float
) -> None:
    dates = None if held is None else Dates(held[0], held[0] + held[1])
    at = attempt_time("a", dates, NameState(3, failed_at, not_before, "why"), now)
    due = now if dates is None else renewal_time("a", dates)
    assert due <= at
    assert at <= max(due, now + LONGEST_PAUSE)


@given(times, lifetimes, st.floats(0.0, 1.0))
def test_no_dates_make_it_ask_again_and_again(begin: float, lifetime: float, age: float) -> None:
    dates = Dates(begin, begin + lifetime)
    now = begin + age * lifetime
    state = NameState.renewed(dates, now)
    at = attempt_time("a", dates, state, now)
    assert at - now >= min((dates.not_after - now) / 3, LONGEST_PAUSE) * 0.999 - 1e-3
    assert at <= max(renewal_time("a", dates), now + LONGEST_PAUSE)
    assert (state.failures, state.reason) == (0, "")


@pytest.mark.parametrize(("left", "pause"), [(90 * DAY, DAY), (6 * 3600.0, 2 * 3600.0), (0.0, 0.0), (-DAY, 0.0)])
def test_a_third_of_what_is_left_passes_before_the_next_but_no_more_than_a_day(left: float, pause: float) -> None:
    assert NameState.renewed(Dates(0.0, 100 * DAY + left), 100 * DAY) == NameState(not_before=100 * DAY + pause)


def test_dates_the_wrong_way_round_are_due_from_the_first() -> None:
    assert renewal_time("a", Dates(5 * DAY, DAY)) == 5 * DAY


states = st.builds(NameState, st.integers(0, 40), times, times, texts)


@given(states)
def test_a_state_is_read_as_it_was_written(state: NameState) -> None:
    assert NameState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(
    st.dictionaries(
        st.sampled_from(["failures", "failed_at", "not_before", "reason", "x"]),
        st.none() | st.booleans() | texts | st.integers() | times,
    )
)
def test_a_damaged_state_is_no_obstacle(values: dict[str, object]) -> None:
    state = NameState.from_json(values)
    assert isinstance(state.failures, int)
    attempt_time("a", None, state, 1e9)


def test_old_states_with_whole_seconds() -> None:
    assert NameState.from_json({"failures": 2, "failed_at": 5, "not_before": 7}) == NameState(2, 5.0, 7.0)
    assert NameState.from_json({"failures": True, "failed_at": False}) == NameState()
    largest = (1 << 53) - 1
    assert NameState.from_json({"failed_at": largest, "not_before": -largest}) == NameState(0, largest, -largest)
    assert NameState.from_json({"failed_at": largest + 1, "not_before": 10**400}) == NameState()


@given(
    st.dictionaries(texts, st.none() | st.tuples(times, lifetimes), max_size=6), st.dictionaries(texts, states), times
)
def test_the_next_name_is_the_earliest(
    held: dict[str, tuple[float, float] | None], states: dict[str, NameState], now: float
) -> None:
    certificates = {name: None if each is None else Dates(each[0], each[0] + each[1]) for name, each in held.items()}
    found = next_name(certificates, states, now)
    if not certificates:
        assert found is None
        return
    assert found is not None
    name, at = found
    all_times = [attempt_time(each, dates, states.get(each, NameState()), now) for each, dates in certificates.items()]
    assert max(at, now) == max(min(all_times), now)
    assert attempt_time(name, certificates[name], states.get(name, NameState()), now) <= max(at, now)


def test_of_names_that_are_not_due_the_earliest_is_next() -> None:
    early, late = Dates(0.0, 60 * DAY), Dates(0.0, 90 * DAY)
    for certificates in ({"a": late, "b": early}, {"b": early, "a": late}):
        assert next_name(certificates, {}, DAY) == ("b", renewal_time("b", early))


def test_a_certificate_that_ends_now_is_not_valid() -> None:
    certificates = {"a": Dates(0.0, 90 * DAY), "b": Dates(30 * DAY, 89 * DAY)}
    assert next_name(certificates, {}, 88 * DAY) == ("a", 88 * DAY)
    assert next_name(certificates, {}, 89 * DAY) == ("b", 89 * DAY)


def test_names_without_a_valid_certificate_come_first() -> None:
    due = Dates(0.0, 90 * DAY)
    now = 80 * DAY
    certificates = {"a": due, "b": None, "c": Dates(0.0, 10 * DAY)}
    assert next_name(certificates, {}, now) == ("c", now), "the longest overdue of those that clients refuse"
    del certificates["c"]
    assert next_name(certificates, {}, now) == ("b", now)
    paused = NameState().after(FailureKind.REFUSED, "", now)
    assert next_name(certificates, {"b": paused}, now) == ("a", now)
    waits = next_name({"b": None}, {"b": paused}, now)
    assert waits == ("b", paused.not_before)
