"""How long the network and canisters are waited for."""

from __future__ import annotations

from pathlib import Path

from icwsgw.config.option import NETWORK
from icwsgw.config.schema import OPTIONS, GatewayConfig


def test_the_networks_grace_outlasts_a_subnets_upgrade_and_the_canisters_does_not() -> None:
    config = GatewayConfig(data_dir=Path("/nonexistent"))
    assert config.network_grace >= 600.0
    assert config.canister_grace == 60.0


def test_they_stand_among_the_options_of_the_network() -> None:
    found = {entry.name for entry in OPTIONS if entry.group == NETWORK}
    assert {"canister-grace", "network-grace", "query-timeout", "call-timeout", "root-key"} <= found
