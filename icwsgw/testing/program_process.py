"""A program of this package in a process of its own, on ports that nothing else uses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from icwsgw.blocking_http import request
from icwsgw.errors import IcwsError, TransportError

#: Seconds until a program has to be ready, and until it has to end.
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 30.0
#: Another program may take a port between its choice and its use.
_ATTEMPTS: Final = 5
_POLL_S: Final = 0.05
_MAX_ANSWER: Final = 64 << 20
_MAX_LINES: Final = 10_000
_TAKEN: Final = "already in use"


class StartFailed(IcwsError):
    """A program did not start; the text has its last lines."""


class ControlRefused(IcwsError):
    """A program refused a request; the text has the reason."""


def free_ports(count: int) -> list[int]:
    """Return TCP ports of 127.0.0.1 that nothing uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def loopback_endpoint(port: int) -> str:
    """Return a port of this machine as an option of the programs."""
    return f"tcp:{port}:interface=127.0.0.1"


def request_json(url: str, value: object = None, timeout: float = 30.0) -> Any:
    """Return the JSON that a URL of this machine answers, without proxies.

    :param value: is sent as JSON; None: a GET
    :raises ControlRefused: it answers with an error, or with no JSON
    :raises OSError: nothing answers, or the answer is not complete
    """
    body = None if value is None else json.dumps(value).encode()
    try:
        answer = request(
            url, body, timeout=timeout, max_bytes=_MAX_ANSWER, content_type="application/json", direct=True
        )
    except TransportError as error:
        raise OSError(f"{url}: {error}") from error
    text = answer.body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
        if answer.status < 300:
            return document
        text = document["error"]
    except (ValueError, KeyError, TypeError):
        if answer.status < 300:
            raise ControlRefused(f"{url} answers with no JSON: {text[:300]}") from None
    raise ControlRefused(f"{url}: {text}")


class ProgramProcess:
    """One running program.

    :param arguments: its name and its options
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        # what is set for the gateways of this machine is not meant for tests
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ICWS_")}
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "icwsgw.testing.child_program", *arguments],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip("\n"))

    @property
    def lines(self) -> list[str]:
        """What it has printed, the last 10,000 lines."""
        return list(self._lines)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until_ready(self, url: str) -> None:
        """Wait until a URL answers 200.

        :raises StartFailed: it ended, or is not ready in time
        """
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            running, ready = self.is_running, False
            try:
                ready = request(url, timeout=5.0, max_bytes=_MAX_ANSWER, direct=True).status == 200
            except TransportError:
                pass
            # Without this process, it is another one that answers.
            if ready and self.is_running:
                return
            if not running or time.monotonic() > deadline:
                self.end(kill=True)
                raise StartFailed("\n".join(["it did not start:", *self.lines[-20:]]))
            time.sleep(_POLL_S)

    def end(self, *, kill: bool = False) -> int:
        """End it and return its exit status; a program that has ended may be ended again.

        :param kill: at once, without a chance to say goodbye
        """
        if kill:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(STOP_TIMEOUT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status


def started(
    count: int, command: Callable[[Sequence[int]], tuple[list[str], str]]
) -> tuple[ProgramProcess, Sequence[int]]:
    """Start a program on free ports and wait until it is ready.

    :param count: how many ports it needs
    :param command: takes the ports and returns the arguments and the URL that says when it is ready
    :raises StartFailed: it ended, or is not ready in time
    """
    for attempt in range(1, _ATTEMPTS + 1):
        ports = free_ports(count)
        arguments, url = command(ports)
        process = ProgramProcess(arguments)
        try:
            process.wait_until_ready(url)
        except StartFailed as failure:
            if _TAKEN not in str(failure) or attempt == _ATTEMPTS:
                raise
        else:
            break
    return process, ports
