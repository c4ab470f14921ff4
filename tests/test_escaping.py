from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.escaping import escape_invisible, is_visible

TRICKS = {
    "C0": "\x00\x07\x08\t\n\r\x1b\x1f",
    "DEL and C1": "\x7f\x80\x85\x9b\x9f",
    "separators": "\u2028\u2029\xa0\u3000",
    "bidi": "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "no width": "\u00ad\u200b\u200c\u200d\u2060\ufeff\u180e\u034f\u115f\u1160\u3164\uffa0\ufe0f",
    "tags and unassigned": "\U000e0001\U000e0041\U000e0100\u0378\ue000\ud800",
}


@pytest.mark.parametrize("characters", TRICKS.values(), ids=TRICKS)
def test_none_of_them_stands_raw(characters: str) -> None:
    for character in characters:
        assert not is_visible(character), hex(ord(character))
        written = escape_invisible(f"a{character}b")
        assert written.isascii()
        assert written.startswith("a\\")


def test_what_people_write_stays() -> None:
    for text in ("", "plain text", "zażółć", "日本語", "Ελλάδα", "\U0001f600", "a=b \\n", "e\u0301"):
        assert escape_invisible(text) is text or escape_invisible(text) == text
        assert is_visible(text)


@given(st.text())
def test_it_is_a_json_escape_and_the_same_twice(text: str) -> None:
    written = escape_invisible(text)
    assert escape_invisible(written) == written
    assert is_visible(written)
    document = escape_invisible(json.dumps({"x": text}, ensure_ascii=False))
    assert json.loads(document) == {"x": text}


def test_by_unicodes_own_table() -> None:
    """Every control, format, separator and unassigned character of the Unicode database of this Python."""
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            assert not is_visible(character)
