"""The busiest canisters and clients: rates between two looks, over a whole gateway in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.admin import busiest as busiest_module
from icwsgw.admin.busiest import FORGET, SHORTEST, SORTS, BusiestRows, busiest, merged
from icwsgw.gateway.batches import in_batches
from icwsgw.ic.identity import Ed25519Identity
from tests.memory.world import CHAT_ID, ECHO_ID, MemoryClient, World


@pytest.fixture
def world() -> World:
    return World()


def look(rows: BusiestRows, sort: str = "rate", limit: int = 10, **only: Any) -> Any:
    found: list[Any] = []
    rows.answer(sort, limit, **only).addCallback(found.append)
    return json.loads(json.dumps(found[0]))


def test_rates_are_those_between_two_looks(world: World) -> None:
    quiet, busy = world.open(2)
    (chatter,) = world.open(canister=CHAT_ID)
    rows = BusiestRows(world.gateway)
    first = look(rows)
    assert first["seconds"] is None
    assert (first["session_count"], first["canister_count"]) == (3, 2)
    for _ in range(10):
        busy.echoes(b"DIDL\0\0")
    began = world.clock.seconds()
    world.run(4)
    second = look(rows)
    took = second["seconds"]
    assert took > 4
    assert world.clock.seconds() - began < took
    assert second["sessions"][0]["id"] == busy.session.id
    by_id = {row["id"]: row for row in second["sessions"]}
    assert by_id[busy.session.id]["up"] == pytest.approx(10 / took, abs=0.01)
    assert by_id[busy.session.id]["down"] == pytest.approx(10 / took, abs=0.01)
    assert by_id[busy.session.id]["bytes_up"] > 500 / took
    assert by_id[quiet.session.id]["up"] == by_id[chatter.session.id]["up"] == 0
    canisters = {row["canister"]: row for row in second["canisters"]}
    assert list(canisters) == [ECHO_ID.text, CHAT_ID.text]
    assert canisters[ECHO_ID.text]["down"] == pytest.approx(10 / took, abs=0.01)
    assert canisters[ECHO_ID.text]["bytes_up"] == pytest.approx(by_id[busy.session.id]["bytes_up"], abs=0.1)
    assert canisters[ECHO_ID.text]["sessions"] == 2
    assert second["up"] == pytest.approx(10 / took, abs=0.01)
    world.run(2)
    assert look(rows)["up"] == 0


def test_traffic_of_a_client_that_has_left_counts_for_its_canister(world: World) -> None:
    leaver, _ = world.open(2)
    rows = BusiestRows(world.gateway)
    look(rows)
    for _ in range(5):
        leaver.echoes(b"DIDL\0\0")
    leaver.leave()
    world.run(1)
    answer = look(rows)
    assert answer["session_count"] == 1
    assert answer["canisters"][0]["down"] == pytest.approx(5 / answer["seconds"], abs=0.01)


def test_those_who_ask_very_often_get_rates_over_a_time_that_means_something(world: World) -> None:
    (client,) = world.open()
    rows = BusiestRows(world.gateway)
    look(rows)
    world.run(2)
    assert look(rows)["seconds"] == pytest.approx(2, abs=0.1)
    client.echoes(b"DIDL\0\0")
    world.run(SHORTEST / 10)
    assert look(rows)["seconds"] >= 2
    world.run(SHORTEST)
    assert SHORTEST < look(rows)["seconds"] < 2


def test_a_turn_of_the_event_loop_looks_at_a_few_and_others_are_served_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sessions, of pollers, and of rows of canisters."""
    monkeypatch.setattr(busiest_module, "BATCH", 2)
    clients = world.open(5)
    others = world.open(canister=CHAT_ID)
    rows = BusiestRows(world.gateway)
    turns: list[Any] = []
    looks: list[int] = []

    class Turns:
        """A clock by which each batch has a turn of its own."""

        def callLater(self, delay: float, batch: Any) -> object:
            assert delay == 0
            turns.append(batch)
            return object()

    def counted(look_at: Any) -> Any:
        def count(*args: Any) -> Any:
            looks[-1] += 1
            return look_at(*args)

        return count

    def in_turns(clock: Any, entries: list[Any], look_at: Any, *rest: Any) -> None:
        in_batches(Turns(), entries, counted(look_at), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(busiest_module, "in_batches", in_turns)
    answers: list[Any] = []
    looks.append(0)
    rows.answer("rate", 10).addCallback(answers.append)
    while turns:
        assert answers == []
        looks.append(0)
        turns.pop()()
    # the last of the sessions are followed at once by the pollers, and those by the canisters
    assert looks == [2, 2, 2 + 2 + 2]
    (answer,) = answers
    assert {row["id"] for row in answer["sessions"]} == {each.session.id for each in (*clients, *others)}
    assert (answer["session_count"], answer["canister_count"]) == (6, 2)
    assert {row["canister"]: row["sessions"] for row in answer["canisters"]} == {ECHO_ID.text: 5, CHAT_ID.text: 1}


def test_who_asks_meanwhile_is_answered_next_and_a_session_that_ends_meanwhile_has_a_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busiest_module, "BATCH", 1)
    clients = world.open(4)
    rows = BusiestRows(world.gateway)
    answers: list[Any] = []
    rows.answer("rate", 10).addCallback(answers.append)
    rows.answer("age", 1).addCallback(answers.append)
    for client in clients:
        client.leave()
    world.run(1.0)
    first, second = answers
    assert first["session_count"] == 4
    assert (first["seconds"], second["seconds"]) == (None, None), "the sample is a new one"
    assert len(second["sessions"]) == 1


