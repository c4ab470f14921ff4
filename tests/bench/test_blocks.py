from __future__ import annotations

from bench.blocks import measure, median


def test_the_median_is_in_ms() -> None:
    assert median([0.003, 0.001, 0.002]) == 2.0
    assert median([]) is None


def test_a_client_of_a_network_with_blocks_loses_nothing_as_executed() -> None:
    result = measure("executed", block_ms=100.0, gossip_ms=50.0, query_ms=10.0, clients=2, seconds=2.0, burst=3)
    assert result["sessions lost"] == 0, result["why"]
    assert result["messages/s"] > 0
