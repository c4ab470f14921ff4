"""The poller's ticks, its send window and its grace period, query by query. (tests/memory has it against the CDK.)"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.core.request_kind import RequestKind
from icwsgw.core.reset_detector import WAITING_PROBE_SECONDS
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import ConnectionLost, HttpError, Rejected
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP
from icwsgw.gateway.polling.poller import Poller
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import encode_batch, encode_batch_err
from tests.support.fake_network import CANISTER, FakeNetwork, make_context

INTERVAL = 0.1


class Session:
    """What a poller sees of a session."""

    def __init__(self) -> None:
        self.id = "s-1"
        self.state = State.OPEN
        self.opened = Opened.EXECUTED
        self.outgoing: list[bytes] | None = None
        self.frames: list[bytes] = []
        self.ended: list[Any] = []
        self.gone = False
        self.asked_whether_it_missed = 0

    def has_missed(self, content: bytes) -> bool:
        self.asked_whether_it_missed += 1
        return False

    def first_message(self, content: bytes) -> bool:
        return True

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        self.opened = Opened.SPOKE
        self.frames += frames

    def end(self, code: int, text: str) -> None:
        self.ended.append((code, text))

    def canister_reset(self) -> None:
        self.gone = True


KEY = (b"\x01" * 29, 1)


def make(cursor: Any = None, **options: Any) -> tuple[Poller, Session, FakeNetwork, Clock]:
    context, network, clock = make_context(**options)
    poller = Poller(context, CANISTER, 0, cursor)
    session = Session()
    poller.add(session, KEY)  # type: ignore[arg-type]
    poller.waiting.clear()
    poller.start()
    clock.advance(0)
    return poller, session, network, clock


def reply(first: int, count: int, end: bool = True, life: int = 1) -> bytes:
    messages = [
        (*KEY, b"gw_%020d" % nonce, cbor.dumps({"timestamp": life * 1_000_000 + nonce, "content": b"%d" % life}))
        for nonce in range(first, first + count)
    ]
    return encode_batch(messages, b"cert", b"tree", end)


EMPTY = encode_batch([], b"", b"", True)


def nonces(network: FakeNetwork) -> list[int]:
    return [query.nonce for query in network.queries]


def test_every_tick_polls_an_idle_queue_with_the_same_request() -> None:
    _, session, network, clock = make()
    for _ in range(20):
        network.queries[-1].answer(EMPTY)
        clock.advance(INTERVAL)
    assert nonces(network) == [0] * 21
    assert len({query.body for query in network.queries}) == 1
    assert session.frames == []


def test_queries_about_the_past_make_room() -> None:
    poller, session, network, clock = make(poll_window=4)
    bound = 4 + MAX_OVERLAP + 1
    for number in range(8):
        for _ in range(MAX_OVERLAP):
            clock.advance(INTERVAL)
            assert poller.in_flight <= bound
        # of all that ask for this number only the newest is answered
        assert network.queries[-1].nonce == number
        network.queries[-1].answer(reply(number, 1))
    assert len(session.frames) == 8
    clock.advance(INTERVAL)
    assert network.queries[-1].nonce == 8
    assert not network.queries[-1].cancelled
    assert sum(not (query.deferred.called or query.cancelled) for query in network.queries) == poller.in_flight


def test_messages_are_delivered_and_the_next_query_is_soon() -> None:
    _, session, network, clock = make()
    network.queries[0].answer(reply(0, 3))
    assert len(session.frames) == 3
    clock.advance(INTERVAL / 2)
    assert nonces(network) == [0, 3]
    network.queries[1].answer(reply(3, 1))
    assert len(session.frames) == 4


def test_polls_for_calls_respect_a_pause_and_end_with_the_poller() -> None:
    poller, _, network, clock = make()
    network.queries[0].answer(EMPTY)
    clock.advance(0.015)
    poller.wake()
    clock.advance(0)
    assert len(network.queries) == 2
    network.queries[-1].answer(HttpError(429, "", 2.0))
    for _ in range(30):
        poller.wake()
        clock.advance(0.03)
    assert len(network.queries) == 2
    clock.advance(5)
    poller.wake()
    poller.stop()
    assert clock.getDelayedCalls() == []


def test_at_rest_a_probe_takes_the_place_of_a_poll_now_and_then() -> None:
    poller, session, network, clock = make()
    network.queries[0].answer(reply(0, 4))
    for _ in range(25):
        clock.advance(INTERVAL)
        query = network.queries[-1]
        query.answer(reply(query.nonce, 5 - query.nonce) if query.nonce < 4 else EMPTY)
    assert nonces(network).count(3) == 1
    assert poller._metrics.duplicates.value == 0, "its anchor is none"
    # the probe brought a new message, which is the anchor of the next probe
    assert len(session.frames) == 5
    assert nonces(network)[-1] == 5


def test_ticks_overlap_where_queries_are_slow() -> None:
    _, session, network, clock = make()
    for _ in range(5):
        clock.advance(INTERVAL)
    assert nonces(network) == [0] * 6
    network.queries[3].answer(reply(0, 2))
    network.queries[0].answer(reply(0, 1))
    network.queries[5].answer(reply(0, 2))
    assert len(session.frames) == 2


def test_a_late_tick_does_not_cost_the_next_one() -> None:
    _, _, network, clock = make()
    clock.advance(INTERVAL * 1.4)
    assert len(network.queries) == 2
    clock.advance(INTERVAL * 0.65)
    assert len(network.queries) == 3


def test_a_tick_leaves_out_its_query_when_another_left_just_before() -> None:
    poller, _, network, clock = make()
    clock.advance(INTERVAL * 0.7)
    poller.wake()
    clock.advance(0)
    assert len(network.queries) == 2
    clock.advance(INTERVAL * 0.35)
    assert len(network.queries) == 2


def test_hanging_queries_are_bounded_and_the_oldest_makes_room() -> None:
    poller, _, network, clock = make()
    for _ in range(60):
        clock.advance(INTERVAL)
    assert poller.in_flight <= MAX_OVERLAP
    assert network.queries[0].cancelled
    assert not network.queries[-1].cancelled
    waits = [query for query in network.queries if not query.cancelled]
    assert len(waits) == poller.in_flight


def test_wakes_do_not_add_to_hanging_queries_without_bound() -> None:
    poller, _, network, clock = make()
    for _ in range(400):
        poller.wake()
        clock.advance(0.02)
        assert poller.in_flight <= MAX_OVERLAP
    # the newest are still fresh, whoever asked for them
    assert not network.queries[-1].cancelled


def test_slow_but_living_queries_are_not_given_up_for_ever() -> None:
    _, session, network, clock = make()
    sent: list[float] = []
    for _ in range(400):
        while len(sent) < len(network.queries):
            sent.append(clock.seconds())
        for query, at in zip(network.queries, sent, strict=True):
            if not query.cancelled and not query.deferred.called and clock.seconds() - at >= 2.5:
                query.answer(reply(0, 1))
        if session.frames:
            return
        clock.advance(INTERVAL)
    pytest.fail("a queue whose queries take 2.5 s was never read")


def test_a_long_queue_is_polled_from_many_nonces_and_put_in_order() -> None:
    _, session, network, _ = make(poll_window=4)
    network.queries[0].answer(reply(0, 50, end=False))
    network.queries[1].answer(reply(50, 50, end=False))
    assert nonces(network) == [0, 50, 100, 150]
    network.queries[3].answer(reply(150, 50, end=False))
    assert len(session.frames) == 100
    network.queries[2].answer(reply(100, 50, end=False))
    assert len(session.frames) == 200
    assert sorted(nonces(network)[4:]) == [200, 250, 300, 350]


def test_probes_whose_page_the_anchor_fills_do_not_keep_from_a_waiting_client_what_is_behind() -> None:
    poller, session, network, clock = make()
    network.queries[0].answer(reply(0, 1))
    poller.waiting[b"another", 1] = session  # type: ignore[assignment]
    # each answer has one message, and comes later than the next probe is due
    for _ in range(20):
        clock.advance(2 * WAITING_PROBE_SECONDS)
        for query in network.queries[1:]:
            if query.nonce == 0 and not query.deferred.called:
                query.answer(reply(0, 1, end=False))
    last = [query for query in network.queries if query.nonce == 1]
    assert len(last) > 3
    assert 0 in nonces(network)[5:], "probes go on"
    last[-1].answer(reply(1, 1))
    assert len(session.frames) == 2


def test_wakes_poll_soon_and_together() -> None:
    poller, _, network, clock = make()
    network.queries[0].answer(EMPTY)
    clock.advance(INTERVAL / 2)
    for _ in range(50):
        poller.wake()
    clock.advance(0)
    assert len(network.queries) == 2


@pytest.mark.parametrize(
    "answer",
    [
        ConnectionLost("lost"),
        HttpError(500),
        Rejected(5, "trapped"),
        ZeroDivisionError("ours"),
        b"garbage",
        encode_batch_err("gateway?"),
    ],
)
def test_a_bad_answer_costs_one_poll(answer: Any) -> None:
    poller, session, network, clock = make()
    for _ in range(5):
        network.queries[-1].answer(answer)
        clock.advance(INTERVAL)
    assert len(network.queries) == 6
    assert poller.backoff.failures == 5
    network.queries[-1].answer(reply(0, 1))
    assert len(session.frames) == 1
    assert session.ended == []
    assert poller.stop() is not None


@pytest.mark.parametrize("opened", [Opened.EXECUTED, Opened.UNKNOWN])
def test_an_empty_queue_is_proved_when_a_client_waits_whose_ws_open_was_executed(opened: Opened) -> None:
    """The canister may have been reset, and counts from 0 again."""
    poller, session, network, clock = make()
    network.queries[0].answer(reply(0, 4))
    clock.advance(INTERVAL)
    session.opened = opened
    poller.waiting[KEY] = session  # type: ignore[assignment]
    network.queries[-1].answer(EMPTY)
    clock.advance(INTERVAL)
    assert (3 in nonces(network)) is (opened is Opened.EXECUTED)


def spend_all(poller: Poller, now: float) -> None:
    """Use up the budget's tokens, and let so many pollers share it that the next tick polls in ten seconds only."""
    schedule, budget = poller.poll_budget.poll_schedule, poller._context.budget
    for _ in range(200):
        budget.join(now)
    schedule.due = now + 10
    while budget.take(RequestKind.EXTRA, now):
        pass