def test_rates_are_those_between_two_looks_at_a_session_however_long_each_look_takes(world: World) -> None:
    (client,) = world.open()
    rows = BusiestRows(world.gateway)
    look(rows)
    sample = rows._latest
    assert sample is not None
    counts = sample.sessions[client.session.id]
    # the look came to this session two seconds after its beginning
    sample.sessions[client.session.id] = counts._replace(at=counts.at + 2.0)
    world.run(4.0)
    for _ in range(8):
        client.echoes(b"DIDL\0\0")
    answer = look(rows)
    assert answer["sessions"][0]["up"] == pytest.approx(8 / (answer["seconds"] - 2.0), abs=0.01)


def test_samples_are_dropped_without_requests(world: World) -> None:
    world.open()
    rows = BusiestRows(world.gateway)
    look(rows)
    for _ in range(3):
        world.run(FORGET * 0.6)
        assert look(rows)["seconds"] is not None
    world.run(FORGET + 1)
    assert look(rows)["seconds"] is None


def test_only_some(world: World) -> None:
    same = Ed25519Identity(b"\x31" * 32)
    here, there = world.client(identity=same), world.client(CHAT_ID, same)
    world.open()
    world.until(lambda: here.opened and there.opened)
    rows = BusiestRows(world.gateway)
    answer = look(rows, canister=CHAT_ID)
    assert [row["canister"] for row in answer["sessions"]] == [CHAT_ID.text]
    assert [row["canister"] for row in answer["canisters"]] == [CHAT_ID.text]
    answer = look(rows, principal=same.principal)
    assert {row["id"] for row in answer["sessions"]} == {here.session.id, there.session.id}
    assert len(answer["canisters"]) == 2
    answer = look(rows, limit=1)
    assert (len(answer["sessions"]), len(answer["canisters"]), answer["session_count"]) == (1, 1, 3)


def test_a_client_that_has_sent_nothing_yet_has_a_row(world: World) -> None:
    client = MemoryClient(world, ECHO_ID, None, False)
    client.automatic = False
    client.connect()
    (row,) = look(BusiestRows(world.gateway), "age")["sessions"]
    assert (row["state"], row["canister"], row["up"], row["lag_s"]) == ("init", None, 0, None)


ROW = {"up": 0.0, "down": 0.0, "bytes_up": 0.0, "bytes_down": 0.0, "lag_s": None, "pending": 0, "outbox_bytes": 0}


@pytest.mark.parametrize(
    ("sort", "values"),
    [
        *(("rate", {"up": 2.0, "down": 2.0}), ("up", {"up": 1.0}), ("down", {"down": 1.0})),
        ("bytes", {"bytes_up": 9.0}),
        *(("lag", {"lag_s": 0.1}), ("pending", {"pending": 1}), ("outbox", {"outbox_bytes": 1})),
        *(("age", {"age_s": 90.0}), ("sessions", {"sessions": 3})),
    ],
)
def test_each_sort_key_puts_the_greatest_first(sort: str, values: dict[str, float]) -> None:
    plain: dict[str, Any] = {**ROW, "sessions": 1, "age_s": 5.0}
    great = {**plain, **values}
    assert busiest([plain, great, plain], sort, 2) == [great, plain]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))), st.integers(1, 5))
def test_rows_one_by_one_are_sorted_as_all_together(figures: list[tuple[int, int]], limit: int) -> None:
    rows: list[dict[str, Any]] = [
        {**ROW, "sessions": 1, "age_s": 5.0, "up": up, "pending": pending, "number": number}
        for number, (up, pending) in enumerate(figures)
    ]
    greatest = busiest_module._Greatest("pending", limit)
    for row in rows:
        greatest.add(row)
    assert (greatest.rows(), greatest.count) == (busiest(rows, "pending", limit), len(rows))


def test_each_sort_key_is_tested() -> None:
    mark = next(each for each in test_each_sort_key_puts_the_greatest_first.pytestmark if each.name == "parametrize")  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == set(SORTS)


def test_rows_of_one_canister_become_one() -> None:
    one = {**ROW, "canister": "a", "sessions": 2, "up": 1.5, "polls_in_flight": 1, "failures": 0, "last_error": None}
    other = {**one, "sessions": 3, "lag_s": 0.5, "failures": 2, "last_error": "rejected", "age_s": 9.0}
    row = merged({**one, "age_s": 3.0}, other)
    assert (row["sessions"], row["up"], row["polls_in_flight"]) == (5, 3.0, 2)
    assert (row["lag_s"], row["failures"], row["last_error"], row["age_s"]) == (0.5, 2, "rejected", 9.0)
