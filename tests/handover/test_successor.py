"""The successor: the messages that it receives, and those that it sends before it serves."""

from __future__ import annotations

import json
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.admin.control import Overrides
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import FormatError
from icwsgw.handover import receiving
from icwsgw.handover import successor as successor_module
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.early_messages import send_early_overrides, send_early_request
from icwsgw.handover.inheritance import Inheritance
from icwsgw.handover.service_state import VERSION
from icwsgw.handover.successor import Successor


class Reactor(Clock):
    """Runs functions at once, and records that it is stopped."""

    stopped = False

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        function(*args)

    def stop(self) -> None:
        self.stopped = True


class Service:
    """A service whose network is unreachable at first."""

    def __init__(self) -> None:
        self.away: str | None = "no answer"
        self.network_monitor = SimpleNamespace(network=lambda: self.away)
        self.listening_services = [
            SimpleNamespace(address="tcp:1", accepting=True, accept=self.accept, detach=self.detach)
        ]
        self.accepted = self.detached = 0
        self.reactor = Clock()
        self.configured = GatewayConfig()
        self.overridden: list[Overrides] = []
        self.override: Any = self.overridden.append
        registry = SimpleNamespace(sessions=set(), pollers={}, taken_over=lambda: None)
        self.gateway: Any = SimpleNamespace(registry=registry, served_elsewhere=False, close_denied=bool)
        self.factory = SimpleNamespace(close_denied=bool)

    def detach(self) -> None:
        self.detached += 1

    def accept(self) -> None:
        self.accepted += 1


def make() -> tuple[Channel, Successor, Service, Reactor, list[str]]:
    ours, theirs = socket.socketpair()
    reactor, service, began = Reactor(), Service(), []
    successor = Successor(Channel(theirs), {}, reactor)
    successor.prepare(service, lambda last: began.append(str(last.get("pidfile", ""))))  # type: ignore[arg-type]
    return Channel(ours), successor, service, reactor, began


def test_it_says_what_it_waits_for_until_it_is_ready() -> None:
    channel, _, service, reactor, _ = make()
    assert [listener.accepting for listener in service.listening_services] == [False]
    assert channel.receive(5.0) == ({"at": "the network (no answer)"}, [])
    reactor.pump([0.1] * 12)
    assert "at" in channel.receive(5.0)[0]
    channel.close()


def test_it_ends_when_the_other_process_has_ended() -> None:
    channel, _, service, reactor, began = make()
    channel.receive(5.0)
    channel.close()
    reactor.pump([0.1] * 12)
    assert (reactor.stopped, service.accepted, began) == (True, 0, [])
    assert service.gateway.served_elsewhere


@pytest.mark.parametrize(
    ("document", "words"),
    [({"version": VERSION + 1}, "version"), ({"end": True}, "missing"), ({"connections": [{}]}, "sockets")],
)
def test_a_state_that_it_cannot_read_ends_it_and_it_says_why(document: dict[str, Any], words: str) -> None:
    channel, _, service, reactor, began = make()
    channel.receive(5.0)
    channel.send(document)
    service.away = None
    reactor.advance(0.1)
    assert "ready" in channel.receive(5.0)[0]
    assert words in channel.receive(5.0)[0]["failed"]
    assert (reactor.stopped, service.accepted, began) == (True, 0, [])
    channel.close()


def test_the_environment_says_that_there_is_a_predecessor() -> None:
    assert Successor.from_environment(Reactor(), {}) is None
    ours, theirs = socket.socketpair()
    listening = socket.socket()
    environment = {
        "ICWSGW_HANDOVER": str(os.dup(theirs.fileno())),
        "ICWSGW_HANDOVER_SOCKETS": json.dumps({"tcp:1": listening.fileno()}),
        "ICWSGW_HANDOVER_FACTS": json.dumps({"workers": [[0, 1], [2, 3]]}),
    }
    Successor.report("no such option", environment)
    successor = Successor.from_environment(Reactor(), environment)
    assert successor is not None
    assert environment == {}
    assert successor.inherit(1, 2)[0].inherited == (2, 3)
    successor.failed("the port is taken")
    channel = Channel(ours)
    assert [channel.receive(5.0)[0]["failed"] for _ in range(2)] == ["no such option", "the port is taken"]
    assert list(successor.endpoints()) == ["tcp:1"]
    channel.close()
    Successor.report("the other process has ended", {"ICWSGW_HANDOVER": str(theirs.fileno())})
    Successor.report("there is none", environment)
    theirs.close()
    listening.close()


