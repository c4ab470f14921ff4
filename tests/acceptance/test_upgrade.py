"""A running gateway is replaced by a new process, with real clients: nobody is closed and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import clients_of, connect, echoes, ends, eventually, leave, sample
from tests.acceptance.processes import ROOT, free_port, http_get
from tests.support import pem
from tests.support.raw_client import RawClient, RawSdkClient
from tests.support.ws_wire import handshake

pytestmark = pytest.mark.acceptance

CROWD = 50


@pytest.fixture
def started(stacks: Callable[..., Stack]) -> Iterator[Callable[..., Stack]]:
    """Start stacks whose last processes end with the test too."""
    made: list[Stack] = []

    def start(*options: str, network: str) -> Stack:
        made.append(stacks(*options, network=network))
        return made[-1]

    yield start
    for stack in made:
        for process in re.findall(r"handover begins\b.* successor=(\d+)", stack.server.output):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


def upgrade(stack: Stack, process: int) -> int:
    """Upgrade a gateway; the number of its new process."""
    seen = stack.server.output.count("taken over")
    os.kill(process, signal.SIGUSR2)
    eventually(lambda: stack.server.output.count("taken over") > seen, stack.server.output)
    return int(re.findall(r"handover begins\b.* successor=(\d+)", stack.server.output)[-1])


def test_no_client_notices_an_upgrade(devnets: Callable[..., Devnet], started: Callable[..., Stack]) -> None:
    devnet = devnets()
    stack = started(network=devnet.network)
    process = stack.server.process.pid
    clients = [connect(stack) for _ in range(CROWD)]
    for client in clients:
        echoes(client)
    # one has sent a part of its request, one a part of a message, one has not opened its session
    port = int(stack.gateway.rpartition(":")[2])
    request = handshake()
    late = RawClient(port)
    late.socket.sendall(request[:40])
    for _ in range(3):
        for client in clients:
            client.say(b"DIDL\x00\x00on its way")
        before = process
        process = upgrade(stack, process)
        eventually(lambda pid=before: not alive(pid, stack), "the former process ends")
        for client in clients:
            client.until(lambda client=client: client.received[-1:] == [b"DIDL\x00\x00on its way"])
            echoes(client)
    late.socket.sendall(request[40:])
    assert late.answer().status == 101
    assert clients_of(devnet, devnet.echo) == CROWD
    assert (sample(stack, 'icws_sessions{state="open"}'), http_get(f"{stack.admin}/health/ready")[0]) == (CROWD, 200)
    assert (sample(stack, "icws_client_messages_total") or 0) >= 7 * CROWD, "counters go on"
    leave(*clients)
    eventually(lambda: clients_of(devnet, devnet.echo) == 0, "the canister hears of all")
    os.kill(process, signal.SIGTERM)


def alive(process: int, stack: Stack) -> bool:
    """Whether a process runs; the first one is a child of this one."""
    if process == stack.server.process.pid:
        return stack.server.process.poll() is None
    return os.path.exists(f"/proc/{process}")


def test_an_upgrade_that_cannot_start_costs_nothing(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    config = tmp_path / "icws.toml"
    config.write_text("drain-window = 0.5\n")
    endpoint = f"unix:{tmp_path}/admin.sock"
    stack = started(f"--config={config}", f"--admin-endpoint={endpoint}", network=devnet.network)
    client = connect(stack)
    for broken, words in (
        ("ping-interval = 'soon'\n", "ping-interval"),
        ("no-such-option = 1\n", "no-such-option"),
        ("tls-certificate-pem-path = '/nonexistent'\n", "tls-certificate"),
    ):
        config.write_text(broken)
        code, text = icwsctl(endpoint, "upgrade")
        assert (code, text.startswith("icwsctl: no upgrade: "), words in text) == (1, True, True), text
        echoes(client)
    config.write_text("drain-window = 0.5\n")
    code, text = icwsctl(endpoint, "upgrade")
    assert (code, text.startswith("upgraded from ")) == (0, True), text
    assert stack.server.process.wait(60) == 0
    echoes(client)
    code, text = icwsctl(endpoint, "sessions")
    assert (code, "open" in text) == (0, True)
    leave(client)


def icwsctl(endpoint: str, *words: str) -> tuple[int, str]:
    """Run icwsctl: its exit status and what it prints."""
    command = [sys.executable, "-m", "icwsgw.ctl.commands", "--endpoint", endpoint, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def test_clients_with_tls_are_drained_and_the_others_stay(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    signer = pem.authority()
    certificate, key = pem.server(signer).write(tmp_path)
    context = ssl.create_default_context(cadata=signer.pem.decode())
    secure = free_port()
    stack = started(
        f"--gateway-address=ssl:{secure}:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
        network=devnet.network,
    )
    plain = connect(stack)
    drained = RawSdkClient(RawClient(secure, tls=context).shake(), Principal.from_text(stack.echo)).open()
    upgrade(stack, stack.server.process.pid)
    assert ends(drained) == CloseCode.DRAINING
    assert stack.server.process.wait(60) == 0
    echoes(plain)
    again = RawSdkClient(RawClient(secure, tls=context).shake(), Principal.from_text(stack.echo)).open()
    echoes(again)
    leave(plain, again)
