"""Rules, dashboards, scraping: promtool reads the files, they name only what exists, a real Prometheus scrapes."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from prometheus_client import CollectorRegistry

from icwsgw.observe.meters import RankedGauge
from icwsgw.observe.metrics import Metrics, SupervisorMetrics
from tests.acceptance.conftest import Stack, start_stack
from tests.acceptance.processes import free_port, http_get
from tests.deploy.fleet import Program
from tests.deploy.tools import DEPLOY, ROOT, read_yaml, run, tool

pytestmark = pytest.mark.deploy

RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panels({"panels": panel.get("panels", [])})


def queries() -> dict[str, str]:
    """Every PromQL expression in rules and dashboards, by where it stands."""
    found = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules()}
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel.get("targets", []):
                if "expr" in target:
                    found[f"{path.name}: {panel['title']} {target['refId']}"] = target["expr"]
    return found


# What a query may name

METRICS = Metrics()
DECLARED = {entry.name: entry for entry in SupervisorMetrics(CollectorRegistry()).declared}
DECLARED.update((entry.name, entry) for entry in METRICS.declared)
Labels = dict[str, "set[str] | None"]


def samples() -> dict[str, Labels]:
    """Every name that a scrape or a rule gives, with its labels and their values (None: any)."""
    found: dict[str, Labels] = {"up": {}}
    for entry in DECLARED.values():
        labels: Labels = dict.fromkeys(entry.labels)
        if isinstance(entry.meter, RankedGauge):
            labels[entry.label] = None
        elif entry.label:
            labels[entry.label] = set(entry.meter.values)
        found[entry.name] = labels
        if entry.kind == "histogram":
            found[f"{entry.name}_bucket"] = {**labels, "le": None}
            found.update((f"{entry.name}_{part}", labels) for part in ("count", "sum"))
    for family in METRICS.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, dict.fromkeys(sample.labels))
    found.update((rule["record"], {}) for rule in rules() if "record" in rule)
    return found


SAMPLES = samples()

#: What a scrape adds to all.
EVERYWHERE = {"job", "instance", "worker"}
WORDS = {
    *(
        "sum",
        "min",
        "max",
        "count",
        "abs",
        "absent",
        "by",
        "rate",
        "increase",
        "changes",
        "resets",
        "histogram_quantile",
        "time",
        "and",
        "or",
        "on",
        "le",
    ),
}


def selectors(query: str) -> Iterator[tuple[str, str]]:
    """The metrics of a query, each with the text between its braces."""
    bare = re.sub(r"\[[^]]*\]", "", query)
    bare = re.sub(r"\b(?:by|on) \(([^)]*)\)", "", bare)
    for match in re.finditer(r"(?<![\w.])([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', _hidden, bare)):
        if match[1] not in WORDS:
            yield match[1], match[2] or ""


def _hidden(match: re.Match[str]) -> str:
    """Keep a string's text from being taken for names."""
    return '"' + match[0][1:-1].encode().hex() + '"'


