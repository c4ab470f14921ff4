from __future__ import annotations

import io
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from icwsgw.observe import writer
from icwsgw.observe.writer import OVERHEAD, LogLine, Writer, to_stream

PATIENCE = 30.0


class Sink:
    """Takes lines once it is let to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.error: OSError | None = None

    def __call__(self, line: LogLine) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.lines.append(line.text)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.open.set()


def notice(count: int) -> LogLine:
    return LogLine(f"{count} dropped", "warn")


def line(text: str) -> LogLine:
    return LogLine(text, "info")


def test_lines_are_written_in_order(sink: Sink) -> None:
    sink.open.set()
    writer = Writer(sink, notice)
    for number in range(1000):
        writer.put(line(str(number)))
    assert writer.flush(PATIENCE)
    assert sink.lines == [str(number) for number in range(1000)]
    assert (writer.dropped, writer.failed) == (0, 0)


def test_what_does_not_fit_is_dropped_counted_and_reported(sink: Sink) -> None:
    writer = Writer(sink, notice, most=4 * (1 + OVERHEAD))
    writer.put(line("0"))
    assert sink.entered.wait(PATIENCE), "the first is being written, for as long as it takes"
    for number in range(1, 10):
        writer.put(line(str(number)))
    assert writer.dropped == 6
    assert not writer.flush(0.0)
    sink.open.set()
    assert writer.flush(PATIENCE)
    assert sink.lines == ["0", "1", "2", "3", "6 dropped"]
    writer.put(line("on"))
    assert writer.flush(PATIENCE)
    assert (sink.lines[-1], writer.dropped) == ("on", 6)


def test_the_notice_stands_where_the_lines_are_missing(sink: Sink) -> None:
    writer = Writer(sink, notice, most=4 * (1 + OVERHEAD) + 20)
    writer._thread = threading.current_thread()  # none is begun: nothing is written yet
    for number in range(6):
        writer.put(line(str(number)))
    for _ in range(2):
        writer._waiting -= len(writer._lines.popleft().text) + OVERHEAD
    writer.put(line("x"))
    assert [each.text for each in writer._lines] == ["2", "3", "2 dropped", "x"]
    writer._lines.clear()
    writer._waiting = 0


def test_a_line_longer_than_the_buffer_is_written(sink: Sink) -> None:
    sink.open.set()
    writer = Writer(sink, notice, most=10)
    writer.put(line("x" * 1000))
    assert writer.flush(PATIENCE)
    assert sink.lines == ["x" * 1000]


def test_a_line_that_cannot_be_written_is_counted_and_the_next_one_tried(sink: Sink) -> None:
    sink.open.set()
    sink.error = OSError(28, "No space left on device")
    writer = Writer(sink, notice)
    writer.put(line("one"))
    assert writer.flush(PATIENCE)
    sink.error = None
    writer.put(line("two"))
    assert writer.flush(PATIENCE)
    assert (sink.lines, writer.failed) == (["1 dropped", "two"], 1)


def test_a_line_that_comes_while_the_thread_rests_wakes_it_only_in_a_hurry(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "REST", 1e6)
    sink.open.set()
    mine = Writer(sink, notice, most=4 * (1 + OVERHEAD))
    mine.put(line("0"))
    assert mine.flush(PATIENCE), "it rests now"
    mine.put(line("1"))
    mine.put(line("2"))
    assert sink.lines == ["0"]
    sink.entered.clear()
    mine.put(line("3"))
    assert sink.entered.wait(PATIENCE), "the buffer is more than half full"
    assert mine.flush(PATIENCE)
    mine.put(line("4"))
    assert mine.flush(PATIENCE), "who waits for all lines does not wait for the end of a rest"
    assert sink.lines == ["0", "1", "2", "3", "4"]


def test_without_a_thread_to_be_had_lines_are_written_in_place(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    sink.open.set()
    writer = Writer(sink, notice)
    writer.put(line("one"))
    assert (sink.lines, writer.flush(0.0)) == (["one"], True)


def test_a_child_process_begins_anew(sink: Sink) -> None:
    mine = Writer(sink, notice)
    mine.put(line("of the parent"))
    assert sink.entered.wait(PATIENCE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        mine._write = to_stream(os.fdopen(writing, "w", encoding="utf-8"))
        mine.put(line("of the child"))
        os._exit(0 if mine.flush(PATIENCE) else 1)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        output = stream.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert output == b"of the child\n"
    sink.open.set()
    assert mine.flush(PATIENCE)
    assert sink.lines == ["of the parent"]


def test_a_pipe_that_was_made_non_blocking_gets_all() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = "x" * 300_000
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        mine = Writer(to_stream(stream), notice)
        mine.put(line(text))
        got = b""
        while not got.endswith(b"\n"):
            got += os.read(reading, 1 << 16)
        assert mine.flush(PATIENCE)
    os.close(reading)
    assert got.decode() == text + "\n"


def test_a_stream_of_another_encoding_gets_what_it_cannot_write_escaped() -> None:
    raw = io.BytesIO()
    write = to_stream(io.TextIOWrapper(raw, encoding="latin-1"))
    write(line("reason=za\u017c\xf3\u0142\u0107"))
    write(line("the next one"))
    assert raw.getvalue() == b"reason=za\\u017c\xf3\\u0142\\u0107\nthe next one\n"


def test_the_end_waits_for_all_but_not_for_long(sink: Sink) -> None:
    mine = Writer(sink, notice)
    mine.put(line("one"))
    assert not writer.flush(0.01)
    sink.open.set()
    assert writer.flush(PATIENCE)
    assert sink.lines == ["one"]


def test_a_call_comes_between_the_lines_also_when_the_buffer_is_full(sink: Sink) -> None:
    writer = Writer(sink, notice, most=2 * (1 + OVERHEAD))
    done: list[list[str]] = []
    writer.put(line("0"))
    assert sink.entered.wait(PATIENCE)
    writer.put(line("1"))
    writer.put(line("2"))
    assert writer.dropped == 1
    writer.call(lambda: done.append(list(sink.lines)))
    sink.open.set()
    assert writer.flush(PATIENCE)
    assert done == [["0", "1"]]
    assert writer.failed == 0


def test_a_call_that_fails_is_counted_and_the_lines_go_on(sink: Sink) -> None:
    sink.open.set()
    writer = Writer(sink, notice)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    writer.call(fail)
    writer.put(line("0"))
    assert writer.flush(PATIENCE)
    assert (sink.lines, writer.failed) == (["0"], 1)


def test_a_call_without_a_thread_is_made_at_once(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[None] = []
    Writer(sink, notice).call(lambda: done.append(None))
    assert done == [None]


def test_a_file_whose_disk_was_full_says_how_many_lines_are_missing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: the kernel writes what fits, then refuses."""
    path = tmp_path / "log"
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with path.open("a", encoding="utf-8") as stream:
        mine = Writer(to_stream(stream), notice)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            for text in ("whole", "cut off", "lost", "lost"):
                mine.put(line(text))
            assert mine.flush(PATIENCE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        mine.put(line("next"))
        mine.put(line("last"))
        assert mine.flush(PATIENCE)
    assert path.read_text() == "whole\ncut \n3 dropped\nnext\nlast\n"
    assert mine.failed == 3