def test_a_poll_without_a_token_follows_when_there_is_one() -> None:
    poller, session, network, clock = make(query_budget=16)
    spend_all(poller, clock.seconds())
    network.queries[0].answer(reply(0, 3, end=False))
    assert (len(session.frames), len(network.queries), poller.in_flight) == (3, 1, 0)
    clock.pump([0.01] * 100)
    assert nonces(network)[1] == 3, "long before the next tick"
    poller.stop()


def test_a_wake_without_a_token_waits_for_one() -> None:
    poller, _, network, clock = make(query_budget=16)
    spend_all(poller, clock.seconds())
    poller.wake()
    clock.advance(0.01)
    assert len(network.queries) == 1
    clock.pump([0.01] * 100)
    assert len(network.queries) > 1, "long before the next tick"
    poller.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(("per_second", "interval"), [(40.0, 0.1), (100.0, 0.1), (100.0, 0.5)])
@pytest.mark.parametrize("canisters", [3, 25])
def test_looks_and_probes_stay_within_the_budget(canisters: int, per_second: float, interval: float) -> None:
    """Each canister claims that its queue ended at the first message: each probe leads to a look at its start."""
    context, network, clock = make_context(query_budget=per_second, polling_interval=interval)
    pollers = {}
    for number in range(canisters):
        canister = Principal(number.to_bytes(8, "big") + b"\x01\x01")
        poller = pollers[canister.raw] = Poller(context, canister, 0, None)
        poller.add(Session(), KEY)  # type: ignore[arg-type]
        poller.start()
    sent, looks = [], 0
    while clock.seconds() < 30:
        clock.advance(0.02)
        queries, network.queries[:] = list(network.queries), []
        sent += [clock.seconds()] * len(queries)
        for query in queries:
            if query.cancelled:
                continue
            if pollers[query.canister.raw].cursor.fresh:
                query.answer(reply(0, 2))
            else:
                looks += query.nonce == 0
                query.answer(reply(0, 1) if query.nonce == 0 else EMPTY)
    steady = sum(time >= 10 for time in sent)
    assert steady <= 1.02 * per_second * 20
    assert looks > canisters, "each canister is looked at"
    for poller in pollers.values():
        poller.stop()


