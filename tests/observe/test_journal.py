"""Lines in systemd's journal: their priorities, and only there."""

from __future__ import annotations

import os
import syslog
from pathlib import Path
from typing import Any, TextIO

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from icwsgw.observe.journal import PRIORITIES, is_journal, with_priorities
from icwsgw.observe.levels import Levels
from icwsgw.observe.logs import get_logger, make_observer
from icwsgw.observe.writer import LogLine, flush
from tests.support.log_state import reset_logs


def named(stream: TextIO) -> dict[str, str]:
    status = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_the_stream_that_the_manager_names(tmp_path: Path) -> None:
    with (tmp_path / "one").open("w") as one, (tmp_path / "two").open("w") as two:
        assert is_journal(one, named(one))
        assert not is_journal(two, named(one)), "the output was redirected"
        assert not is_journal(one, {})
        assert not is_journal(object(), named(one))
        for wrong in ("", "8", ":", "8:x", "x:8", "-1:2"):
            assert not is_journal(one, {"JOURNAL_STREAM": wrong})
    assert not is_journal(one, {"JOURNAL_STREAM": "8:9"}), "closed"


def test_priorities_are_those_of_syslog() -> None:
    names = ("LOG_DEBUG", "LOG_INFO", "LOG_WARNING", "LOG_ERR", "LOG_CRIT")
    assert list(PRIORITIES.values()) == [getattr(syslog, name) for name in names]


def test_each_line_has_its_own() -> None:
    lines: list[str] = []
    write = with_priorities(lambda line: lines.append(line.text))
    write(LogLine("2026 warn  x one", "warn"))
    write(LogLine("2026 critical x a fault\n    Traceback\n    ValueError", "critical"))
    write(LogLine("of another program", "unknown"))
    assert lines == [
        "<4>2026 warn  x one",
        "<2>2026 critical x a fault\n<2>    Traceback\n<2>    ValueError",
        "<6>of another program",
    ]


@pytest.mark.parametrize("journalled", [True, False])
@pytest.mark.parametrize("twistd", [{}, {"logfile": "-", "nodaemon": True}])
def test_the_main_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journalled: bool, twistd: dict[str, Any]
) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr(os, "environ", named(out) if journalled else {})
        observer: Any = make_observer(Levels(), "json", twistd=twistd)
        try:
            observer({"log_level": LogLevel.error, "log_namespace": "icwsgw.x", "icws_message": "three"})
            assert flush(30)
        finally:
            reset_logs()
    (line,) = (tmp_path / "out").read_text().splitlines()
    assert line.startswith("<3>{" if journalled else "{")


def test_a_log_file_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr(os, "environ", named(out))
        observer: Any = make_observer(Levels(), "text", twistd={"logfile": str(tmp_path / "log")})
        globalLogPublisher.addObserver(observer)
        try:
            get_logger("x").error("three")
            assert flush(30)
        finally:
            globalLogPublisher.removeObserver(observer)
            reset_logs()
    assert " error x three\n" in (tmp_path / "log").read_text()
    assert "<3>" not in (tmp_path / "log").read_text()
