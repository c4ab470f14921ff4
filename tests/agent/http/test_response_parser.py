"""The reader of answers, held to h11's and llhttp's (httptools), on whole, cut and damaged answers."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icwsgw.agent.http import response_parser
from icwsgw.agent.http.response_head import HeadCache
from icwsgw.agent.http.response_parser import (
    CHUNK_FRAMING,
    MAX_HEAD,
    TABLE,
    ParsedResponse,
    ParserEvent,
    ParserState,
    ResponseParser,
)
from icwsgw.errors import AnswerMalformed, AnswerTooLarge, TransportError

MOST = 10_000
#: Control characters that no head may have, though h11 takes some of them in the text behind a status.
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")


def read(
    *pieces: bytes, is_head: bool = False, max_body: int = MOST, known: HeadCache | None = None, ends: bool = False
) -> tuple[ParsedResponse | None, bool]:
    """The answer in what comes piece by piece, and whether the connection may be used again."""
    reader = ResponseParser(known or HeadCache())
    reader.expect(is_head, max_body)
    answer = None
    for piece in pieces:
        if answer is not None:
            break
        answer = reader.feed(piece)
    if answer is None and ends:
        answer = reader.end()
    return answer, reader.state is ParserState.IDLE


def with_head(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines)) + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"

# (the bytes, the body, whether the connection may be used again): what hyper, which the original uses, reads too
TAKEN = {
    "length": (with_head(b"Content-Length: 5", body=b"hello"), b"hello", True),
    "chunks": (with_head(CHUNKED, body=CHUNKS), b"hello", True),
    "extensions and trailers": (
        with_head(CHUNKED, body=b'2;a=b\r\nhe\r\n3 ;c="d;e"\r\nllo\r\n0;f\r\nT: u\r\nV: w\r\n\r\n'),
        b"hello",
        True,
    ),
    "capital digits": (with_head(CHUNKED, body=b"0A\r\nhellohello\r\n000\r\n\r\n"), b"hellohello", True),
    "a blank behind a chunk's size": (with_head(CHUNKED, body=b"5 \r\nhello\r\n0\t\r\n\r\n"), b"hello", True),
    "a length beside chunks": (with_head(b"Content-Length: 5", CHUNKED, body=CHUNKS), b"hello", False),
    "a wrong length beside chunks": (with_head(CHUNKED, b"Content-Length: 2", body=CHUNKS), b"hello", False),
    "a length twice": (with_head(b"Content-Length: 5", b"content-length: 5", body=b"hello"), b"hello", True),
    "a length as a list": (with_head(b"Content-Length: 5, 5,5", body=b"hello"), b"hello", True),
    "LF alone": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", True),
    "LF alone, with an empty line of CRLF in the body": (
        b"HTTP/1.1 200 OK\nContent-Length: 9\n\nhe\r\n\r\nllo",
        b"he\r\n\r\nllo",
        True,
    ),
    "LF alone in chunks": (b"HTTP/1.1 200 OK\n" + CHUNKED + b"\n\n5\nhello\n0\n\n", b"hello", True),
    "an empty Content-Encoding": (with_head(b"Content-Encoding:", b"Content-Length: 5", body=b"hello"), b"hello", True),
    "chunked with a tab": (with_head(CHUNKED + b"\t", body=CHUNKS), b"hello", True),
    "chunked behind an empty element": (with_head(b"Transfer-Encoding: ,chunked", body=CHUNKS), b"hello", True),
    "chunked in capitals": (with_head(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS), b"hello", True),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    "an empty phrase": (b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    "a phrase in UTF-8": ("HTTP/1.1 200 Schön\r\nContent-Length: 5\r\n\r\nhello".encode(), b"hello", True),
    "interim": (
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + with_head(b"Content-Length: 5", body=b"hello"),
        b"hello",
        True,
    ),
    "an empty line in front": (b"\r\n" + with_head(b"Content-Length: 5", body=b"hello"), b"hello", True),
    "closing": (with_head(b"Connection: x, Close", b"Content-Length: 5", body=b"hello"), b"hello", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "1.0 that is kept": (
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "chunks in 1.0": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n\r\n" + CHUNKS,
        b"hello",
        False,
    ),
    "204 with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"", True),
    "304 with a coding": (b"HTTP/1.1 304 Not Modified\r\n" + CHUNKED + b"\r\n\r\n", b"", True),
    "bytes behind": (with_head(b"Content-Length: 5", body=b"hello!"), b"hello", False),
    "folded": (with_head(b"X: a", b"\tb", b"Content-Length: 5", body=b"hello"), b"hello", True),
}
TO_THE_END = {
    "no length": with_head(body=b"hello"),
    "another coding": with_head(b"Transfer-Encoding: chunked, gzip", body=b"hello"),
    "no coding that is known": with_head(b"Transfer-Encoding: xchunked", body=b"hello"),
    "1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
}
REFUSED = {
    "nothing of HTTP": b"SSH-2.0-OpenSSH_9.2",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "another version": b"HTTP/1.2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "two lengths": with_head(b"Content-Length: 2", b"Content-Length: 3", body=b"ok!"),
    "two lengths in a list": with_head(b"Content-Length: 2, 3", body=b"ok!"),
    "a signed length": with_head(b"Content-Length: +2", body=b"ok"),
    "no length": with_head(b"Content-Length:", body=b"ok"),
    "a length of letters": with_head(b"Content-Length: 0x2", body=b"ok"),
    "a length of many digits": with_head(b"Content-Length: " + b"1" * 5000),
    "no size": with_head(CHUNKED, body=b"\r\n"),
    "a size of letters": with_head(CHUNKED, body=b"x\r\n"),
    "a signed size": with_head(CHUNKED, body=b"-1\r\n"),
    "a chunk that is too long": with_head(CHUNKED, body=b"2\r\nhel\r\n0\r\n\r\n"),
    "a blank in a name": with_head(b"X Y: z"),
    "a blank before a colon": with_head(b"X : z"),
    "no colon": with_head(b"X"),
    "no name": with_head(b": y"),
    "NUL": with_head(b"X: \x00"),
    "a lone CR": with_head(b"X: a\rContent-Length: 2"),
    "a trailer that is none": with_head(CHUNKED, body=b"0\r\nx\r\n\r\n"),
    "many lines": with_head(*[b"X: y"] * 300),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_read(name: str) -> None:
    data, body, keep = TAKEN[name]
    known = HeadCache()
    for _ in range(3):
        answer, kept = read(data, known=known)
        assert answer is not None
        assert (answer.body, kept) == (body, keep)


@pytest.mark.parametrize("name", TO_THE_END)
def test_bodies_to_the_end_of_the_connection(name: str) -> None:
    assert read(TO_THE_END[name]) == (None, False)
    answer, keep = read(TO_THE_END[name], ends=True)
    assert answer is not None
    assert (answer.body, keep) == (b"hello", False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    data = REFUSED[name]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(AnswerMalformed) as caught:
            read(*pieces)
        assert str(caught.value).isprintable()


def test_a_success_that_a_proxy_has_changed_is_a_success() -> None:
    """203 says that the content was changed on the way from the 200 that it was (RFC 9110, section 15.3.4)."""
    known = HeadCache()
    for body in (b"hello", b""):
        head = b"HTTP/1.1 203 Non-Authoritative Information\r\nContent-Length: %d\r\n\r\n" % len(body)
        for pieces in ([head + body], [head[:-3], head[-3:] + body]):
            answer, _ = read(*pieces, known=known)
            assert answer == ParsedResponse(200, {b"content-length": b"%d" % len(body)}, body)
    for status in (201, 205, 206, 299):
        answer, _ = read(b"HTTP/1.1 %d Other\r\nContent-Length: 0\r\n\r\n" % status, known=known)
        assert answer is not None
        assert answer.status == status


def test_head_has_no_body() -> None:
    for known in [HeadCache()] * 3:
        answer, keep = read(with_head(b"Content-Length: 5"), is_head=True, known=known)
        assert answer == ParsedResponse(200, {b"content-length": b"5"}, b"")
        assert not keep


def test_headers_as_they_are_given_out() -> None:
    answer, _ = read(with_head(b"Content-Length:0", b"X-A: \t b \t", b"x-a:c", b"Y: d", b"  e"))
    assert answer is not None
    assert answer.headers == {b"content-length": b"0", b"x-a": b"b, c", b"y": b"d e"}


@pytest.mark.parametrize(
    "data",
    [with_head(b"Content-Length: 11", body=b"x"), with_head(body=b"x" * 11), with_head(CHUNKED, body=b"B\r\nx")],
)
def test_bodies_are_bounded(data: bytes) -> None:
    with pytest.raises(AnswerTooLarge, match="longer than 10 bytes"):
        read(data, max_body=10)


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"", b"\r\n"),
        (with_head(CHUNKED, body=b"0\r\n"), b"X: y\r\n"),
        (with_head(CHUNKED, body=b"5;"), b"x" * 100),
        (with_head(CHUNKED, body=b"5\r\nhello\r\n"), b"0" * 100),
    ],
)
def test_framing_is_bounded(before: bytes, again: bytes) -> None:
    reader = ResponseParser(HeadCache())
    reader.expect(False, MOST)
    reader.feed(before) if before else None
    with pytest.raises(AnswerMalformed):
        list(map(reader.feed, [again] * (MAX_HEAD // len(again) + 2)))


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
@pytest.mark.parametrize("form", [b"1\r\na\r\n", b"1;b=c\r\na\r\n", b"1 \na\n", b"0000000000000000001\r\na\r\n"])
def test_chunks_without_much_data_are_refused(form: bytes, step: int) -> None:
    """Each chunk costs time: a body of 3 MiB in chunks of one byte took half a minute."""

    def feed(count: int) -> None:
        data = with_head(CHUNKED) + form * count
        reader = ResponseParser(HeadCache())
        reader.expect(False, MOST)
        assert [found for at in range(0, len(data), step) if (found := reader.feed(data[at : at + step]))] == []

    feed(CHUNK_FRAMING // len(form))
    with pytest.raises(AnswerMalformed, match="more chunk framing than data"):
        feed(CHUNK_FRAMING // (len(form) - 2) + 2)


@pytest.mark.parametrize("step", [7, 4096, 1 << 16])
@pytest.mark.parametrize("form", [b"5\r\nhello\r\n", b"4;b\nfour\n", b"400\r\n" + b"a" * 1024 + b"\r\n"])
def test_small_chunks_with_data_are_read(form: bytes, step: int) -> None:
    count = 4 * CHUNK_FRAMING // len(form)
    data = with_head(CHUNKED) + form * count + b"0\r\n\r\n"
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    answer, keep = read(*pieces, max_body=1 << 20)
    assert answer is not None
    assert (answer.body, keep) == (form.split(b"\n")[1].rstrip(b"\r") * count, True)


CHUNK_PARTS = st.tuples(
    st.sampled_from([b"", b"0", b"000000000000000000"]),
    st.sampled_from([b"", b" ", b"\t;a=b", b";\x00", b"x"]),
    st.sampled_from([b"\r\n", b"\n", b"\r\r\n"]),
    st.binary(max_size=20),
    st.sampled_from([b"\r\n", b"\n", b"", b"\r", b"x\n"]),
)


@given(
    st.lists(CHUNK_PARTS, min_size=1, max_size=8),
    st.lists(st.integers(0, 400), max_size=6),
    st.integers(0, 100),
    st.sampled_from([10, 50, MOST]),
)
def test_chunks_that_are_cut_say_the_same(parts: Any, cuts: list[int], framing: int, max_body: int) -> None:
    """Whole chunks are read in another way than parts of them."""
    sizes = [b"%x" % len(data) for _, _, _, data, _ in parts]
    chunks = [
        zeros + size + rest + end + data + after
        for size, (zeros, rest, end, data, after) in zip(sizes, parts, strict=True)
    ]
    data = with_head(CHUNKED) + b"".join(chunks) + b"0\r\n\r\n"
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    found: list[object] = []
    with patch.object(response_parser, "CHUNK_FRAMING", framing):
        for pieces in ([data], [data[a:b] for a, b in pairwise(edges)], [data[a : a + 1] for a in range(len(data))]):
            try:
                found.append(read(*pieces, max_body=max_body)[0])
            except TransportError as error:
                found.append(str(error))
    assert found[0] == found[1] == found[2]


def test_one_parser_reads_one_response_after_the_other() -> None:
    parser = ResponseParser(HeadCache())
    for _ in range(2):
        for data, body, keep in TAKEN.values():
            for step in (1, 7, len(data)):
                parser.expect(False, MOST)
                pieces = (data[at : at + step] for at in range(0, len(data), step))
                found = next(response for response in map(parser.feed, pieces) if response is not None)
                assert found.body == body
                if step == len(data):
                    assert (parser.state is ParserState.IDLE) is keep
                if parser.state is not ParserState.IDLE:
                    parser = ResponseParser(HeadCache())


# What the owner of the connection asks the state


def waiting() -> ResponseParser:
    parser = ResponseParser(HeadCache())
    parser.expect(False, MOST)
    return parser


OK = with_head(b"Content-Length: 5", body=b"hello")


def test_it_has_received_something_from_the_first_byte_to_the_last() -> None:
    parser = ResponseParser(HeadCache())
    assert not parser.received
    parser.expect(False, MOST)
    assert not parser.received
    for byte in OK[:-1]:
        assert parser.feed(bytes((byte,))) is None
        assert parser.received
    assert parser.feed(OK[-1:]) == ParsedResponse(200, {b"content-length": b"5"}, b"hello")
    assert not parser.received


def test_an_unrequested_document_is_refused_once_and_then_ignored() -> None:
    parser = ResponseParser(HeadCache())
    with pytest.raises(AnswerMalformed):
        parser.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert parser.state is ParserState.CLOSED
    assert parser.feed(OK) is None


@pytest.mark.parametrize("cut", [0, 10, len(OK) - 1])
def test_what_follows_a_response_ends_the_connection_and_is_ignored(cut: int) -> None:
    parser = waiting()
    found = [parser.feed(piece) for piece in (OK[:cut], OK[cut:] + b"HTTP/1.1 500 Other\r\n") if piece]
    assert [each.status for each in found if each] == [200]
    assert parser.state is ParserState.MUST_CLOSE
    assert parser.feed(OK) is None
    with pytest.raises(LookupError, match="EXPECT in MUST_CLOSE"):
        parser.expect(False, MOST)


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", with_head(b"Content-Length: 99999999"), OK[:20]])
def test_after_an_error_or_the_end_nothing_is_expected(data: bytes) -> None:
    parser = waiting()
    try:
        assert parser.feed(data) is None
        parser.end()
    except TransportError:
        pass
    assert parser.state is ParserState.CLOSED
    assert parser.feed(OK) is None
    assert parser.end() is None


def test_only_one_response_is_expected_at_a_time() -> None:
    with pytest.raises(LookupError, match="EXPECT in WAITING"):
        waiting().expect(False, MOST)


# The table


EVERYTHING = {**{name: data for name, (data, _, _) in TAKEN.items()}, **TO_THE_END, **REFUSED}


@given(st.sampled_from(sorted(EVERYTHING)), st.booleans())
def test_states_follow_the_table(name: str, is_head: bool) -> None:
    """Byte by byte, each state follows from the one before; DONE is left before the response is given out."""
    after: dict[ParserState, set[ParserState]] = {}
    for (state, _), new in TABLE.items():
        after.setdefault(state, set()).add(new)
    ends = after.pop(ParserState.DONE)
    parser = ResponseParser(HeadCache())
    parser.expect(is_head, MOST)
    for byte in EVERYTHING[name]:
        before = parser.state
        try:
            done = parser.feed(bytes((byte,))) is not None
        except AnswerMalformed:
            assert parser.state is ParserState.CLOSED
            break
        if done:
            assert ParserState.DONE in after[before] | after[ParserState.HEAD]
            assert parser.state in ends
            break
        # the first byte that comes leaves WAITING, and may begin a head at once
        assert parser.state is before or parser.state in after[before] | after[ParserState.HEAD]


def test_every_state_and_event_is_in_the_table() -> None:
    assert {event for _, event in TABLE} == set(ParserEvent)
    assert {state for state, _ in TABLE} | set(TABLE.values()) == set(ParserState)
    assert {state for state, _ in TABLE} == set(ParserState) - {ParserState.MUST_CLOSE, ParserState.CLOSED}


def test_the_module_shows_its_table() -> None:
    assert response_parser.__doc__ is not None
    lines = [line.split() for line in response_parser.__doc__.splitlines() if line.startswith("    ")][2:]
    assert {(state, event): after for state, event, after in lines} == {
        (state.name, event.name): after.name for (state, event), after in TABLE.items()
    }


# Strangers


def plain(status: int) -> int:
    return 200 if status == 203 else status


class ByLlhttp:
    def __init__(self, data: bytes) -> None:
        self.status, self.body, self.done, self.keep = 0, b"", False, False
        self.parser: Any = httptools.HttpResponseParser(self)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.done:
                self.status = -1

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self.body += data

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200 and not self.done:
            self.status, self.done, self.keep = self.parser.get_status_code(), True, self.parser.should_keep_alive()


def by_h11(data: bytes, ends: bool) -> ParsedResponse | None:
    """The answer that h11 reads; None where there is none, or it refuses it."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    body = b""
    head: Any = None
    try:
        connection.receive_data(data)
        for _ in range(1000):
            event = connection.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                headers: dict[bytes, bytes] = {}
                for name, value in head.headers:
                    headers[bytes(name)] = (
                        headers[bytes(name)] + b", " + bytes(value) if name in headers else bytes(value)
                    )
                return ParsedResponse(head.status_code, headers, body)
            elif event in (h11.NEED_DATA, h11.PAUSED):
                if not ends or event is h11.PAUSED:
                    return None
                ends = False
                connection.receive_data(b"")
    except h11.RemoteProtocolError:
        return None
    return None


