"""The README and build.md against the code: what they tell people to run, and the places that they name."""

from __future__ import annotations

import os
import re
import subprocess

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from tests.test_layering import ROOT

README = (ROOT / "README.md").read_text()
BUILD = (ROOT / "docs" / "build.md").read_text()


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_two_commands_are_programs() -> None:
    for command in ("run", "check", ".ci/run", "scripts/site.sh"):
        assert os.access(ROOT / command, os.X_OK), command
        subprocess.run(["bash", "-n", str(ROOT / command)], check=True)
    assert "\n./run\n" in README
    assert "\n./check\n" in README


def test_pip_runs_in_a_virtual_environment() -> None:
    """Debian's own pip installs nothing (PEP 668)."""
    documents = [ROOT / "README.md", ROOT / "docs" / "icws.md", ROOT / "docs" / "build.md"]
    documents += [*(ROOT / "docs" / "build").glob("*.md"), *(ROOT / "examples").rglob("README.md")]
    outside = [
        f"{document.relative_to(ROOT)}: {block}"
        for document in documents
        for block in re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.M | re.S)
        if "pip install" in block and not re.search(r"-m venv .*pip install", block, re.S)
    ]
    assert outside == []


def test_links_inside_the_repository_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), ROOT / "changes" / "README.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_the_demo_canisters_are_the_ones_that_run() -> None:
    assert f"`{ECHO_ID}`" in BUILD
    assert f"`{CHAT_ID}`" in BUILD
    assert f'"{ECHO_ID}"' in README
