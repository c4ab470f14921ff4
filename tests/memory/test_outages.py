"""Outages of the network that last minutes, as during a subnet's upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.config.quotas import CANISTER_QUOTAS
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
    world.run(400, step=0.5)
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


def traps(count: int | None = None) -> InjectedFault:
    return InjectedFault("reject", on="query", canister=ECHO_ID, code=5, message="trap", count=count)


def test_a_trap_after_a_wait_for_the_quota_ends_no_session() -> None:
    """A large message uses up the quota for longer than the grace period; then the first polls fail."""
    quotas = CANISTER_QUOTAS.parse(f"{ECHO_ID.text}:delivery-byte-rate=20000")
    world = World(canister_quotas=quotas, canister_grace=5.0)
    clients = world.open(2)
    clients[0].send(bytes(250_000))
    world.until(lambda: bool(clients[0].received))
    polls = sum(world.metrics.queries.values.values())
    trap = world.replica.faults.add(traps(2))
    world.run(8, 0.05)
    assert sum(world.metrics.queries.values.values()) == polls, "it has waited"
    world.until(lambda: trap.hits == 2, 10)
    world.run(1)
    assert [client.close_code for client in clients] == [None, None]
    clients[1].echoes(b"x")
    world.replica.faults.add(traps())
    world.run(4.5)
    assert clients[1].close_code is None
    world.run(1.5)
    assert clients[1].close_code == CloseCode.CANISTER_SILENT


def test_a_trap_of_a_canister_whose_quota_allows_few_polls_ends_no_session() -> None:
    """The pollers of three identities share one poll a second, so each polls more rarely than the grace period says."""
    quotas = CANISTER_QUOTAS.parse(f"{ECHO_ID.text}:poll-rate=1")
    world = World(identities=3, clients_per_identity=1, canister_quotas=quotas, canister_grace=2.0)
    clients = [world.client() for _ in range(3)]
    world.until(lambda: all(client.opened for client in clients), 30, 0.05)
    trap = world.replica.faults.add(traps(1))
    world.run(12, 0.05)
    assert trap.hits == 1
    assert [client.close_code for client in clients] == [None, None, None]
    world.replica.faults.add(traps())
    world.run(20, 0.05)
    assert [client.close_code for client in clients] == [CloseCode.CANISTER_SILENT] * 3
    assert clients[0].close_reason.startswith("the canister gave no valid answer for 9 s")
