"""The testing kit as users copy it: examples/testing, with pytest and with node:test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from icwsgw.devnet.faults import KINDS
from tests.acceptance.processes import CLIENT, ROOT, node_modules
from tests.support.measured import interpreter

SAMPLE = ROOT / "examples" / "testing"


def copied(folder: Path) -> Path:
    return shutil.copytree(SAMPLE, folder / "sample", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.acceptance
def test_the_sample_passes_under_pytest(tmp_path: Path) -> None:
    done = subprocess.run(
        [*interpreter(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov"],
        cwd=copied(tmp_path),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert re.search(r"^6 passed", done.stdout, re.M), done.stdout + done.stderr


@pytest.mark.acceptance
@pytest.mark.sdk
def test_the_sample_passes_under_node_test(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    node_modules(CLIENT)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "icws-client").symlink_to(CLIENT)
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ICWS_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ("# pass 4" in done.stdout, "# fail 0" in done.stdout) == (True, True), done.stdout + done.stderr


@pytest.mark.acceptance
@pytest.mark.sdk
def test_node_starts_no_gateway_twice() -> None:
    node_modules(CLIENT)
    program = (
        f'import {{ startDevnet, startGateway }} from "{(CLIENT / "src" / "testing.js").as_uri()}";\n'
        "const devnet = await startDevnet(), gateway = await startGateway(devnet);\n"
        "await gateway.start().catch((error) => console.log(error.constructor.name, error.message));\n"
        "await gateway.kill();\n"
        "const ended = await fetch(gateway.statusUrl).catch(() => null);\n"
        'console.log(ended ? "an orphan runs" : "nothing runs");\n'
        "await gateway.stop();\n"
        "await devnet.stop();\n"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ICWS_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "StartFailed the gateway runs already: end it with kill() first",
        "nothing runs",
    ], done.stdout + done.stderr


@pytest.mark.acceptance
@pytest.mark.sdk
def test_node_reports_which_python_lacks_the_package(tmp_path: Path) -> None:
    node_modules(CLIENT)
    program = (
        f'import {{ startDevnet }} from "{(CLIENT / "src" / "testing.js").as_uri()}";\n'
        "await startDevnet({ python: process.argv[1] }).catch((error) => console.log(error.message));\n"
    )
    bare = tmp_path / "python"
    # the interpreter without its packages
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    for python, words in ((bare, "has no icwsgw: install it there, or set ICWS_PYTHON"), (tmp_path / "none", "ENOENT")):
        done = subprocess.run(
            ["node", "--input-type=module", "--eval", program, str(python)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert words in done.stdout


def test_the_document_has_every_fault() -> None:
    text = (ROOT / "docs" / "build" / "testing.md").read_text()
    faults = text.partition("| fault |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", faults, re.M)))) == KINDS
