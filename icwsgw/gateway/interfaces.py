"""The interfaces by which the gateway uses its environment: clock, network and clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred

from icwsgw.core.backoff import HostBackoff
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.client_calls import WaitingBytes
from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.network_time import NetworkTime
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.suspect_addresses import SuspectAddresses
from icwsgw.gateway.calls.scheduler import CallScheduler
from icwsgw.gateway.ended_sessions import EndedSessions
from icwsgw.gateway.polling.answer_queue import AnswerQueue
from icwsgw.ic.certificate import DelegationCache
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.agent.outcome import CallOutcome
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.ic.envelope import SignedRequest
    from icwsgw.ic.identity import Ed25519Identity
    from icwsgw.ic.principal import Principal
    from icwsgw.observe.metrics import Metrics
    from icwsgw.observe.tracing import Tracing


#: Queries in flight at once that each canister may always have.
LEAST_QUERIES = 3
#: Canisters that are polled although they have not spoken to any client lately; clients of one address may name half of
#: them.
MAX_NEWCOMERS = 2_000


class Client(Protocol):
    """One client's connection, as its session sees it. None of these methods may raise or call the session."""

    #: the client's address, for logs
    peer: str
    #: the Origin header of its request, shortened; empty if it sent none
    origin: str

    @property
    def waiting_bytes(self) -> int:
        """Bytes in its outbox."""

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        """Send complete frames (:mod:`icwsgw.core.messages`) in order; those of a slow client wait in its outbox.

        :param more: others are likely to follow at once and may be sent together with these
        """

    def close(self, code: int, reason: str) -> None:
        """End the connection with a closing handshake, after what is queued."""

    def pause(self) -> None:
        """Stop reading its socket, which causes TCP backpressure."""

    def resume(self) -> None:
        """Read its socket again."""


class RootSubnetInterface(Protocol):
    """As :class:`icwsgw.agent.root_subnet.RootSubnet`."""

    def holds(self, canister: Principal) -> bool | None:
        """Whether a canister is on the root subnet; None if that is unknown."""

    def look_up(self, canister: Principal) -> Deferred[bool]:
        """Find out whether a canister is on the root subnet."""


class CertificateSource(Protocol):
    """What the pollers use of :class:`icwsgw.agent.delegation_replacer.DelegationReplacer`."""

    def look(self, canister: Principal, certificate: bytes, again: Callable[[], None]) -> bytes | None:
        """Return a certificate in a form that all clients can verify, or unchanged if there is none.

        :param certificate: a canister's certificate, in CBOR
        :param again: is called when to look again, if the result is None
        :return: None while a request to the network finds out
        """


