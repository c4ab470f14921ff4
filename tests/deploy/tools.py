"""The programs that read the files of deploy/, and what the gateway understands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from icwsgw.config.schema import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

#: Environment variables that mean something to the gateway or its image.
VARIABLES = {
    *(entry.variable for entry in OPTIONS),
    *(name for entry in OPTIONS for name in entry.variables),
    "ICWS_CONFIG",
    "ICWS_HEALTH_URL",
    "RUST_LOG_TELEMETRY",
}

# Debian puts servers where only root's path leads.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def tool(command: str, package: str) -> str:
    """The path of a program; its absence is a failure, never a reason to skip."""
    found = shutil.which(command, path=_PATH)
    assert found, f"{command} is needed for the tests of deploy/ (Debian: apt-get install {package})"
    return found


def run(*words: object, status: int = 0, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program to its end; returns its output, both streams. Any other status is a failure."""
    done = subprocess.run(
        [str(word) for word in words],
        env={"PATH": _PATH, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **(environment or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}"
    return done.stdout


def read_yaml(path: Path) -> Any:
    """The only document of a YAML file."""
    return yaml.safe_load(path.read_text())


def read_environment(text: str) -> dict[str, str]:
    """The variables of an environment file, as compose and systemd read it."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def stub(directory: Path, name: str, script: str = "") -> Path:
    """A program that writes its name and words to ``calls`` beside it, one call a line, and then runs ``script``."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f'#!/bin/sh\necho {name} "$@" >> "{directory}/calls"\n{script}\n')
    path.chmod(0o755)
    return path


def calls(directory: Path) -> list[str]:
    """What was called."""
    log = directory / "calls"
    return log.read_text().splitlines() if log.exists() else []
