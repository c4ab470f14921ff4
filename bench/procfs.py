"""Reads CPU times and memory of processes and of the machine from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def tree(pids: Iterable[int]) -> list[int]:
    """Return the running processes among the given ones and their descendants."""
    found: dict[int, None] = {}
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid in found or not os.path.exists(f"/proc/{pid}/stat"):
            continue
        found[pid] = None
        for thread in _threads(pid):
            todo += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return list(found)


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


class CpuMeter:
    """Measures the CPU time of processes and their descendants.

    The resolution is 1 ns if the kernel provides it, else one clock tick. A thread that has ended counts with its last
    known value.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._seen: dict[tuple[int, str], float] = {}

    def seconds(self) -> float:
        """CPU time up to now in seconds; only differences are meaningful."""
        for pid in tree(self._pids):
            for thread in _threads(pid):
                taken = _thread_seconds(pid, thread)
                if taken is not None:
                    self._seen[pid, thread] = taken
        return sum(self._seen.values())

    def waited(self) -> float:
        """Seconds that the processes have waited for a CPU since their start because other processes used it."""
        return sum(
            int(fields[1]) / 1e9
            for pid in tree(self._pids)
            for thread in _threads(pid)
            if len(fields := _read(f"/proc/{pid}/task/{thread}/schedstat").split()) > 1
        )


def _thread_seconds(pid: int, thread: str) -> float | None:
    fields = _read(f"/proc/{pid}/task/{thread}/schedstat").split()
    if fields:
        return int(fields[0]) / 1e9
    stat = _read(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICK if len(stat) > 12 else None


def memory(pids: Iterable[int]) -> dict[str, int]:
    """Return the total resident and proportional set sizes of the processes and their descendants, in kB."""
    rss = pss = 0
    for pid in tree(pids):
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Pss:"):
                pss += int(line.split()[1])
    return {"rss_kb": rss, "pss_kb": pss}


def machine_seconds() -> tuple[float, float]:
    """Return the CPU time of the whole machine in seconds: busy and idle, summed over all CPUs."""
    line = _read("/proc/stat").partition("\n")[0]
    fields = [int(field) for field in line.split()[1:]]
    idle = fields[3] + fields[4]
    # User time includes guest time.
    return (sum(fields[:8]) - idle) / _TICK, idle / _TICK
