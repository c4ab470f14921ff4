"""What the tests of deploy/ share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icwsgw.config import GatewayConfig
from icwsgw.tap import Options
from tests.deploy import tools


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that all tests here have."""
    config.addinivalue_line("markers", "deploy: the files of deploy/, with the programs they are for")


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GatewayConfig]:
    """Have the gateway read a command line and an environment: ``understood(words, environment)``.

    What it refuses, and variables that look like options and are none, fail the test.
    """

    def read(words: list[str], environment: dict[str, str]) -> GatewayConfig:
        unknown = {name for name in environment if name.startswith("ICWS_")} - tools.VARIABLES
        assert not unknown
        for name in tools.VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = Options()
        options.parseOptions(words)
        return options.config

    return read
