"""Many clients of a fleet in one thread: each sends numbered messages, and has every one of them come back.

A session gives back what was sent in it, in order and without a gap, until it ends. What has not come back by then is
sent again in the next session, as an application does.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from icwsgw.ic.principal import Principal
from tests.support.sdk_client import SdkClient
from tests.support.ws_wire import handshake, masked

#: Seconds between two messages of a client.
PERIOD = 2.0
#: Messages a second of all clients together.
MOST_A_SECOND = 40
#: Seconds for a connection to open its session.
OPENING = 60.0


class Ending(NamedTuple):
    """How a session ended.

    :ivar code: of the close frame; None: the connection ended without one
    :ivar unanswered: messages that had not come back
    """

    code: int | None
    unanswered: int


class FleetClient:
    """One client.

    :ivar answered: messages that came back
    :ivar endings: of its sessions, but the last
    :ivar refused: statuses of handshakes that were refused; 0: the connection ended before
    :ivar failure: what no session may do
    :param period: seconds between two messages, on average
    """

    def __init__(self, port: int, trust: ssl.SSLContext, canister: Principal, period: float, seed: int) -> None:
        self.port, self._trust, self._canister, self._period = port, trust, canister, period
        self._random = random.Random(seed)
        self._waiting: deque[int] = deque()
        self._next = 0
        self.answered = self.sessions = 0
        self.open = False
        self.endings: list[Ending] = []
        self.refused: list[int] = []
        self.failure: str | None = None
        self.sending = True

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Connect again and again, until there is nothing to send any more."""
        while self.failure is None and (self.sending or self._waiting):
            try:
                await self._session()
            except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
                self.refused.append(0)
            self.open = False
            await asyncio.sleep(self._random.uniform(0.1, 0.6))

    async def _session(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self._trust, server_hostname="localhost"
        )
        try:
            writer.write(handshake())
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status != 101:
                self.refused.append(status)
                return
            await self._talk(reader, writer)
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = SdkClient(self._canister)
        talk = _Talk(self, client, writer)
        reading = asyncio.ensure_future(talk.read(reader))
        try:
            deadline = time.monotonic() + OPENING
            while not client.opened and not reading.done():
                await asyncio.wait([reading], timeout=0.05)
                if time.monotonic() > deadline:
                    self.failure = "a session has not opened in time"
                    return
            if client.opened:
                self.sessions += 1
                self.open = True
                again, self._waiting = self._waiting, deque()
                for number in again:
                    talk.send(number)
            while not reading.done() and (self.sending or self._waiting):
                if client.opened and self.sending:
                    talk.send(self._next)
                    self._next += 1
                await asyncio.wait([reading], timeout=self._period * self._random.uniform(0.5, 1.5))
            if not reading.done():
                writer.write(masked(8, (1000).to_bytes(2, "big")))
                return
            code = reading.result()
            if client.opened:
                self.endings.append(Ending(code, len(self._waiting)))
            else:
                self.refused.append(code or 0)
        finally:
            reading.cancel()

    def sent(self, number: int) -> None:
        self._waiting.append(number)

    def came_back(self, content: bytes) -> None:
        expected = self._waiting[0] if self._waiting else None
        if expected is None or content != body(expected):
            self.failure = f"{content!r} came back, expected was {expected}"
            return
        self._waiting.popleft()
        self.answered += 1


def body(number: int) -> bytes:
    return b"DIDL\x00\x00%d" % number


class _Talk:
    """One session's messages."""

    def __init__(self, owner: FleetClient, client: SdkClient, writer: asyncio.StreamWriter) -> None:
        self._owner, self._client, self._writer = owner, client, writer
        self._seen = 0

    def send(self, number: int) -> None:
        self._owner.sent(number)
        self._writer.write(masked(2, self._client.message_payload(body(number), time.time_ns())))

    async def read(self, reader: asyncio.StreamReader) -> int | None:
        """Until the connection ends; returns the code of the close frame, None without one."""
        client, writer = self._client, self._writer
        while True:
            try:
                opcode, payload = await read_frame(reader)
            except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
                return None
            if opcode == 8:
                writer.write(masked(8, payload))
                return int.from_bytes(payload[:2], "big")
            if opcode == 9:
                writer.write(masked(10, payload))
            elif opcode == 2:
                for answer in client.handle(payload, time.time_ns()):
                    writer.write(masked(2, answer))
                for content in client.received[self._seen :]:
                    self._owner.came_back(content)
                self._seen = len(client.received)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame of a server: opcode and payload."""
    first, size = await reader.readexactly(2)
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return first & 15, await reader.readexactly(size)


class FleetCrowd:
    """Clients in a thread of their own.

    :ivar clients: as many as there are, in no order of ports
    """

    def __init__(self, count: int, ports: Sequence[int], trust: ssl.SSLContext, canisters: Sequence[str]) -> None:
        # the devnet executes a few dozen calls a second on a busy machine
        period = max(PERIOD, count / MOST_A_SECOND)
        ids = [Principal.from_text(text) for text in canisters]
        self.clients = [
            FleetClient(ports[number % len(ports)], trust, ids[number // len(ports) % len(ids)], period, number)
            for number in range(count)
        ]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        running = []
        for client in self.clients:
            running.append(asyncio.ensure_future(client.run()))
            # as people come, not all in one moment
            await asyncio.sleep(0.02)
        await asyncio.gather(*running)

    def check(self) -> None:
        failures = [client.failure for client in self.clients if client.failure is not None]
        assert not failures, failures[:3]
        assert self._thread.is_alive(), "the crowd has ended"

    def until(self, condition: object, what: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            self.check()
            assert time.monotonic() < deadline, f"{what}: {self.summary()}"
            time.sleep(0.05)

    def progress(self, but: int = 0) -> None:
        """Wait until each client has got a further message back, over whatever connection.

        :param but: clients of this port have nowhere to go for now
        """
        before = {client: client.answered for client in self.clients if client.port != but}

        def stuck() -> list[FleetClient]:
            return [client for client, count in before.items() if client.answered <= count]

        try:
            self.until(lambda: not stuck(), "not everybody goes on")
        except AssertionError as error:
            rows = [(client.port, client.open, client.answered, client.unanswered) for client in stuck()]
            raise AssertionError(f"{error}; stuck (port, open, answered, unanswered): {rows}") from None

    def summary(self) -> str:
        late = [client for client in self.clients if not client.open]
        ends = Counter(ending.code for client in self.clients for ending in client.endings)
        return f"{len(late)} are not connected, sessions ended with {dict(ends)}, {self.refusals()}"

    def refusals(self, *but: int) -> Counter[int]:
        """Handshakes that were refused, by status, but those of clients of these ports."""
        return Counter(status for client in self.clients if client.port not in but for status in client.refused)

    def endings(self) -> list[Ending]:
        return [ending for client in self.clients for ending in client.endings]

    def stop(self) -> None:
        """Send no more, and wait until all that was sent has come back."""
        for client in self.clients:
            client.sending = False
        self._thread.join(120)
        assert not self._thread.is_alive(), self.summary()
