"""Fixtures for pytest. Your ``conftest.py`` asks for them::

    pytest_plugins = ["icwsgw.testing.pytest_plugin"]

    @pytest.fixture(scope="session")
    def icws_canisters():
        return {"hello": Path(__file__).with_name("hello.py")}

Network and gateway start once for all tests. After each test, faults end, stopped canisters start, and a gateway that
does not run starts again. What canisters remember stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icwsgw.testing.devnet_process import DevnetProcess
from icwsgw.testing.gateway_process import GatewayProcess

if TYPE_CHECKING:
    from icwsgw.testing.blocking_client import BlockingClient


@pytest.fixture(scope="session")
def icws_canisters() -> Mapping[str, str | Path]:
    """Your canisters by name; override it."""
    return {}


@pytest.fixture(scope="session")
def icws_devnet_options() -> Sequence[str]:
    """Options of the local network; override it."""
    return ()


@pytest.fixture(scope="session")
def icws_gateway_options() -> Sequence[str]:
    """Options of the gateway; override it."""
    return ()


@pytest.fixture(scope="session")
def icws_devnet_process(
    icws_canisters: Mapping[str, str | Path], icws_devnet_options: Sequence[str]
) -> Iterator[DevnetProcess]:
    """The local network that all tests share."""
    with DevnetProcess(icws_canisters, icws_devnet_options) as devnet:
        yield devnet


@pytest.fixture(scope="session")
def icws_gateway_process(
    icws_devnet_process: DevnetProcess, icws_gateway_options: Sequence[str]
) -> Iterator[GatewayProcess]:
    """The gateway that all tests share."""
    with GatewayProcess(icws_devnet_process.url, icws_gateway_options) as gateway:
        yield gateway


@pytest.fixture
def icws_devnet(icws_devnet_process: DevnetProcess) -> Iterator[DevnetProcess]:
    """The local network, restored after the test."""
    yield icws_devnet_process
    icws_devnet_process.restore()


@pytest.fixture
def icws_gateway(icws_gateway_process: GatewayProcess) -> Iterator[GatewayProcess]:
    """The gateway, running again after the test."""
    yield icws_gateway_process
    if not icws_gateway_process.is_running:
        icws_gateway_process.start()


@pytest.fixture
def icws_client(
    icws_gateway: GatewayProcess, icws_devnet: DevnetProcess
) -> Iterator[Callable[..., BlockingClient[Any]]]:
    """Make clients: ``icws_client("hello", codec=...)`` returns one that is open. They are closed after the test."""
    # Autobahn's halves exclude each other in a process: a test suite on Twisted takes the other fixtures alone
    from icwsgw.testing.blocking_client import BlockingClient

    made: list[BlockingClient[Any]] = []

    def make(canister: str, **options: Any) -> BlockingClient[Any]:
        canister_id = icws_devnet.canisters.get(canister, canister)
        options.setdefault("root_key", icws_devnet.root_key)
        client: BlockingClient[Any] = BlockingClient(icws_gateway.url, canister_id, **options)
        made.append(client)
        client.open()
        return client

    yield make
    for client in made:
        client.close()
