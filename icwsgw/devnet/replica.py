"""The devnet's replica: the HTTP interface of the IC over canisters in this process.

:meth:`Replica.handle` takes a request's method, path and body and gives its answer, so that a gateway and the replica
can be joined over HTTP or in memory; time comes from a clock, so that hours of acknowledgement rounds take
milliseconds under ``task.Clock`` (advanced in steps, or a timer sees a later time than the one it was set for).
Endpoints, in all versions that are served anywhere today, each with the form of delegation that belongs to it
(:mod:`icwsgw.devnet.topology`)::

    GET  /api/v2/status
    POST /api/v{2,3,4}/canister/<id>/call          2: asynchronous, 3 and 4: answered with a certificate within 10 s
    POST /api/v{2,3}/canister/<id>/query
    POST /api/v{2,3}/canister/<id>/read_state
    POST /api/v{2,3}/subnet/<id>/read_state

Envelopes are checked as the specification asks, answers carry certificates and node signatures that agents verify.
``/_/`` is for tests and the demo page, see :mod:`icwsgw.devnet.control_api`. Everything is in memory and gone with the
process.
"""

from __future__ import annotations

from functools import cached_property

from twisted.internet.defer import Deferred, succeed

from icwsgw.devnet import control_api
from icwsgw.devnet.faults import Answer
from icwsgw.devnet.http_api import Endpoints
from icwsgw.devnet.network_state import NetworkState


class Replica(NetworkState):
    """A network with its HTTP interface."""

    @cached_property
    def _endpoints(self) -> Endpoints:
        return Endpoints(self)

    def handle(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/cbor"
    ) -> Deferred[Answer]:
        """Answer a request.

        :param content_type: the request's
        :returns: status, headers, body; fails with :class:`~icwsgw.devnet.faults.Dropped` where the connection is to
            end
        """
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "_":
            return succeed(control_api.answer(self, method, parts[1:], body))
        return self._endpoints.answer(method, parts, body, content_type)
