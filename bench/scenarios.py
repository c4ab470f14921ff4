"""The scenarios: each puts a load on a gateway and measures its behaviour.

A scenario receives a lab, whose processes run and whose replica is configured by the options, and returns its
measurements as numbers by name. Every outcome also has ``losses`` (messages that did not arrive),
``order_violations``, ``unexpected_closes`` and ``failed_opens``. If one of them is not 0, the figures are not valid,
unless it is the subject of the scenario.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.histogram import Histogram
from bench.lab import Lab
from bench.options import RunOptions
from bench.outcome import Outcome, begin, bytes_each, end, rates, wait_received

#: The time from the command to start until the start, so that all processes receive the command before.
_LEAD_NS = 150_000_000


Scenario = Callable[[Lab, RunOptions], Outcome]


def idle(lab: Lab, options: RunOptions) -> Outcome:
    """Idle connections: memory, opening and closing."""
    outcome = Outcome(latency_of="from the connection's start to the canister's first message")
    cycles = []
    for _ in range(options.cycles):
        before = lab.memory()
        with lab.measure() as opening:
            lab.open(
                [(index, index % options.canisters) for index in range(options.clients)],
                concurrency=max(1, options.concurrency // len(lab.loads)),
                timeout=options.open_timeout,
            )
        shot = lab.snapshot()
        outcome.latency.merge(shot["opening"])
        time.sleep(options.calm)
        lab.control("clear")
        opened = lab.memory()
        with lab.measure() as outcome.cpu:
            time.sleep(options.seconds)
        stats = lab.control("stats")
        with lab.measure() as closing:
            end(lab, options, outcome)
        time.sleep(options.calm)
        after = lab.memory()
        lab.load("clear")
        count = shot["opened"]
        cycles.append({"before": before, "open": opened, "after": after})
        outcome.measures |= {
            "opened": count,
            "opens_per_second": round(count / opening.seconds, 1),
            "gateway_us_per_open": opening.gateway_per(count),
            "gateway_us_per_close": closing.gateway_per(count),
            "bytes_per_connection": bytes_each(opened["rss_kb"] - before["rss_kb"], count),
            "pss_bytes_per_connection": bytes_each(opened["pss_kb"] - before["pss_kb"], count),
            "bytes_kept_per_connection": bytes_each(after["rss_kb"] - before["rss_kb"], count),
            "gateway_idle_percent": round(100 * outcome.cpu.gateway / outcome.cpu.seconds, 2),
        }
    outcome.measures["memory"] = cycles
    outcome.saw(stats)
    return outcome


def down(lab: Lab, options: RunOptions) -> Outcome:
    """Messages to the clients: at a rate, or all available at once (rate 0)."""
    outcome = Outcome(latency_of="from the canister's send to the client")
    begin(lab, options, outcome)
    if options.rate:
        count = max(1, int(options.rate * options.seconds))
        start = time.monotonic_ns() + _LEAD_NS
        lab.load("base", base_ns=0)
        with lab.measure() as outcome.cpu:
            lab.control("flow", rate=options.rate, count=count, size=options.size, start_ns=start)
            wait_received(lab, options, count)
    else:
        count = options.count
        lab.control("push", count=count, size=options.size, hold=True)
        start = time.monotonic_ns() + _LEAD_NS
        lab.load("base", base_ns=start)
        with lab.measure() as outcome.cpu:
            lab.control("show", at_ns=start)
            wait_received(lab, options, count)
    shot = lab.snapshot()
    stats = lab.control("stats")
    rates(outcome, shot, stats["events"].get("pushed", 0))
    outcome.losses += stats["events"].get("not_pushed", 0)
    outcome.saw(stats)
    end(lab, options, outcome)
    return outcome


def _prepare(lab: Lab, options: RunOptions, rate: float, count: int) -> int:
    """Sign the load's messages in advance; return their number."""
    loads = len(lab.loads)
    if rate:
        counts = [len(range(first, count, loads)) for first in range(loads)]
        commands = [
            {"count": share, "rate": rate, "size": options.size, "first": first, "stride": loads}
            for first, share in enumerate(counts)
        ]
    else:
        commands = [{"count": count, "rate": 0, "size": options.size}] * loads
    return sum(int(each["prepared"]) for each in lab.load_each("prepare", commands))


