"""The outcome of a run, and functions that several scenarios use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bench.histogram import Histogram
from bench.lab import Lab, Measured
from bench.options import RunOptions


@dataclass
class Outcome:
    """The outcome of a run.

    :ivar cpu: CPU times of the measured part
    :ivar latency: the scenario's main latency, ns
    :ivar latency_of: description of that latency
    """

    measures: dict[str, Any] = field(default_factory=dict)
    cpu: Measured = field(default_factory=Measured)
    latency: Histogram = field(default_factory=Histogram)
    latency_of: str = ""
    losses: int = 0
    order_violations: int = 0
    unexpected_closes: int = 0
    failed_opens: int = 0
    reasons: list[str] = field(default_factory=list)
    replica: dict[str, Any] = field(default_factory=dict)

    def watch(self, shot: dict[str, Any]) -> None:
        """Add the errors that load clients report."""
        self.order_violations += shot["order_violations"]
        self.unexpected_closes += sum(shot["closes"].values()) + sum(shot["canister_closes"].values())
        self.failed_opens += shot["failed"]
        self.reasons += shot["reasons"]

    def saw(self, stats: dict[str, Any]) -> None:
        """Add the replica's statistics of the measured part."""
        self.order_violations += stats["events"].get("wrong_sequence", 0)
        gaps = Histogram.from_json(stats.pop("poll_gaps"))
        stats.pop("up")
        stats["poll_gap_ms"] = gaps.summary()
        seconds = self.cpu.seconds or stats["seconds"]
        stats["queries_per_second"] = round(stats["queries"] / seconds, 1)
        self.replica = stats


def begin(lab: Lab, options: RunOptions, outcome: Outcome) -> None:
    """Open the clients, distributed evenly over the canisters, and wait for the ``calm`` period."""
    lab.open(
        [(index, index % options.canisters) for index in range(options.clients)],
        concurrency=max(1, options.concurrency // len(lab.loads)),
        timeout=options.open_timeout,
    )
    shot = lab.snapshot()
    outcome.watch(shot)
    outcome.measures["opened"] = shot["opened"]
    outcome.measures["open_ms"] = shot["opening"].summary()
    time.sleep(options.calm)
    lab.load("clear")
    lab.control("clear")


def end(lab: Lab, options: RunOptions, outcome: Outcome) -> None:
    """Close the remaining clients and check that their canisters receive the close notices."""
    before = lab.event("ws_close_ok") + lab.event("ws_close_err")
    started = time.monotonic_ns()
    count = sum(each["closed"] for each in lab.load("close"))

    def closed() -> tuple[int, int]:
        return lab.event("ws_close_ok") + lab.event("ws_close_err") - before, count

    lab.wait_until(closed, options.stall)
    shot = lab.snapshot()
    outcome.measures["closing"] = {
        "clients": count,
        "not_answered": shot["not_answered"],
        "seconds_until_told": round(max(0, lab.control("stats")["last_close_ns"] - started) / 1e9, 3),
        "canister_told": closed()[0],
    }
    outcome.watch(shot)


def rates(outcome: Outcome, shot: dict[str, Any], pushed: int) -> None:
    """Add the rates of a stream of messages to the clients."""
    received = shot["received"]
    seconds = (shot["last_received_ns"] - shot["first_received_ns"]) / 1e9
    outcome.measures |= {
        "sent": pushed,
        "received": received,
        "messages_per_second": round(received / seconds, 1) if seconds > 0 else None,
        "bytes_per_message": round(shot["bytes"] / received, 1) if received else None,
        "gateway_us_per_message": outcome.cpu.gateway_per(received),
        "verified": shot["verified"],
    }
    outcome.latency = shot["latency"]
    outcome.losses = pushed - received


def bytes_each(kilobytes: int, count: int) -> float | None:
    """Bytes per item; None if ``count`` is 0."""
    return round(kilobytes * 1024 / count, 1) if count else None


def wait_received(lab: Lab, options: RunOptions, count: int) -> bool:
    """Wait until the clients have received ``count`` application messages; False if progress stalls."""
    return lab.wait_until(lambda: (lab.snapshot()["received"], count), options.stall, pause=0.05)