def test_without_a_token_a_look_takes_the_place_of_the_next_poll() -> None:
    poller, _, network, clock = make(query_budget=16)
    network.queries[0].answer(reply(0, 4))
    poller._reset_detector.probe_now()
    clock.advance(INTERVAL)
    assert nonces(network)[-1] == 3, "the probe"
    while poller._context.budget.take(RequestKind.EXTRA, clock.seconds()):
        pass
    before = len(network.queries)
    network.queries[-1].answer(EMPTY)
    clock.advance(0)
    assert len(network.queries) == before
    poller.poll_budget.poll_schedule.due = clock.seconds() + INTERVAL
    clock.advance(INTERVAL)
    assert nonces(network)[before:] == [0]


@pytest.mark.parametrize("sent", [False, True], ids=["due", "in flight"])
def test_a_look_that_another_process_was_about_to_have_is_the_first_poll(sent: bool) -> None:
    """Otherwise the probe before it comes again first."""
    poller, _, network, clock = make(query_budget=16)
    network.queries[0].answer(reply(0, 4))
    poller._reset_detector.probe_now()
    clock.advance(INTERVAL)
    assert nonces(network)[-1] == 3, "the probe"
    assert poller.written()["due_look"] is None, "the probe itself is sent again"
    while not sent and poller._context.budget.take(RequestKind.EXTRA, clock.seconds()):
        pass
    network.queries[-1].answer(EMPTY)
    clock.advance(0)
    assert nonces(network)[-1] == (0 if sent else 3)
    document = cbor.loads(cbor.dumps(poller.written()))
    context, other, later = make_context()
    later.advance(clock.seconds())
    successor = Poller(context, CANISTER, 0, None)
    successor.read(document)
    successor.start()
    later.advance(INTERVAL)
    assert nonces(other)[:1] == [0]
    other.queries[0].answer(EMPTY)
    later.advance(INTERVAL)
    assert 0 not in nonces(other)[1:], "once"
    successor.stop()


