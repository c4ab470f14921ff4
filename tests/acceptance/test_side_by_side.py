"""Two versions side by side behind a link, as the operator's guide installs them: switching it upgrades a gateway."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icwsgw._version import __version__
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, loopback
from tests.acceptance.crowd import TEXT, eventually
from tests.acceptance.processes import ROOT, free_port, http_get
from tests.support.raw_client import RawClient, RawSdkClient

pytestmark = pytest.mark.acceptance

NEXT = "99.0.0"


def install(directory: Path, version: str) -> None:
    """An environment of its own with this version; its dependencies are those of the tests."""
    venv.create(directory, symlinks=True)
    (site,) = directory.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for part in ("icwsgw", "twisted"):
        shutil.copytree(ROOT / part, site / part, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    (site / "icwsgw" / "_version.py").write_text(f'"""The version."""\n\n__version__ = "{version}"\n')
    for name, module, call in (
        ("twistd", "twisted.scripts.twistd", "run"),
        ("icwsctl", "icwsgw.ctl.commands", "main"),
    ):
        script = directory / "bin" / name
        script.write_text(f"#!{directory}/bin/python\nimport sys\nfrom {module} import {call}\nsys.exit({call}())\n")
        script.chmod(0o755)


def switch(link: Path, version: str) -> None:
    """As ln -sfn: the link leads to another version."""
    new = link.with_name("new")
    new.symlink_to(f"icws-{version}")
    new.replace(link)


@pytest.fixture
def processes() -> Iterator[set[int]]:
    """Processes that end with the test."""
    numbers: set[int] = set()
    yield numbers
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def test_a_switched_link_and_an_upgrade_bring_the_next_version_and_back(
    tmp_path: Path, devnets: Callable[..., Devnet], processes: set[int]
) -> None:
    devnet = devnets()
    link, socket, log = tmp_path / "icws", tmp_path / "admin.sock", tmp_path / "log"
    for version in (__version__, NEXT):
        install(tmp_path / f"icws-{version}", version)
    switch(link, __version__)
    port, admin = free_port(), free_port()
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("ICWS_", "PYTHON"))}
    environment = {**inherited, "ICWS_ADMIN_ENDPOINT": f"unix:{socket}"}
    with log.open("wb") as output:
        first = subprocess.Popen(
            [
                *(link / "bin" / "twistd", "-n", "--pidfile=", "icws"),
                f"--ic-network-url={devnet.network}",
                f"--gateway-address={loopback(port)}",
                f"--prometheus-endpoint={loopback(admin)}",
                f"--data-dir={tmp_path / 'data'}",
            ],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    processes.add(first.pid)

    def ready() -> bool:
        assert first.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return http_get(f"http://127.0.0.1:{admin}/health/ready")[0] == 200
        return False

    def control(*words: str) -> str:
        done = subprocess.run(
            [link / "bin" / "icwsctl", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        return done.stdout

    eventually(ready, "the gateway is ready", 180)
    client = RawSdkClient(RawClient(port), Principal.from_text(devnet.echo)).open()
    for before, version in ((__version__, NEXT), (NEXT, __version__)):
        assert f"  {before}\n" in control("status")
        switch(link, version)
        assert f"  {before}\n" in control("status"), "the link alone changes nothing"
        answer = control("upgrade")
        assert answer.startswith(f"upgraded from {before} to {version}: process ")
        processes.add(int(answer.split("process ")[1].split()[0]))
        client.send_message(TEXT + version.encode())
        client.until(lambda version=version: client.received[-1:] == [TEXT + version.encode()])
        assert f"  {version}\n" in control("status")
    assert first.wait(60) == 0, log.read_text()
    client.connection.close()
    assert sys.executable not in (tmp_path / "icws" / "bin" / "twistd").read_text()
