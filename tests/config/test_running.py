"""What a running gateway can take of its configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icwsgw.config.running import RELOADABLE, SETTABLE, begins_or_ends, with_options
from icwsgw.config.schema import BY_NAME, OPTIONS, GatewayConfig
from icwsgw.errors import ConfigError

CONFIG = GatewayConfig()


@pytest.mark.parametrize("field", sorted(SETTABLE))
def test_every_option_that_can_be_set_takes_what_it_shows(field: str) -> None:
    (entry,) = [entry for entry in OPTIONS if entry.field == field]
    value = getattr(CONFIG, field)
    texts = value if entry.kind.repeatable else (entry.kind.show(value),)
    assert with_options(CONFIG, {entry.name: texts}) == CONFIG


def test_values_are_read_as_on_the_command_line() -> None:
    config = with_options(
        CONFIG,
        {"max-waiting-bytes": ("1G",), "ping-interval": ("1m",), "allowed-origin": ("https://a.example", "null")},
    )
    assert (config.max_waiting_bytes, config.ping_interval) == (1 << 30, 60.0)
    assert config.allowed_origins == ("https://a.example", "null")
    assert with_options(CONFIG, {"allowed-origin": ()}).allowed_origins == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"polling-interval": ("1",)}, "polling-interval is not an option that can be set at run time"),
        ({"nothing": ("1",)}, "nothing is not an option that can be set at run time"),
        ({"max-connections": ("0",)}, "max-connections: '0' is outside 1 to 10000000"),
        ({"max-connections": ("1", "2")}, "max-connections has one value"),
    ],
)
def test_what_cannot_be_set_is_refused(options: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}$"):
        with_options(CONFIG, options)


@pytest.mark.parametrize(
    ("before", "after", "is_another"),
    [
        ("0", "100", True),
        ("100", "0", True),
        ("100", "200", False),
        ("100", "100", False),
    ],
)
def test_a_budget_can_change_but_not_begin_or_end(before: str, after: str, is_another: bool) -> None:
    entry = BY_NAME["query-budget"]
    running = replace(CONFIG, query_budget=int(before))
    assert begins_or_ends(entry, running, replace(CONFIG, query_budget=int(after))) is is_another
    if is_another:
        with pytest.raises(ConfigError, match="query-budget: a limit of requests can be changed"):
            with_options(running, {"query-budget": (after,)})
    else:
        assert with_options(running, {"query-budget": (after,)}).query_budget == int(after)
    assert not begins_or_ends(BY_NAME["max-connections"], running, replace(CONFIG, query_budget=int(after)))


def test_what_can_be_set_can_be_reloaded() -> None:
    assert SETTABLE < RELOADABLE
