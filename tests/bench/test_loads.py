"""The loads send what they promise, when they promise it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from bench.client import State
from bench.envelopes import Envelopes
from bench.loads import Flow
from bench.loop import Loop
from bench.target import canister_id
from icwsgw.core.messages import parse_client_frame
from icwsgw.ic import ws
from icwsgw.ic.identity import Ed25519Identity
from tests.bench.test_envelopes import unmask


class Client:
    """A client that keeps what it sends."""

    def __init__(self, number: int) -> None:
        self.envelopes = Envelopes(Ed25519Identity(bytes([number]) * 32), canister_id(3))
        self.state = State.OPEN
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def said(self) -> list[tuple[int, int]]:
        """Sequence numbers, and when the messages were due, ns after the base."""
        calls = [ws.decode_message_args(parse_client_frame(unmask(each)[1]).arg) for each in self.sent]
        return [(call.sequence_num, int.from_bytes(call.content[:8], "big")) for call in calls]


def test_a_flow_sends_signed_messages_and_goes_on_when_there_are_no_more() -> None:
    clients = [Client(number) for number in (1, 2, 3)]
    crowd: Any = SimpleNamespace(loop=Loop(), clients=dict(enumerate(clients)), sent=0, base_ns=0)
    flow = Flow(crowd, 1_000.0, 20, ahead=4)
    assert [client.envelopes.sequence for client in clients] == [2, 1, 1]
    flow.begin(time.monotonic_ns())
    deadline = time.monotonic() + 30
    while crowd.sent < 9:
        assert time.monotonic() < deadline
        crowd.loop.turn(1.0)
    assert flow.stop() == crowd.sent
    said = [client.said() for client in clients]
    assert sum(map(len, said)) == crowd.sent
    for first, each in enumerate(said):
        assert each == [(at + 1, (3 * at + first) * 1_000_000) for at in range(len(each))]


def test_a_session_that_has_ended_costs_the_others_nothing() -> None:
    clients = [Client(number) for number in (1, 2)]
    crowd: Any = SimpleNamespace(loop=Loop(), clients=dict(enumerate(clients)), sent=0, base_ns=0)
    flow = Flow(crowd, 1_000.0, 20, ahead=4)
    clients[0].state = State.ENDED
    flow.begin(time.monotonic_ns())
    deadline = time.monotonic() + 30
    while crowd.sent < 4:
        assert time.monotonic() < deadline
        crowd.loop.turn(1.0)
    flow.stop()
    assert not clients[0].sent
    assert [number for number, _ in clients[1].said()] == list(range(1, crowd.sent + 1))
