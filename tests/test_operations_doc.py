"""The operator's pages against what there is: options, metrics, close codes, signals, paths, log lines, alerts, links.

The commands are run by tests/acceptance/test_operations_guide.py.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from icwsgw.config.schema import OPTIONS
from icwsgw.core.close_reasons import CloseCode
from icwsgw.observe.labels import CLOSE_CODES
from icwsgw.observe.metrics import Metrics, SupervisorMetrics
from icwsgw.tap import Options
from tests.support.guide import anchors, broken_links, commands, missing_line, prose
from tests.test_layering import PACKAGE, ROOT

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("operations", "tls", "upgrade", "from-rust-gateway", "runbook")]
DOCUMENT = "\n".join(page.read_text() for page in PAGES)
SPANS = re.findall(r"`([^`\n]+)`", prose(DOCUMENT))

#: Options of other programs that the guide names by themselves.
OTHERS = {"--read-only", "--ulimit", "--logfile", "--syslog", "--uid", "--gid", "--chroot"}
OURS = {f"--{name.rstrip('=')}" for name in Options().longOpt}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_heading_hides_another(page: Path) -> None:
    found = anchors(page.read_text())
    assert sorted(found) == sorted(set(found))


def test_every_option_exists() -> None:
    named = {word for span in SPANS for word in re.findall(r"^--[a-z][a-z-]*", span)}
    lines = re.findall(r"twistd(?: .*?)? icws (.*?)$", DOCUMENT.replace("\\\n", " "), re.M)
    named |= {word for line in lines for word in re.findall(r"(?<!\S)--[a-z][a-z-]*", re.split(r"[|;>]", line)[0])}
    assert len(named) > 40
    assert named - OURS - OTHERS == {"--poling-interval"}, "which is misspelt on purpose"


def test_every_variable_exists() -> None:
    known = {entry.variable for entry in OPTIONS} | {"ICWS_CONFIG", "ICWS_TLS_DIR"}
    assert set(re.findall(r"\bICWS_[A-Z_]+", DOCUMENT)) <= known


def metrics() -> set[str]:
    registry = CollectorRegistry()
    declared = [*Metrics(registry).declared, *SupervisorMetrics(CollectorRegistry()).declared]
    process = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}
    return {entry.name for entry in declared} | process


def test_every_metric_exists() -> None:
    named = set(re.findall(r"\b(?:icws|process)_[a-z_]+\b", DOCUMENT)) | {"connection_opening_time"}
    assert len(named) > 20
    assert named <= metrics()


def test_every_close_code_is_explained() -> None:
    table = DOCUMENT.partition("## By close code")[2].partition("## By symptom")[0]
    rows = {code for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(", ")}
    assert rows >= {str(int(code)) for code in CloseCode}
    assert rows <= set(CLOSE_CODES)
    # reasons are what the gateway says: what is longest in each between its numbers, ids and quotes
    sources = package_text()
    reasons = [
        reason for cell in re.findall(r"^\| \d+ \| (`.*?`) \|", table, re.M) for reason in re.findall(r"`(.*?)`", cell)
    ]
    assert len(reasons) > 15
    for reason in reasons:
        assert max(re.split(r"\.\.\.|[\d.]+|'\w+'|^ws_\w+|frames|MiB", reason), key=len).strip() in sources, reason


def test_every_signal_exists() -> None:
    for name in set(re.findall(r"\bSIG[A-Z]+\d?\b", DOCUMENT)):
        assert hasattr(signal, name), name


def test_every_path_exists() -> None:
    named = {span for span in SPANS if re.match(r"(?:deploy|docs|tests|scripts|icwsgw)/\S*$", span)}
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    units = {span for span in SPANS if re.fullmatch(r"[\w-]+\.(?:socket|conf|service|target)", span)}
    assert [unit for unit in sorted(units) if not (ROOT / "deploy" / "systemd" / unit).exists()] == []


def package_text() -> str:
    """All sources, with the pieces of strings that stand in several lines put together."""
    text = "\n".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_lines_of_the_log_are_what_the_code_writes() -> None:
    sources = package_text()
    searched = set(re.findall(r"grep '([^'=]+)' icws\.log", DOCUMENT))
    lines = {"TLS certificate reloaded", "invalid TLS certificate ignored"}
    lines |= {"exporting traces failed", "no traces are exported at this level"}
    lines |= {"accepting paused", "ws_close calls abandoned"}
    assert len(searched) > 4
    assert all(words in DOCUMENT.replace("\n", " ") for words in lines)
    assert sorted(words for words in searched | lines if words not in sources) == []


def rules() -> dict[str, str]:
    """Severities of the alerts."""
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_its_section_and_no_section_is_left_over() -> None:
    sections = re.findall(r"^### (Icws\w+)\n\n\*(\w+)\.\*", DOCUMENT, re.M)
    assert dict(sections) == rules()
    assert len(re.findall(r"^### Icws", DOCUMENT, re.M)) == len(sections)


def test_what_is_run_elsewhere_is_there() -> None:
    run = list(commands(DOCUMENT, "console run"))
    assert len(run) > 20
    assert sum(len(command.printed) for command in run) > 15


def test_versions_of_the_readers(tmp_path: Path) -> None:
    """The helpers of this test and of the one that runs the commands."""
    document = """# A `b`, c
[x](#a-b-c) [y](#none) [z](other.md#d) [w](missing.md)
```console run
$ a
1
$ b
```
```sh
# no
```
"""
    file = tmp_path / "guide.md"
    file.write_text(document)
    (tmp_path / "other.md").write_text("## D\n")
    assert anchors(document) == ["a-b-c"]
    assert broken_links(file) == ["#none", "missing.md"]
    assert [tuple(command) for command in commands(document, "console run")] == [("a", ["1"]), ("b", [])]


@pytest.mark.parametrize(
    ("expected", "printed", "missing"),
    [
        (["a", "c"], ["a", "b", "c"], None),
        (["c", "a"], ["a", "b", "c"], "a"),
        (["x ... z", "v 0.1.0."], ["x y z", "v 12.0.3."], None),
        (["a"], ["ab"], "a"),
        (["a.c"], ["abc"], "a.c"),
        ([], [], None),
    ],
)
def test_what_has_to_be_printed(expected: list[str], printed: list[str], missing: str | None) -> None:
    assert missing_line(expected, printed) == missing
