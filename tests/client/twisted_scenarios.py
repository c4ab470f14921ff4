"""Scenarios of the Twisted client.

Usage: ``python -m tests.client.twisted_scenarios SCENARIO GATEWAY NETWORK CANISTER``.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.logger import (
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
    globalLogPublisher,
    textFileLogObserver,
)

from icwsgw.client.client_errors import ClientError, NotOpen, SessionEnded
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.codecs import CandidCodec, RawCodec
from icwsgw.client.root_key import fetch_root_key
from icwsgw.client.twisted_client import TwistedClient
from icwsgw.errors import FormatError
from tests.acceptance.processes import free_port, http_post_json
from tests.client.test_codecs import ECHO as ECHO_DID

ONCE = ClientSettings(reconnect=False)


class Places:
    def __init__(self, gateway: str, network: str, canister: str) -> None:
        self.gateway, self.network, self.canister = gateway, network, canister
        self.root_key = fetch_root_key(network)

    def client(self, url: str | None = None, **options: Any) -> TwistedClient[Any]:
        return TwistedClient(reactor, url or self.gateway, self.canister, root_key=self.root_key, **options)


class Mailbox:
    """Messages, for those who wait for them."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._waiter: Deferred[None] | None = None

    def put(self, message: Any) -> None:
        self.messages.append(message)
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(None)

    async def get(self) -> Any:
        while not self.messages:
            self._waiter = Deferred()
            await self._waiter
        return self.messages.pop(0)


async def echo(places: Places) -> None:
    box, wrong = Mailbox(), Mailbox()
    client = places.client(codec=CandidCodec.from_did(ECHO_DID), on_message=box.put, on_undecodable=wrong.put)
    await client.when_open()
    assert client.state is ClientState.OPEN
    assert client.gateway is not None
    reply = await client.request({"text": "question"}, lambda message: message["text"] == "question")
    assert reply == {"text": "question"}
    client._driver.send(b"DIDL\x00\x01\x7d\x05")
    assert isinstance(await wrong.get(), FormatError)
    for number in range(5):
        client.send({"text": f"m{number}"})
    assert [await box.get() for _ in range(5)] == [{"text": f"m{number}"} for number in range(5)]
    with pytest.raises(TimeoutError):
        await client.request({"text": "lost"}, lambda message: False, timeout=0.01)
    ended = await client.close()
    assert ended.error is None
    assert client.state is ClientState.CLOSED
    assert await client.close() == ended
    with pytest.raises(NotOpen):
        await client.when_open()


async def reset(places: Places) -> None:
    events: list[Any] = []
    box = Mailbox()
    client = places.client(on_event=events.append, on_message=box.put)
    await client.when_open()
    waiting = client.request(b"never", lambda message: False)
    assert await box.get() == b"never"
    await deferToThread(http_post_json, f"{places.network}/_/reset", {"canister": "echo"})
    with pytest.raises(SessionEnded) as ended:
        await waiting
    assert ended.value.code == 4105
    await client.when_open()
    client.send(b"again")
    assert await box.get() == b"again"
    await client.close()
    kinds = [type(event) for event in events]
    assert kinds.count(ClientOpened) == 2
    assert kinds.count(Disconnected) == 1


async def failures(places: Places) -> None:
    async def error(url: str) -> ClientError:
        with pytest.raises(ClientError) as raised:
            await places.client(url, settings=ONCE).when_open()
        return raised.value

    refused = await error(f"ws://127.0.0.1:{free_port()}")
    assert "cannot connect to ws://127.0.0.1:" in str(refused), refused
    no_gateway = await error(places.network.replace("http", "ws"))
    assert str(no_gateway).startswith("the gateway answered HTTP "), no_gateway
    # a plain port does not end a TLS handshake: the client does, in time
    quick = ONCE._replace(connect_timeout=1.0, closing_timeout=0.2)
    plain = places.client(places.gateway.replace("ws://", "wss://"), settings=quick)
    with pytest.raises(ClientError):
        await plain.when_open()
    for no_url in ("http://127.0.0.1/", "127.0.0.1:8080"):
        with pytest.raises(ClientError, match="is not the URL of a gateway"):
            places.client(no_url)
    no_host = await error("wss://a..b")
    assert "cannot connect to wss://a..b" in str(no_host), no_host
    closing = places.client(f"ws://127.0.0.1:{free_port()}")
    closing.start()
    assert (await closing.close()).error is None
    await deferLater(reactor, 0, lambda: None)


