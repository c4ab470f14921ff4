"""EpollTurn serves sockets as Twisted's reactor does, survives errors of readers, and leaves other reactors alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock

from icwsgw.reactor import epoll_turn

#: A server whose connections echo, raise, or close each other, and a client for each case; prints what happened.
SCRIPT = """
import sys
from twisted.internet import reactor, endpoints, protocol, defer
from twisted.logger import globalLogBeginner
from icwsgw.reactor import epoll_turn

errors = []
globalLogBeginner.beginLoggingTo(
    [lambda event: errors.append(event["failure"].type.__name__) if "failure" in event else None],
    redirectStandardIO=False,
)
assert epoll_turn.install(reactor)
peers = []

class Server(protocol.Protocol):
    def connectionMade(self):
        peers.append(self)
    def dataReceived(self, data):
        if data == b"raise":
            raise ValueError("a reader's fault")
        if data == b"close all":
            for peer in peers:
                peer.transport.abortConnection()
            return
        self.transport.write(data * 100000)

class Client(protocol.Protocol):
    def __init__(self):
        self.size, self.lost, self.grown = 0, defer.Deferred(), defer.Deferred()
    def dataReceived(self, data):
        self.size += len(data)
        if self.size == 500000:
            self.grown.callback(self)
    def connectionLost(self, reason):
        self.lost.callback(reason.type.__name__)

@defer.inlineCallbacks
def main():
    server = protocol.Factory.forProtocol(Server)
    port = yield endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(server)
    target = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port.getHost().port}")
    clients = []
    for _ in range(5):
        clients.append((yield endpoints.connectProtocol(target, Client())))
    for client in clients:
        client.transport.write(b"hello")
    yield defer.gatherResults([client.grown for client in clients])
    clients[0].transport.write(b"raise")
    first = yield clients[0].lost
    clients[1].transport.write(b"close all")
    others = yield defer.gatherResults([client.lost for client in clients[1:]])
    again = yield endpoints.connectProtocol(target, Client())
    again.transport.loseConnection()
    yield again.lost
    print("echoed", sum(client.size for client in clients), "errors", errors, "lost", 1 + len(others))
    reactor.stop()

main().addErrback(lambda failure: (print(failure), reactor.stop()))
reactor.run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
def test_it_serves_and_survives() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.strip() == "echoed 2500000 errors ['ValueError'] lost 5", run.stderr


#: A reactor whose clock advances by the seconds that its readers claim to take, on its own sockets.
QUEUE = """
import errno, select, socket, sys
from twisted.internet.epollreactor import EPollReactor
from icwsgw.reactor import epoll_turn
from icwsgw.server.low_priority import QUANTUM, LowPriorityQueue

class Place:
    def __init__(self, crowd, unauthenticated=True):
        self.crowd, self.unauthenticated = crowd, unauthenticated

class Reader:
    def __init__(self, name, takes=QUANTUM / 2, place=None, then=None):
        self.name, self.takes, self.then, self.lost = name, takes, then, None
        self.ours, self.peers = socket.socketpair()
        self.ours.setblocking(False)
        self.fileno = self.ours.fileno
        if place is not None:
            queue.enter(self.fileno(), place)
        reactor.addReader(self)
    def doRead(self):
        now[0] += self.takes
        served.append(self.name)
        try:
            if not self.ours.recv(100):
                raise EOFError
        except BlockingIOError:
            served.append("nothing to read")
        if self.then is not None:
            self.then()
    def connectionLost(self, reason):
        self.lost = reason.type.__name__
        reactor.removeReader(self)
        queue.leave(self.fileno())
        self.ours.close()
    def readConnectionLost(self, reason):
        self.connectionLost(reason)
    def logPrefix(self):
        return self.name
    def say(self):
        self.peers.send(b"x")
    def end(self):
        reactor.removeReader(self)
        queue.leave(self.fileno())
        self.ours.close()

now, served, queue, reactor = [100.0], [], LowPriorityQueue(), EPollReactor()
reactor.seconds = lambda: now[0]
assert epoll_turn.install(reactor, queue)

def turn():
    served.clear()
    reactor.doPoll(0)
    return list(served)

"""


