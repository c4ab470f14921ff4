"""HTTP/1.1 towards the network: skeleton with the final interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent

from icwsgw.agent.url import Url

MAX_BODY = 3 * 1024 * 1024 + 64 * 1024
CBOR = b"application/cbor"


class Answer(NamedTuple):
    """An HTTP answer, whole.

    :ivar status: HTTP status
    :ivar headers: names in lower case; a repeated header's values are joined by ", "
    :ivar body: the whole body
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class NetworkTransport(Protocol):
    """What the agent needs of a transport: the real one here, an in-memory one in tests."""

    def fetch(
        self,
        method: bytes,
        url: Url,
        body: bytes = b"",
        *,
        timeout: float,
        max_body: int = MAX_BODY,
        content_type: bytes = CBOR,
    ) -> Deferred[Answer]:
        """Send one request and wait for its whole answer."""
        ...

    def agent(self, timeout: float, max_body: int = MAX_BODY) -> IAgent:
        """Give an IAgent over the same connections with this deadline and bound."""
        ...
