"""The heads of responses, parsed and remembered; test_response_parser.py has what they are made of."""

from __future__ import annotations

import pytest

from icwsgw.agent.http.response_head import MAX_KNOWN_HEADS, MAX_KNOWN_LINES, HeadCache, is_header, with_crlf
from icwsgw.agent.http.response_parser import ParsedResponse
from icwsgw.errors import AnswerMalformed
from tests.agent.http.test_response_parser import read, with_head

VARIES = b"HTTP/1.1 200 OK\r\ndate: today\r\nx-request-id: %b\r\ncontent-length: 2\r\n\r\nok"


def test_a_value_that_differs_each_time_is_left_out_of_the_key_but_given_out() -> None:
    known = HeadCache()
    for number in range(1000):
        value = b"%08d" % number
        answer, keep = read(VARIES % value, known=known)
        assert answer == ParsedResponse(
            200, {b"date": b"today", b"x-request-id": value, b"content-length": b"2"}, b"ok"
        )
        assert keep
    # parsed twice: with all lines new, then with one
    assert len(known.others) == 1
    assert len(known.lines) == 4


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"0\r\nx: y00", {b"x-request-id": b"0", b"x": b"y00"}),
        (b"0      9", {b"x-request-id": b"0      9"}),
        (b"       9", {b"x-request-id": b"9"}),
        (b"9       ", {b"x-request-id": b"9"}),
        (b"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", {b"x-request-id": b"\xc3\xa4" * 4}),
    ],
)
def test_nothing_hides_in_a_value_that_is_left_out(value: bytes, headers: dict[bytes, bytes]) -> None:
    known = HeadCache()
    for number in range(3):
        read(VARIES % (b"%08d" % number), known=known)
    answer, _ = read(VARIES % value, known=known)
    assert answer is not None
    assert answer.headers == {b"date": b"today", b"content-length": b"2", **headers}
    for bad in (b"0\r0", b"0\x00\x00\x000000", b"0\r\nx y:00"):
        with pytest.raises(AnswerMalformed):
            read(VARIES % bad.ljust(8, b"0"), known=known)


def test_what_frames_a_response_is_never_left_out() -> None:
    known = HeadCache()
    for number in range(10):
        body = bytes(number)
        answer, keep = read(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: %d\r\n\r\n%b" % (number, body), known=known)
        assert (answer is not None and answer.body, keep) == (body, True)
    for option, expected in ((b"close", False), (b"x-any", True), (b"close", False), (b"x-any", True)):
        assert read(with_head(b"Content-Length: 0", b"Connection: " + option), known=known)[1] is expected
    assert not known.others


def test_a_known_head_that_is_cut_in_its_last_line_end_is_not_whole() -> None:
    known = HeadCache()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 36"
    data = head + b"\r\n\r\n" + bytes(36)
    assert len(head) - 2 == 33
    data = data.replace(b"36", b"33")[:-3]
    for _ in range(3):
        assert read(data, known=known)[0] is not None
    answer, _ = read(data[: len(head) + 1], data[len(head) + 1 :], known=known)
    assert answer is not None
    assert answer.body == bytes(33)


def test_what_is_remembered_is_bounded() -> None:
    known = HeadCache()
    for number in range(3000):
        read(with_head(b"X-%d: y" % number, b"Content-Length: 0"), known=known)
        read(with_head(b"X-%d: y" % (number % 100), b"Content-Length: 0"), known=known)
        read(with_head(b"X: " + b"y" * (number % 1500), b"Content-Length: 0"), known=known)
    assert len(known.heads) <= MAX_KNOWN_HEADS
    assert len(known.others) <= MAX_KNOWN_HEADS
    assert len(known.variable) <= MAX_KNOWN_HEADS
    assert len(known.lines) <= MAX_KNOWN_LINES


def test_a_name_repeated_thousands_of_times_is_joined_once() -> None:
    """Counted in bytes that are made, not in seconds: a join for each line would make 1.6 GB of 250 kB."""
    lines = [b"x: " + b"y" * 240] * 256
    known = HeadCache()
    head = known.parse(b"\r\n".join((b"HTTP/1.1 200 OK", *lines)))
    assert len(head.headers[b"x"]) == 256 * 242 - 2
    with pytest.raises(AnswerMalformed, match="lines"):
        known.parse(b"\r\n".join((b"HTTP/1.1 200 OK", *[b"x:y"] * 20_000)))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"A: b\r\nC: d", b"A: b\r\nC: d"),
        (b"A: b\nC: d\r", b"A: b\r\nC: d"),
        (b"A: b\n\t c\r\nD: e", b"A: b c\r\nD: e"),
        (b"A: b \r\n c\n d", b"A: b c d"),
    ],
)
def test_lines_that_end_otherwise_or_are_folded_get_the_usual_form(head: bytes, expected: bytes) -> None:
    assert with_crlf(head) == expected


def test_a_header_has_a_name_and_a_colon() -> None:
    assert is_header(b"A:")
    assert is_header(b"a-b: c: d")
    assert not any(map(is_header, (b"", b"a", b": b", b"a b: c", b"a : c")))
