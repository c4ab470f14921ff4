"""Outages of the network that last minutes, as during a subnet's upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.errors import ConnectFailed, ConnectionLost
from tests.core.test_failure_source import FORBIDDEN, NO_HEALTHY_NODES, SUBNET_UPDATING
from tests.memory.world import World

OUTAGES: dict[str, dict[str, Any]] = {
    "no_healthy_nodes": {"kind": "http", "status": 503, "message": NO_HEALTHY_NODES},
    "subnet_updating": {"kind": "http", "status": 503, "message": SUBNET_UPDATING},
    "rate_limited": {"kind": "http", "status": 429, "message": "error: rate_limited"},
    "bad_gateway": {"kind": "http", "status": 502, "message": ""},
    "gateway_timeout": {"kind": "http", "status": 504, "message": ""},
    "forbidden": {"kind": "http", "status": 403, "message": FORBIDDEN},
    "certified_state": {"kind": "reject", "code": 2, "error_code": "IC0208", "on": "query"},
    "hang": {"kind": "hang"},
    "reset": {"kind": "reset"},
}


@pytest.mark.parametrize("outage", list(OUTAGES))
def test_an_outage_of_five_minutes_ends_no_session(outage: str) -> None:
    """The canister keeps sending acknowledgements; they arrive after the outage, and are answered in time."""
    world = World()
    clients = [*world.open(2), *world.open(1, CHAT_ID)]
    for client in clients[:2]:
        client.echoes(b"before")
    world.replica.faults.add(InjectedFault(**OUTAGES[outage]))
    world.run(300, step=0.05)
    world.replica.faults.clear()
    world.run(10)
    for client in clients[:2]:
        client.echoes(b"after")
    # the acknowledgements sent during the outage, and the keep-alives that answer them
    world.run(400, step=0.05)
    clients[0].echoes(b"later")
    assert [client.close_code for client in clients] == [None] * 3
    assert sum(world.metrics.closes.values.values()) == 0


@pytest.mark.parametrize("error", [ConnectFailed("refused"), ConnectionLost("reset")])
def test_an_unreachable_network_ends_no_session(error: Exception) -> None:
    world = World()
    (client,) = world.open()
    handler, world.transport.handler = world.transport.handler, lambda *_: (_ for _ in ()).throw(error)
    world.run(300, step=0.05)
    world.transport.handler = handler
    client.echoes(b"after")
    assert client.close_code is None


def test_messages_sent_late_in_an_outage_arrive_after_it() -> None:
    world = World()
    (client,) = world.open()
    fault = world.replica.faults.add(InjectedFault(**OUTAGES["no_healthy_nodes"]))
    world.run(100, step=0.05)
    client.send(b"meanwhile")
    world.run(150, step=0.05)
    world.replica.faults.remove(fault)
    world.until(lambda: client.received == [b"meanwhile"])


def test_an_outage_is_not_tolerated_longer_than_the_grace_period() -> None:
    world = World(network_grace=120.0)
    (client,), (other,) = world.open(), world.open(1, CHAT_ID)
    world.replica.faults.add(InjectedFault(canister=ECHO_ID, **OUTAGES["no_healthy_nodes"]))
    world.run(119, step=0.05)
    assert client.close_code is None
    world.run(10, step=0.05)
    assert client.close_code == CloseCode.CANISTER_SILENT
    assert "the network has not reached the canister for 120 s" in client.close_reason
    assert other.close_code is None


def test_a_temporarily_forbidden_call_is_resubmitted() -> None:
    world = World()
    (client,) = world.open()
    world.replica.faults.add(InjectedFault(on="call", count=4, **OUTAGES["forbidden"]))
    client.echoes(b"x")
    new = world.client()
    world.replica.faults.add(InjectedFault(on="call", count=4, **OUTAGES["forbidden"]))
    world.until(lambda: new.opened)


def test_a_call_that_stays_forbidden_is_refused_with_the_networks_reason() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(on="call", **OUTAGES["forbidden"]))
    client = world.client()
    world.until(lambda: client.close_code is not None, 30)
    assert client.close_code == CloseCode.OPEN_REFUSED
    assert "HTTP 403 error: forbidden" in client.close_reason


def test_an_invalid_signature_is_refused_without_a_retry() -> None:
    world = World()
    words = "Failed to authenticate request 0x12 due to: Invalid signature: Invalid basic signature"
    world.replica.faults.add(InjectedFault(kind="http", on="call", status=403, message=words, count=1))
    client = world.client()
    world.until(lambda: client.close_code is not None, 1)
    assert client.close_code == CloseCode.OPEN_REFUSED
    assert "Failed to authenticate" in client.close_reason
