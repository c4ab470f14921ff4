import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.application.service import IServiceMaker, MultiService, Service
from twisted.logger import ILogObserver
from twisted.plugin import getPlugins

from icwsgw import service, tap
from icwsgw._version import __version__
from icwsgw.config.schema import OPTIONS, REMOVED
from icwsgw.errors import ConfigError
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.process import local_choices
from icwsgw.process.signals import HeldSignals
from icwsgw.process.systemd import NotifyingService
from icwsgw.tap import Options, makeService
from icwsgw.workers import supervisor


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("ICWS_", "RUST_LOG")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def test_a_command_line_of_the_original() -> None:
    config = parse(
        *("--gateway-address", "0.0.0.0:8080", "--ic-network-url", "http://host.docker.internal:4943"),
        *("--polling-interval", "200", "--prometheus-endpoint", "0.0.0.0:9000"),
        *("--tls-certificate-pem-path", "data/fullchain.pem", "--tls-certificate-key-pem-path", "data/privkey.pem"),
        *("--opentelemetry-collector-endpoint", ""),
    ).config
    assert config.gateway_addresses == ("tcp:8080:interface=0.0.0.0",)
    assert config.ic_network_url == "http://host.docker.internal:4943"
    assert config.polling_interval == 0.2
    assert config.prometheus_endpoint == "tcp:9000:interface=0.0.0.0"
    assert config.tls_certificate_pem_path == Path("data/fullchain.pem").absolute()
    assert config.opentelemetry_collector_endpoint is None


def test_what_may_be_repeated_adds_up() -> None:
    options = parse("--gateway-address=8080", "--gateway-address", "unix:/x", "--denied-canister=aaaaa-aa")
    assert options.config.gateway_addresses == ("tcp:8080", "unix:/x")
    assert options.config.denied_canisters == ("aaaaa-aa",)


def test_flags_have_opposites_for_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("--devnet").config.devnet
    monkeypatch.setenv("ICWS_DEVNET", "true")
    assert parse().config.devnet
    assert not parse("--no-devnet").config.devnet


def test_nothing_on_the_command_line_outweighs_something_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("--prometheus-endpoint=").config.prometheus_endpoint is None
    monkeypatch.setenv("ICWS_PROMETHEUS_ENDPOINT", "tcp:9000")
    monkeypatch.setenv("ICWS_OPENTELEMETRY_COLLECTOR_ENDPOINT", "grpc://collector")
    config = parse("--prometheus-endpoint", "none", "--opentelemetry-collector-endpoint", "").config
    assert (config.prometheus_endpoint, config.opentelemetry_collector_endpoint) == (None, None)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "icws.toml").write_text("polling-interval = 50\n")
    assert parse("--config", "icws.toml").config.polling_interval == 0.05


def test_a_file_is_read_again_from_wherever_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "icws.toml"
    file.write_text("polling-interval = 50\n")
    options = parse("--config", "icws.toml", "--denied-canister=aaaaa-aa")
    monkeypatch.chdir("/")
    file.write_text("polling-interval = 60\n")
    again = options.read_again()
    assert again.polling_interval == 0.06
    assert again.denied_canisters == ("aaaaa-aa",)
    assert options.config.polling_interval == 0.05
    file.write_text("poling-interval = 60\n")
    with pytest.raises(ConfigError, match="'poling-interval' is not an option"):
        options.read_again()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--pollinginterval", "1"], "option --pollinginterval not recognized; did you mean --polling-interval?"),
        (["--colour", "red"], "option --colour not recognized"),
        (["--polling-interval"], "option --polling-interval requires argument"),
        (["--polling-interval", "x"], "--polling-interval: 'x' is not a duration such as 250ms, 10s, 2m or 1h"),
        (["--outbox-bytes", "4q"], "--outbox-bytes: '4q' is not a number of bytes such as 65536, 64K, 8M or 1G"),
        (
            ["--gateway-address", "1.2.3.4:99999"],
            "--gateway-address: address '1.2.3.4:99999': port 99999 is above 65535",
        ),
        (["--devnet=no"], "option --devnet must not have an argument"),
        (["more"], "'more' is no option: options begin with --, and flags take no value"),
        (["--verify-batches", "yes"], "'yes' is no option: options begin with --, and flags take no value"),
        (["--config", "missing.toml"], "cannot read missing.toml: No such file or directory"),
        (
            ["--tls-certificate-pem-path", "c"],
            "--tls-certificate-pem-path and --tls-certificate-key-pem-path go together",
        ),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == f"twistd icws: {line}"


