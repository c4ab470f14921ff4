"""The main log in syslog: the same lines at syslog's priorities, counted as any others."""

from __future__ import annotations

import json
import syslog
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from icwsgw.observe import logs
from icwsgw.observe.labels import LINE_LEVELS
from icwsgw.observe.levels import DEBUG, ERROR, Levels
from icwsgw.observe.logs import change_levels, get_logger, make_observer
from icwsgw.observe.meters import LabelledCounter
from icwsgw.observe.writer import flush

Lines = list[tuple[int, str]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines: Lines = []
    monkeypatch.setattr(syslog, "openlog", lambda *given: lines.append((-1, repr(given))))
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: lines.append((priority, text)))
    monkeypatch.setattr(logs, "lines_written", LabelledCounter(LINE_LEVELS))
    return lines


def event(level: LogLevel, message: str, component: str = "icwsgw.x", **more: Any) -> dict[str, Any]:
    return {"log_level": level, "log_namespace": component, "log_time": 1.0, "icws_message": message, **more}


def test_lines_have_priorities_and_are_counted(lines: Lines) -> None:
    observer: Any = make_observer(Levels(), "text", twistd={"syslog": True, "prefix": "icws"})
    assert lines.pop(0) == (-1, repr(("icws", syslog.LOG_PID, syslog.LOG_USER)))
    observer(event(LogLevel.debug, "not wanted"))
    observer(event(LogLevel.info, "what Twisted logs at info is debug", "twisted.web"))
    observer(event(LogLevel.info, "one", icws_fields=logs.Fields(canister="a-b")))
    observer(event(LogLevel.warn, "two"))
    observer(event(LogLevel.error, "three"))
    observer(event(LogLevel.critical, "four"))
    assert flush(30)
    assert lines == [
        (syslog.LOG_INFO, "info  x one canister=a-b"),
        (syslog.LOG_WARNING, "warn  x two"),
        (syslog.LOG_ERR, "error x three"),
        (syslog.LOG_CRIT, "critical x four"),
    ]
    counted = {level: count for level, count in logs.lines_written.values.items() if count}
    assert counted == {"info": 1, "warn": 1, "error": 1, "critical": 1}


def test_a_traceback_is_one_event_and_several_lines(lines: Lines) -> None:
    observer: Any = make_observer(Levels(), "text", twistd={"syslog": True})
    globalLogPublisher.addObserver(observer)
    try:
        try:
            raise ValueError("oh")
        except ValueError:
            get_logger("x").failure("a fault")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert flush(30)
    assert lines[1] == (syslog.LOG_CRIT, "critical x a fault")
    assert lines[-1] == (syslog.LOG_CRIT, "    builtins.ValueError: oh")
    assert all("\n" not in text for _, text in lines)
    assert logs.lines_written.values["critical"] == 1


def test_levels_change_and_the_file_comes_as_well(lines: Lines, tmp_path: Path) -> None:
    observer: Any = make_observer(Levels(), "json", file_levels=Levels(), traces=tmp_path, twistd={"syslog": True})
    observer(event(LogLevel.info, "one"))
    change_levels(Levels(ERROR), Levels(DEBUG))
    observer(event(LogLevel.info, "two"))
    change_levels(Levels(), Levels())
    assert flush(30)
    (line,) = [text for priority, text in lines if priority >= 0]
    assert json.loads(line)["message"] == "one"
    (file,) = tmp_path.glob("gateway_*.log")
    assert [json.loads(each)["message"] for each in file.read_text().splitlines()] == ["one", "two"]
