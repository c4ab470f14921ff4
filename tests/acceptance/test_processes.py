"""What processes of tests that run side by side share: ports, installed packages."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.acceptance import processes
from tests.acceptance.processes import ROOT, alone, free_port


def in_another_process(code: str) -> str:
    setup = "import random; from tests.acceptance import processes; random.seed(1)"
    done = subprocess.run(
        [sys.executable, "-c", f"{setup}; {code}"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_port_is_given_to_one_process_at_a_time() -> None:
    held, given_back = free_port(), free_port()
    os.close(processes._chosen.pop(given_back))
    ask = f"processes._PORTS = [{held}, {given_back}]; print(processes.free_port())"
    assert in_another_process(ask) == str(given_back)


def test_ports_do_not_follow_from_a_seed() -> None:
    """pytest-randomly gives the module random the same seed in each process, at each test."""
    ask = "print([processes.free_port() for _ in range(3)])"
    assert in_another_process(ask) != in_another_process(ask)


def test_what_is_shared_is_used_by_one_at_a_time() -> None:
    with alone("the test's own"):
        ask = (
            "import fcntl, hashlib; "
            "name = hashlib.sha256(b'the test\\'s own').hexdigest()[:16]; "
            "lock = (processes._LOCKS / name).open('w'); "
            "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        code = f"import contextlib\nwith contextlib.suppress(BlockingIOError):\n    {ask}\n    print('taken')"
        done = subprocess.run(
            [sys.executable, "-c", f"from tests.acceptance import processes\n{code}"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    assert done.stdout == ""
