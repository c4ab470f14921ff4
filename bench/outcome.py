"""What a run has shown, and the parts that scenarios share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bench.histogram import Histogram
from bench.lab import Lab, Measured
from bench.options import RunOptions


@dataclass
class Outcome:
    """What a run has shown.

    :ivar cpu: of the part that was measured
    :ivar latency: what the scenario is about, ns
    :ivar latency_of: in words
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
        """Take over what load clients complain of."""
        self.order_violations += shot["order_violations"]
        self.unexpected_closes += sum(shot["closes"].values()) + sum(shot["canister_closes"].values())
        self.failed_opens += shot["failed"]
        self.reasons += shot["reasons"]

    def saw(self, stats: dict[str, Any]) -> None:
        """Take over what the replica has seen in the measured part."""
        self.order_violations += stats["events"].get("wrong_sequence", 0)
        gaps = Histogram.from_json(stats.pop("poll_gaps"))
        stats.pop("up")
        stats["poll_gap_ms"] = gaps.summary()
        seconds = self.cpu.seconds or stats["seconds"]
        stats["queries_per_second"] = round(stats["queries"] / seconds, 1)
        self.replica = stats


def begin(lab: Lab, options: RunOptions, outcome: Outcome) -> None:
    """Open the clients, over all canisters by turns, and let things calm down."""
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
    """Close the clients that are left, and see that the canister hears of it."""
    before = lab.event("ws_close_ok") + lab.event("ws_close_err")
    started = time.monotonic_ns()
    count = sum(each["closed"] for each in lab.load("close"))

    def told() -> tuple[int, int]:
        return lab.event("ws_close_ok") + lab.event("ws_close_err") - before, count

    lab.wait_until(told, options.stall)
    shot = lab.snapshot()
    outcome.measures["closing"] = {
        "clients": count,
        "not_answered": shot["not_answered"],
        "seconds_until_told": round(max(0, lab.control("stats")["last_close_ns"] - started) / 1e9, 3),
        "canister_told": told()[0],
    }
    outcome.watch(shot)


def rates(outcome: Outcome, shot: dict[str, Any], pushed: int) -> None:
    """What a stream of messages to the clients amounts to."""
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
    """Bytes for each of some things; None for none."""
    return round(kilobytes * 1024 / count, 1) if count else None


def wait_received(lab: Lab, options: RunOptions, count: int) -> bool:
    """Wait until the clients have so many application messages; False if they do not come."""
    return lab.wait_until(lambda: (lab.snapshot()["received"], count), options.stall, pause=0.05)
