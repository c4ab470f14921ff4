"""What a poller's search for a page that fits hears and says."""

from __future__ import annotations

from icwsgw.core.cursor import Cursor, LastMessage
from icwsgw.core.skipping import REFUSALS, Skipping
from icwsgw.errors import ConnectionLost, Rejected
from icwsgw.gateway.oversize import Oversize
from icwsgw.gateway.queries import Ask
from tests.support.fake_network import make_context

TOO_LARGE = Rejected(5, "too large", "IC0504")


def test_it_hears_of_pages_that_are_too_large_alone() -> None:
    context, _, _ = make_context()
    oversize, cursor = Oversize(context, "aaaaa-aa", Skipping()), Cursor()
    for at in range(10):
        assert oversize.failed(ConnectionLost("x"), Ask(0, at, None), cursor, at) is None
        # a probe
        assert oversize.failed(TOO_LARGE, Ask(0, at, LastMessage(0, b"x")), cursor, at) is None
        assert oversize.fitted(Ask(1, at, None)) is None
    assert not oversize.search.seeking
    for at in range(REFUSALS):
        assert oversize.failed(TOO_LARGE, Ask(0, at, None), cursor, at) is None
    assert oversize.search.seeking
    assert oversize.fitted(Ask(1, 9.0, LastMessage(0, b"x"))) is None
    assert oversize.fitted(Ask(1, 9.0, None)) == 1
    assert not oversize.search.seeking


def test_what_is_lost_is_counted() -> None:
    context, _, _ = make_context()
    oversize = Oversize(context, "aaaaa-aa", Skipping())
    oversize.lost(3, 7, 2)
    oversize.gone(7, 9, 0.0)
    assert context.metrics.gaps.value == 6
