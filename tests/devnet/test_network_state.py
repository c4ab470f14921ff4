from __future__ import annotations

import pytest

from icwsgw.devnet import network_state as module
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID, ChatCanister
from icwsgw.ic import ws
from icwsgw.ic.principal import Principal
from tests.support.devnet import Net, identity

ALICE, BOB = identity(1), identity(2)


def test_hours_of_rounds_in_milliseconds() -> None:
    net = Net()
    net.open(ALICE)
    net.open(BOB)
    nonce, sent = 2, 0
    net.advance(240)
    for _ in range(48):
        net.advance(60)
        messages = net.poll(nonce).messages
        nonce += len(messages)
        if any(message[0] == ALICE.principal.raw for message in messages):
            sent += 1
            net.send_message(ALICE, sent, ws.encode_service_message(ws.KeepAliveMessage(0)), service=True)
        net.advance(60)
        net.advance(180)
    assert sent == 48
    assert [key.principal for key in net.replica.host(ECHO_ID).ws.clients] == [ALICE.principal.raw]


def test_an_application_can_be_put_in_anothers_place() -> None:
    net = Net()
    net.open(ALICE)
    net.replica.install(ECHO_ID, ChatCanister)
    assert net.poll().messages == []
    net.open(BOB)
    assert len(net.poll().messages) == 2


def test_there_are_no_canisters_elsewhere_and_not_too_many_here(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(echo_any=True)
    assert {host.id for host in net.replica.hosts} == {ECHO_ID, CHAT_ID}
    with pytest.raises(KeyError):
        net.replica.host(ALICE.principal)
    monkeypatch.setattr(module, "MAX_CANISTERS", 2)
    with pytest.raises(KeyError):
        net.replica.host(Principal(bytes(7) + b"\5\1\1"))


def test_closing_leaves_nothing_behind() -> None:
    net = Net(call_latency=1.0)
    net.submit(net.call_request(ALICE, "ws_open", ws.encode_open_args(0, BOB.principal.raw)))
    net.replica.pushes.start([net.replica.host(ECHO_ID)], rate=1.0)
    net.advance(300)
    net.replica.close()
    assert net.clock.getDelayedCalls() == []
