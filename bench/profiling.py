"""Profiles the gateway in a scenario, with cProfile (twistd's option --profile) or py-spy.

cProfile counts every call. It slows Python code down by a factor of two or three, but C code hardly. Its counts are
exact; its times are distorted, so only their order is useful. py-spy samples from outside and does not slow the gateway
down, but needs permission for ptrace.
"""

from __future__ import annotations

import io
import os
import pstats
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench.gateway import BenchError, GatewayOptions
from bench.lab import Lab
from bench.machine import ROOT
from bench.options import RunOptions
from bench.scenarios import SCENARIOS

_LEAST_SHARE = 0.01
_DEPTH = 24


def profile(options: RunOptions, gateway: GatewayOptions, profiler: str, top: int, keep: Path | None) -> str:
    """Run a scenario under a profiler and return the tables as text.

    :raises BenchError: the profiler has written no profile
    """
    with tempfile.TemporaryDirectory(prefix="icwsgw-profile-") as folder:
        raw = Path(folder) / "profile"
        if profiler == "cprofile":
            _run(options, replace(gateway, twistd=[*gateway.twistd, *_twistd_options(raw)]))
            text = cprofile_tables(raw, top)
        else:
            _run_sampled(options, gateway, raw)
            text = sample_tables(raw.read_text(), top)
        if keep is not None:
            shutil.copyfile(raw, keep)
    return text


def _twistd_options(raw: Path) -> list[str]:
    return [f"--profile={raw}", "--profiler=cprofile", "--savestats"]


def _run(options: RunOptions, gateway: GatewayOptions) -> None:
    with Lab(gateway, config=options.config, load_processes=options.load_processes) as lab:
        SCENARIOS[options.scenario](lab, options)


def _run_sampled(options: RunOptions, gateway: GatewayOptions, raw: Path) -> None:
    tool = shutil.which("py-spy") or str(Path(gateway.python).with_name("py-spy"))
    if not os.path.exists(tool):
        raise BenchError("py-spy is not installed")
    output: list[str] = []
    with Lab(gateway, config=options.config, load_processes=options.load_processes) as lab:
        assert lab.gateway is not None
        sampler = subprocess.Popen(
            [tool, "record", f"--pid={lab.gateway.pids[0]}", "--rate=200", "--format=raw", f"--output={raw}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=lambda: output.append(sampler.communicate()[0]))
        reader.start()
        SCENARIOS[options.scenario](lab, options)
        # py-spy writes its output when the watched process ends.
        lab.gateway.stop()
        reader.join(30.0)
    if not raw.exists():
        raise BenchError("py-spy gave no profile: " + "".join(output)[-500:])


def cprofile_tables(raw: Path, top: int) -> str:
    """List the functions with the most time, without and with their callees, and the callers of the first ones.

    :raises BenchError: the file is not a profile
    """
    try:
        stats = pstats.Stats(str(raw), stream=io.StringIO())
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise BenchError(f"no profile was written: {error}") from None
    entries = stats.stats  # type: ignore[attr-defined]
    whole = sum(own for _, _, own, _, _ in entries.values()) or 1.0
    parts = [f"{whole:.2f} s in all, the wait for events included"]
    for title, column in (("by itself", 2), ("with what it calls", 3)):
        parts.append(f"\n{title:>22}  {'share':>6}  {'calls':>9}  {'us/call':>8}  function")
        for function, entry in sorted(entries.items(), key=lambda item: -item[1][column])[:top]:
            seconds, calls = entry[column], entry[1]
            parts.append(
                f"{seconds:20.3f} s  {100 * seconds / whole:5.1f}%  {calls:9d}  {1e6 * seconds / max(calls, 1):8.1f}  "
                f"{_where(function)}"
            )
    parts.append("\ncallers of those that take most by themselves")
    for function, entry in sorted(entries.items(), key=lambda item: -item[1][2])[: min(top, 12)]:
        parts.append(_where(function))
        callers = sorted(entry[4].items(), key=lambda item: -item[1][2])[:4]
        parts += [f"    {100 * part[2] / (entry[2] or 1):5.1f}%  {_where(caller)}" for caller, part in callers]
    return "\n".join(parts)


def _where(function: tuple[str, int, str]) -> str:
    path, line, name = function
    if path == "~":
        return name
    return f"{name}  {_short(path)}:{line}"


def _short(path: str) -> str:
    path = path.removeprefix(str(ROOT) + "/")
    return path.partition("site-packages/")[2] or path


def sample_tables(raw: str, top: int) -> str:
    """List functions by samples, and the tree of stacks. Input lines have the form ``frame;frame;... count``."""
    stacks: list[tuple[list[str], int]] = []
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        if number.isdigit():
            stacks.append(([_short(frame) for frame in stack.split(";")], int(number)))
    whole = sum(count for _, count in stacks)
    if not whole:
        raise BenchError("the profile has no samples")
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, count in stacks:
        own[frames[-1]] += count
        for frame in set(frames):
            below[frame] += count
    parts = [f"{whole} samples"]
    for title, counts in (("by itself", own), ("with what it calls", below)):
        parts.append(f"\n{title}")
        parts += [f"{100 * count / whole:6.1f}%  {frame}" for frame, count in counts.most_common(top)]
    parts.append("\nstacks")
    parts += _tree(stacks, whole, 0)
    return "\n".join(parts)


def _tree(stacks: list[tuple[list[str], int]], whole: int, depth: int) -> list[str]:
    branches: dict[str, list[tuple[list[str], int]]] = {}
    for frames, count in stacks:
        if len(frames) > depth:
            branches.setdefault(frames[depth], []).append((frames, count))
    sizes = {frame: sum(count for _, count in branch) for frame, branch in branches.items()}
    lines = []
    for frame, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size / whole >= _LEAST_SHARE:
            lines.append(f"{100 * size / whole:6.1f}%  {'| ' * depth}{frame}")
            if depth < _DEPTH:
                lines += _tree(branches[frame], whole, depth + 1)
    return lines
