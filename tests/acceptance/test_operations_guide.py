"""The operator's pages as they are followed: the commands marked ``console run``, one after the other, in one shell.

They run in an empty directory with ports of their own in place of the default ones. What a command prints has to hold
the lines that stand below it there.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.processes import ROOT, free_port
from tests.support.guide import commands, missing_line

pytestmark = pytest.mark.acceptance

#: In the order in which they are read: the later ones use files of the first.
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("operations", "tls", "upgrade", "from-rust-gateway", "runbook")]
PATIENCE = 60.0
"""Seconds that one command may take: a start waits for a loaded machine."""


class Shell:
    """A bash with its output at hand, and a process group that can be ended."""

    def __init__(self, cwd: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        """The status of a command, and the lines that it and what it left running have printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{command}\necho "<<$?>>"\n'.encode())
        self._process.stdin.flush()
        output = b""
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (end := re.search(rb"<<(\d+)>>\n\Z", output)):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                assert ready, f"{command}: not done in {PATIENCE} s\n{output.decode(errors='replace')}"
                more = os.read(self._process.stdout.fileno(), 65536)
                assert more, f"{command}: the shell ended\n{output.decode(errors='replace')}"
                output += more
        return int(end[1]), output[: end.start()].decode(errors="replace").splitlines()

    def end(self) -> None:
        """End it and all that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def test_the_guide_can_be_followed(tmp_path: Path) -> None:
    ports = {default: str(free_port()) for default in ("8080", "9090", "4943")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ICWS_", "RUST_LOG"))}
    shell = Shell(
        tmp_path,
        {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "no_proxy": "127.0.0.1",
            "ICWS_GATEWAY_ADDRESS": f"tcp:{ports['8080']}",
            "ICWS_PROMETHEUS_ENDPOINT": f"tcp:{ports['9090']}:interface=127.0.0.1",
            "ICWS_DEVNET_LISTEN": f"tcp:{ports['4943']}:interface=127.0.0.1",
        },
    )
    text = "\n".join(page.read_text() for page in PAGES)
    steps = list(commands(re.sub(r"\b(8080|9090|4943)\b", lambda found: ports[found[1]], text), "console run"))
    assert len(steps) > 20
    try:
        for step in steps:
            status, printed = shell.run(step.text)
            missing = missing_line(step.printed, printed)
            assert missing is None, f"$ {step.text}\nhas not printed\n{missing}\nbut\n" + "\n".join(printed)
            assert step.printed or status == 0, f"$ {step.text}\nended with {status}\n" + "\n".join(printed)
    finally:
        shell.end()
