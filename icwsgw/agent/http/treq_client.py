"""treq's client without the features that the IC's interface never uses.

For each request ``treq.client.HTTPClient.request`` wraps the agent for cookies, redirects and content decoding, and
normalizes the URL. That takes about 100 us of CPU, three times what the request costs on this transport, and a gateway
polls thousands of times a second. For a :class:`FixedUrl` (an endpoint of the network, normalized once)
:class:`MinimalTreqClient` calls the agent directly. The result is treq's own response, and its ``content()`` is
available at once, because the transport has whole bodies. Any other request takes treq's own path.
"""

from __future__ import annotations

from typing import Any

import treq.client
from hyperlink import EncodedURL
from treq.cookies import IndexableCookieJar
from treq.response import _Response
from twisted.internet.defer import Deferred, succeed

from icwsgw.agent.http.protocols import HttpAgent
from icwsgw.agent.http.treq_response import BytesProducer
from icwsgw.agent.http.url import Url


class FixedUrl(EncodedURL):
    """A URL that is requested unchanged: it is normalized, and no redirects or cookies apply.

    :ivar uri: the URL as bytes
    """

    uri: bytes

    @classmethod
    def of(cls, url: Url) -> FixedUrl:
        """Make one from a valid URL."""
        text = str(url)
        made = cls.from_text(text)
        assert isinstance(made, cls)
        made.uri = text.encode("ascii")
        return made


class WholeResponse(_Response):
    """treq's response, with a body that is whole."""

    original: Any

    def content(self) -> Deferred[bytes]:
        """The body."""
        return succeed(self.original.body)


class MinimalTreqClient(treq.client.HTTPClient):
    """treq's client over an agent with :class:`~icwsgw.agent.http.treq_response.TreqResponse`.

    :param agent: from :meth:`icwsgw.agent.http.transport.Transport.agent`
    """

    def __init__(self, agent: HttpAgent) -> None:
        untyped: Any = agent
        producer: Any = BytesProducer
        super().__init__(untyped, IndexableCookieJar(), producer)

    def request(self, method: str, url: Any, **options: Any) -> Any:
        """Send a request. For a FixedUrl, only ``headers`` (a Headers) and ``data`` (bytes) are supported."""
        if not isinstance(url, FixedUrl):
            return super().request(method, url, **options)
        headers, data = options.pop("headers"), options.pop("data")
        options.pop("_stacklevel", None)
        if options:
            raise TypeError(f"not for a fixed URL: {sorted(options)}")
        agent: Any = self._agent
        response: Deferred[Any] = agent.request(method.encode("ascii"), url.uri, headers, BytesProducer(data))
        return response.addCallback(WholeResponse, self._cookiejar)
