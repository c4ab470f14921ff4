"""A log that nobody reads: real processes whose standard output is a full pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import loopback
from tests.acceptance.processes import ROOT, START_DEADLINE, STOP_DEADLINE, free_port, http_get

pytestmark = pytest.mark.acceptance


def full_pipe() -> tuple[int, int]:
    """The two ends of a pipe into which not one more byte goes; writing to it blocks."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for size in (1 << 16, 1):
        try:
            while True:
                os.write(writing, b"." * size)
        except BlockingIOError:
            pass
    os.set_blocking(writing, True)
    return reading, writing


class Unread:
    """A gateway with the embedded replica that writes into a full pipe.

    :ivar admin: http:// URL of metrics and health
    """

    def __init__(self, directory: Path, *options: str) -> None:
        gateway, admin, replica = (free_port() for _ in range(3))
        self.admin = f"http://127.0.0.1:{admin}"
        self.reading, writing = full_pipe()
        self.process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("twistd")),
                *("-n", "--pidfile=", "icws", "--devnet", f"--devnet-listen={loopback(replica)}"),
                f"--ic-network-url=http://127.0.0.1:{replica}",
                f"--gateway-address={loopback(gateway)}",
                f"--prometheus-endpoint={loopback(admin)}",
                f"--data-dir={directory / 'data'}",
                *options,
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
        os.close(writing)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while True:
            try:
                if http_get(f"{self.admin}/health/ready", timeout=5.0)[0] == 200:
                    return
            except OSError:
                pass
            assert self.process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it does not get ready"
            threading.Event().wait(0.05)

    def read(self) -> str:
        """Read to the end, as the reader that was stuck would; call it when the process has ended."""
        with os.fdopen(self.reading, "rb", closefd=False) as stream:
            return stream.read().decode(errors="replace")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.reading)


@pytest.fixture
def unread(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Unread]:
    gateway = Unread(tmp_path, *getattr(request, "param", ()))
    yield gateway
    gateway.kill()


MANY_LINES = ("--log-level=debug",)


@pytest.mark.parametrize("unread", [MANY_LINES, (*MANY_LINES, "--workers=2")], indirect=True, ids=["one", "workers"])
def test_it_starts_serves_and_ends_without_a_reader(unread: Unread) -> None:
    unread.wait_until_ready()
    assert http_get(f"{unread.admin}/health/live")[0] == 200
    page = http_get(f"{unread.admin}/metrics")[1].decode()
    assert 'icws_log_lines_total{level="info"} 0.0' not in page, "lines were made"
    unread.process.send_signal(signal.SIGTERM)
    assert unread.process.wait(STOP_DEADLINE) == 0


def test_who_reads_again_finds_the_lines(unread: Unread) -> None:
    unread.wait_until_ready()
    read = []
    reader = threading.Thread(target=lambda: read.append(unread.read()), daemon=True)
    reader.start()
    unread.process.send_signal(signal.SIGTERM)
    assert unread.process.wait(STOP_DEADLINE) == 0
    reader.join(STOP_DEADLINE)
    lines = read[0].lstrip(".").splitlines()
    assert any(" gateway starts " in line for line in lines), lines
    assert lines[-1].endswith("gateway stopped")
