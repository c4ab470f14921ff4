"""What a running gateway can take of its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icwsgw.config.running import RELOADABLE, SETTABLE, fitting, fitting_options, with_options
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


BY_DEFAULT = {"first_message_timeout": 30.0, "open_timeout": 50.0, "ping_interval": 25.0, "pong_timeout": 10.0}


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({}, []),
        # each fits only behind the other, in either order
        ({"first_message_timeout": 60.0, "open_timeout": 90.0}, []),
        ({"open_timeout": 20.0, "first_message_timeout": 10.0}, []),
        ({"first_message_timeout": 60.0, "open_timeout": 90.0, "pong_timeout": 99.0}, ["pong_timeout"]),
        ({"pong_timeout": 99.0, "open_timeout": 90.0, "first_message_timeout": 60.0}, ["pong_timeout"]),
        # of two that contradict each other, the later one applies
        ({"first_message_timeout": 45.0, "open_timeout": 40.0}, ["first_message_timeout"]),
        ({"open_timeout": 40.0, "first_message_timeout": 45.0}, ["open_timeout"]),
    ],
)
def test_values_that_do_not_fit_affect_no_other(fields: dict[str, float], left_out: list[str]) -> None:
    assert replace(CONFIG, **BY_DEFAULT) == CONFIG  # type: ignore[arg-type]
    config, reasons = fitting(CONFIG, fields)
    assert list(reasons) == left_out
    applied: dict[str, Any] = {field: value for field, value in fields.items() if field not in left_out}
    assert config == replace(CONFIG, **applied)


def test_two_lists_that_fit_only_together_are_applied_beside_a_value_that_does_not_fit() -> None:
    running = replace(CONFIG, allowed_canisters=("aaaaa-aa",), denied_canisters=("rrkah-fqaaa-aaaaa-aaaaq-cai",))
    fields = {
        "allowed_canisters": running.denied_canisters,
        "denied_canisters": running.allowed_canisters,
        "pong_timeout": 99.0,
    }
    config, reasons = fitting(running, fields)
    assert config == replace(
        running, allowed_canisters=running.denied_canisters, denied_canisters=running.allowed_canisters
    )
    assert {field: str(error) for field, error in reasons.items()} == {
        "pong_timeout": "--pong-timeout (99) may not be above --ping-interval (25)"
    }


def test_options_that_do_not_fit_are_named_with_the_reason() -> None:
    file = replace(CONFIG, open_timeout=20.0, first_message_timeout=15.0)
    config, reasons = fitting_options(file, {"first-message-timeout": ("25",), "denied-canister": ("aaaaa-aa",)})
    assert config == replace(file, denied_canisters=("aaaaa-aa",))
    assert reasons == {"first-message-timeout": "--first-message-timeout (25) may not be above --open-timeout (20)"}
