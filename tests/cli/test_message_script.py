from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.cli.message_script import ExpectStep, PauseStep, SendStep, parse_script, recorded
from icwsgw.errors import FormatError


def test_a_script() -> None:
    text = '# greet\n> {"text": "hi"}\n\n  <{"text": "hi"}\nwait 1.5\n>\n'
    assert parse_script(text) == [
        SendStep(2, '{"text": "hi"}'),
        ExpectStep(4, '{"text": "hi"}'),
        PauseStep(5, 1.5),
        SendStep(6, ""),
    ]
    hexadecimal = [SendStep(1, "6869", is_hex=True), ExpectStep(2, "", is_hex=True), SendStep(3, "hex> 6869")]
    assert parse_script("hex> 6869\n hex<\n> hex> 6869\n") == hexadecimal


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("> a\nsend b", "line 2: 'send b' begins with none"),
        ("wait", "line 1: say wait SECONDS"),
        ("wait long", "line 1: say wait SECONDS"),
        ("wait -1", "0 to 3600 seconds"),
        ("wait nan", "0 to 3600 seconds"),
        ("waiting 1", "begins with none"),
        ("hex 01", "begins with none"),
    ],
)
def test_lines_of_no_script(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_script(text)


@given(st.lists(st.tuples(st.sampled_from("><"), st.text("a {}\":#<>'", min_size=1, max_size=20)), max_size=5))
def test_a_recording_is_a_script(messages: list[tuple[str, str]]) -> None:
    text = "".join(recorded(1.25, mark, message) for mark, message in messages)
    kinds = {">": SendStep, "<": ExpectStep}
    assert [(type(step), step.message) for step in parse_script(text) if not isinstance(step, PauseStep)] == [
        (kinds[mark], message.strip()) for mark, message in messages
    ]
