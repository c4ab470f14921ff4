"""The metrics of the way to the network."""

from __future__ import annotations

from icwsgw.agent.versions import Route
from icwsgw.observe import labels
from icwsgw.observe.metrics import Metrics


def test_each_route_has_its_label() -> None:
    assert tuple(route.label for route in Route) == labels.ROUTES


def test_they_stand_under_their_heading() -> None:
    groups = {entry.name: entry.group for entry in Metrics().declared}
    for name in ("icws_network_ready", "icws_api_version", "icws_unverifiable_canisters", "icws_http_connections"):
        assert groups[name] == "The network"
