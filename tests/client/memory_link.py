"""A client of :mod:`icwsgw.client` that is connected to a gateway in memory, on the test's clock."""

from __future__ import annotations

import copy
import random
from typing import Any

from icwsgw.client.client_events import ForApplication
from icwsgw.client.client_machine import ClientMachine, ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import DEFAULT_SETTINGS, ClientSettings
from icwsgw.client.driver import ClientDriver, LinkEvents
from icwsgw.client.moving_machine import MovingClientMachine
from icwsgw.core.messages import payload_of
from icwsgw.gateway.gateway import Gateway
from icwsgw.ic.candid import Null, Type
from icwsgw.ic.envelope import Signer
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.memory.world import ECHO_ID, World
from tests.support.pausing import Pausing


class MemoryConnection(Pausing):
    """One connection: the gateway's ``Client``."""

    def __init__(self, owner: MemoryLink) -> None:
        self.peer = "memory"
        self.origin = ""
        self.waiting_bytes = 0
        self.owner = owner
        self.closing = False
        self.session = owner.gateway.connect(self)

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        for frame in frames:
            self.owner.world.clock.callLater(0, self._hear, payload_of(frame))

    def close(self, code: int, reason: str) -> None:
        self.owner.world.clock.callLater(0, self.end, code, reason)

    def _hear(self, payload: bytes) -> None:
        if self.owner.connection is self:
            self.owner.driver.received(payload, binary=True)

    def pong(self) -> None:
        """Answer a ping, which a gateway that does not read at present does later."""
        if self.owner.connection is not self:
            return
        if self.paused or self.owner.silent:
            self.owner.world.clock.callLater(0.05, self.pong)
        else:
            self.owner.driver.ponged()

    def end(self, code: int, reason: str) -> None:
        if self.owner.connection is self:
            self.owner.connection = None
            self.session.left(code)
            self.owner.driver.lost(code, reason)


class MemoryLink:
    """The transport of a client in a :class:`~tests.memory.world.World`.

    :ivar events: the events that the application received
    :ivar refusing: attempts to connect that are still to fail
    :ivar silent: whether pings are not answered at present
    :ivar gateway: the gateway to which it connects
    :ivar others: gateways for the next session of a client that moves
    :ivar refusing_others: attempts to connect to those that are still to fail
    :ivar client: the driver; :attr:`driver` receives the events of a connection that was left
    """

    def __init__(
        self,
        world: World,
        canister: Principal = ECHO_ID,
        identity: Signer | None = None,
        settings: ClientSettings = DEFAULT_SETTINGS,
        seed: int = 1,
        root_key: bytes | None = None,
        message_type: Type = Null,
    ) -> None:
        self.world = world
        self.events: list[ForApplication] = []
        self.refusing = self.refusing_others = 0
        self.gateway = world.gateway
        self.others: list[Gateway] = []
        self.origin = self
        self.silent = False
        self.attempts: list[float] = []
        self.connection: MemoryConnection | None = None
        self._timer: Any = None
        chance = random.Random(seed)
        machine = MovingClientMachine(
            ["ws://memory"],
            canister,
            identity or Ed25519Identity(chance.randbytes(32)),
            root_key or world.replica.root_key_der,
            chance.randbytes,
            settings,
            message_type,
        )
        self.client = ClientDriver(machine, self, world.clock.seconds, world.now_ns, self.events.append)
        self.driver: LinkEvents = self.client

    @property
    def machine(self) -> ClientMachine:
        return self.client.machine

    @property
    def received(self) -> list[bytes]:
        return [event.content for event in self.events if isinstance(event, MessageReceived)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def opened(self) -> MemoryLink:
        self.client.start()
        self.world.until(lambda: self.machine.state is ClientState.OPEN, 100)
        return self

    # -- ClientLink

    def another(self) -> MemoryLink:
        link = copy.copy(self)
        link.connection = link._timer = None
        link.gateway = self.others[0]
        return link

    def open(self, url: str) -> None:
        self.attempts.append(self.world.clock.seconds())
        self.world.clock.callLater(0.01, self._connect)

    def _connect(self) -> None:
        origin = self.origin
        if self is not origin and origin.refusing_others:
            origin.refusing_others -= 1
            self.driver.lost(1006, "connection refused")
            return
        if self.refusing:
            self.refusing -= 1
            self.driver.lost(1006, "connection refused")
            return
        self.connection = MemoryConnection(self)
        self.driver.connected()

    def write(self, payload: bytes) -> None:
        assert self.connection is not None
        self.connection.session.received(payload, True)

    def ping(self) -> None:
        assert self.connection is not None
        self.world.clock.callLater(0, self.connection.pong)

    def close(self, code: int, reason: str) -> None:
        connection = self.connection
        if connection is not None:
            self.world.clock.callLater(0.01, connection.end, code, reason)

    def abort(self) -> None:
        if self.connection is not None:
            self.world.clock.callLater(0, self.connection.end, 1006, "")

    def wake_at(self, when: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        delay = None if when is None else max(0.0, when - self.world.clock.seconds())
        self._timer = None if delay is None else self.world.clock.callLater(delay, self.driver.tick)
