"""The blocking client, in subprocesses: Autobahn supports one event loop library in each process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, stack
from tests.acceptance.processes import ROOT, free_port
from tests.support.measured import interpreter

__all__ = ["stack"]

pytestmark = pytest.mark.acceptance

SCENARIO = """
import asyncio, sys, threading
import pytest
from icwsgw.client.client_errors import ClientError
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.root_key import fetch_root_key
from icwsgw.ic.principal import Principal
from icwsgw.testing.blocking_client import BlockingClient

gateway, network, canister, nobody = sys.argv[1:]
key = fetch_root_key(network)
with BlockingClient(gateway, canister, root_key=key, timeout=60) as client:
    assert client.state is ClientState.OPEN
    assert Principal.from_text(client.principal)
    assert not client.wait_for(ClientOpened).resumed
    client.send(b"one")
    assert client.receive() == b"one"
    assert client.request(b"two", lambda reply: reply == b"two") == b"two"
    client._timeout = 0.05
    with pytest.raises(asyncio.TimeoutError):
        client.receive()
    with pytest.raises(TimeoutError, match="no Disconnected in 0.05 s"):
        client.wait_for(Disconnected)
    client._timeout = 60
ended = client.close()
assert isinstance(ended, Ended) and ended is client.events[-1] and ended.error is None
with pytest.raises(ClientError):
    BlockingClient(nobody, canister, root_key=key, settings=ClientSettings(reconnect=False)).__enter__()
with pytest.raises(ValueError):
    BlockingClient(gateway, "no canister", root_key=key)
assert threading.active_count() == 1
print("done")
"""


def test_it_waits(stack: Stack, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.py"
    scenario.write_text(SCENARIO)
    places = [stack.gateway, stack.network, stack.echo, f"ws://127.0.0.1:{free_port()}"]
    done = subprocess.run(
        [*interpreter(), str(scenario), *places],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
