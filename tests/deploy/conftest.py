"""What the tests of deploy/ share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from icwsgw.config.schema import GatewayConfig
from icwsgw.tap import Options
from tests.acceptance.conftest import Devnet, start_devnet
from tests.deploy import tools
from tests.deploy.fleet import Certificate


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    devnet = start_devnet(tmp_path_factory.mktemp("devnet"))
    yield devnet
    devnet.server.kill()
