import re

import pytest

from icwsgw.errors import ConfigError
from icwsgw.observe.levels import (
    COMPONENTS,
    DEBUG,
    ERROR,
    EVERYTHING,
    INFO,
    LEVELS,
    OFF,
    WARN,
    Levels,
    from_rust_log,
    level_name,
    level_number,
    parse_levels,
    unknown_components,
)
from tests.test_layering import ROOT


def test_the_longest_component_that_fits_decides() -> None:
    levels = parse_levels("warn, server=debug,server.tls=error")
    assert levels == Levels(WARN, {"server": DEBUG, "server.tls": ERROR})
    assert [levels.of(name) for name in ("gateway", "server", "server.tls", "server.other")] == [
        WARN,
        DEBUG,
        ERROR,
        DEBUG,
    ]


@pytest.mark.parametrize(("text", "level"), [("", INFO), ("WARNING", WARN), ("off", OFF), ("none", OFF)])
def test_levels(text: str, level: int) -> None:
    assert parse_levels(text) == Levels(level)


@pytest.mark.parametrize("wrong", ["loud", "server=loud", "=debug", "server="])
def test_refusals(wrong: str) -> None:
    with pytest.raises(ConfigError, match="neither a log level"):
        parse_levels(wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("info", "info"),
        ("ic_websocket_gateway=debug,info", "debug"),
        ("info,ic_websocket_gateway::manager=trace", "trace"),
        ("ic_websocket_gateway", "trace"),
        ("hyper=debug", ""),
        ("[span{a=b}]=info,nonsense", ""),
    ],
)
def test_filters_of_the_original(given: str, expected: str) -> None:
    assert from_rust_log(given) == expected
    parse_levels(expected)


def test_each_component_that_logs_is_known() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "icwsgw").rglob("*.py"))
    assert {*re.findall(r'get_logger\("([a-z_.]+)"\)', sources), "devnet"} == set(COMPONENTS)


def test_components_that_nothing_logs_as_are_found() -> None:
    known = ",".join(f"{name}=debug" for name in (*COMPONENTS, "devnet.resource", "twisted.web.http", "stderr"))
    assert unknown_components(parse_levels(known)) == []
    unknown = "info,relay=debug,server.nosuch=debug,ic_websocket_gateway=debug"
    assert unknown_components(parse_levels(unknown)) == ["ic_websocket_gateway", "server.nosuch"]


def test_levels_of_some_components_in_place_of_those_configured() -> None:
    levels = parse_levels("warn,server=debug,relay=error")
    assert levels.overridden({"server": OFF, "poller": DEBUG}) == Levels(
        WARN, {"server": OFF, "relay": ERROR, "poller": DEBUG}
    )
    assert levels.overridden({EVERYTHING: INFO}) == Levels(INFO, levels.components)
    assert levels.overridden({}) == levels


def test_names_of_levels() -> None:
    assert {level_name(number) for number in LEVELS.values()} == set(LEVELS)
    assert level_number(" Warning") == WARN
    assert level_number("loud") is None
