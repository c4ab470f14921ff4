import json
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from icwsgw.workers.json_lines import Lines, LineSplitter, line_of

VALUES = st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text())))


@given(st.lists(VALUES), st.data())
def test_lines_cut_anywhere_are_reassembled(values: list[dict[str, Any]], data: st.DataObject) -> None:
    stream = b"".join(map(line_of, values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    taken: list[dict[str, Any]] = []
    splitter = LineSplitter(taken.append)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.feed(stream[start:end])
    assert taken == values


def test_a_line_that_is_not_json_is_dropped() -> None:
    taken: list[dict[str, Any]] = []
    LineSplitter(taken.append).feed(b'\n{"do": 1}\nTraceback\n{"do": 2}\n{"do":')
    assert taken == [{"do": 1}, {"do": 2}]


class Pipes(TestCase):
    """Lines over real pipes."""

    async def test_lines_pass_in_both_directions_until_a_pipe_ends(self) -> None:
        from twisted.internet import reactor

        orders_out, orders_in = os.pipe()
        answers_out, answers_in = os.pipe()
        came: Deferred[dict[str, Any]] = Deferred()
        ended: Deferred[None] = Deferred()
        lines = Lines(came.callback, lambda: ended.callback(None))
        lines.send({"lost": "before it is open"})
        lines.open(reactor, os.dup(orders_out), os.dup(answers_in))
        for descriptor in (orders_out, answers_in):
            os.close(descriptor)
        os.write(orders_in, b'{"do":"drain"}\n')
        assert await came == {"do": "drain"}
        os.close(orders_in)
        await ended
        lines.send({"lost": "after the end"})
        await lines.close()
        assert os.read(answers_out, 1000) == b"", "the other end of the pipe is closed"
        os.close(answers_out)

    async def test_closing_writes_pending_data_and_does_not_report_an_end(self) -> None:
        from twisted.internet import reactor

        orders_out, orders_in = os.pipe()
        answers_out, answers_in = os.pipe()
        ended: list[None] = []
        lines = Lines(lambda value: None, lambda: ended.append(None))
        lines.open(reactor, os.dup(orders_out), os.dup(answers_in))
        for descriptor in (orders_out, answers_in):
            os.close(descriptor)
        for number in range(100):
            lines.send({"type": "report", "number": number})
        await lines.close()
        assert not ended
        data = b""
        while more := os.read(answers_out, 1 << 16):
            data += more
        assert [json.loads(line)["number"] for line in data.splitlines()] == list(range(100))
        os.close(orders_in)
        os.close(answers_out)