def up(lab: Lab, options: RunOptions) -> Outcome:
    """Messages from the clients: at a rate over all clients, or ``count`` from each client at once (rate 0)."""
    outcome = Outcome(latency_of="from the client's send to the replica")
    begin(lab, options, outcome)
    sent = _prepare(lab, options, options.rate, int(options.rate * options.seconds) if options.rate else options.count)
    start = time.monotonic_ns() + _LEAD_NS
    lab.control("base", base_ns=start)
    with lab.measure() as outcome.cpu:
        lab.load("send", base_ns=start)

        def executed() -> tuple[int, int]:
            events = lab.control("stats")["events"]
            return events.get("ws_message_ok", 0) + events.get("ws_message_err", 0), sent

        lab.wait_until(executed, options.stall)
    stats = lab.control("stats")
    accepted = stats["events"].get("ws_message_ok", 0)
    calls = stats["events"].get("ws_message", 0)
    seconds = (stats["last_call_ns"] - start) / 1e9
    outcome.latency = Histogram.from_json(stats["up"])
    outcome.losses = sent - accepted
    outcome.measures |= {
        "sent": sent,
        "calls": calls,
        "accepted": accepted,
        "calls_per_second": round(calls / seconds, 1) if seconds > 0 else None,
        "gateway_us_per_message": outcome.cpu.gateway_per(calls),
        "most_calls_in_flight": stats["most_calls_in_flight"],
    }
    outcome.saw(stats)
    end(lab, options, outcome)
    return outcome


def echo(lab: Lab, options: RunOptions) -> Outcome:
    """Messages that the canister sends back: at a rate, or each client sends the next after an echo (rate 0)."""
    outcome = Outcome(latency_of="from the client's send to its echo")
    begin(lab, options, outcome)
    count = int(options.rate * options.seconds)
    if options.rate:
        count = _prepare(lab, options, options.rate, count)
    start = time.monotonic_ns() + _LEAD_NS
    lab.control("base", base_ns=start)
    with lab.measure() as outcome.cpu:
        if options.rate:
            lab.load("send", base_ns=start)
            wait_received(lab, options, count)
        else:
            answers = lab.load("echo", base_ns=start, seconds=options.seconds, size=options.size, window=options.window)
            del answers
    shot = lab.snapshot()
    rates(outcome, shot, shot["sent"])
    outcome.saw(lab.control("stats"))
    end(lab, options, outcome)
    return outcome


def churn(lab: Lab, options: RunOptions) -> Outcome:
    """Sessions that open and close: a fixed number in parallel, or at a rate per second."""
    outcome = Outcome(latency_of="from the connection's (meant) start to the canister's first message")
    loads = len(lab.loads)
    parts = lab.split(range(options.clients))
    commands = [
        {
            "first": first,
            "stride": loads,
            "parallel": len(part),
            "seconds": options.seconds,
            "canister": lab.first_canister,
            "rate": options.rate / loads,
        }
        for first, part in enumerate(parts)
    ]
    # A replica that already ran has statistics of other runs.
    lab.control("clear")
    with lab.measure() as outcome.cpu:
        lab.load_each("churn", commands)
        shot = lab.snapshot()
        opened = shot["opened"]

        def closed() -> tuple[int, int]:
            return lab.event("ws_close_ok") + lab.event("ws_close_err"), opened

        lab.wait_until(closed, options.stall)
    stats = lab.control("stats")
    noticed = stats["events"].get("ws_close_ok", 0)
    outcome.latency = shot["opening"]
    outcome.losses = opened - noticed
    outcome.watch(shot)
    outcome.measures = {
        "opened": opened,
        "opens_per_second": round(opened / options.seconds, 1),
        "gateway_us_per_cycle": outcome.cpu.gateway_per(opened),
        "canister_told": noticed,
        "not_answered": shot["not_answered"],
    }
    outcome.saw(stats)
    return outcome


