"""Protocols for what the agent needs of a transport.

The methods of zope interfaces have no ``self``, so that mypy cannot check calls without a plugin. The protocol for time
is in :mod:`icwsgw.reactor.clock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from icwsgw.agent.http.connection import ParsedResponse
    from icwsgw.agent.http.url import Url


class HttpAgent(Protocol):
    """Sends HTTP requests, as :class:`twisted.web.iweb.IAgent`."""

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:  # noqa: N803
        """Send a request; fires with an IResponse."""


class NetworkTransport(Protocol):
    """What the agent needs of a transport: the real one, or one in memory for tests."""

    def fetch(self, method: bytes, url: Url, body: bytes = b"", *, timeout: float) -> Deferred[ParsedResponse]:
        """Send one request in CBOR and wait for its whole response.

        :param timeout: seconds until the response must be whole
        :returns: a response of any status; fails with TransportError. See
            :meth:`icwsgw.agent.http.transport.Transport.fetch`
        """

    def agent(self, timeout: float) -> HttpAgent:
        """Make an agent over the same connections, with this deadline for its requests."""
