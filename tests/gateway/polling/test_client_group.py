"""Who gets which message of a batch. (With a poller around it: test_poller.py.)"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
from icwsgw.gateway.polling.client_group import ClientGroup
from icwsgw.ic.ws import encode_batch, parse_get_messages
from icwsgw.observe.metrics import Metrics

ANNA, BERT = (b"\x01" * 29, 1), (b"\x02" * 29, 2)


class Session:
    """What a client group sees of a session."""

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
        self.checks = 0
        self.fails = False

    def has_missed(self, content: bytes) -> bool:
        self.checks += 1
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
    client_group: Any = ClientGroup(Metrics())
    sessions = [Session(key) for key in keys]
    for session in sessions:
        client_group.add(session, session.client_key)
    return client_group, sessions


def hand_out(client_group: ClientGroup, *keys: tuple[bytes, int]) -> bool:
    messages = [(*key, b"gw_%020d" % number, b"x") for number, key in enumerate(keys)]
    batch = parse_get_messages(encode_batch(messages, b"cert", b"tree", True))
    return client_group.deliver(batch, batch.messages)


def test_each_gets_its_messages_in_one_piece() -> None:
    client_group, (anna, bert) = make(ANNA, BERT)
    assert hand_out(client_group, ANNA, BERT, ANNA, ANNA)
    assert (anna.pieces, bert.pieces) == ([3], [1])


def test_a_fault_of_ours_with_one_is_that_ones_alone() -> None:
    client_group, (anna, bert) = make(ANNA, BERT)
    anna.fails = True
    assert hand_out(client_group, ANNA, BERT)
    assert (anna.ended, bert.ended, bert.pieces) == ([CloseCode.INTERNAL], [], [1])


def test_who_may_have_missed_a_message_is_looked_at_once() -> None:
    client_group, (anna, bert) = make(ANNA, BERT)
    hand_out(client_group, ANNA, BERT)
    assert (anna.checks, bert.checks) == (0, 0)
    assert client_group.close_skipped() == 2
    anna.missed = True
    hand_out(client_group, ANNA, BERT)
    hand_out(client_group, BERT, BERT)
    assert (anna.checks, bert.checks) == (1, 1)
    assert (anna.ended, bert.ended) == ([CloseCode.MESSAGES_MISSED], [])
    assert (anna.pieces, bert.pieces) == ([1], [1, 1, 2])
    client_group.close_skipped()
    client_group.remove(bert, BERT)
    assert bert not in client_group.suspects


def test_a_first_message_out_of_place_is_reported_and_not_delivered() -> None:
    client_group, (anna, bert) = make(ANNA, BERT)
    anna.first = False
    assert not hand_out(client_group, ANNA, BERT)
    assert (anna.pieces, bert.pieces) == ([], [1])


def test_an_accepted_client_replaces_an_older_one() -> None:
    newer = (ANNA[0], 9)
    client_group, (anna, again) = make(ANNA, newer)
    assert client_group.accepted(anna, ANNA) is None
    assert client_group.accepted(anna, ANNA) is None
    assert client_group.accepted(again, newer) is anna
    assert client_group.waiting == {}
    client_group.remove(anna, ANNA)
    assert client_group.senders == {ANNA[0]: again}
    client_group.remove(again, newer)
    assert (client_group.senders, client_group.sessions) == ({}, {})


def test_messages_to_a_connection_that_has_left_show_that_another_is_over() -> None:
    client_group, (anna,) = make(ANNA)
    client_group.accepted(anna, ANNA)
    assert hand_out(client_group, (ANNA[0], 77))
    assert anna.ended == [CloseCode.REPLACED]
    assert hand_out(client_group, (BERT[0], 5))


def test_who_leaves_before_the_canister_has_spoken_waits_for_nothing() -> None:
    client_group, (anna, bert) = make(ANNA, BERT)
    client_group.remove(anna, ANNA)
    assert list(client_group.waiting.values()) == [bert]
    client_group.remove(bert, BERT)
    assert (client_group.waiting, client_group.sessions) == ({}, {})


def test_messages_without_a_client_are_counted_apart() -> None:
    client_group, _ = make(ANNA, BERT)
    assert (client_group.messages_up, client_group.messages_down, client_group.messages_lost) == (0, 0, 0)
    hand_out(client_group, ANNA, BERT, ANNA)
    assert (client_group.messages_down, client_group.messages_lost) == (3, 0)
    hand_out(client_group, ANNA, (b"\x09" * 29, 1))
    assert (client_group.messages_down, client_group.messages_lost) == (4, 1)


def test_it_is_closing_until_all_are_closed() -> None:
    client_group, sessions = make(ANNA, BERT)
    clock = Clock()
    client_group.close_all(clock, CloseCode.CANISTER_RESET, "reset")
    clock.pump([0.0] * 5)
    assert [session.ended for session in sessions] == [[CloseCode.CANISTER_RESET]] * 2
    assert not client_group.closing


def test_who_is_undecided_hears_of_each_message_to_it() -> None:
    client_group, (anna, _) = make(ANNA, BERT)
    received: list[Any] = []
    client_group.undecided[anna] = lambda session, content: received.append((session, content))
    hand_out(client_group, ANNA, BERT)
    assert received == [(anna, b"x")]


def test_the_last_message_to_a_principal_tells_which_of_its_connections_lives() -> None:
    newer = (ANNA[0], 9)
    client_group, (again,) = make(newer)
    client_group.accepted(again, newer)
    hand_out(client_group, (ANNA[0], 77), newer)
    assert again.ended == []
    hand_out(client_group, newer, (ANNA[0], 77))
    assert again.ended == [CloseCode.REPLACED]