def test_without_a_token_a_probe_takes_the_place_of_the_poll() -> None:
    poller, _, network, clock = make(query_budget=16)
    network.queries[0].answer(reply(0, 1))
    clock.advance(INTERVAL)
    network.queries[-1].answer(reply(1, 3))
    assert (poller.cursor.next, poller._reset_detector.anchor.nonce) == (4, 0)
    for tokens, queries in ((1, [0, 4]), (0, [0])):
        for query in network.queries:
            if not query.deferred.called:
                query.answer(EMPTY if query.nonce else reply(0, 1))
        while poller._context.budget.take(RequestKind.EXTRA, clock.seconds()):
            pass
        poller._context.budget._buckets[RequestKind.EXTRA].level = tokens
        poller._reset_detector.probe_now()
        before = len(network.queries)
        poller._poll(clock.seconds(), overlap=True)
        assert nonces(network)[before:] == queries


def test_what_follows_a_reset_needs_a_token() -> None:
    poller, session, network, clock = make(query_budget=16)
    network.queries[0].answer(reply(0, 1))
    for _ in range(20):
        poller._reset_detector.probe_now()
        clock.advance(INTERVAL)
        probe = network.queries[-1]
        assert probe.nonce == 0
        spend_all(poller, clock.seconds())
        before = len(network.queries)
        probe.answer(reply(0, 1, life=2))
        if poller._metrics.resets.value:
            break
        poller.poll_budget.poll_schedule.due = clock.seconds()
    assert len(network.queries) == before
    clock.pump([0.01] * 100)
    assert session.gone
    assert nonces(network)[before:][:1] == [0], "long before the next tick"


def test_a_bad_answer_leads_to_no_further_poll_before_the_next_tick() -> None:
    _, _, network, clock = make()
    network.queries[0].answer(Rejected(5, "trapped"))
    clock.pump([INTERVAL / 10] * 9)
    assert len(network.queries) == 1
    clock.pump([INTERVAL / 10] * 2)
    assert len(network.queries) == 2


def test_an_overloaded_network_is_given_its_pause() -> None:
    _, _, network, clock = make()
    network.queries[0].answer(HttpError(429, "", 2.0))
    clock.pump([INTERVAL] * 19)
    assert len(network.queries) == 1
    clock.pump([INTERVAL] * 2)
    assert len(network.queries) > 1


def test_older_queries_do_not_shorten_a_requested_pause() -> None:
    poller, session, network, clock = make(poll_window=8)
    network.queries[0].answer(reply(0, 50, end=False))
    pages = [query for query in network.queries if not query.deferred.called]
    clock.pump([INTERVAL] * 3)
    pages[0].answer(HttpError(429, "", 3.0))
    # another one, which left before, is answered well: a whole page, and there is more
    again = next(query for query in network.queries if not query.deferred.called and query.nonce == 50)
    sent = len(network.queries)
    again.answer(reply(50, 50, end=False))
    assert len(session.frames) == 100
    poller.wake()
    clock.pump([INTERVAL] * 29)
    assert len(network.queries) == sent
    clock.pump([INTERVAL] * 2)
    assert len(network.queries) > sent


def test_a_long_requested_pause_is_no_silence_of_the_canister() -> None:
    _, session, network, clock = make(canister_grace=5.0)
    network.queries[0].answer(reply(0, 1))
    clock.advance(INTERVAL)
    network.queries[-1].answer(HttpError(503, "", 20.0))
    clock.pump([INTERVAL] * 202)
    network.queries[-1].answer(Rejected(5, "trapped"))
    clock.pump([INTERVAL] * 45)
    assert session.ended == []
    clock.pump([INTERVAL] * 10)
    assert {code for code, _ in session.ended} == {4106}


@pytest.mark.parametrize(("failing", "paused"), [(1, False), (2, True)])
@pytest.mark.parametrize("error", [HttpError(429, "", 4.0), HttpError(503, "", 4.0)])
def test_a_pause_requested_of_two_canisters_is_meant_for_all(failing: int, paused: bool, error: HttpError) -> None:
    context, network, clock = make_context()
    canisters = [Principal(bytes((0, 0, 0, 0, 0, 0, 0, number, 1, 1))) for number in range(3)]
    for canister in canisters:
        poller = Poller(context, canister, 0, None)
        poller.add(Session(), KEY)  # type: ignore[arg-type]
        poller.start()
    clock.advance(0)
    for query in list(network.queries):
        query.answer(error if query.canister in canisters[:failing] else EMPTY)
    network.queries.clear()
    clock.advance(INTERVAL)
    assert (canisters[2] not in {query.canister for query in network.queries}) is paused
    clock.pump([INTERVAL] * 60)
    assert {query.canister for query in network.queries} == set(canisters)


