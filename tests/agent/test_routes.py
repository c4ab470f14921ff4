"""The URLs of endpoints, and their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icwsgw.agent import routes
from icwsgw.agent.http.url import Url
from icwsgw.agent.routes import Route, Routes, VersionChange
from icwsgw.agent.versions import SPAN
from icwsgw.ic.principal import Principal

CANISTER = Principal(b"\x80\x00\x00\x00\x00\x10\x00\x01\x01\x01")
BASE = "http://h:1/api"


def make() -> Routes:
    return Routes(Url.parse("http://h:1"))


def test_the_urls_in_the_order_of_the_versions() -> None:
    r = make()
    assert str(r.status) == f"{BASE}/v2/status"
    for route, paths in {
        Route.QUERY: ["v2/canister/{}/query", "v3/canister/{}/query"],
        Route.READ_STATE: ["v3/canister/{}/read_state", "v2/canister/{}/read_state"],
        Route.DELEGATION: ["v2/canister/{}/read_state"],
        Route.SYNC_CALL: ["v3/canister/{}/call", "v4/canister/{}/call"],
        Route.CALL: ["v2/canister/{}/call"],
    }.items():
        endpoints = r.endpoints(route, CANISTER, 0.0)
        urls = [f"{BASE}/{path.format(CANISTER.text)}" for path in paths]
        assert [str(endpoint.url) for endpoint in endpoints] == urls
        assert [endpoint.fixed.to_text() for endpoint in endpoints] == urls
        assert [endpoint.version for endpoint in endpoints] == list(route.versions)
        assert {endpoint.route for endpoint in endpoints} == {route}
        assert r.endpoints(route, CANISTER, 0.0) is endpoints


def test_what_is_learnt_of_versions_changes_the_order() -> None:
    r = make()
    assert [each.version for each in r.endpoints(Route.QUERY, CANISTER, 0.0)] == [2, 3]
    for now in (0.0, 1.0, SPAN):
        r.versions.answered(Route.QUERY, 2, 404, b"", now)
        r.versions.answered(Route.QUERY, 3, 200, b"", now)
    assert [each.version for each in r.endpoints(Route.QUERY, CANISTER, SPAN)] == [3, 2]


def test_the_number_of_urls_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(routes, "MAX_CANISTERS", 2)
    r = make()
    for n in range(100):
        r.endpoints(Route.QUERY, Principal(bytes([n])), 0.0)
    assert len(r._endpoints) <= 10


class Lines:
    """Keeps the level and message of what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda message, **fields: self.lines.append((level, message))


def test_a_change_is_logged_as_bad_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Lines()
    monkeypatch.setattr(routes, "_log", log)
    for route, present, uses in [
        (Route.QUERY, True, 2),
        (Route.QUERY, False, 3),
        (Route.READ_STATE, False, None),
        (Route.SYNC_CALL, False, None),
    ]:
        routes.report_change(VersionChange(route, 2, present, uses))
    assert [level for level, _ in log.lines] == ["info", "warn", "warn", "error"]
    assert "no synchronous calls" in log.lines[-1][1]
