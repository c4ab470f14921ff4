"""Generates the pictures in docs/images: the demo page, and the status page of two workers under load.

    PYTHONPATH=. .venv/bin/python scripts/screenshots.py demo
    PYTHONPATH=. .venv/bin/python scripts/screenshots.py status [seconds]

Before the pictures of the status page, the load runs for the given seconds (default: 660, so that the curves have
their full length). It consists of a few dozen clients of several canisters, one of which fails for a while. The script
needs the requirements of the browser tests, and Pillow, which matplotlib installs.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack, start_devnet, start_stack
from tests.acceptance.crowd import connect, echoes, leave
from tests.acceptance.processes import ROOT, free_port, http_post_json, run_node
from tests.support.raw_client import RawSdkClient

IMAGES = ROOT / "docs" / "images"
#: The number of clients of each canister.
CROWDS = (14, 9, 6, 3, 1)


def canister(number: int) -> str:
    """Return the id of one of the replica's canisters; the replica creates an echo canister for an unused id."""
    return Principal(b"\x00\x00\x00\x00\x00\x90" + bytes((number,)) + b"\x01\x01\x01").text


class Load:
    """Clients that connect, send at varying rates and disconnect, until :meth:`stop`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._live, args=(canister(number), random.Random(100 * number + each)), daemon=True
            )
            for number, count in enumerate(CROWDS)
            for each in range(count)
        ]

    def start(self) -> None:
        """Start the clients, one after the other."""
        for thread in self._threads:
            thread.start()
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the clients."""
        self._over.set()

    def _live(self, canister_id: str, chance: random.Random) -> None:
        # Clients that still run at the end lose their connection because the gateway has stopped.
        with contextlib.suppress(AssertionError, OSError):
            while not self._over.is_set():
                client = connect(self._stack, canister=canister_id)
                self._talk(client, time.monotonic() + chance.uniform(60, 400), chance)
                leave(client)
                self._over.wait(chance.uniform(0, 60))

    def _talk(self, client: RawSdkClient, end: float, chance: random.Random) -> None:
        while time.monotonic() < end and not self._over.is_set():
            echoes(client)
            busy = 1.2 + math.sin(time.monotonic() / 40) + 0.4 * math.sin(time.monotonic() / 11)
            self._over.wait(chance.expovariate(0.5 * max(0.1, busy)))


def chromium() -> str:
    """Return the path of the browser."""
    executable = shutil.which("chromium")
    assert executable is not None, "chromium is needed (Debian: apt-get install chromium)"
    return executable


def shrink(source: Path, target: Path) -> None:
    """Save a picture with 256 colours, which suffice for flat areas and take a third of the bytes."""
    picture = Image.open(source).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(target, optimize=True)


def demo() -> None:
    """Exchange messages with the echo canister on the demo page, as its test does, and take the picture."""
    with tempfile.TemporaryDirectory() as directory:
        devnet = start_devnet(Path(directory), "--ack-interval=4000")
        stack = start_stack(Path(directory), network=devnet.network)
        try:
            parameters = {"url": stack.network, "gateway": stack.gateway, "screenshots": directory}
            dead = f"ws://127.0.0.1:{free_port()}"
            run_node("page.mjs", {**parameters, "executable": chromium(), "deadLink": dead})
            shrink(Path(directory) / "desk.png", IMAGES / "demo.png")
        finally:
            stack.server.kill()
            devnet.server.kill()


def status(seconds: float) -> None:
    """Run the load, then take the pictures."""
    executable = chromium()
    with tempfile.TemporaryDirectory() as directory:
        stack = start_stack(Path(directory), "--workers=2", "--identities=2")
        try:
            load = Load(stack)
            load.start()
            config = {"query_latency_ms": 60, "call_latency_ms": 900, "call_jitter_ms": 400}
            http_post_json(f"{stack.network}/_/config", config)
            time.sleep(max(0.0, seconds - 30))
            fault = {"kind": "http", "status": 503, "on": "query", "canister": canister(3), "count": 10_000}
            http_post_json(f"{stack.network}/_/faults", fault)
            time.sleep(20)
            shots = [
                {"path": "status-page.png", "width": 1200, "height": 1160},
                {"path": "status-page-phone.png", "width": 360, "height": 740, "phone": True, "dark": True},
            ]
            for shot in shots:
                shot["path"] = str(IMAGES / str(shot["path"]))
            run_node("screenshots.mjs", {"url": f"{stack.admin}/", "executable": executable, "shots": shots})
            for shot in shots:
                shrink(Path(str(shot["path"])), Path(str(shot["path"])))
            load.stop()
        finally:
            stack.server.kill()


if __name__ == "__main__":
    if sys.argv[1] == "demo":
        demo()
    else:
        status(float(sys.argv[2]) if len(sys.argv) > 2 else 660.0)
