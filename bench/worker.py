"""The bench's processes: ``python -m bench.worker load`` and ``... replica``.

A load process reads commands as JSON lines on stdin and answers each with a line on stdout. The replica prints its port
and then receives commands over HTTP (bench/control.py). Both end at the end of stdin.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from bench.crowd import Crowd
from bench.loads import Flow, Messages, churn, echo
from bench.loop import Loop
from bench.queues import Settings
from bench.replica import Replica


class Lines:
    """Commands from stdin."""

    def __init__(self, loop: Loop, handle: Callable[[dict[str, Any]], object]) -> None:
        self._loop = loop
        self._handle = handle
        self._data = b""
        loop.add(0, self)

    def on_readable(self) -> None:
        """Read commands."""
        data = os.read(0, 1 << 20)
        if not data:
            self._loop.stop()
            return
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))

    def on_writable(self) -> None:
        """Never called."""


def answer(message: dict[str, Any]) -> None:
    """Write a JSON line on stdout for the coordinator."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class LoadProcess:
    """A process that runs clients."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._crowd: Crowd | None = None

    @property
    def crowd(self) -> Crowd:
        """The clients; available after the command ``begin``."""
        assert self._crowd is not None
        return self._crowd

    def handle(self, command: dict[str, Any]) -> None:
        """Execute a command."""
        name = command.pop("do")
        getattr(self, "_do_" + name)(**command)

    def _do_begin(self, url: str, seed: str, root_key: str, verify_every: int, linger: float) -> None:
        self._crowd = Crowd(self._loop, url, seed, bytes.fromhex(root_key), verify_every, linger)
        self._messages = Messages(self._crowd)
        answer({"pid": os.getpid()})

    def _do_open(self, **options: Any) -> None:
        self.crowd.open(options.pop("clients"), answer, **options)

    def _do_churn(self, **options: Any) -> None:
        churn(self.crowd, answer, **options)

    def _do_close(self, **options: Any) -> None:
        self.crowd.close(answer, **options)

    def _do_prepare(self, **options: Any) -> None:
        self._messages.prepare(answer, **options)

    def _do_send(self, **options: Any) -> None:
        self._messages.send(answer, **options)

    def _do_echo(self, **options: Any) -> None:
        echo(self.crowd, answer, **options)

    def _do_sign(self, rate: float, size: int, ahead: int) -> None:
        """Prepare a flow."""
        self._flow = Flow(self.crowd, rate, size)
        self._flow.sign(answer, ahead)

    def _do_flow(self, base_ns: int, fine: bool = True) -> None:
        self._loop.fine = fine
        self._flow.begin(base_ns)
        answer({})

    def _do_stop_flow(self) -> None:
        answer({"sent": self._flow.stop()})

    def _do_longest(self) -> None:
        """Return the longest latency of each client (by index) since the last time, and how late this process was."""
        longest, self.crowd.longest = self.crowd.longest, {}
        answer({"longest": longest, "latest_ms": self._loop.take_latest() * 1000})

    def _do_read(self, indexes: list[int], reading: bool) -> None:
        self.crowd.read(indexes, reading)
        answer({})

    def _do_base(self, base_ns: int) -> None:
        self.crowd.base_ns = base_ns
        answer({})

    def _do_clear(self) -> None:
        self.crowd.clear()
        answer({})

    def _do_snapshot(self) -> None:
        answer(self.crowd.snapshot())


def raise_file_limit() -> None:
    """Raise this process's limit of open files to the maximum that the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str]) -> None:
    """Run one of the processes."""
    raise_file_limit()
    loop = Loop()
    if arguments[0] == "load":
        Lines(loop, LoadProcess(loop).handle)
    else:
        options = json.loads(arguments[1])
        settings = Settings(**options.get("settings", {}))
        replica = Replica(loop, (options.get("host", "127.0.0.1"), options.get("port", 0)), settings)
        answer({"port": replica.port, "pid": os.getpid(), "root_key": replica.authority.root_key_der.hex()})
        if not options.get("alone"):
            Lines(loop, lambda _: None)
    # A garbage collection over tens of thousands of live objects would interrupt the load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with contextlib.suppress(KeyboardInterrupt):
        loop.run()


if __name__ == "__main__":
    main(sys.argv[1:])
