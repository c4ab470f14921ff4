from __future__ import annotations

import hyperlink
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config.origins import Origins, canonical, parse_origin
from icwsgw.errors import ConfigError

LISTED = ("https://app.example", "https://*.wild.example", "http://localhost:*", "https://[2001:db8::1]:8443")


def admits(origin: str, *listed: str) -> bool:
    return Origins([canonical(text) for text in listed or LISTED]).admits(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "https://app.example:443",
        "HTTPS://APP.Example",
        " https://app.example\t",
        "https://a.wild.example",
        "https://a.b.wild.example:443",
        "http://localhost",
        "http://localhost:3000",
        "https://[2001:db8:0:0::1]:8443",
        "https://[2001:DB8::1]:08443",
    ],
)
def test_what_is_let_in(origin: str) -> None:
    assert admits(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil.com/.wild.example",
        "https://evil.com?.wild.example",
        "https://evil.com#.wild.example",
        "https://evil.com\\.wild.example",
        "https://evil.com:443/.wild.example",
        "https://evil.com:1.wild.example",
        "https://evil.com@a.wild.example",
        "https://user:pw@app.example",
        "https://app.example/",
        "https://app.example.",
        "https://app.example:8443",
        "https://app.example:",
        "https://app.example:0",
        "https://app.example:65536",
        "https://app.example, https://app.example",
        "https://app.example https://evil.example",
        "http://app.example",
        "https://wild.example",
        "https://.wild.example",
        "https://a..wild.example",
        "https://-.wild.example",
        "https://*.wild.example",
        "https://a%2f.wild.example",
        "https://a\x00.wild.example",
        "https://a\n.wild.example",
        "https://a.wild.example\n",
        "https://evil\u3002wild.example",
        "https://\u0130.wild.example",
        "https://[2001:db8::2]:8443",
        "https://[2001:db8::1]",
        "https://[::1].wild.example",
        "https://[x.wild.example]",
        "https:app.example",
        "//app.example",
        "app.example",
        "https://" + 60 * "abcd." + "wild.example",
    ],
)
def test_what_is_not(origin: str) -> None:
    assert not admits(origin)


def test_null_is_let_in_where_it_is_listed() -> None:
    assert admits("null", "null")
    assert not admits("https://app.example", "null")
    assert not admits("null", "https://*")


def test_a_pattern_for_all_of_a_scheme() -> None:
    assert admits("https://x.example", "https://*")
    assert admits("https://[::1]", "https://*")
    assert not admits("https://x.example:1", "https://*")
    assert admits("https://x.example:1", "https://*:*")
    assert admits("chrome-extension://abcdef", "chrome-extension://abcdef")
    assert admits("https://app-7.example", "https://app-*.example")


def test_no_list_lets_in_all() -> None:
    assert not Origins(())
    assert Origins(()).admits("whatever")
    assert Origins(["https://a.example"])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://App.example/", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://*.Bücher.example:81", "https://*.xn--bcher-kva.example:81"),
        ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
        ("https://app.example.", "https://app.example."),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
    ],
)
def test_how_an_operator_s_origin_is_written(text: str, written: str) -> None:
    assert canonical(text) == written
    assert canonical(written) == written
    assert Origins([written]).admits(written.replace("*", "x"))


@pytest.mark.parametrize(
    "text",
    ["", "*", "app.example", "https://", "https://a/b", "https://a?x", "https://u@a", "https://a:x", "https://[ab].x"],
)
def test_what_an_operator_cannot_mean(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an origin such as"):
        canonical(text)


@given(st.text(alphabet="htps:/.*@?#[]\\ab-1%\u3002", max_size=40).map("https://".__add__))
def test_a_second_parser_reads_the_same_host(text: str) -> None:
    """Whatever is taken for an origin, hyperlink reads the same host and port in it, and nothing besides."""
    origin = parse_origin(text)
    if origin is not None:
        url = hyperlink.URL.from_text(text)
        assert (url.host or "").strip("[]") in (origin.host.strip("[]"), origin.host)
        assert (url.scheme, url.port) == (origin.scheme, origin.port)
        assert (url.path, url.query, url.fragment, url.userinfo) == ((), (), "", "")


def test_a_refusal_names_the_origin_and_those_that_are_allowed() -> None:
    listed = Origins(["https://app.example"])
    assert listed.refusal("https://evil.example") == "origin https://evil.example not allowed, only https://app.example"
    assert listed.refusal("") == "no origin was sent, only https://app.example may connect"
    many = Origins([f"https://{number}.example" for number in range(8)]).refusal("null")
    assert many.startswith("origin null not allowed, only https://0.example, ")
    assert many.endswith("https://4.example and 3 more")
