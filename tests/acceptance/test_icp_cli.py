"""icp-cli, unmodified, against the local replica: a developer deploys, calls, upgrades and deletes a canister."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from icwsgw.ic import cbor
from tests.acceptance.conftest import start_devnet
from tests.acceptance.processes import ROOT, http_get, node_modules
from tests.devnet.wasm.support import greeting, section

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

TOOL = ROOT / "tests" / "acceptance" / "icp"
PROJECT = """\
canisters:
  - name: hello
    build:
      steps:
        - type: pre-built
          path: hello.wasm
networks:
  - name: local
    mode: connected
    url: {url}
    root-key: {key}
"""


class Developer:
    """Somebody with a project, who knows nothing of this repository."""

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        key = cbor.loads(http_get(f"{network}/api/v2/status")[1])["root_key"].hex()
        (self.folder / "icp.yaml").write_text(PROJECT.format(url=network, key=key))
        self.wrote(greeting())

    def wrote(self, wasm: bytes) -> None:
        (self.folder / "hello.wasm").write_bytes(wasm)

    def icp(self, *words: str, fails: bool = False) -> str:
        """Run the tool; what it says."""
        done = subprocess.run(
            [str(node_modules(TOOL) / "@icp-sdk/icp-cli-linux-x64/bin/icp"), *words, "-e", "local"],
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.home), "DO_NOT_TRACK": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, f"icp {' '.join(words)}: {output}"
        return output


def test_a_developer_works_with_a_canister(tmp_path: Path) -> None:
    devnet = start_devnet(tmp_path)
    try:
        developer = Developer(tmp_path, devnet.network)
        icp = developer.icp
        assert "Created canister hello with ID be2us-64aaa-aaaaa-qaabq-cai" in icp("deploy")
        assert icp("canister", "call", "hello", "greet", "()", "--query").strip() == '("hi")'
        assert icp("canister", "call", "hello", "shout", "()").strip() == '("hi")'
        logs = icp("canister", "logs", "hello")
        assert [line.partition("]: ")[2] for line in logs.splitlines()] == ["hello from the canister", "hello"]
        # more than a message holds: in chunks, as an upgrade
        developer.wrote(greeting(section("padding", bytes(range(256)) * 10_000) + section("icp:private secret", b"s")))
        icp("deploy")
        status = icp("canister", "status", "hello")
        assert "Status: Running" in status
        assert "PUBLIC_CANISTER_ID:hello" in status
        assert icp("canister", "metadata", "hello", "secret").strip() == "s"
        icp("canister", "settings", "update", "hello", "--freezing-threshold", "3000000")
        assert "3_000_000" in icp("canister", "settings", "show", "hello")
        icp("canister", "top-up", "hello", "--amount", "1t")
        icp("canister", "stop", "hello")
        assert "is stopped" in icp("canister", "call", "hello", "greet", "()", fails=True)
        assert "keeps no snapshots" in icp("canister", "snapshot", "create", "hello", fails=True)
        # it installs a canister of its own, which brings the cycles back
        assert "Recovered" in icp("canister", "delete", "hello")
        assert "Created canister hello" in icp("deploy")
        assert icp("canister", "call", "hello", "greet", "()").strip() == '("hi")'
    finally:
        devnet.server.kill()
