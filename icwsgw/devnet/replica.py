"""The devnet's replica: the HTTP interface of the IC over canisters in this process.

:meth:`Replica.handle` takes a request's method, path and body and returns its answer. A gateway can therefore use the
replica over HTTP or in memory. Time comes from a clock: with ``task.Clock``, hours of acknowledgement rounds take
milliseconds. Advance that clock in steps; otherwise a timer sees a later time than the one it was set for.

The replica serves all versions of the endpoints that are in use, each with its form of delegation
(:mod:`icwsgw.devnet.topology`)::

    GET  /api/v2/status
    POST /api/v{2,3,4}/canister/<id>/call          2: asynchronous, 3 and 4: answered with a certificate within 10 s
    POST /api/v{2,3}/canister/<id>/query
    POST /api/v{2,3}/canister/<id>/read_state
    POST /api/v{2,3}/subnet/<id>/read_state

The replica checks envelopes as the specification requires, and its answers contain certificates and node signatures
that agents can verify. ``/_/`` is for tests and the demo page, see :mod:`icwsgw.devnet.control_api`. All state is in
memory and ends with the process.
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

        :param content_type: the request's Content-Type
        :returns: status, headers, body; fails with :class:`~icwsgw.devnet.faults.Dropped` if the connection must end
        """
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "_":
            return succeed(control_api.answer(self, method, parts[1:], body))
        return self._endpoints.answer(method, parts, body, content_type)
