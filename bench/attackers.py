"""Attacks on a gateway by connections, clients and canisters, each at the highest possible rate.

An attack is a function in :data:`ATTACKS`: it receives an :class:`Attacker` and runs until it is cancelled. All attacks
are of kinds that docs/security.md describes. Each uses twenty source addresses, except "crowd", which uses one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.envelopes import Envelopes
from bench.target import canister_id
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

#: First bytes of the ids of misbehaving canisters; see :class:`bench.attack.HostileReplica`.
SILENT, HANGING, ENDLESS = b"\x51", b"\x52", b"\x53"
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
# The header of a first fragment whose length is that of the longest allowed message.
_HALF = b"\x02\xff" + (2_090_000).to_bytes(8, "big") + bytes(4)
_HALF_BYTES = 2_000_000


def named(behaviour: bytes, number: int) -> Principal:
    """The id of a misbehaving canister."""
    return Principal(behaviour + number.to_bytes(7, "big") + b"\x01\x01")


class Closed(Exception):
    """The gateway has ended the session."""


class Session:
    """One client that behaves as the SDK does.

    :ivar gateway: the gateway's principal from its handshake message
    """

    def __init__(self, port: int, address: str, canister: Principal) -> None:
        self._port = port
        self._address = address
        self.envelopes = Envelopes(Ed25519Identity(secrets.token_bytes(32)), canister)
        self.gateway = b""

    async def connect(self, headers: bytes = b"") -> Session:
        """Perform the WebSocket handshake and read the gateway's handshake message.

        :param headers: further header lines of the request
        """
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._address, 0)
        )
        self._writer.write(_UPGRADE + headers + b"\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Closed(head.split(b"\r\n")[0].decode())
        self.gateway = cbor.loads(await self.receive())["gateway_principal"]
        return self

    def write(self, data: bytes) -> None:
        """Send raw bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the written bytes are sent."""
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Read the next message and return its payload."""
        while True:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            payload = await self._reader.readexactly(size)
            if first & 0x0F == 8:
                raise Closed(f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
            if first & 0x0F == 2:
                return payload

    async def open(self) -> Session:
        """Open the session and wait for the canister's first message."""
        self.write(self.envelopes.open(self.gateway))
        await self.receive()
        return self

    async def echo(self) -> None:
        """Send a message and wait for its echo."""
        stamp = time.time_ns()
        self.write(self.envelopes.message(stamp, 20))
        while stamp.to_bytes(8, "big") not in await self.receive():
            pass

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_writer"):
            self._writer.transport.abort()


class Attacker:
    """Opens connections for an attack from a separate range of addresses.

    :param net: the addresses are 127.0.NET.*
    :param addresses: number of addresses
    :ivar port: the gateway's port
    :ivar steps: number of completed steps of the attack
    """

    def __init__(self, port: int, net: int, addresses: int = 20) -> None:
        self.port = port
        self.steps = 0
        self._net = net
        self._addresses = addresses
        self._number = 0

    @property
    def address(self) -> str:
        """The next source address."""
        self._number += 1
        return f"127.0.{self._net}.{1 + self._number % self._addresses}"

    async def session(self, canister: Principal, headers: bytes = b"") -> Session:
        """Connect a client, without opening its session."""
        return await Session(self.port, self.address, canister).connect(headers)

    async def forever(self, parallel: int, step: Callable[[int], Awaitable[None]], pause: float = 0.0) -> None:
        """Repeat a step in several parallel tasks. If the gateway ends a step, the task starts the next.

        :param parallel: number of tasks
        :param pause: seconds between two steps of a task
        """

        async def one(lane: int) -> None:
            number = lane
            while True:
                with contextlib.suppress(Closed, OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                    await step(number)
                self.steps += 1
                number += parallel
                await asyncio.sleep(pause)

        await asyncio.gather(*(one(lane) for lane in range(parallel)))

    async def hold(self, count: int, step: Callable[[int], Awaitable[Session]]) -> None:
        """Keep ``count`` sessions open, and replace those that the gateway ends.

        :param step: creates one session
        """

        async def one(lane: int) -> None:
            session: Session | None = None
            try:
                session = await step(lane)
                while True:
                    await session.receive()
            finally:
                if session is not None:
                    session.close()

        await self.forever(count, one, 1.0)


async def addresses(attacker: Attacker) -> None:
    """Headers with bytes that split lines, and with terminal escape sequences."""
    headers = (
        b"X-A: b\x85X-Forwarded-For: 10.9.8.7\r\n"
        b"Cookie: a=b\x85Origin: https://app.example\r\n"
        b"User-Agent: \xc2\x9b31m\xe2\x80\xae\xe2\x80\xa8\r\n"
    )

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(number % 5), headers if number % 2 else b"X-A: b\x0bB: c\r\n")
        session.write(b"\x88\x83\0\0\0\0\x03\xe8\x9b")
        try:
            await asyncio.wait_for(session.receive(), 5)
        finally:
            session.close()

    await attacker.forever(8, step)


async def halves(attacker: Attacker) -> None:
    """Opened clients that send 2 MB of a message and then disconnect."""

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(number % 5))
        try:
            await asyncio.wait_for(session.open(), 30)
            session.write(_HALF + bytes(_HALF_BYTES))
            await asyncio.wait_for(session.drain(), 5)
        finally:
            session.close()

    await attacker.forever(16, step)


