"""The README against the code: its options table, its commands and the places it points at."""

from __future__ import annotations

import os
import re
import subprocess

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from tests.support.scripts import load_script
from tests.test_layering import ROOT

README = (ROOT / "README.md").read_text()


def test_the_options_table_is_what_the_code_declares() -> None:
    module = load_script("readme_options")
    assert module.with_table(README) == README, "run scripts/readme_options.py"


def test_the_two_commands_are_programs() -> None:
    for command in ("run", "check", ".ci/run"):
        assert os.access(ROOT / command, os.X_OK), command
        subprocess.run(["bash", "-n", str(ROOT / command)], check=True)
    assert "\n./run\n" in README
    assert "\n./check\n" in README


def test_links_inside_the_repository_lead_somewhere() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_the_demo_canisters_are_the_ones_that_run() -> None:
    assert f"| echo | `{ECHO_ID}` |" in README
    assert f"| chat | `{CHAT_ID}` |" in README
