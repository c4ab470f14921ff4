"""What the network's answers tell of the time, and what they may not."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.network_time import (
    JUMP_NS,
    MANY_WITNESSES,
    STEP_NS,
    WITNESSES,
    NetworkTime,
    refuses_expiry,
    replica_time,
)
from icwsgw.core.network_time import Evidence as Kind
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS, SECOND_NS

NOW = 1_700_000_000 * SECOND_NS
YEAR = 365 * 24 * 3600
OURS = 240
"""Seconds that a request of ours is given."""


class Script:
    """A machine and a clock; answers are a kind and the network's time in it, in seconds ahead of ours."""

    def __init__(self) -> None:
        self.time = NetworkTime()
        self.seconds = 100.0
        self.wall = NOW

    def take(self, kind: Kind, *ahead: float) -> Script:
        for seconds in ahead:
            self.seconds += 0.1
            self.wall += SECOND_NS // 10
            self.time.take(kind, self.wall + int(seconds * SECOND_NS), self.seconds, self.wall)
        return self

    @property
    def skew(self) -> float:
        return self.time.skew_ns / SECOND_NS

    def enclosed(self) -> tuple[float, float]:
        earliest, latest = self.time.enclosed_ns(self.seconds, self.wall)
        assert earliest == self.time.earliest_ns(self.seconds, self.wall)
        return (earliest - self.wall) / SECOND_NS, (latest - self.wall) / SECOND_NS


def test_before_the_first_evidence_the_network_judges_everything() -> None:
    script = Script()
    assert script.time.now_ns(script.seconds, NOW) == NOW
    assert not script.time.known
    earliest, latest = script.enclosed()
    assert earliest < -100 * YEAR
    assert latest > 100 * YEAR


def test_a_date_that_agrees_with_our_clock_confirms_it() -> None:
    script = Script().take(Kind.DATE, 0.7)
    assert script.time.known
    assert script.skew == 0
    assert script.time.measured_ns == 0.7 * SECOND_NS
    assert script.enclosed() == (-1.8, 3.2)


def test_nothing_is_in_doubt_at_first() -> None:
    assert not NetworkTime().eager
    assert not NetworkTime().disputed


def test_what_is_measured_is_evidence_of_the_time() -> None:
    script = Script().take(Kind.DATE, 0.75).take(Kind.ACCEPTED, OURS).take(Kind.SIGNED, -50.0)
    assert script.time.measured_ns == 0.75 * SECOND_NS
    script.take(Kind.REFUSED, 1.0)
    assert script.time.measured_ns == SECOND_NS


def test_the_narrowest_evidence_bounds_the_networks_time_the_latest_of_those_alike() -> None:
    assert Script().take(Kind.DATE, 0.0, 1.0).enclosed() == (-1.5, 3.5)
    assert Script().take(Kind.DATE, 1.0).take(Kind.ACCEPTED, 100.0).enclosed() == (-1.5, 3.5)
    assert Script().take(Kind.ACCEPTED, 100.0).enclosed() == (-230.0, 100.0)
    assert Script().take(Kind.ACCEPTED, 100.0).take(Kind.DATE, 1.0).enclosed() == (-1.5, 3.5)


@pytest.mark.parametrize("ahead", [2.5, -2.5])
def test_a_step_is_still_agreement(ahead: float) -> None:
    script = Script().take(Kind.DATE, ahead)
    assert script.time.known
    assert script.time.rival_ns is None


def test_refusals_agree_where_all_of_them_overlap() -> None:
    # 597.5 to 602.5, 601.5 to 606.5: the third meets the second alone
    assert Script().take(Kind.REFUSED, 600.0, 604.0, 608.0).skew == 0
    assert Script().take(Kind.REFUSED, 604.0, 600.0, 596.0).skew == 0
    assert Script().take(Kind.REFUSED, 600.0, 604.0, 602.0).skew == 602.0
    assert Script().take(Kind.REFUSED, 600.0, 604.0, 599.5).skew == 599.5
    # that they touch is enough
    assert Script().take(Kind.REFUSED, 600.0, 605.0, 602.5).skew == 602.5
    assert Script().take(Kind.REFUSED, 605.0, 600.0, 602.5).skew == 602.5


