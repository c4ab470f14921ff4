"""The parts of Twisted's interfaces that the agent uses, as protocols that a type checker understands.

zope interfaces have no ``self``, so mypy cannot check calls on them without a plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from icwsgw.agent.connection import Answer
    from icwsgw.agent.url import Url


class DelayedCall(Protocol):
    """A call that is to come: IDelayedCall."""

    def cancel(self) -> None:
        """Do not make the call."""

    def active(self) -> int | bool:
        """Say whether the call is still to come."""


class ReactorTime(Protocol):
    """A source of time: the reactor or ``twisted.internet.task.Clock`` (IReactorTime)."""

    def seconds(self) -> float:
        """Seconds since some instant."""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: Any) -> Any:  # noqa: N802
        """Make a call in ``delay`` seconds; gives a :class:`DelayedCall`."""


class HttpAgent(Protocol):
    """Sends HTTP requests: :class:`twisted.web.iweb.IAgent`."""

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:  # noqa: N803
        """Send a request; fires with an IResponse."""


class NetworkTransport(Protocol):
    """What the agent needs of a transport: the real one, or one in memory for tests."""

    def fetch(
        self,
        method: bytes,
        url: Url,
        body: bytes = b"",
        *,
        timeout: float,
        max_body: int = ...,
        content_type: bytes = ...,
    ) -> Deferred[Answer]:
        """Send one request and wait for its whole answer; see :meth:`icwsgw.agent.transport.Transport.fetch`."""

    def agent(self, timeout: float, max_body: int = ...) -> HttpAgent:
        """Give an agent over the same connections with this deadline and bound."""
