"""What a poller's search for a page that fits receives and logs."""

from __future__ import annotations

from collections import Counter

import pytest

from icwsgw.core.cursor import Cursor, LastMessage
from icwsgw.core.oversize_search import REFUSALS, OversizeSearch
from icwsgw.errors import ConnectionLost, Rejected
from icwsgw.gateway.polling import oversize_pages as module
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
    oversize_pages.lost(3, 7, 2, 0.0)
    oversize_pages.deleted(7, 9, 0.0)
    assert context.metrics.gaps.value == 6


class Lines:
    """Counts lines by event."""

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()

    def warn(self, event: str, **fields: object) -> None:
        self.written[event] += 1

    error = warn


def test_searches_that_follow_each_other_do_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two identities poll one canister that refuses each page at the cursor and answers behind it."""
    monkeypatch.setattr(module, "_log", lines := Lines())
    context, _, _ = make_context()
    for _ in range(2):
        cursor, now, skipped = Cursor(), 0.0, 0
        oversize_pages = OversizePages(context, "aaaaa-aa", OversizeSearch())
        while skipped < 30:
            now += 0.3
            search = oversize_pages.search
            nonce = search.next_nonce() if search.seeking else cursor.next
            poll = InFlightPoll(nonce, now, None)
            if nonce > cursor.next:
                oversize_pages.fitted(poll, cursor)
                continue
            beyond = oversize_pages.failed(TOO_LARGE, poll, cursor, now)
            if beyond is not None:
                oversize_pages.lost(cursor.next, beyond, 1, now)
                cursor.skip(beyond)
                skipped += 1
    assert len(lines.written) == 2
    assert set(lines.written.values()) == {10}
    assert context.log_limiter.left_out == 100
    assert context.metrics.gaps.value == 60