def test_a_predecessor_without_listening_sockets_and_facts_is_taken_over_from_too() -> None:
    """A predecessor of an older version sends no facts about itself."""
    ours, theirs = socket.socketpair()
    reactor, service = Reactor(), Service()
    successor = Successor.from_environment(reactor, {"ICWSGW_HANDOVER": str(theirs.detach())})
    assert successor is not None
    assert (successor.endpoints(), successor.facts) == ({}, {})
    successor.prepare(service, print)  # type: ignore[arg-type]
    channel = Channel(ours)
    assert "at" in channel.receive(5.0)[0]
    reactor.advance(1.0)
    assert "at" in channel.receive(5.0)[0], "it goes by the reactor that it was given"
    channel.close()


def test_the_clients_of_each_identity_go_to_the_same_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, successor, service, reactor, _ = make()
    successor.facts = {"workers": [[1, 0]]}
    (inheritance,) = successor.inherit(1, 2)
    assert inheritance.identities == ((1, 0),)
    sources: list[Any] = []

    class Receives:
        go: dict[str, Any] = {"go": True}

        def __init__(self, of: object, given: Any) -> None:
            sources.extend(given)

        def run(self) -> None:
            pass

    monkeypatch.setattr(successor_module, "Receiving", Receives)
    service.away = None
    reactor.advance(0.1)
    assert [(source.channel, source.identities) for source in sources] == [(successor.channel, (1, 0))]
    channel.close()


class Taking:
    """A state of one document, whose connections can continue."""

    def __init__(self, fails: bool = False, refuses: bool = False) -> None:
        self.fails = fails
        self.refuses = refuses
        self.begun = self.discarded = 0

    def __len__(self) -> int:
        return 2

    def add(self, document: dict[str, Any], sockets: list[int]) -> bool:
        if "bad" in document:
            raise ZeroDivisionError
        return "end" in document

    def check(self) -> None:
        if self.refuses:
            raise FormatError("the key is another one")

    def discard(self) -> None:
        self.discarded += 1

    def begin(self) -> None:
        self.begun += 1
        if self.fails:
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("last", "fails", "pidfile"),
    [({"go": True, "pidfile": "/run/a"}, False, "/run/a"), ({"go": True}, True, ""), (None, False, "")],
    ids=["a message to go on", "a fault", "the other one has ended"],
)
def test_it_continues_when_it_has_everything(
    monkeypatch: pytest.MonkeyPatch, last: dict[str, Any] | None, fails: bool, pidfile: str
) -> None:
    channel, _, service, reactor, began = make()
    taking = Taking(fails)
    monkeypatch.setattr(receiving, "Taken", lambda service, identities: taking)
    channel.receive(5.0)
    documents: list[dict[str, Any]] = [
        *({"version": VERSION, "early": True}, {"early": True}),
        *({"version": VERSION}, {"end": True}),
        *([last] if last else []),
    ]
    for document in documents:
        channel.send(document)
    if last is None:
        channel.socket.shutdown(socket.SHUT_WR)
    service.away = None
    reactor.advance(0.1)
    assert "ready" in channel.receive(5.0)[0]
    received = [channel.receive(5.0)[0] for _ in range(3)]
    assert received == [{"made": 2}, {"made": 2}, {"taken": 2}]
    assert (taking.begun, service.accepted, began, reactor.stopped) == (1, 1, [pidfile], False)
    channel.close()


def test_sockets_of_addresses_that_are_not_configured_any_more_are_closed() -> None:
    """The kernel would go on to accept connections there."""
    ours, theirs = socket.socketpair()
    used, unused = socket.socket(), socket.socket()
    sockets = {"tcp:1": used.fileno(), "tcp:9": unused.detach(), "tcp:10": -1}
    successor = Successor(Channel(theirs), sockets, Reactor())
    successor.close_unused([SimpleNamespace(address="tcp:1")])  # type: ignore[list-item]
    assert used.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(sockets["tcp:9"])
    for end in (ours, theirs, used):
        end.close()


def test_a_state_that_it_cannot_go_on_with_ends_it_and_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, _, service, reactor, began = make()
    taking = Taking(refuses=True)
    monkeypatch.setattr(receiving, "Taken", lambda service, identities: taking)
    channel.receive(5.0)
    channel.send({"end": True})
    service.away = None
    reactor.advance(0.1)
    assert "ready" in channel.receive(5.0)[0]
    assert channel.receive(5.0)[0] == {"failed": "the key is another one"}
    assert (taking.begun, reactor.stopped, service.accepted, began) == (0, True, 0, [])