def test_check_config_says_what_would_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", "--polling-interval=50")
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(OPTIONS)
    assert "polling-interval = 50  # command line; milliseconds" in lines
    assert list(tmp_path.iterdir()) == []


def test_check_config_says_which_network_auto_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "icp.yaml").write_text(
        "networks:\n  - name: local\n    mode: managed\n    gateway:\n      port: 8123\n"
    )
    monkeypatch.setattr(local_choices, "answers_status", lambda url: url == "http://127.0.0.1:8123")
    with pytest.raises(SystemExit):
        parse("--check-config", "--ic-network-url=auto")
    output = capsys.readouterr()
    assert (
        output.err.splitlines()[0] + "\n"
        == "twistd icws: the network is http://127.0.0.1:8123: icp.yaml names its port\n"
    )
    assert 'ic-network-url = "http://127.0.0.1:8123"  # command line' in output.out.splitlines()
    with pytest.raises(SystemExit):
        parse("--check-config", "--print-config", "--ic-network-url=auto")
    assert 'ic-network-url = "auto"  # command line' in capsys.readouterr().out.splitlines()
    options = parse("--ic-network-url=auto")
    assert options.choose() == ["the network is http://127.0.0.1:8123: icp.yaml names its port"]
    chosen = options.config
    monkeypatch.setattr(local_choices, "answers_status", pytest.fail)
    assert options.choose() == ["the network is http://127.0.0.1:8123: icp.yaml names its port"]
    assert options.read_again() == options.config == chosen


def test_check_config_finds_what_would_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", "--gateway-address=ssl:8443")
    assert "needs privateKey=" in str(caught.value.code)


def test_print_config_is_a_file_for_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--polling-interval=50", "--gateway-address=[::1]:8080", "--devnet", "--print-config")
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    (tmp_path / "icws.toml").write_text(printed)
    assert parse("--config", "icws.toml").config == parse(*words[:3]).config
    with pytest.raises(SystemExit) as caught:
        parse("--print-config", "--check-config", "--gateway-address=ssl:8443")
    assert "needs privateKey=" in str(caught.value.code)


def test_print_principal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--print-principal")
    assert (
        caught.value.code == f"twistd icws: there is no key file {tmp_path}/data/key_pair yet: the first start makes it"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key_pair").write_bytes(Ed25519Identity(b"\x01" * 32).to_pkcs8_der())
    with pytest.raises(SystemExit) as caught:
        parse("--print-principal", "--workers=2", "--identities=2")
    assert caught.value.code == 0
    primary = Ed25519Identity(b"\x01" * 32)
    assert capsys.readouterr().out.split() == [primary.derive(index).principal.text for index in range(4)]


@pytest.mark.parametrize("word", ["--help", "--print-config", "--version"])
def test_a_closed_pipe_makes_no_traceback(word: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from icwsgw.tap import Options; Options().parseOptions(sys.argv[1:])",
            word,
        ],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=Path(tap.__file__).parents[1],
        env={**os.environ, "ICWS_DATA_DIR": str(tmp_path)},
    )
    os.close(writing)
    assert ended.returncode == 1
    assert b"Broken" not in ended.stderr


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(str(Options()).split())
    for entry in OPTIONS:
        assert f"--{entry.name}" in text
    assert "[default: 100 milliseconds]" in text
    # the original has short forms too
    for word in ("--version", "-V"):
        with pytest.raises(SystemExit) as caught:
            parse(word)
        assert caught.value.code == 0
        assert capsys.readouterr().out == f"icwsgw {__version__}\n"
    for word in ("--help", "-h"):
        with pytest.raises(SystemExit) as caught:
            parse(word)
        assert not caught.value.code
        assert "--gateway-address" in capsys.readouterr().out


