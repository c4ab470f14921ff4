"""Upgrades of a gateway under load: what clients notice, how long they wait, and how long each stage takes.

    python -m bench.upgrade                                             # 1,000 clients, five upgrades
    python -m bench.upgrade --clients 10000 --rate 2000 --upgrades 20   # the goal
    python -m bench.upgrade --other OTHER/bin/python                    # between two installations, back and forth
    python -m bench.upgrade --option=--workers=2 --option=--identities=2

Clients send messages at a rate, and the canister sends each one back. Meanwhile the gateway is replaced again and
again. One line of JSON follows for each upgrade, and one for all. A message's latency counts from when it is due, so
the longest latency of a client's messages is how long the gateway was silent for it. With ``--other``, the gateway is
started from a link that leads to one installation and then to the other one, so each second upgrade is a downgrade.

The gateway shares the machine with its clients and the replica. To leave it as much as possible, messages are signed
before the first upgrade, calls are executed in blocks, and timers have a resolution of a millisecond. If the clients or
the replica are late nevertheless, it counts as silence; ``late_ms`` is by how much.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gateway import BenchError, GatewayOptions
from bench.lab import Lab
from bench.machine import machine
from bench.procfs import CpuMeter, memory

#: Seconds that an upgrade may take, and that the last echoes may take.
_PATIENCE = 120.0
_LEAD_NS = 150_000_000
#: Seconds that an upgrade mostly takes at most, without the pause after it: the messages of this time are signed in
#: advance, later ones when they are due.
_EXPECTED_SECONDS = 12.0
#: What the log says of the stages: which process, and its seconds.
_STARTS = re.compile(r"handover begins\b.* successor=(\d+)")
_STAGE = re.compile(r"\b(handed over|taken over)\b.* seconds=([\d.]+)")


class Upgrades:
    """A gateway that is replaced.

    :param lab: its processes run
    :param installations: interpreters between which the upgrades alternate; none: the one that runs
    :param link: leads to the environment of the installation that the next process is started from
    :ivar pid: the process that serves
    """

    def __init__(self, lab: Lab, installations: Sequence[Path], link: Path) -> None:
        assert lab.gateway is not None
        self._lab = lab
        self._gateway = lab.gateway
        self._installations = installations
        self._link = link
        self._number = 0
        self.pid = lab.gateway.pids[0]

    def upgrade(self) -> dict[str, Any]:
        """Replace the gateway by the next installation; the seconds of each stage.

        :raises BenchError: the upgrade has failed
        """
        self._number += 1
        if self._installations:
            point(self._link, self._installations[self._number % len(self._installations)])
        seen = len(self._gateway.log_text())
        began = time.monotonic()
        os.kill(self.pid, signal.SIGUSR2)
        text = ""
        while not (_has_ended(self.pid) and "taken over" in text):
            if "handover failed" in text or time.monotonic() - began > _PATIENCE:
                raise BenchError(f"upgrade {self._number} has failed:\n{text[-2000:]}")
            time.sleep(0.05)
            text = self._gateway.log_text()[seen:]
        whole = time.monotonic() - began
        self.pid = int(_STARTS.findall(text)[0])
        stages: dict[str, float] = {}
        for name, seconds in _STAGE.findall(self._gateway.log_text()[seen:]):
            stages[name] = max(stages.get(name, 0.0), float(seconds))
        return {
            "upgrade": self._number,
            "seconds": round(whole, 2),
            **{f"{name.replace(' ', '_')}_s": seconds for name, seconds in stages.items()},
        }

    def stop(self) -> None:
        """Stop the last process."""
        if self._number:
            os.kill(self.pid, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    """Whether a process has ended, although it may still be a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def point(link: Path, python: Path) -> None:
    """Let a link lead to the environment of an interpreter."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(python.absolute().parents[1])
    new.replace(link)


class Silences:
    """How long the gateway was silent for each client, during each upgrade.

    :ivar each: the p50, p99 and maximum in ms, by upgrade
    """

    def __init__(self) -> None:
        self.each: list[dict[str, float]] = []
        self._all: list[float] = []
        self._longest: dict[str, float] = {}

    def add(self, found: Mapping[str, float]) -> dict[str, float]:
        """Add an upgrade.

        :param found: ms by client
        :return: their p50, p99 and maximum
        """
        self._all += found.values()
        for client, value in found.items():
            self._longest[client] = max(value, self._longest.get(client, 0.0))
        self.each.append(spread(found.values()))
        return self.each[-1]

    def summary(self) -> dict[str, Any]:
        """The p99 of each upgrade, and what holds of all upgrades."""
        return {
            "p99_of_each_upgrade": [each["p99"] for each in self.each if each],
            "p99_of_the_worst_upgrade": max((each["p99"] for each in self.each if each), default=0.0),
            "of_all_upgrades": spread(self._all),
            "longest_of_each_client": spread(self._longest.values()),
        }


def silences(lab: Lab) -> tuple[dict[str, float], dict[str, float]]:
    """The longest latency of each client since the last look, in ms; and how late clients and replica were at most."""
    answers = lab.load("longest")
    found = {client: value / 1e6 for answer in answers for client, value in answer["longest"].items()}
    clients = max(answer["latest_ms"] for answer in answers)
    return found, {"clients": round(clients, 1), "replica": round(lab.control("latest")["latest_ms"], 1)}


def spread(found: Iterable[float]) -> dict[str, float]:
    """The p50, p99 and maximum of values; nothing of none."""
    values = sorted(found)
    if not values:
        return {}
    last = len(values) - 1
    return {
        name: round(values[min(last, int(share * len(values)))], 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the clients and the upgrades; print a line for each upgrade.

    :raises BenchError: a process of the bench, or an upgrade, has failed
    """
    with tempfile.TemporaryDirectory(prefix="icwsgw-upgrade-") as folder:
        link = Path(folder) / "current"
        installations = [Path(sys.executable), arguments.other] if arguments.other else []
        gateway = GatewayOptions(options=arguments.option)
        if installations:
            point(link, installations[0])
            gateway.python = str(link / "bin" / "python")
            gateway.installed = True
        config = {
            "query_ms": arguments.query_ms,
            "call_ms": arguments.call_ms,
            "block_ms": arguments.block_ms,
            "fine": False,
            "calls": "200",
            "real": True,
            "echo": True,
        }
        with Lab(gateway, config=config, load_processes=arguments.load_processes) as lab:
            upgrades = Upgrades(lab, installations, link)
            try:
                return _measure(lab, upgrades, arguments)
            finally:
                upgrades.stop()


