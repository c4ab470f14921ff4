"""A fake network in which the test decides the outcome of each request, and a context for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.agent.outcome import ACCEPTED, CallOutcome, OutcomeKind
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.messages import ClientEnvelope
from icwsgw.core.network_time import WITNESSES, Evidence, NetworkTime
from icwsgw.core.request_budget import RequestBudget
from icwsgw.errors import Rejected
from icwsgw.gateway.interfaces import Context
from icwsgw.ic import cbor
from icwsgw.ic.envelope import SignedRequest
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import decode_get_args, encode_result_err, encode_result_ok
from icwsgw.observe.metrics import Metrics

NOW_NS = 1_700_000_000_000_000_000
CANISTER = Principal(b"\x00\x00\x00\x00\x00\x00\x00\x07\x01\x01")
IDENTITY = Ed25519Identity(b"\x05" * 32)

REPLIED_OK = CallOutcome(OutcomeKind.REPLIED, encode_result_ok())


def replied_err(text: str) -> CallOutcome:
    return CallOutcome(OutcomeKind.REPLIED, encode_result_err(text))


def rejected(code: int, message: str, certified: bool = False) -> CallOutcome:
    return CallOutcome(OutcomeKind.REJECTED, reject=Rejected(code, message), certified=certified)


class Request:
    """One request in flight.

    :ivar cancelled: the sender has cancelled it
    :ivar request_id: by which its answer is to be verified, or None
    """

    def __init__(
        self, canister: Principal, body: bytes, wait: bool, timeout: float, request_id: bytes | None = None
    ) -> None:
        self.request_id = request_id
        self.canister = canister
        self.body = body
        self.wait = wait
        self.timeout = timeout
        self.cancelled = False
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, _: Deferred[Any]) -> None:
        self.cancelled = True

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = cbor.loads(self.body)["content"]
        return content

    @property
    def nonce(self) -> int:
        """The nonce that a poll asks from."""
        return decode_get_args(self.content["arg"])

    def answer(self, result: Any = ACCEPTED) -> None:
        if isinstance(result, Exception):
            self.deferred.errback(result)
        else:
            self.deferred.callback(result)


class FakeNetwork:
    """See :class:`icwsgw.gateway.interfaces.NetworkInterface`."""

    def __init__(self) -> None:
        self.time = NetworkTime()
        self.ready = True
        self.root_key: bytes | None = b""
        self.doubts = 0
        self.calls: list[Request] = []
        self.queries: list[Request] = []

    def doubt_root_key(self) -> None:
        self.doubts += 1

    def call(
        self, canister: Principal, body: bytes, *, wait: bool, timeout: float, request_id: bytes | None = None
    ) -> Deferred[CallOutcome]:
        self.calls.append(Request(canister, body, wait, timeout, request_id))
        return self.calls[-1].deferred

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        self.queries.append(Request(canister, request.body, False, timeout))
        return self.queries[-1].deferred


def make_context(identities: int = 1, **options: Any) -> tuple[Context, FakeNetwork, Clock]:
    """A context with a fake network and a clock."""
    clock, network = Clock(), FakeNetwork()
    config = replace(GatewayConfig(data_dir=Path("/nonexistent")), **options)
    context = Context(
        clock=clock,
        network=network,  # type: ignore[arg-type]
        identities=tuple(IDENTITY.derive(index) for index in range(identities)),
        config=config,
        metrics=Metrics(),
        now_ns=lambda: NOW_NS + int(clock.seconds() * 1e9),
        jitter=lambda: 0.0,
        budget=RequestBudget(config.queries_per_second, config.polling_interval, config.opens_per_second),
    )
    network.time.take(Evidence.DATE, NOW_NS, 0.0, NOW_NS)
    return context, network, clock


def set_skew(context: Context, skew_ns: int, certified: bool = False) -> None:
    """Set the network's time ahead of the gateway's by ``skew_ns``.

    :param certified: a certificate has shown it too: clients are refused by it
    """
    now_ns = context.now_ns()
    for kind in [Evidence.REFUSED] * WITNESSES + [Evidence.CERTIFIED] * certified:
        context.network.time.take(kind, now_ns + skew_ns, context.clock.seconds(), now_ns)


def envelope(number: int, method: str = "ws_message", size: int = 0, ttl: float = 240.0) -> ClientEnvelope:
    """A client's envelope that can be recognised by its number."""
    body = b"%d" % number + bytes(size)
    return ClientEnvelope(body, b"\x01" * 29, CANISTER.raw, method, b"", NOW_NS + int(ttl * 1e9))
