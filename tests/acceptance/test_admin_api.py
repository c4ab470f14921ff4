"""The admin API of a gateway of two workers, by its command line: real processes, a unix socket."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import clients_of, connect, echoes, ends, eventually, sample, stats
from tests.acceptance.processes import ROOT, http_get
from tests.acceptance.test_workers import all_ready, crowds, workers_of
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.acceptance


class Ctl:
    """icwsctl, for one gateway."""

    def __init__(self, path: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ICWS_")}
        self._environment = {**environment, "ICWS_ADMIN_ENDPOINT": f"unix:{path}", "PYTHONPATH": str(ROOT)}

    def __call__(self, *words: str, status: int = 0) -> str:
        """What it says, on whatever stream."""
        done = subprocess.run(
            [sys.executable, "-m", "icwsgw.ctl.commands", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


def refused_by(stack: Stack) -> set[int]:
    """Open sessions, all of which are refused, until both workers have done that; their numbers."""
    begin, workers = len(stack.server.output), set[int]()
    for _ in range(500):
        with pytest.raises(AssertionError, match="is not served by this gateway"):
            connect(stack)
        lines = re.findall(r"session ended cause=4110 .*worker=(\d)", stack.server.output[begin:])
        workers.update(map(int, lines))
        if len(workers) == 2:
            break
    return workers


def test_operators_tell_a_running_gateway_what_to_do(
    tmp_path: Path, devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    path = tmp_path / "admin.sock"
    stack = stacks("--workers=2", f"--admin-endpoint=unix:{path}", network=devnet.network)
    eventually(lambda: all_ready(stack), "both workers are ready")
    assert path.stat().st_mode & 0o777 == 0o600
    ctl = Ctl(path)

    # who is here
    found = crowds(stack, 2)
    clients = [client for each in found.values() for client in each]
    listed = ctl.json("sessions")
    assert (len(listed["sessions"]), listed["missing_workers"]) == (len(clients), [])
    assert {row["worker"] for row in listed["sessions"]} == {0, 1}
    by_principal = {row["principal"]: row for row in listed["sessions"]}
    (canister,) = ctl.json("canisters")["canisters"]
    assert (canister["canister"], canister["sessions"], len(canister["pollers"])) == (devnet.echo, len(clients), 2)
    assert "ready" in ctl("status")
    (one,) = ctl.json("sessions", "--address", "127.0.0.0/8", "--older", "0s", "--limit", "1")["sessions"]
    assert one["idle_s"] <= one["age_s"]
    assert ctl.json("sessions", "--address", "192.0.2.0/24")["sessions"] == []

    # who is the busiest, of both workers, and what is configured how
    top = ctl.json("top", "--once", "--interval", "500ms", "--sort", "age")
    assert (top["session_count"], top["canister_count"], top["missing_workers"]) == (len(clients), 1, [])
    assert {row["worker"] for row in top["sessions"]} == {0, 1}
    assert top["canisters"][0]["sessions"] == len(clients)
    assert f"{len(clients)} clients; 1 canisters" in ctl("top", "--once", "--interval", "500ms")
    ctl("set", "ping-interval", "320")
    options = ctl.json("dump", "--changed")["options"]
    assert options["workers"] == {"value": "2", "from": "command line"}
    assert options["ping-interval"] == {"value": "320", "from": "set at run time"}
    assert "no certificates" in ctl("dump")
    ctl("set", "--reset")

    # one goes, the others stay
    kicked, *rest = clients
    session = by_principal[kicked.identity.principal.text]["id"]
    assert ctl("kick", session) == "1 closed\n"
    assert ends(kicked) == CloseCode.POLICY
    eventually(lambda: stats(devnet).get("ws_close") == 1, "the canister has got ws_close")
    assert "there is no session" in ctl("session", session, status=1)
    echoes(rest[0])

    # levels and denials hold for all, for a worker that comes later too, and through a reload
    ctl("log-level", "relay", "debug")
    assert ctl.json("deny", devnet.echo)["closed"] == len(rest)
    assert [ends(client) for client in rest] == [CloseCode.CANISTER_NOT_ALLOWED] * len(rest)
    before = workers_of(stack)
    os.kill(before[1], signal.SIGKILL)
    eventually(lambda: workers_of(stack)[1] != before[1] and all_ready(stack), "another process")
    stack.server.process.send_signal(signal.SIGHUP)
    stack.server.wait_for_line("configuration reloaded")
    assert refused_by(stack) == {0, 1}
    assert ctl.json("allow", devnet.echo)["served"]
    again = [client for each in crowds(stack, 1).values() for client in each]
    for client in again:
        echoes(client)
    calls = r"debug relay call .*worker=(\d)"
    eventually(lambda: set(re.findall(calls, stack.server.output)) == {"0", "1"}, "both log calls")
    eventually(lambda: sample(stack, 'icws_sessions{state="open"}') == len(again), "both workers have reported")

    # out of service for newcomers, which are still served, and back
    ctl("maintenance", "on")
    status, reasons = http_get(f"{stack.admin}/health/ready")
    assert (status, reasons.startswith(b"maintenance: ")) == (503, True)
    echoes(again[0])
    ctl("maintenance", "off")
    assert http_get(f"{stack.admin}/health/ready")[0] == 200

    # a limit of both workers together
    assert ctl("set", "max-connections", "2") == "max-connections = 2\n"
    port = int(stack.gateway.rpartition(":")[2])
    assert RawClient(port).do_handshake().status == 503
    echoes(again[0])
    ctl("set", "--reset")
    assert RawClient(port).do_handshake().status == 101

    # the end
    assert ctl("drain", "--window", "0.5") == "draining, over 0.5 s\n"
    assert [ends(client) for client in again] == [CloseCode.DRAINING] * len(again)
    assert stack.server.wait() == 0, stack.server.output
    assert clients_of(devnet, devnet.echo) == 0
    assert not path.exists()
    assert re.search(r"admin drain requested by=\"uid \d+, process \d+\" window_s=0.5", stack.server.output)
    assert "Traceback" not in stack.server.output
