"""The kinds of requests, and their names for operators."""

from __future__ import annotations

from icwsgw.core.request_kind import WAITING, WEIGHTS, RequestKind
from icwsgw.observe.labels import TRAFFIC


def test_metrics_have_a_label_for_each_kind() -> None:
    assert tuple(kind.label for kind in RequestKind) == TRAFFIC


def test_each_kind_but_the_agents_own_has_a_share() -> None:
    assert len(WEIGHTS) == RequestKind.OWN == len(RequestKind) - 1
    assert sum(WEIGHTS) == 16


def test_calls_wait_and_polls_do_not() -> None:
    assert set(RequestKind) - set(WAITING) == {RequestKind.TICK, RequestKind.EXTRA, RequestKind.OWN}
