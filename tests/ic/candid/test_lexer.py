from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid.lexer import MAX_SOURCE, TokenReader, tokens


def shown(source: bytes) -> list[tuple[str, bytes]]:
    return [(token.kind, token.content) for token in tokens(source)]


def test_tokens() -> None:
    assert shown(b'type a_1 = record { 0x1F : nat8; "b c" };') == [
        *(("word", b"type"), ("word", b"a_1"), ("sign", b"="), ("word", b"record"), ("sign", b"{")),
        *(("number", b"0x1F"), ("sign", b":"), ("word", b"nat8"), ("sign", b";")),
        *(("string", b"b c"), ("sign", b"}"), ("sign", b";")),
    ]
    assert shown(b"-1_000 +2.5e-3 -inf -> . ==") == [
        *(("number", b"-1_000"), ("number", b"+2.5e-3"), ("number", b"-inf")),
        *(("sign", b"->"), ("sign", b"."), ("sign", b"==")),
    ]


def test_comments_are_nested_and_end_at_lines() -> None:
    assert shown(b"// one\n/* two /* three */ still */ word // four") == [("word", b"word")]
    with pytest.raises(FormatError, match="does not end"):
        shown(b"/* one /* two */")


@pytest.mark.parametrize(
    ("source", "content"),
    [
        (rb'"\n\t\r\"\\\'"', b"\n\t\r\"\\'"),
        (rb'"\00\fF"', b"\x00\xff"),
        (rb'"\u{1F_600}"', "\U0001f600".encode()),
        ('"é"'.encode(), "é".encode()),
    ],
)
def test_escapes(source: bytes, content: bytes) -> None:
    assert shown(source) == [("string", content)]


@pytest.mark.parametrize(
    "source", [rb'"\q"', rb'"\u{d800}"', rb'"\u{110000}"', rb'"\u{_}"', rb'"\u{ffffffffffffffff}"', b'"open']
)
def test_wrong_strings(source: bytes) -> None:
    with pytest.raises(FormatError):
        shown(source)


def test_an_error_names_the_line() -> None:
    with pytest.raises(FormatError, match="line 3: '@what' is not understood"):
        shown(b"a\nb\n@what")
    reader = TokenReader(b"a\n b")
    reader.expect("a")
    with pytest.raises(FormatError, match="line 2: c expected, not 'b'"):
        reader.expect("c")
    reader.expect("b")
    with pytest.raises(FormatError, match="x expected, not the end"):
        reader.expect("x")


def test_the_source_has_a_bound() -> None:
    with pytest.raises(FormatError, match="4 MiB"):
        TokenReader(b" " * (MAX_SOURCE + 1))


@given(st.binary(max_size=60))
def test_any_bytes_are_tokens_or_refused(source: bytes) -> None:
    try:
        found = list(tokens(source))
    except FormatError:
        return
    assert [token.at for token in found] == sorted(token.at for token in found)
