"""The messages of a session as a trace shows them: those of a whole gateway in memory."""

from __future__ import annotations

import re

from icwsgw.cli.frame_trace import FrameTrace
from icwsgw.cli.message_format import MessageFormat
from icwsgw.client.message_verifier import MessageVerifier
from icwsgw.devnet.canisters import app_message
from icwsgw.ic.candid import Record, Text
from tests.memory.world import ECHO_ID, MemoryClient, World


def traced(world: World) -> FrameTrace:
    form = MessageFormat("json", Record({"text": Text}))
    return FrameTrace(form, MessageVerifier(ECHO_ID, world.replica.root_key_der))


def tapped(world: World) -> tuple[MemoryClient, list[str], list[bytes]]:
    """A client, what a trace says of its messages, and the gateway's payloads."""
    client, trace, seen = world.client(), traced(world), []
    lines: list[str] = []
    handle, send = client.handle, client.send_payload

    def handling(payload: bytes, now_ns: int) -> list[bytes]:
        seen.append(payload)
        lines.append(trace.received(payload, now_ns))
        return handle(payload, now_ns)

    def sending(payload: bytes, is_binary: bool = True) -> None:
        lines.append(trace.sent(payload, world.now_ns()))
        send(payload, is_binary)

    client.handle, client.send_payload = handling, sending
    return client, lines, seen


def test_a_session() -> None:
    world = World(call_latency=0.1)
    client, lines, _ = tapped(world)
    world.run(1)
    client.echoes(app_message("hi"))
    world.run(320)  # an acknowledgement and its answer
    handshake, opening, opened, sent, echoed, acknowledged, kept_alive = lines
    assert re.fullmatch(r"<- handshake of gateway [a-z0-9-]+; \d+ bytes", handshake)
    assert re.fullmatch(r"-> ws_open; \d+ bytes, call [0-9a-f]{16}, expires in \d+ s", opening)
    checked = (
        r"; \d+ bytes, \d\.\d{3} s after the canister sent it; "
        r"verified: certificate of \d\.\d s ago, through a delegation, witness, content"
    )
    assert re.fullmatch(r"<- message 1: OpenMessage" + checked, opened)
    assert re.match(r'-> ws_message 1: \{"text": "hi"\}; \d+ bytes, call [0-9a-f]{16}, expires in', sent)
    assert re.fullmatch(r'<- message 2: \{"text": "hi"\}' + checked, echoed)
    assert acknowledged.startswith("<- message 3: AckMessage 1; ")
    assert kept_alive.startswith("-> ws_message 2: KeepAliveMessage 3; ")


def test_what_does_not_verify_says_so() -> None:
    world = World()
    _, lines, seen = tapped(world)
    world.run(1)
    assert "verified: " in lines[2]
    trace = traced(world)
    wrong = seen[1].replace(b"is_service_message\xf5", b"is_service_message\xf4")
    assert "; WRONG: the message is not certified" in trace.received(wrong, world.now_ns())
    late = trace.received(seen[1], world.now_ns() + 10**12)
    assert "WRONG: the certificate is invalid" in late


def test_what_is_no_message() -> None:
    trace = traced(World(start=False))
    assert trace.received(b"\xff", 0).startswith("<- 1 bytes: a message of the gateway is not CBOR")
    assert trace.sent(b"\xa0", 0).startswith("-> 1 bytes that are no call")
