"""Who gets which message of a batch. (With a poller around it: test_poller.py.)"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from icwsgw.core.closing import CloseCode
from icwsgw.core.session import Opened, State
from icwsgw.gateway.audience import Audience
from icwsgw.ic.ws import encode_batch, parse_get_messages
from icwsgw.observe.metrics import Metrics

ANNA, BERT = (b"\x01" * 29, 1), (b"\x02" * 29, 2)


class Session:
    """What an audience sees of a session."""

    def __init__(self, key: tuple[bytes, int]) -> None:
        self.id = "s"
        self.client_key = key
        self.state = State.OPEN
        self.opened = Opened.UNKNOWN
        self.outgoing: list[bytes] | None = None
        self.pieces: list[int] = []
        self.ended: list[int] = []
        self.first = True
        self.missed = False
        self.asked = 0
        self.fails = False

    def has_missed(self, content: bytes) -> bool:
        self.asked += 1
        if self.missed:
            self.end(CloseCode.MESSAGES_MISSED, "missed")
        return self.missed

    def first_message(self, content: bytes) -> bool:
        return self.first

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        if self.fails:
            raise ZeroDivisionError
        self.opened = Opened.SPOKE
        self.pieces.append(len(frames))

    def end(self, code: int, text: str) -> None:
        self.ended.append(code)


def make(*keys: tuple[bytes, int]) -> tuple[Any, list[Session]]:
    audience: Any = Audience(Metrics())
    sessions = [Session(key) for key in keys]
    for session in sessions:
        audience.add(session, session.client_key)
    return audience, sessions


def hand_out(audience: Audience, *keys: tuple[bytes, int]) -> bool:
    messages = [(*key, b"gw_%020d" % number, b"x") for number, key in enumerate(keys)]
    batch = parse_get_messages(encode_batch(messages, b"cert", b"tree", True))
    return audience.hand_out(batch, batch.messages)


def test_each_gets_its_messages_in_one_piece() -> None:
    audience, (anna, bert) = make(ANNA, BERT)
    assert hand_out(audience, ANNA, BERT, ANNA, ANNA)
    assert (anna.pieces, bert.pieces) == ([3], [1])


def test_a_fault_of_ours_with_one_is_that_ones_alone() -> None:
    audience, (anna, bert) = make(ANNA, BERT)
    anna.fails = True
    assert hand_out(audience, ANNA, BERT)
    assert (anna.ended, bert.ended, bert.pieces) == ([CloseCode.INTERNAL], [], [1])


def test_who_may_have_missed_a_message_is_looked_at_once() -> None:
    audience, (anna, bert) = make(ANNA, BERT)
    hand_out(audience, ANNA, BERT)
    assert (anna.asked, bert.asked) == (0, 0)
    assert audience.left_out() == 2
    anna.missed = True
    hand_out(audience, ANNA, BERT)
    hand_out(audience, BERT, BERT)
    assert (anna.asked, bert.asked) == (1, 1)
    assert (anna.ended, bert.ended) == ([CloseCode.MESSAGES_MISSED], [])
    assert (anna.pieces, bert.pieces) == ([1], [1, 1, 2])
    audience.left_out()
    audience.remove(bert, BERT)
    assert bert not in audience.suspects


def test_a_first_message_out_of_place_is_not_delivered_and_told() -> None:
    audience, (anna, bert) = make(ANNA, BERT)
    anna.first = False
    assert not hand_out(audience, ANNA, BERT)
    assert (anna.pieces, bert.pieces) == ([], [1])


def test_whoever_is_accepted_replaces_an_older_one() -> None:
    newer = (ANNA[0], 9)
    audience, (anna, again) = make(ANNA, newer)
    assert audience.accepted(anna, ANNA) is None
    assert audience.accepted(anna, ANNA) is None
    assert audience.accepted(again, newer) is anna
    assert audience.waiting == {}
    audience.remove(anna, ANNA)
    assert audience.senders == {ANNA[0]: again}
    audience.remove(again, newer)
    assert (audience.senders, audience.sessions) == ({}, {})


def test_messages_to_a_connection_that_has_left_show_that_another_is_over() -> None:
    audience, (anna,) = make(ANNA)
    audience.accepted(anna, ANNA)
    assert hand_out(audience, (ANNA[0], 77))
    assert anna.ended == [CloseCode.REPLACED]
    assert hand_out(audience, (BERT[0], 5))


def test_who_leaves_before_the_canister_has_spoken_waits_for_nothing() -> None:
    audience, (anna, bert) = make(ANNA, BERT)
    audience.remove(anna, ANNA)
    assert list(audience.waiting.values()) == [bert]
    audience.remove(bert, BERT)
    assert (audience.waiting, audience.sessions) == ({}, {})


def test_messages_are_counted_and_those_for_nobody_apart() -> None:
    audience, _ = make(ANNA, BERT)
    assert (audience.messages_up, audience.messages_down, audience.messages_lost) == (0, 0, 0)
    hand_out(audience, ANNA, BERT, ANNA)
    assert (audience.messages_down, audience.messages_lost) == (3, 0)
    hand_out(audience, ANNA, (b"\x09" * 29, 1))
    assert (audience.messages_down, audience.messages_lost) == (4, 1)


def test_it_is_closing_until_all_are_closed() -> None:
    audience, sessions = make(ANNA, BERT)
    clock = Clock()
    audience.close_all(clock, CloseCode.CANISTER_RESET, "reset")
    clock.pump([0.0] * 5)
    assert [session.ended for session in sessions] == [[CloseCode.CANISTER_RESET]] * 2
    assert not audience.closing


def test_who_is_undecided_hears_of_each_message_to_it() -> None:
    audience, (anna, _) = make(ANNA, BERT)
    heard: list[Any] = []
    audience.undecided[anna] = lambda session, content: heard.append((session, content))
    hand_out(audience, ANNA, BERT)
    assert heard == [(anna, b"x")]


def test_the_last_message_to_a_principal_tells_which_of_its_connections_lives() -> None:
    newer = (ANNA[0], 9)
    audience, (again,) = make(newer)
    audience.accepted(again, newer)
    hand_out(audience, (ANNA[0], 77), newer)
    assert again.ended == []
    hand_out(audience, newer, (ANNA[0], 77))
    assert again.ended == [CloseCode.REPLACED]
