"""The JavaScript client as a package: its own tests, types, size, and what is made from its sources."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.processes import CLIENT, ROOT, node_modules

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


def run(*command: str | Path, folder: Path = CLIENT) -> str:
    node_modules(CLIENT)
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass() -> None:
    assert "# fail 0" in run("npm", "test", "--silent")


def test_its_tests_pass_with_the_oldest_core_that_it_allows() -> None:
    """Libraries for logins still have @icp-sdk/core 5 as their peer."""
    peers = json.loads((CLIENT / "package.json").read_text())["peerDependencies"]
    oldest = json.loads((node_modules(CLIENT) / "oldest-core" / "package.json").read_text())
    assert oldest["name"] == "@icp-sdk/core"
    assert peers["@icp-sdk/core"].startswith(f"^{oldest['version']} ")
    assert "# fail 0" in run("node", "--import", "./test/oldest_core.js", "test/socket.test.js")


def test_its_types_are_those_of_its_sources(tmp_path: Path) -> None:
    for project in ("tsconfig.json", "tsconfig.testing.json"):
        run("npx", "--no-install", "tsc", "--project", project, "--outDir", tmp_path)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in (CLIENT / "types").iterdir()}, (
        "run npm run types in clients/js"
    )


def test_it_is_small_and_the_file_for_script_tags_is_made_from_it(tmp_path: Path) -> None:
    alone = json.loads(run("node", "build.mjs", "--size"))["gzipped"]
    assert alone < 60_000
    run("node", "build.mjs", tmp_path / "icws-client.js")
    served = ROOT / "icwsgw" / "devnet" / "static" / "icws-client.js"
    assert (tmp_path / "icws-client.js").read_bytes() == served.read_bytes(), (
        "run node build.mjs ../../icwsgw/devnet/static/icws-client.js in clients/js"
    )
    whole = len(gzip.compress(served.read_bytes()))
    for document in ("build.md", "build/page.md", "decisions/0065-javascript-client.md"):
        found = [float(size) * 1000 for size in re.findall(r"([\d.]+) kB", (ROOT / "docs" / document).read_text())]
        for size in (alone, whole):
            assert any(abs(shown - size) < 1000 for shown in found), f"{document} says {found}, not {size}"


def test_programs_of_both_kinds_and_bundlers_take_the_package(tmp_path: Path) -> None:
    """As npm would install it: only the files of the package, with its peers beside it."""
    (packed,) = json.loads(run("npm", "pack", "--ignore-scripts", "--json", "--pack-destination", tmp_path))
    modules = tmp_path / "node_modules"
    modules.mkdir()
    run("tar", "-xf", tmp_path / packed["filename"], "-C", modules)
    (modules / "package").rename(modules / "icws-client")
    for peer in ("@icp-sdk", "@dfinity", "@noble", "@scure", "asn1js", "pvtsutils", "pvutils", "tslib", "ws"):
        (modules / peer).symlink_to(CLIENT / "node_modules" / peer)
    use = 'new CanisterSocket({ gateway: "ws://127.0.0.1:9", canister: "aaaaa-aa" }).close(); console.log("made");'
    (tmp_path / "module.mjs").write_text(f'import {{ CanisterSocket }} from "icws-client";\n{use}\n')
    (tmp_path / "common.cjs").write_text(f'const {{ CanisterSocket }} = require("icws-client");\n{use}\n')
    for program in ("module.mjs", "common.cjs"):
        assert run("node", program, folder=tmp_path) == "made\n"
    typed = (tmp_path / "typed.ts", tmp_path / "tsconfig.json")
    typed[0].write_text(
        'import { CanisterSocket, ClientError, type CanisterMessageEvent } from "icws-client";\n'
        'const socket = new CanisterSocket({ gateway: "ws://127.0.0.1:9", canister: "aaaaa-aa", reconnect: false });\n'
        "socket.onmessage = (event: CanisterMessageEvent) => console.log(event.sequence + 1n);\n"
        'socket.addEventListener("error", ({ error }) => console.log((error satisfies ClientError).hint.length));\n'
        'if (socket.state === "open") socket.request([1], { timeoutMs: 1 }).then(console.log);\n'
        'import { startDevnet, type Gateway } from "icws-client/testing";\n'
        "export const places = (gateway: Gateway): string => gateway.places('echo').canister;\n"
        "startDevnet({ canisters: { own: 'own.wasm' } }).then((devnet) => devnet.advance(60));\n"
        "// @ts-expect-error a socket needs a gateway\n"
        'new CanisterSocket({ canister: "aaaaa-aa" });\n'
    )
    options = {"module": "nodenext", "target": "es2022", "lib": ["es2022", "dom"], "strict": True, "noEmit": True}
    typed[1].write_text(json.dumps({"compilerOptions": {**options, "types": []}, "files": ["typed.ts"]}))
    run(CLIENT / "node_modules" / ".bin" / "tsc", "-p", typed[1], folder=tmp_path)
    esbuild = CLIENT / "node_modules" / ".bin" / "esbuild"
    for platform in ("browser", "node"):
        out = f"{platform}.mjs"
        run(
            esbuild,
            "module.mjs",
            "--bundle",
            "--format=esm",
            f"--platform={platform}",
            f"--outfile={out}",
            folder=tmp_path,
        )
    assert run("node", "node.mjs", folder=tmp_path) == "made\n"
    assert "node:module" not in (tmp_path / "browser.mjs").read_text()
