from __future__ import annotations

from typing import Any

import pytest

from icwsgw.client.client_errors import ClientError
from icwsgw.client.gateway_url import check_gateway_url


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8080", "wss://gateway.example/path?query", "ws://[::1]:8080/"])
def test_urls_of_gateways(url: str) -> None:
    check_gateway_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://gateway.example", "its scheme is 'https'"),
        ("gateway.example:8080", "its scheme is 'gateway.example'"),
        ("ws://", "it has no host"),
        ("ws://gateway.example:0", "its port is 0"),
        ("ws://gateway.example:99999", "Port out of range 0-65535"),
        ("ws://gateway.example:port", "Port could not be cast to integer value as 'port'"),
        ("ws://[::1", "Invalid IPv6 URL"),
        ("ws://gateway.example/#part", "it has a fragment"),
        ("", "its scheme is ''"),
    ],
)
def test_what_is_none_says_why(url: str, why: str) -> None:
    with pytest.raises(ClientError) as raised:
        check_gateway_url(url)
    assert str(raised.value) == f"{url!r} is not the URL of a gateway: {why}"
    assert raised.value.hint == "Give ws://HOST:PORT or wss://HOST."


@pytest.mark.parametrize("value", [None, 8080, b"ws://gateway.example"])
def test_what_is_no_text_is_none(value: Any) -> None:
    with pytest.raises(ClientError, match="is not the URL of a gateway"):
        check_gateway_url(value)
