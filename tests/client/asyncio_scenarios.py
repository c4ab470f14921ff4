"""Scenarios of the asyncio client, in a process of their own, because Autobahn serves one event loop library in each.

Usage: ``python -m tests.client.asyncio_scenarios SCENARIO GATEWAY NETWORK CANISTER``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from icwsgw.client.asyncio_client import AsyncioClient
from icwsgw.client.client_errors import ClientError, NotOpen, QueueFull, SessionEnded
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.codecs import CandidCodec, RawCodec
from icwsgw.client.root_key import fetch_root_key
from icwsgw.errors import FormatError
from icwsgw.ic.ecdsa_identity import EcdsaIdentity
from tests.acceptance.processes import free_port, http_post_json

DEADLINE = 120.0
ECHO_DID = (Path(__file__).parents[2] / "icwsgw" / "devnet" / "echo.did").read_text()
ONCE = ClientSettings(reconnect=False)


class Places:
    def __init__(self, gateway: str, network: str, canister: str) -> None:
        self.gateway, self.network, self.canister = gateway, network, canister
        self.root_key = fetch_root_key(network)

    def client(self, **options: Any) -> AsyncioClient[Any]:
        return AsyncioClient(self.gateway, self.canister, root_key=self.root_key, **options)


async def echo(places: Places) -> None:
    """Messages of types, requests, iteration and closing; a message of another type costs that message alone."""
    codec = CandidCodec.from_did(ECHO_DID)
    async with places.client(codec=codec, identity=EcdsaIdentity.generate("secp256k1")) as client:
        assert client.state is ClientState.OPEN
        reply = await client.request({"text": "question"}, lambda message: message["text"] == "question")
        assert reply == {"text": "question"}
        client._driver.send(b"DIDL\x00\x01\x7d\x05")
        client.send({"text": "after it"})
        with pytest.raises(FormatError):
            await client.receive()
        assert await client.receive() == {"text": "after it"}
        received = []
        for number in range(5):
            await client.send_soon({"text": f"m{number}"})
        async for message in client:
            received.append(message["text"])
            if len(received) == 5:
                break
        assert received == [f"m{number}" for number in range(5)]
        with pytest.raises(asyncio.TimeoutError):
            await client.request({"text": "lost"}, lambda message: False, timeout=0.01)
    assert client.state is ClientState.CLOSED
    with pytest.raises(NotOpen):
        client.send({"text": "late"})


async def backpressure(places: Places) -> None:
    """An application that does not read holds its gateway up, and gets everything in the end."""
    async with places.client(max_received=2) as client:
        for number in range(6):
            client.send(b"%d" % number)
        while not client._link._paused:
            await asyncio.sleep(0.01)
        assert [await client.receive() for _ in range(6)] == [b"%d" % number for number in range(6)]
        assert not client._link._paused
    full = places.client(settings=ClientSettings(max_messages=1))
    full.send(b"waits")
    with pytest.raises(QueueFull):
        full.send(b"too much")
    assert full.buffered_bytes == 5
    assert (await full.close()).unsent == (1,)


async def reset(places: Places) -> None:
    """A reset canister: a request fails, the client connects again, and what waits goes out."""
    events: list[Any] = []
    async with places.client(on_event=events.append) as client:
        waiting = asyncio.ensure_future(client.request(b"never", lambda message: False))
        assert await client.receive() == b"never"
        await asyncio.to_thread(http_post_json, f"{places.network}/_/reset", {"canister": "echo"})
        with pytest.raises(SessionEnded) as ended:
            await waiting
        assert ended.value.code == 4105
        await client.opened()
        client.send(b"again")
        assert await client.receive() == b"again"
    kinds = [type(event) for event in events]
    assert kinds.count(ClientOpened) == 2
    assert kinds.count(Disconnected) == 1
    assert kinds[-1] is Ended
    assert [event.resumed for event in events if isinstance(event, ClientOpened)] == [False, True]


async def failures(places: Places) -> None:
    """What does not work says why, and what to do."""

    async def error(url: str, settings: ClientSettings = ONCE, **options: Any) -> ClientError:
        client: AsyncioClient[bytes] = AsyncioClient(
            url, places.canister, root_key=places.root_key, settings=settings, **options
        )
        with pytest.raises(ClientError) as raised:
            await client.opened()
        return raised.value

    refused = await error(f"ws://127.0.0.1:{free_port()}")
    assert "cannot connect to ws://127.0.0.1:" in str(refused), refused
    assert refused.hint.startswith("Start the gateway"), refused.hint
    no_gateway = await error(places.network.replace("http", "ws"))
    assert str(no_gateway).startswith("the gateway answered HTTP "), no_gateway
    assert "no WebSocket gateway" in no_gateway.hint
    # a plain port may or may not end a TLS handshake: if it does not, the client does, in time
    quick = ONCE._replace(connect_timeout=1.0, closing_timeout=0.2)
    plain = await error(places.gateway.replace("ws://", "wss://"), settings=quick)
    assert "no answer in time while connecting" in str(plain) or "cannot connect to wss://" in str(plain), plain
    for no_url in ("http://127.0.0.1/", "127.0.0.1:8080"):
        with pytest.raises(ClientError, match="is not the URL of a gateway"):
            AsyncioClient([places.gateway, no_url], places.canister)
    no_host = await error("wss://a..b")
    assert "cannot connect to wss://a..b" in str(no_host), no_host
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client: AsyncioClient[bytes] = AsyncioClient(
            f"ws://127.0.0.1:{port}",
            places.canister,
            root_key=places.root_key,
            settings=ONCE._replace(connect_timeout=0.2, closing_timeout=0.2),
        )
        with pytest.raises(ClientError, match="no answer in time while connecting"):
            await client.opened()
    closing: AsyncioClient[bytes] = AsyncioClient(
        f"ws://127.0.0.1:{free_port()}", places.canister, root_key=places.root_key
    )
    closing.start()
    assert (await closing.close()).error is None


async def unwatched(places: Places) -> None:
    """A program that takes no events finds in its log why it is not connected."""
    loop = asyncio.get_running_loop()
    logged: asyncio.Future[str] = loop.create_future()

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not logged.done():
                logged.set_result(f"{record.levelname} {record.getMessage()}")

    logging.getLogger("icwsgw.client").addHandler(Log())
    url = f"ws://127.0.0.1:{free_port()}"
    client: AsyncioClient[bytes] = AsyncioClient(url, places.canister, root_key=places.root_key)
    client.start()
    text = await logged
    assert text.startswith(f"WARNING cannot connect to {url}: connection refused (1006). Start the gateway, or "), text
    assert "Connecting again in " in text, text
    await client.close()


class BrokenCodec(RawCodec):
    """A codec of an application, with a mistake."""

    def decode(self, content: bytes) -> bytes:
        if content == b"odd":
            raise KeyError("odd")
        return content


async def mistakes(places: Places) -> None:
    """Mistakes of the application in what the client calls cost neither messages nor the session."""
    logged: list[logging.LogRecord] = []

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record)

    logging.getLogger("icwsgw.client").addHandler(Log())
    events: list[Any] = []

    disconnected = asyncio.Event()

    def broken(what: Any) -> None:
        events.append(what)
        if isinstance(what, Disconnected):
            disconnected.set()
        raise KeyError("a mistake")

    async with places.client(codec=BrokenCodec(), on_event=broken, on_payload=broken, on_sent=broken) as client:
        waiting = asyncio.ensure_future(client.request(b"question", lambda reply: {b"never": True}[reply]))
        await asyncio.sleep(0)
        client.send(b"odd")
        client.send(b"after it")
        with pytest.raises(KeyError, match="question"):
            await waiting
        assert await client.receive() == b"question"
        with pytest.raises(FormatError, match="the codec failed: KeyError"):
            await client.receive()
        assert await client.receive() == b"after it"
        assert not any(isinstance(event, Disconnected) for event in events)
        await asyncio.to_thread(http_post_json, f"{places.network}/_/reset", {"canister": "echo"})
        # what is sent before would be lost with the session
        await disconnected.wait()
        client.send(b"again")
        assert await client.receive() == b"again"
    assert [type(event) for event in events if isinstance(event, (Disconnected, Ended))] == [Disconnected, Ended]
    assert len(logged) == len(events)
    for record in logged:
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], KeyError)


async def early_requests(places: Places) -> None:
    """A request whose message waits: an attempt that fails does not end it, and what ends it takes the message back."""
    events: list[Any] = []
    urls = [f"ws://127.0.0.1:{free_port()}", places.gateway]
    client: AsyncioClient[bytes] = AsyncioClient(
        urls, places.canister, root_key=places.root_key, on_event=events.append
    )
    given_up = asyncio.ensure_future(client.request(b"given up", lambda reply: reply == b"given up"))
    await asyncio.sleep(0)
    assert client.buffered_bytes == len(b"given up")
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    with pytest.raises(asyncio.TimeoutError):
        await client.request(b"too late", lambda reply: reply == b"too late", timeout=0.01)
    assert client.buffered_bytes == 0
    client.start()
    assert await client.request(b"early", lambda reply: True) == b"early"
    assert [type(event) for event in events if not isinstance(event, MessageReceived)] == [Disconnected, ClientOpened]
    ended = await client.close()
    assert ended.unsent == ()
    with pytest.raises(NotOpen):
        await client.request(b"after the end", lambda reply: True)
    closed = places.client()
    waiting = asyncio.ensure_future(closed.request(b"waits", lambda reply: True))
    await asyncio.sleep(0)
    assert (await closed.close()).unsent == (1,)
    with pytest.raises(NotOpen):
        await waiting


async def unstarted(places: Places) -> None:
    """Whatever waits for the gateway begins to connect."""
    receiving = places.client()
    receiving.send(b"queued")
    assert receiving.state is ClientState.IDLE
    assert await receiving.receive() == b"queued"
    await receiving.close()
    iterated = places.client()
    iterated.send(b"one")
    async for message in iterated:
        assert message == b"one"
        break
    await iterated.close()
    asked = places.client()
    assert await asked.request(b"question", lambda reply: True) == b"question"
    await asked.close()
    full = places.client(settings=ClientSettings(max_messages=1))
    full.send(b"first")
    assert await full.send_soon(b"second") == 2
    assert await full.receive() == b"first"
    await full.close()
    never = places.client()
    await never.close()
    with pytest.raises(NotOpen):
        await never.receive()
    assert [message async for message in never] == []


async def given_up(places: Places) -> None:
    """A program that gives the opening up leaves no client behind that connects for ever."""
    accepted, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        while await reader.read(1 << 16):
            pass
        writer.close()

    def on_event(event: Any) -> None:
        if isinstance(event, Ended):
            ended.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client: AsyncioClient[bytes] = AsyncioClient(f"ws://127.0.0.1:{port}", places.canister, on_event=on_event)

        async def work() -> None:
            async with client:
                pass

        working = asyncio.ensure_future(work())
        await accepted.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await ended.wait()
    assert client.state is ClientState.CLOSED


async def moves(places: Places) -> None:
    """The first of two gateways stops at the word "ready"; messages go on all the time."""
    events: list[Any] = []
    moved = asyncio.Event()

    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, ClientOpened) and event.resumed:
            moved.set()

    urls = places.gateway.split(",")
    client: AsyncioClient[bytes] = AsyncioClient(urls, places.canister, root_key=places.root_key, on_event=on_event)
    async with client:
        first, count = client.gateway, 0

        async def echo_next() -> None:
            nonlocal count
            client.send(b"%d" % count)
            assert await client.receive() == b"%d" % count
            count += 1

        await echo_next()
        print("ready", flush=True)
        while not moved.is_set():
            await echo_next()
        await echo_next()
        assert client.gateway != first
    assert not any(isinstance(event, Disconnected) for event in events)


SCENARIOS = {
    "echo": echo,
    "backpressure": backpressure,
    "reset": reset,
    "failures": failures,
    "unwatched": unwatched,
    "mistakes": mistakes,
    "early_requests": early_requests,
    "unstarted": unstarted,
    "given_up": given_up,
    "moves": moves,
}


async def main(name: str, *places: str) -> None:
    await asyncio.wait_for(SCENARIOS[name](await asyncio.to_thread(Places, *places)), DEADLINE)
    print("done")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
