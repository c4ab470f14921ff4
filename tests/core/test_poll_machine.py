"""What a poller asks next and what it does with an answer: the tables, and scripts."""

from __future__ import annotations

from itertools import product

import pytest

from icwsgw.core.cursor import Cursor, LastMessage, Message
from icwsgw.core.oversize_search import REFUSALS
from icwsgw.core.poll_machine import FOLLOW, JUDGED, LATE_SECONDS, Follow, Judged, Polling, late
from icwsgw.core.reset_detector import ResetState
from icwsgw.ic import cbor
from tests.support.machine_script import MachineScript


class Ask:
    def __init__(self, nonce: int, sent: float, anchor: LastMessage | None = None) -> None:
        self.nonce = nonce
        self.sent = sent
        self.anchor = anchor


def message(nonce: int, text: str = "x") -> tuple[bytes, int, str, bytes]:
    return b"\x01" * 29, 7, f"gateway_{nonce:020}", cbor.dumps({"sequence_num": nonce, "timestamp": 5, "content": text})


class Script(MachineScript):
    """A poller that has delivered messages up to a number; what it asks is in flight until it is answered."""

    def __init__(self, delivered: int = 10, resumed: bool = False, window: int = 4) -> None:
        super().__init__(now=100.0)
        cursor = Cursor()
        if delivered:
            cursor.take([_message(number) for number in range(delivered)], 0.0, 0.0)
        self.polling: Polling[Ask] = Polling(cursor if resumed else None, window)
        if not resumed:
            self.polling.cursor.take([_message(number) for number in range(delivered)], 0.0, 0.0)
            self.polling.reset_detector.begin(self.polling.cursor.last, self.now)

    def polls(self, overlap: bool = False, waiting: bool = False) -> Script:
        self.anchor, self.numbers = self.polling.choose(self.now, overlap, waiting, 0.1)
        if self.anchor is not None:
            self.polling.probing = probe = Ask(self.anchor.nonce, self.now, self.anchor)
            self.polling.in_flight[probe] = None
        for number in self.numbers:
            self.polling.in_flight[Ask(number, self.now)] = None
        return self

    def asks(self, *numbers: int, probe: int | None = None) -> Script:
        assert self.numbers == list(numbers)
        assert (self.anchor.nonce if self.anchor is not None else None) == probe
        return self

    def is_answered(self) -> Script:
        """All that is in flight."""
        for ask in list(self.polling.in_flight):
            assert self.polling.ended(ask)
            assert not self.polling.ended(ask), "a second time it was given up before"
        return self

    def judges(self, texts: list[tuple[int, str]], nonce: int | None = None, may_poll: bool = True) -> Judged:
        anchor = self.polling.reset_detector.anchor
        assert anchor is not None
        ask = Ask(anchor.nonce if nonce is None else nonce, self.now, anchor)
        return self.polling.judge(ask, anchor, [_message(*one) for one in texts], {}, self.now, may_poll)


def _message(nonce: int, text: str = "x") -> tuple[bytes, int, bytes, bytes]:
    principal, client_nonce, key, content = message(nonce, text)
    return principal, client_nonce, key.encode(), content


# what is asked next


def test_the_next_number_is_asked_once() -> None:
    Script().polls().asks(10).polls().asks()


def test_a_beat_asks_for_it_again_while_it_is_being_asked() -> None:
    Script().polls().asks(10).polls(overlap=True).asks(10)


def test_a_probe_of_the_last_message_takes_the_place_of_the_poll() -> None:
    script = Script().after(2.0).polls(overlap=True).asks(probe=9).is_answered()
    script.polls().asks(10)


def test_a_probe_of_an_older_message_is_one_query_more() -> None:
    script = Script()
    script.polling.cursor.take([_message(10), _message(11)], script.now, script.now)
    script.after(2.0).polls().asks(12, probe=9)


def test_a_probe_that_hangs_holds_up_the_next_until_it_is_late() -> None:
    script = Script().after(2.0).polls().asks(probe=9)
    # clients that wait for their first message let probes follow sooner
    script.polling.reset_detector.probe_now()
    script.after(LATE_SECONDS - 0.1).polls().asks(10)
    script.after(0.1).polls(overlap=True).asks(probe=9)


def test_a_resumed_position_is_probed_whatever_the_time_and_not_polled() -> None:
    script = Script(resumed=True).polls(overlap=True).asks(probe=9)
    assert script.judges([(9, "x")]) is Judged.CONTINUE
    # the next one is due after a while
    assert not script.polling.resumed
    script.is_answered().polls().asks(10)


def test_a_deep_queue_is_asked_for_ahead_but_not_for_what_waits_for_its_turn() -> None:
    script = Script()
    page = script.polling.window.page
    for _ in range(2):
        assert script.polling.window.answered(page, False)
    script.polls().asks(*(10 + number * page for number in range(2)))
    assert len(script.numbers) > 1
    ahead = script.is_answered().numbers[1]
    script.polling.reorder_buffer.kept[ahead] = None  # type: ignore[assignment]
    script.polls()
    assert ahead not in script.numbers


def test_a_search_past_a_page_that_is_too_large_asks_for_its_number_alone() -> None:
    script = Script()
    for at in range(REFUSALS):
        script.polling.search.refused(10, 10, script.now + at, script.now + at)
    assert script.polling.search.seeking
    number = script.polling.search.next_nonce()
    script.polls().asks(number).polls().asks()


