"""Answers HTTP-01 challenges (RFC 8555, section 8.3): the server at port 80, which has nothing else.

Requests for other paths are sent to https if they name a host of this gateway, because people type names without a
scheme.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from twisted.web.resource import Resource

from icwsgw.acme.storage import AcmeStorage
from icwsgw.admin.prometheus_endpoint import AdminRequest, AdminSite

PATH = b"/.well-known/acme-challenge/"

#: A path and query that may stand in a Location header.
_TARGET = re.compile(rb"/[\x21-\x7e]*")


class ChallengeResource(Resource):
    """Everything at port 80.

    :param names: hosts of this gateway
    """

    isLeaf = True  # noqa: N815

    def __init__(self, storage: AcmeStorage, names: Collection[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storage = storage
        self._names = frozenset(names)

    def render(self, request: Any) -> bytes:
        """Answer a request of any method."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        body = self._body(request)
        return b"" if request.method == b"HEAD" else body

    def _body(self, request: Any) -> bytes:
        if request.path.startswith(PATH):
            answer = self._storage.answer(request.path[len(PATH) :].decode("ascii", "replace"))
            if answer is not None:
                # "an arbitrary number of octets": no type but this one is needed
                request.setHeader(b"content-type", b"application/octet-stream")
                return answer
        elif (host := _host(request)) in self._names and _TARGET.fullmatch(request.uri):
            request.setResponseCode(308)
            request.setHeader(b"location", b"https://" + host.encode() + request.uri)
            return b"use https or wss\n"
        request.setResponseCode(404)
        return b"not found: this port only answers the challenges of a certificate authority\n"


class ChallengeSite(AdminSite):
    """The HTTP server for :class:`ChallengeResource`, with the limits of the one for operators."""

    def __init__(self, storage: AcmeStorage, names: Collection[str], reactor: Any) -> None:
        no_resource: Any = None
        super().__init__(no_resource, reactor)
        self.resource = ChallengeResource(storage, names)

    def prepare(self, request: AdminRequest) -> None:
        """Return None: an answer waits for nothing."""

    def comes_first(self, request: AdminRequest) -> bool:
        """Return whether a certificate authority may have sent the request."""
        return request.path.startswith(PATH)


def _host(request: Any) -> str:
    value: bytes = request.getHeader(b"host") or b""
    return value.decode("ascii", "replace").partition(":")[0].rstrip(".").lower()
