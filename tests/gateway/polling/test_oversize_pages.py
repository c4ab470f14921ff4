"""What a poller's search for a page that fits receives and logs."""

from __future__ import annotations

from icwsgw.core.cursor import Cursor, LastMessage
from icwsgw.core.oversize_search import REFUSALS, OversizeSearch
from icwsgw.errors import ConnectionLost, Rejected
from icwsgw.gateway.polling.oversize_pages import OversizePages
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from tests.support.fake_network import make_context

TOO_LARGE = Rejected(5, "too large", "IC0504")


def test_it_hears_of_pages_that_are_too_large_alone() -> None:
    context, _, _ = make_context()
    oversize_pages, cursor = OversizePages(context, "aaaaa-aa", OversizeSearch()), Cursor()
    for at in range(10):
        assert oversize_pages.failed(ConnectionLost("x"), InFlightPoll(0, at, None), cursor, at) is None
        # a probe
        assert oversize_pages.failed(TOO_LARGE, InFlightPoll(0, at, LastMessage(0, b"x")), cursor, at) is None
        oversize_pages.fitted(InFlightPoll(1, at, None), cursor)
    assert not oversize_pages.search.seeking
    for at in range(REFUSALS):
        assert oversize_pages.failed(TOO_LARGE, InFlightPoll(0, at, None), cursor, at) is None
    assert oversize_pages.search.seeking
    oversize_pages.fitted(InFlightPoll(1, 9.0, LastMessage(0, b"x")), cursor)
    assert oversize_pages.search.high is None
    oversize_pages.fitted(InFlightPoll(1, 9.0, None), cursor)
    assert oversize_pages.failed(TOO_LARGE, InFlightPoll(0, 9.5, None), cursor, 10.0) == 1
    assert not oversize_pages.search.seeking


def test_what_is_lost_is_counted() -> None:
    context, _, _ = make_context()
    oversize_pages = OversizePages(context, "aaaaa-aa", OversizeSearch())
    oversize_pages.lost(3, 7, 2)
    oversize_pages.deleted(7, 9, 0.0)
    assert context.metrics.gaps.value == 6
