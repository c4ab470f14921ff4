"""The simulated world: one gateway, one replica, the network between them, and virtual time that jumps.

The clock goes from timer to timer, so that a quiet minute costs as much as the timers in it. Where the gateway keeps
things in sets, whose order depends on addresses, the simulation puts sets that keep the order of insertion, so that a
seed gives the same run each time. BLS signatures are left out unless the scenario verifies them (they would cost most
of the time), all others are made and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from icwsgw.agent.client import IcAgent
from icwsgw.config import GatewayConfig
from icwsgw.core.shares import Shares
from icwsgw.core.spread import Spread
from icwsgw.devnet.consensus import Pace
from icwsgw.devnet.faults import Answer
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.devnet.topology import BY_VERSION, DELEGATIONS
from icwsgw.errors import ConnectFailed, ConnectionLost
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.interfaces import Context
from icwsgw.ic import bls
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.observe import logs
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.metrics import Metrics
from icwsgw.server.factory import GatewayFactory
from tests.simulation.truth import SimPoller, SimReplica, SimSession, Truth
from tests.support.memory_transport import MemoryTransport
from tests.support.ordered_clock import OrderedClock

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient

EPOCH_NS = 1_700_000_000_000_000_000
#: How blocks are made: in half of the worlds not at all.
BLOCKS = (Pace(), Pace(), Pace(0.4, 0.2, 3), Pace(1.0, 0.3), Pace(1.0, 0.3, 2), Pace(0.05, 0.1, 50))
CANISTERS = [Principal(bytes((0, 0, 0, 0, 0, 0x5E, 0, number, 1, 1))) for number in range(3)]


class OrderedSet(dict[Any, None]):
    """A set in order of insertion, as far as the gateway uses sets."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def remove(self, item: Any) -> None:
        del self[item]


@contextmanager
def simulated() -> Iterator[None]:
    """Let sets keep their order, and sessions tell what they take."""
    import icwsgw.devnet.replica as replica_module
    import icwsgw.gateway.gateway as gateway_module
    import icwsgw.gateway.principals as principals_module
    import icwsgw.gateway.registry as registry_module
    import icwsgw.gateway.wheel as wheel_module
    import icwsgw.server.factory as factory_module

    sessions = mock.patch.object(gateway_module, "ClientSession", SimSession)
    pollers = mock.patch.object(registry_module, "Poller", SimPoller)
    with sessions, pollers:
        modules = (wheel_module, registry_module, factory_module, replica_module, principals_module)
        for module in modules:
            module.set = OrderedSet  # type: ignore[attr-defined]
        # below errors nothing is looked at, and Twisted keeps all events, with what is in them, until somebody listens
        levels = logs._wanted
        logs.set_levels(parse_levels("error"))
        try:
            yield
        finally:
            logs.set_levels(*levels)
            for module in modules:
                del module.set  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Plan:
    """What a world is like, drawn from its seed.

    :ivar calm: no faults are injected, so nothing may go wrong
    :ivar wire: clients come through Autobahn
    :ivar trusting: certificates are not signed and not verified
    :ivar calls: how many may be under way at once
    :ivar blocks: how the replica's blocks are made; nodes may lag behind them
    :ivar v2_gone: the replica answers queries and reads of the newest version only
    """

    calm: bool
    wire: bool
    trusting: bool
    identities: int
    canisters: int
    polling_interval: float
    poll_window: int
    relay_order: str
    relay_queue: int
    query_latency: float
    call_latency: float
    call_jitter: float
    page: int
    ack_interval: float
    network_jitter: float
    delegation: str
    legacy_api: bool
    signed_queries: bool
    canister_grace: float
    calls: int
    blocks: Pace
    v2_gone: bool

    @property
    def disordered(self) -> bool:
        """Whether a canister may get a client's calls in another order than they left: blocks order as they like."""
        return self.relay_order == "accepted" and self.blocks.interval > 0

    @property
    def slowest_call(self) -> float:
        """Seconds from the sending of a call until its certificate is here, at most, where nothing fails."""
        blocks = self.blocks
        # a maker to which the gossip comes too late leaves it to the next block; the one behind that certifies it
        on_chain = blocks.gossip + (3 + blocks.lag) * blocks.interval
        return self.call_latency + self.call_jitter + on_chain + 2 * self.network_jitter + 0.1

    @classmethod
    def draw(cls, random: Random) -> Plan:
        order = random.choice(("executed", "executed", "accepted"))
        trusting = random.random() < 0.93
        window = random.choice((1, 4, 32))
        return cls(
            calm=random.random() < 0.3,
            wire=random.random() < 0.6,
            trusting=trusting,
            identities=random.choice((1, 1, 1, 2, 3)),
            canisters=random.randint(1, len(CANISTERS)),
            polling_interval=random.choice((0.05, 0.1, 0.1, 0.3, 1.0)),
            poll_window=window,
            relay_order=order,
            relay_queue=random.choice((2, 10, 100)),
            query_latency=random.choice((0.0, 0.02, 0.1, 0.4)),
            call_latency=random.choice((0.0, 0.02, 0.3, 1.5)),
            # the IC promises no order; only waiting for execution keeps it then
            call_jitter=random.choice((0.0, 0.2)) if order == "executed" else 0.0,
            page={1: 50, 4: 10, 32: random.choice((1, 3, 50))}[window],
            ack_interval=random.choice((40.0, 100.0, 300.0)),
            network_jitter=random.choice((0.0, 0.0, 0.01, 0.2)),
            delegation=random.choice((BY_VERSION, *DELEGATIONS)),
            legacy_api=random.random() < 0.1,
            signed_queries=random.random() < 0.1,
            canister_grace=random.choice((8.0, 15.0)),
            calls=random.choice((4, 20, 1000)),
            blocks=random.choice(BLOCKS),
            v2_gone=random.random() < 0.2,
        )


