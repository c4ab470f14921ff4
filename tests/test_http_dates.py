"""Dates of HTTP headers, in all of their forms and in any time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from icwsgw.http_dates import http_date

NOW = 1_790_000_000.0


@pytest.fixture(params=["UTC0", "XXX-12", "XXX+5"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 21 Sep 2026 14:13:20 GMT",
        "Monday, 21-Sep-26 14:13:20 GMT",
        "Mon Sep 21 14:13:20 2026",
        "Mon, 21 Sep 2026 14:13:20 -0000",
        "Mon, 21 Sep 2026 14:13:20",
        "Mon, 21 Sep 2026 16:13:20 +0200",
    ],
)
def test_each_form_is_the_same_moment_in_any_time_zone(value: str, zone: str) -> None:
    assert http_date(value) == NOW


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", ",", "Mon, 31 Feb 2026 14:13:20 GMT"),
        "Tue, 14 Nov 99999999999999999999 22:14:20 GMT",
        "Tue, 14 Nov 2023 22:14:20 +999999999999999999999999",
    ],
)
def test_what_is_no_date(value: str) -> None:
    assert http_date(value) is None
