"""The servers that the acceptance tests talk to, each started once for those that share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.processes import Oracle, Server, free_port, http_get


@dataclass(frozen=True)
class Devnet:
    """A local replica in a process, its own or the gateway's.

    :ivar network: http:// URL
    :ivar echo: canister id of the echo canister
    :ivar chat: canister id of the chat room
    :ivar server: the process
    """

    network: str
    echo: str
    chat: str
    server: Server


@dataclass(frozen=True)
class Stack(Devnet):
    """A gateway and the replica behind it; ``server`` is the gateway's process.

    :ivar gateway: ws:// URL for clients
    :ivar admin: http:// URL of metrics and health
    """

    gateway: str
    admin: str

    @property
    def places(self) -> dict[str, object]:
        """What a Node script needs to know to reach the echo canister."""
        return {"gateway": self.gateway, "network": self.network, "canister": self.echo}


def loopback(port: int) -> str:
    """The endpoint string of a port of 127.0.0.1."""
    return f"tcp:{port}:interface=127.0.0.1"


def canisters_of(network: str) -> dict[str, str]:
    """The demo canisters that a devnet names."""
    canisters: dict[str, str] = json.loads(http_get(f"{network}/_/info")[1])["canisters"]
    return {name: canisters[name] for name in ("echo", "chat")}


#: Clients that a test drives itself answer no ping while it waits for something else, and twenty clients in one Node
#: verify signatures for minutes on a busy machine.
_SLOW_CLIENTS = ("--ping-interval=300", "--pong-timeout=300")


def start_devnet(directory: Path, *options: str) -> Devnet:
    """Start ``twistd -n icws-devnet`` on a port of its own and wait until it answers."""
    port = free_port()
    server = Server(["icws-devnet", f"--listen={loopback(port)}", *options], cwd=directory)
    network = f"http://127.0.0.1:{port}"
    try:
        server.wait_until_ready(f"{network}/api/v2/status")
        return Devnet(network=network, server=server, **canisters_of(network))
    except BaseException:
        server.kill()
        raise


def start_stack(
    directory: Path,
    *options: str,
    network: str | None = None,
    twistd: Sequence[str] = (),
    files: int | None = None,
    umask: int = -1,
    environment: Mapping[str, str] | None = None,
) -> Stack:
    """Start ``twistd -n icws`` on ports of its own and wait until it is ready.

    :param directory: its working directory
    :param options: further command line options
    :param network: the replica to use; None: the embedded one
    :param twistd: options of twistd itself
    :param files: how many it may have open, None for as many as the tests
    :param umask: its umask, -1 for that of the tests
    :param environment: further variables
    """
    gateway, admin, replica = (free_port() for _ in range(3))
    if network is None:
        network = f"http://127.0.0.1:{replica}"
        options = ("--devnet", f"--devnet-listen={loopback(replica)}", *options)
    server = Server(
        [
            *twistd,
            "icws",
            f"--ic-network-url={network}",
            f"--gateway-address={loopback(gateway)}",
            f"--prometheus-endpoint={loopback(admin)}",
            f"--data-dir={directory / 'data'}",
            "--drain-window=0.5",
            *_SLOW_CLIENTS,
            *options,
        ],
        cwd=directory,
        environment=environment,
        files=files,
        umask=umask,
    )
    try:
        server.wait_until_ready(f"http://127.0.0.1:{admin}/health/ready")
        return Stack(
            gateway=f"ws://127.0.0.1:{gateway}",
            network=network,
            admin=f"http://127.0.0.1:{admin}",
            server=server,
            **canisters_of(network),
        )
    except BaseException:
        server.kill()
        raise


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start stacks of a test's own: ``stacks("--option=value", ...)``; they end with the test."""
    started: list[Stack] = []

    def start(
        *options: str,
        network: str | None = None,
        twistd: Sequence[str] = (),
        files: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Stack:
        directory = tmp_path / f"stack{len(started)}"
        directory.mkdir()
        stack = start_stack(directory, *options, network=network, twistd=twistd, files=files, environment=environment)
        started.append(stack)
        return stack

    yield start
    for stack in started:
        stack.server.kill()


@pytest.fixture
def devnets(tmp_path: Path) -> Iterator[Callable[..., Devnet]]:
    """Start replicas of a test's own: ``devnets("--option=value", ...)``; they end with the test."""
    started: list[Devnet] = []

    def start(*options: str) -> Devnet:
        devnet = start_devnet(tmp_path, *options)
        started.append(devnet)
        return devnet

    yield start
    for devnet in started:
        devnet.server.kill()


#: Such clients may not answer an acknowledgement in time either. The canisters of a replica with these options
#: begin a round only when a test moves their clock (sdk/replica.mjs), and wait for as long as a test takes.
ROUNDS_BY_CLOCK = ("--ack-interval=3600000", "--keep-alive-timeout=3500000")
#: What the SDK has to know about such canisters.
ROUNDS_BY_CLOCK_SDK = {"ackMs": 3_600_000}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The gateway with the embedded replica that tests without demands of their own share."""
    stack = start_stack(tmp_path_factory.mktemp("stack"))
    yield stack
    assert stack.server.stop() == 0, stack.server.output
    assert "gateway stopped" in stack.server.output


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The JavaScript libraries as an oracle."""
    oracle = Oracle()
    yield oracle
    oracle.close()
