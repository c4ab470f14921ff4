import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.application.service import Application, IServiceCollection
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from icwsgw.escaping import escape_invisible
from icwsgw.observe import logs
from icwsgw.observe.labels import LINE_LEVELS
from icwsgw.observe.levels import DEBUG, ERROR, EVERYTHING, INFO, OFF, Levels, parse_levels
from icwsgw.observe.log_file import FileBounds
from icwsgw.observe.logs import Fields, LineObserver, ObservedService, get_logger, make_observer, set_levels
from icwsgw.observe.meters import LabelledCounter
from icwsgw.observe.writer import flush, to_stream


@pytest.fixture(autouse=True)
def default_levels() -> Iterator[None]:
    yield
    set_levels(Levels())


class Listening:
    """The lines an observer writes while it is attached to Twisted's log."""

    def __init__(self, levels: Levels, format: str = "text") -> None:
        self.stream = io.StringIO()
        self.observer = LineObserver(to_stream(self.stream), levels, format)
        set_levels(levels)

    def __enter__(self) -> "Listening":
        globalLogPublisher.addObserver(cast(ILogObserver, self.observer))
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(cast(ILogObserver, self.observer))

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def bare(self) -> list[str]:
        """The lines without their time."""
        return [line.partition(" ")[2] for line in self.lines]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def test_a_line_has_time_level_component_message_and_fields() -> None:
    with Listening(Levels()) as log:
        get_logger("gateway").info("poller started", canister="aaaaa-aa", clients=3, lag=0.123456789)
    assert log.bare == ["info  gateway poller started canister=aaaaa-aa clients=3 lag=0.123457"]
    assert log.lines[0].split(" ")[0].endswith("Z")


def test_json_keeps_plain_values_and_moves_reserved_names() -> None:
    with Listening(Levels(), "json") as log:
        get_logger("gateway").warn("slow", level="x", message="y", clients=3, open=True, peer=None, data=b"12345")
    (record,) = log.records
    assert record.pop("time")
    assert record == {
        "level": "warn",
        "component": "gateway",
        "message": "slow",
        "level_": "x",
        "message_": "y",
        "clients": 3,
        "open": True,
        "peer": None,
        "data": "<5 bytes>",
    }


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\u2066", "\u200b", "\ufeff"]
)
@pytest.mark.parametrize("format", ["text", "json"])
def test_no_terminal_executes_what_a_peer_sent(character: str, format: str) -> None:
    with Listening(Levels(), format) as log:
        get_logger("server").info(f"left{character}", reason=f"a{character}b c", word=f"a{character}b")
        try:
            raise ValueError(f"oh{character}no")
        except ValueError:
            get_logger("server").failure(f"a fault{character}")
        log.observer.write(escape_invisible(f"of another process{character}"))
    written = log.stream.getvalue()
    assert character not in written
    assert f"\\u{ord(character):04x}" in written
    if format == "json":
        assert json.loads(log.lines[0])["word"] == f"a{character}b"


def test_nothing_a_peer_sent_breaks_a_line() -> None:
    with Listening(Levels()) as log:
        get_logger("server").info("left\nfake\x1b[31m", reason='a "b"\nc', empty="", payload=b"secret")
    assert log.bare == [
        'info  server left\\nfake\\u001b[31m reason="a \\"b\\"\\nc" empty="" payload="<6 bytes>"',
    ]


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_a_peer_sent_makes_a_line_endless(format: str) -> None:
    with Listening(Levels(), format) as log:
        get_logger("server").info("left", reason="x" * 100_000, error=ValueError("y" * 100_000))
    (line,) = log.lines
    assert len(line) < 3 * logs.MAX_VALUE
    assert line.count("(100000 characters)") == 2


def test_levels_by_component() -> None:
    with Listening(Levels(INFO, {"server": DEBUG, "agent": ERROR})) as log:
        for component in ("server", "server.tls", "agent", "gateway"):
            logger = get_logger(component)
            logger.debug("debug")
            logger.info("info")
            logger.error("error")
    assert [line.split()[:2] for line in log.bare] == [
        ["debug", "server"],
        ["info", "server"],
        ["error", "server"],
        ["debug", "server.tls"],
        ["info", "server.tls"],
        ["error", "server.tls"],
        ["error", "agent"],
        ["info", "gateway"],
        ["error", "gateway"],
    ]


def test_a_logger_makes_no_line_below_the_levels_of_all_sinks() -> None:
    logger = get_logger("quiet")
    assert logger is get_logger("quiet")
    set_levels(Levels(ERROR), Levels(100, {"quiet": DEBUG}))
    assert logger.level == DEBUG
    set_levels()
    assert logger.level == 100


