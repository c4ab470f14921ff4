import sys

import pytest

from icwsgw.errors import ConfigError
from icwsgw.starting import one_line, report_start_errors


def test_one_line() -> None:
    assert one_line(ConfigError("port\n  taken")) == "twistd icws: port taken"
    assert one_line(ValueError("x"), "icws") == "icws: x"


def test_operators_errors_are_a_line_and_others_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: others.append(kind))
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    report_start_errors()
    sys.excepthook(ConfigError, ConfigError("no key"), None)
    sys.excepthook(ValueError, ValueError("bug"), None)
    assert capsys.readouterr().err == "twistd icws: no key\n"
    assert others == [ValueError]
