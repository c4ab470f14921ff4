"""The asyncio client in a process of its own, with a real gateway over loopback."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    "scenario",
    [
        *("echo", "backpressure", "reset", "failures", "unwatched", "mistakes"),
        *("early_requests", "unstarted", "given_up"),
    ],
)
def test_scenario(scenario: str, stack: Stack) -> None:
    done = subprocess.run(
        [*interpreter(), "-m", "tests.client.asyncio_scenarios", scenario, stack.gateway, stack.network, stack.echo],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
    # nothing that asyncio complains of: tasks that were forgotten, exceptions that nobody took
    assert done.stderr == ""


def test_its_session_moves_to_another_gateway_before_its_own_stops(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    first, second = (stacks("--drain-window=10", network=devnet.network) for _ in range(2))
    places = (f"{first.gateway},{second.gateway}", devnet.network, devnet.echo)
    with subprocess.Popen(
        [*interpreter(), "-m", "tests.client.asyncio_scenarios", "moves", *places],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
            first.server.process.send_signal(signal.SIGTERM)
            assert client.communicate(timeout=180) == ("done\n", "")
        finally:
            client.kill()
    assert first.server.wait() == 0, first.server.output
