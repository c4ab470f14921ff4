"""What the gateway asks of the world around it: a clock, the network, a client. It knows them by these alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred

from icwsgw.core.backoff import HostBackoff
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.client_calls import WaitingBytes
from icwsgw.core.network_time import NetworkTime
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.suspect_addresses import SuspectAddresses
from icwsgw.gateway.calls.scheduler import CallScheduler
from icwsgw.gateway.polling.answer_queue import AnswerQueue
from icwsgw.ic.certificate import DelegationCache
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.agent.outcome import CallOutcome
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.gateway.polling.batch_acceptor import CertificateSource
    from icwsgw.ic.envelope import SignedRequest
    from icwsgw.ic.identity import Ed25519Identity
    from icwsgw.ic.principal import Principal
    from icwsgw.observe.metrics import Metrics
    from icwsgw.observe.tracing import Tracing


#: Messages of clients under way at once, of which one canister may have half. ws_open, ws_close and queries have the
#: transport's other connections.
MAX_CALLS = 1024
#: Queries in flight at once by canister, each of which may always have a few; and those about newcomers by address.
MAX_QUERIES, LEAST_QUERIES, MAX_NEWCOMERS_QUERIES = 512, 3, 64
#: Canisters that have not spoken to any client lately and are polled all the same, of which one address may name half.
MAX_NEWCOMERS = 2_000


class Client(Protocol):
    """One client's connection, as a session sees it. None of these may raise or call the session back."""

    #: where it comes from, for logs
    peer: str

    @property
    def waiting_bytes(self) -> int:
        """How much it has still to be sent, because it does not read."""

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        """Send whole frames made by :mod:`icwsgw.core.messages`, in order; a slow client's wait in its outbox.

        :param more: others are likely to follow at once, they may be sent together
        """

    def close(self, code: int, reason: str) -> None:
        """End the connection with a closing handshake, after what is already queued."""

    def pause(self) -> None:
        """Stop reading from the client, so that TCP pushes back."""

    def resume(self) -> None:
        """Read again."""


class RootSubnetInterface(Protocol):
    """See :class:`icwsgw.agent.root_subnet.RootSubnet`."""

    def holds(self, canister: Principal) -> bool | None:
        """Whether a canister is the root subnet's, or None if that is not known."""

    def ask(self, canister: Principal) -> Deferred[bool]:
        """Find it out."""


class NetworkInterface(Protocol):
    """The Internet Computer, as :class:`icwsgw.agent.ic_agent.IcAgent` gives it."""

    @property
    def time(self) -> NetworkTime:
        """What time the network has."""

    @property
    def root_subnet(self) -> RootSubnetInterface:
        """Which canisters are the root subnet's."""

    @property
    def ready(self) -> bool:
        """Whether there is a root key."""

    @property
    def root_key(self) -> bytes | None:
        """The root key in DER."""

    def doubt_root_key(self) -> None:
        """A batch did not verify; see :meth:`icwsgw.agent.ic_agent.IcAgent.doubt_root_key`."""

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        """The reply to a query; see :meth:`icwsgw.agent.ic_agent.IcAgent.query`."""

    def call(self, canister: Principal, body: bytes, *, wait: bool, timeout: float) -> Deferred[CallOutcome]:
        """The outcome of a call; see :meth:`icwsgw.agent.ic_agent.IcAgent.call`."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the parts of one gateway share.

    :ivar clock: monotonic seconds and delayed calls
    :ivar now_ns: nanoseconds since 1970
    :ivar jitter: random numbers in [0, 1)
    :ivar delegations: verified delegations of subnets, for all pollers
    :ivar log_limiter: bounds the lines of the log that strangers cause
    :ivar calls: the calls of clients under way, by canister
    :ivar queries: queries in flight, by canister
    :ivar newcomers_queries: queries in flight about newcomers, by address
    :ivar suspects: addresses from which forged ws_opens come
    :ivar newcomers: canisters that strangers have named, by address
    :ivar waiting: what waits to be relayed
    :ivar host_backoff: what the network has asked of all pollers
    :ivar budget: of all that leaves for the network; by default there is no bound
    :ivar call_scheduler: where calls leave
    :ivar answers: when answers to polls are dealt with
    :ivar readable: makes certificates readable for all clients; None: they reach clients as they are
    :ivar tracing: makes spans; None when nobody collects them
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
    calls: CallSlots = field(default_factory=lambda: CallSlots(MAX_CALLS))
    waiting: WaitingBytes = field(default_factory=WaitingBytes)
    host_backoff: HostBackoff = field(default_factory=HostBackoff)
    budget: RequestBudget = cast(RequestBudget, None)  # noqa: RUF009 - made below
    readable: CertificateSource | None = None
    tracing: Tracing | None = None
    queries: CallSlots = field(default_factory=lambda: CallSlots(MAX_QUERIES, LEAST_QUERIES))
    newcomers_queries: CallSlots = field(default_factory=lambda: CallSlots(MAX_NEWCOMERS_QUERIES))
    newcomers: CallSlots = field(default_factory=lambda: CallSlots(MAX_NEWCOMERS))
    suspects: SuspectAddresses[Any] = field(default_factory=SuspectAddresses)
    call_scheduler: CallScheduler = field(init=False)
    answers: AnswerQueue = field(init=False)

    def __post_init__(self) -> None:
        if self.budget is None:
            object.__setattr__(self, "budget", RequestBudget(None, self.config.polling_interval))
        object.__setattr__(self, "answers", AnswerQueue(self.clock))
        object.__setattr__(self, "call_scheduler", CallScheduler(self.clock, self.budget, self.calls))

    def network_ns(self) -> int:
        """The network's time as it is reckoned: what we sign expires by it."""
        return self.network.time.now_ns(self.clock.seconds(), self.now_ns())

    def earliest_network_ns(self) -> int:
        """A time that the network's clock has passed for certain."""
        return self.network.time.earliest_ns(self.clock.seconds(), self.now_ns())