def many(lab: Lab, options: RunOptions) -> Outcome:
    """Many canisters with idle clients: the regularity of polls, and their cost."""
    outcome = Outcome(latency_of="between two polls of a canister")
    before = lab.memory()
    begin(lab, options, outcome)
    with lab.measure() as outcome.cpu:
        time.sleep(options.seconds)
        stats = lab.control("stats")
    opened = lab.memory()
    outcome.latency = Histogram.from_json(stats["poll_gaps"])
    queries = stats["queries"]
    outcome.measures |= {
        "canisters": options.canisters,
        "polls_per_second": round(queries / outcome.cpu.seconds, 1),
        "gateway_percent": round(100 * outcome.cpu.gateway / outcome.cpu.seconds, 2),
        "gateway_us_per_poll": outcome.cpu.gateway_per(queries),
        "bytes_per_canister": bytes_each(opened["rss_kb"] - before["rss_kb"], options.canisters),
        "memory": {"before": before, "open": opened},
    }
    outcome.saw(stats)
    end(lab, options, outcome)
    return outcome


def slow(lab: Lab, options: RunOptions) -> Outcome:
    """Some clients stop reading: this must not affect the others, and the gateway must close the slow ones."""
    outcome = Outcome(latency_of="from the canister's send to a client that reads")
    healthy = options.clients - options.slow
    lab.open([(index, 0) for index in range(healthy)], concurrency=options.concurrency)
    lagging = range(healthy, options.clients)
    lab.open([(index, 0) for index in lagging], receive_buffer=65536)
    outcome.watch(lab.snapshot())
    time.sleep(options.calm)
    lab.load("clear")
    lab.control("clear")
    lab.load("read", indexes=list(lagging), reading=False)
    lab.load("base", base_ns=0)
    count = int(options.rate * options.seconds)
    # The canister sends to its clients round-robin, in the order of their opening.
    expected = sum(at % options.clients < healthy for at in range(count))
    start = time.monotonic_ns() + _LEAD_NS
    with lab.measure() as outcome.cpu:
        lab.control("flow", rate=options.rate, count=count, size=options.size, start_ns=start)
        wait_received(lab, options, expected)
    shot = lab.snapshot()
    rates(outcome, shot, expected)
    stats = lab.control("stats")
    outcome.measures |= {
        "delivered_percent": round(100 * shot["received"] / expected, 3) if expected else None,
        "slow_closed": stats["events"].get("ws_close_ok", 0),
        "memory": lab.memory(),
    }
    outcome.watch(shot)
    outcome.saw(stats)
    lab.load("clear")
    lab.load("read", indexes=list(lagging), reading=True)
    end(lab, options, closing := Outcome())
    outcome.measures |= closing.measures
    outcome.measures["slow_ends"] = closing.reasons
    return outcome


def storm(lab: Lab, options: RunOptions) -> Outcome:
    """Acknowledgement rounds: all clients must answer at once; those that take 60 s are removed."""
    outcome = Outcome(latency_of="from a round to a client's AckMessage")
    begin(lab, options, outcome)
    clients = survivors = outcome.measures["opened"]
    rounds: list[dict[str, float]] = []
    asked = 0
    with lab.measure() as outcome.cpu:
        while survivors and len(rounds) < options.rounds:
            asked += survivors
            start = time.monotonic_ns() + _LEAD_NS
            lab.load("base", base_ns=start)
            lab.control("round", at_ns=start, seconds=options.keep_alive_timeout)

            def judged(asked: int = asked) -> tuple[int, int]:
                events = lab.control("stats")["events"]
                return events.get("keep_alives", 0) + events.get("keep_alive_timeouts", 0), asked

            whole = lab.wait_until(judged, options.stall, pause=0.05)
            removed = lab.event("keep_alive_timeouts")
            survivors = clients - removed if whole else lab.snapshot()["open"]
            rounds.append({"seconds": round((time.monotonic_ns() - start) / 1e9, 3), "survivors": survivors})
    shot = lab.snapshot()
    stats = lab.control("stats")
    answers = stats["events"].get("keep_alives", 0)
    outcome.latency = shot["ack_latency"]
    outcome.losses = asked - answers
    outcome.watch(shot)
    outcome.measures |= {
        "acks_received": shot["acks"],
        "keep_alives": answers,
        "keep_alive_timeouts": stats["events"].get("keep_alive_timeouts", 0),
        "rounds": rounds,
        "survivors": survivors,
        "seconds": max((each["seconds"] for each in rounds), default=0.0),
        "gateway_us_per_client": outcome.cpu.gateway_per(asked),
    }
    outcome.saw(stats)
    lab.load("clear")
    end(lab, options, outcome)
    return outcome


SCENARIOS: dict[str, Scenario] = {each.__name__: each for each in (idle, down, up, echo, churn, many, slow, storm)}
