"""The table of API versions: scripts of answers, and the next requests."""

from __future__ import annotations

import pytest

from icwsgw.agent.versions import LOOK_AGAIN, MISSES, SPAN, Route, VersionChange, Versions

#: Statuses that say nothing of whether the endpoint is there.
SILENT = (301, 307, 308, 405, 408, 421, 425, 429, 500, 502, 503, 504)
#: Statuses that only the endpoint itself gives.
PROOFS = (200, 202, 400, 403, 413)


class Script:
    """Versions, and a clock."""

    def __init__(self) -> None:
        self.versions = Versions()
        self.now = 100.0
        self.changes: list[VersionChange] = []

    def answered(self, route: Route, version: int, status: int, body: bytes = b"") -> None:
        change = self.versions.answered(route, version, status, body, self.now)
        if change is not None:
            self.changes.append(change)

    def ask(self, route: Route, has: set[tuple[Route, int]]) -> list[int]:
        """Make a request as the agent does; returns the versions that it tried."""
        tried = []
        for version in self.versions.order(route, self.now):
            tried.append(version)
            there = (route, version) in has
            self.answered(route, version, 200 if there else 404)
            if there:
                break
        return tried

    def lose(self, route: Route, version: int, others: Route = Route.CALL) -> None:
        """Give all the evidence there has to be."""
        for _ in range(MISSES - 1):
            self.answered(route, version, 404)
        self.answered(others, others.versions[-1], 200)
        self.now += SPAN
        self.answered(route, version, 404)


def test_a_query_is_asked_by_the_version_whose_delegation_every_agent_reads() -> None:
    versions = Versions()
    assert versions.order(Route.QUERY, 0.0) == (2, 3)
    assert versions.order(Route.DELEGATION, 0.0) == (2,)
    assert versions.order(Route.SYNC_CALL, 0.0) == (3, 4)
    assert versions.complete


def test_a_network_without_a_version_is_found_out_once() -> None:
    script = Script()
    has = {(Route.QUERY, 3), (Route.SYNC_CALL, 4)}
    for _ in range(int(SPAN)):
        assert script.ask(Route.QUERY, has) == [2, 3]
        script.now += 1.0
    assert script.changes == []
    assert script.versions.state(Route.QUERY, 2) == "doubted"
    assert script.ask(Route.QUERY, has) == [2, 3]
    assert script.changes == [VersionChange(Route.QUERY, 2, False, 3)]
    assert script.ask(Route.QUERY, has) == [3]
    assert script.versions.uses(Route.QUERY) == 3
    assert script.versions.changes[Route.QUERY] == 1
    assert not script.versions.complete


def test_two_404s_on_the_synchronous_call_change_nothing() -> None:
    script = Script()
    for _ in range(2):
        for version in (4, 3):
            script.answered(Route.SYNC_CALL, version, 404)
        script.answered(Route.QUERY, 2, 200)
        script.now += SPAN
    assert script.versions.order(Route.SYNC_CALL, script.now) == (3, 4)
    script.answered(Route.SYNC_CALL, 4, 200)
    script.answered(Route.SYNC_CALL, 3, 202)
    assert script.versions.complete
    assert script.changes == []


def test_many_404s_in_a_moment_change_nothing() -> None:
    script = Script()
    for _ in range(1000):
        script.answered(Route.SYNC_CALL, 4, 404)
        script.answered(Route.QUERY, 2, 200)
    script.now += SPAN - 0.1
    script.answered(Route.SYNC_CALL, 4, 404)
    assert script.changes == []


def test_404s_for_all_that_is_asked_change_nothing() -> None:
    script = Script()
    for _ in range(50):
        for route in Route:
            for version in route.versions:
                script.answered(route, version, 404)
        script.now += 7.0
    assert script.changes == []
    assert script.versions.order(Route.SYNC_CALL, script.now) == (3, 4)


@pytest.mark.parametrize("status", SILENT)
def test_an_answer_of_something_in_front_is_no_evidence_for_others(status) -> None:
    script = Script()
    for _ in range(10):
        script.answered(Route.SYNC_CALL, 4, 404)
        script.answered(Route.QUERY, 2, status)
        script.now += SPAN
    assert script.changes == []


