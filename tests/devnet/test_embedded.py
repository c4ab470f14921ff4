from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.config.schema import GatewayConfig
from icwsgw.devnet.embedded import embedded_devnet, places
from icwsgw.errors import ConfigError

CERTIFICATE = Path("/nonexistent/c.pem")


def config(*addresses: str, listen: str = "tcp:4943", tls: bool = False) -> GatewayConfig:
    path = CERTIFICATE if tls else None
    return GatewayConfig(
        gateway_addresses=addresses,
        devnet_listen=listen,
        tls_certificate_pem_path=path,
        tls_certificate_key_pem_path=path,
    )


def test_the_page_gets_the_gateways_address() -> None:
    reactor = MemoryReactorClock()
    _, replica = embedded_devnet(config("tcp:8080", "ssl:8443", "unix:/x", "haproxy:tcp:8081"), reactor)
    # a page cannot use a unix socket, nor send a PROXY header
    assert replica.gateway_urls == ["ws://127.0.0.1:8080", "wss://127.0.0.1:8443"]
    assert replica.status_url == "http://127.0.0.1:9090/"
    _, replica = embedded_devnet(config("tcp:8080", tls=True), reactor)
    assert replica.gateway_urls == ["wss://127.0.0.1:8080"]
    for options in (
        {"tls_certificate_dir": CERTIFICATE.parent},
        {"acme_domains": ("a.example",), "acme_agree_terms": True},
    ):
        _, replica = embedded_devnet(replace(config("tcp:8080"), **options), reactor)
        assert replica.gateway_urls == ["wss://127.0.0.1:8080"]


def test_a_new_user_sees_where_everything_is() -> None:
    one = replace(config("tcp:8099", "unix:/x"), ic_network_url="http://127.0.0.1:4944")
    assert list(places(one)) == [
        ("demo page of the embedded replica", "http://127.0.0.1:4944/"),
        ("clients connect to the gateway", "ws://127.0.0.1:8099"),
        ("status page", "http://127.0.0.1:9090/"),
    ]
    assert [words for words, _ in places(replace(one, prometheus_endpoint=None))][-1] != "status page"


def test_it_gets_the_canisters_of_the_options(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from icwsgw.devnet.canisters import Canister\nclass A(Canister): pass")
    files = CANISTER_FILES.parse(f"a={tmp_path}/a.py")
    reactor = MemoryReactorClock()
    service, replica = embedded_devnet(replace(config("tcp:8080"), devnet=True, devnet_canisters=files), reactor)
    assert "a" not in replica.names
    service.startService()
    assert replica.canister(replica.names["a"]).running
    service.stopService()


@pytest.mark.parametrize("listen", ["tcp:0", "unix:/x"])
def test_it_needs_a_port(listen: str) -> None:
    with pytest.raises(ConfigError, match="needs a TCP port other than 0"):
        embedded_devnet(config("tcp:8080", listen=listen), MemoryReactorClock())