@pytest.mark.parametrize(
    "word",
    ["--compression", "--no-compression", "--client-message-burst=50", "--client-byte-burst=", "--client-byte-burst=x"],
)
def test_removed_options_start_as_ever_with_a_warning(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = word.partition("=")[0].replace("--no-", "--")
    sourced = parse(word, "--workers=2").sourced
    assert sourced is not None
    assert sourced.config == parse("--workers=2").config
    (line,) = sourced.ignored
    assert line.startswith(f"{name} has no effect any more (command line): ")
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", "--gateway-address=127.0.0.1:0", "--prometheus-endpoint=127.0.0.1:0", word)
    assert caught.value.code == 0
    captured = capsys.readouterr()
    # beside it, other programs may have the ports of this machine
    assert captured.err.splitlines().count(f"twistd icws: {line}") == 1
    assert name[2:] not in captured.out


def test_removed_options_are_neither_listed_nor_suggested() -> None:
    text = str(Options())
    for entry in REMOVED:
        assert f"--{entry.name}\n" not in text
        assert f"--{entry.name}=" not in text
    with pytest.raises(SystemExit) as caught:
        parse("--compresion")
    assert caught.value.code == "twistd icws: option --compresion not recognized"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_brings_its_log_and_what_should_be_known(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    made: list[Any] = []

    class Gateway(MultiService):
        def skip_drain_window(self) -> None: ...

        def reload(self, config: Any) -> None: ...

        def rotate_logs(self) -> None: ...

    def fake(config: Any, *_: Any) -> Service:
        made.append(config)
        return Gateway()

    hooks: list[None] = []
    warned: list[str] = []
    monkeypatch.setattr(service, "make_gateway_service", fake)
    monkeypatch.setattr(tap, "report_start_errors", lambda log: hooks.append(log))
    monkeypatch.setattr(tap, "exit_zero_on_signals", lambda reactor, hurry: hooks.append(None))
    # it would leave a timer in the reactor of the tests
    monkeypatch.setattr(tap, "trim_heap", lambda reactor: hooks.append(None))
    signals: list[Any] = []
    monkeypatch.setattr(tap, "ignore_unused", lambda reactor, log, but: signals.append("unused"))
    prepared: list[Any] = []
    monkeypatch.setattr(tap, "prepare_handover", lambda *given: prepared.append(given))
    monkeypatch.setattr(supervisor, "make_supervisor", fake)
    monkeypatch.setattr(tap, "get_logger", lambda name: _Warnings(warned))
    monkeypatch.setenv("ICWS_WORKRES", "3")
    monkeypatch.setenv("ICWS_COMPRESSION", "true")
    options = parse("--opentelemetry-collector-endpoint", "grpc://otlp_collector:4317", "--workers", str(workers))
    from twisted.internet import reactor

    root = makeService(options)
    assert made == [options.config]
    gateway, notifying = root
    assert isinstance(gateway, Gateway)
    assert isinstance(notifying, NotifyingService)
    assert hooks == [None, None, None]
    assert len(prepared) == 1
    assert signals == ["unused"]
    assert reactor.seconds is time.monotonic
    # a supervisor's workers look to their own files
    warning = "ICWS_WORKRES in the environment is not an option; did you mean ICWS_WORKERS?"
    removed = "--compression has no effect any more (ICWS_COMPRESSION): messages are not compressed"
    assert warned == [removed, warning]
    from twisted.application.service import Application

    application = Application("icws")
    root.setServiceParent(application)
    assert application.getComponent(ILogObserver) is not None


def test_a_signal_that_asks_for_the_end_while_it_starts_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, held_signals: HeldSignals
) -> None:
    class Gateway(MultiService):
        def __init__(self, *_: object) -> None:
            super().__init__()
            os.kill(os.getpid(), signal.SIGTERM)

        def skip_drain_window(self) -> None: ...

        def rotate_logs(self) -> None: ...

    monkeypatch.setattr(tap, "held", held_signals)
    monkeypatch.setattr(service, "make_gateway_service", Gateway)
    for name in ("report_start_errors", "exit_zero_on_signals", "trim_heap"):
        monkeypatch.setattr(tap, name, lambda *_, **__: None)
    for name in ("ignore_unused", "prepare_handover"):
        monkeypatch.setattr(tap, name, lambda *_: None)
    held_signals.hold()
    options = parse()
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 0


def test_a_command_that_prints_holds_no_signals(monkeypatch: pytest.MonkeyPatch, held_signals: HeldSignals) -> None:
    monkeypatch.setattr(tap, "held", held_signals)
    before = signal.getsignal(signal.SIGTERM)
    held_signals.hold()
    assert signal.getsignal(signal.SIGTERM) != before
    with pytest.raises(SystemExit):
        parse("--print-config")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_log_that_cannot_be_written_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tap, "report_start_errors", lambda log: None)
    (tmp_path / "file").touch()
    options = parse("--log-file-level", "info", "--data-dir", "file")
    with pytest.raises(ConfigError, match=f"^cannot write the log {tmp_path}/file/traces: Not a directory$"):
        makeService(options)


