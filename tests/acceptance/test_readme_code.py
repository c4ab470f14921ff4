"""The code of the README and the commands of docs/build.md, run against a gateway with the embedded replica."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT, SDK, http_post_json, node_modules

pytestmark = pytest.mark.acceptance


def code(document: str, language: str) -> list[str]:
    """The blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.M | re.S)


@pytest.mark.sdk
def test_the_readmes_client_is_answered(stack: Stack) -> None:
    """As it stands there, with other ports, and the WebSocket that Node has from version 22 on."""
    node_modules()
    (program,) = code("README.md", "js")
    replaced = {"ws://127.0.0.1:8080": stack.gateway, "http://127.0.0.1:4943": stack.network}
    for address, here in replaced.items():
        assert address in program
        program = program.replace(address, here)
    ended = subprocess.run(
        ["node", "--input-type=module", "--eval", f'import "./globals.mjs";\n{program}'],
        cwd=SDK,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = ended.stdout.splitlines()
    assert (lines[0], lines[-1].split()[0], ended.returncode) == ("hello", "1000", 0), ended.stderr


def test_the_replicas_control_does_what_the_document_says(stack: Stack, tmp_path: Path) -> None:
    commands = [
        line for block in code("docs/build.md", "sh") for line in block.splitlines() if line.startswith("curl ")
    ]
    assert len(commands) == 4
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
