"""The Twisted client, with a real gateway over loopback and the reactor in a process of its own."""

from __future__ import annotations

import subprocess

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("scenario", ["echo", "reset", "failures"])
def test_scenario(scenario: str, stack: Stack) -> None:
    done = subprocess.run(
        [*interpreter(), "-m", "tests.client.twisted_scenarios", scenario, stack.gateway, stack.network, stack.echo],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
    assert done.stderr == ""
