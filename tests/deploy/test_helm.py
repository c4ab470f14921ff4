"""The Helm chart, linted and rendered by Helm itself, against the kustomization that it stands beside."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from icwsgw._version import __version__
from icwsgw.config.schema import GatewayConfig
from tests.deploy.kustomize import Resource, build, find
from tests.deploy.test_kubernetes import KUBERNETES, VERSIONS, config_of, container, ports
from tests.deploy.tools import DEPLOY, ROOT, read_yaml

pytestmark = pytest.mark.deploy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHART = DEPLOY / "helm" / "icws"
Read = Callable[[list[str], dict[str, str]], GatewayConfig]
TABLES = '[canister."bkyz2-fmaaa-aaaaa-qaaaq-cai"]\nmax-connections = 50\n'
ALL: dict[str, Any] = {
    "image": {"repository": "registry.example.com/icwsgw", "tag": "1.0"},
    "options": {"trusted-proxy": ["10.0.0.0/8", "192.168.0.0/16"], "max-connections": 1_000_000},
    "config": TABLES,
    "tls": {"secretName": "icws-tls"},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/a": "b"}},
    "ingress": {"enabled": True},
    "autoscaling": {"enabled": True},
    "monitoring": {"enabled": True},
    "persistence": {"storageClassName": "fast"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gateways", "operator": "Exists"}],
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"team": "web"},
}
LITTLE: dict[str, Any] = {
    "persistence": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "image": {"digest": "sha256:" + 64 * "0"},
}


class _Helm:
    """Helm's own code, which only what runs these tests has (setup.cfg: release)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("helm_python"), name)


helm = _Helm()


def render(values: dict[str, Any] | None = None, name: str = "icws") -> list[Resource]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values or {}, name=name, namespace="icws")
    return [
        resource
        for path, text in files.items()
        if path.endswith(".yaml")
        for resource in yaml.safe_load_all(text)
        if resource
    ]


def comparable(resource: Resource) -> Resource:
    """A resource without what a chart adds to labels, and without the name of its ConfigMap, which kustomize makes."""
    text = yaml.safe_dump(resource)
    plain: Resource = yaml.safe_load(text)

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            extra = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}
            extra |= {"helm.sh/chart", "checksum/config"}
            stripped = {key: strip(each) for key, each in value.items() if key not in extra}
            return {key: each for key, each in stripped.items() if key != "annotations" or each}
        if isinstance(value, list):
            return [strip(each) for each in value]
        return value

    done: Resource = strip(plain)
    return done


