from __future__ import annotations

import pytest

from icwsgw.config.client_limits import ClientLimits
from icwsgw.config.option import CONNECTIONS
from icwsgw.config.schema import BY_NAME, GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.server.factory import BYTE_BURST_SECONDS, FRAME_BURST_SECONDS


def test_the_defaults_let_the_sdks_bursts_pass_and_keep_addresses_free() -> None:
    limits = ClientLimits()
    assert limits.client_message_rate * FRAME_BURST_SECONDS >= 50
    assert limits.client_byte_rate * BYTE_BURST_SECONDS >= 2 * GatewayConfig().max_message_bytes
    assert (limits.max_connections_per_ip, limits.accept_rate, limits.trusted_proxies) == (0, 0, ())


def test_they_are_options_of_the_gateway() -> None:
    assert BY_NAME["max-pending"].group == CONNECTIONS
    assert GatewayConfig(max_pending=7).max_pending == 7


def test_workers_divide_the_limits_on_all_clients_and_no_others() -> None:
    limits = ClientLimits(max_connections=10, accept_rate=1, max_pending=0)
    shared = limits.share(3)
    assert (shared["max_connections"], shared["accept_rate"], shared["max_pending"]) == (4, 1, 0)
    assert set(shared) == {
        "max_connections",
        "max_pending",
        "accept_rate",
        "max_waiting_bytes",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("127.0.0.1, ::1 UNIX", ("127.0.0.1/32", "::1/128", "unix")),
        # as the gateway knows connections from there
        ("::ffff:10.0.0.0/104 ::ffff:10.0.0.1", ("10.0.0.0/8", "10.0.0.1/32")),
        ("", ()),
    ],
)
def test_trusted_proxies(text: str, value: tuple[str, ...]) -> None:
    assert BY_NAME["trusted-proxy"].parse(text, "here") == value


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a network such as"):
        BY_NAME["trusted-proxy"].parse(text, "here")
