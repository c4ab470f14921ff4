"""The loads send what they promise, when they promise it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from bench import loads
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

    def calls(self) -> list[tuple[int, int]]:
        """Sequence numbers, and when the messages were due, ns after the base."""
        calls = [ws.decode_message_args(parse_client_frame(unmask(each)[1]).arg) for each in self.sent]
        return [(call.sequence_num, int.from_bytes(call.content[:8], "big")) for call in calls]


def signed(crowd: Any, ahead: int) -> Flow:
    """A flow of 1,000 messages a second, of which some are signed."""
    answers: list[dict[str, int]] = []
    flow = Flow(crowd, 1_000.0, 20)
    flow.sign(answers.append, ahead)
    while not answers:
        crowd.loop.turn(1.0)
    assert answers == [{"signed": ahead}]
    return flow


def test_messages_are_signed_in_batches_so_that_clients_answer_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "_SIGNED_AT_ONCE", 3)
    answers: list[dict[str, int]] = []
    client = Client(1)
    crowd: Any = SimpleNamespace(loop=Loop(), clients={0: client}, sent=0, base_ns=0)
    Flow(crowd, 1_000.0, 20).sign(answers.append, 7)
    signed_by_turn = [client.envelopes.sequence]
    while not answers:
        crowd.loop.turn(1.0)
        signed_by_turn.append(client.envelopes.sequence)
    assert signed_by_turn == [3, 6, 7]


def test_a_flow_sends_signed_messages_and_goes_on_when_there_are_no_more() -> None:
    clients = [Client(number) for number in (1, 2, 3)]
    crowd: Any = SimpleNamespace(loop=Loop(), clients=dict(enumerate(clients)), sent=0, base_ns=0)
    flow = signed(crowd, 4)
    assert [client.envelopes.sequence for client in clients] == [2, 1, 1]
    flow.begin(time.monotonic_ns())
    deadline = time.monotonic() + 30
    while crowd.sent < 9:
        assert time.monotonic() < deadline
        crowd.loop.turn(1.0)
    assert flow.stop() == crowd.sent
    calls = [client.calls() for client in clients]
    assert sum(map(len, calls)) == crowd.sent
    for first, each in enumerate(calls):
        assert each == [(at + 1, (3 * at + first) * 1_000_000) for at in range(len(each))]


def test_a_session_that_has_ended_costs_the_others_nothing() -> None:
    clients = [Client(number) for number in (1, 2)]
    crowd: Any = SimpleNamespace(loop=Loop(), clients=dict(enumerate(clients)), sent=0, base_ns=0)
    flow = signed(crowd, 4)
    clients[0].state = State.ENDED
    flow.begin(time.monotonic_ns())
    deadline = time.monotonic() + 30
    while crowd.sent < 4:
        assert time.monotonic() < deadline
        crowd.loop.turn(1.0)
    flow.stop()
    assert not clients[0].sent
    assert [number for number, _ in clients[1].calls()] == list(range(1, crowd.sent + 1))
