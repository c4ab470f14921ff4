"""The options about who may connect; their rows are tested with all others."""

from __future__ import annotations

import dataclasses

from icwsgw.config.access_options import AccessOptions
from icwsgw.config.schema import BY_NAME, GatewayConfig


def test_they_are_options_of_the_gateway() -> None:
    lists = ("deny-list", "allow-list", "deny-list-url", "allow-list-url", "access-list-interval")
    names = ("allowed-origin", "allowed-canister", "denied-canister", *lists)
    assert [field.name for field in dataclasses.fields(AccessOptions)] == [BY_NAME[name].field for name in names]
    assert issubclass(GatewayConfig, AccessOptions)


def test_any_client_may_open_any_canister_by_default() -> None:
    assert AccessOptions() == AccessOptions(allowed_origins=(), allowed_canisters=(), denied_canisters=())
