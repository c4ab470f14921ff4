from __future__ import annotations

from icwsgw.config.schema import GatewayConfig
from icwsgw.ic.envelope import expiry_after
from icwsgw.ic.network_limits import (
    MAX_INGRESS_BYTES,
    MAX_INGRESS_TTL_NS,
    MAX_REPLY_BYTES,
    REQUEST_TTL_SECONDS,
    SECOND_NS,
)


def test_requests_of_the_gateway_are_valid_at_clocks_that_differ_by_a_minute() -> None:
    now = 1_700_000_000 * SECOND_NS
    expiry = expiry_after(now, REQUEST_TTL_SECONDS)
    for skew in (-60, 0, 60):
        assert now + skew * SECOND_NS < expiry <= now + skew * SECOND_NS + MAX_INGRESS_TTL_NS


def test_what_the_network_takes_and_gives_fits_into_the_gateways_limits() -> None:
    config = GatewayConfig()
    # signatures, delegations and a certificate are around it
    assert config.max_message_bytes - MAX_INGRESS_BYTES >= 32 << 10
    assert config.max_answer_bytes - MAX_REPLY_BYTES >= 32 << 10
