"""Which of several connections of a principal stays (with canisters and blocks: tests/memory/test_replacements.py)."""

from __future__ import annotations

from itertools import permutations

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from tests.gateway.test_gateway import World
from tests.support.fake_network import CANISTER, REPLIED_OK, replied_err

SAME = Ed25519Identity(b"\x31" * 32)
SENDER = SAME.principal.raw


def content(at_ns: int) -> bytes:
    return cbor.dumps({"sequence_num": 2, "timestamp": at_ns})


class Rivals(World):
    """Connections of one principal, under an identity each."""

    def __init__(self, *times: int | None) -> None:
        super().__init__(identities=max(2, len(times)))
        self.announced: list[int] = []
        self.gateway.announce = lambda canister, sender, at_ns, left: self.announced.append(at_ns)
        self.pairs = [self.open(identity=SAME, at_ns=at_ns) for at_ns in times]

    @property
    def living(self) -> list[int]:
        return [number for number, (connection, _) in enumerate(self.pairs) if not connection.closed]

    def elsewhere(self, at_ns: int, later: bool = False) -> None:
        self.gateway.replaced_elsewhere(CANISTER.raw, SENDER, at_ns, later)


@pytest.mark.parametrize("times", list(permutations((70, 80, 90))))
def test_the_newest_by_the_canisters_time_lives_in_whatever_order_they_are_reported(times: tuple[int, ...]) -> None:
    world = Rivals(*times)
    assert world.living == [times.index(90)]
    assert len(world.gateway.replacements) == 0


@pytest.mark.parametrize("known", [0, 1, 2])
def test_of_several_with_one_time_the_one_that_receives_a_message_later_lives(known: int) -> None:
    world = Rivals(70, 70, 70)
    assert world.living == [0, 1, 2]
    session = world.pairs[known][1]
    world.gateway.replacements.received(session, content(70))
    world.gateway.replacements.received(session, b"not a message of the CDK")
    assert world.living == [0, 1, 2], "a message of the same block decides nothing"
    world.gateway.replacements.received(session, content(71))
    assert world.living == [known]
    assert world.announced[-1] == 71, "the one with 70 is older"
    assert len(world.gateway.replacements) == 0
    assert not any(poller.undecided for poller in world.gateway.registry.pollers.values())


def test_where_no_times_are_known_the_last_one_reported_lives() -> None:
    assert Rivals(None, None).living == [1]


def test_one_whose_message_was_taken_before_the_other_was_reported_lives() -> None:
    world = Rivals(70)
    world.pairs[0][1].opened = Opened.CONFIRMED
    world.pairs.append(world.open(identity=SAME, at_ns=70))
    assert world.living == [0]
    assert len(world.gateway.replacements) == 0


def test_one_time_in_two_processes_is_announced_to_both_once() -> None:
    world = Rivals(70)
    assert world.announced == [70]
    for later in (True, False, True):
        world.elsewhere(70, later)
    assert world.living == [0]
    assert world.announced == [70, 70]


@pytest.mark.parametrize("here", [True, False])
def test_the_sign_in_one_process_decides_in_the_other(here: bool) -> None:
    one, other = Rivals(70), Rivals(70)
    one.elsewhere(70)
    other.elsewhere(70)
    first, second = (one, other) if here else (other, one)
    first.gateway.replacements.received(first.pairs[0][1], content(90))
    second.elsewhere(first.announced[-1], later=False)
    assert (first.living, second.living) == ([0], [])


def test_one_that_was_confirmed_is_announced_to_the_other_process() -> None:
    world = Rivals(70)
    world.pairs[0][1].opened = Opened.CONFIRMED
    world.elsewhere(70, later=True)
    assert world.living == [0]
    assert world.announced[-1] == 71


def test_a_newer_one_ends_all_of_which_nothing_was_decided() -> None:
    world = Rivals(70, 70, 80)
    assert world.living == [2]
    assert [connection.closed[0][0] for connection, _ in world.pairs[:2]] == [CloseCode.REPLACED] * 2


def test_when_the_known_one_leaves_the_others_end_here_and_elsewhere() -> None:
    world = Rivals(70, 70)
    left = world.pairs[0][1]
    world.gateway.replacements.left(left)
    assert world.living == [0], "itself is not what it ends"
    assert world.announced[-1] == 71
    assert len(world.gateway.replacements) == 0


def test_when_the_dropped_one_leaves_the_other_stays() -> None:
    world = Rivals(70, 70)
    left = world.pairs[0][1]
    world.gateway.replacements.answered(left, False, [])  # type: ignore[arg-type]
    world.gateway.replacements.left(left)
    assert world.living == [0, 1]


@pytest.mark.parametrize("known", [True, False])
def test_the_answer_to_ws_close_shows_whether_one_that_left_early_was_the_newer(known: bool) -> None:
    world = World(identities=2)
    _, left = world.connect(identity=SAME)
    world.network.calls[-1].answer(REPLIED_OK)
    other, _ = world.open(identity=SAME, at_ns=80)
    left.left(1000)
    assert other.closed == []
    world.network.calls[-1].answer(REPLIED_OK if known else replied_err("not registered"))
    assert [code for code, _ in other.closed] == ([CloseCode.REPLACED] if known else [])


def leaves_early(world: World, identity: Ed25519Identity | None = None) -> bool:
    """Let a client leave before its canister has spoken; returns whether its ws_close has to be certified."""
    session = world.connect(identity=identity)[1]
    world.network.calls[-1].answer(REPLIED_OK)
    session.left(1000)
    return verified(world)


def verified(world: World) -> bool:
    """Whether the answer to the last call, a ``ws_close``, has to be certified."""
    call = world.network.calls[-1]
    assert call.content["method_name"] == "ws_close"
    return call.request_id is not None


def test_the_answer_to_ws_close_must_be_certified_where_another_connection_depends_on_it() -> None:
    world = World(identities=2)
    assert not leaves_early(world, SAME), "there is no other"
    _, other = world.open(identity=SAME, at_ns=80)
    assert leaves_early(world, SAME)
    assert not leaves_early(world)
    other.left(1000)
    assert not verified(world), "its canister has spoken to it"
    world.gateway.announce = lambda *_: None
    assert leaves_early(world), "another process may have a connection of the principal"


def test_the_answer_to_the_ws_close_of_an_undecided_connection_must_be_certified() -> None:
    world = Rivals(70, 70)
    world.pairs[0][1].left(1000)
    assert verified(world)


def test_many_that_come_and_go_leave_nothing_behind() -> None:
    world = Rivals(70, 70)
    for connection, session in world.pairs:
        session.left(1000)
        assert connection.closed == []
    assert len(world.gateway.replacements) == 1, "the canister's answers to ws_close may still decide"
    for call in list(world.network.calls[-2:]):
        call.answer(REPLIED_OK)
    assert len(world.gateway.replacements) == 0
    assert not world.gateway.registry.ending


def test_pairs_that_are_over_leave_nothing_behind() -> None:
    world = Rivals(70, 70)
    for _, session in world.pairs:
        assert len(world.gateway.replacements) == 1
        world.gateway.replacements.forget(session)
    assert len(world.gateway.replacements) == 0