@pytest.mark.parametrize("status", PROOFS)
def test_an_answer_of_the_version_itself_ends_all_doubt(status) -> None:
    script = Script()
    for _ in range(20):
        script.answered(Route.QUERY, 2, 404)
        script.answered(Route.QUERY, 3, 200)
        script.now += SPAN
        script.answered(Route.QUERY, 2, status)
        assert script.versions.complete
    assert script.changes == []


def test_a_path_that_read_state_refuses_is_no_missing_version() -> None:
    script = Script()
    script.answered(Route.QUERY, 2, 404)
    for _ in range(10):
        script.answered(Route.READ_STATE, 3, 404, b"Invalid path requested.")
        script.answered(Route.DELEGATION, 2, 404, b"Invalid path requested.")
        script.now += SPAN
    assert script.changes == []
    assert script.versions.state(Route.READ_STATE, 3) == "present"
    # for a query these are only words
    for _ in range(MISSES):
        script.answered(Route.QUERY, 2, 404, b"Invalid path requested.")
    assert script.versions.state(Route.QUERY, 2) == "missing"


def test_a_missing_version_is_looked_at_once_a_minute_and_comes_back() -> None:
    script = Script()
    script.lose(Route.QUERY, 2)
    assert script.versions.order(Route.QUERY, script.now) == (3, 2)
    script.now += LOOK_AGAIN
    assert script.versions.order(Route.QUERY, script.now) == (2, 3)
    assert script.versions.order(Route.QUERY, script.now) == (3, 2), "one look"
    script.answered(Route.QUERY, 2, 404)
    script.now += LOOK_AGAIN - 1
    assert script.versions.order(Route.QUERY, script.now) == (3, 2)
    script.now += 1
    assert script.ask(Route.QUERY, {(Route.QUERY, 2)}) == [2]
    assert script.changes[1:] == [VersionChange(Route.QUERY, 2, True, 2)]
    assert script.versions.order(Route.QUERY, script.now) == (2, 3)
    assert script.versions.complete
    assert script.versions.changes[Route.QUERY] == 2


def test_where_the_synchronous_call_is_gone_only_looks_ask_for_it() -> None:
    script = Script()
    script.lose(Route.SYNC_CALL, 3)
    assert script.versions.order(Route.SYNC_CALL, script.now) == (4, 3)
    script.lose(Route.SYNC_CALL, 4)
    assert script.changes == [
        VersionChange(Route.SYNC_CALL, 3, False, 4),
        VersionChange(Route.SYNC_CALL, 4, False, None),
    ]
    assert script.versions.uses(Route.SYNC_CALL) is None
    assert script.versions.order(Route.SYNC_CALL, script.now) == ()
    script.now += LOOK_AGAIN
    assert script.ask(Route.SYNC_CALL, set()) == [3, 4]
    assert script.versions.order(Route.SYNC_CALL, script.now) == ()
    script.now += LOOK_AGAIN
    assert script.ask(Route.SYNC_CALL, {(Route.SYNC_CALL, 4)}) == [3, 4]
    assert script.versions.order(Route.SYNC_CALL, script.now) == (4, 3)


def test_of_two_missing_versions_the_one_that_is_due_for_a_look_goes_first() -> None:
    script = Script()
    script.lose(Route.QUERY, 3)
    script.now += LOOK_AGAIN / 2
    script.lose(Route.QUERY, 2)
    assert script.versions.order(Route.QUERY, script.now) == (2, 3)
    script.now += LOOK_AGAIN / 2
    assert script.versions.order(Route.QUERY, script.now) == (3, 2)


def test_where_all_versions_of_a_query_are_gone_all_are_asked() -> None:
    script = Script()
    script.lose(Route.QUERY, 2)
    script.lose(Route.QUERY, 3)
    assert script.versions.uses(Route.QUERY) is None
    assert script.ask(Route.QUERY, set()) == [2, 3]
    assert script.ask(Route.QUERY, {(Route.QUERY, 3)}) == [2, 3]
    assert script.versions.uses(Route.QUERY) == 3


def test_every_route_has_a_name_for_logs_and_metrics() -> None:
    assert [route.label for route in Route] == ["query", "read_state", "delegation", "sync_call", "call"]
