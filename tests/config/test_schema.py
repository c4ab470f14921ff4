import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.addresses import Exposure, exposure
from icwsgw.config.option import GROUPS, MOST_USED
from icwsgw.config.schema import BY_NAME, MAINNET_BUDGET, MOST_USED_NAMES, OPTIONS, GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from tests.support.certificates import ROOT_KEY_DER
from tests.test_layering import PACKAGE, ROOT

DEFAULTS: dict[str, Any] = {
    "gateway_addresses": ("tcp:8080",),
    "ic_network_url": "http://127.0.0.1:4943",
    "polling_interval": 0.1,
    "prometheus_endpoint": "tcp:9090:interface=127.0.0.1",
    "max_message_bytes": 2 * 1024 * 1024 + 64 * 1024,
    "max_answer_bytes": 3 * 1024 * 1024 + 64 * 1024,
    "outbox_bytes": 32 * 1024 * 1024,
    "max_connections": 50_000,
    "relay_order": "executed",
    "open_timeout": 50.0,
}


def test_defaults_are_those_of_the_documents() -> None:
    config = GatewayConfig()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


def test_what_has_no_access_control_is_on_loopback_by_default() -> None:
    names = ("prometheus-endpoint", "devnet-listen")
    assert [exposure(BY_NAME[name].default) for name in names] == [Exposure.LOOPBACK] * 2
    of_the_original = BY_NAME["prometheus-endpoint"].kind.parse("0.0.0.0:9000")
    assert exposure(of_the_original) is Exposure.ANYWHERE
    image = re.search(r"^ENV ICWS_PROMETHEUS_ENDPOINT=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert image is not None
    assert exposure(image[1]) is Exposure.ANYWHERE, "a port on a container's loopback cannot be published"


def test_the_options_that_people_change_first_come_first() -> None:
    assert tuple(entry.name for entry in OPTIONS[:15]) == MOST_USED_NAMES
    assert {entry.name for entry in OPTIONS if entry.group == MOST_USED} == set(MOST_USED_NAMES)


def test_every_field_is_an_option_that_explains_itself() -> None:
    assert sorted(entry.field for entry in OPTIONS) == sorted(field.name for field in dataclasses.fields(GatewayConfig))
    assert [entry.group for entry in OPTIONS] == sorted((entry.group for entry in OPTIONS), key=GROUPS.index)
    assert len(BY_NAME) == len(OPTIONS) == len({entry.variable for entry in OPTIONS})
    for entry in OPTIONS:
        assert entry.help.endswith("."), entry.name
        assert entry.reason.endswith("."), f"{entry.name}: why is this its default?"
        assert entry.name == entry.name.lower()
        assert "_" not in entry.name


@pytest.mark.parametrize("entry", OPTIONS, ids=lambda entry: entry.name)
def test_every_default_can_be_written_as_text(entry: Any) -> None:
    value = entry.kind.parse(entry.kind.show(entry.default))
    assert value == (entry.default.absolute() if isinstance(entry.default, Path) else entry.default)


@pytest.mark.parametrize("entry", OPTIONS, ids=lambda entry: entry.name)
def test_every_example_is_of_use_and_not_the_default(entry: Any) -> None:
    value = entry.kind.parse(entry.example or entry.kind.example)
    assert value != entry.default


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gateway_addresses": ()}, "--gateway-address"),
        ({"tls_certificate_pem_path": Path("c.pem")}, "go together"),
        ({"tls_certificate_key_pem_path": Path("k.pem")}, "go together"),
        ({"allowed_canisters": ("aaaaa-aa",), "denied_canisters": ("aaaaa-aa",)}, "aaaaa-aa is both"),
        ({"first_message_timeout": 61.0}, r"--first-message-timeout \(61\) may not be above --open-timeout \(50\)"),
        ({"pong_timeout": 26.0}, "--pong-timeout"),
        ({"admin_endpoint": "tcp:9091"}, "--admin-endpoint tcp:9091: other machines may reach it"),
        (
            {
                **{"tls_certificate_pem_path": Path("/c"), "tls_certificate_key_pem_path": Path("/k")},
                "tls_certificate_dir": Path("/d"),
            },
            "--tls-certificate-dir takes the place of",
        ),
        ({"admin_endpoint": "tcp:9090"}, "--admin-token-file"),
        (
            {"admin_endpoint": "unix:/s", "gateway_addresses": ("unix:/s",)},
            "address unix:/s is used twice",
        ),
        ({"outbox_bytes": 1 << 20}, "--max-message-bytes"),
        ({"relay_queue_bytes": 1 << 20}, "--relay-queue-bytes"),
        ({"gateway_addresses": ("tcp:1", "tcp:1")}, "tcp:1 is used twice, by --gateway-address$"),
        (
            {"gateway_addresses": ("tcp:9090",), "prometheus_endpoint": "tcp:9090"},
            "tcp:9090 is used twice, by --gateway-address and --prometheus-endpoint$",
        ),
        (
            {"devnet": True, "devnet_listen": "tcp:8080"},
            "tcp:8080 is used twice, by --gateway-address and --devnet-listen$",
        ),
    ],
)
def test_contradictions(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GatewayConfig(**changes)


def test_what_does_not_contradict() -> None:
    GatewayConfig(ping_interval=0.0, pong_timeout=30.0)
    GatewayConfig(gateway_addresses=("tcp:0", "tcp:0"), prometheus_endpoint=None)


@pytest.mark.parametrize(
    ("url", "mainnet"),
    [
        ("https://icp0.io", True),
        ("https://icp-api.io", True),
        ("https://some.icp0.io", True),
        ("http://icp0.io", True),
        ("https://ic0.app", True),
        ("https://icp.net", True),
        ("https://icp0.io.example", False),
        ("https://noticp0.io", False),
        ("http://127.0.0.1:4943", False),
    ],
)
def test_mainnet(url: str, mainnet: bool) -> None:
    assert GatewayConfig(ic_network_url=url).is_mainnet is mainnet


def test_queries_are_budgeted_where_boundary_nodes_ban() -> None:
    mainnet = GatewayConfig(ic_network_url="https://icp-api.io")
    assert mainnet.queries_per_second == MAINNET_BUDGET
    assert replace(mainnet, query_budget=0).queries_per_second is None
    for gateways in (1, 2, 3, 7, 1000):
        divided = replace(mainnet, gateways_per_address=gateways)
        assert divided.queries_per_second == max(1, MAINNET_BUDGET // gateways)
        assert replace(divided, query_budget=77).queries_per_second == 77, "who says a number means this gateway's"
        assert divided.opens_per_second == (divided.queries_per_second or 0) / 2
    assert GatewayConfig().queries_per_second is None
    # it follows the key, not the name; what may turn out to be mainnet is treated as such
    public = GatewayConfig(ic_network_url="https://bn.example")
    assert public.queries_per_second == replace(public, root_key="mainnet").queries_per_second == MAINNET_BUDGET
    assert replace(public, root_key=ROOT_KEY_DER.hex()).queries_per_second is None
    assert replace(mainnet, root_key=ROOT_KEY_DER.hex()).queries_per_second is None
    assert GatewayConfig(query_budget=5).queries_per_second == 5


def test_the_root_key() -> None:
    config = GatewayConfig(ic_network_url="https://bn.example", root_key="mainnet")
    assert config.is_mainnet
    assert config.network.root_key == MAINNET_ROOT_KEY_DER
    assert GatewayConfig().network.root_key is None
    with pytest.raises(ConfigError, match="--devnet has a root key of its own"):
        GatewayConfig(devnet=True, root_key="mainnet")


def test_every_option_is_used_somewhere() -> None:
    declared = {path for path in (PACKAGE / "config").glob("*.py") if " option(" in path.read_text()}
    used = {word for path in set(PACKAGE.rglob("*.py")) - declared for word in re.findall(r"\w+", path.read_text())}
    assert declared
    assert {entry.field for entry in OPTIONS} - used == set()


def test_key_path() -> None:
    assert GatewayConfig(data_dir=Path("/d")).key_path == Path("/d/key_pair")
    assert GatewayConfig(data_dir=Path("/d"), key_file=Path("/k")).key_path == Path("/k")
