"""A worker's output becomes the lines of the log."""

from __future__ import annotations

import pytest

from icwsgw.workers import output_lines
from icwsgw.workers.output_lines import OutputLines


def test_lines_may_arrive_in_parts() -> None:
    lines: list[str] = []
    output = OutputLines(lines.append)
    for data in (b"one\ntw", b"", b"o\n\nthree\n"):
        output.feed(1, data)
    assert lines == ["one", "two", "", "three"]
    output.end()
    assert len(lines) == 4


def test_each_stream_has_its_own_lines() -> None:
    lines: list[str] = []
    output = OutputLines(lines.append)
    output.feed(2, b"Trace")
    output.feed(1, b"a line of the log\n")
    output.feed(2, b"back\n")
    assert lines == ["a line of the log", "Traceback"]


def test_the_end_of_the_process_ends_its_lines() -> None:
    lines: list[str] = []
    output = OutputLines(lines.append)
    output.feed(1, b"a line\n")
    output.feed(2, b"Segmentation fault")
    output.end()
    assert lines == ["a line", "Segmentation fault"]
    output.end()
    assert len(lines) == 2


def test_a_line_that_is_too_long_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "MOST_BYTES", 8)
    lines: list[str] = []
    output = OutputLines(lines.append)
    for data in (b"1234567", b"89", b"a\n"):
        output.feed(1, data)
    assert lines == ["123456789", "a"]


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    lines: list[str] = []
    OutputLines(lines.append).feed(2, b"\xff\n")
    assert lines == ["�"]
