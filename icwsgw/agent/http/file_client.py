"""A client for a file at a URL, by treq over the transport: bounded, with a deadline, without redirects."""

from __future__ import annotations

import os
from typing import Any

import treq.client
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from icwsgw.agent.http.transport import Transport
from icwsgw.agent.http.tunnel import chosen_proxy
from icwsgw.reactor.clock import Clock


class FileClient:
    """Fetches one file, by a proxy if the environment names one for its host.

    :param max_body: bytes of the file
    :param timeout: seconds for everything
    """

    def __init__(self, reactor: Clock, url: str, max_body: int, timeout: float) -> None:
        proxy = chosen_proxy(url, os.environ, "an access list")
        self._transport = Transport(reactor, max_body=max_body, proxy=proxy)
        agent: Any = self._transport.agent(timeout)
        self._client = treq.client.HTTPClient(agent)
        self._url = url

    def get(self, headers: dict[str, str]) -> Deferred[Any]:
        """Return treq's response; fails with a :class:`~icwsgw.errors.TransportError`."""
        lines = Headers({name: [value] for name, value in headers.items()})
        answer: Deferred[Any] = self._client.get(self._url, headers=lines, allow_redirects=False)
        return answer

    def close(self) -> Deferred[None]:
        """End the connection; fires when it has ended."""
        return self._transport.close()