def test_the_grace_period_ends_with_a_reason() -> None:
    _, session, network, clock = make(canister_grace=5.0)
    for _ in range(60):
        if not network.queries[-1].deferred.called:
            network.queries[-1].answer(Rejected(5, "trapped"))
        clock.advance(INTERVAL)
    assert session.ended[0][0] == 4106


def test_a_gap_is_polled_again_at_once() -> None:
    _, session, network, clock = make()
    network.queries[0].answer(reply(0, 1))
    clock.advance(INTERVAL)
    network.queries[-1].answer(reply(2, 1))
    clock.advance(0.02)
    assert nonces(network)[-1] == 1
    network.queries[-1].answer(reply(1, 2))
    assert len(session.frames) == 3


def test_many_bad_answers_to_queries_of_one_moment_do_not_make_a_gap() -> None:
    _, session, network, clock = make()
    network.queries[0].answer(reply(0, 1))
    clock.pump([INTERVAL] * 8)
    slow = [query for query in network.queries if not query.deferred.called and query.nonce == 1]
    assert len(slow) >= 5
    # all of them met the same faulty replica, whose answers come one after the other
    for query in slow:
        query.answer(reply(2, 1))
        clock.advance(0.4)
    assert len(session.frames) == 1
    for query in network.queries:
        if not query.deferred.called and query.nonce == 1:
            query.answer(reply(1, 2))
    assert len(session.frames) == 3


@pytest.mark.parametrize("took", [0.0, 0.5, 2.0])
def test_successive_queries_prove_a_gap(took: float) -> None:
    _, session, network, clock = make()
    network.queries[0].answer(reply(0, 1))
    sent: list[float] = []
    while len(session.frames) < 2:
        clock.advance(0.05)
        sent += [clock.seconds()] * (len(network.queries) - len(sent))
        for query, at in zip(network.queries, sent, strict=True):
            if not query.deferred.called and not query.cancelled and clock.seconds() - at >= took:
                query.answer(reply(5, 1) if query.nonce > 0 else reply(0, 1))
        assert clock.seconds() < 1.5 + 4 * took
    assert session.asked_whether_it_missed == 1, "some of what is gone may have been for it"


def newcomer_of(poller: Poller, network: FakeNetwork) -> Session:
    """A client that opens its session when five messages of the queue have been read."""
    newcomer = Session()
    newcomer.state = State.SETUP
    network.queries[0].answer(reply(0, 5))
    poller.add(newcomer, (b"\x02" * 29, 2))  # type: ignore[arg-type]
    return newcomer


@pytest.mark.parametrize("first", [1, 3])
def test_replicas_that_lag_behind_a_reset_make_no_client_miss_a_message(first: int) -> None:
    """A new client has its first message; then replicas without the reset answer for 20 s, also to probes."""
    poller, _, network, clock = make()
    newcomer = newcomer_of(poller, network)
    for _ in range(40):
        clock.advance(INTERVAL)
        for query in network.queries:
            if not query.deferred.called:
                query.answer(reply(0, 1, life=2) if query.nonce == 0 else EMPTY)
    assert (poller.cursor.next, poller._metrics.resets.value) == (1, 1)
    newcomer.state = State.OPEN
    for number in range(200):
        clock.advance(INTERVAL)
        for query in network.queries:
            if not query.deferred.called:
                old = reply(max(first, query.nonce), 2) if query.nonce else reply(0, 5)
                query.answer(EMPTY if query.nonce and number % 2 else old)
    assert (poller.cursor.next, newcomer.gone) == (1, False)
    clock.advance(INTERVAL)
    network.queries[-1].answer(reply(network.queries[-1].nonce, 3 - network.queries[-1].nonce, life=2))
    assert (poller.cursor.next, poller._metrics.resets.value) == (3, 1)


def test_a_resumed_queue_that_was_absent_for_a_moment_is_read_again_at_once() -> None:
    """A replica that lags behind has shown none of it, so that the position counts no more."""
    first, _, network, _ = make()
    network.queries[0].answer(reply(0, 8))
    cursor = first.stop()
    _, session, network, clock = make(cursor)
    network.queries[-1].answer(EMPTY)
    clock.advance(INTERVAL)
    network.queries[-1].answer(reply(network.queries[-1].nonce, 9 - network.queries[-1].nonce))
    assert network.queries[-1].nonce == 0
    assert len(session.frames) == 9


