"""Writes monitoring/prometheusrule.yaml: the rules of ../prometheus/rules.yml as the Prometheus operator takes them.

Also copies the rules into the Helm chart, which can only read its own files.

``python deploy/kubernetes/make_prometheusrule.py``; a test runs this and compares.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules.yml"
TARGET = HERE / "monitoring" / "prometheusrule.yaml"
CHART = HERE.parent / "helm" / "icws" / "files" / "rules.yml"

HEAD = """\
# Made by make_prometheusrule.py of deploy/prometheus/rules.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: icws
  labels:
    app.kubernetes.io/name: icws
spec:
"""


def prometheusrule() -> str:
    """The text of the resource: the groups, indented, under its head."""
    groups = RULES.read_text().partition("\ngroups:\n")[2]
    lines = ["groups:", *groups.splitlines()]
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


if __name__ == "__main__":
    TARGET.write_text(prometheusrule())
    CHART.write_text(RULES.read_text())
