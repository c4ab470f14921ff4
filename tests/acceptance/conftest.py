"""The servers that the acceptance tests talk to, each started once for those that share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.processes import Oracle, Server, free_port, http_get


@dataclass(frozen=True)
class Stack:
    """A gateway and the replica behind it.

    :ivar gateway: ws:// URL for clients
    :ivar network: http:// URL of the replica
    :ivar admin: http:// URL of metrics and health
    :ivar echo: canister id of the echo canister
    :ivar chat: canister id of the chat room
    :ivar server: the gateway's process
    """

    gateway: str
    network: str
    admin: str
    echo: str
    chat: str
    server: Server

    @property
    def places(self) -> dict[str, object]:
        """What a Node script needs to know to reach the echo canister."""
        return {"gateway": self.gateway, "network": self.network, "canister": self.echo}


def start_stack(directory: Path, *options: str) -> Stack:
    """Start ``twistd -n icws --devnet`` on ports of its own and wait until it is ready.

    :param directory: its working directory
    :param options: further command line options
    """
    gateway, network, admin = (free_port() for _ in range(3))
    server = Server(
        [
            "icws",
            "--devnet",
            f"--ic-network-url=http://127.0.0.1:{network}",
            f"--gateway-address=tcp:{gateway}:interface=127.0.0.1",
            f"--prometheus-endpoint=tcp:{admin}:interface=127.0.0.1",
            f"--data-dir={directory / 'data'}",
            *options,
        ],
        cwd=directory,
    )
    try:
        server.wait_until_ready(f"http://127.0.0.1:{admin}/health/ready")
        info = json.loads(http_get(f"http://127.0.0.1:{network}/_/info")[1])
    except BaseException:
        server.kill()
        raise
    return Stack(
        gateway=f"ws://127.0.0.1:{gateway}",
        network=f"http://127.0.0.1:{network}",
        admin=f"http://127.0.0.1:{admin}",
        echo=info["canisters"]["echo"],
        chat=info["canisters"]["chat"],
        server=server,
    )


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start stacks of a test's own: ``stacks("--option=value", ...)``; they end with the test."""
    started: list[Stack] = []

    def start(*options: str) -> Stack:
        directory = tmp_path / f"stack{len(started)}"
        directory.mkdir()
        stack = start_stack(directory, *options)
        started.append(stack)
        return stack

    yield start
    for stack in started:
        stack.server.kill()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that tests without demands of their own share."""
    stack = start_stack(tmp_path_factory.mktemp("stack"))
    yield stack
    assert stack.server.stop() == 0, stack.server.output


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The JavaScript libraries as an oracle."""
    oracle = Oracle()
    yield oracle
    oracle.close()
