from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from icwsgw.devnet import command_line
from icwsgw.devnet.command_line import DEVNET_OPTIONS, DevnetConfig, Options, devnet_service, makeService
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.errors import ConfigError


def parsed(*arguments: str) -> DevnetConfig:
    options = Options()
    options.parseOptions(list(arguments))
    return options.config()


def test_defaults() -> None:
    assert parsed() == DevnetConfig()
    settings = DevnetConfig().settings()
    assert (settings.ack_interval_ms, settings.keep_alive_timeout_ms, settings.max_messages) == (300_000, 60_000, 50)
    assert "127.0.0.1" in DevnetConfig().listen


def test_every_option() -> None:
    assert parsed(
        "--listen=tcp:1:interface=127.0.0.1",
        "--seed=s",
        "--delegation=sharded",
        "--ack-interval=3000",
        "--keep-alive-timeout=1000",
        "--max-messages=7",
        "--query-latency=10.5",
        "--call-latency=20",
        "--call-jitter=30",
        "--legacy-api",
        "--nodes=13",
        "--edge-headers=off",
        "--block-interval=400",
        "--gossip=200",
        "--lag=10",
        "--v2-gone",
        "--echo-any",
    ) == DevnetConfig(
        listen="tcp:1:interface=127.0.0.1",
        seed="s",
        delegation="sharded",
        nodes=13,
        ack_interval=3.0,
        keep_alive_timeout=1.0,
        max_messages=7,
        query_latency=0.0105,
        call_latency=0.02,
        call_jitter=0.03,
        edge_headers="off",
        block_interval=0.4,
        gossip=0.2,
        lag_blocks=10,
        legacy_api=True,
        v2_gone=True,
        echo_any=True,
    )


@pytest.mark.parametrize(
    "argument",
    [
        "--delegation=other",
        "--nodes=0",
        "--edge-headers=maybe",
        "--gossip=1",
        "--lag=51",
        "--lag=x",
        "--nodes=101",
        "--ack-interval=0",
        "--ack-interval=x",
        "--keep-alive-timeout=300000",
        "--max-messages=0",
        "--query-latency=-1",
        "--call-latency=nan",
        "--unknown",
        "word",
    ],
)
def test_what_is_wrong_is_reported_before_anything_starts(argument: str) -> None:
    with pytest.raises(SystemExit, match=r"^twistd icws-devnet: \S.*$"):
        parsed(argument)


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--ack-interval=x", "--ack-interval: 'x' is not a duration such as 250ms, 10s, 2m or 1h"),
        ("--ack-interval=0", "--ack-interval: '0' is outside 1 ms to 24 h"),
        ("--nodes=101", "--nodes: '101' is outside 1 to 100"),
        ("--gossip=1", "--gossip and --lag need --block-interval"),
        ("--lsten=x", "option --lsten not recognized; did you mean --listen?"),
    ],
)
def test_what_is_wrong_is_named(argument: str, line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(argument)
    assert caught.value.code == f"twistd icws-devnet: {line}"


@pytest.mark.parametrize("listen", ["nonsense", "tcp:x", "other:1:x", "tcp:99999999"])
def test_an_address_that_is_none(listen: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        devnet_service(MemoryReactorClock(), DevnetConfig(listen=listen))


def test_a_configuration_checks_itself() -> None:
    with pytest.raises(ConfigError, match="--delegation: 'x' is none of by-version, none"):
        DevnetConfig(delegation="x")
    with pytest.raises(ConfigError, match="--call-jitter: "):
        DevnetConfig(call_jitter=-1)
    with pytest.raises(ConfigError, match="keep-alive"):
        DevnetConfig(ack_interval=1.0, keep_alive_timeout=2.0)


def test_durations_take_units_as_the_gateways_do() -> None:
    config = parsed("--ack-interval=2m", "--query-latency=0.5s", "--call-latency", "20ms", "--keep-alive-timeout=auto")
    assert (config.ack_interval, config.query_latency, config.call_latency) == (120.0, 0.5, 0.02)
    assert config.settings().keep_alive_timeout_ms == 60_000
    assert parsed("-l", "127.0.0.1:5000").listen == "tcp:5000:interface=127.0.0.1"


def test_help_says_what_each_option_does_and_its_default() -> None:
    text = " ".join(str(Options()).split())
    for entry in DEVNET_OPTIONS:
        assert f"--{entry.name}" in text
        assert entry.help.endswith(".")
    assert "Time until a query is answered. [default: 0 milliseconds]" in text


def test_it_listens_while_it_runs() -> None:
    reactor: Any = MemoryReactorClock()
    config = DevnetConfig(listen="tcp:4943:interface=127.0.0.1", ack_interval=2.0, query_latency=0.1)
    service, replica = devnet_service(reactor, config)
    service.privilegedStartService()
    service.startService()
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [(4943, "127.0.0.1")]
    assert replica.query_latency == 0.1
    assert reactor.getDelayedCalls()
    service.stopService()
    assert reactor.getDelayedCalls() == []


def test_keys_depend_on_the_seed_alone() -> None:
    reactor: Any = MemoryReactorClock()
    keys = {devnet_service(reactor, DevnetConfig(seed=seed))[1].root_key_der for seed in ("a", "b", "a")}
    assert len(keys) == 2


def test_a_taken_port_ends_the_start() -> None:
    class Taken(MemoryReactorClock):
        def listenTCP(self, *_: Any, **__: Any) -> Any:
            raise CannotListenError("127.0.0.1", 4943, OSError(98, "Address already in use"))

    reactor: Any = Taken()
    service, _ = devnet_service(reactor, DevnetConfig())
    words = r"^cannot listen on tcp:4943:interface=127\.0\.0\.1 \(--listen\): Address already in use$"
    with pytest.raises(ConfigError, match=words):
        service.privilegedStartService()


def test_make_service(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(command_line, "report_start_errors", calls.append)
    monkeypatch.setattr(command_line, "exit_zero_on_signals", lambda reactor: calls.append("SIGTERM"))
    options = Options()
    options.parseOptions(["--listen=tcp:0:interface=127.0.0.1"])
    service = makeService(options)
    assert isinstance(service, command_line.DevnetService)
    service.replica.close()
    assert calls == ["twistd icws-devnet", "SIGTERM"]
    assert isinstance(options.config().settings(), CdkSettings)
