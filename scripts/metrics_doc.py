"""Writes docs/metrics.md, the reference of all metrics, from their declarations in icwsgw/observe/metrics.py.

A test fails if the page is out of date.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from prometheus_client import CollectorRegistry

from icwsgw.observe.meters import OTHER, Declared, Histogram, LabelledCounter, LabelledGauge, RankedGauge
from icwsgw.observe.metrics import CANISTERS, CANISTERS_OF_A_WORKER, Metrics, SupervisorMetrics

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

HEAD = f"""\
# Metrics

Made by `scripts/metrics_doc.py` from the declarations in [icwsgw/observe/metrics.py](../icwsgw/observe/metrics.py).
`--prometheus-endpoint` serves them under `/metrics`, as Prometheus text or as OpenMetrics, and under any other path
for clients that do not ask for HTML, as the Rust gateway does. [deploy/](../deploy/README.md) has rules and
dashboards; the [runbook](runbook.md#alerts) says what to do when an alert fires.

**Series.** A gateway has some 400, however many clients and canisters it has. Labels have the values listed here; all
others count as `{OTHER}`. Nothing that a client chooses becomes a label, with one exception: figures by canister.
Clients choose canister ids, so only canisters that have answered a client with a currently open session are listed:
the {CANISTERS} with the most sessions, the rest together as `{OTHER}`. The list changes over time, and Prometheus
keeps each series for some hours. A user with many canisters and clients can cause {CANISTERS} new series per
scrape and figure. If anybody may connect to any canister and this is too much, drop `icws_canister_.*` with a
`metric_relabel_configs` rule.

**Several workers** (`--workers`) look like one gateway. Figures are summed unless their entry says otherwise: the
least or the greatest of all workers. When a worker dies, its gauges disappear; its counts stay, without those of its
last seconds, so no counter falls. Each worker reports its first {CANISTERS_OF_A_WORKER} canisters; those with the
most sessions in all workers together are shown. The operating system's figures about a process carry a `worker`
label.

**Costs.** Counters are plain numbers, and most gauges are computed at the scrape: with 10,000 clients a scrape takes
some milliseconds.
"""

PROCESS = """\
## The operating system's figures

From prometheus_client, with a `worker` label where there are several: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`,
`process_start_time_seconds`.
"""

KINDS = {"unknown": "counter"}


def entry_text(entry: Declared) -> Iterator[str]:
    """Format the section of one metric."""
    yield f"### `{entry.name}`"
    yield ""
    facts = [KINDS.get(entry.kind, entry.kind).capitalize()]
    unit = unit_of(entry)
    if unit:
        facts[0] += f" of {unit}"
    meter = entry.meter
    if isinstance(meter, RankedGauge):
        facts.append(f"by `{entry.label}`")
    elif isinstance(meter, (LabelledCounter, LabelledGauge)):
        values = [value for value in meter.values if value != OTHER]
        facts.append(f"by `{entry.label}`: " + ", ".join(f"`{value}`" for value in values))
    elif entry.labels:
        facts.append("with " + ", ".join(f"`{label}`" for label in entry.labels))
    if isinstance(meter, Histogram):
        facts.append(f"buckets up to {', '.join(f'{bound:g}' for bound in meter.bounds)}")
    if entry.merge != "sum":
        facts.append(f"of several workers the {entry.merge}")
    yield paragraph("; ".join(facts))
    yield paragraph(entry.help)
    if entry.advice:
        yield paragraph(f"When it moves: {entry.advice}")


def unit_of(entry: Declared) -> str:
    """Return the metric's unit, or an empty text if it is a plain count."""
    name = entry.name.removesuffix("_total").removesuffix("_max")
    if entry.name == "icws_tls_certificate_expiry_seconds":
        return "seconds since 1970"
    return entry.unit or next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), "")


def paragraph(words: str) -> str:
    """Format a declaration's text as wrapped lines that end with a full stop."""
    return textwrap.fill(words if words.endswith(".") else f"{words}.", 120, break_long_words=False) + "\n"


def page() -> str:
    """The whole page."""
    metrics = Metrics(CollectorRegistry(auto_describe=False))
    known = {entry.name for entry in metrics.declared}
    supervisor = SupervisorMetrics(CollectorRegistry(auto_describe=False))
    entries = [*metrics.declared, *(entry for entry in supervisor.declared if entry.name not in known)]
    lines = [HEAD]
    for group, of_group in groupby(entries, key=lambda entry: entry.group):
        lines += [f"## {group}", ""]
        for entry in of_group:
            lines += entry_text(entry)
    return "\n".join([*lines, PROCESS])


if __name__ == "__main__":
    DOCUMENT.write_text(page())