def test_a_judgement_decides_what_was_in_doubt() -> None:
    script = Script().take(Kind.DATE, -60.0).take(Kind.REFUSED, 600.0, 600.0, 600.0)
    assert script.skew == 600.0
    assert not script.time.eager
    assert script.time.rival_ns == 0, "the former estimate, in place of the Date's"
    # within a step our own clock is right
    assert script.take(Kind.REFUSED, 2.5, 2.5, 2.5).skew == 0


@pytest.mark.parametrize("count", [1, 2, WITNESSES, 100])
def test_dates_alone_change_nothing_however_many_they_are(count: int) -> None:
    script = Script().take(Kind.DATE, *[3600.0] * count)
    assert script.skew == 0
    assert script.time.disputed is (count >= WITNESSES)
    assert script.time.eager is (count < WITNESSES)
    assert not script.time.known
    script.take(Kind.ACCEPTED, OURS)
    assert not script.time.disputed, "a request of ours that was taken proves them wrong"
    assert script.skew == 0
    script.take(Kind.DATE, 3600.0)
    assert not script.time.eager


def test_a_first_date_that_is_wrong_is_forgotten_with_the_next() -> None:
    script = Script().take(Kind.DATE, 3600.0)
    assert script.time.eager
    script.take(Kind.DATE, 0.0)
    assert script.enclosed() == (-2.5, 2.5)
    assert script.time.rival_ns is None


@pytest.mark.parametrize("ahead", [60.0, -60.0])
def test_where_clock_and_date_disagree_no_client_is_refused_that_is_in_time_by_either(ahead: float) -> None:
    script = Script().take(Kind.DATE, 0.0, *[ahead] * 5)
    assert script.time.disputed
    assert script.enclosed() == (min(-2.5, ahead - 2.5), max(2.5, ahead + 2.5))


@pytest.mark.parametrize("ahead", [600.0, -600.0, YEAR])
def test_a_refusal_counts_the_third_time(ahead: float) -> None:
    script = Script().take(Kind.REFUSED, ahead, ahead + 1)
    assert script.skew == 0
    assert script.time.eager
    script.take(Kind.REFUSED, ahead)
    assert script.skew == ahead
    assert script.time.now_ns(script.seconds, script.wall) == script.wall + ahead * SECOND_NS
    assert script.time.measured_ns == ahead * SECOND_NS
    script.take(Kind.CERTIFIED, ahead).take(Kind.DATE, ahead)
    assert script.enclosed() == (ahead - 2.5, ahead + 2.5)
    assert script.time.measured_ns == ahead * SECOND_NS


@pytest.mark.parametrize("ahead", [600.0, -600.0, YEAR])
@pytest.mark.parametrize(("agreed", "reported"), [(Kind.ACCEPTED, OURS), (Kind.REFUSED, 0.1)])
def test_where_a_replica_has_agreed_it_takes_many_refusals_in_a_row(
    ahead: float, agreed: Kind, reported: float
) -> None:
    """Of a subnet's machines one has a wrong clock; its refusals come three in a row now and then."""
    script = Script().take(agreed, reported)
    for count in range(1, MANY_WITNESSES):
        script.take(Kind.REFUSED, *[ahead] * count).take(Kind.ACCEPTED, OURS)
        assert script.skew == 0
    script.take(Kind.REFUSED, *[ahead] * (MANY_WITNESSES - 1))
    assert script.skew == 0
    assert script.take(Kind.REFUSED, ahead).skew == ahead
    # that was wrong: nothing of ours has been taken by this reckoning, so it ends soon
    assert script.take(Kind.REFUSED, *[0.5] * WITNESSES).skew == 0


def test_dates_that_agree_with_a_refusal_are_witnesses_too() -> None:
    script = Script().take(Kind.DATE, 600.0).take(Kind.REFUSED, 600.2)
    assert script.skew == 0, "one machine may have given both"
    script.take(Kind.DATE, 600.0).take(Kind.REFUSED, 600.2)
    assert script.skew == 600.0


