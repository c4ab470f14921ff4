"""The reader of request heads is compared with h11, in both directions."""

from __future__ import annotations

import re

import h11
import pytest
from autobahn.websocket.protocol import parseHttpHeader
from hypothesis import example, given
from hypothesis import strategies as st

from icwsgw.server.request_head import (
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    HeadRefused,
    RequestHead,
    cut_head,
    for_autobahn,
    read_head,
)
from tests.support.ws_wire import HANDSHAKE

# what ``str.splitlines`` takes for the end of a line, beside CR and LF
SPLITTERS = [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"]
LINES = HANDSHAKE.removesuffix(b"\r\n")


def head_of(*lines: bytes) -> RequestHead:
    return read_head(b"\r\n".join((LINES, *lines)))


def given_to_autobahn(*lines: bytes, any_origin: bool = True) -> tuple[str, dict[str, str], dict[str, int]]:
    """What Autobahn's own parser makes of its head."""
    parsed: tuple[str, dict[str, str], dict[str, int]] = parseHttpHeader(for_autobahn(head_of(*lines), any_origin))
    return parsed


def by_h11(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """The headers of a request's head as h11 reads it; None where it refuses it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return [(bytes(name), bytes(value)) for name, value in event.headers] if isinstance(event, h11.Request) else None


def by_us(data: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        cut = cut_head(data)
        return None if cut is None else list(read_head(cut.head).headers)
    except HeadRefused:
        return None


# Where the two differ on purpose.


def only_h11_takes(data: bytes) -> bool:
    """A lone LF or CR, a folded line, a control character that is no white space."""
    end = re.search(rb"\n\r?\n", data)
    head = data if end is None else data[: end.end()]
    return (
        re.search(rb"\n[ \t]|[\x01-\x08\x0a-\x1f\x7f]", head.replace(b"\r\n", b"")) is not None
        or re.search(rb"\r\n[ \t]", head) is not None
    )


def only_we_take(data: bytes) -> bool:
    """Empty lines in front; bytes from 0x80 on in the target; what makes a body, or is wrong with the host."""
    head = data.lstrip(b"\r\n").partition(b"\r\n\r\n")[0]
    return (
        data.startswith(b"\r\n")
        or re.match(rb"[^\r\n]*[\x80-\xff]", head) is not None
        or re.search(rb"\r\n(?:content-length|transfer-encoding):", head, re.IGNORECASE) is not None
        or len(re.findall(rb"\r\nhost:", head, re.IGNORECASE)) != 1
    )


NAMES = st.sampled_from(
    [b"Host", b"X-Forwarded-For", b"Origin", b"Cookie", b"X_y.z!", b"Content-Length", b"Connection"]
)
VALUES = st.lists(
    st.sampled_from([b"a", b"10.9.8.7", b" ", b"\t", b",", b":", b'"', b"\x85", b"\xff", b"\xc3\x85", b"Origin: x"])
).map(b"".join)
ODDITIES = st.sampled_from(
    [*SPLITTERS, b"\r", b"\n", b"\r\n", b"\r\n ", b"\x00", b"\x7f", b" ", b"\t", b":", b"\xa0", b"x"]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t "]), VALUES).map(b"".join), max_size=6))
    data = b"\r\n".join([b"GET /a?b HTTP/1.1", b"host: gateway", *lines]) + b"\r\n\r\n"
    for _ in range(draw(st.integers(0, 3))):
        at, gone = draw(st.integers(0, len(data))), draw(st.integers(0, 2))
        data = data[:at] + draw(ODDITIES) + data[at + gone :]
    return data


@given(heads())
@example(b"GET / HTTP/1.1\r\nHost: g\r\nX-A: b\x85X-Forwarded-For: 10.9.8.7\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: g\r\nX-A: b\r\n X-Forwarded-For: 10.9.8.7\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: g\x85\n\r\n")
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n")
def test_heads_are_read_as_h11_reads_them(data: bytes) -> None:
    agrees_with_h11(data)


def agrees_with_h11(data: bytes) -> None:
    """Compare our reading of a head with h11's; also used by tests/fuzz."""
    ours, theirs = by_us(data), by_h11(data)
    if ours is not None and theirs is not None:
        assert ours == theirs
    elif ours is not None:
        assert only_we_take(data), (data, ours)
    elif theirs is not None:
        assert only_h11_takes(data), (data, theirs)


@given(heads())
def test_autobahn_sees_no_header_that_is_not_there(data: bytes) -> None:
    try:
        cut = cut_head(data)
        head = None if cut is None else read_head(cut.head)
    except HeadRefused:
        return
    if head is None:
        return
    _, seen, counts = parseHttpHeader(for_autobahn(head, any_origin=False))
    there = [name.decode() for name, _ in head.headers]
    assert all(count <= there.count(name) for name, count in counts.items()), (data, seen)


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("name", [b"X-A", b"Cookie"])
def test_a_value_begins_no_header(splitter: bytes, name: bytes) -> None:
    line = name + b": b" + splitter + b"X-Forwarded-For: 10.9.8.7" + splitter + b"Origin: https://app.example"
    if splitter != b"\x85":
        with pytest.raises(HeadRefused, match=f"header {name.decode()} has a control character"):
            head_of(line)
        return
    headers = head_of(line).joined()
    assert not {"x-forwarded-for", "origin"} & set(headers)
    assert headers[name.decode().lower()].encode("iso-8859-1") == line[len(name) + 2 :]
    assert "origin" not in given_to_autobahn(line, any_origin=False)[1]


def test_0x85_is_a_byte_of_utf_8() -> None:
    name = "Åsa"
    assert head_of(f"X-Name: {name}".encode()).joined()["x-name"].encode("iso-8859-1").decode() == name


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b" X: y", "folded"),
        (b"\tX: y", "folded"),
        (b"X : y", "blank before its colon"),
        (b"X", "NAME: VALUE"),
        (b": y", "NAME: VALUE"),
        (b"X Y: z", "NAME: VALUE"),
        ("X-Ä: z".encode(), "NAME: VALUE"),
        (b"X\x1fY: z", "control character in its name"),
        (b"X: y\nZ: 1", "header X has a control character"),
        (b"X: y\rZ: 1", "header X has a control character"),
        (b"X: \x00", "header X has a control character"),
        (b"X: a\x7f", "header X has a control character"),
        (b"X: a\x1b[31m", "header X has a control character"),
    ],
)
def test_lines_that_are_refused(line: bytes, words: str) -> None:
    with pytest.raises(HeadRefused, match=words) as caught:
        head_of(line)
    assert (caught.value.status, caught.value.label) == (400, "bad_request")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / a HTTP/1.1",
        b"GET /\x0cx HTTP/1.1",
        b"GET / http/1.1",
        b"G(T / HTTP/1.1",
    ],
)
def test_request_lines_that_are_refused(line: bytes) -> None:
    assert by_h11(line + b"\r\nHost: x\r\n\r\n") is None
    with pytest.raises(HeadRefused, match="request line"):
        read_head(line + b"\r\nHost: x")


