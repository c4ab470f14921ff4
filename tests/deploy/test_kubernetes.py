"""The Kubernetes setups: each resource by Kubernetes' own schemas, and whether they fit each other and the gateway."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from icwsgw.config.addresses import tcp_port
from icwsgw.config.schema import MAINNET_BUDGET, GatewayConfig
from icwsgw.observe.labels import STATES
from icwsgw.observe.metrics import Metrics
from tests.deploy.kustomize import Resource, build, find
from tests.deploy.tools import DEPLOY, ROOT, read_yaml

pytestmark = pytest.mark.deploy

KUBERNETES = DEPLOY / "kubernetes"
SETUPS = ["base", "overlays/ingress", "overlays/loadbalancer"]
#: Versions whose schemas the resources follow: the newest, and one that clusters with support still have.
VERSIONS = ["1.37", "1.31"]
Read = Callable[[list[str], dict[str, str]], GatewayConfig]


@pytest.fixture(params=SETUPS)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return build(KUBERNETES / request.param)


def container(resources: list[Resource]) -> dict[str, Any]:
    (found,) = find(resources, "StatefulSet", "icws")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def pod_labels(resources: list[Resource]) -> dict[str, str]:
    labels = find(resources, "StatefulSet", "icws")["spec"]["template"]["metadata"]["labels"]
    assert isinstance(labels, dict)
    return labels


def ports(resources: list[Resource]) -> dict[str, int]:
    return {entry["name"]: entry["containerPort"] for entry in container(resources)["ports"]}


def config_of(resources: list[Resource], understood: Read) -> GatewayConfig:
    reference = container(resources)["envFrom"][0]["configMapRef"]["name"]
    return understood([], find(resources, "ConfigMap", reference)["data"])


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_has_every_field(resources: list[Resource], version: str) -> None:
    for resource in resources:
        if not resource["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_gateway_understands_its_options(resources: list[Resource], understood: Read) -> None:
    config = config_of(resources, understood)
    assert config.is_mainnet
    assert [tcp_port(address) for address in config.gateway_addresses] == [ports(resources)["ws"]]
    assert config.prometheus_endpoint is not None
    assert tcp_port(config.prometheus_endpoint) == ports(resources)["admin"]
    mounts = {entry["name"]: entry["mountPath"] for entry in container(resources)["volumeMounts"]}
    assert mounts["data"] == str(config.data_dir)
    if config.tls_certificate_pem_path is not None:
        assert str(config.tls_certificate_pem_path.parent) == mounts["tls"]


def test_a_pod_has_the_time_to_drain(resources: list[Resource], understood: Read) -> None:
    spec = find(resources, "StatefulSet", "icws")["spec"]["template"]["spec"]
    sleep, seconds = container(resources)["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    longest_stop = config_of(resources, understood).longest_stop
    assert spec["terminationGracePeriodSeconds"] >= int(seconds) + longest_stop
    # it is out of the endpoints by its probes before it stops to accept
    probe = container(resources)["readinessProbe"]
    assert int(seconds) >= probe["periodSeconds"] * probe["failureThreshold"]


def test_probes_ask_what_the_gateway_answers(resources: list[Resource]) -> None:
    from icwsgw.admin import prometheus_endpoint

    pages = prometheus_endpoint.__doc__ or ""
    probes = {name: container(resources)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    for probe in probes.values():
        assert probe["port"] in ports(resources)
        assert probe["path"] in pages


def test_selectors_find_the_pods(resources: list[Resource]) -> None:
    labels = pod_labels(resources).items()
    spec = find(resources, "StatefulSet", "icws")["spec"]
    assert spec["selector"]["matchLabels"].items() <= labels
    assert spec["serviceName"] == find(resources, "Service", "icws-pods")["metadata"]["name"]
    for resource in resources:
        selector: dict[str, str] | None = None
        if resource["kind"] == "Service":
            selector = resource["spec"]["selector"]
            for port in resource["spec"]["ports"]:
                assert port["targetPort"] in ports(resources)
        elif resource["kind"] == "PodDisruptionBudget":
            selector = resource["spec"]["selector"]["matchLabels"]
        elif resource["kind"] == "NetworkPolicy":
            selector = resource["spec"]["podSelector"]["matchLabels"]
            for rule in resource["spec"]["ingress"]:
                assert {port["port"] for port in rule["ports"]} <= set(ports(resources))
        elif resource["kind"] == "HorizontalPodAutoscaler":
            assert resource["spec"]["scaleTargetRef"]["name"] == "icws"
            assert "replicas" not in spec
        if selector is not None:
            assert selector
            assert selector.items() <= labels
    assert len({(entry["kind"], entry["metadata"]["name"]) for entry in resources}) == len(resources)


def test_pods_may_do_nothing_but_serve(resources: list[Resource]) -> None:
    spec = find(resources, "StatefulSet", "icws")["spec"]["template"]["spec"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"--uid {spec['securityContext']['runAsUser']} " in dockerfile
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container(resources)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_each_pod_has_a_key_of_its_own(resources: list[Resource]) -> None:
    spec = find(resources, "StatefulSet", "icws")["spec"]
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
    assert "data" not in {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


def test_the_service_monitor_finds_the_service_once() -> None:
    resources = build(KUBERNETES / "overlays/loadbalancer")
    monitor = find(resources, "ServiceMonitor", "icws")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [entry for entry in resources if entry["kind"] == "Service"]
    (service,) = [entry for entry in services if wanted <= entry["metadata"]["labels"].items()]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert {"targetLabel": "job", "replacement": "gateway"} in endpoint["relabelings"]


def test_the_rules_are_those_of_prometheus() -> None:
    made = runpy.run_path(str(KUBERNETES / "make_prometheusrule.py"))["prometheusrule"]()
    file = KUBERNETES / "monitoring" / "prometheusrule.yaml"
    assert file.read_text() == made, "run deploy/kubernetes/make_prometheusrule.py"
    assert read_yaml(file)["spec"] == read_yaml(DEPLOY / "prometheus" / "rules.yml")


@pytest.mark.parametrize("overlay", ["ingress", "loadbalancer"])
def test_the_image_is_the_one_that_the_guide_pushes(overlay: str) -> None:
    guide = (DEPLOY / "README.md").read_text()
    image = container(build(KUBERNETES / "overlays" / overlay))["image"]
    assert f"docker build -t {image} . && docker push {image}\n" in guide


def test_pods_of_a_node_share_its_budget(resources: list[Resource], understood: Read) -> None:
    config = config_of(resources, understood)
    spec = find(resources, "StatefulSet", "icws")["spec"]
    # with an autoscaler, on five nodes at least
    pods = spec.get("replicas", 20 // 5)
    assert config.gateways_per_address == pods
    assert pods * (config.queries_per_second or 0) <= MAINNET_BUDGET


def test_names_are_resolved_by_either_cache(resources: list[Resource]) -> None:
    policy = find(resources, "NetworkPolicy", "icws")["spec"]
    (rule,) = [rule for rule in policy["egress"] if any(port["port"] == 53 for port in rule["ports"])]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
    assert any("podSelector" in peer for peer in rule["to"])


def test_the_guide_names_what_the_cluster_needs() -> None:
    guide = (DEPLOY / "README.md").read_text()
    for overlay in ("ingress", "loadbalancer"):
        for resource in build(KUBERNETES / "overlays" / overlay):
            group = resource["apiVersion"].partition("/")[0]
            if "." in group and not group.endswith("k8s.io"):
                assert f"`{resource['kind']}`" in guide


def test_the_autoscaler_counts_sessions() -> None:
    resources = build(KUBERNETES / "overlays/loadbalancer")
    (metric,) = find(resources, "HorizontalPodAutoscaler", "icws")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {entry.name for entry in Metrics().declared}
    (rule,) = read_yaml(KUBERNETES / "autoscaling" / "adapter-rules.yaml")
    assert rule["name"]["as"] == name
    assert f"({name}{{" in rule["metricsQuery"]
    assert 'state!="closed"' in rule["metricsQuery"]
    assert "closed" in STATES
    # a pod that is scaled down costs its clients a reconnection
    assert find(resources, "HorizontalPodAutoscaler", "icws")["spec"]["behavior"]["scaleDown"]["policies"] == [
        {"type": "Pods", "value": 1, "periodSeconds": 600}
    ]