def test_one_machine_whose_clock_is_wrong_changes_nothing() -> None:
    script = Script().take(Kind.DATE, 0.0)
    for _ in range(50):
        script.take(Kind.DATE, 600.0).take(Kind.REFUSED, 600.0).take(Kind.ACCEPTED, OURS).take(Kind.DATE, 0.0)
        script.take(Kind.SIGNED, 600.0).take(Kind.SIGNED, -1.0)
        # refusals that do not agree with each other
        script.take(Kind.REFUSED, 600.0, 1200.0, 600.0).take(Kind.ACCEPTED, OURS)
        assert script.skew == 0


def test_a_certificate_proves_that_it_is_not_earlier() -> None:
    assert Script().take(Kind.CERTIFIED, 45.0).skew == 45.0
    script = Script().take(Kind.CERTIFIED, -45.0)
    assert script.skew == 0, "but any certificate may be old"
    script.take(Kind.CERTIFIED, -45.0, -45.0)
    assert script.skew == -45.0


def test_the_certified_time_ends_a_dispute_either_way() -> None:
    assert Script().take(Kind.DATE, 60.0, 60.0, 60.0).take(Kind.CERTIFIED, 59.0).skew == 60.0
    assert Script().take(Kind.DATE, -60.0, -60.0, -60.0).take(Kind.CERTIFIED, -61.0).skew == -60.0
    for ahead in (60.0, -60.0):
        script = Script().take(Kind.DATE, ahead, ahead, ahead).take(Kind.CERTIFIED, -1.0)
        assert script.skew == 0
        assert not script.time.disputed
        script.take(Kind.DATE, ahead, ahead, ahead)
        assert not script.time.disputed, "it was refuted"
        assert script.enclosed()[1] < 60.0


def test_a_node_that_lags_or_an_answer_that_was_kept_is_no_earlier_time() -> None:
    script = Script().take(Kind.DATE, 0.0).take(Kind.SIGNED, *[-100.0] * 10)
    assert script.skew == 0
    assert not script.time.eager
    assert script.take(Kind.SIGNED, *[45.0] * 3).skew == 45.0


def test_what_is_in_time_by_both_ends_no_contradiction() -> None:
    script = Script().take(Kind.SIGNED, 60.0).take(Kind.ACCEPTED, OURS)
    assert script.time.eager
    assert script.take(Kind.SIGNED, 60.0).take(Kind.ACCEPTED, OURS).take(Kind.SIGNED, 60.0).skew == 60.0


def test_a_skew_that_has_gone_is_gone() -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0)
    script.take(Kind.ACCEPTED, 600 + OURS).take(Kind.REFUSED, *[0.5] * MANY_WITNESSES)
    assert script.skew == 0


@pytest.mark.parametrize("jump", [JUMP_NS + 1, -JUMP_NS - 1, 600 * SECOND_NS])
def test_a_clock_that_is_set_makes_all_evidence_void(jump: int) -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0)
    script.wall += jump
    assert script.time.now_ns(script.seconds, script.wall) == script.wall
    assert script.enclosed()[0] < -100 * YEAR
    assert script.time.measured_ns is None


@pytest.mark.parametrize("jump", [JUMP_NS + 1, -JUMP_NS - 1, 600 * SECOND_NS, -100_300_000_000, -200_600_000_000])
@pytest.mark.parametrize("first", ["earliest", "enclosed"])
def test_whatever_is_read_first_notices_that_the_clock_was_set(jump: int, first: str) -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0)
    script.wall += jump
    if first == "earliest":
        assert script.time.earliest_ns(script.seconds, script.wall) < script.wall - 100 * YEAR * SECOND_NS
    else:
        low, high = script.time.enclosed_ns(script.seconds, script.wall)
        assert low < script.wall - 100 * YEAR * SECOND_NS
        assert high > script.wall + 100 * YEAR * SECOND_NS


def test_evidence_that_comes_after_the_clock_was_set_is_judged_by_the_new_one() -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0)
    script.wall += 600 * SECOND_NS
    script.take(Kind.DATE, 0.0)
    assert script.skew == 0
    assert script.time.known
    assert script.time.rival_ns is None


