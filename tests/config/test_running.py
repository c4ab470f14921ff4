"""What a running gateway can take of its configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icwsgw.config.running import RELOADABLE, SETTABLE, with_options
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
        (
            {"polling-interval": ("1",)},
            "polling-interval is not an option that can be set at run time; an upgrade or a restart applies it",
        ),
        ({"nothing": ("1",)}, "nothing is not an option"),
        ({"max-connections": ("0",)}, "max-connections: '0' is outside 1 to 10000000"),
        ({"max-connections": ("1", "2")}, "max-connections has one value"),
    ],
)
def test_what_cannot_be_set_is_refused(options: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}$"):
        with_options(CONFIG, options)


@pytest.mark.parametrize(
    ("before", "after"), [("0", "100"), ("100", "0"), ("100", "200"), ("auto", "0"), ("0", "auto")]
)
def test_a_budget_can_change_begin_and_end(before: str, after: str) -> None:
    entry = BY_NAME["query-budget"]
    running = replace(CONFIG, query_budget=entry.parse(before, ""))
    assert with_options(running, {"query-budget": (after,)}).query_budget == entry.parse(after, "")


def test_what_can_be_set_can_be_reloaded() -> None:
    assert SETTABLE < RELOADABLE