class _KeylessAgent(IcAgent):
    """An agent that gives nobody a root key to verify by, where nothing is signed: a second answer has to do."""

    @property
    def root_key(self) -> bytes | None:
        return None


def _no_signature(secret: int, message: bytes) -> bytes:
    return bytes(48)


class JitterTransport(MemoryTransport):
    """A transport whose messages take their own time each, so that they overtake each other."""

    def __init__(self, clock: Clock, handler: Any, jitter: float, random: Random) -> None:
        super().__init__(clock, handler, latency=0.001)
        self._jitter = jitter
        self._random = random

    def _later(self, call: Callable[..., object], *args: Any) -> None:
        self.requests.clear()
        self.clock.callLater(self.latency + self._jitter * self._random.random(), call, *args)


class SimWorld:
    """Everything.

    :ivar network: up, refused or lost
    :ivar truth: what really happened
    """

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        random = Random(f"{seed} plan")
        self.plan = plan or Plan.draw(random)
        self.random = Random(f"{seed} steps")
        self.network_random = Random(f"{seed} network")
        self.clock = OrderedClock()
        self.network = "up"
        self.lost_transports = 0
        self.at_end: list[IDelayedCall] = []
        self.clients: list[SimClient] = []
        self.truth = Truth(self)
        self.replicas = 0
        self.replica = self._new_replica()
        self.transport = JitterTransport(self.clock, self._handle, self.plan.network_jitter, self.network_random)
        agent = _KeylessAgent if self.plan.trusting else IcAgent
        self.agent = agent(
            self.clock,
            self.transport,
            "http://127.0.0.1:4943",
            now_ns=self.now_ns,
            rng=random.random,
            random_bytes=random.randbytes,
            verify_query_signatures=self.plan.signed_queries and not self.plan.trusting,
        )
        self.metrics = Metrics()
        plan = self.plan
        self.config = replace(
            GatewayConfig(data_dir=Path("/nonexistent")),
            polling_interval=plan.polling_interval,
            poll_window=plan.poll_window,
            relay_order=plan.relay_order,
            relay_queue_messages=plan.relay_queue,
            verify_batches=not plan.trusting,
            canister_grace=plan.canister_grace,
            first_message_timeout=6.0,
            open_timeout=12.0,
            query_timeout=3.0,
            call_timeout=12.0,
            ping_interval=5.0,
            pong_timeout=3.0,
            close_timeout=3.0,
            max_message_bytes=1 << 16,
            outbox_age=8.0,
        )
        self.context = Context(
            clock=self.clock,
            network=self.agent,
            identities=tuple(Ed25519Identity(bytes((7, number)) * 16) for number in range(plan.identities)),
            config=self.config,
            metrics=self.metrics,
            now_ns=self.now_ns,
            jitter=random.random,
            calls=Shares(plan.calls),
        )
        SimSession.truth = SimPoller.truth = self.truth
        self.gateway = Gateway(self.context, Spread(plan.identities, target=3))
        self.gateway.farewells.shares.limit = plan.calls
        self.factory = GatewayFactory(self.gateway)
        globalLogPublisher.addObserver(self.truth.logged)
        self.agent.start()
        self.gateway.start()
        self.factory.start()

    # time

    def now_ns(self) -> int:
        return EPOCH_NS + round(self.clock.seconds() * 1e9)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, until a condition holds if there is one; whether it did. Timers run at their very time."""
        clock = self.clock
        end = clock.seconds() + seconds
        while True:
            if until is not None and until():
                return True
            now = clock.seconds()
            following = min(clock.calls[0].getTime(), end) if clock.calls else end
            clock.advance(max(following - now, 1e-9))
            if clock.seconds() >= end:
                return until is not None and until()

    # the network

    def _new_replica(self) -> SimReplica:
        plan = self.plan
        self.replicas += 1
        return SimReplica(
            self,
            f"{self.seed} {self.replicas}".encode(),
            CANISTERS[: plan.canisters],
            delegation=plan.delegation,
            settings=CdkSettings(int(plan.ack_interval * 1000), 20_000, plan.page),
            query_latency=plan.query_latency,
            call_latency=plan.call_latency,
            call_jitter=plan.call_jitter,
            legacy_api=plan.legacy_api,
            v2_gone=plan.v2_gone and not plan.legacy_api,
            pace=replace(plan.blocks),
            sign=_no_signature if plan.trusting else bls.sign,
        )

    def restart_replica(self) -> None:
        """The replica's process dies; another one, with other keys and no memory, takes its place."""
        old, self.replica = self.replica, self._new_replica()
        old.close()
        for canister in CANISTERS:
            self.truth.new_life(canister)

    def _handle(self, method: str, path: str, body: bytes) -> Any:
        if self.network == "refused":
            raise ConnectFailed("refused")
        if self.network == "lost":
            return Deferred()
        replica = self.replica

        def arrived(answer: Answer) -> Answer:
            if self.network != "up" or replica is not self.replica:
                raise ConnectionLost("the network went away")
            return answer

        return replica.handle(method, path, body).addCallback(arrived)

    def close(self) -> None:
        """Stop all parts."""
        for call in self.at_end:
            if call.active():
                call.cancel()
        self.factory.stop()
        self.gateway.stop()
        self.agent.stop()
        self.replica.close()
        globalLogPublisher.removeObserver(self.truth.logged)
