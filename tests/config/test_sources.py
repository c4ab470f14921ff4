from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.option import Option, RemovedOption
from icwsgw.config.schema import BY_NAME, OPTIONS, REMOVED, GatewayConfig
from icwsgw.config.sources import load, suspicious_variables
from icwsgw.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "icws.toml"


def test_command_line_over_environment_over_file_over_default(file: Path) -> None:
    file.write_text('polling-interval = 1\nquery-timeout = 1\ncall_timeout = "1"\ndrain-window = 1\n')
    sourced = load(
        {"polling-interval": 0.003},
        {"ICWS_POLLING_INTERVAL": "2", "ICWS_QUERY_TIMEOUT": "2", "ICWS_DRAIN_WINDOW": ""},
        file,
    )
    config = sourced.config
    assert (config.polling_interval, config.query_timeout, config.call_timeout) == (0.003, 2.0, 1.0)
    assert (config.drain_window, config.open_timeout) == (1.0, 50.0)
    assert [
        sourced.sources[name] for name in ("polling_interval", "query_timeout", "call_timeout", "open_timeout")
    ] == [
        "command line",
        "ICWS_QUERY_TIMEOUT",
        str(file),
        "default",
    ]


def test_nothing_given_is_the_defaults_with_an_absolute_directory() -> None:
    assert load({}, {}).config == GatewayConfig(data_dir=Path("data").absolute())


def test_the_environment_may_name_the_file(file: Path) -> None:
    file.write_text('gateway-address = ["tcp:1", "unix:/x"]\ndevnet = false\n')
    assert load({}, {"ICWS_CONFIG": str(file)}).config.gateway_addresses == ("tcp:1", "unix:/x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("poling-interval = 1", "'poling-interval' is not an option"),
        ("[gateway]\naddress = 1", "'gateway' is not an option"),
        ("polling-interval = ", "is not TOML"),
        (f"max-connections = {'1' * 5000}", "is not TOML"),
        (f"max-connections = {'[' * 3000}{']' * 3000}", "nested too deeply"),
        (f"x = {'{a=' * 3000}1{'}' * 3000}", "nested too deeply"),
        ("max_connections = 5\nmax-connections = 7", "max-connections is given twice, with - and with _"),
        ("canister-quota = []\ncanister_quota = []", "canister-quota is given twice"),
        ("polling-interval = [1, 2]", "takes one value"),
        ('polling-interval = "x"', r"icws.toml: polling-interval: 'x' is not a duration"),
    ],
)
def test_wrong_files(file: Path, content: str, words: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load({}, {}, file)


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*icws\.toml: No such file"):
        load({}, {}, file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load({}, {}, file)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^ICWS_MAX_CONNECTIONS: 'many' is not a whole number$"):
        load({}, {"ICWS_MAX_CONNECTIONS": "many"})


def test_variables_of_the_platform_are_left_alone() -> None:
    load({}, {"ICWS_SERVICE_HOST": "10.0.0.1", "ICWS_PORT": "tcp://10.0.0.1:8080"})


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, "info"),
        ({"RUST_LOG_STDOUT": ""}, "info"),
        ({"RUST_LOG_STDOUT": "ic_websocket_gateway=debug"}, "debug"),
        ({"RUST_LOG_STDOUT": "hyper=trace"}, "info"),
        ({"RUST_LOG_STDOUT": "info,["}, "info"),
        ({"RUST_LOG_STDOUT": "debug", "ICWS_LOG_LEVEL": "warn"}, "warn"),
    ],
)
def test_levels_of_the_original(environment: dict[str, str], level: str) -> None:
    assert load({}, environment).config.log_level == level


@pytest.mark.parametrize(
    ("environment", "level", "exports"),
    [
        ({}, "trace", True),
        ({"RUST_LOG_TELEMETRY": ""}, "trace", True),
        ({"RUST_LOG_TELEMETRY": "ic_websocket_gateway=debug"}, "debug", True),
        ({"RUST_LOG_TELEMETRY": "ic_websocket_gateway"}, "trace", True),
        ({"RUST_LOG_TELEMETRY": "warning"}, "warn", False),
        ({"RUST_LOG_TELEMETRY": "off"}, "off", False),
    ],
)
def test_level_of_the_original_s_spans(environment: dict[str, str], level: str, exports: bool) -> None:
    config = load({"opentelemetry-collector-endpoint": "grpc://otlp_collector:4317"}, environment).config
    assert (config.trace_level, config.exports_traces) == (level, exports)
    assert not load({}, environment).config.exports_traces


def test_devnet_means_its_own_url() -> None:
    def load_devnet(**given: Any) -> GatewayConfig:
        return load({"devnet": True, **{name.replace("_", "-"): value for name, value in given.items()}}, {}).config

    assert load_devnet().ic_network_url == "http://127.0.0.1:4943"
    assert load_devnet(devnet_listen="tcp:5000").ic_network_url == "http://127.0.0.1:5000"
    assert load_devnet(ic_network_url="http://127.0.0.1:4943").devnet
    with pytest.raises(ConfigError, match="leave --ic-network-url out"):
        load_devnet(ic_network_url="https://icp0.io")
    with pytest.raises(ConfigError, match="needs a TCP port"):
        load_devnet(devnet_listen="unix:/x")


