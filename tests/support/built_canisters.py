"""Canisters in Rust below ``tests/canisters``, built when a test needs them (cargo, target wasm32-unknown-unknown)."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "canisters"
TARGET = "wasm32-unknown-unknown"


@functools.cache
def build(name: str) -> bytes:
    """Return the WebAssembly of a canister; cargo builds it where that has not been done.

    :raises AssertionError: cargo is missing, or fails; the text says why
    """
    cargo = shutil.which("cargo")
    assert cargo, f"cargo is needed to build canisters for tests, with the target {TARGET} (https://rustup.rs)"
    out = SOURCES / "target"
    out.mkdir(exist_ok=True)
    # processes that test side by side build one after the other
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [cargo, "build", "--release", "--locked", "--target", TARGET],
            cwd=SOURCES / name,
            env={**os.environ, "CARGO_TARGET_DIR": str(out)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return (out / TARGET / "release" / f"{name.replace('-', '_')}.wasm").read_bytes()