class NetworkInterface(Protocol):
    """The Internet Computer, as :class:`icwsgw.agent.ic_agent.IcAgent` provides it."""

    @property
    def time(self) -> NetworkTime:
        """The network's time."""

    @property
    def root_subnet(self) -> RootSubnetInterface:
        """Which canisters are on the root subnet."""

    @property
    def ready(self) -> bool:
        """Whether there is a root key."""

    @property
    def root_key(self) -> bytes | None:
        """The root key in DER, or None."""

    def doubt_root_key(self) -> None:
        """A batch did not verify; see :meth:`icwsgw.agent.ic_agent.IcAgent.doubt_root_key`."""

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        """The reply to a query; see :meth:`icwsgw.agent.ic_agent.IcAgent.query`."""

    def call(
        self, canister: Principal, body: bytes, *, wait: bool, timeout: float, request_id: bytes | None = None
    ) -> Deferred[CallOutcome]:
        """The outcome of a call; see :meth:`icwsgw.agent.ic_agent.IcAgent.call`."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the parts of one gateway share.

    :ivar clock: monotonic seconds and delayed calls
    :ivar network: the Internet Computer
    :ivar identities: the gateway's identities in this process
    :ivar config: the configuration
    :ivar metrics: the metrics
    :ivar now_ns: gives this machine's time, ns since 1970
    :ivar jitter: gives random numbers in [0, 1)
    :ivar delegations: verified delegations of subnets, for all pollers
    :ivar log_limiter: limits log lines that others can cause
    :ivar in_flight_limits: how many requests may be in flight; by default as many as 2,048 connections allow
    :ivar calls: slots of clients' messages in flight, by canister
    :ivar waiting: bytes in all relay queues and sequence buffers
    :ivar host_backoff: pauses of all pollers that the network has asked for
    :ivar budget: the request budget; by default there is no limit
    :ivar readable: gives certificates in a form that all clients can verify; None: they reach clients unchanged
    :ivar tracing: makes spans; None if no collector is configured
    :ivar queries: slots of queries in flight, by canister
    :ivar newcomers_queries: slots of queries in flight about newcomers, by address
    :ivar newcomers: slots of newcomers that are polled, by address
    :ivar suspects: addresses that have sent forged ``ws_open`` calls
    :ivar ended_sessions: the sessions that have ended lately
    :ivar call_scheduler: decides when calls are sent
    :ivar answers: decides when answers to polls are handled
    """

    clock: Clock
    network: NetworkInterface
    identities: tuple[Ed25519Identity, ...]
    config: GatewayConfig
    metrics: Metrics
    now_ns: Callable[[], int]
    jitter: Callable[[], float]
    delegations: DelegationCache = field(default_factory=DelegationCache)
    log_limiter: LogRateLimiter = field(default_factory=LogRateLimiter)
    in_flight_limits: InFlightLimits = field(default_factory=InFlightLimits)
    calls: CallSlots = cast(CallSlots, None)  # noqa: RUF009 - made below, with its limit
    waiting: WaitingBytes = field(default_factory=WaitingBytes)
    host_backoff: HostBackoff = field(default_factory=HostBackoff)
    budget: RequestBudget = cast(RequestBudget, None)  # noqa: RUF009 - made below
    readable: CertificateSource | None = None
    tracing: Tracing | None = None
    queries: CallSlots = cast(CallSlots, None)  # noqa: RUF009 - made below, with its limit
    newcomers_queries: CallSlots = cast(CallSlots, None)  # noqa: RUF009 - made below, with its limit
    newcomers: CallSlots = field(default_factory=lambda: CallSlots(MAX_NEWCOMERS))
    suspects: SuspectAddresses[Any] = field(default_factory=SuspectAddresses)
    ended_sessions: EndedSessions = field(default_factory=EndedSessions)
    call_scheduler: CallScheduler = field(init=False)
    answers: AnswerQueue = field(init=False)

    def __post_init__(self) -> None:
        if self.budget is None:
            object.__setattr__(self, "budget", RequestBudget(None, self.config.polling_interval))
        self._make_slots()
        object.__setattr__(self, "answers", AnswerQueue(self.clock))
        object.__setattr__(
            self, "call_scheduler", CallScheduler(self.clock, self.budget, self.calls, self.in_flight_limits)
        )

    def _make_slots(self) -> None:
        limits = self.in_flight_limits
        for name, limit, least in (
            ("calls", limits.messages, 1),
            ("queries", limits.queries, LEAST_QUERIES),
            ("newcomers_queries", limits.newcomers_queries, 1),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, CallSlots(limit, least))

    def change(self, config: GatewayConfig) -> None:
        """Apply another configuration; parts read it when they need it."""
        object.__setattr__(self, "config", config)

    def network_ns(self) -> int:
        """The network's time as far as it is known, ns since 1970; requests of the gateway expire by it."""
        return self.network.time.now_ns(self.clock.seconds(), self.now_ns())

    def earliest_network_ns(self) -> int:
        """A time that the network's clock has certainly passed, ns since 1970."""
        return self.network.time.earliest_ns(self.clock.seconds(), self.now_ns())
