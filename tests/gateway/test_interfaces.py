from __future__ import annotations

from icwsgw.agent.transport import MAX_CONNECTIONS
from icwsgw.gateway.farewells import MAX_IN_FLIGHT
from icwsgw.gateway.interfaces import MAX_CALLS, SKEW_NOISE_NS
from tests.support.fake_network import NOW_NS, make_context


def test_calls_that_hang_leave_connections_for_queries() -> None:
    assert MAX_CALLS + MAX_IN_FLIGHT + 200 < MAX_CONNECTIONS


def test_the_networks_time_is_ours_unless_the_skew_is_real() -> None:
    context, network, _ = make_context()
    for skew, shift in [
        (None, 0),
        (0, 0),
        (SKEW_NOISE_NS, 0),
        (-SKEW_NOISE_NS, 0),
        (SKEW_NOISE_NS + 1, SKEW_NOISE_NS + 1),
        (-10 * SKEW_NOISE_NS, -10 * SKEW_NOISE_NS),
    ]:
        network.clock_skew_ns = skew
        assert context.network_ns() == NOW_NS + shift