@pytest.mark.parametrize("where", queries())
def test_queries_name_only_what_exists(where: str) -> None:
    query = queries()[where]
    found = list(selectors(query))
    assert found
    for metric, inside in found:
        assert metric in SAMPLES, f"{metric} is no metric of the gateway"
        for label, operator, text in re.findall(r'(\w+)(=~|!~|!=|=)"([0-9a-f]*)"', inside):
            if label in EVERYWHERE:
                continue
            assert label in SAMPLES[metric], f"{metric} has no label {label}"
            values = SAMPLES[metric][label]
            words = bytes.fromhex(text).decode()
            if values is not None:
                named = set(words.split("|")) if "~" in operator else {words}
                assert named <= values, f"{metric}: {label} never is {named - values}"
    labels = {label for names in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", names)}
    known = EVERYWHERE.union(*(SAMPLES[metric] for metric, _ in found))
    assert labels <= known


def test_a_name_that_does_not_exist_is_found() -> None:
    assert list(selectors('sum by (a) (rate(icws_x_total{state="y z"}[5m])) > 0.5')) == [
        ("icws_x_total", f'state="{b"y z".hex()}"')
    ]


# Rules


def test_promtool_takes_the_rules() -> None:
    output = run(tool("promtool", "prometheus"), "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert f"{len(rules())} rules found" in output


def test_the_rules_do_what_they_say() -> None:
    run(tool("promtool", "prometheus"), "test", "rules", RULES.with_name("rules_test.yml"))


def test_every_page_is_tested() -> None:
    tests = read_yaml(RULES.with_name("rules_test.yml"))["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    pages = {rule["alert"] for rule in rules() if rule.get("labels", {}).get("severity") == "critical"}
    assert pages
    assert pages <= fired


def test_alerts_say_what_is_the_matter() -> None:
    for rule in rules():
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            assert rule["labels"]["severity"] in ("critical", "warning")
            # what is absent has no instance
            assert "$labels.instance" in rule["annotations"]["summary"] or rule["expr"].startswith("absent(")


def test_each_alert_has_its_section_in_the_guide() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    headings = re.findall(r"^### (Icws\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts]
    for rule in alerts:
        base = "{{ with $externalLabels.runbook_base }}{{ . }}{{ else }}docs{{ end }}"
        assert rule["annotations"]["runbook_url"] == f"{base}/runbook.md#{rule['alert'].lower()}"


# Dashboards


def test_dashboards_are_what_the_script_makes() -> None:
    made = runpy.run_path(str(DEPLOY / "grafana" / "make_dashboards.py"))["dashboards"]()
    assert set(made) == {path.name for path in DASHBOARDS}
    for path in DASHBOARDS:
        assert path.read_text() == made[path.name], f"{path.name} is stale: run deploy/grafana/make_dashboards.py"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_are_well_formed(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    shown = list(panels(dashboard))
    numbers = [panel["id"] for panel in shown]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} covers another"
        taken |= cells
    sources = {variable["name"] for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"}
    used = set(re.findall(r'"uid": "\$\{(\w+)\}"', path.read_text()))
    assert used == sources


def test_traces_are_looked_for_by_spans_that_there_are() -> None:
    text = (DEPLOY / "grafana" / "dashboards" / "traces.json").read_text()
    named = set(re.findall(r'name=\\"([^"\\]+)\\"', text))
    source = (ROOT / "icwsgw" / "observe" / "tracing.py").read_text()
    assert len(named) >= 4
    assert {name for name in named if f'"{name}"' not in source} == set()
    assert '"ic-ws-gw-' in source


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = (DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text() + RULES.read_text()
    missing = {name for name in DECLARED if name.startswith("icws_") and not re.search(rf"\b{name}(_bucket)?\b", text)}
    assert missing == set(), "show them in deploy/grafana/make_dashboards.py"


# The real thing


class Prometheus(Program):
    """A Prometheus in a process, with a configuration of its own."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        run(tool("promtool", "prometheus"), "check", "config", file)
        words = [
            *(tool("prometheus", "prometheus"), f"--config.file={file}"),
            *(f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address={self.url.partition('//')[2]}"),
        ]
        super().__init__(words, directory / "prometheus.log")

    def get(self, path: str) -> Any:
        status, body = http_get(self.url + path)
        assert status == 200, body
        return json.loads(body)["data"]

    def ask(self, query: str) -> dict[str, float]:
        """An instant query: values by instance."""
        result = self.get(f"/api/v1/query?query={quote(query)}")["result"]
        return {sample["metric"].get("instance", ""): float(sample["value"][1]) for sample in result}

    def until_it_says(self, query: str, value: float) -> None:
        """Ask until the only instance gives the value: scrapes come by themselves."""
        self.until(lambda: self._says(query, value))

    def _says(self, query: str, value: float) -> bool:
        try:
            return list(self.ask(query).values()) == [value]
        except (OSError, AssertionError):
            # it is not up yet
            return False


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Stack]:
    directory = tmp_path / "gateway"
    directory.mkdir()
    stack = start_stack(directory)
    yield stack
    stack.server.kill()


@pytest.fixture
def prometheus(tmp_path: Path, gateway: Stack) -> Iterator[Prometheus]:
    """Prometheus with the configuration of the compose setups, pointed at a gateway of this machine, and in a hurry."""
    config = read_yaml(DEPLOY / "compose" / "prometheus" / "prometheus.yml")
    config["global"] = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
    config["rule_files"] = [str(RULES)]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [gateway.admin.partition("//")[2]]}]
    prometheus = Prometheus(tmp_path, config)
    yield prometheus
    prometheus.stop()


def test_prometheus_scrapes_a_gateway(gateway: Stack, prometheus: Prometheus) -> None:
    prometheus.until_it_says('up{job="gateway"}', 1.0)
    prometheus.until_it_says("icws_network_ready", 1.0)

    def target() -> dict[str, Any]:
        found: dict[str, Any] = prometheus.get("/api/v1/targets?state=active")["activeTargets"][0]
        return found

    # a busy machine may miss the time limit of one scrape or another
    prometheus.until(lambda: target()["lastError"] == "")
    assert target()["labels"] == {"instance": gateway.admin.partition("//")[2], "job": "gateway"}
    # nothing that a scrape has is refused, and all that is declared has come
    series = set(prometheus.get("/api/v1/label/__name__/values"))
    expected = {entry.name for entry in METRICS.declared if entry.kind != "histogram"}
    expected |= {f"{entry.name}_bucket" for entry in METRICS.declared if entry.kind == "histogram"}
    # without TLS there is no certificate, without clients no canister and nothing that confirms the network's time,
    # without a URL no access list; a gauge without a value is not shown
    unseen = {entry.name for entry in METRICS.declared if isinstance(entry.meter, RankedGauge)}
    unseen |= {"icws_tls_certificate_expiry_seconds", "icws_clock_skew_seconds", "icws_access_list_age_seconds"}
    assert expected - series <= unseen
    kinds = {name: found[0]["type"] for name, found in prometheus.get("/api/v1/metadata").items()}
    assert kinds["icws_query_seconds"] == "histogram"
    assert kinds["icws_sessions"] == "gauge"
    # every query of rules and dashboards is answered by it
    for where, query in queries().items():
        words = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
        assert prometheus.ask(words) is not None, where


def test_an_alert_fires_when_the_gateway_dies(gateway: Stack, prometheus: Prometheus) -> None:
    prometheus.until_it_says('up{job="gateway"}', 1.0)
    gateway.server.kill()
    prometheus.until_it_says('count by (instance) (ALERTS{alertname="IcwsDown",alertstate="pending"})', 1.0)