def _measure(lab: Lab, upgrades: Upgrades, arguments: argparse.Namespace) -> dict[str, Any]:
    clients = [(index, index % arguments.canisters) for index in range(arguments.clients)]
    lab.open(clients, concurrency=100, timeout=_PATIENCE * 5)
    opened = lab.snapshot()["opened"]
    lab.load("clear")
    lab.control("clear")
    rate = arguments.rate / len(lab.loads)
    seconds = arguments.pause + arguments.upgrades * (arguments.pause + _EXPECTED_SECONDS)
    lab.load("sign", rate=rate, size=arguments.size, ahead=int(rate * seconds))
    lab.load("flow", base_ns=time.monotonic_ns() + _LEAD_NS, fine=False)
    time.sleep(arguments.pause)
    calm, _ = silences(lab)
    silence = Silences()
    rss = [memory([upgrades.pid])["rss_kb"]]
    for _ in range(arguments.upgrades):
        done = upgrades.upgrade()
        time.sleep(arguments.pause)
        found, late = silences(lab)
        rss.append(memory([upgrades.pid])["rss_kb"])
        done |= {"silence_ms": silence.add(found), "late_ms": late, "rss_mb": round(rss[-1] / 1024, 1)}
        done |= {"waited_for_cpu_s": round(CpuMeter([upgrades.pid]).waited(), 2), "load": os.getloadavg()[0]}
        print(json.dumps(done), flush=True)
    sent = sum(answer["sent"] for answer in lab.load("stop_flow"))
    lab.wait_until(lambda: (lab.snapshot()["received"], sent), 20.0, pause=0.2)
    shot, events = lab.snapshot(), lab.control("stats")["events"]
    return {
        "clients": opened,
        "failed_opens": shot["failed"],
        "sent": sent,
        "received": shot["received"],
        "executed": events.get("ws_message_ok", 0),
        "closed": sum(shot["closes"].values()) + sum(shot["canister_closes"].values()),
        "lost": sent - shot["received"],
        "out_of_order_or_doubled": shot["order_violations"] + events.get("wrong_sequence", 0),
        "calls_sent_again": events.get("repeated", 0),
        "silence_before_ms": spread(calm.values()),
        "silence_ms": silence.summary(),
        "rss_mb": [round(each / 1024, 1) for each in rss],
        "reasons": shot["reasons"][:5],
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; 1 if a client has noticed more than a pause."""
    parser = argparse.ArgumentParser("python -m bench.upgrade", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--canisters", type=int, default=10)
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second each way, of all clients together")
    parser.add_argument("--size", type=int, default=200, help="bytes of a message")
    parser.add_argument("--upgrades", type=int, default=5)
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two upgrades")
    parser.add_argument("--other", type=Path, help="the interpreter of another installation, to change between the two")
    parser.add_argument("--option", action="append", default=[], type=_option, help="an option for the gateway")
    parser.add_argument("--query-ms", type=float, default=20.0)
    parser.add_argument("--call-ms", type=float, default=100.0)
    parser.add_argument(
        "--block-ms", type=float, default=10.0, help="time between two blocks, in which calls are executed"
    )
    parser.add_argument("--load-processes", type=int, default=1)
    arguments = parser.parse_args(argv)
    result = measure(arguments)
    print(json.dumps(result), flush=True)
    return int(any(result[name] for name in ("closed", "lost", "out_of_order_or_doubled")))


def _option(text: str) -> str:
    return shlex.split(text)[0]


if __name__ == "__main__":
    sys.exit(main())
