"""treq's client without what the IC's interface never uses.

``treq.client.HTTPClient.request`` wraps the agent into cookies, redirects and content decoding, and normalises the
URL, anew for each request: about 100 us of CPU, three times what the request itself costs on our transport, and a
gateway polls thousands of times a second. For a :class:`FixedUrl` (an endpoint of the network, normalised once)
:class:`MinimalTreqClient` goes straight to the agent; the answer is treq's own response, whose ``content()`` is at hand
as the transport gives whole bodies. Any other request takes treq's way.
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
    """A URL that is asked as it is: normalised already, no redirects followed, no cookies.

    :ivar uri: the URL as bytes
    """

    uri: bytes

    @classmethod
    def of(cls, url: Url) -> FixedUrl:
        """Make one of a URL that was checked."""
        text = str(url)
        made = cls.from_text(text)
        assert isinstance(made, cls)
        made.uri = text.encode("ascii")
        return made


class WholeResponse(_Response):
    """treq's response to an answer that has come whole."""

    original: Any

    def content(self) -> Deferred[bytes]:
        """Give the body."""
        return succeed(self.original.body)


class MinimalTreqClient(treq.client.HTTPClient):
    """treq's client over an agent whose responses are :class:`~icwsgw.agent.http.treq_response.TreqResponse`.

    :param agent: from :meth:`icwsgw.agent.http.transport.Transport.agent`
    """

    def __init__(self, agent: HttpAgent) -> None:
        untyped: Any = agent
        producer: Any = BytesProducer
        super().__init__(untyped, IndexableCookieJar(), producer)

    def request(self, method: str, url: Any, **options: Any) -> Any:
        """Send a request; for a FixedUrl the options are ``headers`` (a Headers) and ``data`` (bytes), no others."""
        if not isinstance(url, FixedUrl):
            return super().request(method, url, **options)
        headers, data = options.pop("headers"), options.pop("data")
        options.pop("_stacklevel", None)
        if options:
            raise TypeError(f"not for a fixed URL: {sorted(options)}")
        agent: Any = self._agent
        asked: Deferred[Any] = agent.request(method.encode("ascii"), url.uri, headers, BytesProducer(data))
        return asked.addCallback(WholeResponse, self._cookiejar)
