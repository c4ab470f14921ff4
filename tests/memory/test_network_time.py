"""Wrong Date headers and clocks: the gateway serves each client whose calls a replica accepts."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from icwsgw.core.close_reasons import CloseCode
from tests.memory.world import World


def date_of(world: World, ahead: float = 0.0) -> str:
    return formatdate(world.now_ns() / 1e9 + ahead, usegmt=True)


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_first_answer_with_a_wrong_date_refuses_nobody(ahead: float) -> None:
    world = World(start=False)
    left = [1]

    def headers(method: str) -> dict[str, str]:
        if method == "GET":
            return {}
        if left:
            left.pop()
            return {"Date": date_of(world, ahead)}
        return {"Date": date_of(world)}

    world.headers = headers
    world.agent.start()
    world.gateway.start()
    first, *others = world.open(5)
    assert not left
    for client in (first, *others, *world.open(1)):
        client.echoes(b"hello")
        assert client.close_code is None


def test_a_first_status_with_a_wrong_date_refuses_nobody() -> None:
    world = World(start=False)
    world.headers = lambda method: {"Date": date_of(world, 3600.0 if method == "GET" else 0.0)}
    world.agent.start()
    world.gateway.start()
    world.run(0.5)
    (client,) = world.open()
    client.echoes(b"hello")


def test_a_status_from_a_cache_refuses_nobody_for_however_long() -> None:
    world = World(start=False)
    kept = formatdate(world.now_ns() / 1e9 - 7200, usegmt=True)
    world.headers = lambda method: {"Date": kept, "Age": "7200", "Via": "1.1 cache"} if method == "GET" else {}
    world.agent.start()
    world.gateway.start()
    for _ in range(5):
        world.run(20, step=0.05)
        (client,) = world.open()
        client.echoes(b"hello")
        client.leave()
        world.agent.status()


@pytest.mark.parametrize("ahead", [600.0, -600.0, 60.0])
def test_open_clients_stay_when_all_dates_are_wrong(ahead: float) -> None:
    world = World(canister_grace=20.0)
    clients = world.open(3)
    world.headers = lambda method: {"Date": date_of(world, ahead)}
    for _ in range(10):
        world.run(20, step=0.05)
        for client in clients:
            client.echoes(b"x")
    clients += world.open(1)
    assert [client.close_code for client in clients] == [None] * 4


@pytest.mark.parametrize("ours", [600.0, -600.0, 100.0])
@pytest.mark.parametrize("dates", [True, False])
def test_a_gateway_whose_clock_is_wrong_serves_clients_whose_clocks_are_right(ours: float, dates: bool) -> None:
    world = World(start=False, canister_grace=20.0)
    wrong = lambda: world.now_ns() + int(ours * 1e9)  # noqa: E731
    world.agent.now_ns = wrong
    object.__setattr__(world.context, "now_ns", wrong)
    if dates:
        world.headers = lambda method: {"Date": date_of(world)}
    world.agent.start()
    world.gateway.start()
    clients = world.open(3)
    for client in clients:
        client.echoes(b"x")
    world.run(60, step=0.05)
    assert [client.close_code for client in clients] == [None] * 3


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("ahead", "words"), [(-600.0, "expired 360"), (600.0, "expires in 840 s, at most 330 are allowed")]
)
def test_a_client_whose_clock_is_wrong_gets_its_offset(known: bool, ahead: float, words: str) -> None:
    """The gateway's text says so if the network's time is certain, else the replica's."""
    world = World()
    if known:
        world.headers = lambda method: {"Date": date_of(world)}
    (right,) = world.open()
    right.echoes(b"x")
    client = world.client()
    client.automatic = False
    world.run(0.1)
    client.send_payload(client.open_payload(world.now_ns() + int(ahead * 1e9)))
    world.until(lambda: client.close_code is not None, 3)
    assert client.close_code == CloseCode.EXPIRED
    assert words in client.close_reason
    assert "client's clock" in client.close_reason
    assert right.close_code is None


@pytest.mark.parametrize("ahead", [5 * 365 * 86_400.0, -86_400.0, 40.0], ids=["years", "a day before", "seconds"])
def test_a_test_network_on_this_machine_may_have_its_own_time(ahead: float) -> None:
    """Such as PocketIC, whose time its owner sets, while its web server uses the machine's clock."""
    world = World(start=False, canister_grace=20.0, own_time=True)
    ours = lambda: world.now_ns() + int(ahead * 1e9)  # noqa: E731
    world.agent.now_ns = ours
    object.__setattr__(world.context, "now_ns", ours)
    world.headers = lambda method: {"Date": date_of(world, ahead)}
    world.agent.start()
    world.gateway.start()
    clients = world.open(3)
    for client in clients:
        client.echoes(b"x")
    world.run(60, step=0.05)
    clients += world.open(1)
    for client in clients:
        client.echoes(b"y")
    assert [client.close_code for client in clients] == [None] * 4
    # requests that expire 40 s early or late are not refused, so the offset cannot be known
    assert abs(world.agent.time.skew_ns + (ahead if abs(ahead) > 60 else 0.0) * 1e9) <= 2.5e9


def test_a_client_with_another_time_than_the_test_network_gets_the_reason() -> None:
    world = World(start=False, own_time=True)
    ours = lambda: world.now_ns() + 86_400 * 10**9  # noqa: E731
    world.agent.now_ns = ours
    object.__setattr__(world.context, "now_ns", ours)
    world.agent.start()
    world.gateway.start()
    (right,) = world.open()
    client = world.client()
    client.automatic = False
    world.run(0.1)
    client.send_payload(client.open_payload(ours()))
    world.until(lambda: client.close_code is not None, 3)
    assert client.close_code == CloseCode.EXPIRED
    right.echoes(b"x")
