"""The asyncio client in a process of its own, with a real gateway over loopback."""

from __future__ import annotations

import subprocess

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("scenario", ["echo", "backpressure", "reset", "failures"])
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
