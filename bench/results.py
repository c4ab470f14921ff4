"""Runs scenarios and writes their results to a folder, one JSON file per run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.gateway import GatewayOptions
from bench.lab import Lab
from bench.machine import commit, machine, now, software
from bench.options import RunOptions
from bench.outcome import Outcome
from bench.scenarios import SCENARIOS

SCHEMA = 1
FOLDER = Path(__file__).resolve().parent / "results"

Result = dict[str, Any]

#: The counters that must be 0; otherwise a run's figures are not valid.
FAULTS = ("losses", "order_violations", "unexpected_closes", "failed_opens")


def run(options: RunOptions, gateway: GatewayOptions, *, replica_port: int = 0, label: str = "") -> Result:
    """Run a scenario in separate processes and return its result.

    :raises BenchError: a process has failed
    """
    date = now()
    surroundings = machine()
    with Lab(
        gateway,
        config=options.config,
        load_processes=options.load_processes,
        replica_port=replica_port,
        pin=options.pin,
        verify_every=options.verify_every if options.real else 0,
        linger=options.linger,
    ) as lab:
        outcome = SCENARIOS[options.scenario](lab, options)
        assert lab.gateway is not None
        arguments, complaints = lab.gateway.arguments, lab.gateway.complaints()
    return {
        "schema": SCHEMA,
        "name": ",".join([options.name, *(word.removeprefix("--") for word in gateway.options), *_special(gateway)]),
        "label": label,
        "date": date,
        "machine": surroundings,
        "software": software(gateway.python) if gateway.ours else {"commit": commit()},
        "gateway": {
            "ours": gateway.ours,
            "url": gateway.url,
            "arguments": arguments,
            "options": gateway.options,
            "tls": gateway.tls,
            "complaints": complaints,
        },
        "options": options.to_json(),
        **_shown(outcome),
    }


def _special(gateway: GatewayOptions) -> list[str]:
    return [word.removeprefix("--") for word in gateway.twistd] + (["tls"] if gateway.tls else [])


def _shown(outcome: Outcome) -> Result:
    return {
        "measures": outcome.measures,
        "cpu": outcome.cpu.to_json(),
        "latency_of": outcome.latency_of,
        "latency_ms": outcome.latency.summary(),
        "latency": outcome.latency.to_json(),
        "losses": outcome.losses,
        "order_violations": outcome.order_violations,
        "unexpected_closes": outcome.unexpected_closes,
        "failed_opens": outcome.failed_opens,
        "reasons": outcome.reasons,
        "replica": outcome.replica,
    }


def write(result: Result, folder: Path) -> Path:
    """Write a result to a new file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9=.,_-]+", "_", result["name"])[:120]
    date = re.sub(r"[^0-9T]", "", result["date"].partition("+")[0])
    path = folder / f"{name}.{date}.json"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{name}.{date}-{number}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def read(where: Path) -> list[Result]:
    """Return the results in a file or a folder, oldest first.

    :raises ValueError: there are no results, or a file has another form
    """
    paths = sorted(where.glob("*.json")) if where.is_dir() else [where]
    results: list[Result] = []
    for path in paths:
        try:
            data = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: {error}") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"{path} is not a result of this bench")
        results.append(data)
    if not results:
        raise ValueError(f"no results in {where}")
    return sorted(results, key=lambda result: str(result["date"]))


def line(result: Result) -> str:
    """Return a one-line summary of a result."""
    latency, cpu = result["latency_ms"], result["cpu"]
    parts = [f"{result['name']}:"]
    for name in (
        *("messages_per_second", "calls_per_second", "opens_per_second", "polls_per_second"),
        *("gateway_us_per_message", "gateway_us_per_open", "gateway_us_per_cycle", "gateway_us_per_client"),
        *("gateway_us_per_poll", "bytes_per_connection", "bytes_per_canister", "delivered_percent"),
    ):
        value = result["measures"].get(name)
        if value is not None:
            parts.append(f"{name.replace('_', ' ')} {value:g},")
    parts.append(f"p50 {latency['p50']:g} p99 {latency['p99']:g} max {latency['max']:g} ms,")
    parts.append(f"gateway {cpu['gateway_percent']:g} % of a core")
    if result["replica"]:
        parts.append(f", {result['replica']['queries_per_second']:g} queries/s")
    parts += [f", {name.replace('_', ' ')} {result[name]}!" for name in FAULTS if result[name]]
    return " ".join(parts).replace(" ,", ",")


def run_all(
    runs: Iterable[tuple[RunOptions, GatewayOptions]], folder: Path, *, replica_port: int = 0, label: str = ""
) -> list[Result]:
    """Run scenarios one after the other; write and print each result when its run is complete."""
    results = []
    for options, gateway in runs:
        result = run(options, gateway, replica_port=replica_port, label=label)
        write(result, folder)
        print_line(result)
        results.append(result)
    return results


def print_line(result: Result) -> None:
    """Print the summary of a result on standard error."""
    print(line(result), file=sys.stderr)
    for reason in [*result["reasons"][:3], *result["gateway"]["complaints"][:3]]:
        print(f"    {reason}", file=sys.stderr)
