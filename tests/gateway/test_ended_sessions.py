"""The ends that are kept for developers who look for a mistake."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.close_reasons import CloseCode
from icwsgw.gateway.ended_sessions import (
    KEEP_ENDS,
    KEEP_SECONDS,
    MAX_REASON,
    EndedSessions,
    EndRecord,
    end_row,
    refused_connection,
    shown_fields,
)
from tests.memory.world import ECHO_ID, World


def end(at: float, name: str = "a-1", **values: object) -> EndRecord:
    record = refused_connection(at, {"peer": "192.0.2.1:5"}, None, "why", "do that")
    return record._replace(id=name, **values)  # type: ignore[arg-type]


def ids(ended: EndedSessions, now: float, **only: str) -> list[str | None]:
    return [record.id for record in ended.latest(now, 100, **only)[0]]


def test_a_refused_connection_has_no_session_and_no_messages() -> None:
    assert refused_connection(5.0, {"peer": "p", "origin": "o"}, 403, "why", "do that") == EndRecord(
        *(5.0, None, None, None, "p", None, "refused", 0.0, 0, 0, 0, 0, None, 403, "gateway", "why", "do that")
    )


def test_the_latest_come_first_and_the_old_are_forgotten() -> None:
    ended = EndedSessions()
    ended.add("x", end(1.0, "one"))
    ended.add("y", end(3.0, "three"))
    ended.add("x", end(2.0, "two"))
    assert ids(ended, 5.0) == ["three", "two", "one"]
    assert ended.latest(5.0, 1)[1] == 3
    assert ids(ended, 1.5 + KEEP_SECONDS) == ["three", "two"]
    assert ids(ended, 9.0 + KEEP_SECONDS) == []
    assert len(ended) == 0


def test_when_it_is_full_the_address_with_the_most_loses_its_oldest() -> None:
    ended = EndedSessions(most=4)
    ended.add("quiet", end(0.0, "quiet"))
    for number in range(9):
        ended.add("crowd", end(1.0 + number, f"crowd-{number}"))
    assert len(ended) == 4
    assert ids(ended, 20.0) == ["crowd-8", "crowd-7", "crowd-6", "quiet"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 300)), max_size=60))
def test_the_group_with_the_most_ends_loses_one(steps: list[tuple[str, int]]) -> None:
    ended, now = EndedSessions(most=6), 0.0
    for group, seconds in steps:
        now += seconds
        ended.expire(now)
        before = Counter(each for each, _ in ended.written())
        ended.add(group, end(now))
        after = Counter(each for each, _ in ended.written())
        lost = list((before + Counter([group]) - after).elements())
        assert len(ended) == min(6, before.total() + 1)
        assert all(before[each] == max(before.values()) for each in lost)


def test_there_is_a_limit_by_default() -> None:
    ended = EndedSessions()
    for number in range(KEEP_ENDS + 10):
        ended.add(str(number), refused_connection(float(number), {}, None, "w" * 1000, ""))
    records, count = ended.latest(600.0, 10_000)
    assert (len(records), count) == (KEEP_ENDS, KEEP_ENDS)
    assert {len(record.reason) for record in records} == {MAX_REASON}
    assert records[-1].at == 10.0


def test_ends_are_found_by_canister_and_client() -> None:
    ended = EndedSessions()
    ended.add("x", end(1.0, "one", canister="c-1", principal="aaaaa-bbbbb-cai"))
    ended.add("x", end(2.0, "two", canister="c-2", principal="aaaaa-..."))
    assert ids(ended, 3.0, canister="c-1") == ["one"]
    assert ids(ended, 3.0, principal="aaaaa-bbbbb-cai") == ["two", "one"], "masked ones may be the same client"
    assert ids(ended, 3.0, principal="aaaaa-ccccc-cai") == ["two"]


def test_what_is_kept_of_a_client_follows_the_option_for_the_log() -> None:
    fields = {"peer": "203.0.113.7:50712", "client": "abcde-fghij-cai", "origin": "https://app.example"}
    assert shown_fields("full", fields) == fields
    assert shown_fields("masked", fields) == {**fields, "peer": "203.0.113.0/24", "client": "abcde-..."}
    assert shown_fields("none", fields) == {}


@pytest.mark.parametrize("details", ["full", "none"])
def test_a_session_that_ends_is_kept_with_who_why_and_what_to_do(details: str) -> None:
    world = World(log_clients=details)
    one, two = world.open(2)
    one.echoes(b"DIDL\0\0")
    world.run(2)
    assert one.session is not None
    assert two.session is not None
    one.session.left(4000, "Error receiving message")
    two.session.end(CloseCode.OPEN_REFUSED, "ws_open refused: the anonymous principal cannot open a WebSocket")
    now = world.clock.seconds()
    rows = [end_row(record, now, world.now_ns()) for record in world.context.ended_sessions.latest(now, 9)[0]]
    json.dumps(rows)
    by_id = {row["id"]: row for row in rows}
    left, ended = by_id[one.session.id], by_id[two.session.id]
    assert (left["code"], left["by"], left["reason"]) == (4000, "client", "Error receiving message")
    assert (ended["code"], ended["by"]) == (4101, "gateway")
    assert "identity" in ended["hint"]
    assert "message type" in left["hint"]
    assert (left["canister"], left["state"]) == (ECHO_ID.text, "open")
    assert (left["messages_up"], left["messages_down"]) == (2, 2)
    assert left["seconds"] >= 2
    assert left["ended"] == pytest.approx(world.now_ns() / 1e9, abs=0.01)
    known = details == "full"
    assert left["principal"] == (one.identity.principal.text if known else None)
    assert left["peer"] == ("memory" if known else None)


def test_what_the_server_refuses_is_not_what_the_client_says() -> None:
    world = World()
    (client,) = world.open(1)
    session = client.session
    assert session is not None
    session.cause, session.failure = 1009, "received WebSocket message size 9 exceeds payload limit"
    session.left(1006)
    now = world.clock.seconds()
    ((record,), _) = world.context.ended_sessions.latest(now, 9)
    assert (record.code, record.by, record.reason) == (1009, "gateway", session.failure)
    assert "--max-message-bytes" in record.hint


def test_a_canister_that_the_client_may_not_use_is_named() -> None:
    world = World(denied_canisters=(ECHO_ID.text,))
    client = world.client()
    world.run(1)
    assert client.close_code == CloseCode.CANISTER_NOT_ALLOWED
    now = world.clock.seconds()
    ((record,), _) = world.context.ended_sessions.latest(now, 9)
    assert (record.canister, record.principal) == (ECHO_ID.text, None)


def test_another_process_goes_on_with_the_ends() -> None:
    ended, copy = EndedSessions(), EndedSessions()
    for at, group in ((1.0, "a"), (3.0, "a"), (2.0, "b")):
        ended.add(group, refused_connection(at, {"peer": group}, 403, f"at {at}", ""))
    written = ended.written()
    copy.continue_from([*written, ["c", {"at": 4.0}], ["a", {**written[0][1], "of tomorrow": 1}]])
    assert [(each.reason, each.peer) for each in copy.latest(5.0, 9)[0]] == [
        ("at 3.0", "a"),
        ("at 2.0", "b"),
        ("at 1.0", "a"),
        ("at 1.0", "a"),
    ]
    small = EndedSessions(most=2)
    small.continue_from(written)
    assert [each.at for each in small.latest(5.0, 9)[0]] == [3.0, 2.0]
