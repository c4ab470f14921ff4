"""Builds the canisters in Rust that tests need (cargo, target wasm32-unknown-unknown).

Their sources are below ``tests/canisters`` and ``examples``; they share one target directory of cargo.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.processes import node_modules

SOURCES = Path(__file__).parents[1] / "canisters"
TARGET = "wasm32-unknown-unknown"
#: Where cargo puts what it makes (``CARGO_TARGET_DIR``).
OUT = SOURCES / "target"


@functools.cache
def build(name: str) -> bytes:
    """Return the WebAssembly of a canister; cargo builds it if it is missing or old.

    :raises AssertionError: cargo is missing, or fails; the text says why
    """
    run_cargo(["cargo", "build", "--release", "--locked", "--target", TARGET], SOURCES / name)
    return built(name).read_bytes()


@functools.cache
def build_motoko(name: str, source: str) -> bytes:
    """Return the WebAssembly of a canister in Motoko; the package.json in its folder names the compiler.

    :raises AssertionError: npm or Node is missing, or the compiler fails; the text says why
    """
    folder = SOURCES / name
    OUT.mkdir(exist_ok=True)
    out = OUT / f"{source}.wasm"
    with (OUT / "motoko lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max((folder / each).stat().st_mtime for each in (source, "package-lock.json", "compile.mjs"))
        if not out.exists() or out.stat().st_mtime < newest:
            node_modules(folder)
            command = ["node", "compile.mjs", source, str(out)]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
    return out.read_bytes()


def built(name: str) -> Path:
    """Return the path to which cargo writes the WebAssembly of a package."""
    return OUT / TARGET / "release" / f"{name.replace('-', '_')}.wasm"


def run_cargo(command: Sequence[str], folder: Path) -> None:
    """Run cargo with :data:`OUT` as its target directory.

    :raises AssertionError: cargo is missing, or fails; the text says why
    """
    path = f"{os.environ.get('PATH', '')}{os.pathsep}{Path.home() / '.cargo' / 'bin'}"
    cargo = shutil.which(command[0], path=path)
    assert cargo, f"cargo is needed to build canisters for tests, with the target {TARGET} (https://rustup.rs)"
    OUT.mkdir(exist_ok=True)
    # Test processes that run side by side build one after another.
    with (OUT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [cargo, *command[1:]],
            cwd=folder,
            env={**os.environ, "PATH": path, "CARGO_TARGET_DIR": str(OUT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
