"""Real processes for the acceptance tests: twistd with its output at hand, Node scripts that speak JSON lines.

Nothing here waits by sleeping for a guessed time. A server is ready when its readiness endpoint says so, a line is
waited for on a condition that the reading thread notifies, and every wait has a deadline whose passing shows the
whole output.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SDK = Path(__file__).resolve().parent / "sdk"
CLIENT = ROOT / "clients" / "js"

START_DEADLINE = 180.0
"""Seconds a server may take to be ready: importing Twisted takes one, and many where a dozen others are busy."""

STOP_DEADLINE = 90.0
"""Seconds a server may take to end after SIGTERM: more than the gateway's own drain window in these tests."""

#: Below the range that outgoing connections are given.
_PORTS = range(20_000, 32_000)
_LOCKS = Path(tempfile.gettempdir()) / f"icwsgw-tests-{os.getuid()}"
# Not of the module random's own generator: pytest-randomly sets that to the same state in each process of tests.
_dice = random.SystemRandom()
# open files, each the lock of a port that this process has given out
_chosen: dict[int, int] = {}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing uses, and that no other process of tests is given while this one lives."""
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = _dice.choice(_PORTS)
        if port in _chosen:
            continue
        lock = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        _chosen[port] = lock
        return port


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Hold a lock among all processes of tests on this machine, for what they share, such as installed packages."""
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    with (_LOCKS / hashlib.sha256(what.encode()).hexdigest()[:16]).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def http_get(url: str, timeout: float = 10.0) -> tuple[int, bytes]:
    """GET without proxies: status and body, whatever the status; raises OSError where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def http_post_json(url: str, value: object, timeout: float = 10.0) -> Any:
    """POST a JSON value; the answer's JSON, or None where its body is empty."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    with opener.open(request, timeout=timeout) as answer:
        body = answer.read()
    return json.loads(body) if body else None


class Server:
    """One ``twistd -n`` process.

    :ivar lines: what it has printed so far, stdout and stderr together
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        *,
        files: int | None = None,
        umask: int = -1,
    ) -> None:
        # the hard limit of open files as well: the gateway raises the soft one
        limited = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"] if files is not None else []
        twistd = Path(sys.executable).with_name("twistd")
        inherited = {
            name: value
            for name, value in os.environ.items()
            # the settings of this machine's programs are not meant for a gateway under test
            if not name.startswith(("ICWS_", "RUST_LOG")) and not name.lower().endswith("_proxy")
        }
        inherited["PYTHONPATH"] = str(ROOT)
        inherited["PYTHONUNBUFFERED"] = "1"
        self.arguments = list(arguments)
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*limited, str(twistd), "-n", "--pidfile=", *arguments],
            cwd=cwd,
            umask=umask,
            env={**inherited, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        with self._news:
            return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, timeout: float = START_DEADLINE) -> re.Match[str]:
        """The first line, already printed or to come, in which the pattern is found."""
        deadline = time.monotonic() + timeout
        seen = 0
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self.lines)
                self._wait_for_news(deadline, f"no line with {pattern!r}")

    def wait_until_ready(self, url: str, timeout: float = START_DEADLINE) -> None:
        """Ask the URL until it answers 200."""
        deadline = time.monotonic() + timeout
        last: object = "nothing"
        while True:
            try:
                last, _body = http_get(url, timeout=5.0)
            except OSError as error:
                last = error
            if last == 200:
                return
            with self._news:
                self._wait_for_news(deadline, f"{url} is not ready: {last}", pause=0.05)

    def _wait_for_news(self, deadline: float, complaint: str, pause: float = 1.0) -> None:
        left = deadline - time.monotonic()
        ended = self.process.poll()
        if ended is not None and not self._reader.is_alive():
            raise AssertionError(f"{complaint}; it ended with status {ended}\n" + "\n".join(self.lines))
        if left <= 0:
            raise AssertionError(f"{complaint} in time\n" + "\n".join(self.lines))
        self._news.wait(min(pause, left))

    def wait(self, timeout: float = STOP_DEADLINE) -> int:
        """Wait for the process to end by itself; its exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s\n{self.output}") from None
        self._reader.join(timeout)
        return status

    def stop(self, signal_number: int = signal.SIGTERM, timeout: float = STOP_DEADLINE) -> int:
        """Ask it to end and wait until it has; its exit status. SIGKILL, and a failure, where it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """End it at once, for fixtures that clean up after a failure."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(STOP_DEADLINE)


class NodeFailed(AssertionError):
    """A Node script that ended with an error; the message holds all its output."""


def node_modules(folder: Path = SDK) -> Path:
    """Install the packages of a folder's lock file where they are missing or older; return node_modules.

    Missing Node or npm is a failure, never a reason to skip.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise AssertionError(
                f"{tool} is needed for the JavaScript SDK's tests (Debian: apt-get install nodejs npm)"
            )
    with alone(str(folder)):
        return _node_modules(folder)


def _node_modules(folder: Path) -> Path:
    installed = folder / "node_modules" / ".package-lock.json"
    lock = folder / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"npm ci: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        installed.touch()
    return installed.parent


def run_node(
    script: str,
    parameters: Mapping[str, object],
    timeout: float = 600.0,
    *,
    on_event: Callable[[dict[str, Any]], object] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path = SDK,
) -> list[dict[str, Any]]:
    """Run a script to its end; the JSON objects it printed, the last its result.

    :param script: its path in the folder
    :param folder: that of its package.json
    :param on_event: called with each object when it comes, while the script runs
    :param environment: added to this process's own
    """
    node_modules(folder)
    events: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryFile("w+", errors="replace") as complaints,
        subprocess.Popen(
            ["node", script, json.dumps(parameters)],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        late = threading.Timer(timeout, process.kill)
        late.start()
        cut = ""
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    if not line.endswith("\n"):
                        # it was killed while it printed
                        cut = line
                        break
                    events.append(json.loads(line))
                    if on_event is not None:
                        on_event(events[-1])
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            late.cancel()
        complaints.seek(0)
        if status != 0 or cut or not events or events[-1].get("event") != "result":
            how = f"not done in {timeout} s" if status == -signal.SIGKILL else f"status {status}"
            output = "\n".join([*map(str, events), cut])
            raise NodeFailed(f"{script} {parameters}: {how}\n{output}\n{complaints.read()}")
    return events


class Oracle:
    """The JavaScript libraries in one Node process that answers line by line (sdk/oracle.mjs)."""

    def __init__(self) -> None:
        node_modules()
        self._process = subprocess.Popen(
            ["node", "oracle.mjs"],
            cwd=SDK,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, op: str, **request: object) -> Any:
        """One operation's answer; raises :class:`NodeFailed` with the library's words where it refuses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise NodeFailed(f"{op}: the oracle has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise NodeFailed(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        """End it: it stops at the end of its input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(STOP_DEADLINE)
        self._process.stdout.close()