def test_a_probe_at_a_replica_that_lags_behind_a_reset_hides_it_for_that_probe_only() -> None:
    """The new queue goes on where the old one was read, and a replica without the reset answers the first probe."""
    poller, session, network, clock = make()
    network.queries[0].answer(reply(0, 1))
    probes = 0
    for _ in range(60):
        clock.advance(INTERVAL)
        for query in list(network.queries):
            if query.deferred.called:
                continue
            if query.nonce == 1:
                query.answer(reply(1, 1, life=2))
            elif query.nonce == 0 and not session.gone:
                probes += 1
                query.answer(reply(0, 1) if probes == 1 else reply(0, 2, life=2))
            else:
                query.answer(EMPTY)
    assert (session.gone, poller._metrics.resets.value) == (True, 1)
    assert probes <= 3


def test_a_reset_ends_the_old_sessions_and_starts_at_the_beginning() -> None:
    poller, session, network, clock = make()
    newcomer = newcomer_of(poller, network)
    for _ in range(40):
        if session.gone:
            break
        clock.advance(INTERVAL)
        for query in network.queries:
            if not query.deferred.called:
                query.answer(reply(0, 2, life=2) if query.nonce == 0 else EMPTY)
    assert session.gone
    assert not newcomer.gone
    assert nonces(network)[-1] == 0


def test_stopping_cancels_and_leaves_no_timer_and_keeps_the_position() -> None:
    poller, _, network, clock = make()
    network.queries[0].answer(reply(0, 7))
    clock.pump([INTERVAL] * 5)
    cursor = poller.stop()
    assert cursor is not None
    assert cursor.next == 7
    assert all(query.cancelled for query in network.queries if not query.deferred.called)
    assert clock.getDelayedCalls() == []
    assert poller._context.queries.busy == 0
    assert poller.stop() is None


def test_a_fresh_position_is_not_kept() -> None:
    poller, *_ = make()
    assert poller.stop() is None


@pytest.mark.parametrize("same", [True, False])
def test_a_kept_position_is_checked_before_it_is_used(same: bool) -> None:
    poller, _, network, _ = make()
    network.queries[0].answer(reply(0, 7))
    kept = poller.stop()
    _, session, network, clock = make(kept)
    assert nonces(network) == [6]
    network.queries[0].answer(reply(6, 2, life=1 if same else 2))
    if same:
        assert len(session.frames) == 1
    else:
        clock.advance(INTERVAL)
        assert session.frames == []
        assert nonces(network)[1] == 0
        assert not session.gone


def test_first_ticks_fall_on_few_instants() -> None:
    context, _, clock = make_context()
    values = iter([0.01 * n for n in range(100)])
    object.__setattr__(context, "jitter", lambda: next(values))
    clock.advance(12.34567)
    for number in range(100):
        poller = Poller(context, CANISTER, 0, None)
        poller.add(Session(), (KEY[0], number))  # type: ignore[arg-type]
        poller.start()
    instants = {round(call.getTime(), 6) for call in clock.getDelayedCalls()}
    assert 10 <= len(instants) <= 17


def answer_all(network: FakeNetwork, answer: Any, poll_schedule: int = 100) -> int:
    """Answer every query at once, the ones that follow from it as well; gives how many have followed."""
    before = len(network.queries)
    for _ in range(poll_schedule):
        for query in list(network.queries):
            if not query.deferred.called:
                query.answer(answer(query.nonce))
    return len(network.queries) - before


@pytest.mark.parametrize(
    "answer",
    [
        lambda nonce: encode_batch([], b"", b"", False),
        lambda nonce: reply(0, 50, end=False),
        lambda nonce: reply(105, 50, end=False),
        lambda nonce: reply(105, 50, end=False) if nonce % 2 else encode_batch([], b"", b"", False),
    ],
)
def test_a_canister_that_always_promises_more_is_not_polled_without_a_pause(answer: Any) -> None:
    _, _, network, clock = make()
    network.queries[0].answer(reply(0, 50, end=False))
    answer_all(network, lambda nonce: reply(nonce, 1))
    clock.advance(INTERVAL)
    assert answer_all(network, answer) <= 8


def to_no_client(first: int, count: int = 1) -> bytes:
    """An answer whose messages are for a client that is not connected."""
    content = cbor.dumps({"timestamp": first, "content": b"x"})
    messages = [(b"\x09" * 29, 7, b"gw_%020d" % nonce, content) for nonce in range(first, first + count)]
    return encode_batch(messages, b"cert", b"tree", True)


def work_of_an_answer(poller: Poller, clock: Clock, seconds: float) -> None:
    """The last answer has taken so long: the clock of these tests stands still meanwhile."""
    poller.poll_budget._waste.spent(clock.seconds(), seconds)