def test_traceback_of_a_failure() -> None:
    def fail() -> None:
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            get_logger("gateway").failure("a fault", client=1)

    with Listening(Levels()) as text:
        fail()
    assert text.bare[0] == "critical gateway a fault client=1"
    assert text.lines[-1] == "    builtins.RuntimeError: boom"
    with Listening(Levels(), "json") as as_json:
        fail()
    assert "boom" in as_json.records[0]["traceback"]


def test_the_chatter_of_others_counts_as_debug() -> None:
    others = Logger(namespace="twisted.internet.tcp")
    with Listening(Levels()) as quiet:
        others.info("Starting factory {name}", name="f")
        Logger(namespace="icwsgw.admin.prometheus_endpoint.AdminSite").info("Starting factory {name}", name="f")
        legacy.msg("starting on 8080")
        others.warn("odd {thing}", thing="x")
        Logger(namespace="stdout").info("{log_io}", log_io="printed")
        others.failure("Unhandled", Failure(ValueError("v")), level=LogLevel.critical)
        legacy.err(Failure(KeyError("k")))
    heads = [" ".join(line.split()[:4]) for line in quiet.bare if not line.startswith(" ")]
    assert "warn twisted.internet.tcp odd x" in heads
    assert "info stdout printed" in heads
    assert "critical twisted.internet.tcp Unhandled" in heads
    assert not any("factory" in line or "8080" in line for line in quiet.lines)
    assert [line.split(": ", 1)[1] for line in quiet.lines if "KeyError" in line] == ["builtins.KeyError: 'k'"]
    with Listening(Levels(DEBUG)) as loud:
        others.info("Starting factory {name}", name="f")
    assert loud.bare == ["debug twisted.internet.tcp Starting factory f"]


def test_other_observers_can_format_our_events() -> None:
    from twisted.logger import formatEvent

    seen: list[dict[str, Any]] = []
    observer = cast(ILogObserver, seen.append)
    globalLogPublisher.addObserver(observer)
    try:
        get_logger("gateway").info("opened {x}", client="a b")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert formatEvent(seen[0]) == 'opened {x} client="a b"'
    assert f"{Fields(a=1)}" == " a=1"


def test_an_application_takes_the_observer_of_its_service() -> None:
    observer = LineObserver(to_stream(io.StringIO()), Levels())
    verifyObject(ILogObserver, observer)
    application = Application("icws")
    service = ObservedService(observer)
    service.setServiceParent(application)
    assert application.getComponent(ILogObserver) is observer
    assert list(IServiceCollection(application)) == [service]


def test_main_log_goes_where_twistds_option_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"log_level": LogLevel.info, "log_namespace": "icwsgw.gateway", "log_time": 0.0, "icws_message": "hello"}
    for options in (None, {"logfile": "-", "nodaemon": True}, {"logfile": None, "nodaemon": True}):
        observer: Any = make_observer(Levels(), "text", twistd=options)
        observer(dict(event))
        assert flush(30)
        assert capsys.readouterr().out == "1970-01-01T00:00:00.000Z info  gateway hello\n"
    file = tmp_path / "gateway.log"
    observer = make_observer(Levels(), "text", twistd={"logfile": str(file), "nodaemon": True})
    observer(dict(event))
    assert flush(30)
    assert file.read_text() == "1970-01-01T00:00:00.000Z info  gateway hello\n"


def test_a_file_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = tmp_path / "data" / "traces"
    make_observer(Levels(), "text", file_levels=Levels(100), traces=traces)
    assert not traces.exists()
    observer: Any = make_observer(
        Levels(), "text", file_levels=Levels(DEBUG), traces=traces, now=lambda: 1700000000.1234
    )
    assert get_logger("gateway").level == DEBUG
    globalLogPublisher.addObserver(observer)
    try:
        get_logger("gateway").debug("small")
        get_logger("gateway").info("big")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert flush(30)
    assert capsys.readouterr().out.count("\n") == 1
    lines = (traces / "gateway_1700000000123.log").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["small", "big"]


def test_formats_are_the_choices_of_the_option() -> None:
    from icwsgw.config.schema import BY_NAME

    for name in logs.FORMATS:
        assert BY_NAME["log-format"].kind.parse(name) == name


def test_levels_change_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_observer(Levels(), "text", file_levels=Levels(ERROR), traces=tmp_path, now=lambda: 1.0)
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    try:
        get_logger("gateway").debug("one")
        logs.change_levels(Levels(DEBUG), Levels(DEBUG))
        get_logger("gateway").debug("two")
        logs.change_levels(Levels(ERROR), Levels(ERROR))
        get_logger("gateway").info("three")
        logs.pass_on("a line of another process")
    finally:
        globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]
    assert flush(30)
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in out[:1]] == ["debug gateway two"]
    assert out[1:] == ["a line of another process"]
    (record,) = map(json.loads, (tmp_path / "gateway_1000.log").read_text().splitlines())
    assert record["message"] == "two"


