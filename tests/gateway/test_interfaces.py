from __future__ import annotations

from icwsgw.gateway.interfaces import SKEW_NOISE_NS
from tests.support.fake_network import NOW_NS, make_context


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