def test_ticks_and_wakes_wait_where_messages_that_reach_no_client_have_had_their_time() -> None:
    poller, session, network, clock = make()
    network.queries[0].answer(to_no_client(0))
    work_of_an_answer(poller, clock, 0.05)
    ended = clock.seconds() + poller.poll_budget.rest(clock.seconds())
    assert ended > 5 * INTERVAL
    while clock.seconds() < ended - 0.02:
        poller.wake()
        clock.advance(0.01)
    assert nonces(network) == [0]
    clock.advance(0.03)
    assert nonces(network) == [0, 1], "when the rest ends, not at the tick after it"
    # A message of a client comes: what follows is read on, however much the messages before it have cost.
    network.queries[1].answer(reply(1, 1, end=False))
    clock.advance(0)
    assert (len(session.frames), nonces(network)[2:3]) == (1, [2])
    work_of_an_answer(poller, clock, 5.0)
    before = len(network.queries)
    clock.pump([INTERVAL / 10] * 20)
    assert len(network.queries) > before
    poller.stop()
    assert clock.getDelayedCalls() == []


def test_an_answer_that_reaches_a_client_is_no_useless_work() -> None:
    poller, _, _, clock = make()
    poller.poll_budget.answered(poller.messages_down + 1, 49, clock.seconds(), 10.0)
    assert poller.poll_budget.rest(clock.seconds()) == 0
    poller.poll_budget.answered(poller.messages_down + 1, 98, clock.seconds(), 10.0)
    assert poller.poll_budget.rest(clock.seconds()) == 0, "messages of clients may follow"
    poller.poll_budget.useless = True
    assert poller.poll_budget.rest(clock.seconds()) > 100


def test_a_key_without_a_number_is_a_bad_answer_like_any_other() -> None:
    poller, session, network, clock = make(canister_grace=5.0)
    for _ in range(100):
        for query in network.queries:
            if not query.deferred.called:
                query.answer(encode_batch([(*KEY, b"no number", b"x")], b"cert", b"tree", True))
        clock.advance(INTERVAL)
    assert session.frames == []
    assert session.ended[0][0] == 4106
    assert poller.stop() is None


def test_early_answers_are_neither_polled_again_nor_counted_twice() -> None:
    poller, session, network, clock = make(poll_window=8)
    answered = 0
    for _ in range(6):
        round_ = network.queries[answered:]
        answered = len(network.queries)
        for query in reversed(round_):
            query.answer(reply(query.nonce, 50, end=False))
    assert len(set(nonces(network))) == len(nonces(network))
    assert len(session.frames) == 50 * answered
    # the one that is missing hangs, the ones behind it have come; ticks ask for the missing one alone
    first, *rest = network.queries[answered:]
    for query in rest:
        query.answer(reply(query.nonce, 50, end=False))
    behind = poller._reorder_buffer.size
    assert behind > 0
    before = len(network.queries)
    clock.pump([INTERVAL] * 5)
    again = network.queries[before:]
    assert {query.nonce for query in again if query.nonce >= first.nonce} == {first.nonce}
    again[0].answer(reply(first.nonce, 50, end=False))
    assert (poller._reorder_buffer.kept, poller._reorder_buffer.size) == ({}, 0)
    assert len(session.frames) == 50 * (answered + 1 + len(rest))


def test_after_a_reset_pages_are_read_from_the_start_in_any_order() -> None:
    _, session, network, clock = make(poll_window=8)
    while not session.gone:
        assert clock.seconds() < 5
        clock.advance(INTERVAL)
        for query in list(network.queries):
            if not query.deferred.called:
                # a probe, which alone asks for a number like these, finds another message than the one it looks for
                query.answer(reply(query.nonce, 50, life=2 if query.nonce % 50 == 49 else 1, end=False))
    session.frames.clear()
    pages = [query for query in network.queries if not query.deferred.called]
    assert [query.nonce for query in pages] == list(range(0, 400, 50))
    for query in reversed(pages):
        query.answer(reply(query.nonce, 50, life=2, end=False))
    assert len(session.frames) == 400


def test_an_answer_whose_frames_would_be_huge_is_taken_a_piece_at_a_time() -> None:
    _, session, network, clock = make()
    rows = [(*KEY, b"gw_%020d" % nonce, cbor.dumps({"timestamp": nonce})) for nonce in range(50)]
    certificate = bytes(1 << 20)
    most = 0
    for _ in range(100):
        for query in [query for query in network.queries if not query.deferred.called]:
            before = sum(map(len, session.frames))
            query.answer(encode_batch(rows[query.nonce :], certificate, b"tree", True))
            most = max(most, sum(map(len, session.frames)) - before)
        clock.advance(INTERVAL / 10)
    assert [frame.count(b"gw_") for frame in session.frames] == [1] * 50
    assert [int(frame[frame.index(b"gw_") + 3 :][:20]) for frame in session.frames] == list(range(50))
    assert most <= 5 << 20