def test_a_search_polls_a_nonce_whose_answer_waits_in_the_reorder_buffer() -> None:
    """Otherwise it never continues: the buffer is emptied only when the cursor moves, and the cursor waits for it."""
    script = Script()
    for at in range(REFUSALS):
        script.polling.search.refused(10, 10, script.now + at, script.now + at)
    nonce = script.polling.search.next_nonce()
    script.polling.reorder_buffer.kept[nonce] = None  # type: ignore[assignment]
    # once: while it is in flight, no second one follows
    script.polls().asks(nonce).polls(overlap=True).asks()


# queries in flight


@pytest.mark.parametrize(
    ("sent", "gap", "most", "expected"),
    [
        ([], 0.5, 1, (True, None)),
        ([99.8], 0.5, 5, (False, None)),
        ([99.0], 0.5, 5, (True, None)),
        ([99.5, 99.4], 0.0, 2, (False, None)),
        ([98.9, 99.4], 0.0, 2, (True, 0)),
    ],
)
def test_queries_for_one_number_overlap_until_the_oldest_is_late(
    sent: list[float], gap: float, most: int, expected: tuple[bool, int | None]
) -> None:
    script = Script()
    asks = [Ask(10, at) for at in sent]
    script.polling.in_flight.update(dict.fromkeys(asks))
    may, given_up = script.polling.overlap(script.now, gap, most, 0.1)
    assert (may, None if given_up is None else asks.index(given_up)) == expected


def test_queries_about_what_was_delivered_matter_least() -> None:
    script = Script()
    oldest, past = Ask(10, 99.0), Ask(8, 99.5)
    script.polling.in_flight.update({oldest: None, past: None})
    assert script.polling.least() is past
    assert script.polling.ended(past)
    assert script.polling.least() is oldest


def test_a_query_is_late_after_three_usual_round_trips() -> None:
    assert not late(Ask(1, 0.0), 2.9, 1.0)
    assert late(Ask(1, 0.0), 3.0, 1.0)
    assert late(Ask(1, 0.0), LATE_SECONDS, 0.01)


# what follows an answer


@pytest.mark.parametrize(("more", "useful", "found", "kept", "waiting"), list(product((False, True), repeat=5)))
def test_what_follows_an_answer(more: bool, useful: bool, found: bool, kept: bool, waiting: bool) -> None:
    follow = FOLLOW[more, useful, found, kept, waiting]
    # a queue that goes on is read without a pause only where somebody gets its messages
    assert (follow is Follow.REST) == (more and not useful)
    if follow is Follow.POLL:
        assert (more and useful) or (found and kept)
    if not more and not found:
        assert follow in (Follow.POLL_FOR_GAP, Follow.LOOK_AGAIN, Follow.NOTHING), "nothing new is asked for at once"
    if follow is Follow.NOTHING:
        assert not kept
        assert not waiting


def test_the_tables_are_whole() -> None:
    assert set(FOLLOW.values()) == set(Follow)
    assert set(JUDGED) == set(product(ResetState, (False, True), (False, True)))
    assert set(JUDGED.values()) == set(Judged)


def test_a_new_life_is_proven_before_it_costs_a_client_its_session() -> None:
    script = Script()
    assert script.judges([(9, "another")]) is Judged.PROVE
    assert Script(resumed=True).judges([(9, "another")]) is Judged.RESTART


def test_an_empty_answer_to_a_probe_leads_to_the_start_of_the_queue() -> None:
    assert Script().judges([]) is Judged.LOOK_AT_START
    assert Script().judges([], may_poll=False) is Judged.NOTHING, "the network has asked to wait"
    assert Script(resumed=True).judges([]) is Judged.RESTART
    # a probe of the first message was a look at the start already
    assert Script(delivered=1).judges([]) is Judged.NOTHING


def test_a_restart_begins_anew_and_reports_whether_a_client_may_have_lost_something() -> None:
    script = Script(resumed=True)
    script.polling.reorder_buffer.kept[20] = None  # type: ignore[assignment]
    assert script.polling.restart(script.now, None, [], False)
    assert script.polling.reorder_buffer.kept == {}
    assert (script.polling.resumed, script.polling.cursor.next, script.polling.reset_detector.anchor) == (
        False,
        0,
        None,
    )
    assert not Script().polling.restart(0.0, None, [], False)


def test_what_has_shown_the_reset_says_which_messages_were_of_the_old_queue() -> None:
    """The new queue has grown beyond the old one, and its messages were delivered."""

    def sent_at(nonce: int, at: int) -> Message:
        return b"\x01" * 29, 7, b"gateway_%020d" % nonce, cbor.dumps({"timestamp": at, "content": b"x"})

    start = sent_at(0, 200)
    for proof, ignored in (([start], False), ([], True)):
        polling: Polling[Ask] = Polling(None, 1)
        polling.cursor.take([sent_at(0, 100), sent_at(1, 300)], 0.0, 0.0)
        polling.restart(1.0, LastMessage(0, sent_at(0, 100)[3]), proof, True)
        assert polling.cursor.take([start], 1.0, 1.0).former == ignored
