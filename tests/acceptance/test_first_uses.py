"""docs/build/first-echo.md as it stands: each section in an empty folder outside of the checkout, up to the echo."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT, alone, run_node
from tests.acceptance.test_demo_page import chromium

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

PAGE = (ROOT / "docs" / "build" / "first-echo.md").read_text()
#: What a section has, in its order: a name of a file, the file, or commands.
PARTS = re.compile(r"[Ww]rite `(\S+)`|and `(\S+)`:|^<!-- \S+ -->\n```\w+\n(.*?)^```$|^```sh\n(.*?)^```$", re.M | re.S)
NEEDED = ("icwsgw/", "twisted/", "docs/man/", "clients/js/")
DEADLINE = 600


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has, as in a fresh clone: pip and npm leave files where they install from."""
    folder = tmp_path_factory.mktemp("clone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        if ("/" not in name or name.startswith(NEEDED)) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def steps(section: str) -> Iterator[tuple[str, str]]:
    """The files to write and the commands to give, in their order: name and content, or "" and a command."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    name = None
    for named, also, content, commands in PARTS.findall(text):
        if named or also:
            name = named or also
        elif content:
            assert name is not None
            yield name, content
            name = None
        else:
            yield from (("", command) for command in commands.splitlines())


class FirstUse:
    """One section, step by step.

    :ivar printed: what the last command printed
    :ivar seconds: all steps together
    """

    def __init__(self, folder: Path, clone: Path, stack: Stack) -> None:
        self.folder = folder
        self._places = {"ws://127.0.0.1:8080": stack.gateway, "http://127.0.0.1:4943": stack.network}
        self._clone = str(clone)
        self._began = time.monotonic()
        # the variables of the tests' own environment would lead Python, and colours the tests, astray
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.environment |= {"NO_COLOR": "1", "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self._cpu = self._children()
        self.printed = ""

    def run(self, name: str, content: str) -> None:
        """Write a file, or run a command to its end."""
        if name:
            for written, here in self._places.items():
                content = content.replace(written, here)
            (self.folder / name).write_text(content)
            return
        done = subprocess.run(
            self.command(content),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{content}\n{done.stdout}\n{done.stderr}"
        self.printed = done.stdout

    def _children(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def command(self, words: str) -> list[str]:
        return ["bash", "-c", words.replace("GATEWAY", self._clone)]

    def report(self, name: str) -> None:
        """For the table of the page: ``pytest -s`` shows it."""
        size = sum(path.lstat().st_size for path in self.folder.rglob("*")) / 1e6
        seconds, cpu = time.monotonic() - self._began, self._children() - self._cpu
        print(f"\n{name}: {seconds:.1f} s, {cpu:.1f} s of CPU, {size:.0f} MB")


@pytest.fixture
def use(clone: Path, stack: Stack, tmp_path: Path) -> Iterator[FirstUse]:
    # two at once on a small machine would show times that no builder sees
    with alone("first uses"):
        yield FirstUse(tmp_path, clone, stack)


def test_node(use: FirstUse) -> None:
    for step in steps("Node"):
        use.run(*step)
    assert use.printed.split()[:2] == ["hello", "1000"]
    use.report("Node")


@pytest.mark.long
def test_python(use: FirstUse) -> None:
    for step in steps("Python"):
        use.run(*step)
    assert use.printed == "hello\n"
    use.report("Python")


def test_vite(use: FirstUse) -> None:
    *before, (_, serve) = steps("A page with Vite")
    for step in before:
        use.run(*step)
    assert serve == "npx vite"
    with subprocess.Popen(
        use.command(f"exec {serve}"),
        cwd=use.folder,
        env=use.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as server:
        # npx starts another process, which does not always end with it
        late = threading.Timer(DEADLINE, os.killpg, (server.pid, signal.SIGKILL))
        late.start()
        try:
            assert server.stdout is not None
            printed = []
            for line in server.stdout:
                printed.append(line)
                if found := re.search(r"Local: +(http://\S+)", line):
                    break
            else:
                raise AssertionError("".join(printed))
            result = run_node("example_page.mjs", {"url": found[1], "executable": chromium()})[-1]
            use.report("Vite")
        finally:
            late.cancel()
            os.killpg(server.pid, signal.SIGTERM)
    assert result == {"event": "result", "received": "hello", "state": "open"}


def test_the_page_has_what_the_tests_run() -> None:
    assert [name for name, _ in steps("Node") if name] == ["echo.mjs"]
    assert [name for name, _ in steps("A page with Vite") if name] == ["index.html", "main.js"]
    assert [command for name, command in steps("Python") if not name] == [
        "python3 -m venv .venv",
        ".venv/bin/pip install GATEWAY",
        ".venv/bin/python echo.py",
    ]
