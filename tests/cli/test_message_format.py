from __future__ import annotations

import pytest

from icwsgw.cli.message_format import MessageFormat, is_part_of
from icwsgw.devnet.canisters import app_message
from icwsgw.errors import FormatError
from icwsgw.ic.candid import Record, Text

KIND = Record({"text": Text})


@pytest.mark.parametrize(
    ("name", "line", "content", "shown"),
    [
        ("json", '{"text":"hi"}', app_message("hi"), '{"text": "hi"}'),
        ("candid", '(record { text = "hi" })', app_message("hi"), '(record { text = "hi" })'),
        ("candid", 'record { text = "hi" }', app_message("hi"), '(record { text = "hi" })'),
        ("text", "hi", b"hi", "hi"),
        ("hex", "0x0102", b"\x01\x02", "0102"),
        ("hex", " 01 02 ", b"\x01\x02", "0102"),
    ],
)
def test_what_is_read_and_shown(name: str, line: str, content: bytes, shown: str) -> None:
    form = MessageFormat(name, KIND)
    assert form.read(line) == content
    assert form.show(content) == shown
    assert form.matches(line, content)
    assert form.read(form.show(content)) == content


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("json", "{", "not JSON"),
        ("json", '{"txet": 1}', "no field"),
        ("json", "[" * 100_000, "not JSON"),
        ("candid", "(1", "expected"),
        ("candid", "(1)", "does not fit"),
        ("hex", "xyz", "not hex"),
        ("text", "\udcff", "not UTF-8"),
        ("json", '{"text": "\\ud800"}', "surrogates"),
        ("candid", '(record { text = "\udcff" })', "not UTF-8"),
    ],
)
def test_lines_that_stand_for_no_message(name: str, line: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        MessageFormat(name, KIND).read(line)


def test_formats_that_need_a_type() -> None:
    for name in ("json", "candid"):
        with pytest.raises(FormatError, match="needs the canister's message type"):
            MessageFormat(name, None)
    for name in ("text", "hex"):
        MessageFormat(name, None)


@pytest.mark.parametrize("name", ["json", "candid", "text"])
def test_what_a_canister_sends_is_one_visible_line(name: str) -> None:
    form = MessageFormat(name, KIND)
    for content in (app_message("a\x1b[31m\nb\u202e"), b"\xff\xfe\n", b"\x1b[2J", b"DIDL\x00\x01\x7d\x05"):
        shown = form.show(content)
        assert shown.isprintable()
        assert "\n" not in shown
    # a message of another type is still shown
    assert MessageFormat("json", KIND).show(b"DIDL\x00\x01\x7d\x05") == "4449444c00017d05"
    assert not MessageFormat("json", KIND).matches('{"text": "a"}', b"DIDL\x00\x01\x7d\x05")


def test_a_json_object_expects_its_own_fields_alone() -> None:
    form = MessageFormat("json", KIND)
    assert form.matches("{}", app_message("hi"))
    assert form.matches('{"text": "hi"}', app_message("hi"))
    assert not form.matches('{"text": "ho"}', app_message("hi"))
    assert not form.matches('{"more": 1}', app_message("hi"))
    with pytest.raises(FormatError):
        form.matches("{", app_message("hi"))


def test_parts() -> None:
    assert is_part_of({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3})
    assert is_part_of([{"a": 1}, 2], [{"a": 1, "b": 2}, 2])
    for wanted, value in (([1], [1, 2]), ({"a": 1}, [1]), ([1], 1), (1, True), (1, 1.0), ({"a": None}, {})):
        assert not is_part_of(wanted, value)
