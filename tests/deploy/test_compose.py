"""The compose setups: read by docker-compose itself, their gateway's words by the gateway."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from icwsgw.config.addresses import tcp_port
from icwsgw.config.schema import GatewayConfig
from tests.deploy.tools import DEPLOY, ROOT, calls, read_environment, read_yaml, run, stub, tool

pytestmark = pytest.mark.deploy

COMPOSE = DEPLOY / "compose"
Read = Callable[[list[str], dict[str, str]], GatewayConfig]

#: The variables of the original's .env.example and .env.local, with values of their form.
ORIGINAL_PROD = {
    "IC_URL": "https://icp0.io",
    "POLLING_INTERVAL": "150",
    "MIN_INCOMING_INTERVAL": "100",
    "LISTEN_PORT": "8443",
    "DOMAIN_NAME": "icws.example",
    "RUST_LOG_FILE": "ic_websocket_gateway=trace",
    "RUST_LOG_STDOUT": "ic_websocket_gateway=debug",
    "OPENTELEMETRY_COLLECTOR_ENDPOINT": "grpc://otlp_collector:4317",
    "RUST_LOG_TELEMETRY": "ic_websocket_gateway=trace",
    "GRAFANA_TEMPO_ENDPOINT": "https://tempo.example",
    "GRAFANA_TEMPO_ACCESS_TOKEN": "dG9rZW4=",
    "GRAFANA_TEMPO_LOCAL": "false",
    "GRAFANA_PROMETHEUS_ENDPOINT": "https://prometheus.example/api/prom/push",
    "GRAFANA_PROMETHEUS_USERNAME": "4711",
    "GRAFANA_PROMETHEUS_TOKEN": "it's secret",
}
ORIGINAL_LOCAL = {
    "IC_URL": "http://host.docker.internal:4943",
    "POLLING_INTERVAL": "100",
    "MIN_INCOMING_INTERVAL": "100",
    "RUST_LOG_FILE": "ic_websocket_gateway=trace",
    "RUST_LOG_STDOUT": "ic_websocket_gateway=debug",
    "OPENTELEMETRY_COLLECTOR_ENDPOINT": "grpc://otlp_collector:4317",
    "RUST_LOG_TELEMETRY": "ic_websocket_gateway=trace",
    "GRAFANA_TEMPO_ENDPOINT": "tempo:4318",
    "GRAFANA_TEMPO_LOCAL": "true",
    "GF_SECURITY_ADMIN_USER": "admin",
    "GF_SECURITY_ADMIN_PASSWORD": "admin",
}
OURS_PROD = read_environment((COMPOSE / ".env.example").read_text())
OURS_LOCAL = read_environment((COMPOSE / ".env.local").read_text())

SETUPS = {
    "prod": (["prod"], ORIGINAL_PROD),
    "prod, our .env": (["prod"], OURS_PROD),
    "prod and monitoring": (["prod", "monitoring"], ORIGINAL_PROD),
    "local": (["local"], ORIGINAL_LOCAL),
    "local, our .env": (["local"], OURS_LOCAL),
    "devnet": (["local", "devnet"], ORIGINAL_LOCAL),
}


@pytest.fixture
def merged(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """What compose makes of a setup."""

    def merge(setup: str) -> dict[str, Any]:
        names, environment = SETUPS[setup]
        file = tmp_path / "env"
        file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        files = [word for name in names for word in ("-f", COMPOSE / f"docker-compose-{name}.yml")]
        output = run(
            tool("docker-compose", "docker-compose"),
            *("-f", COMPOSE / "docker-compose.yml", *files, "--env-file", file, "config"),
        )
        assert "variable is not set" not in output
        # a warning of the program about its own age may come first
        result: dict[str, Any] = yaml.safe_load(output[output.index("networks:") :])
        return result

    return merge


def gateway_of(merged: dict[str, Any], understood: Read) -> GatewayConfig:
    service = merged["services"]["ic_websocket_gateway"]
    return understood(service["command"], {name: str(value) for name, value in service["environment"].items()})


def ports(service: dict[str, Any]) -> list[tuple[str, int]]:
    """(what of the host, port of the container)."""
    found = []
    for entry in service.get("ports", []):
        if isinstance(entry, dict):
            found.append((str(entry["published"]), int(entry["target"])))
        else:
            host, _, target = entry.partition("/")[0].rpartition(":")
            found.append((host, int(target)))
    return found


@pytest.mark.parametrize("setup", SETUPS)
def test_compose_and_the_gateway_understand_it(
    merged: Callable[[str], dict[str, Any]], understood: Read, setup: str
) -> None:
    whole = merged(setup)
    services = whole["services"]
    config = gateway_of(whole, understood)
    gateway = services["ic_websocket_gateway"]
    assert config.gateway_addresses == ("tcp:8080:interface=0.0.0.0",)
    assert [port for _, port in ports(gateway)] == [8080] if setup != "devnet" else [8080, 4943]
    # the original's exporter listens on 9000, and Prometheus' configurations say so
    assert config.prometheus_endpoint is not None
    assert tcp_port(config.prometheus_endpoint) == 9000
    assert gateway["environment"]["ICWS_HEALTH_URL"] == "http://127.0.0.1:9000/health/live"
    assert config.opentelemetry_collector_endpoint == "grpc://otlp_collector:4317"
    assert config.longest_stop < float(gateway["stop_grace_period"].removesuffix("s"))
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            assert os.path.isabs(target)
            if source.startswith("/") and "/volumes/" not in source:
                assert Path(source).exists(), f"{name}: {source}"
        for outside, _ in ports(service):
            # only clients come from other machines
            assert outside.startswith("127.0.0.1:") or (name, setup[:4]) == ("ic_websocket_gateway", "prod")


def test_the_originals_words_arrive(merged: Callable[[str], dict[str, Any]], understood: Read) -> None:
    whole = merged("prod")
    config = gateway_of(whole, understood)
    services = whole["services"]
    assert config.ic_network_url == "https://icp0.io"
    assert config.polling_interval == 0.15
    assert (config.log_level, config.log_file_level) == ("debug", "trace")
    certs = "/ic-ws-gateway/data/certs/live/icws.example"
    assert str(config.tls_certificate_pem_path) == f"{certs}/fullchain.pem"
    assert str(config.tls_certificate_key_pem_path) == f"{certs}/privkey.pem"
    assert ports(services["ic_websocket_gateway"]) == [("8443", 8080)]
    assert f"{COMPOSE}/volumes/ic-ws-gateway/data:/ic-ws-gateway/data:rw" in services["ic_websocket_gateway"]["volumes"]
    for name in ("otlp_collector", "prometheus"):
        for variable, value in services[name]["environment"].items():
            assert value == ORIGINAL_PROD[variable]
    # secrets go only to those who need them
    assert not any("GRAFANA" in name for name in services["ic_websocket_gateway"]["environment"])


def test_the_devnet_needs_no_replica(merged: Callable[[str], dict[str, Any]], understood: Read) -> None:
    config = gateway_of(merged("devnet"), understood)
    assert config.devnet
    assert config.devnet_listen == "tcp:4943"


def test_containers_find_each_other(merged: Callable[[str], dict[str, Any]]) -> None:
    services = merged("local")["services"]
    assert set(services) == {
        "ic_websocket_gateway", "data_owner", "otlp_collector", "prometheus", "grafana", "tempo",
    }  # fmt: skip
    collector = read_yaml(COMPOSE / "otel-config.yaml")
    assert collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    tempo = read_yaml(COMPOSE / "tempo-config.yaml")
    receiver = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert ORIGINAL_LOCAL["GRAFANA_TEMPO_ENDPOINT"] == receiver.replace("0.0.0.0", "tempo")
    sources = {entry["type"]: entry["url"] for entry in read_yaml(COMPOSE / "grafana/datasources.yaml")["datasources"]}
    assert sources == {
        "prometheus": "http://prometheus:9090",
        "tempo": f"http://tempo:{tempo['server']['http_listen_port']}",
    }
    (provider,) = read_yaml(COMPOSE / "grafana/dashboards.yaml")["providers"]
    assert f"{DEPLOY}/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    scrape = read_yaml(COMPOSE / "prometheus/prometheus.yml")["scrape_configs"]
    assert [job["static_configs"] for job in scrape] == [[{"targets": ["ic_websocket_gateway:9000"]}]]


def test_the_collectors_pipelines_are_whole() -> None:
    config = read_yaml(COMPOSE / "otel-config.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    text = (COMPOSE / "otel-config.yaml").read_text()
    given = read_yaml(COMPOSE / "docker-compose.yml")["services"]["otlp_collector"]["environment"]
    assert set(re.findall(r"\$\{env:(\w+)\}", text)) == set(given)


def test_the_image_is_built_from_this_repository() -> None:
    service = read_yaml(COMPOSE / "docker-compose.yml")["services"]["ic_websocket_gateway"]
    assert (COMPOSE / service["build"]["context"]).resolve() == ROOT
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "WORKDIR /ic-ws-gateway\n" in dockerfile
    assert "ICWS_HEALTH_URL" in dockerfile


class TestPrometheusEntrypoint:
    """entrypoint.sh, run by a shell, with a stub for Prometheus and the real promtool for what it wrote."""

    def start(self, directory: Path, **environment: str) -> str:
        made = directory / "run"
        made.mkdir()
        stub(directory / "bin", "prometheus")
        run(
            *("sh", COMPOSE / "prometheus/entrypoint.sh", "--storage.tsdb.path=/prometheus"),
            environment={
                "PATH": f"{directory}/bin:{os.environ['PATH']}",
                "CONFIG_SOURCE": str(COMPOSE / "prometheus/prometheus.yml"),
                "CONFIG_DIRECTORY": str(made),
                **environment,
            },
        )
        assert calls(directory / "bin") == [
            f"prometheus --config.file={made}/prometheus.yml --storage.tsdb.path=/prometheus"
        ]
        run(tool("promtool", "prometheus"), "check", "config", "--syntax-only", made / "prometheus.yml")
        return (made / "prometheus.yml").read_text()

    def test_metrics_stay_here(self, tmp_path: Path) -> None:
        assert self.start(tmp_path) == (COMPOSE / "prometheus/prometheus.yml").read_text()

    def test_metrics_go_to_grafana_cloud_as_well(self, tmp_path: Path) -> None:
        written = self.start(
            tmp_path, **{name: value for name, value in ORIGINAL_PROD.items() if name.startswith("GRAFANA_PROMETHEUS")}
        )
        (remote,) = yaml.safe_load(written)["remote_write"]
        token = Path(remote["basic_auth"]["password_file"])
        assert remote["url"] == "https://prometheus.example/api/prom/push"
        assert remote["basic_auth"]["username"] == "4711"
        assert token.read_text() == "it's secret"
        assert token.stat().st_mode & 0o077 == 0
        assert "secret" not in written

    def test_words_stay_words(self, tmp_path: Path) -> None:
        nasty = 'o\'clock: #1 $(id) `id` "x" \\'
        written = self.start(tmp_path, GRAFANA_PROMETHEUS_ENDPOINT="http://x/", GRAFANA_PROMETHEUS_USERNAME=nasty)
        assert yaml.safe_load(written)["remote_write"][0]["basic_auth"]["username"] == nasty