def test_a_file_is_not_begun_later(capsys: pytest.CaptureFixture[str]) -> None:
    make_observer(Levels(ERROR), "text", file_levels=parse_levels("off"))
    logs.change_levels(Levels(ERROR), Levels(DEBUG))
    assert get_logger("gateway").level == ERROR
    assert capsys.readouterr().out == ""


def test_lines_of_a_marked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_mark", {})
    logs.mark(worker=2)
    with Listening(Levels()) as log:
        get_logger("gateway").info("session ended", cause=1000)
    assert log.bare == ["info  gateway session ended cause=1000 worker=2"]


def test_components_may_be_given_other_levels_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    observer = make_observer(Levels(), "text", twistd={"nodaemon": True})
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    try:
        logs.override_levels({"gateway": DEBUG, EVERYTHING: ERROR})
        assert get_logger("gateway").level == DEBUG
        assert get_logger("relay").level == ERROR
        assert logs.levels_in_force() == Levels(ERROR, {"gateway": DEBUG})
        get_logger("gateway").debug("one")
        get_logger("relay").warn("two")
        # a reload of the configuration changes what is below
        logs.change_levels(parse_levels("gateway=off,relay=debug"), Levels())
        assert get_logger("gateway").level == DEBUG
        assert get_logger("relay").level == DEBUG
        logs.override_levels({})
        assert get_logger("gateway").level == OFF
        get_logger("gateway").error("three")
    finally:
        logs.override_levels({})
        globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]
    assert flush(30)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["one"]
    assert "gateway" in logs.components()


def test_lines_of_the_main_log_are_counted_by_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "lines_written", LabelledCounter(LINE_LEVELS))
    observer: Any = make_observer(Levels(), "text", file_levels=Levels(DEBUG), traces=tmp_path)
    globalLogPublisher.addObserver(observer)
    try:
        get_logger("gateway").debug("to the file only")
        get_logger("gateway").info("one")
        get_logger("gateway").error("two")
        Logger(namespace="twisted.x").critical("three")
    finally:
        globalLogPublisher.removeObserver(observer)
    counts = {level: count for level, count in logs.lines_written.values.items() if count}
    assert counts == {"info": 1, "error": 1, "critical": 1}


def test_log_files_begin_anew_when_asked_to(tmp_path: Path) -> None:
    log, traces = tmp_path / "icws.log", tmp_path / "traces"
    observer: Any = make_observer(
        Levels(),
        "text",
        file_levels=Levels(),
        traces=traces,
        bounds=FileBounds(0, 2),
        twistd={"logfile": str(log)},
        now=lambda: 1.0,
    )
    globalLogPublisher.addObserver(observer)
    try:
        for number in range(4):
            get_logger("gateway").info(f"line {number}")
            logs.rotate_files()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert flush(30)
    assert sorted(path.name for path in tmp_path.rglob("*.log*")) == [
        *("gateway_1000.log", "gateway_1000.log.1", "gateway_1000.log.2"),
        *("icws.log", "icws.log.1", "icws.log.2"),
    ]
    first, second = (tmp_path / "icws.log.1").read_text().splitlines()
    assert first.endswith(f"log log files begin anew files={log},{traces}/gateway_1000.log")
    assert second.endswith("gateway line 3")
    assert '"message": "line 3"' in (traces / "gateway_1000.log.1").read_text()


def test_files_are_rotated_by_their_size(tmp_path: Path) -> None:
    log = tmp_path / "icws.log"
    observer: Any = make_observer(Levels(), "text", bounds=FileBounds(100, 1), twistd={"logfile": str(log)})
    event = {"log_level": LogLevel.info, "log_namespace": "icwsgw.gateway", "log_time": 0.0, "icws_message": "x" * 40}
    for _ in range(5):
        observer(dict(event))
    assert flush(30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["icws.log", "icws.log.1"]


def test_two_processes_never_share_a_file(tmp_path: Path) -> None:
    for _ in range(3):
        make_observer(Levels(), "text", file_levels=Levels(), traces=tmp_path, now=lambda: 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"gateway_{1000 + n}.log" for n in range(3)]


def test_where_no_file_is_written_none_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    observer: Any = make_observer(Levels(), "text", twistd={"nodaemon": True})
    globalLogPublisher.addObserver(observer)
    try:
        logs.rotate_files()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert flush(30)
    assert capsys.readouterr().out.endswith("info  log there is no log file to begin anew\n")


def test_a_file_that_cannot_be_rotated_says_so_in_its_format(tmp_path: Path) -> None:
    log = tmp_path / "icws.log"
    make_observer(Levels(), "json", twistd={"logfile": str(log)})
    log.rename(tmp_path / "away")
    log.mkdir()
    logs.rotate_files()
    assert flush(30)
    (record,) = map(json.loads, (tmp_path / "away").read_text().splitlines())
    assert (record["level"], record["component"]) == ("error", "log")
    assert record["message"] == "the log file could not be rotated"
    assert record["reason"] == f"{log}: Is a directory"
