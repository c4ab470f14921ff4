"""URLs: parsed once, joined, and the heads that go with them."""

from __future__ import annotations

import pytest

from icwsgw.agent.http.url import USER_AGENT, Url


@pytest.mark.parametrize(
    ("text", "host", "port", "netloc", "path"),
    [
        ("http://127.0.0.1:4943", "127.0.0.1", 4943, b"127.0.0.1:4943", b"/"),
        ("https://icp-api.io/", "icp-api.io", 443, b"icp-api.io", b"/"),
        ("https://ICP0.io:443", "icp0.io", 443, b"icp0.io", b"/"),
        ("http://[::1]:80/base/?q=1#f", "::1", 80, b"[::1]", b"/base/?q=1"),
        ("http://b\u00fccher.example", "xn--bcher-kva.example", 80, b"xn--bcher-kva.example", b"/"),
    ],
)
def test_parse(text, host, port, netloc, path) -> None:
    url = Url.parse(text)
    assert (url.host, url.port, url.netloc, url.path) == (host, port, netloc, path)
    assert url.origin == (url.scheme, host, port)


@pytest.mark.parametrize(
    "text",
    ["", "icp0.io", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://u@x", "http://x/a b", "http://x/\u00e4",
     "http://a_b!c", "http://[::1"],
)  # fmt: skip
def test_refused(text) -> None:
    with pytest.raises(ValueError, match=r"."):
        Url.parse(text)


def test_join_keeps_the_prefix() -> None:
    base = Url.parse("http://h:1/prefix/")
    assert str(base.join(b"/api/v2/status")) == "http://h:1/prefix/api/v2/status"
    with pytest.raises(ValueError, match="path"):
        base.join(b"/a\r\nX: y")


def test_heads() -> None:
    url = Url.parse("http://h:1/x")
    head = url.head(b"POST", b"application/cbor")
    assert head == (
        b"POST /x HTTP/1.1\r\nHost: h:1\r\nUser-Agent: " + USER_AGENT + b"\r\nContent-Type: application/cbor"
        b"\r\nContent-Length: "
    )
    assert url.head(b"POST", b"application/cbor") is head
    assert b"Content-Type" not in url.head(b"GET", b"")
    other = url.head_with(b"GET", b"", [b"User-Agent: me"])
    assert other.count(b"User-Agent") == 1


@pytest.mark.parametrize(("method", "content_type"), [(b"GET /x", b""), (b"", b""), (b"GET", b"a\r\nb: c")])
def test_no_smuggling(method, content_type) -> None:
    with pytest.raises(ValueError, match="head"):
        Url.parse("http://h/").head(method, content_type)