@pytest.mark.parametrize("number", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 10**20 - 1])
def test_numbers_that_no_canister_counts_up_to_cost_polls_and_in_the_end_the_clients(number: int) -> None:
    _, session, network, clock = make(canister_grace=5.0)
    row = (*KEY, b"gw_%020d" % number, cbor.dumps({"timestamp": 1}))
    for _ in range(100):
        for query in network.queries[-3:]:
            if not query.deferred.called:
                query.answer(encode_batch([row], b"cert", b"tree", False))
        clock.advance(INTERVAL)
    if number < 1 << 63:
        assert len(session.frames) == 1
        assert not session.ended
    else:
        assert session.frames == []
        assert session.ended[0][0] == 4106


@pytest.mark.parametrize("resumed", [True, False])
def test_a_hanging_probe_does_not_hold_up_the_next_one(resumed: bool) -> None:
    poller, session, network, clock = make()
    network.queries[0].answer(reply(0, 7))
    if resumed:
        kept = poller.stop()
        poller, session, network, clock = make(kept)
    session.frames.clear()
    probes = []
    for _ in range(40):
        clock.advance(INTERVAL)
        for query in network.queries:
            if query.nonce == 6 and query not in probes:
                probes.append(query)
            elif query.nonce != 6 and not query.deferred.called:
                query.answer(reply(7, 2) if resumed else EMPTY)
    assert 2 <= len(probes) <= 4
    assert session.frames == []
    assert not probes[0].cancelled, "it may only be slow"
    probes[1].answer(reply(6, 3))
    assert len(session.frames) == 2
    # what the first one says comes too late to matter
    probes[0].answer(reply(6, 1))
    assert (poller.cursor.next, len(session.frames)) == (9, 2)
    poller.stop()


def test_a_reset_forgets_the_answers_that_came_before_their_turn() -> None:
    poller, session, network, clock = make(poll_window=8)
    network.queries[0].answer(reply(0, 50, end=False))
    while len(network.queries) < 8:
        for query in [query for query in network.queries if not query.deferred.called]:
            query.answer(reply(query.nonce, 50, end=False))
    # the next page hangs; those behind it come, and are kept
    missing, *rest = [query for query in network.queries if not query.deferred.called]
    for query in rest:
        query.answer(reply(query.nonce, 50, end=False))
    assert poller._reorder_buffer.size > 0
    session.frames.clear()
    # a probe finds another message in the anchor's place, while they are kept
    while not session.gone:
        assert clock.seconds() < 5
        assert poller._reorder_buffer.size > 0
        clock.advance(INTERVAL)
        for query in list(network.queries):
            if not query.deferred.called and query.nonce < missing.nonce:
                query.answer(reply(query.nonce, 1, life=2))
    assert (poller._reorder_buffer.kept, poller._reorder_buffer.size) == ({}, 0)
    # the new life is as long as the old one: all of it is asked for and delivered, nothing of the old one is
    pages: set[int] = set()
    while len(pages) < 10:
        open_ = [query for query in network.queries if not query.deferred.called]
        assert open_
        for query in open_:
            pages.add(query.nonce)
            query.answer(reply(query.nonce, 50, life=2, end=False))
    lives = [b"timestamp\x1a" + (2_000_000 + nonce).to_bytes(4, "big") for nonce in range(500)]
    assert len(session.frames) >= 500
    assert all(life in frame for life, frame in zip(lives, session.frames, strict=False))


def test_a_position_that_is_resumed_and_found_reset_can_be_resumed_again() -> None:
    poller, _, network, _ = make()
    network.queries[0].answer(reply(0, 7))
    kept = poller.stop()
    # the canister was reset meanwhile: the second poller reads the new life
    poller, session, network, clock = make(kept)
    network.queries[0].answer(reply(6, 2, life=2))
    clock.advance(INTERVAL)
    assert nonces(network)[1] == 0
    network.queries[1].answer(reply(0, 3, life=2))
    assert len(session.frames) == 3
    kept = poller.stop()
    assert kept is not None
    assert kept.next == 3
    # the third one looks for what the second one has delivered last, and goes on behind it
    poller, session, network, clock = make(kept)
    assert nonces(network) == [2]
    network.queries[0].answer(reply(2, 3, life=2))
    assert len(session.frames) == 2
    kept = poller.stop()
    assert kept is not None
    assert kept.next == 5
    # and the fourth one finds another reset
    poller, session, network, clock = make(kept)
    assert nonces(network) == [4]
    network.queries[0].answer(reply(4, 1, life=3))
    clock.advance(INTERVAL)
    assert nonces(network)[1] == 0
    network.queries[1].answer(reply(0, 1, life=3))
    assert len(session.frames) == 1
    assert not session.gone
    poller.stop()


def test_a_position_that_was_reset_before_anything_came_is_not_kept() -> None:
    poller, _, network, _ = make()
    network.queries[0].answer(reply(0, 7))
    poller, session, network, clock = make(poller.stop())
    network.queries[0].answer(EMPTY)
    clock.advance(INTERVAL)
    assert nonces(network)[1] == 0
    network.queries[1].answer(EMPTY)
    assert poller.stop() is None
    assert session.frames == []
