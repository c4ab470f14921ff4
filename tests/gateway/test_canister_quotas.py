"""A canister at its quota: its clients are held, it is polled later, nothing is lost, and neighbours do not notice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icwsgw.config.quotas import CANISTER_QUOTAS, Quota
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.keepalive_deadline import AFTER_WAIT_SECONDS, KEEP_ALIVE_SECONDS
from icwsgw.gateway.canister_quotas import HeldClients, default_quota
from icwsgw.gateway.introspection import canister_rows, merge_quotas
from icwsgw.ic import cbor
from icwsgw.ic.ws import encode_batch
from tests.gateway.test_gateway import OTHER, World
from tests.gateway.test_inbound_messages import acknowledgement
from tests.gateway.test_session import Connection
from tests.support.fake_network import CANISTER, NOW_NS, REPLIED_OK
from tests.support.sdk_client import SdkClient

INTERVAL = 0.1


class Tenants(World):
    """A gateway with clients of two canisters; only CANISTER has a quota of its own."""

    def __init__(self, quota: str = "", **options: Any) -> None:
        if quota:
            options["canister_quotas"] = CANISTER_QUOTAS.parse(f"{CANISTER.text}:{quota}")
        super().__init__(**options)

    def client(self, canister: Any = CANISTER) -> Client:
        client = Client(self, canister)
        self.network.calls[-1].answer(REPLIED_OK)
        client.session.deliver([b"open"])
        return client

    def change(self, **options: Any) -> None:
        config = replace(self.context.config, **options)
        self.context.change(config)
        self.gateway.serve(config)

    def row(self, canister: Any = CANISTER) -> Any:
        (row,), _ = canister_rows(self.gateway, 1, canister)
        return row["quota"]


class Strict(Connection):
    """A connection that is paused and resumed in turns."""

    def pause(self) -> None:
        assert self.reading, "paused twice"
        super().pause()

    def resume(self) -> None:
        assert not self.reading, "resumed twice"
        super().resume()


class Client:
    def __init__(self, world: Tenants, canister: Any) -> None:
        self.world = world
        self.connection = Strict()
        self.session = world.gateway.connect(self.connection)
        self.sdk = SdkClient(canister)
        self.sdk.gateway = world.context.identities[self.session.identity_index].principal
        self.session.received(self.sdk.open_payload(NOW_NS), True)

    @property
    def key(self) -> tuple[bytes, int]:
        return self.sdk.identity.principal.raw, self.sdk.client_nonce

    def send(self) -> None:
        """Send a message if the socket is read; its call is executed at once."""
        if not self.connection.reading:
            return
        self.session.received(self.sdk.message_payload(b"DIDL\0\0", NOW_NS), True)
        call = self.world.network.calls[-1]
        if not call.deferred.called:
            call.answer(REPLIED_OK)


def test_a_canister_may_have_more_clients_than_others_and_fewer() -> None:
    world = Tenants("max-connections=3", max_connections_per_canister=1)
    for _ in range(3):
        assert world.connect()[0].closed == []
    ((code, reason),) = world.connect()[0].closed
    assert (code, "has as many clients here as it may" in reason) == (CloseCode.OVERLOADED, True)
    assert world.row()["reached"] == ["connections"]
    assert world.connect(OTHER)[0].closed == []
    assert world.connect(OTHER)[0].closed[0][0] == CloseCode.OVERLOADED


def test_no_limit_may_be_an_exception() -> None:
    world = Tenants("max-connections=0", max_connections_per_canister=1)
    assert [world.connect()[0].closed for _ in range(5)] == [[]] * 5
    assert world.row() is None


def test_clients_beyond_the_quota_are_held_and_take_turns_and_neighbours_are_not() -> None:
    world = Tenants("message-rate=10")
    noisy, quiet, neighbour = world.client(), world.client(), world.client(OTHER)
    for _ in range(21):
        noisy.send()
        neighbour.send()
    assert (noisy.connection.reading, quiet.connection.reading, neighbour.connection.reading) == (False, True, True)
    assert world.context.metrics.pushbacks.values["canister_messages"] == 1
    quiet.send()
    assert not quiet.connection.reading
    row = world.row()
    assert (row["message_rate"], row["reached"], row["clients_held"]) == (10, ["messages up"], 2)
    assert world.row(OTHER) is None
    world.clock.advance(0.29)
    assert not noisy.connection.reading
    world.clock.advance(0.06)
    assert (noisy.connection.reading, quiet.connection.reading) == (True, False)
    world.clock.advance(0.1)
    assert quiet.connection.reading
    assert (noisy.connection.closed, quiet.connection.closed) == ([], [])


def test_the_quota_holds_over_time_and_both_clients_get_half() -> None:
    world = Tenants("message-rate=10")
    clients = [world.client(), world.client()]
    for _ in range(400):
        world.clock.advance(0.05)
        for client in clients:
            client.send()
    sent = [client.session.messages_up - 1 for client in clients]
    assert 200 <= sum(sent) <= 20 + 200 + 2
    assert abs(sent[0] - sent[1]) <= 2


def test_bytes_are_limited_as_messages_are() -> None:
    world = Tenants("byte-rate=1k")
    client = world.client()
    for _ in range(10):
        client.send()
    assert not client.connection.reading
    assert world.context.metrics.pushbacks.values["canister_bytes"] == 1
    world.clock.advance(5)
    assert client.connection.reading


def test_a_client_with_a_full_relay_queue_is_read_when_both_allow_it() -> None:
    world = Tenants("message-rate=10", relay_queue_messages=5)
    client = world.client()
    for _ in range(30):
        client.session.received(client.sdk.message_payload(b"DIDL\0\0", NOW_NS), True)
    assert not client.connection.reading
    world.clock.advance(3)
    # its turn has come, and its queue is full
    assert world.row()["clients_held"] == 0
    assert not client.connection.reading
    for number in range(len(world.network.calls) - 1, len(world.network.calls) + 40):
        if number < len(world.network.calls):
            world.network.calls[number].answer(REPLIED_OK)
    assert client.connection.reading
    # the other way around
    for _ in range(30):
        client.send()
    assert not client.connection.reading
    client.session.relay_drained()
    assert not client.connection.reading
    world.clock.advance(3)
    assert client.connection.reading


def test_a_held_client_that_leaves_is_forgotten() -> None:
    world = Tenants("message-rate=1")
    leaving, staying = world.client(), world.client()
    for _ in range(3):
        leaving.send()
        staying.send()
    assert world.row()["clients_held"] == 2
    leaving.session.left(1000)
    assert world.row()["clients_held"] == 1
    staying.session.left(1000)
    assert (world.gateway.registry.quotas.held, world.gateway.registry.quotas.exceeded) == (0, 0)
    world.clock.advance(10)
    assert leaving.connection.reading is False


def test_a_held_client_whose_keep_alive_comes_too_late_gets_the_reason() -> None:
    world = Tenants("message-rate=1")
    client = world.client()
    for _ in range(3):
        client.send()
    stream = client.session.stream
    assert stream is not None
    assert stream.behind
    assert "more than its quota" in stream.why_late()


def held_once(after: float, **options: Any) -> tuple[Tenants, Client]:
    """A client whose hold has ended ``after`` seconds ago."""
    world = Tenants("message-rate=1", **options)
    client = world.client()
    for _ in range(3):
        client.send()
    assert not client.connection.reading
    while not client.connection.reading:
        world.clock.advance(0.1)
    world.clock.advance(after)
    return world, client


def send_expired(client: Client) -> tuple[int, str]:
    """Send an envelope that has expired; returns the close code and reason."""
    client.session.received(client.sdk.message_payload(b"DIDL\0\0", NOW_NS - 400 * 10**9), True)
    ((code, reason),) = client.connection.closed
    return code, reason


def test_what_arrives_right_after_a_hold_has_waited_for_it() -> None:
    _, client = held_once(AFTER_WAIT_SECONDS - 1)
    code, reason = send_expired(client)
    assert code == CloseCode.TOO_FAST
    assert "more than its quota" in reason


def test_a_hold_that_ended_long_ago_excuses_no_wrong_clock() -> None:
    _, client = held_once(AFTER_WAIT_SECONDS + 1)
    code, reason = send_expired(client)
    assert code == CloseCode.EXPIRED
    assert "quota" not in reason


def test_a_quota_that_a_reload_removes_holds_nobody_later() -> None:
    world = Tenants("message-rate=1")
    client = world.client()
    for _ in range(3):
        client.send()
    world.change(canister_quotas=())
    assert client.connection.reading
    world.clock.advance(AFTER_WAIT_SECONDS + 1)
    assert send_expired(client)[0] == CloseCode.EXPIRED


@pytest.mark.parametrize(("after", "closed"), [(AFTER_WAIT_SECONDS + 1, []), (1.0, [CloseCode.TOO_FAST])])
def test_a_keep_alive_is_late_because_of_a_hold_only_if_it_had_not_ended(after: float, closed: list[int]) -> None:
    world, client = held_once(after)
    client.session.deliver([acknowledgement(client.sdk)])
    world.clock.advance(KEEP_ALIVE_SECONDS)
    assert [code for code, _ in client.connection.closed] == closed
    assert all("quota" in reason for _, reason in client.connection.closed)


def test_a_hold_during_a_keep_alive_that_is_owed_counts_to_its_end() -> None:
    world, client = held_once(1.0)
    client.session.deliver([acknowledgement(client.sdk)])
    world.clock.advance(2 * AFTER_WAIT_SECONDS)
    client.session.deliver([acknowledgement(client.sdk)])
    world.clock.advance(KEEP_ALIVE_SECONDS)
    assert [code for code, _ in client.connection.closed] == [CloseCode.TOO_FAST]


def test_a_client_that_is_held_stays_watched_until_a_while_after_its_hold() -> None:
    world = Tenants("message-rate=1", relay_queue_time=60.0)
    client = world.client()
    stream = client.session.stream
    assert stream is not None

    def send_at_once(count: int) -> None:
        for _ in range(count):
            client.session.received(client.sdk.message_payload(b"DIDL\0\0", NOW_NS), True)
        assert not client.connection.reading

    def wait_for_the_end_of_the_hold() -> None:
        while not client.connection.reading:
            world.clock.advance(0.1)

    send_at_once(12)
    for _ in range(8):
        world.clock.advance(1.0)
        world.network.calls[-1].answer(REPLIED_OK)
        assert not client.connection.reading
        assert stream.watch is not None
    wait_for_the_end_of_the_hold()
    world.clock.advance(AFTER_WAIT_SECONDS - 2.0)
    send_at_once(8)
    wait_for_the_end_of_the_hold()
    assert stream.watch is not None
    world.clock.advance(AFTER_WAIT_SECONDS + 0.1)
    world.network.calls[-1].answer(REPLIED_OK)
    assert stream.watch is None


@pytest.mark.parametrize("quota", ["", "message-rate=0"])
def test_a_quota_that_ends_lets_all_clients_go_and_one_may_begin(quota: str) -> None:
    world = Tenants()
    client = world.client()
    for _ in range(100):
        client.send()
    assert client.connection.reading
    world.change(message_rate_per_canister=1)
    for _ in range(3):
        client.send()
    assert not client.connection.reading
    if quota:
        world.change(canister_quotas=CANISTER_QUOTAS.parse(f"{CANISTER.text}:{quota}"))
    else:
        world.change(message_rate_per_canister=0)
    assert client.connection.reading
    assert world.gateway.registry.pollers[CANISTER.raw, 0].held_clients is None


def test_a_higher_quota_is_paid_off_sooner() -> None:
    world = Tenants("message-rate=1")
    client = world.client()
    for _ in range(3):
        client.send()
    world.change(canister_quotas=CANISTER_QUOTAS.parse(f"{CANISTER.text}:message-rate=100"))
    world.clock.advance(0.06)
    assert client.connection.reading


def test_polls_are_as_rare_as_the_quota_says_and_a_canisters_pollers_share_it() -> None:
    for identities in (1, 2):
        world = Tenants("poll-rate=4", identities=identities)
        clients = [world.client() for _ in range(identities)]
        world.client(OTHER)
        polls = {CANISTER: 0, OTHER: 0}
        begun = len(world.network.queries)
        for _ in range(200):
            world.clock.advance(INTERVAL / 2)
            for query in world.network.queries[begun:]:
                polls[query.canister] += 1
                query.answer(encode_batch([], b"", b"", True))
            begun = len(world.network.queries)
        assert 36 <= polls[CANISTER] <= 44
        assert polls[OTHER] >= 95
        assert world.context.metrics.polls_over_quota.values["polls"] > 0
        assert len({client.session.identity_index for client in clients}) == identities


def test_the_defaults_are_options() -> None:
    assert default_quota(GatewayConfig()) == Quota()
    config = GatewayConfig(message_rate_per_canister=2, poll_rate_per_canister=6)
    assert default_quota(config) == Quota(message_rate=2, poll_rate=6)


class Queue:
    """A canister's queue of messages, which pages of fifty are read from."""

    def __init__(self, world: Tenants, client: Client, count: int) -> None:
        self.world, self.key, self.count = world, client.key, count
        self.answered = len(world.network.queries)
        self.polls = 0

    def answer(self) -> None:
        for query in self.world.network.queries[self.answered :]:
            if query.canister == CANISTER and not query.cancelled:
                first = query.nonce
                self.polls += 1
                page = [
                    (*self.key, b"gw_%020d" % nonce, cbor.dumps({"timestamp": 1000 + nonce, "content": b"m"}))
                    for nonce in range(first, min(self.count, first + 50))
                ]
                query.answer(encode_batch(page, b"cert", b"tree", first + 50 >= self.count))
        self.answered = len(self.world.network.queries)


