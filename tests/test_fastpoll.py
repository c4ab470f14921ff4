"""The leaner turn serves sockets as Twisted's does, survives what readers do, and leaves other reactors alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock

from icwsgw import fastpoll

#: A server whose connections echo, raise, or close each other, and a client for each case; prints what happened.
SCRIPT = """
import sys
from twisted.internet import reactor, endpoints, protocol, defer
from twisted.logger import globalLogBeginner
from icwsgw import fastpoll

errors = []
globalLogBeginner.beginLoggingTo(
    [lambda event: errors.append(event["failure"].type.__name__) if "failure" in event else None],
    redirectStandardIO=False,
)
assert fastpoll.install(reactor)
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


def test_other_reactors_are_left_alone() -> None:
    assert not fastpoll.install(Clock())
    reactor = SelectReactor()
    turn = reactor.doIteration
    assert not fastpoll.install(reactor)
    assert reactor.doIteration == turn
