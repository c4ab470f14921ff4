"""Whole answers and whole request bodies in the dress of twisted.web's interfaces, for treq.

twisted.web hands bodies over in pieces; the transport has them whole (they are bounded, and CBOR wants all of
it), so a response delivers its body in one piece and a request's body needs no cooperator.
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
    """A request body that is there already.

    :ivar body: the bytes
    :ivar length: how many
    """

    __slots__ = ("body", "length")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:  # noqa: N802
        """Write all of it."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Nothing is left to resume."""

    def stopProducing(self) -> None:  # noqa: N802
        """Nothing is left to stop."""


@implementer(IConsumer)
class BodyCollector:
    """Takes the body of any other IBodyProducer, such as a file's, together."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self._pieces.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        """Accept a producer; it is never paused, as the body is collected in memory."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Let the producer go."""

    def body(self) -> bytes:
        """Give all pieces as one."""
        return b"".join(self._pieces)


@implementer(IClientRequest)
class ClientRequest:
    """What was asked, for whoever looks at ``response.request``."""

    __slots__ = ("absoluteURI", "headers", "method")

    def __init__(self, method: bytes, uri: bytes, headers: Headers) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers


class _NoTransport:
    """The transport of a body's protocol: the body is there, so nothing can be stopped."""

    __slots__ = ()
    disconnecting = False

    def loseConnection(self) -> None:  # noqa: N802
        """Do nothing."""

    stopProducing = pauseProducing = resumeProducing = loseConnection  # noqa: N815


_NO_TRANSPORT = _NoTransport()


@implementer(IResponse)
class TreqResponse:
    """An :class:`ParsedResponse` as IResponse.

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
        """The answer's headers; the values of a repeated one are joined."""
        if self._headers is None:
            self._headers = Headers({name: [value] for name, value in self._raw_headers.items()})
        return self._headers

    @property
    def phrase(self) -> bytes:
        """The usual phrase for the status (what the server wrote there means nothing)."""
        return RESPONSES.get(self.code, b"")

    def setPreviousResponse(self, response: Any) -> None:  # noqa: N802
        """Remember the answer that redirected to this one."""
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:  # noqa: N802
        """Hand the body over, all at once."""
        protocol.makeConnection(_NO_TRANSPORT)
        if self.body:
            protocol.dataReceived(self.body)
        protocol.connectionLost(_DONE)