@pytest.mark.parametrize("quota", ["delivery-rate=20", "delivery-byte-rate=1k"])
def test_messages_beyond_the_quota_stay_with_the_canister_and_come_later(quota: str) -> None:
    world = Tenants(quota)
    client = world.client()
    queue = Queue(world, client, 400)
    counts: list[int] = []
    polls = 0
    for _ in range(1000):
        world.clock.advance(INTERVAL / 2)
        queue.answer()
        counts.append(len(client.connection.frames) - 2)
        if counts[-1] < 400:
            polls = queue.polls
    # the burst of two seconds, and then the rate
    if quota.startswith("delivery-rate"):
        assert 40 <= counts[20] <= 40 + 21
        assert 40 + 19 * 10 <= counts[220] <= 40 + 20 * 11
        assert world.context.metrics.polls_over_quota.values["messages"] > 0
    else:
        size = len(client.connection.frames[-1])
        assert counts[200] <= (2048 + 1024 * 10) // size + 50
        assert world.context.metrics.polls_over_quota.values["bytes"] > 0
    assert counts[-1] == 400
    # a poll for half a second's messages, not one for each tick
    assert polls <= 3 * 20
    assert client.connection.closed == []


def test_a_used_up_delivery_quota_is_reported() -> None:
    world = Tenants("delivery-rate=2:poll-rate=50")
    client = world.client()
    queue = Queue(world, client, 100)
    for _ in range(4):
        world.clock.advance(INTERVAL)
        queue.answer()
    assert world.row()["reached"] == ["messages down"]
    assert world.gateway.registry.quotas.exceeded == 1


