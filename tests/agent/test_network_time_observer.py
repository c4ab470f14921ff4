"""The agent derives the time from its answers, and reads the certified one where they contradict."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.network_time_observer import CHECK_INTERVAL, NOTE_INTERVAL, READ_INTERVAL, NetworkTimeObserver
from icwsgw.core.network_time import WITNESSES, Evidence
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.replica import Replica
from icwsgw.errors import CertificateInvalid, HttpError, SignatureInvalid
from icwsgw.ic.envelope import query_content, sign_request
from tests.agent.test_ic_agent import POLL, Rig
from tests.support.devnet import GATEWAY, result_of

SECOND = 1_000_000_000


class Dated(Rig):
    """An agent whose own clock may be wrong, before a replica whose Date headers may be.

    :ivar ours: how far the agent's clock is ahead of the replica's, s
    :ivar dates: how far the Date headers are
    """

    def __init__(self, ours: float = 0.0, dates: float = 0.0, **options: Any) -> None:
        self.ours, self.dates = ours, dates
        self.more: dict[str, str] = {}
        super().__init__(**options)
        self.agent.now_ns = lambda: self.net.now_ns() + int(self.ours * SECOND)
        replica = self.net.handle

        def handler(method: str, path: str, body: bytes) -> Any:
            return maybeDeferred(replica, method, path, body).addCallback(self._dated)

        self.handler = handler

    def _dated(self, answer: Any) -> Any:
        status, headers, content = answer
        date = formatdate(self.net.now_ns() / 1e9 + self.dates, usegmt=True)
        return status, {**headers, "Date": date, **self.more}, content

    def poll_as_gateways_do(self) -> Any:
        """Poll, signed by what the agent takes for the network's time."""
        expiry = self.agent.network_ns() + 240 * SECOND
        content = query_content(GATEWAY.principal, ECHO_ID, "ws_get_messages", POLL, expiry, b"n")
        return self.agent.query(ECHO_ID, sign_request(GATEWAY, content), timeout=5.0)

    def polls(self, count: int) -> list[str]:
        """What became of some polls, ten seconds apart."""
        ends = []
        for _ in range(count):
            d = self.poll_as_gateways_do()
            self.clock.pump([0.1] * 10)
            ended: list[str] = []
            d.addCallbacks(lambda _: "ok", lambda failure: type(failure.value).__name__).addCallback(ended.append)
            ends += ended
            self.clock.advance(NOTE_INTERVAL)
        return ends

    @property
    def skew(self) -> float:
        return self.agent.time.skew_ns / SECOND

    @property
    def times_asked(self) -> int:
        return sum(path.endswith("/read_state") for path in self.paths)


def test_a_right_clock_is_confirmed() -> None:
    rig = Dated()
    assert rig.agent.clock_skew_ns is None
    assert rig.polls(2) == ["ok", "ok"]
    assert rig.agent.time.known
    assert abs(rig.agent.clock_skew_ns) < SECOND  # type: ignore[arg-type]
    assert rig.times_asked == 0


@pytest.mark.parametrize("dates", [600.0, -600.0, 3e8])
def test_dates_that_are_wrong_are_refuted_by_the_replicas_that_take_what_we_sign(dates: float) -> None:
    rig = Dated(dates=dates)
    assert rig.polls(10) == ["ok"] * 10
    assert rig.skew == 0
    assert not rig.agent.time.disputed


@pytest.mark.parametrize("dates", [60.0, -60.0])
def test_dates_that_are_a_little_wrong_are_refuted_by_the_certified_time(dates: float) -> None:
    rig = Dated(dates=dates)
    assert rig.polls(10) == ["ok"] * 10
    assert rig.skew == 0
    assert not rig.agent.time.disputed
    assert rig.times_asked == 1


@pytest.mark.parametrize("ours", [60.0, -60.0])
def test_a_clock_of_ours_that_is_a_little_wrong_is_found_by_the_certified_time(ours: float) -> None:
    rig = Dated(ours=ours)
    assert rig.polls(10) == ["ok"] * 10
    assert rig.skew == pytest.approx(-ours, abs=2)
    assert rig.times_asked == 1


