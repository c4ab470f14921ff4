"""What the agent needs of a transport, as protocols that a type checker understands.

zope interfaces have no ``self``, so mypy cannot check calls on them without a plugin. Time is
:mod:`icwsgw.reactor.clock`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from icwsgw.agent.http.connection import ParsedResponse
    from icwsgw.agent.http.url import Url


class HttpAgent(Protocol):
    """Sends HTTP requests: :class:`twisted.web.iweb.IAgent`."""

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:  # noqa: N803
        """Send a request; fires with an IResponse."""


class NetworkTransport(Protocol):
    """What the agent needs of a transport: the real one, or one in memory for tests."""

    def fetch(self, method: bytes, url: Url, body: bytes = b"", *, timeout: float) -> Deferred[ParsedResponse]:
        """Send one request (CBOR) and wait for its whole answer.

        See :meth:`icwsgw.agent.http.transport.Transport.fetch`.
        """

    def agent(self, timeout: float) -> HttpAgent:
        """Give an agent over the same connections with this deadline."""