@pytest.mark.parametrize("last", [{"bad": True}, None], ids=["a fault", "the other one has ended"])
def test_before_it_has_everything_it_ends_without_closing_clients(
    monkeypatch: pytest.MonkeyPatch, last: dict[str, Any] | None
) -> None:
    channel, _, service, reactor, began = make()
    taking = Taking()
    monkeypatch.setattr(receiving, "Taken", lambda service, identities: taking)
    for document in ({"version": VERSION, "early": True}, *([last] if last else [])):
        channel.send(document)
    if last is None:
        channel.socket.shutdown(socket.SHUT_WR)
    service.away = None
    reactor.advance(0.1)
    assert (taking.discarded, taking.begun, service.accepted, began, reactor.stopped) == (1, 0, 0, [], True)
    assert service.detached == 1, "the end of this process does not shut the other one's socket down"
    channel.close()


@pytest.mark.parametrize("fault", ["accept", "override", "began"])
def test_a_failure_after_the_takeover_affects_nothing_else(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    channel, successor, service, reactor, began = make()
    successor.facts = {"supervisor": True, "workers": [[0]]}
    successor.inherit(1, 1)
    faults: list[str] = []

    def broken(*values: object) -> None:
        faults.append(fault)
        raise ValueError(fault)

    class Receives:
        go: dict[str, Any] = {}

        def __init__(self, of: object, sources: Any) -> None:
            pass

        def run(self) -> None:
            channel.send({"go": True, "pidfile": "/p", "overrides": Overrides(maintenance=True).to_json()})

    monkeypatch.setattr(successor_module, "Receiving", Receives)
    if fault == "accept":
        service.listening_services.insert(0, SimpleNamespace(address="tcp:2", accept=broken))
    elif fault == "override":
        service.override = broken
    else:
        successor._began = broken
    service.away = None
    reactor.advance(0.1)
    assert faults == [fault]
    assert (service.accepted, reactor.stopped) == (1, False)
    assert began == ([] if fault == "began" else ["/p"])
    assert service.overridden == ([] if fault == "override" else [Overrides(maintenance=True)])
    assert successor.channel.socket.fileno() < 0
    channel.close()


def test_it_takes_over_from_several_workers_and_their_supervisor_last(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, successor, service, reactor, began = make()
    successor.facts = {"supervisor": True, "workers": [[0], [1]]}
    assert successor.inherit(1, 1)[0].inherited == (1,)
    taken: list[Any] = []

    class Receives:
        go: dict[str, Any] = {}

        def __init__(self, of: object, sources: Any) -> None:
            taken.extend(list(source.identities) for source in sources)

        def run(self) -> None:
            channel.send({"accepted": {}})
            channel.send({"go": True, "pidfile": "/p", "overrides": Overrides(maintenance=True).to_json()})

    monkeypatch.setattr(successor_module, "Receiving", Receives)
    channel.receive(5.0)
    service.away = None
    reactor.advance(0.1)
    document, ends = channel.receive(5.0)
    assert (document["groups"], len(ends)) == ([[0, 1]], 2)
    for end in ends:
        os.close(end)
    assert taken == [[0], [1]]
    assert (began, service.accepted, service.overridden) == (["/p"], 1, [Overrides(maintenance=True)])
    channel.close()


@pytest.mark.parametrize("ended", [True, False], ids=["has ended", "says nonsense"])
@pytest.mark.parametrize("many", [1, 60_000])
def test_it_continues_when_the_supervisor_has_ended_or_is_silent(
    monkeypatch: pytest.MonkeyPatch, ended: bool, many: int
) -> None:
    overrides = Overrides(denied=("aaaaa-aa",) * many)
    channel, successor, service, reactor, began = make()
    successor.facts = {"supervisor": True, "workers": [[0]]}
    successor.inherit(1, 1)

    class Receives:
        go: dict[str, Any] = {"pidfile": "/of a worker"}

        def __init__(self, of: object, sources: Any) -> None:
            pass

        def run(self) -> None:
            send_early_overrides(channel, overrides.to_json())
            send_early_request(channel, "rotate")
            if ended:
                channel.socket.shutdown(socket.SHUT_WR)
            else:
                channel.socket.setblocking(True)
                channel.socket.sendall(bytes(100))

    monkeypatch.setattr(successor_module, "Receiving", Receives)
    service.away = None
    reactor.advance(0.1)
    assert (began, service.accepted, reactor.stopped) == ([""], 1, False)
    assert service.overridden == [overrides], "what it has sent in advance"
    channel.close()


def test_messages_to_a_process_that_has_ended_are_dropped() -> None:
    channel, successor, _, reactor, _ = make()
    channel.close()
    successor.failed("the port is taken")
    assert not reactor.stopped, "its caller ends it"
    with pytest.raises(ChannelClosed):
        successor.channel.send({"failed": "again"})


def test_of_a_process_without_facts_nothing_is_inherited() -> None:
    channel, successor, _, _, _ = make()
    assert successor.inherit(2, 3) == [Inheritance()] * 2
    channel.close()