def test_helm_has_nothing_to_say() -> None:
    report = helm.lint(CHART, strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"] if message["severity"] > 1] == []
    assert helm.lint(CHART, ALL, strict=True)["errors"] == []


def test_by_default_it_is_the_kustomize_base() -> None:
    ours, theirs = render(), build(KUBERNETES / "base")
    assert {(each["kind"], each["metadata"]["name"]) for each in ours} == {
        (each["kind"], each["metadata"]["name"]) for each in theirs
    }
    for resource in theirs:
        mine = comparable(find(ours, resource["kind"], resource["metadata"]["name"]))
        wanted = comparable(resource)
        if resource["kind"] == "StatefulSet":
            mine["spec"]["template"]["spec"]["containers"][0]["image"] = "icwsgw"
        if resource["kind"] == "ConfigMap":
            assert mine["data"] == wanted["data"]
            continue
        if resource["kind"] == "Service":
            # what Kubernetes sets anyway
            mine["spec"].pop("type", None)
        assert mine == wanted, resource["kind"]


def test_with_all_parts_it_has_what_the_overlays_have() -> None:
    ours = render(ALL)
    for overlay in ("ingress", "loadbalancer"):
        for resource in build(KUBERNETES / "overlays" / overlay):
            mine = find(ours, resource["kind"], resource["metadata"]["name"])
            if resource["kind"] in ("ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler", "Ingress"):
                assert comparable(mine)["spec"] == comparable(resource)["spec"], resource["kind"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [{}, ALL, LITTLE], ids=["default", "all", "little"])
def test_kubernetes_has_every_field(values: dict[str, Any], version: str) -> None:
    for resource in render(values):
        if not resource["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_gateway_understands_its_options(understood: Read) -> None:
    resources = render(ALL)
    data = dict(find(resources, "ConfigMap", "icws")["data"])
    assert tomllib.loads(find(resources, "ConfigMap", "icws-config")["data"]["icws.toml"]) == tomllib.loads(TABLES)
    mounts = {entry["name"]: entry["mountPath"] for entry in container(resources)["volumeMounts"]}
    assert data.pop("ICWS_CONFIG") == f"{mounts['config']}/icws.toml"
    config = understood([], data)
    assert config.trusted_proxies == ("10.0.0.0/8", "192.168.0.0/16")
    assert config.max_connections == 1_000_000
    assert str(config.tls_certificate_pem_path) == f"{mounts['tls']}/tls.crt"
    usual = config_of(render(), understood)
    assert usual.gateways_per_address == 2
    spec = find(render(), "StatefulSet", "icws")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 10 + usual.longest_stop


def test_another_release_has_other_names_and_selectors() -> None:
    resources = render(ALL, name="web")
    assert {each["metadata"]["name"].removesuffix("-pods").removesuffix("-config") for each in resources} == {
        "web-icws"
    }
    spec = find(resources, "StatefulSet", "web-icws")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels["team"] == "web"
    for name in ("web-icws", "web-icws-pods"):
        assert find(resources, "Service", name)["spec"]["selector"].items() <= labels.items()
    assert labels["app.kubernetes.io/instance"] == "web"
    assert spec["serviceName"] == "web-icws-pods"
    assert find(resources, "HorizontalPodAutoscaler", "web-icws")["spec"]["scaleTargetRef"]["name"] == "web-icws"
    assert "replicas" not in spec
    assert ports(render()) == {"ws": 8080, "admin": 9090}


def test_another_configuration_is_a_rollout() -> None:
    def checksum(values: dict[str, Any]) -> str:
        spec = find(render(values), "StatefulSet", "icws")["spec"]["template"]
        return str(spec["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicas": 3}) != checksum({"config": TABLES})


def test_an_image_by_digest() -> None:
    (pod,) = find(render(LITTLE), "StatefulSet", "icws")["spec"]["template"]["spec"]["containers"]
    assert pod["image"] == f"registry.example.com/icwsgw@sha256:{64 * '0'}"
    (pod,) = find(render(), "StatefulSet", "icws")["spec"]["template"]["spec"]["containers"]
    assert pod["image"] == f"registry.example.com/icwsgw:{__version__}"


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 3},
        {"image": {"digest": "sha256:1"}},
        {"options": {"Max_Connections": 5}},
        {"service": {"type": "None"}},
        {"replicas": 0},
    ],
)
def test_mistaken_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        render(values)


def test_what_the_chart_sets_itself_is_refused() -> None:
    with pytest.raises(helm.HelmError, match=r"options\.data-dir: the chart sets it"):
        render({"options": {"data-dir": "/data"}})


def test_versions_and_rules_are_those_of_the_repository() -> None:
    assert read_yaml(CHART / "Chart.yaml")["appVersion"] == __version__
    assert (CHART / "files" / "rules.yml").read_bytes() == (DEPLOY / "prometheus" / "rules.yml").read_bytes(), (
        "run deploy/kubernetes/make_prometheusrule.py"
    )
    assert f"helm install icws {CHART.relative_to(ROOT)}" in (DEPLOY / "README.md").read_text()


def test_it_can_be_packaged(tmp_path: Path) -> None:
    made = helm.package(CHART, destination=tmp_path)
    with helm.Chart.load(made) as chart:
        assert (chart.name, chart.schema is not None) == ("icws", True)
        assert {each["name"] for each in chart.files} >= {"files/rules.yml"}