def by_us(data: bytes, cuts: list[int], ends: bool) -> ParsedResponse | None:
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    try:
        return read(*(data[start:end] for start, end in pairwise(edges)), ends=ends)[0]
    except TransportError:
        return None


PIECES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"5",
    b"a",
    b"\x00",
    b"\xff",
    b"chunked",
]
LINES_OF_FRAMING = [
    CHUNKED,
    b"Content-Length: 5",
    b"Content-Length: 5, 5",
    b"Connection: close",
    b"X: y",
    b"Content-Length: 6",
]


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer, its parts chosen freely, then damaged in a few places."""
    firsts = [b"HTTP/1.1 200 OK", b"HTTP/1.1 404", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 203 Changed"]
    first = draw(st.sampled_from(firsts))
    lines = draw(st.lists(st.sampled_from(LINES_OF_FRAMING), max_size=4))
    body = draw(st.sampled_from([b"", b"hello", CHUNKS, b"5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"]))
    data = b"\r\n".join((first, *lines)) + b"\r\n\r\n" + body
    for _ in range(draw(st.integers(0, 2))):
        at, gone = draw(st.integers(0, len(data))), draw(st.integers(0, 2))
        data = data[:at] + draw(st.sampled_from(PIECES)) + data[at + gone :]
    return data


CUTS = st.lists(st.integers(0, 200), max_size=6)


@given(answers(), CUTS, st.booleans())
def test_however_it_is_cut_it_says_the_same(data: bytes, cuts: list[int], ends: bool) -> None:
    whole, cut = by_us(data, [], ends), by_us(data, cuts, ends)
    assert whole == cut


@given(answers(), CUTS, st.booleans())
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", [], False)
def test_what_h11_and_we_read_says_the_same(data: bytes, cuts: list[int], ends: bool) -> None:
    agrees_with_h11(data, by_us(data, cuts, ends), ends)


def agrees_with_h11(data: bytes, ours: ParsedResponse | None, ends: bool) -> None:
    """Hold what we read of bytes to what h11 does; also for tests/fuzz."""
    theirs = by_h11(data, ends)
    if ours is not None and theirs is not None:
        assert (ours.status, ours.body) == (plain(theirs.status), theirs.body)
        joined = {name: re.sub(rb"[ \t]+", b" ", value) for name, value in theirs.headers.items()}
        # h11 makes one of equal lengths, and drops a length beside chunks
        for name in (b"content-length", b"transfer-encoding"):
            joined.pop(name, None)
        assert {name: re.sub(rb"[ \t]+", b" ", ours.headers[name]) for name in joined} == joined


@given(answers(), CUTS)
@example(b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", [])
@example(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\x06\r\nContent-Length: 5\r\n\r\nhello", [])
def test_what_llhttp_reads_we_read_alike(data: bytes, cuts: list[int]) -> None:
    agrees_with_llhttp(data, by_us(data, cuts, False))


def agrees_with_llhttp(data: bytes, ours: ParsedResponse | None) -> None:
    """Hold what we read of bytes to what llhttp does; also for tests/fuzz."""
    theirs = ByLlhttp(data)
    if theirs.done and ours is not None:
        assert (ours.status, ours.body) == (plain(theirs.status), theirs.body)
    elif theirs.done:
        # on purpose: a version that is not 1.x, control characters, more in a chunk's size or a trailer than may be
        refused = any(CONTROL.search(head) or not head.lstrip().startswith(b"HTTP/1.") for head in heads_of(data))
        assert refused or by_h11(data, False) is None, data


def heads_of(data: bytes) -> list[bytes]:
    """The heads of the interim responses and of the final one."""
    head, _, rest = data.partition(b"\r\n\r\n")
    return [head, *heads_of(rest)] if re.match(rb"\s*HTTP/1\.\d 1\d\d", head) else [head]


@pytest.mark.parametrize("name", TAKEN)
def test_h11_reads_the_same_where_it_reads_it(name: str) -> None:
    data, body, _ = TAKEN[name]
    theirs = by_h11(data, False)
    assert theirs is None or theirs.body == body
    if name in ("length", "chunks", "LF alone", "no phrase", "interim", "204 with a length", "a length beside chunks"):
        assert theirs is not None
