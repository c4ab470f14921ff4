"""The examples that the README and the first pages of docs/build show, and the commands of docs/build.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import CLIENT, ROOT, SDK, http_post_json, node_modules, run_node

pytestmark = pytest.mark.acceptance


def code(document: str, language: str) -> list[str]:
    """The blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.M | re.S)


def run_example(name: str, document: str, stack: Stack, *, folder: Path, first: str = "") -> list[str]:
    """Run an example that a document shows, with other ports; the lines that it prints."""
    program = (ROOT / "examples" / name).read_text()
    assert program in code(document, "js")
    node_modules(folder)
    for address, here in {"ws://127.0.0.1:8080": stack.gateway, "http://127.0.0.1:4943": stack.network}.items():
        assert address in program
        program = program.replace(address, here)
    ended = subprocess.run(
        ["node", "--input-type=module", "--eval", f"{first}\n{program}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.sdk
def test_the_readmes_client_is_answered(stack: Stack) -> None:
    lines = run_example("echo.mjs", "README.md", stack, folder=CLIENT)
    assert (lines[0], lines[-1].split()[0]) == ("hello", "1000")


@pytest.mark.sdk
def test_the_sdks_client_is_answered(stack: Stack) -> None:
    """With the WebSocket that Node has from version 22 on."""
    lines = run_example("sdk.mjs", "docs/build/sdk.md", stack, folder=SDK, first='import "./globals.mjs";')
    assert (lines[0], lines[-1].split()[0]) == ("hello", "1000")


@pytest.mark.sdk
def test_the_page_with_a_script_tag_is_answered(stack: Stack, tmp_path: Path) -> None:
    page = (ROOT / "examples" / "echo.html").read_text()
    assert page in code("docs/build/page.md", "html")
    page = page.replace("ws://127.0.0.1:8080", stack.gateway).replace("http://127.0.0.1:4943", stack.network)
    (tmp_path / "echo.html").write_text(page)
    parameters = {"url": (tmp_path / "echo.html").as_uri(), "executable": shutil.which("chromium")}
    assert run_node("example_page.mjs", parameters)[-1] == {"event": "result", "received": "hello", "state": "open"}


def test_the_replicas_control_does_what_the_document_says(stack: Stack, tmp_path: Path) -> None:
    commands = [
        line for block in code("docs/build.md", "sh") for line in block.splitlines() if line.startswith("curl ")
    ]
    assert len(commands) == 5
    for command in commands:
        here = command.replace("http://127.0.0.1:4943", stack.network)
        assert here != command
        answer = subprocess.run(
            ["bash", "-c", f"{here} --fail --silent --show-error --noproxy '*'"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert answer.returncode == 0, (command, answer.stderr)
        json.loads(answer.stdout)
    http_post_json(f"{stack.network}/_/faults", {"clear": True})
