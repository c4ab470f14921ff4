"""treq's client, the short way and treq's own."""

from __future__ import annotations

import pytest
from treq.testing import RequestTraversalAgent, StringStubbingResource
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from icwsgw.agent.http.treq_client import FixedUrl, MinimalTreqClient
from icwsgw.agent.http.url import Url
from tests.support.devnet import result_of
from tests.support.memory_transport import MemoryTransport

URL = FixedUrl.of(Url.parse("http://h:1/api"))


def transport(status: int = 200) -> MemoryTransport:
    return MemoryTransport(Clock(), lambda m, p, b: (status, {"X-Path": p}, m.encode() + b" " + b))


def test_the_short_way() -> None:
    client = MinimalTreqClient(transport().agent(1.0))
    response = result_of(client.request("POST", URL, headers=Headers(), data=b"body"))
    assert response.code == 200
    assert response.headers.getRawHeaders("x-path") == ["/api"]
    assert result_of(response.content()) == b"POST body"
    assert response.request.absoluteURI == b"http://h:1/api"


def test_by_name_of_method() -> None:
    response = result_of(MinimalTreqClient(transport().agent(1.0)).post(URL, headers=Headers(), data=b"b"))
    assert result_of(response.content()) == b"POST b"


def test_redirects_are_answers() -> None:
    response = result_of(MinimalTreqClient(transport(302).agent(1.0)).request("POST", URL, headers=Headers(), data=b""))
    assert response.code == 302


def test_no_other_options() -> None:
    with pytest.raises(TypeError, match="params"):
        MinimalTreqClient(transport().agent(1.0)).request("POST", URL, headers=Headers(), data=b"", params={"a": "b"})


def test_treqs_own_way() -> None:
    client = MinimalTreqClient(transport().agent(1.0))
    response = result_of(client.get("http://h:1/other", params={"q": "1"}))
    assert result_of(response.text()) == "GET "
    assert response.headers.getRawHeaders(b"x-path") == [b"/other?q=1"]


def test_over_treqs_stub() -> None:
    """The client does not depend on our transport except on the short way."""
    resource = StringStubbingResource(lambda method, url, params, headers, data: (200, {}, method))
    client = MinimalTreqClient(RequestTraversalAgent(resource))
    response = result_of(client.get("http://stub/"))
    assert result_of(response.content()) == b"GET"
