from __future__ import annotations

import pytest

from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.config.schema import BY_NAME, GatewayConfig
from icwsgw.config.sources import load
from icwsgw.errors import ConfigError
from tests.test_tap import parse

DEVNET_LISTEN = BY_NAME["devnet-listen"]
FILES = CANISTER_FILES.parse("a=a.wasm,b=b.py")


def test_from_each_source() -> None:
    words = ("--devnet", "--devnet-canister=a=a.wasm", "--devnet-canister", "b=b.py", "--devnet-reload")
    config = parse(*words).config
    assert (config.devnet_canisters, config.devnet_reload) == (FILES, True)
    environment = {"ICWS_DEVNET": "yes", "ICWS_DEVNET_CANISTER": "a=a.wasm, b=b.py"}
    assert load({}, environment).config.devnet_canisters == FILES


@pytest.mark.parametrize("listen", ["0", "tcp:0:interface=127.0.0.1", "unix:/run/devnet.sock"])
def test_it_listens_on_a_port_that_the_gateway_gets(listen: str) -> None:
    with pytest.raises(ConfigError, match="--devnet-listen: the embedded replica needs a TCP port other than 0"):
        load({"devnet": True, "devnet-listen": DEVNET_LISTEN.kind.parse(listen)}, {})


def test_it_is_the_embedded_replica_that_runs_them() -> None:
    with pytest.raises(ConfigError, match="--devnet-canister needs --devnet"):
        GatewayConfig(devnet_canisters=FILES)
    with pytest.raises(ConfigError, match="two canisters are named a"):
        GatewayConfig(devnet=True, devnet_canisters=FILES + FILES[:1])
