"""Signals of real processes: while they start, and those that nobody should die of."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, loopback
from tests.acceptance.crowd import connect, echoes, eventually, leave
from tests.acceptance.processes import ROOT, START_DEADLINE, Server, free_port, http_get

pytestmark = pytest.mark.acceptance


def wait_until_caught(server: Server, number: int) -> None:
    """Wait until the process catches a signal, which is when Python has reached the plugin."""
    deadline = time.monotonic() + START_DEADLINE
    while True:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught >> (number - 1) & 1:
            return
        assert server.process.poll() is None, server.output
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_arrives_while_the_gateway_starts_is_obeyed(number: int, tmp_path: Path) -> None:
    admin = free_port()
    words = [f"--gateway-address={loopback(free_port())}", f"--prometheus-endpoint={loopback(admin)}"]
    server = Server(["icws", "--devnet", f"--devnet-listen={loopback(free_port())}", *words], cwd=tmp_path)
    try:
        wait_until_caught(server, number)
        assert server.lines == [], "it has only begun"
        server.process.send_signal(number)
        if number == signal.SIGHUP:
            server.wait_for_line("configuration reloaded")
            server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0, server.output
        assert ("gateway stopped" in server.output) is (number == signal.SIGHUP)
    finally:
        server.kill()


#: A plugin of another program; twistd asks for its name once it has imported the modules of all plugins.
OTHER_PLUGIN = """
import os, signal
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from zope.interface import implementer

@implementer(IPlugin, IServiceMaker)
class Other:
    description = "Sends a signal to the program that looks for plugins."
    options = None

    @property
    def tapname(self):
        os.kill(os.getpid(), signal.SIGHUP)
        return "other"

other = Other()
"""


@pytest.mark.parametrize(("word", "lives"), [("icws", True), ("web", False)])
def test_a_hangup_while_twistd_looks_for_plugins(tmp_path: Path, word: str, lives: bool) -> None:
    plugins = tmp_path / "lib" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "other.py").write_text(OTHER_PLUGIN)
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{plugins.parents[1]}"}
    # `twistd web` would take port 8080, which another program may have
    port = loopback(free_port())
    words = [f"--gateway-address={port}", "--prometheus-endpoint="] if lives else [f"--listen={port}"]
    server = Server(["--reactor=select", word, *words], tmp_path, environment)
    try:
        if lives:
            server.wait_for_line("configuration reloaded")
            assert server.stop() == 0
        else:
            assert server.wait() == -signal.SIGHUP, "as without the gateway's plugin"
    finally:
        server.kill()


def test_signals_without_a_meaning_end_no_session_and_usr1_begins_new_files(
    tmp_path: Path, stacks: Callable[..., Stack]
) -> None:
    """With workers, for whom a service manager sends the signal to each process."""
    log = tmp_path / "icws.log"
    stack = stacks("--workers=2", "--log-file-level=info", twistd=(f"--logfile={log}",))
    eventually(lambda: log.read_text().count("worker is ready") == 2, "both workers are ready")
    client = connect(stack)
    children = Path(f"/proc/{stack.server.process.pid}/task/{stack.server.process.pid}/children").read_text()
    pids = [stack.server.process.pid, *map(int, children.split())]
    assert len(pids) == 3
    for pid in pids:
        for number in (signal.SIGIO, signal.SIGALRM, signal.SIGRTMIN):
            os.kill(pid, number)
    eventually(lambda: log.read_text().count("signal ignored") == 3, "the supervisor tells each once")
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    eventually(lambda: log.exists() and log.read_text().count("log files begin anew") == 3, "all three have new files")
    echoes(client)
    leave(client)
    eventually(lambda: "session ended" in log.read_text(), "the session's end is in the new file")
    assert f"signal ignored signal={signal.SIGIO.name}" in (tmp_path / "icws.log.1").read_text()
    directory = tmp_path / "stack0" / "data" / "traces"
    eventually(lambda: len(list(directory.iterdir())) == 6, "of each process the present file and the one before")
    traces = sorted(path.name for path in directory.iterdir())
    assert [name.endswith(".log.1") for name in traces] == [False, True] * 3
    assert http_get(f"{stack.admin}/health/ready")[0] == 200
    assert stack.server.stop() == 0
