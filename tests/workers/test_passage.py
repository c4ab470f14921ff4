"""A worker's side of a handover: it waits, hands over, or takes over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.receiving import NothingTaken
from icwsgw.workers import passage as module
from icwsgw.workers.passage import Passage


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.addReader = self.readers.append
        self.removeReader = self.readers.remove


class Moving:
    """A transfer."""

    made: list[Moving] = []

    def __init__(self, service: Any, channel: Channel, go: Any, done: Any, failed: Any) -> None:
        self.done, self.failed, self.early = done, failed, False
        self.fails: list[str] = []
        self.documents: list[Any] = []
        self.fail, self.received = self.fails.append, self.documents.append
        Moving.made.append(self)

    def begin(self, early: bool) -> None:
        self.early = early


class Receives:
    """Receives from other processes."""

    fails = False

    def __init__(self, service: Any, sources: Any) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return 7

    def run(self) -> None:
        assert [list(source.identities) for source in self.sources] == [[0], [1]]
        if Receives.fails:
            raise NothingTaken("silent")


class World:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.away: str | None = "not reached"
        self.listener = SimpleNamespace(address="tcp:1", accepting=True, accept=self.accept)
        self.accepted = 0
        service = SimpleNamespace(
            reactor=self.reactor,
            listening_services=[self.listener],
            network_monitor=SimpleNamespace(network=lambda: self.away),
            gateway=SimpleNamespace(served_elsewhere=False),
        )
        self.gateway = service.gateway
        ours, theirs = socket.socketpair()
        self.other = Channel(theirs)
        self.answers: list[Any] = []
        self.stopped: list[None] = []
        self.passage = Passage(service, ours.detach(), self.answers.append, lambda: self.stopped.append(None))

    def accept(self) -> None:
        self.accepted += 1

    def receive(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()

    def passed(self, document: Any, count: int) -> list[Channel]:
        pairs = [socket.socketpair() for _ in range(count)]
        self.other.send({**document, "sockets": count}, [one.fileno() for one, _ in pairs])
        for one, _ in pairs:
            one.close()
        self.receive()
        return [Channel(other) for _, other in pairs]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "Transfer", Moving)
    monkeypatch.setattr(module, "Receiving", Receives)
    Moving.made, Receives.fails = [], False
    made = World()
    yield made
    made.passage._conversation.close()
    made.other.close()


def test_a_waiting_worker_reports_when_it_is_ready(world: World) -> None:
    world.passage.wait()
    assert (world.listener.accepting, world.gateway.served_elsewhere) == (False, True)
    world.passage.begin()
    world.reactor.advance(0.1)
    world.away = None
    world.reactor.pump([0.1, 0.1])
    assert world.answers == [
        {"type": "prepared", "waits_for": "not reached"},
        {"type": "prepared", "waits_for": None},
    ]
    world.passage.serve()
    world.passage.serve()
    assert (world.accepted, world.gateway.served_elsewhere) == (1, False)


@pytest.mark.parametrize("fails", [False, True])
def test_it_takes_over_when_the_first_process_hands_over(world: World, fails: bool) -> None:
    Receives.fails = fails
    world.passage.wait()
    world.passage.begin()
    channels = world.passed({"take_over": [[0], [1]]}, 2)
    before = len(world.answers)
    assert world.accepted == 0
    channels[0].send({"early": True})
    world.receive()
    expected = {"type": "takeover_failed", "reason": "silent"} if fails else {"type": "taken_over", "connections": 7}
    assert world.answers[before:] == [expected]
    assert world.accepted == int(not fails)
    for channel in channels:
        channel.close()


def test_it_hands_over_and_ends(world: World) -> None:
    world.passage.begin()
    (channel,) = world.passed({"hand_over": True}, 1)
    (transfer,) = Moving.made
    assert transfer.early
    channel.send({"made": 1})
    world.receive()
    assert transfer.documents == [{"made": 1}]
    transfer.done({"connections": 5})
    assert (world.answers, len(world.stopped)) == ([{"type": "handed_over", "result": {"connections": 5}}], 1)
    with pytest.raises(ChannelClosed, match="has ended"):
        channel.receive(5.0)
    channel.close()


def test_a_worker_continues_after_a_failed_handover(world: World) -> None:
    world.passage.begin()
    (channel,) = world.passed({"hand_over": True}, 1)
    channel.close()
    world.receive()
    (transfer,) = Moving.made
    assert transfer.fails == ["the new process has ended"]
    transfer.failed("the new process has ended")
    assert world.answers == [{"type": "handover_failed", "reason": "the new process has ended"}]
    assert (world.stopped, world.accepted) == ([], 0)


def test_the_order_to_serve_may_arrive_before_it_has_begun(world: World) -> None:
    world.passage.wait()
    world.passage.serve()
    world.passage.begin()
    world.reactor.advance(0.1)
    assert (world.accepted, world.answers) == (1, []), "it waits for nothing"


def test_the_reactor_ends_while_it_waits_for_the_process_that_hands_over(world: World) -> None:
    world.passage.begin()
    channels = world.passed({"take_over": [[0], [1]]}, 2)
    (waits,) = (reader for reader in world.reactor.readers if reader is not world.passage._conversation)
    assert (waits.logPrefix(), waits.fileno() >= 0) == ("handover", True)
    waits.connectionLost(None)
    assert (world.answers, world.stopped) == ([], [])
    for channel in channels:
        channel.close()
