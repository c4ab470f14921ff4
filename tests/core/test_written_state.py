"""State as data: written and read is the same, and what a neighbouring version writes is understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.cursor import KEEP_BYTES, Cursor, LastMessage
from icwsgw.core.keepalive_deadline import KeepAliveDeadline
from icwsgw.core.poll_machine import Polling
from icwsgw.core.poll_window import PollWindow
from icwsgw.core.replay_cache import ReplayCache
from icwsgw.core.session_machine import State
from icwsgw.core.written_state import Document, Written, read_as
from icwsgw.errors import FormatError
from icwsgw.ic import cbor


class Lamp(Written):
    WRITTEN = {"state": State, "name": str, "since": float, "watts": int, "seen": set}

    def __init__(self) -> None:
        self.state: State = State.INIT
        self.name: str | None = None
        self.since = 0.0
        self.watts = 5
        self.seen: set[bytes] = set()


def sent(document: Document) -> Document:
    """The document as the other process gets it."""
    arrived: Document = cbor.loads(cbor.dumps(document))
    return arrived


def test_written_and_read_is_the_same() -> None:
    lamp, copy = Lamp(), Lamp()
    lamp.state, lamp.name, lamp.since, lamp.seen = State.OPEN, "hall", 2.0, {b"b", b"a"}
    copy.read(sent(lamp.written()))
    assert vars(copy) == vars(lamp)
    assert copy.state is State.OPEN


def test_fields_that_are_missing_stay_and_unknown_ones_are_ignored() -> None:
    lamp = Lamp()
    lamp.read({"watts": 7, "colour": "red"})
    assert (lamp.watts, lamp.state, hasattr(lamp, "colour")) == (7, State.INIT, False)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"watts": "7"}, "watts: str instead of int"),
        ({"watts": True}, "watts: bool instead of int"),
        ({"name": b"hall"}, "name: bytes instead of str"),
        ({"state": 99}, "state: 99 is not a valid State"),
        ({"seen": 3}, "seen: 'int' object is not iterable"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(document: Document, text: str) -> None:
    with pytest.raises(FormatError, match=f"^{text}$"):
        Lamp().read(document)


def test_a_whole_number_is_a_float_too() -> None:
    assert read_as(float, 3, "since") == 3.0


@given(st.integers(0, 1 << 40), st.booleans(), st.none() | st.binary(max_size=40), st.integers(0, 9))
def test_a_cursor(following: int, fresh: bool, last: bytes | None, more: int) -> None:
    cursor, copy = Cursor(), Cursor()
    cursor.next, cursor.fresh = following, fresh
    content = None if last is None else last * (KEEP_BYTES if more == 0 else 1)
    cursor.last = None if content is None else LastMessage(following, content)
    copy.read(sent(cursor.written()))
    assert (copy.next, copy.fresh) == (following, fresh)
    if content is None:
        assert copy.last is None
    else:
        assert copy.last is not None
        assert (copy.last.nonce, copy.last.is_same(content), copy.last.is_same(content + b"!")) == (
            following,
            True,
            False,
        )
        assert cursor.last is not None
        assert copy.last.timestamp == cursor.last.timestamp


@pytest.mark.parametrize("document", [{"nonce": 1}, {"content": b""}, {"nonce": "1", "content": b""}])
def test_a_last_message_without_a_part_is_refused(document: Document) -> None:
    with pytest.raises(FormatError):
        LastMessage.from_document(document)


@given(st.integers(1, 64), st.integers(1, 500), st.booleans())
def test_a_poller(size: int, page: int, resumed: bool) -> None:
    polling: Polling[object] = Polling(None, 64)  # type: ignore[type-var]
    polling.cursor.next, polling.cursor.fresh = 9, False
    polling.cursor.last = polling.reset_detector.anchor = LastMessage(8, b"eight")
    polling.window.size, polling.window.page, polling.resumed = size, page, resumed
    copy: Polling[object] = Polling(None, 64)  # type: ignore[type-var]
    copy.read(sent(polling.written()))
    assert sent(copy.written()) == sent(polling.written())
    assert copy.reset_detector.anchor is not None
    assert copy.resumed is resumed


@given(st.none() | st.floats(0, 1e6), st.none() | st.floats(0, 1e6))
def test_the_smaller_ones(due: float | None, expected: float | None) -> None:
    deadline, copy = KeepAliveDeadline(), KeepAliveDeadline()
    deadline.due, deadline.expected = due, expected
    copy.read(sent(deadline.written()))
    assert (copy.due, copy.expected) == (due, expected)
    window = PollWindow(8)
    window.read({"size": 3})
    assert (window.size, window.page) == (3, 50)


def test_calls_that_were_relayed_before_are_refused_afterwards_too() -> None:
    cache, copy = ReplayCache(0.0), ReplayCache(50.0)
    assert not cache.repeated(b"one", 1.0)
    copy.read(sent(cache.written()))
    assert copy.repeated(b"one", 60.0)
    assert not copy.repeated(b"two", 60.0)
