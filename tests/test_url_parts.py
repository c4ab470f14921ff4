"""Parts of URLs: what the HTTP client and TLS can use, and nothing else."""

from __future__ import annotations

import pytest
from twisted.internet.ssl import optionsForClientTLS

from icwsgw.agent.http.url import Url
from icwsgw.config.access_options import LIST_URL
from icwsgw.config.option import NETWORK_URL
from icwsgw.errors import ConfigError
from icwsgw.url_parts import UrlParts, split_url

#: Hosts that TLS cannot check, and why.
NOT_FOR_TLS = {
    "my_node": "U\\+005F",
    "a_b.example": "U\\+005F",
    "~x": "U\\+007E",
    "-a.example": "hyphen",
    "a-.example": "hyphen",
    "ab--cd.example": "hyphen",
    "xn--zzzzzz.example": "A-label",
}
#: Hosts that nothing can use.
INVALID = ["a..b", "." + "a" * 64, "a" * 64 + ".b", "[fe80::1%25eth0]", "[::1::2]"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://icp-api.io", ("https", "icp-api.io", 443, b"/")),
        ("http://my_node:8080/x?y=1#z", ("http", "my_node", 8080, b"/x?y=1")),
        ("https://127.0.0.1:8443/", ("https", "127.0.0.1", 8443, b"/")),
        ("https://[::1]/", ("https", "::1", 443, b"/")),
        ("https://host./", ("https", "host.", 443, b"/")),
        ("https://b\u00fccher.example/", ("https", "xn--bcher-kva.example", 443, b"/")),
    ],
)
def test_parts(text: str, parts: tuple[str, str, int, bytes]) -> None:
    assert split_url(text) == UrlParts(*parts)
    assert NETWORK_URL.parse(text.partition("?")[0]) == text.partition("?")[0].rstrip("/")
    if parts[0] == "https":
        optionsForClientTLS(Url.parse(text).host)


@pytest.mark.parametrize("host", NOT_FOR_TLS)
def test_a_host_that_tls_cannot_check_is_refused_for_https_only(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        optionsForClientTLS(host)
    text = f"https://{host}:8443"
    words = f"TLS cannot check the host name '{host}': .*{NOT_FOR_TLS[host]}"
    with pytest.raises(ValueError, match=words):
        Url.parse(text)
    for kind in (NETWORK_URL, LIST_URL):
        with pytest.raises(ConfigError, match=words):
            kind.parse(text)
    plain = f"http://{host}:8080"
    assert Url.parse(plain).host == host
    assert NETWORK_URL.parse(plain) == plain


@pytest.mark.parametrize("host", INVALID)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_invalid_host_is_refused(scheme: str, host: str) -> None:
    text = f"{scheme}://{host}/"
    with pytest.raises(ValueError, match=r"."):
        Url.parse(text)
    for kind in (NETWORK_URL, LIST_URL):
        with pytest.raises(ConfigError):
            kind.parse(text)


@pytest.mark.parametrize("text", ["https://icp-api.io/a b", "https://icp-api.io/\u00e4"])
def test_an_invalid_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        NETWORK_URL.parse(text)
