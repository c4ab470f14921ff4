from __future__ import annotations

from icwsgw.devnet.canister_logs import MAX_LOG_BYTES, CanisterLogs, LogRecord
from icwsgw.ic.principal import Principal

ONE, OTHER = Principal(b"\1\1\1"), Principal(b"\2\1\1")


def test_records_are_numbered_for_each_canister() -> None:
    times = iter(range(10, 20))
    logs = CanisterLogs(lambda: next(times))
    for canister, text in ((ONE, b"first"), (OTHER, b"other"), (ONE, b"\xff")):
        logs.add(canister, text)
    assert logs.of(ONE) == [LogRecord(0, 10, b"first"), LogRecord(1, 12, b"\xff")]
    assert logs.of(ONE, 1) == [LogRecord(1, 12, b"\xff")]
    assert logs.of(OTHER) == [LogRecord(0, 11, b"other")]
    logs.forget(ONE)
    assert logs.of(ONE) == []


def test_the_oldest_make_room() -> None:
    logs = CanisterLogs(lambda: 0)
    for number in range(100):
        logs.add(ONE, b"%2d" % number * 1000)
    kept = logs.of(ONE)
    assert kept[-1].content == b"99" * 1000
    assert [record.number for record in kept] == list(range(kept[0].number, 100))
    assert MAX_LOG_BYTES - 2100 < sum(len(record.content) for record in kept) <= MAX_LOG_BYTES
    logs.add(ONE, bytes(MAX_LOG_BYTES + 5))
    assert [len(record.content) for record in logs.of(ONE)] == [MAX_LOG_BYTES]


def test_records_without_text_have_a_bound_too() -> None:
    logs = CanisterLogs(lambda: 0)
    for _ in range(MAX_LOG_BYTES + 10):
        logs.add(ONE, b"")
    assert len(logs.of(ONE)) == MAX_LOG_BYTES


def test_a_listener_gets_text() -> None:
    lines: list[tuple[Principal, str]] = []
    logs = CanisterLogs(lambda: 0, lambda canister, text: lines.append((canister, text)))
    logs.add(ONE, b"a\xffb")
    assert lines == [(ONE, "a\N{REPLACEMENT CHARACTER}b")]
