"""Wrong Date headers and clocks: the gateway serves each client whose calls a replica accepts."""

from __future__ import annotations

import secrets
from email.utils import formatdate
from typing import Any

import pytest

from icwsgw.agent.network_time_observer import CHECK_INTERVAL
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.network_time import MANY_WITNESSES, WITNESSES
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.ic import cbor
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.fields import ENVELOPE, loads_known
from tests.memory.world import MemoryClient, World

LIE = "ingress_expiry not within expected range Minimum allowed expiry: 2033-01-01 00:00:00Z"
PLAIN = {"content-type": "text/plain"}


def date_of(world: World, ahead: float = 0.0) -> str:
    return formatdate(world.now_ns() / 1e9 + ahead, usegmt=True)


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_first_answer_with_a_wrong_date_refuses_no_client(ahead: float) -> None:
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


def test_a_first_status_with_a_wrong_date_refuses_no_client() -> None:
    world = World(start=False)
    world.headers = lambda method: {"Date": date_of(world, 3600.0 if method == "GET" else 0.0)}
    world.agent.start()
    world.gateway.start()
    world.run(0.5)
    (client,) = world.open()
    client.echoes(b"hello")


def test_a_status_from_a_cache_refuses_no_client_for_however_long() -> None:
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


class QuotedClient(MemoryClient):
    """A client whose calls contain a text where replicas expect a record; they quote it in their refusal."""

    def envelope(self, method: str, arg: bytes, now_ns: int, ttl: float = 240.0) -> bytes:
        content = call_content(
            self.identity.principal, self.canister, method, arg, now_ns + int(ttl * 1e9), secrets.token_bytes(16)
        )
        content["sender_info"] = LIE
        body = sign_request(self.identity, content).body
        return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body.removeprefix(cbor.SELF_DESCRIBE)


class LyingWorld(World):
    """A network with answers that contain a client's text, or the lie of a boundary node.

    :ivar lies: the number of polls that are still to be refused with a wrong time
    :ivar quoted: the number of refusals that contained a client's text
    :ivar reads: the number of read_state requests
    :ivar no_reads: whether these fail
    """

    def __init__(self, **options: Any) -> None:
        self.lies = self.quoted = self.reads = 0
        self.no_reads = False
        super().__init__(**options)

    def _handle(self, method: str, path: str, body: bytes) -> Any:
        if path.endswith("/call"):
            info = loads_known(body, ENVELOPE)["content"].get("sender_info")
            if isinstance(info, str):
                self.quoted += 1
                text = f'invalid type: string "{info}", expected struct RawSignedSenderInfo'
                return 400, PLAIN, f"Could not parse body as call message: Invalid CBOR encoding: {text}".encode()
        if path.endswith("/query") and self.lies:
            self.lies -= 1
            return 400, PLAIN, f"Invalid request expiry: Specified {LIE}".encode()
        if path.endswith("/read_state"):
            self.reads += 1
            if self.no_reads:
                return 503, {}, b""
        return super()._handle(method, path, body)

    @property
    def skew(self) -> float:
        return self.agent.time.skew_ns / 1e9


@pytest.mark.parametrize("used", [False, True])
def test_text_of_clients_that_a_replica_quotes_is_no_evidence(used: bool) -> None:
    world = LyingWorld()
    if used:
        (client,) = world.open()
        client.echoes(b"x")
        client.leave()
        world.run(120, step=0.05)
    liars = [QuotedClient(world, ECHO_ID, None, False).connect() for _ in range(MANY_WITNESSES + 1)]
    world.until(lambda: all(liar.close_code is not None for liar in liars))
    assert world.quoted >= len(liars)
    assert world.skew == 0
    assert not world.agent.time.eager
    world.run(30, step=0.05)
    (client,) = world.open()
    client.echoes(b"hello")
    assert world.reads == 0


@pytest.mark.parametrize("used", [False, True])
def test_a_time_made_up_by_a_boundary_node_counts_until_the_certified_time_comes(used: bool) -> None:
    world = LyingWorld(canister_grace=20.0)
    clients = world.open(3)
    if used:
        for client in clients:
            client.echoes(b"x")
        world.run(30, step=0.05)
    world.lies = MANY_WITNESSES
    skews = []
    for _ in range(20):
        for client in clients:
            client.send(b"y")
        world.run(0.25)
        skews.append(world.skew)
    assert world.lies == 0
    assert world.reads >= 1
    assert skews[-1] == 0
    world.run(20, step=0.05)
    clients += world.open(1)
    for client in clients:
        client.echoes(b"hello")
    assert [client.close_code for client in clients] == [None] * 4


def lied_to() -> LyingWorld:
    """A world without clients, whose gateway signs by a wrong time and cannot read the certified one."""
    world = LyingWorld()
    world.no_reads = True
    (client,) = world.open()
    world.lies = MANY_WITNESSES
    world.until(lambda: world.skew > 1e8, 60)
    client.leave()
    return world


def test_a_made_up_time_refuses_no_client_while_the_certified_one_cannot_be_read() -> None:
    world = lied_to()
    assert world.agent.time.unconfirmed
    (client,) = world.open()
    client.echoes(b"hello")
    assert client.close_code is None


def test_an_idle_gateway_corrects_a_made_up_time() -> None:
    world = lied_to()
    world.run(200, step=0.05)
    assert not world.gateway.registry.pollers
    before = world.reads
    world.run(5 * CHECK_INTERVAL, step=0.05)
    assert 4 <= world.reads - before <= 6, "the pauses have grown"
    assert world.skew > 1e8
    world.no_reads = False
    world.run(CHECK_INTERVAL + 1, step=0.05)
    assert world.skew == 0
    assert not world.agent.time.unconfirmed
    done = world.reads
    world.run(300, step=0.05)
    assert world.reads == done, "a right clock is not checked"


@pytest.mark.parametrize("ours", [600.0, -600.0])
def test_a_wrong_clock_is_confirmed_once_and_checked_while_the_gateway_is_idle(ours: float) -> None:
    world = LyingWorld(start=False)
    world.agent.now_ns = lambda: world.now_ns() + int(ours * 1e9)
    object.__setattr__(world.context, "now_ns", world.agent.now_ns)
    world.agent.start()
    world.gateway.start()
    (client,) = world.open()
    client.echoes(b"x")
    world.until(lambda: not world.agent.time.unconfirmed, 2)
    assert world.skew == pytest.approx(-ours, abs=2)
    assert 1 <= world.reads <= WITNESSES
    client.leave()
    world.run(30, step=0.05)
    before = world.reads
    world.run(5 * CHECK_INTERVAL, step=0.05)
    assert 4 <= world.reads - before <= 6
    assert world.skew == pytest.approx(-ours, abs=2)
    world.agent.stop()
    before = world.reads
    world.run(2 * CHECK_INTERVAL, step=0.05)
    assert world.reads == before
