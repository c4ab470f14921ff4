"""The Autobahn test suite (wstest 0.8.2) against the gateway's WebSocket factory.

The suite runs under Python 2.7 only, from a virtual environment of its own that is made on first use, below
``ICWS_CACHE`` or the user's cache directory. A missing Python 2.7 fails the test: it is never skipped.

Cases 1 to 7, 9 and 10 run whole (there are none in 8). In cases 12 and 13 the client offers compression, which the
gateway declines (decision 0045); one of each group runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.processes import ROOT, alone

pytestmark = [pytest.mark.acceptance, pytest.mark.wstest]

SUITE = "autobahntestsuite==0.8.2"
#: The last one that runs under Python 2.7.
VIRTUALENV = "virtualenv==20.15.1"

PLAIN = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
#: 12 by kinds of content, 13 by the offers that the client makes
COMPRESSED = [
    "12.1.1", "12.2.1", "12.3.1", "12.4.1", "12.5.1",
    "13.1.1", "13.2.1", "13.3.1", "13.4.1", "13.5.1", "13.6.1", "13.7.1",
]  # fmt: skip

GOOD = {"OK", "INFORMATIONAL"}
#: How the connection ended where the case leaves it open who closes.
GOOD_CLOSE = {"OK", "INFORMATIONAL"}


def python27() -> str:
    versions = sorted(map(str, Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7")))
    for candidate in (*versions, shutil.which("python2.7")):
        # pyenv puts programs on the path that only say that the version is not switched on
        if candidate and subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return candidate
    pytest.fail("Python 2.7 with pip is needed for the Autobahn test suite (pyenv install 2.7.18)")


@pytest.fixture(scope="session")
def wstest() -> Path:
    base = Path(os.environ.get("ICWS_CACHE") or Path.home() / ".cache" / "icwsgw")
    environment = base / "wstest-0.8.2"
    program = environment / "bin" / "wstest"
    with alone(str(environment)):
        if not program.exists():
            python, boot = python27(), base / "wstest-boot"
            shutil.rmtree(environment, ignore_errors=True)
            _run(python, "-m", "pip", "install", "-q", "--target", str(boot), "--upgrade", VIRTUALENV)
            _run(python, "-m", "virtualenv", "-q", str(environment), PYTHONPATH=str(boot))
            _run(str(environment / "bin" / "python"), "-m", "pip", "install", "-q", SUITE)
    return program


def _run(*command: str, **variables: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@contextmanager
def echo_server() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.acceptance.echo_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
            assert server.poll() is None, "the server has ended"
        finally:
            server.kill()


def run_cases(wstest: Path, directory: Path, cases: list[str]) -> dict[str, dict[str, str]]:
    """Run cases; what was found of each, by its number."""
    with echo_server() as port:
        specification = {
            "outdir": str(directory / "reports"),
            "servers": [{"agent": "gateway", "url": f"ws://127.0.0.1:{port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        path = directory / "fuzzingclient.json"
        path.write_text(json.dumps(specification))
        log = directory / "wstest.log"
        with log.open("w") as output:
            subprocess.run(
                [str(wstest), "-m", "fuzzingclient", "-s", str(path)],
                cwd=directory, stdout=output, stderr=subprocess.STDOUT, check=True, timeout=600,
            )  # fmt: skip
    index = directory / "reports" / "index.json"
    assert index.exists(), log.read_text()[-4000:]
    found: dict[str, dict[str, str]] = json.loads(index.read_text())["gateway"]
    return found


def failures(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {
        case: f"{result['behavior']}, closing {result['behaviorClose']}"
        for case, result in found.items()
        if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD_CLOSE
    }


@pytest.mark.long
def test_the_protocol(wstest: Path, tmp_path: Path) -> None:
    found = run_cases(wstest, tmp_path, PLAIN)
    assert failures(found) == {}
    assert len(found) == 301


def test_offers_of_compression_are_declined(wstest: Path, tmp_path: Path) -> None:
    found = run_cases(wstest, tmp_path, COMPRESSED)
    # the suite's word for a handshake that succeeded without the extension that the client had offered
    assert {result["behavior"] for result in found.values()} == {"UNIMPLEMENTED"}
    assert len(found) == len(COMPRESSED)
