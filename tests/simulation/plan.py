"""The properties of a world. Each field of a plan is drawn from the seed by a separate random generator.

Therefore a new field does not change the others, and the shrinker may set any field to its simplest value.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from icwsgw.config.schema import GatewayConfig
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.topology import BY_VERSION, DELEGATIONS
from icwsgw.gateway.batches import BATCH
from tests.simulation.client_paths import CLIENT_PATHS, TRUSTED
from tests.simulation.drawing import chance, drawn, one_of
from tests.simulation.limits import Bounds

#: How blocks are made; in half of the worlds there are none.
BLOCKS = (
    BlockTiming(),
    BlockTiming(),
    BlockTiming(0.4, 0.2, 3),
    BlockTiming(1.0, 0.3),
    BlockTiming(1.0, 0.3, 2),
    BlockTiming(0.05, 0.1, 50),
)
MAX_CANISTERS = 3
#: Seconds without events, in worlds with rare polls.
IDLE = (0.0, 0.0, 0.0, 20.0, 70.0, 300.0)


def _upstream(random: Random, plan: Any) -> int:
    return random.choice((0, 0, 2048, _enough_connections(plan)))


def _enough_connections(plan: Any) -> int:
    """How many are enough. The gateway divides them between kinds of requests, so slow calls wait for each other."""
    slowest = _slowest_call(plan)
    if slowest > 1.5:
        return 256
    soon = plan.query_latency + plan.network_jitter < 0.1 and slowest < 0.5
    return 6 if soon and plan.identities * plan.canisters < 4 else 30


def _slowest_call(plan: Any) -> float:
    blocks = plan.blocks
    # a maker to which the gossip comes too late leaves it to the next block; the one behind that certifies it
    on_chain: float = blocks.gossip + (3 + blocks.lag) * blocks.interval
    total: float = plan.call_latency + plan.call_jitter + on_chain + 2 * plan.network_jitter + 0.1
    return total


def _front(random: Random, plan: Any) -> str:
    """Behind proxies the limits by address apply from the request on, which the admission model does not cover."""
    return random.choice(("", *CLIENT_PATHS)) if plan.wire and not Bounds.refused_by(plan) else ""


def _crowd(random: Random, plan: Any) -> bool:
    """A crowd takes most of a second of CPU."""
    return random.random() < 0.15 and not plan.narrow and not plan.wire and plan.trusting


def _away(random: Random, plan: Any) -> float:
    """Not in worlds that end with a drain."""
    seconds: float = random.choice((0.0, 0.5, 20.0, 120.0, 700.0, 4000.0, 5000.0))
    return seconds if plan.ending == "leave" else 0.0


def _parting(random: Random, plan: Any) -> tuple[str, float]:
    """The fault and its duration while all clients leave, if the scenario ends like that."""
    fault = random.choice(("", "", "lost", "refused", "503", "hang"))
    seconds = random.choice((3.0, 60.0, 400.0))
    wanted = fault and plan.ending == "leave" and not plan.calm and not plan.clocks
    return (fault, seconds) if wanted else ("", 0.0)


def _neighbour(random: Random, plan: Any) -> bool:
    """A bystander only if others cannot exhaust a shared limit, because the gateway guarantees nothing then."""
    mine = not plan.narrow and not plan.clocks and not plan.operations and plan.upstream in (0, 2048)
    mine = mine and plan.processes == 1 and not plan.asides
    mine = mine and not plan.crowd
    return random.random() < 0.6 and mine


def _handovers(random: Random, plan: Any) -> bool:
    """Not together with models that hold the state of one process."""
    alone = not plan.upstream and not plan.crowd and plan.front in ("", "forwarded")
    return random.random() < 0.2 and alone and not Bounds.refused_by(plan)


@dataclass(frozen=True)
class Plan(Bounds):
    """What a world is like, drawn from its seed.

    :ivar calm: no faults are injected, so nothing may go wrong
    :ivar wire: clients come through Autobahn
    :ivar liars: nodes lie, :mod:`tests.simulation.malicious_nodes`
    :ivar trusting: certificates are not signed, and verified by nobody
    :ivar verify_batches: what comes from canisters is verified by the gateway, too
    :ivar calls: how many may be under way at once
    :ivar blocks: how the replica's blocks are made; nodes may lag behind them
    :ivar v2_gone: the replica answers queries and reads of the newest version only
    :ivar upstream: connections to the network there may be; 0: requests go there without any
    :ivar strangers: there are unauthenticated connections, :mod:`tests.simulation.unauthenticated`
    :ivar neighbour: a client looks on that nothing is done to, :mod:`tests.simulation.bystander`
    :ivar answer_cost: seconds of the process that an answer with messages takes
    :ivar ending: how the scenario ends: all clients leave, or the gateway drains, perhaps in a hurry; busy: while
        faults and clients go on
    :ivar clocks: clocks and Dates are wrong, :mod:`tests.simulation.clocks`
    :ivar operations: an operator is at work, :mod:`tests.simulation.operations`
    :ivar processes: of the gateway, :mod:`tests.simulation.fleet`
    :ivar front: what clients come through, :mod:`tests.simulation.client_paths`
    :ivar tunnel: connections to the network lead through a proxy
    :ivar crowd: more clients than are served in one go may come at once
    :ivar dated: Retry-After is a date
    :ivar away: seconds for which nobody is connected before clients come once more; 0: nobody comes again
    :ivar parting: what fails while all clients leave, and for how many seconds
    :ivar handovers: new processes take over, :mod:`tests.simulation.handovers`
    :ivar idle: seconds for which nothing happens while clients are connected
    :ivar ended_at_once: sessions that the gateway ends in one go where it ends many
    :ivar asides: what is asked for beside calls and polls may fail, and queues have holes
    """

    calm: bool = drawn(chance(0.3), True)
    wire: bool = drawn(chance(0.6), False)
    liars: bool = drawn(chance(0.15), False)
    trusting: bool = drawn(lambda r, p: r.random() < (0.3 if p.liars else 0.5), True)
    verify_batches: bool = drawn(lambda r, p: not p.trusting and r.random() < 0.7, False)
    identities: int = drawn(one_of(1, 1, 1, 2, 3), 1)
    canisters: int = drawn(one_of(1, 2, 3), 1)
    polling_interval: float = drawn(one_of(0.05, 0.1, 0.1, 0.3, 1.0), 0.1)
    poll_window: int = drawn(one_of(1, 4, 32), 1)
    relay_order: str = drawn(one_of("executed", "executed", "accepted"), "executed")
    relay_queue: int = drawn(one_of(2, 10, 100), 100)
    query_latency: float = drawn(one_of(0.0, 0.02, 0.1, 0.4), 0.0)
    call_latency: float = drawn(one_of(0.0, 0.02, 0.3, 1.5), 0.0)
    # the IC promises no order; only waiting for execution keeps it then
    call_jitter: float = drawn(lambda r, p: r.choice((0.0, 0.2)) if p.relay_order == "executed" else 0.0, 0.0)
    page: int = drawn(lambda r, p: {1: 50, 4: 10, 32: r.choice((1, 3, 50))}[p.poll_window], 50)
    ack_interval: float = drawn(one_of(40.0, 100.0, 300.0), 300.0)
    # the CDK's own is 60 s; the gateway knows no other
    keep_alive: float = drawn(lambda r, p: r.choice((20.0, 60.0)) if p.ack_interval > 60 else 20.0, 20.0)
    network_jitter: float = drawn(one_of(0.0, 0.0, 0.01, 0.2), 0.0)
    delegation: str = drawn(one_of(BY_VERSION, *DELEGATIONS), BY_VERSION)
    legacy_api: bool = drawn(chance(0.1), False)
    signed_queries: bool = drawn(lambda r, p: r.random() < (0.5 if p.liars else 0.25), False)
    canister_grace: float = drawn(one_of(8.0, 15.0), 15.0)
    calls: int = drawn(one_of(4, 20, 1000), 1000)
    blocks: BlockTiming = drawn(one_of(*BLOCKS), BLOCKS[0])  # noqa: RUF009 - a field like the others
    v2_gone: bool = drawn(chance(0.2), False)
    upstream: int = drawn(_upstream, 0)
    ending: str = drawn(one_of("leave", "leave", "drain", "hurry", "busy", "busy hurry"), "leave", "drain", "busy")
    # connections that hang report no time for longer than that model reckons with
    clocks: bool = drawn(lambda r, p: r.random() < 0.25 and not p.upstream, False)
    operations: bool = drawn(chance(0.25), False)
    asides: bool = drawn(chance(0.4), False)
    # bounds are of a process each, and connections to the network do not die with theirs
    processes: int = drawn(lambda r, p: 1 if p.narrow or p.upstream else r.choice((1, 1, 2, 3)), 1)
    strangers: bool = drawn(chance(0.4), False)
    crowd: bool = drawn(_crowd, False)
    neighbour: bool = drawn(_neighbour, False)
    answer_cost: float = drawn(one_of(0.0, 0.0, 0.0, 0.002, 0.01), 0.0)
    front: str = drawn(_front, "")
    tunnel: bool = drawn(lambda r, p: bool(p.upstream) and r.random() < 0.4, False)
    dated: bool = drawn(chance(0.2), False)
    away: float = drawn(_away, 0.0)
    parting: tuple[str, float] = drawn(_parting, ("", 0.0))
    handovers: bool = drawn(_handovers, False)
    idle: float = drawn(lambda r, p: r.choice(IDLE) if p.polling_interval >= 0.3 else 0.0, 0.0)
    ended_at_once: int = drawn(one_of(BATCH, 1, 2, 3), BATCH)

    @property
    def disordered(self) -> bool:
        """Whether a canister may get a client's calls in another order than they left: blocks order as they like."""
        return self.relay_order == "accepted" and self.blocks.interval > 0

    @property
    def possible(self) -> bool:
        """Whether its fields go together, as they do when they are drawn."""
        connections = not self.upstream or self.upstream >= _enough_connections(self)
        order = self.relay_order == "executed" or not self.call_jitter
        return connections and order and not (self.trusting and self.verify_batches)

    @property
    def slowest_call(self) -> float:
        """Seconds from the sending of a call until its certificate is here, at most, where nothing fails."""
        return _slowest_call(self)

    def config(self) -> GatewayConfig:
        """How the gateway is configured in such a world."""
        return replace(
            GatewayConfig(data_dir=Path("/nonexistent")),
            polling_interval=self.polling_interval,
            poll_window=self.poll_window,
            relay_order=self.relay_order,
            relay_queue_messages=self.relay_queue,
            verify_batches=self.verify_batches,
            canister_grace=self.canister_grace,
            first_message_timeout=6.0,
            open_timeout=12.0,
            query_timeout=3.0,
            call_timeout=12.0,
            ping_interval=5.0,
            pong_timeout=3.0,
            close_timeout=3.0,
            max_message_bytes=self.longest_message,
            header_timeout=6.0,
            tls_handshake_timeout=4.0,
            trusted_proxies=(TRUSTED,) if self.front in ("forwarded", "proxy") else (),
            outbox_age=8.0,
            log_level="error",
            **self.bounds,
        )

    @classmethod
    def draw(cls, seed: int) -> Plan:
        """Draw one."""
        values = SimpleNamespace()
        for each in fields(cls):
            setattr(values, each.name, each.metadata["draw"](Random(f"{seed} {each.name}"), values))
        return cls(**vars(values))

    @classmethod
    def simplest(cls) -> Plan:
        """The one to which a plan is shrunk where nothing of it matters."""
        return cls(**{each.name: each.metadata["simple"][0] for each in fields(cls)})

    def differences(self) -> dict[str, Any]:
        """What differs from the simplest one."""
        simple = vars(self.simplest())
        return {name: value for name, value in vars(self).items() if value != simple[name]}
