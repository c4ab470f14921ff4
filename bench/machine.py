"""The circumstances of a measurement: the machine, the software versions, the commit and the date."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("Twisted", "autobahn", "treq", "cbor2", "PyNaCl", "cryptography", "pyOpenSSL"),
    *("service-identity", "prometheus-client", "pyblst", "uvloop"),
)
_ASK = """
import json, platform, sys
from importlib.metadata import version, PackageNotFoundError
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"python": platform.python_version(), "implementation": platform.python_implementation(),
                  "packages": found}))
"""


def software(python: str) -> dict[str, Any]:
    """Versions of an interpreter and of the packages that the gateway uses there."""
    return {**_versions(python), "commit": commit()}


@lru_cache
def _versions(python: str) -> dict[str, Any]:
    asked = subprocess.run([python, "-c", _ASK, *PACKAGES], capture_output=True, text=True, check=True, timeout=60)
    answer: dict[str, Any] = json.loads(asked.stdout)
    return answer


def commit() -> dict[str, Any]:
    """The checkout's commit, and whether the gateway's sources have uncommitted changes."""
    head = _git("rev-parse", "HEAD")
    return {"id": head, "changed": bool(_git("status", "--porcelain", "--", "icwsgw")) if head else None}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_kb": int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return ""


def now() -> str:
    """The current date and time in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