def queue_script(script: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", QUEUE + script], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            """
served_last = [Reader(f"last {n}", place=Place(f"address {n}")) for n in range(5)]
client, network = Reader("client", place=Place("c", unauthenticated=False)), Reader("network")
for reader in (*served_last, client, network):
    reader.say()
first = turn()
assert set(first[:2]) == {"client", "network"} and len(first) == 4, first
client.say()
second = turn()
assert second[0] == "client" and len(second) == 3, second
third = turn()
assert len(third) == 1, third
assert sorted(first[2:] + second[1:] + third) == [f"last {n}" for n in range(5)]
assert turn() == [] and not queue.disarmed
for reader in served_last:
    reader.say()
assert len(turn()) == 2, "they are reported again"
""",
            id="unauthenticated sockets are served after all others, for a quantum",
        ),
        pytest.param(
            """
crowd = [Reader(f"crowd {n}", place=Place("crowd")) for n in range(200)]
for reader in crowd:
    reader.say()
assert len(turn()) == 2
assert 0 < queue.waiting <= epoll_turn.MOST_ADDED
one = Reader("one", place=Place("other"))
one.say()
for _ in range(6):
    if "one" in turn():
        break
else:
    raise AssertionError("it waits for the crowd")
while turn():
    pass
assert queue.waiting == 0 and not queue.disarmed
""",
            id="one address waits for a turn of another, not for its crowd",
        ),
        pytest.param(
            """
gone = [Reader(f"gone {n}", place=Place("a")) for n in range(4)]
for reader in gone:
    reader.say()
turn()
for reader in gone[2:]:
    assert queue.holds(reader), "it waits"
    reader.end()
again = Reader("again", place=Place("b"))
assert again.fileno() in (1, 2, 3, *range(4, 100))
again.say()
assert turn() == ["again"], served
assert queue.waiting == 0 and not queue.disarmed
""",
            id="one that ends while it waits is passed over, and who gets its descriptor is served",
        ),
        pytest.param(
            """
readers = [Reader(f"last {n}", place=Place("a")) for n in range(3)]
for reader in readers:
    reader.say()
turn()
paused = readers[2]
reactor.removeReader(paused)
assert turn() == []
reactor.addReader(paused)
assert turn() == ["last 2"]
""",
            id="one that is not read any more waits until it is",
        ),
        pytest.param(
            """
readers = [Reader(f"last {n}", place=Place("a")) for n in range(3)]
for reader in readers:
    reader.say()
turn()
paused = readers[2]
paused.doWrite = lambda: reactor.removeWriter(paused)
reactor.addWriter(paused)
reactor.removeReader(paused)
assert turn() == [] and turn() == [], served
reactor.addReader(paused)
assert turn() == ["last 2"]
""",
            id="one that only writes is not read",
        ),
        pytest.param(
            """
clients = [Reader(f"client {n}", place=Place("a", unauthenticated=False)) for n in range(5)]
for reader in clients:
    reader.peers.close()
assert len(turn()) == 2, served
while turn():
    pass
assert [reader.lost for reader in clients] == ["EOFError"] * 5
assert queue.waiting == 0 and not queue.disarmed
""",
            id="clients that break off together are ended a few in a turn",
        ),
        pytest.param(
            """
def fails():
    raise ValueError("a reader's fault")
from twisted.logger import globalLogBeginner
globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
wrong, right = Reader("wrong", place=Place("a"), then=fails), Reader("right", place=Place("b"))
wrong.say()
right.say()
assert sorted(turn()) == ["right", "wrong"]
assert wrong.lost == "ValueError"
right.say()
assert turn() == ["right"]
""",
            id="one that fails is lost, and no other",
        ),
    ],
)
def test_sockets_that_may_wait(script: str) -> None:
    queue_script(script)


def test_other_reactors_are_left_alone() -> None:
    assert not epoll_turn.install(Clock())
    reactor = SelectReactor()
    turn = reactor.doIteration
    assert not epoll_turn.install(reactor)
    assert reactor.doIteration == turn
