import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner

from icwsgw.errors import ConfigError
from icwsgw.process.startup import (
    COLLECTIONS,
    StarterStderr,
    closed_stdout_is_an_end,
    exit_zero_on_signals,
    freeze_startup_objects,
    keep_starter_stderr,
    one_line,
    reload_on_hangup,
    report_start_errors,
    stop,
)


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
    taken = CannotListenError("", 8080, OSError(98, "Address already in use"))
    sys.excepthook(CannotListenError, taken, None)
    sys.excepthook(ValueError, ValueError("bug"), None)
    assert capsys.readouterr().err == (
        "twistd icws: no key\ntwistd icws: Couldn't listen on any:8080: [Errno 98] Address already in use.\n"
    )
    assert others == [ValueError]


def test_a_pid_file_that_cannot_be_written_is_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: others.append(kind))
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    report_start_errors()
    runner = UnixApplicationRunner(ServerOptions())
    with pytest.raises(IsADirectoryError) as caught:
        runner.setupEnvironment(chroot=None, rundir=".", nodaemon=True, umask=None, pidfile=str(tmp_path))
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert capsys.readouterr().err == f"twistd icws: cannot write {tmp_path}: Is a directory\n"
    with pytest.raises(IsADirectoryError) as caught:
        tmp_path.read_bytes()
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert others == [IsADirectoryError]


def test_a_daemons_error_is_in_its_log_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    logged: list[str] = []
    report_start_errors(log=logged.append)
    sys.excepthook(ConfigError, ConfigError("no key"), None)
    assert logged == ["no key"]
    assert capsys.readouterr().err == "twistd icws: no key\n"


class Reactor:
    """The part of a reactor that signal handlers use."""

    def __init__(self) -> None:
        self.stops = 0

    def callWhenRunning(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning("stopping")


@pytest.fixture
def restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_reactor_is_stopped_once() -> None:
    reactor = Reactor()
    assert stop(reactor)
    assert not stop(reactor)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_reactor_and_more_of_them_hurry(number: int) -> None:
    reactor = Reactor()
    hurried: list[None] = []
    exit_zero_on_signals(reactor, lambda: hurried.append(None))
    signal.raise_signal(number)
    assert (reactor.stops, hurried) == (1, [])
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert (reactor.stops, hurried) == (3, [None, None])


@pytest.mark.usefixtures("restored")
def test_more_signals_do_no_harm_where_nothing_can_be_hurried() -> None:
    reactor = Reactor()
    exit_zero_on_signals(reactor)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert reactor.stops == 2


@pytest.mark.usefixtures("restored")
def test_hangup_reloads() -> None:
    reloads: list[None] = []
    reload_on_hangup(Reactor(), lambda: reloads.append(None))
    signal.raise_signal(signal.SIGHUP)
    assert reloads == [None]


def test_what_the_program_is_made_of_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: done.append(str(thresholds)))
    freeze_startup_objects(Reactor())
    assert done == ["collect", "freeze", str(COLLECTIONS)], "rubbish must not be kept for ever"
    youngest, older, all_ = COLLECTIONS
    # those that a full collection comes after, and the middle one looks at
    assert youngest * older * all_ >= 1_000_000
    assert youngest * older <= 5000


@pytest.fixture
def pipe() -> Iterator[tuple[StarterStderr, Callable[[], str]]]:
    reader, writer = os.pipe()
    stream = StarterStderr(writer)

    def printed_text() -> str:
        stream.close()
        return os.read(reader, 65536).decode()

    yield stream, printed_text
    stream.close()
    os.close(reader)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        # as twistd's parent process writes it; the daemon says the whole line
        ("An error has occurred: b'icwsgw.errors.ConfigError: cannot listen on tcp:8'\nPlease look at log\n", ""),
        ("An error has occurred: b\"icwsgw.errors.ConfigError: 'x' is no\"\nPlease look at log\n", ""),
        ("An error has occurred: b'twisted.internet.error.CannotListenError: x'\nPlease look\n", ""),
        ("An error has occurred: b'ValueError: no'\nPlease look at log\n", "ValueError: no\nPlease look at log\n"),
        ("twistd icws: one line\n", "twistd icws: one line\n"),
    ],
)
def test_who_starts_a_daemon_reads_words(
    pipe: tuple[StarterStderr, Callable[[], str]], words: str, printed: str
) -> None:
    stream, printed_text = pipe
    stream.write(words)
    stream.flush()
    assert printed_text() == printed
    stream.write("after the start")


def test_a_daemon_lets_the_terminal_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.__stderr__)
    later: list[Callable[[], object]] = []
    keep_starter_stderr(SimpleNamespace(callWhenRunning=later.append))
    stream: Any = sys.__stderr__
    assert stream._descriptor > 2
    assert not os.get_inheritable(stream._descriptor)
    (started,) = later
    started()
    assert stream._descriptor == -1


def test_a_reader_that_has_left_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Left:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            return spare

    spare = os.open(tmp_path / "spare", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(sys, "stdout", Left())
    with pytest.raises(SystemExit) as caught, closed_stdout_is_an_end():
        print("a line")
    assert caught.value.code == 1
    assert os.fstat(spare).st_rdev == os.stat(os.devnull).st_rdev
    os.close(spare)