def test_a_quota_that_has_ended_excuses_no_silence() -> None:
    world = Tenants("delivery-rate=1")
    world.client()
    (poller,) = world.gateway.registry.pollers.values()
    poller.poll_budget.delivered(5, 0)
    assert poller.held(world.clock.seconds())
    world.change(canister_quotas=())
    excused, poller.backoff.last_good = poller.backoff.excused, world.clock.seconds()
    world.clock.pump([10.0] * 10)
    world.change(canister_quotas=CANISTER_QUOTAS.parse(f"{CANISTER.text}:delivery-rate=1"))
    poller.held(world.clock.seconds())
    assert poller.backoff.excused == excused


def test_quotas_of_processes_are_added() -> None:
    one = {"poll_rate": 2, "reached": ["polls"], "clients_held": 1}
    other = {"poll_rate": 3, "reached": ["messages up", "polls"], "clients_held": 2}
    assert merge_quotas(one, other) == {"poll_rate": 5, "reached": ["polls", "messages up"], "clients_held": 3}
    assert (merge_quotas(None, one), merge_quotas(one, None), merge_quotas(None, None)) == (one, one, None)


def test_a_stopped_gateway_has_no_timers() -> None:
    world = Tenants("message-rate=1")
    client = world.client()
    for _ in range(3):
        client.send()
    assert isinstance(world.gateway.registry.pollers[CANISTER.raw, 0].held_clients, HeldClients)
    world.gateway.stop()
    assert all(call.func.__name__ != "_let_go" for call in world.clock.getDelayedCalls())