def test_check_config_warns_of_variables_that_look_misspelt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICWS_WORKRES", "3")
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", "--gateway-address=127.0.0.1:0", "--prometheus-endpoint=127.0.0.1:0")
    assert caught.value.code == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("twistd icws: ICWS_WORKRES in the environment is not an option; did you mean ICWS_WORKERS?") == 1


def test_check_config_warns_of_levels_of_components_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", "--log-level=info,rellay=debug,relay=debug", "--log-file-level=polling=debug")
    assert caught.value.code == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "no component" in line]
    assert [line.partition(";")[0] for line in warnings] == [
        "twistd icws: --log-level: there is no component rellay",
        "twistd icws: --log-file-level: there is no component polling",
    ]
    assert "poller, relay, server" in warnings[0]


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (["--ic-network-url=https://bn.example"], True),
        (["--ic-network-url=https://icp0.io", "--root-key=fetch"], True),
        (["--ic-network-url=https://bn.example", "--root-key=mainnet"], False),
        (["--ic-network-url=https://icp0.io"], False),
        ([], False),
    ],
)
def test_check_config_warns_of_a_root_key_that_is_fetched(
    capsys: pytest.CaptureFixture[str], words: list[str], warned: bool
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", *words)
    assert caught.value.code == 0
    assert ("say --root-key" in capsys.readouterr().err) is warned


class _Warnings:
    def __init__(self, recorded: list[str]) -> None:
        self._recorded = recorded

    def warn(self, message: str, **fields: object) -> None:
        self._recorded.append(message)


def test_twistd_has_both_names(held_signals: HeldSignals) -> None:
    before = signal.getsignal(signal.SIGHUP)
    makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
    assert signal.getsignal(signal.SIGHUP) == before
    assert makers["icws"].options is Options
    assert signal.getsignal(signal.SIGHUP) != before, "it would end the process while that starts"
    assert makers["icws"].makeService is makeService
    assert makers["icws-devnet"].description


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--ic-network-url=https://icp0.io"], [(250, 1)]),
        (["--ic-network-url=https://icp0.io", "--gateways-per-address=3", "--workers=2"], [(83, 3)]),
        (["--ic-network-url=https://icp0.io", "--query-budget=100"], []),
        ([], []),
    ],
)
def test_the_start_logs_what_it_assumes_of_its_address(words: list[str], expected: list[tuple[int, int]]) -> None:
    logged: list[tuple[int, int]] = []

    class Log:
        def info(self, text: str, **fields: Any) -> None:
            if "per_second" in fields:
                logged.append((fields["per_second"], fields["gateways_per_address"]))

        def warn(self, text: str, **fields: Any) -> None:
            raise AssertionError(text)

    sourced = parse(*words).sourced
    assert sourced is not None
    tap._log_notes(cast(Any, Log()), sourced, [])
    assert logged == expected
