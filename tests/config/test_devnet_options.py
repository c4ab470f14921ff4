from __future__ import annotations

import pytest

from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.config.schema import GatewayConfig
from icwsgw.config.sources import load
from icwsgw.errors import ConfigError
from tests.test_tap import parse

FILES = CANISTER_FILES.parse("a=a.wasm,b=b.py")


def test_from_each_source() -> None:
    words = ("--devnet", "--devnet-canister=a=a.wasm", "--devnet-canister", "b=b.py", "--devnet-reload")
    config = parse(*words).config
    assert (config.devnet_canisters, config.devnet_reload) == (FILES, True)
    environment = {"ICWS_DEVNET": "yes", "ICWS_DEVNET_CANISTER": "a=a.wasm, b=b.py"}
    assert load({}, environment).config.devnet_canisters == FILES


def test_it_is_the_embedded_replica_that_runs_them() -> None:
    with pytest.raises(ConfigError, match="--devnet-canister needs --devnet"):
        GatewayConfig(devnet_canisters=FILES)
    with pytest.raises(ConfigError, match="two canisters are named a"):
        GatewayConfig(devnet=True, devnet_canisters=FILES + FILES[:1])
