"""Memory that clients have used is given back: real processes, resident bytes as the kernel counts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from icwsgw.process.heap_trim import find_malloc_trim
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import connect, echoes, eventually, leave, sample

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
    pytest.mark.skipif(find_malloc_trim() is None, reason="another C library"),
]

CLIENTS = 50
SENT = 2_000_000
#: A first fragment that announces more than is sent.
HALF = b"\x02\xff" + (SENT + 50_000).to_bytes(8, "big") + bytes(4) + bytes(SENT)


def processes(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def resident(stack: Stack) -> int:
    """Resident bytes of a gateway and its workers."""
    pids = processes(stack.server.process.pid)
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("options", [(), ("--workers=2",)], ids=["one process", "workers"])
def test_the_memory_of_incomplete_messages_is_given_back(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack], options: tuple[str, ...]
) -> None:
    stack = stacks(*options, network=devnets().network)
    if options:
        # a worker that still starts grows by itself
        eventually(lambda: sample(stack, "icws_workers") == 2, "both workers are ready")
    bystander = connect(stack)
    before = resident(stack)

    def unfinished() -> float:
        return sample(stack, "icws_unfinished_bytes") or 0.0

    for _ in range(2):
        clients = [connect(stack) for _ in range(CLIENTS)]
        for client in clients:
            client.connection.socket.sendall(HALF)
        eventually(lambda: unfinished() >= CLIENTS * SENT, "the gateway holds the incomplete messages")
        assert resident(stack) > before + CLIENTS * SENT * 3 // 4
        leave(*clients)
        eventually(lambda: unfinished() == 0, "they have left")
    eventually(lambda: resident(stack) < before + CLIENTS * SENT // 3, "their memory is given back")
    echoes(bystander)
