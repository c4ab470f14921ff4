from __future__ import annotations

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID, app_text
from tests.support.devnet import Net, identity


def texts(net: Net) -> list[str]:
    return [app_text(content) for content in net.received() if isinstance(content, bytes)]


def opened(clients: int) -> Net:
    net = Net()
    for number in range(1, clients + 1):
        net.open(identity(number))
    return net


def test_all_at_once_in_rounds() -> None:
    net = opened(2)
    push = net.replica.pushes.start([net.replica.host(ECHO_ID)], count=2, text="n", size=5)
    assert (push.sent, push.left) == (4, 0)
    assert texts(net) == ["n0...", "n0...", "n1...", "n1..."]
    net.poll()


def test_at_a_rate() -> None:
    net = opened(2)
    push = net.replica.pushes.start([net.replica.host(ECHO_ID)], count=10, rate=10.0)
    assert push.sent == 0
    net.advance(1, 0.25)
    assert push.sent == 10
    net.advance(2, 0.25)
    assert (push.sent, push.left) == (20, 0)


def test_to_some_clients_and_past_those_that_left() -> None:
    net = opened(3)
    net.leave(identity(1))
    push = net.replica.pushes.start([net.replica.host(ECHO_ID)], clients=1, count=2, rate=1.0)
    net.leave(identity(2))
    net.advance(3, 0.5)
    assert (push.sent, push.left) == (0, 0)


def test_stopping() -> None:
    net = opened(1)
    push = net.replica.pushes.start([net.replica.host(ECHO_ID), net.replica.host(CHAT_ID)], count=10, rate=1.0)
    net.replica.pushes.stop()
    net.advance(20)
    assert push.sent == 0
