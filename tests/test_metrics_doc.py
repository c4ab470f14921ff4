"""docs/metrics.md against the declarations it is made from."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry

from icwsgw.observe.metrics import Metrics, SupervisorMetrics
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return load_script("metrics_doc")


def test_the_page_is_what_the_code_declares(made: ModuleType) -> None:
    assert made.DOCUMENT.read_text() == made.page(), "run scripts/metrics_doc.py"


def test_each_metric_has_its_section_once(made: ModuleType) -> None:
    headings = re.findall(r"^### `(\S+)`$", made.page(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    declared = Metrics().declared + SupervisorMetrics(CollectorRegistry()).declared
    assert set(headings) == {entry.name for entry in declared}


def test_a_section_says_all_that_is_declared(made: ModuleType) -> None:
    entries = {entry.name: "\n".join(made.entry_text(entry)) for entry in Metrics().declared}
    assert "Gauge; by `state`: `init`, `setup`, `open`, `closed`." in entries["icws_sessions"]
    assert "Histogram of seconds; buckets up to 0.001," in entries["icws_query_seconds"]
    assert "of several workers the least" in entries["icws_network_ready"]
    assert "Counter of bytes." in entries["icws_client_bytes_total"]
    assert "Gauge; with `version`, `python`, `twisted`;" in entries["icws_build_info"]
    assert entries["client_connected_count"].startswith("### `client_connected_count`\n\nCounter.")


def test_what_the_page_says_of_a_process_is_what_prometheus_client_gives(made: ModuleType) -> None:
    named = set(re.findall(r"`(process_\w+)`", made.PROCESS))
    shown = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    assert named == {name for name in shown if name.startswith("process_")}