async def held(attacker: Attacker) -> None:
    """Unfinished messages: 2 MB from each of 100 opened clients, 64 KiB from 100 unauthenticated connections."""

    async def step(lane: int) -> Session:
        session = await attacker.session(canister_id(lane % 5) if lane % 2 else named(HANGING, lane % 20))
        if lane % 2:
            await asyncio.wait_for(session.open(), 30)
        else:
            session.write(session.envelopes.open(session.gateway))
        session.write(_HALF + bytes(_HALF_BYTES if lane % 2 else 60_000))
        return session

    await attacker.hold(200, step)


async def forged(attacker: Attacker) -> None:
    """Calls of ws_open with wrong signatures at the highest rate."""

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(number % 5))
        envelope = bytearray(session.envelopes.open(session.gateway))
        envelope[-8] ^= 1  # a masked byte within the signature or the key
        session.write(bytes(envelope))
        try:
            await asyncio.wait_for(session.receive(), 5)
        finally:
            session.close()

    await attacker.forever(64, step)


async def opens(attacker: Attacker) -> None:
    """Calls of ws_open with valid signatures of new keys at the highest rate."""

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(number % 5))
        try:
            await asyncio.wait_for(session.open(), 5)
        finally:
            session.close()

    await attacker.forever(64, step)


async def messages(attacker: Attacker) -> None:
    """20 opened clients that send as fast as the gateway reads."""

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(number % 5))
        try:
            await session.open()
            while True:
                session.write(session.envelopes.message(time.time_ns(), 20))
                await session.receive()
                attacker.steps += 1
        finally:
            session.close()

    await attacker.forever(20, step)


async def _name(attacker: Attacker, behaviour: bytes, count: int) -> None:
    async def step(lane: int) -> Session:
        session = await attacker.session(named(behaviour, lane))
        session.write(session.envelopes.open(session.gateway))
        return session

    await attacker.hold(count, step)


async def silent(attacker: Attacker) -> None:
    """1,000 canisters that accept ws_open and send no message."""
    await _name(attacker, SILENT, 1000)


async def hanging(attacker: Attacker) -> None:
    """260 canisters that answer neither calls nor queries."""
    await _name(attacker, HANGING, 260)


async def endless(attacker: Attacker) -> None:
    """A canister with one opened client and an endless queue of messages for clients that do not exist."""

    async def step(lane: int) -> Session:
        return await (await attacker.session(named(ENDLESS, 1))).open()

    await attacker.hold(1, step)


async def replays(attacker: Attacker) -> None:
    """Repeats the ws_open of a connected client."""
    victim = await (await attacker.session(canister_id(0))).open()
    sent = victim.envelopes.open(victim.gateway)

    async def step(number: int) -> None:
        session = await attacker.session(canister_id(0))
        session.write(sent)
        try:
            await asyncio.wait_for(session.receive(), 5)
        finally:
            session.close()

    await attacker.forever(8, step)


async def crowd(attacker: Attacker) -> None:
    """500 silent connections from one address, each replaced when the gateway ends it."""

    async def step(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port, local_addr=(attacker.address, 0))
        try:
            await reader.read(1000)
        finally:
            writer.transport.abort()

    await attacker.forever(500, step, 0.5)


#: Attacks by name; the mixed attack runs all of them.
ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (addresses, halves, held, forged, opens, messages, silent, hanging, endless, replays, crowd)
}


class Attack:
    """Attacks that run in this event loop until they are stopped."""

    def __init__(self, names: list[str], port: int) -> None:
        nets = {name: 2 + number for number, name in enumerate(ATTACKS)}
        self._attackers = {name: Attacker(port, nets[name], 1 if name == "crowd" else 20) for name in names}
        self._tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(self._run(name)) for name in names]

    async def _run(self, name: str) -> None:
        while True:
            with contextlib.suppress(Closed, OSError, asyncio.IncompleteReadError):
                await ATTACKS[name](self._attackers[name])
            await asyncio.sleep(1.0)

    def stop(self) -> dict[str, int]:
        """Stop, and return the number of steps of each attack."""
        for task in self._tasks:
            task.cancel()
        return {name: attacker.steps for name, attacker in self._attackers.items()}


def run_attackers(names: list[str], port: int) -> None:
    """Attack until SIGTERM.

    An empty line on stdout says that the attacks have begun, the last line has the number of steps of each.
    """

    async def attack() -> None:
        attack = Attack(names, port)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        print(flush=True)
        await ended.wait()
        print(json.dumps(attack.stop()), flush=True)

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(attack())
