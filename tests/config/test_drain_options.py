"""How long a stop takes, and how much of it the clients get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icwsgw.config.drain_options import LEAST_CLOSING, SLACK
from icwsgw.config.schema import BY_NAME, GatewayConfig


def test_a_stop_lasts_as_long_as_the_drain_and_its_notices() -> None:
    assert GatewayConfig(drain_window=30.0).longest_stop == 60.0 + SLACK
    assert GatewayConfig(drain_window=0.0).longest_stop == LEAST_CLOSING + SLACK
    assert GatewayConfig(drain_timeout=300.0).longest_stop == 300.0


@pytest.mark.parametrize("timeout", [25.0, 27.0, 30.0, 40.0, 150.0, 7200.0])
def test_the_longest_window_fits_into_the_timeout_and_uses_it(timeout: float) -> None:
    config = GatewayConfig(drain_timeout=timeout)
    window = config.longest_drain_window
    assert window >= 0
    assert replace(config, drain_window=window).longest_stop == pytest.approx(timeout)


def test_the_default_leaves_ten_seconds() -> None:
    assert GatewayConfig().drain_window is None
    assert GatewayConfig().longest_drain_window == 10.0


def test_a_shorter_timeout_than_a_stop_needs_is_refused() -> None:
    kind = BY_NAME["drain-timeout"].kind
    assert kind.parse("25") == LEAST_CLOSING + SLACK
    assert "25 s" in kind.bounds
