"""A complete system in memory: replica, agent, gateway and clients, with one clock that only tests advance.

Each request and each answer takes one step of the clock, so there is no recursion. Hours of acknowledgements and
keep-alives take milliseconds of real time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred

from icwsgw.agent.ic_agent import IcAgent
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.core.messages import payload_of
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.topology import BY_VERSION, NODES
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.identities import IdentityPool
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.observe.metrics import Metrics
from tests.support.memory_transport import MemoryTransport
from tests.support.ordered_clock import OrderedClock
from tests.support.pausing import Pausing
from tests.support.sdk_client import SdkClient

EPOCH_NS = 1_700_000_000_000_000_000
STEP = 0.005

__all__ = ["CHAT_ID", "ECHO_ID", "MemoryClient", "World"]


class MemoryClient(Pausing, SdkClient):
    """An SDK client connected to a gateway without a socket; it also implements the gateway's ``Client`` interface.

    :ivar close_code: the code of the gateway's close frame
    """

    def __init__(self, world: World, canister: Principal, identity: Ed25519Identity | None, verify: bool):
        super().__init__(canister, identity, world.replica.root_key_der if verify else None)
        self.peer = "memory"
        self.origin = ""
        self.waiting_bytes = 0
        self.world = world
        self.close_code: int | None = None
        self.close_reason = ""
        self.automatic = True
        self._inbox: list[bytes] = []
        self.session: ClientSession | None = None

    def connect(self) -> MemoryClient:
        self.session = self.world.gateway.connect(self)
        return self

    def send(self, content: bytes) -> None:
        self.send_payload(self.message_payload(content, self.world.now_ns()))

    def send_payload(self, payload: bytes, is_binary: bool = True) -> None:
        assert self.session is not None
        self.session.received(payload, is_binary)

    def echoes(self, content: bytes) -> None:
        """Send a message, and let time pass until it has been echoed."""
        already = len(self.received)
        self.send(content)
        self.world.until(lambda: self.received[already:] == [content])

    def leave(self, code: int = 1000) -> None:
        assert self.session is not None
        self.session.left(code)

    # what the gateway calls

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        self._inbox.extend(payload_of(frame) for frame in frames)
        self.world.clock.callLater(0, self._read)

    def close(self, code: int, reason: str) -> None:
        assert self.close_code is None
        self.close_code, self.close_reason = code, reason
        self.world.clock.callLater(0, self.leave, code)

    def _read(self) -> None:
        inbox, self._inbox = self._inbox, []
        for payload in inbox:
            if not self.automatic and self.gateway is None:
                from icwsgw.ic import cbor

                self.gateway = Principal(cbor.loads(payload)["gateway_principal"])
                continue
            for answer in self.handle(payload, self.world.now_ns()):
                if self.close_code is None:
                    self.send_payload(answer)


class World:
    """The whole system, and its clock.

    :ivar replica: with its faults and its control interface
    :ivar headers: returns the headers that the network adds to an answer, by the request's method; None: it adds none
    """

    def __init__(
        self, *, settings: CdkSettings | None = None, query_latency: float = 0.0, call_latency: float = 0.0,
        seed: int = 1, start: bool = True, delegation: str = BY_VERSION, verify: bool = False,
        clients_per_identity: int = 1000, echo_any: bool = True, pace: BlockTiming | None = None, nodes: int = NODES,
        own_time: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.clock = OrderedClock()
        self.verify = verify
        self.random = random.Random(seed)
        self.replica = Replica(
            self.clock,
            self.now_ns,
            b"world",
            settings=settings,
            query_latency=query_latency,
            call_latency=call_latency,
            delegation=delegation,
            echo_any=echo_any,
            pace=pace,
            nodes=nodes,
        )
        self.network_is_up = True
        self.headers: Callable[[str], dict[str, str]] | None = None
        self.transport = MemoryTransport(self.clock, self._handle, latency=0.001)
        self.config = replace(GatewayConfig(data_dir=Path("/nonexistent")), **options)
        budget = RequestBudget(
            self.config.queries_per_second, self.config.polling_interval, self.config.opens_per_second
        )
        self.agent = IcAgent(
            self.clock,
            self.transport,
            "http://127.0.0.1:4943",
            now_ns=self.now_ns,
            rng=self.random.random,
            own_time=own_time,
            charge=lambda: budget.charge(RequestKind.OWN, self.clock.seconds()),
        )
        self.metrics = Metrics()
        identity = Ed25519Identity(b"\x07" * 32)
        self.context = Context(
            clock=self.clock,
            network=self.agent,
            identities=tuple(IdentityPool.derived(identity, range(self.config.identities))),
            config=self.config,
            metrics=self.metrics,
            now_ns=self.now_ns,
            jitter=self.random.random,
            budget=budget,
            delegations=self.agent.delegations,
            readable=self.agent.readable,
        )
        self.gateway = Gateway(self.context, IdentityAssignment(self.config.identities, clients_per_identity))
        if start:
            self.agent.start()
            self.gateway.start()
            self.run(0.1)

    def _handle(self, method: str, path: str, body: bytes) -> Any:
        answer = maybeDeferred(self.replica.handle, method, path, body)
        return answer if self.headers is None else answer.addCallback(self._with_headers, method)

    def _with_headers(self, answer: Any, method: str) -> Any:
        assert self.headers is not None
        status, headers, content = answer
        return status, {**headers, **self.headers(method)}, content

    def now_ns(self) -> int:
        return EPOCH_NS + int(self.clock.seconds() * 1e9)

    def run(self, seconds: float, step: float = STEP) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(step)

    def until(self, condition: Any, seconds: float = 10.0, step: float = STEP) -> None:
        """Let time pass until a condition holds; fails if it does not hold within ``seconds``."""
        end = self.clock.seconds() + seconds
        while not condition():
            assert self.clock.seconds() < end, f"not within {seconds} s"
            self.clock.advance(step)

    def client(self, canister: Principal = ECHO_ID, identity: Ed25519Identity | None = None) -> MemoryClient:
        """A connected client, not yet open."""
        return MemoryClient(self, canister, identity, self.verify).connect()

    def open(self, count: int = 1, canister: Principal = ECHO_ID) -> list[MemoryClient]:
        """Open clients."""
        clients = [self.client(canister) for _ in range(count)]
        self.until(lambda: all(client.opened for client in clients))
        return clients

    def check_idle(self) -> None:
        """Check that no state of any client is left."""
        registry = self.gateway.registry
        assert not registry.sessions
        assert not registry.ending
        assert not registry.pollers
        assert len(self.gateway.close_notices) == 0
        assert self.context.waiting.octets == 0
