"""docs/python-client.md: the names it promises exist, and its program runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT

TEXT = (ROOT / "docs" / "python-client.md").read_text()
NAMES = sorted(set(re.findall(r"`(icwsgw(?:\.\w+)+)`", TEXT)))
#: Autobahn's two halves exclude each other in a process.
ELSEWHERE = "icwsgw.client.asyncio_client."


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if name.startswith(ELSEWHERE):
        assert f"class {attribute}" in (ROOT / (module.replace(".", "/") + ".py")).read_text()
        return
    try:
        found = getattr(import_module(module), attribute)
    except AttributeError:
        found = import_module(name)
    assert found.__doc__


def test_the_table_of_events_is_complete() -> None:
    events = (ROOT / "icwsgw" / "client" / "client_events.py").read_text()
    (union,) = re.findall(r"^ForApplication = (.*)$", events, re.M)
    rows = re.findall(r"^\| `(\w+)` \|", TEXT, re.M)
    assert set(rows) == set(union.split(" | "))


@pytest.mark.acceptance
def test_its_program_runs(stack: Stack) -> None:
    program = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)[0]
    for written, here in (("http://127.0.0.1:4943", stack.network), ("ws://127.0.0.1:8080", stack.gateway)):
        assert program.count(written) == 1
        program = program.replace(written, here)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("hello\n", "")