@pytest.mark.parametrize("jump", [JUMP_NS, -JUMP_NS])
def test_as_much_as_a_jump_may_be_is_none(jump: int) -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0).take(Kind.CERTIFIED, 600.0).take(Kind.DATE, 600.0)
    script.wall += jump
    assert script.time.now_ns(script.seconds, script.wall) == script.wall + 600 * SECOND_NS
    assert script.enclosed() == (597.5, 602.5)


def test_evidence_holds_however_long_nothing_arrives() -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0).take(Kind.CERTIFIED, 600.0).take(Kind.DATE, 600.0)
    script.seconds += 86_400
    script.wall += 86_400 * SECOND_NS
    assert script.enclosed() == (597.5, 602.5)
    assert script.skew == 600.0


def test_a_clock_that_is_slewed_does_not() -> None:
    script = Script().take(Kind.REFUSED, 600.0, 600.0, 600.0)
    script.wall += JUMP_NS // 2
    script.take(Kind.ACCEPTED, 600 + OURS)
    script.wall += JUMP_NS // 2 + 1
    assert script.time.now_ns(script.seconds, script.wall) != script.wall


Evidence = st.tuples(st.sampled_from(list(Kind)), st.integers(-700, 700).map(float))


@given(st.lists(Evidence, max_size=30))
def test_evidence_that_is_true_leaves_our_own_right_clock_alone(others: list[tuple[Kind, float]]) -> None:
    """Whatever Dates say: as long as strong evidence is right within its bounds, a right clock counts as right."""
    script = Script()
    for kind, ahead in others:
        if kind is Kind.ACCEPTED:
            script.take(kind, ahead % (MAX_INGRESS_TTL_NS / SECOND_NS))
        elif kind is Kind.DATE:
            script.take(kind, ahead)
        else:
            script.take(kind, -(abs(ahead) % (kind.above_ns / SECOND_NS)))
        assert script.skew == 0
        earliest, latest = script.enclosed()
        assert earliest <= 0 <= latest


LIE = 9.0 * YEAR


def unbounded(script: Script) -> bool:
    low, high = script.enclosed()
    return low < -100 * YEAR and high > 100 * YEAR


@pytest.mark.parametrize("ahead", [LIE, -LIE, 600.0, -600.0])
@pytest.mark.parametrize("before", [[], [(Kind.ACCEPTED, float(OURS))], [(Kind.DATE, 0.0)]])
def test_a_certificate_ends_at_once_what_unsigned_text_has_changed(
    ahead: float, before: list[tuple[Kind, float]]
) -> None:
    script = Script()
    for kind, at in before:
        script.take(kind, at)
    script.take(Kind.REFUSED, *[ahead] * MANY_WITNESSES)
    assert script.skew == ahead
    assert script.time.unconfirmed
    assert script.time.disputed
    assert unbounded(script), "the network judges what clients send"
    script.take(Kind.CERTIFIED, -1.0)
    assert script.skew == 0
    assert not script.time.unconfirmed
    assert not script.time.disputed
    assert script.enclosed() == (-3.5, 29.0)


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_certificate_confirms_what_true_text_has_changed(ahead: float) -> None:
    script = Script().take(Kind.REFUSED, ahead, ahead, ahead)
    assert unbounded(script)
    script.take(Kind.CERTIFIED, ahead - 1.0)
    assert script.skew == ahead
    assert not script.time.unconfirmed
    assert script.enclosed() == (ahead - 3.5, ahead + 29.0), "the text does not narrow it"


def test_nothing_unsigned_confirms_unsigned_text() -> None:
    script = Script().take(Kind.REFUSED, LIE, LIE, LIE)
    for kind, at in ((Kind.DATE, LIE), (Kind.ACCEPTED, LIE + OURS), (Kind.REFUSED, LIE), (Kind.DATE, 0.0)):
        script.take(kind, *[at] * (WITNESSES - 1))
        assert script.time.unconfirmed
        assert unbounded(script)
        assert script.skew == LIE
    assert script.take(Kind.CERTIFIED, 0.0).skew == 0