@pytest.mark.parametrize("ours", [600.0, -600.0])
@pytest.mark.parametrize("with_dates", [True, False])
def test_a_clock_of_ours_that_is_wrong_costs_a_few_polls(ours: float, with_dates: bool) -> None:
    rig = Dated(ours=ours)
    if not with_dates:
        rig.handler = rig.net.handle
    ends = rig.polls(8)
    assert ends[WITNESSES:] == ["ok"] * (8 - WITNESSES)
    assert set(ends[:WITNESSES]) >= {"HttpError"}
    assert rig.skew == pytest.approx(-ours, abs=2)


def test_with_node_signatures_a_clock_of_ours_that_is_wrong_costs_a_few_polls_too() -> None:
    rig = Dated(ours=600.0, verify_query_signatures=True)
    assert rig.polls(8)[WITNESSES:] == ["ok"] * (8 - WITNESSES)


def test_node_signatures_tell_the_time() -> None:
    rig = Dated(ours=-60.0, verify_query_signatures=True)
    rig.handler = rig.net.handle
    assert rig.polls(6) == ["ok"] * 6
    assert rig.skew == pytest.approx(60, abs=2)
    assert rig.times_asked == 1, "of the nodes' keys"


def test_answers_that_a_cache_has_kept_tell_no_time() -> None:
    rig = Dated(dates=-3600.0)
    rig.more = {"Age": "3600", "Via": "1.1 cache"}
    assert rig.polls(5) == ["ok"] * 5
    assert rig.agent.time.rival_ns is None
    assert rig.agent.clock_skew_ns is None
    assert rig.agent.last_answer is not None


def test_the_answer_to_a_get_is_no_evidence_of_the_time() -> None:
    rig = Dated(dates=-3600.0)
    for _ in range(5):
        rig.clock.advance(NOTE_INTERVAL)
        result_of(rig.agent.status())
    assert not rig.agent.time.eager
    assert rig.agent.last_answer == rig.clock.seconds()


def test_one_answer_in_ten_seconds_is_looked_at_unless_something_contradicts() -> None:
    clock, date = Clock(), 3600.0
    time_observer = NetworkTimeObserver(clock, lambda: 0, lambda _: succeed(0))
    answer = ParsedResponse(202, {b"date": formatdate(date, usegmt=True).encode()}, b"")
    time_observer.note(answer, ECHO_ID)
    assert time_observer.due == clock.seconds()
    time_observer.note(ParsedResponse(202, {b"date": formatdate(0, usegmt=True).encode()}, b""), ECHO_ID)
    assert time_observer.due == clock.seconds() + NOTE_INTERVAL


@pytest.mark.parametrize("answer", [HttpError(503), CertificateInvalid("x"), SignatureInvalid("y")])
def test_a_certified_time_that_cannot_be_had_is_read_again(answer: Exception) -> None:
    clock, reads = Clock(), []

    def read_time(_: object) -> Deferred[int]:
        reads.append(clock.seconds())
        return fail(answer)

    time_observer = NetworkTimeObserver(clock, lambda: int(clock.seconds() * SECOND), read_time)
    for _ in range(6):
        date = formatdate(clock.seconds() + 60, usegmt=True).encode()
        time_observer.note(ParsedResponse(202, {b"date": date}, b""), ECHO_ID)
        clock.advance(NOTE_INTERVAL)
    assert len(reads) == 6 - WITNESSES + 1
    assert time_observer.time.disputed


def test_a_read_that_fails_at_once_is_not_repeated_with_each_answer() -> None:
    clock, reads = Clock(), []

    def read_time(_: object) -> Deferred[int]:
        reads.append(clock.seconds())
        return fail(HttpError(500))

    observer = NetworkTimeObserver(clock, lambda: int(clock.seconds() * SECOND), read_time)
    for _ in range(100):
        date = formatdate(clock.seconds() + 60, usegmt=True).encode()
        observer.note(ParsedResponse(202, {b"date": date}, b""), ECHO_ID)
        clock.advance(0.05)
    assert observer.time.disputed
    assert 4 <= len(reads) <= 6
    assert all(later - earlier >= READ_INTERVAL for earlier, later in pairwise(reads))


def test_stopping_gives_the_question_up() -> None:
    clock = Clock()
    cancelled: list[Any] = []
    time_observer = NetworkTimeObserver(clock, lambda: 0, lambda _: Deferred(cancelled.append))
    for _ in range(WITNESSES):
        time_observer.note(ParsedResponse(202, {b"date": formatdate(60, usegmt=True).encode()}, b""), ECHO_ID)
    time_observer.stop()
    time_observer.stop()
    assert len(cancelled) == 1