async def unwatched(places: Places) -> None:
    """A program that takes no events finds in its log why it is not connected."""
    logged: Deferred[str] = Deferred()

    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("icwsgw.client.") and not logged.called:
            logged.callback(formatEvent(event))

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    url = f"ws://127.0.0.1:{free_port()}"
    client = places.client(url)
    client.start()
    text = await logged
    assert text.startswith(f"cannot connect to {url}: "), text
    assert ". Start the gateway, or check " in text, text
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
    events: list[Any] = []
    box, wrong = Mailbox(), Mailbox()
    client = places.client(codec=BrokenCodec(), on_event=events.append, on_message=box.put, on_undecodable=wrong.put)
    await client.when_open()
    waiting = client.request(b"question", lambda reply: {b"never": True}[reply])
    client.send(b"odd")
    client.send(b"after it")
    with pytest.raises(KeyError, match="question"):
        await waiting
    assert [await box.get(), await box.get()] == [b"question", b"after it"]
    (error,) = wrong.messages
    assert str(error).startswith("the codec failed: KeyError")
    await client.close()
    assert not any(isinstance(event, Disconnected) for event in events)
    assert isinstance(events[-1], Ended)


async def early_requests(places: Places) -> None:
    """A request whose message waits: an attempt that fails does not end it, and what ends it takes the message back."""
    events: list[Any] = []
    urls: Any = [f"ws://127.0.0.1:{free_port()}", places.gateway]
    client = places.client(urls, on_event=events.append)
    given_up = client.request(b"given up", lambda reply: reply == b"given up")
    assert client.buffered_bytes == len(b"given up")
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    with pytest.raises(TimeoutError):
        await client.request(b"too late", lambda reply: reply == b"too late", timeout=0.01)
    assert client.buffered_bytes == 0
    early = client.request(b"early", lambda reply: True)
    client.start()
    assert await early == b"early"
    assert [type(event) for event in events if not isinstance(event, MessageReceived)] == [Disconnected, ClientOpened]
    assert (await client.close()).unsent == ()
    with pytest.raises(NotOpen):
        client.request(b"after the end", lambda reply: True)
    closed = places.client()
    waiting = closed.request(b"waits", lambda reply: True)
    assert (await closed.close()).unsent == (1,)
    with pytest.raises(NotOpen):
        await waiting


async def unstarted(places: Places) -> None:
    """A request begins to connect; a message that is sent alone waits."""
    client = places.client()
    client.send(b"queued")
    assert client.state is ClientState.IDLE
    assert await client.request(b"question", lambda reply: reply == b"question") == b"question"
    assert (await client.close()).unsent == ()


async def moves(places: Places) -> None:
    """The first of two gateways stops at the word "ready"; messages go on all the time."""
    events: list[Any] = []
    mailbox = Mailbox()
    urls = places.gateway.split(",")
    client: TwistedClient[bytes] = TwistedClient(
        reactor,
        urls,
        places.canister,
        root_key=places.root_key,
        on_message=mailbox.put,
        on_event=events.append,
    )
    await client.when_open()
    first, count = client.gateway, 0
    while not any(isinstance(event, ClientOpened) and event.resumed for event in events):
        client.send(b"%d" % count)
        assert await mailbox.get() == b"%d" % count
        if not count:
            print("ready", flush=True)
        count += 1
    client.send(b"last")
    assert await mailbox.get() == b"last"
    assert client.gateway != first
    await client.close()
    assert not any(isinstance(event, Disconnected) for event in events)


SCENARIOS = {
    "echo": echo,
    "reset": reset,
    "failures": failures,
    "unwatched": unwatched,
    "mistakes": mistakes,
    "early_requests": early_requests,
    "unstarted": unstarted,
    "moves": moves,
}


def main(_: Any, name: str, *places: str) -> Deferred[None]:
    async def run() -> None:
        await SCENARIOS[name](await deferToThread(Places, *places))
        print("done")

    return Deferred.fromCoroutine(run()).addTimeout(120, reactor)


if __name__ == "__main__":
    shown: Any = textFileLogObserver(sys.stderr)
    failures_alone: Any = LogLevelFilterPredicate(LogLevel.critical)
    errors: Any = FilteringLogObserver(shown, [failures_alone])
    globalLogBeginner.beginLoggingTo([errors], redirectStandardIO=False)
    react(main, sys.argv[1:])
