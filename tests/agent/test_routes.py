"""Endpoint versions: newest first, older ones remembered."""

from __future__ import annotations

from icwsgw.agent import routes
from icwsgw.agent.routes import Route, Routes
from icwsgw.agent.url import Url
from icwsgw.ic.principal import Principal

CANISTER = Principal(b"\x80\x00\x00\x00\x00\x10\x00\x01\x01\x01")
BASE = "http://h:1/api"


def make() -> Routes:
    return Routes(Url.parse("http://h:1"))


def test_what_is_asked_first():
    r = make()
    assert str(r.status) == f"{BASE}/v2/status"
    for route, path in {
        Route.QUERY: "v2/canister/{}/query",
        Route.READ_STATE: "v3/canister/{}/read_state",
        Route.SYNC_CALL: "v4/canister/{}/call",
        Route.CALL: "v2/canister/{}/call",
    }.items():
        endpoint = r.endpoint(route, CANISTER)
        assert str(endpoint.url) == endpoint.fixed.to_text() == f"{BASE}/{path.format(CANISTER.text)}"
        assert r.endpoint(route, CANISTER) is endpoint


def test_older_and_settled():
    r = make()
    older = r.older(Route.SYNC_CALL, CANISTER, 4)
    assert older.version == 3
    assert r.older(Route.SYNC_CALL, CANISTER, 3) is None
    assert r.endpoint(Route.SYNC_CALL, CANISTER).version == 4
    r.settle(Route.SYNC_CALL, 3)
    assert r.endpoint(Route.SYNC_CALL, CANISTER) is older
    assert r.version(Route.SYNC_CALL) == 3
    r.settle(Route.SYNC_CALL, None)
    assert r.endpoint(Route.SYNC_CALL, CANISTER) is None
    assert r.version(Route.SYNC_CALL) is None
    assert r.endpoint(Route.QUERY, CANISTER).version == 2


def test_the_number_of_urls_is_bounded(monkeypatch):
    monkeypatch.setattr(routes, "_MAX_CANISTERS", 2)
    r = make()
    for n in range(100):
        r.endpoint(Route.QUERY, Principal(bytes([n])))
    assert len(r._endpoints) <= 8
