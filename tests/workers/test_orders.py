import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from icwsgw.admin.control import Overrides
from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.config.quotas import CANISTER_QUOTAS
from icwsgw.config.schema import MAINNET_BUDGET, OPTIONS, GatewayConfig
from icwsgw.workers.orders import GivenSocket, Orders, config_from_json, config_to_json, worker_config

CONFIG = GatewayConfig(
    gateway_addresses=("tcp:8080", "unix:/a, b"),
    tls_certificate_pem_path=Path("/c.pem"),
    tls_certificate_key_pem_path=Path("/k.pem"),
    data_dir=Path("/data"),
    polling_interval=0.123456789,
    denied_canisters=("aaaaa-aa",),
    identities=7,
    workers=3,
    devnet=True,
    devnet_canisters=CANISTER_FILES.parse("own=own.wasm"),
    devnet_reload=True,
    canister_quotas=CANISTER_QUOTAS.parse("aaaaa-aa:poll-rate=7:max-connections=0"),
    admin_endpoint="tcp:9091",
    admin_token_file=Path("/token"),
)


def test_orders_survive_serialisation() -> None:
    sockets = (GivenSocket("tcp:8080", int(socket.AF_INET6), 5), GivenSocket("unix:/a, b", int(socket.AF_UNIX), 6))
    overrides = Overrides(("aaaaa-aa",), {"relay": 10}, (("aaaaa-aa", None, 5.5),), False, {"x": ("1", "2")})
    orders = Orders(2, CONFIG, sockets, reactor="poll", syslog="icws", overrides=overrides)
    line = orders.to_json()
    assert "\n" not in line
    assert Orders.from_json(line) == orders
    assert Orders.from_json(line.encode()).first_identity == 14
    assert Orders.from_json(Orders(0, CONFIG, ()).to_json()) == Orders(0, CONFIG, ())


def test_every_option_survives_serialisation() -> None:
    again = config_from_json(config_to_json(CONFIG))
    for entry in OPTIONS:
        before, after = getattr(CONFIG, entry.field), getattr(again, entry.field)
        assert (type(after), after) == (type(before), before), entry.name
    assert config_from_json(config_to_json(GatewayConfig())) == GatewayConfig()


def test_the_supervisor_keeps_options_of_which_there_is_one_instance() -> None:
    config = worker_config(CONFIG)
    nowhere: dict[str, Any] = {"prometheus_endpoint": None, "admin_endpoint": None, "admin_token_file": None}
    devnet: dict[str, Any] = {"devnet": False, "devnet_canisters": (), "devnet_reload": False}
    shares = {**CONFIG.share(3), "canister_quotas": CANISTER_QUOTAS.parse("aaaaa-aa:poll-rate=3:max-connections=0")}
    assert config == replace(CONFIG, **shares, workers=1, query_budget=0, open_rate=0, **devnet, **nowhere)


def test_workers_share_the_budget_of_queries() -> None:
    def share(**options: object) -> int | None:
        return worker_config(replace(CONFIG, **options)).queries_per_second  # type: ignore[arg-type]

    assert share() is None
    assert share(query_budget=100) == 33
    assert share(query_budget=2) == 1
    assert share(query_budget=0) is None
    assert share(ic_network_url="https://icp0.io") == MAINNET_BUDGET // 3
    assert share(ic_network_url="https://icp0.io", query_budget=0) is None


def test_limits_of_the_gateway_are_divided_and_limits_per_address_are_not() -> None:
    limits: dict[str, Any] = {
        "max_connections": 100,
        "max_pending": 7,
        "accept_rate": 2,
        "max_connections_per_canister": 3,
        "message_rate_per_canister": 100,
        "max_waiting_bytes": 9 << 20,
    }
    each: dict[str, Any] = {"max_connections_per_ip": 5, "max_connections_per_principal": 5, "accept_rate_per_ip": 5}
    config = worker_config(replace(CONFIG, **limits, **each))
    assert {name: getattr(config, name) for name in (*limits, *each)} == {
        "max_connections": 34,
        "max_pending": 3,
        "max_waiting_bytes": 3 << 20,
        "accept_rate": 1,
        "max_connections_per_canister": 1,
        "message_rate_per_canister": 34,
        **each,
    }
    assert worker_config(replace(CONFIG, max_pending=0)).max_pending == 0
