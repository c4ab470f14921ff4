from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.running import RELOADABLE
from icwsgw.config.schema import OPTIONS, GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.process import reload as reloading
from icwsgw.process.reload import Reloader, compare, with_options_that_fit

CONFIG = GatewayConfig(data_dir=Path("/nonexistent"))
CANISTER = "bkyz2-fmaaa-aaaaa-qaaaq-cai"


def test_reloadable_fields_exist() -> None:
    assert {entry.field for entry in OPTIONS} >= RELOADABLE


def test_takes_lists_and_leaves_the_rest() -> None:
    new = replace(CONFIG, denied_canisters=(CANISTER,), log_level="debug", polling_interval=1.0, workers=3)
    assert not {"polling_interval", "workers", "data_dir", "gateway_addresses"} & RELOADABLE
    change = compare(CONFIG, new)
    assert change.config == replace(CONFIG, denied_canisters=(CANISTER,), log_level="debug")
    assert sorted(change.taken) == ["denied-canister", "log-level"]
    assert sorted(change.waiting) == ["polling-interval", "workers"]


def test_nothing_changed() -> None:
    change = compare(CONFIG, replace(CONFIG))
    assert (change.config, change.taken, change.waiting) == (CONFIG, [], [])


class Target:
    def __init__(self) -> None:
        self.configs: list[GatewayConfig] = []
        self.broken = False
        self.outcomes: list[bool] = []

    def reloaded(self, ok: bool) -> None:
        self.outcomes.append(ok)

    def reload(self, config: GatewayConfig) -> None:
        self.configs.append(config)
        if self.broken:
            raise RuntimeError("bug")


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda message, **fields: self.lines.append((level, message, fields))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(reloading, "_log", log)
    return log


def test_a_reload(log: Log) -> None:
    target = Target()
    states: list[bool] = []
    answers: list[Any] = [
        replace(CONFIG, allowed_origins=("https://a.example",), workers=2),
        ConfigError("icws.toml: 'x' is not an option"),
        replace(CONFIG, allowed_origins=("https://b.example",)),
    ]

    def read() -> GatewayConfig:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        assert isinstance(answer, GatewayConfig)
        return answer

    reload = Reloader(CONFIG, read, target, states.append)
    reload()
    first = replace(CONFIG, allowed_origins=("https://a.example",))
    assert target.configs == [first]
    assert [line[0] for line in log.lines] == ["info", "warn"]
    assert log.lines[0][2] == {"changed": "allowed-origin"}
    assert log.lines[1][2] == {"options": "workers"}

    del log.lines[:]
    reload()
    assert target.configs == [first, first], "certificates are looked at nevertheless"
    assert [line[0] for line in log.lines] == ["error"]
    assert "not an option" in str(log.lines[0][2]["reason"])

    target.broken = True
    reload()
    assert target.configs[-1].allowed_origins == ("https://b.example",)
    assert log.lines[-1][:2] == ("failure", "reloading failed")
    assert states == [True, False] * 3
    assert target.outcomes == [True, False, True]


def test_a_level_of_a_component_that_does_not_exist_is_warned_of(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "change_levels", lambda *levels: None)
    target = Target()
    Reloader(CONFIG, lambda: replace(CONFIG, log_level="info,rellay=debug"), target)()
    assert log.lines[0][2] == {"changed": "log-level"}
    assert log.lines[1][0] == "warn"
    assert log.lines[1][1].startswith("--log-level: there is no component rellay; the components are acme, ")


def test_a_fault_of_ours_in_reading_ends_the_reload_as_a_file_of_no_use_does(log: Log) -> None:
    target, states = Target(), list[bool]()

    def read() -> GatewayConfig:
        raise RuntimeError("bug")

    Reloader(CONFIG, read, target, states.append)()
    assert (target.outcomes, target.configs, states) == ([False], [CONFIG], [True, False])
    assert [(level, message) for level, message, _ in log.lines] == [
        ("failure", "reloading the configuration failed, the previous one stays in use")
    ]


def test_options_set_at_run_time_come_on_top_of_the_file(log: Log) -> None:
    options = {"open-timeout": ("90",)}
    assert with_options_that_fit(CONFIG, options).open_timeout == 90.0
    assert log.lines == []


def test_an_option_set_at_run_time_that_does_not_fit_the_file_affects_no_other(log: Log) -> None:
    options = {"denied-canister": (CANISTER,), "open-timeout": ("90",), "client-message-rate": ("5",)}
    file = replace(CONFIG, first_message_timeout=100.0, open_timeout=100.0)
    assert with_options_that_fit(file, options) == replace(file, denied_canisters=(CANISTER,), client_message_rate=5)
    reason = "--first-message-timeout (100) may not be above --open-timeout (90)"
    assert log.lines == [
        (
            "error",
            "an option set at run time does not fit the configuration and is not applied",
            {"option": "open-timeout", "reason": reason},
        )
    ]


def test_limits_and_timeouts_are_taken_and_a_budget_begins() -> None:
    new = replace(CONFIG, max_connections=7, open_timeout=77.0, query_budget=100)
    change = compare(CONFIG, new)
    assert (change.config, change.waiting) == (new, [])
    changed = compare(new, replace(new, query_budget=0))
    assert (changed.config.query_budget, changed.taken) == (0, ["query-budget"])


def test_an_option_that_needs_the_restart_of_another_one_waits_with_it(log: Log) -> None:
    new = replace(CONFIG, max_message_bytes=128 << 10, relay_queue_bytes=256 << 10, denied_canisters=(CANISTER,))
    assert {"relay_queue_bytes", "denied_canisters"} <= RELOADABLE
    assert "max_message_bytes" not in RELOADABLE
    target = Target()
    Reloader(CONFIG, lambda: new, target)()
    assert (target.outcomes, target.configs) == ([True], [replace(CONFIG, denied_canisters=(CANISTER,))])
    assert log.lines == [
        ("info", "configuration reloaded", {"changed": "denied-canister"}),
        ("warn", "changed options need a restart", {"options": "max-message-bytes,relay-queue-bytes"}),
    ]
