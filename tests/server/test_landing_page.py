"""The page for browsers: which requests get it, and its content."""

from __future__ import annotations

import re

import pytest

from icwsgw.server.landing_page import MOST_PRINCIPALS, accepts_page, landing_page
from icwsgw.server.request_head import read_head

BROWSER = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("head", "wants"),
    [
        (BROWSER, True),
        (BROWSER.replace(b"GET", b"POST"), False),
        (BROWSER.replace(b"text/html", b"text/plain"), False),
        (BROWSER + b"\r\nUpgrade: websocket", False),
        (b"GET / HTTP/1.1\r\nHost: x", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*", False),
    ],
)
def test_who_gets_it(head: bytes, wants: bool) -> None:
    assert accepts_page(read_head(head)) is wants


def test_it_says_what_this_is_and_where_the_rest_is() -> None:
    page = landing_page("1.2", ["aaaaa-aa"], demo="http://127.0.0.1:4943/", status="http://127.0.0.1:9090/").decode()
    assert "Version 1.2. Canisters know it as <code>aaaaa-aa</code>." in page
    assert re.findall('href="(.*?)"', page) == ["http://127.0.0.1:4943/", "http://127.0.0.1:9090/"]


def test_in_production_it_has_no_links_and_names_a_few_principals() -> None:
    principals = [f"principal-{number}" for number in range(MOST_PRINCIPALS + 3)]
    page = landing_page("1.2", principals, demo=None, status=None).decode()
    assert "<a" not in page
    assert page.count("principal-") == MOST_PRINCIPALS
    assert "and 3 others" in page


def test_nothing_in_it_is_markup_of_others() -> None:
    page = landing_page("<b>", ["<i>"], demo='http://x/"><script>', status=None).decode()
    assert not re.search("<b>|<i>|<script>", page)