def test_text_after_text_leaves_the_former_estimate_in_reserve() -> None:
    script = Script().take(Kind.REFUSED, *[600.0] * WITNESSES).take(Kind.CERTIFIED, 600.0)
    script.take(Kind.REFUSED, *[LIE] * MANY_WITNESSES).take(Kind.REFUSED, *[-LIE] * MANY_WITNESSES)
    assert script.skew == -LIE
    assert script.take(Kind.CERTIFIED, 599.0).skew == 600.0


def test_text_that_returns_to_the_former_estimate_needs_no_certificate() -> None:
    script = Script().take(Kind.REFUSED, LIE, LIE, LIE).take(Kind.REFUSED, 1.0, 1.0, 1.0)
    assert script.skew == 0
    assert not script.time.unconfirmed
    assert script.enclosed() == (-1.5, 3.5)
    script = Script().take(Kind.REFUSED, *[600.0] * WITNESSES).take(Kind.CERTIFIED, 600.0)
    script.take(Kind.REFUSED, *[LIE] * MANY_WITNESSES).take(Kind.REFUSED, *[602.5] * MANY_WITNESSES)
    assert (script.skew, script.time.unconfirmed) == (600.0, False)


def test_a_certificate_that_fits_both_estimates_restores_the_former() -> None:
    script = Script().take(Kind.REFUSED, 20.0, 20.0, 20.0)
    assert script.time.unconfirmed
    assert script.take(Kind.CERTIFIED, -1.0).skew == 0
    assert not script.time.unconfirmed


def test_a_certificate_that_fits_neither_restores_the_former_and_counts_against_it() -> None:
    script = Script().take(Kind.REFUSED, LIE, LIE, LIE).take(Kind.CERTIFIED, -3600.0)
    assert script.skew == 0
    assert script.time.eager
    assert unbounded(script)
    assert script.take(Kind.CERTIFIED, -3600.0, -3600.0).skew == -3600.0
    # a certificate cannot be from the future
    assert Script().take(Kind.REFUSED, LIE, LIE, LIE).take(Kind.CERTIFIED, 3600.0).skew == 3600.0


def test_an_unconfirmed_estimate_is_handed_over_as_such() -> None:
    script, heir = Script().take(Kind.REFUSED, LIE, LIE, LIE), Script()
    heir.time.read(script.time.written())
    heir.seconds, heir.wall = script.seconds, script.wall
    assert heir.time.unconfirmed
    assert unbounded(heir)
    assert heir.take(Kind.CERTIFIED, 0.0).skew == 0


# The words that icp-js-core reads the time out of, from its e2e/node/basic/syncTime.test.ts.
AGENTS_VECTOR = (
    "Invalid request expiry: Specified ingress_expiry not within expected range: "
    "Minimum allowed expiry: 2025-05-01 23:55:18.005285297 UTC, "
    "Maximum allowed expiry: 2025-05-02 00:00:48.005285297 UTC, Provided expiry: 2025-05-01 12:38:00 UTC"
)


def test_the_replicas_words() -> None:
    assert refuses_expiry(AGENTS_VECTOR)
    reported = replica_time(AGENTS_VECTOR)
    moment = datetime(2025, 5, 1, 23, 55, 18, tzinfo=timezone.utc)
    assert reported == int(moment.timestamp()) * SECOND_NS + 5_285_297
    # as older replicas have it
    lines = AGENTS_VECTOR.replace(", ", ",\n").replace(": M", ":\nM")
    assert replica_time(lines) == reported
    assert replica_time(AGENTS_VECTOR.replace(".005285297", "")) == reported - 5_285_297
    assert replica_time(AGENTS_VECTOR.replace(".005285297", ".5")) == reported - 5_285_297 + 500_000_000


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Minimum allowed expiry: 2025-05-01 23:55:18.005285297 UTC",
        "Specified ingress_expiry not within expected range: soon",
        "Specified ingress_expiry not within expected range: Minimum allowed expiry: 2025-13-41 23:55:18 UTC",
        "Specified ingress_expiry not within expected range: Minimum allowed expiry: 9999999999ns",
    ],
)
def test_words_that_tell_no_time(words: str) -> None:
    assert replica_time(words) is None


def test_a_step_is_less_than_a_lag() -> None:
    assert STEP_NS < Kind.CERTIFIED.above_ns < Kind.SIGNED.above_ns