def test_a_head_is_cut_at_its_empty_line() -> None:
    assert cut_head(LINES) is None
    assert cut_head(HANDSHAKE) is None
    assert cut_head(b"\r\n\r\n") is None
    assert cut_head(HANDSHAKE + b"\r\n\x82\x00\r\n\r\n") == (LINES, b"\x82\x00\r\n\r\n")
    assert cut_head(b"\r\n\r\n" + HANDSHAKE + b"\r\n") == (LINES, b"")


def test_bounds_count_what_the_reader_takes_for_a_line() -> None:
    most = b"\r\n".join([LINES] + [b"X: y"] * (MAX_HEADER_LINES - LINES.count(b"\r\n"))) + b"\r\n\r\n"
    assert cut_head(most) is not None
    for data in (
        most[:-2] + b"X: y\r\n\r\n",
        b"\r\n" * (MAX_HEADER_BYTES // 2 + 1),
        LINES + b"\r\nX: " + b"y" * MAX_HEADER_BYTES,
    ):
        with pytest.raises(HeadRefused, match=r"longer than|more than") as caught:
            cut_head(data)
        assert (caught.value.status, caught.value.label) == (431, "header_size")
    # as lines of ``str.splitlines`` there would be thousands
    assert len(given_to_autobahn(b"X: " + b"\x85y: z" * 3000)[1]) == 5


def test_lines_of_lf_alone_are_not_waited_for() -> None:
    with pytest.raises(HeadRefused, match="LF instead of CRLF"):
        cut_head(HANDSHAKE.replace(b"\r\n", b"\n") + b"\n")


@pytest.mark.parametrize("line", [b"Origin: app", b"ORIGIN:", b"origin: http://a.example:99999"])
def test_an_origin_is_left_out_unless_requested(line: bytes) -> None:
    assert "origin" not in given_to_autobahn(b"X-Origin: y", line, line)[1]
    assert given_to_autobahn(line, line, any_origin=False)[2]["origin"] == 2


def test_autobahn_sees_no_offers_of_extensions() -> None:
    lines = (b"Sec-WebSocket-Extensions: permessage-deflate; a=1, x", b"sec-websocket-extensions:PERMESSAGE-deflate")
    assert "sec-websocket-extensions" not in given_to_autobahn(*lines)[1]


def test_a_colon_without_a_port_is_no_port() -> None:
    lines = LINES.replace(b"Host: gateway", b"Host: example.com:")
    assert b"\r\nhost: example.com\r\n" in for_autobahn(read_head(lines), True)


def test_a_target_beyond_ascii_is_encoded() -> None:
    lines = LINES.replace(b"GET / ", "GET /Å?ü ".encode())
    assert for_autobahn(read_head(lines), True).startswith(b"GET /%C3%85?%C3%BC HTTP/1.1\r\n")


def test_a_refusal_says_why() -> None:
    refused = HeadRefused("too long", 431, "header_size")
    assert (str(refused), refused.status, refused.label) == ("too long", 431, "header_size")


def test_empty_lines_before_a_head_do_not_count_as_its_lines() -> None:
    lines = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEADER_LINES
    head = lines.removesuffix(b"\r\n")
    found = cut_head(b"\r\n" + head + b"\r\n\r\n")
    assert found is not None
    assert found[0] == head
    with pytest.raises(HeadRefused, match="lines"):
        cut_head(lines + b"a: b\r\n\r\n")
