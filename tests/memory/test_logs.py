"""The log of a whole gateway: a line at each session's end, ids to search for, and no secrets."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.request_id import request_id
from icwsgw.observe.levels import LEVELS, Levels
from icwsgw.observe.logs import LineObserver, set_levels
from icwsgw.observe.writer import to_stream
from tests.memory.world import CHAT_ID, ECHO_ID, MemoryClient, World
from tests.support.faults import QUERY_FAULTS
from tests.support.leaks import assert_none_of

SECRET = b"nobody but the canister may read this"
SEED = bytes(range(7, 39))


class Log:
    """All log lines of a gateway with the most verbose settings, as text and as JSON."""

    def __init__(self) -> None:
        self.text, self.json = io.StringIO(), io.StringIO()

    def records(self, message: str) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.json.getvalue().splitlines()]
        return [record for record in records if record["message"] == message]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    levels = Levels(LEVELS["trace"])
    observers = [LineObserver(to_stream(log.text), levels, "text"), LineObserver(to_stream(log.json), levels, "json")]
    set_levels(levels)
    for observer in observers:
        globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    yield log
    for observer in observers:
        globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]
    set_levels(Levels())


def recorded(client: MemoryClient) -> list[bytes]:
    """Record the payloads that a client sends from now on."""
    sent: list[bytes] = []
    send = client.send_payload

    def send_payload(payload: bytes, is_binary: bool = True) -> None:
        sent.append(payload)
        send(payload, is_binary)

    client.send_payload = send_payload
    return sent


def test_a_line_at_the_end_of_each_session(log: Log) -> None:
    world = World()
    (client, quiet), newcomer = world.open(2), world.client()
    newcomer.automatic = False
    client.origin = "https://app.example"
    for number in range(3):
        client.echoes(b"%d" % number)
    sessions = [one.session for one in (client, quiet, newcomer)]
    world.run(1)
    for one in (client, quiet, newcomer):
        one.leave(4001 if one is quiet else 1000)
    world.run(1)
    lines = {line["session"]: line for line in log.records("session ended")}
    assert len(lines) == len(log.records("session ended")) == 3
    for session, cause, state in zip(sessions, (1000, 4001, 1000), ("open", "open", "init"), strict=True):
        assert session is not None
        line = lines[session.id]
        assert line["level"] == "info"
        assert (line["cause"], line["state"]) == (cause, state)
        assert line["canister"] == (None if state == "init" else ECHO_ID.text)
        assert line["seconds"] >= 1
        assert line["peer"] == "memory"
        assert [line["up"], line["down"]] == [session.messages_up, session.messages_down]
        assert [line["bytes_up"], line["bytes_down"]] == [session.bytes_up, session.bytes_down]
    assert lines[sessions[0].id]["up"] == 4
    assert [lines[one.id].get("client") for one in sessions if one] == [
        client.identity.principal.text,
        quiet.identity.principal.text,
        None,
    ]
    assert [lines[one.id].get("origin") for one in sessions if one] == ["https://app.example", None, None]


def test_a_session_leads_to_its_calls_and_each_call_to_its_request(log: Log) -> None:
    world = World()
    client = world.client()
    sent = recorded(client)
    world.until(lambda: client.opened)
    client.echoes(b"hello")
    client.leave()
    world.run(1)
    assert client.session is not None
    calls = [line for line in log.records("call") if line["session"] == client.session.id]
    assert [line["method"] for line in calls] == ["ws_open", "ws_message", "ws_close"]
    requests = [request_id(cbor.loads(payload)["envelope"]["content"]).hex()[:16] for payload in sent]
    assert [line["request"] for line in calls[:2]] == requests
    assert [line["request"] for line in log.records("call ended")] == requests


def test_no_log_line_has_a_secret_whatever_fails(log: Log) -> None:
    world = World(canister_grace=3600)
    identity = Ed25519Identity(SEED)
    sent: list[list[bytes]] = []

    def connect(identity: Ed25519Identity | None = None) -> MemoryClient:
        client = world.client(ECHO_ID, identity)
        sent.append(recorded(client))
        return client

    # in both directions, while each kind of fault happens once
    client = connect(identity)
    world.until(lambda: client.opened)
    for fault in QUERY_FAULTS:
        world.replica.faults.add(InjectedFault(on="query", count=1, **fault))
        client.send(SECRET)
        world.run(0.5)
        world.replica.faults.clear()
    world.run(10)
    assert client.received.count(SECRET) == len(QUERY_FAULTS)
    # refused calls, and clients that send invalid data
    for fault in (
        {"kind": "http", "status": 400},
        {"kind": "http", "status": 503},
        {"kind": "reject", "code": 4, "certified": True},
        {"kind": "cdk_err"},
        {"kind": "garbage"},
        {"kind": "garbage_candid"},
    ):
        other = connect()
        world.until(lambda other=other: other.opened)
        world.replica.faults.add(InjectedFault(on="call", count=1, **fault))
        other.send(SECRET)
        world.run(2)
        world.replica.faults.clear()
    for nonsense in (
        SECRET,
        b"\xd9\xd9\xf7\xa1\x68envelope" + SECRET,
        cbor.dumps({"envelope": {"content": {"request_type": "call", "arg": SECRET, "sender": SECRET}}}),
        connect().envelope("ws_message", SECRET, world.now_ns()),
        connect().envelope("ws_open", SECRET, world.now_ns()),
        connect().envelope("ws_open", SECRET, world.now_ns(), ttl=-5.0),
    ):
        other = connect()
        other.automatic = False
        world.run(0.1)
        other.send_payload(nonsense)
        world.run(0.1)
        assert other.close_code is not None
    world.gateway.drain(0.1)
    world.run(5)

    text = (log.text.getvalue() + log.json.getvalue()).encode()
    assert len(log.records("session ended")) >= 10
    assert len(log.records("poll failed")) >= 10
    secrets = {"content": SECRET, "seed": SEED, "seed of the gateway": b"\x07" * 32}
    for number, payload in enumerate(payload for payloads in sent for payload in payloads):
        at = payload.find(b"sender_sig")
        if at >= 0:
            # after the field's name and the head of the byte string
            secrets[f"signature {number}"] = payload[at + 12 : at + 28]
    assert len(secrets) > 20
    assert_none_of(secrets, text)


def test_repeated_lines_are_bounded(log: Log) -> None:
    world = World()
    for _ in range(100):
        newcomer = world.client(CHAT_ID)
        newcomer.automatic = False
        world.run(0.01)
        newcomer.send_payload(b"\xff")
        world.run(0.01)
    assert len(log.records("session ended")) == 10
    assert world.context.log_limiter.left_out == 90


@pytest.mark.parametrize("before", range(3))
def test_a_secret_would_be_found_in_whatever_form(before: int) -> None:
    around = bytes(before) + SECRET + b"and more"
    for text in (around, around.hex().encode(), repr(around).encode(), b64encode(around), str(list(around)).encode()):
        with pytest.raises(AssertionError, match="content"):
            assert_none_of({"content": SECRET}, text)
