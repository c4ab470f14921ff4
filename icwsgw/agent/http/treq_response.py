"""Adapts whole responses and whole request bodies to the interfaces of twisted.web, for treq.

twisted.web delivers bodies in pieces. The transport has them whole, because they are bounded and CBOR needs the whole
body. So a response delivers its body in one piece, and a request's body needs no cooperator.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from icwsgw.agent.http.connection import ParsedResponse

_DONE: Any = cast(Any, Failure)(ResponseDone())


@implementer(IBodyProducer)
class BytesProducer:
    """A request body that is whole.

    :ivar body: the bytes
    :ivar length: the number of bytes
    """

    __slots__ = ("body", "length")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:  # noqa: N802
        """Write the body."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """Do nothing: the body is written."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Do nothing: the body is written."""

    def stopProducing(self) -> None:  # noqa: N802
        """Do nothing: the body is written."""


@implementer(IConsumer)
class BodyCollector:
    """Collects the body of any other IBodyProducer, for example a file's."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Add a piece."""
        self._pieces.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        """Accept a producer. It is never paused, because the body is collected in memory."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Release the producer."""

    def body(self) -> bytes:
        """All pieces together."""
        return b"".join(self._pieces)


@implementer(IClientRequest)
class ClientRequest:
    """The request, for users of ``response.request``."""

    __slots__ = ("absoluteURI", "headers", "method")

    def __init__(self, method: bytes, uri: bytes, headers: Headers) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers


class _NoTransport:
    """The transport of a body's protocol. The body is whole, so nothing can be stopped."""

    __slots__ = ()
    disconnecting = False

    def loseConnection(self) -> None:  # noqa: N802
        """Do nothing."""

    stopProducing = pauseProducing = resumeProducing = loseConnection  # noqa: N815


_NO_TRANSPORT = _NoTransport()


@implementer(IResponse)
class TreqResponse:
    """A :class:`ParsedResponse` as IResponse.

    :ivar body: the whole body
    """

    __slots__ = ("_headers", "_raw_headers", "body", "code", "length", "previousResponse", "request")

    version = (b"HTTP", 1, 1)

    def __init__(self, answer: ParsedResponse, request: ClientRequest) -> None:
        self.code, self._raw_headers, self.body, _ = answer
        self.length = len(self.body)
        self.request = request
        self.previousResponse: Any = None
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """The response's headers. The values of a repeated header are joined."""
        if self._headers is None:
            self._headers = Headers({name: [value] for name, value in self._raw_headers.items()})
        return self._headers

    @property
    def phrase(self) -> bytes:
        """The standard phrase for the status; the server's own is ignored."""
        return RESPONSES.get(self.code, b"")

    def setPreviousResponse(self, response: Any) -> None:  # noqa: N802
        """Remember the response that redirected to this one."""
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:  # noqa: N802
        """Deliver the whole body at once."""
        protocol.makeConnection(_NO_TRANSPORT)
        if self.body:
            protocol.dataReceived(self.body)
        protocol.connectionLost(_DONE)
