"""The kinds of the options about logs and traces; their rows are tested with all others."""

from __future__ import annotations

import dataclasses

import pytest

from icwsgw.config.log_options import COLLECTOR, LOG_LEVELS, TRACE_LEVEL, LogOptions
from icwsgw.config.option import LOGS
from icwsgw.config.schema import BY_NAME, GatewayConfig
from icwsgw.errors import ConfigError


def test_its_options_stand_together_in_the_table() -> None:
    """But for the two that stand elsewhere: the level, among the most used, and the collector, declared in config."""
    fields = {field.name for field in dataclasses.fields(LogOptions)} - {"log_level"}
    assert fields | {"opentelemetry_collector_endpoint"} == {
        entry.field for entry in BY_NAME.values() if entry.group == LOGS
    }
    assert issubclass(GatewayConfig, LogOptions)


def test_levels_stay_as_they_were_written() -> None:
    assert LOG_LEVELS.parse(" info,relay=debug ") == "info,relay=debug"
    with pytest.raises(ConfigError, match="'loud' is neither a log level"):
        LOG_LEVELS.parse("loud")


def test_a_level_of_spans_is_one_level_by_its_own_name() -> None:
    assert TRACE_LEVEL.parse("warning") == "warn"
    with pytest.raises(ConfigError, match="spans have no components"):
        TRACE_LEVEL.parse("info,session=trace")


@pytest.mark.parametrize("text", ["", "none", " OFF "])
def test_no_collector(text: str) -> None:
    assert COLLECTOR.parse(text) is None
    assert COLLECTOR.show(None) == ""


def test_a_collector_is_named_as_it_was_written_and_without_secrets() -> None:
    assert COLLECTOR.parse(" grpc://collector ") == "grpc://collector"
    with pytest.raises(ConfigError, match="a host and a port, nothing else"):
        COLLECTOR.parse("grpc://user:secret@collector")