@pytest.mark.parametrize(("skew", "at_most"), [(600.0, 5.0), (-600.0, 1.0)])
def test_an_idle_gateway_corrects_a_wrong_estimate(skew: float, at_most: float) -> None:
    """A certified time that is later than the estimate proves it wrong; one that is earlier has to come three times."""
    clock = Clock()
    reads: list[float] = []

    def read_time(_: object) -> Deferred[int]:
        reads.append(clock.seconds())
        return succeed(int(clock.seconds() * SECOND))

    observer = NetworkTimeObserver(clock, lambda: int(clock.seconds() * SECOND), read_time)
    observer.note(ParsedResponse(202, {}, b""), ECHO_ID)
    for _ in range(WITNESSES):
        observer.time.take(Evidence.SIGNED, int((clock.seconds() + skew) * SECOND), 0.0, 0)
    assert observer.time.skew_ns == skew * SECOND
    # such as after a handover: only the idle gateway's status requests are answered
    observer.note_status(200)
    clock.advance(CHECK_INTERVAL - 0.5)
    assert not reads
    clock.pump([0.5] * 20)
    assert observer.time.skew_ns == 0
    assert reads[-1] - reads[0] <= at_most
    clock.advance(CHECK_INTERVAL)
    assert not clock.getDelayedCalls(), "a right clock is not checked"


def refuse(observer: NetworkTimeObserver, seconds: float) -> None:
    moment = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    for _ in range(WITNESSES):
        observer.note_refusal(f"ingress_expiry not within expected range: Minimum allowed expiry: {moment} UTC")


def test_refusals_lead_to_one_reading_at_a_canister_that_answers() -> None:
    clock = Clock()
    asked: list[Any] = []

    def read_time(canister: object) -> Deferred[int]:
        asked.append((canister, Deferred()))
        waiting: Deferred[int] = asked[-1][1]
        return waiting

    observer = NetworkTimeObserver(clock, lambda: int(clock.seconds() * SECOND), read_time)
    observer.note(ParsedResponse(400, {}, b""), CHAT_ID)
    observer.note(ParsedResponse(202, {}, b""), ECHO_ID)
    observer.note(ParsedResponse(400, {}, b""), CHAT_ID)
    refuse(observer, 3600)
    assert observer.time.unconfirmed
    clock.pump([0.5] * 20)
    assert [canister for canister, _ in asked] == [ECHO_ID]
    asked[0][1].callback(int(clock.seconds() * SECOND))
    assert observer.time.skew_ns == 0
    assert not observer.time.unconfirmed


def test_a_stopped_observer_reads_nothing() -> None:
    clock, reads = Clock(), []

    def read_time(canister: object) -> Deferred[int]:
        reads.append(canister)
        return fail(HttpError(500))

    observer = NetworkTimeObserver(clock, lambda: 0, read_time)
    observer.note(ParsedResponse(202, {}, b""), ECHO_ID)
    refuse(observer, 3600)
    assert len(reads) == 1
    observer.stop()
    assert not clock.getDelayedCalls()
    refuse(observer, 7200)
    assert not clock.getDelayedCalls()
    assert len(reads) == 1


def test_a_recreated_test_network_with_another_time_counts_by_its_new_key() -> None:
    """Nothing else is verified while no canister has messages, so the certified time alone shows the new key."""
    rig = Rig(own_time=True)
    later = Replica(rig.clock, lambda: rig.net.now_ns() + 3600 * SECOND, b"created anew")
    rig.handler = later.handle
    for _ in range(120):
        expiry = rig.agent.network_ns() + 240 * SECOND
        content = query_content(GATEWAY.principal, ECHO_ID, "ws_get_messages", POLL, expiry, b"n")
        rig.agent.query(ECHO_ID, sign_request(GATEWAY, content), timeout=5.0).addErrback(lambda _: None)
        rig.clock.advance(1.0)
    assert rig.agent.root_key == later.root_key_der
    assert rig.agent.root_key_fetches == {"ok": 2, "failed": 0}
    assert not rig.agent.time.unconfirmed