@pytest.mark.parametrize("given", list(product([True, False], repeat=3)))
def test_each_source_outweighs_those_behind_it(file: Path, given: tuple[bool, bool, bool]) -> None:
    """All eight cases, so each pair of command line, environment, file and default among them."""
    by_command, by_environment, by_file = given
    file.write_text("query-timeout = 3\n" if by_file else "")
    sourced = load(
        {"query-timeout": 1.0} if by_command else {}, {"ICWS_QUERY_TIMEOUT": "2"} if by_environment else {}, file
    )
    expected = [
        *([(1.0, "command line")] if by_command else []),
        *([(2.0, "ICWS_QUERY_TIMEOUT")] if by_environment else []),
        *([(3.0, str(file))] if by_file else []),
        (5.0, "default"),
    ]
    assert (sourced.config.query_timeout, sourced.sources["query_timeout"]) == expected[0]


@pytest.mark.parametrize("entry", OPTIONS, ids=lambda entry: entry.name)
def test_every_option_is_read_from_each_source(file: Path, entry: Option) -> None:
    text = entry.example or entry.kind.example
    together = {
        "tls-certificate-dir": {},
        "tls-certificate": {"ICWS_TLS_CERTIFICATE_PEM_PATH": "c", "ICWS_TLS_CERTIFICATE_KEY_PEM_PATH": "k"},
        "devnet-canister": {"ICWS_DEVNET": "true"},
        "acme-": {"ICWS_ACME_DOMAIN": "a.example", "ICWS_ACME_AGREE_TERMS": "true"},
    }
    environment = next((each for name, each in together.items() if entry.name.startswith(name)), {})
    value = getattr(load({}, {**environment, entry.variable: text}).config, entry.field)
    assert value == entry.kind.parse(text) != entry.default
    file.write_text(f'{entry.name} = "{text}"\n')
    environment.pop(entry.variable, None)
    assert getattr(load({}, environment, file).config, entry.field) == value
    assert getattr(load({entry.name: value}, environment).config, entry.field) == value


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("poling-interval", "did you mean polling-interval?"),
        ("allowed_orgins", "did you mean allowed-origin?"),
        ("colour", "'colour' is not an option$"),
    ],
)
def test_a_misspelt_key_is_reported_with_a_suggestion(file: Path, key: str, words: str) -> None:
    file.write_text(f"{key} = 1\n")
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        load({}, {}, file)


def test_a_float_without_an_exponent(file: Path) -> None:
    file.write_text("drain-window = 0.00001\n")
    assert load({}, {}, file).config.drain_window == 0.00001


@pytest.mark.parametrize("entry", REMOVED, ids=lambda entry: entry.name)
def test_a_removed_option_is_accepted_wherever_it_stands_with_one_warning(entry: RemovedOption, file: Path) -> None:
    field = entry.name.replace("-", "_")
    for key, value in ((entry.name, "true"), (field, "false"), (entry.name, '"8M"'), (field, "3"), (field, "[1]")):
        file.write_text(f"{key} = {value}\nworkers = 2\n")
        sourced = load({}, {}, file)
        assert sourced.config == replace(GatewayConfig(data_dir=Path("data").absolute()), workers=2)
        assert sourced.ignored == (f"--{entry.name} has no effect any more ({file}): {entry.instead}",)
    # whatever its value was
    for text in ("true", "8M", "nonsense"):
        (line,) = load({}, {entry.variable: text}).ignored
        assert line == f"--{entry.name} has no effect any more ({entry.variable}): {entry.instead}"
        assert suspicious_variables({entry.variable: text}) == []
    assert load({}, {entry.variable: " "}).ignored == ()
    (line,) = load({entry.name: "1"}, {entry.variable: "1"}, file).ignored
    assert line.startswith(f"--{entry.name} has no effect any more (command line, {entry.variable}, {file}): ")


def test_removed_options_are_no_options() -> None:
    names = {entry.name for entry in REMOVED}
    assert len(names) == len(REMOVED)
    assert names.isdisjoint(BY_NAME)
    assert load({}, {}).ignored == ()


def test_variables_that_look_misspelt_are_reported() -> None:
    environment = {
        "ICWS_WORKRES": "3",
        "ICWS_WORKERS": "3",
        "ICWS_CONFIG": "x",
        "ICWS_MAX_CONECTIONS": "1",
        "WORKRES": "1",
        # of other programs, and what Kubernetes sets beside services named icws and icws-workers
        "ICWS_IMAGE": "icws",
        "ICWS_TLS_DIR": "/etc/icws/tls",
        "ICWS_TLS_GROUP": "icws",
        "ICWS_HEALTH_URL": "http://127.0.0.1:9090/health/live",
        "ICWS_SERVICE_HOST": "10.0.0.1",
        "ICWS_SERVICE_PORT_CLIENTS": "8080",
        "ICWS_PORT": "tcp://10.0.0.1:8080",
        "ICWS_PORT_8080_TCP_ADDR": "10.0.0.1",
        "ICWS_WORKERS_PORT": "tcp://10.0.0.1:8080",
    }
    assert suspicious_variables(environment) == [
        "ICWS_MAX_CONECTIONS in the environment is not an option; did you mean ICWS_MAX_CONNECTIONS?",
        "ICWS_WORKRES in the environment is not an option; did you mean ICWS_WORKERS?",
    ]
