"""Complete sessions, from the handshake to ws_close, against the devnet's CDK in memory."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.suspect_addresses import FORGED
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.ic import cbor
from icwsgw.ic.envelope import anonymous_request, call_content
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.ws import encode_open_args
from tests.memory.world import CHAT_ID, ECHO_ID, World


def test_a_client_opens_exchanges_messages_and_leaves() -> None:
    world = World()
    (client,) = world.open()
    for number in range(3):
        client.send(b"message %d" % number)
    world.until(lambda: len(client.received) == 3)
    assert client.received == [b"message 0", b"message 1", b"message 2"]
    client.leave()
    world.run(1)
    assert client.close_code is None
    assert world.replica.stats["ws_close"] == 1
    world.check_idle()


def test_bursts_of_many_clients_arrive_once_and_in_order_both_ways() -> None:
    world = World(call_latency=0.05, query_latency=0.02, verify=True)
    clients = world.open(20)
    for client in clients:
        for number in range(30):
            client.send(b"%d" % number)
    world.until(lambda: all(len(client.received) == 30 for client in clients), 60)
    for client in clients:
        assert client.received == [b"%d" % number for number in range(30)]
        client.leave()
    world.run(3)
    assert world.replica.stats["ws_close"] == 20
    world.check_idle()


@pytest.mark.parametrize("order", ["accepted", "executed"])
def test_a_client_that_sends_faster_than_its_calls_gets_backpressure(order: str) -> None:
    world = World(call_latency=0.02, relay_order=order, relay_queue_messages=10)
    (client,) = world.open()
    for number in range(40):
        client.send(b"%d" % number)
    assert client.paused
    world.until(lambda: len(client.received) == 40, 60)
    assert client.received == [b"%d" % number for number in range(40)]
    assert not client.paused


def test_what_a_client_sent_before_it_left_still_arrives_and_ws_close_comes_last() -> None:
    world = World(call_latency=0.05)
    sender, listener = world.open(2, CHAT_ID)
    before = len(listener.received)
    for number in range(5):
        sender.send(cbor_free_text(f"last words {number}"))
    sender.leave()
    world.until(lambda: world.replica.stats["ws_close"] == 1, 20)
    world.run(1)
    received = b"".join(listener.received[before:])
    assert [received.count(b"last words %d" % number) for number in range(5)] == [1] * 5


def cbor_free_text(text: str) -> bytes:
    from icwsgw.devnet.canisters import app_message

    return app_message(text)


def test_messages_sent_before_the_session_is_open_are_held_in_order() -> None:
    world = World(call_latency=0.2)
    client = world.client()
    world.run(0.02)
    for number in range(5):
        client.send(b"early %d" % number)
    assert not client.opened
    world.until(lambda: len(client.received) == 5, 20)
    assert client.received == [b"early %d" % number for number in range(5)]


def test_leaving_before_the_first_envelope_leaves_no_state() -> None:
    world = World()
    client = world.client()
    client.automatic = False
    client.leave(1006)
    world.run(1)
    assert world.replica.stats["ws_open"] == world.replica.stats["ws_close"] == 0
    world.check_idle()


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3])
def test_leaving_at_any_moment_after_ws_open_sends_ws_close(moment: float) -> None:
    world = World(call_latency=0.1, query_latency=0.05)
    client = world.client()
    world.until(lambda: world.gateway.registry.pollers)
    if moment:
        world.run(moment)
    client.leave(1006)
    world.run(3)
    assert world.replica.stats["ws_open"] == 1
    assert world.replica.stats["ws_close"] == 1
    assert not world.replica.host(ECHO_ID).ws.clients
    world.check_idle()


def test_a_second_connection_of_the_same_principal_closes_the_older() -> None:
    world = World()
    identity = Ed25519Identity(b"\x11" * 32)
    older = world.client(identity=identity)
    world.until(lambda: older.opened)
    newer = world.client(identity=identity)
    world.until(lambda: newer.opened)
    world.run(1)
    assert older.close_code == CloseCode.REPLACED
    assert newer.close_code is None
    newer.echoes(b"still here")


def test_a_forged_ws_open_ends_no_session() -> None:
    world = World()
    victim_identity = Ed25519Identity(b"\x12" * 32)
    victim = world.client(identity=victim_identity)
    world.until(lambda: victim.opened)
    forger = world.client()
    forger.automatic = False
    world.run(0.1)
    forger.identity = victim_identity
    payload = forger.open_payload(world.now_ns())
    signature = cbor.loads(payload)["envelope"]["sender_sig"]
    forger.send_payload(payload.replace(signature, bytes(64)))
    world.run(1)
    assert forger.close_code == CloseCode.OPEN_REFUSED
    assert victim.close_code is None
    victim.echoes(b"unharmed")


def test_polling_starts_with_the_first_client_and_ends_with_the_last() -> None:
    world = World()
    world.run(1)
    assert world.replica.stats["query"] == 0
    first, second = world.open(2)
    first.leave()
    world.run(1)
    assert world.gateway.registry.pollers
    second.leave()
    world.run(1)
    before = world.replica.stats["query"]
    world.run(5)
    assert world.replica.stats["query"] == before


def test_a_later_client_resumes_where_polling_ended() -> None:
    world = World()
    (first,) = world.open()
    for _ in range(120):
        first.send(b"x")
    world.until(lambda: len(first.received) == 120, 60)
    first.leave()
    world.run(2)
    before = world.metrics.unroutable_messages.value
    (second,) = world.open()
    assert world.metrics.unroutable_messages.value == before
    second.echoes(b"y")


def test_acknowledgement_rounds_of_an_hour_end_no_session() -> None:
    world = World(polling_interval=4.0)
    clients = world.open(3)
    world.run(3700, step=0.25)
    assert [client.acks for client in clients] == [12, 12, 12]
    assert all(client.close_code is None and client.closed_by_canister is None for client in clients)
    clients[0].send(b"after an hour")
    world.until(lambda: clients[0].received == [b"after an hour"])


def test_a_silent_client_is_removed_by_the_canister_and_gets_the_reason() -> None:
    world = World(settings=CdkSettings(ack_interval_ms=10_000, keep_alive_timeout_ms=2_000))
    (client,) = world.open()
    client.message_payload = lambda *args, **keywords: b"\xd9\xd9\xf7\xa0"
    world.run(14)
    # its keep-alive is not an envelope, which ends the session, and the canister gets ws_close
    assert client.close_code == CloseCode.UNDECODABLE
    world.check_idle()


REFUSED = [
    ("text", CloseCode.NOT_BINARY),
    ("garbage", CloseCode.UNDECODABLE),
    ("not an envelope", CloseCode.UNDECODABLE),
    ("wrong gateway", CloseCode.WRONG_GATEWAY),
    ("expired", CloseCode.EXPIRED),
    ("too far ahead", CloseCode.EXPIRED),
    ("anonymous", CloseCode.OPEN_REFUSED),
    ("ws_message first", CloseCode.PROTOCOL_ERROR),
    ("bad signature", CloseCode.OPEN_REFUSED),
    ("bad argument", CloseCode.UNDECODABLE),
]


@pytest.mark.parametrize(("fault", "code"), REFUSED)
def test_a_clients_fault_ends_only_its_session_with_the_reason(fault: str, code: CloseCode) -> None:
    world = World()
    (neighbour,) = world.open()
    client = world.client()
    client.automatic = False
    world.run(0.05)
    now = world.now_ns()
    payload = client.open_payload(now)
    if fault == "text":
        client.send_payload(b"hello", is_binary=False)
    elif fault == "garbage":
        client.send_payload(b"\xff\x00\x13")
    elif fault == "not an envelope":
        client.send_payload(cbor.dumps({"hello": 1}))
    elif fault == "wrong gateway":
        client.send_payload(client.open_payload(now, gateway=Principal(b"\x01" * 29)))
    elif fault == "expired":
        client.send_payload(client.open_payload(now, ttl=-12))
    elif fault == "too far ahead":
        client.send_payload(client.open_payload(now, ttl=1000))
    elif fault == "anonymous":
        arg = encode_open_args(client.client_nonce, client.gateway.raw)
        content = call_content(ANONYMOUS, ECHO_ID, "ws_open", arg, now + 10**11)
        body = anonymous_request(content).body
        client.send_payload(cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body)
    elif fault == "ws_message first":
        client.send_payload(client.message_payload(b"x", now))
    elif fault == "bad signature":
        client.send_payload(payload.replace(cbor.loads(payload)["envelope"]["sender_sig"], bytes(64)))
    elif fault == "bad argument":
        client.send_payload(client.envelope("ws_open", b"DIDL\x00\x00", now))
    world.run(1)
    assert client.close_code == code
    assert client.session is not None
    assert client.close_reason.endswith(f"[{client.session.id}]")
    assert neighbour.close_code is None
    neighbour.echoes(b"fine")


def test_a_client_that_never_sends_ws_open_is_closed_in_time() -> None:
    world = World()
    client = world.client()
    client.automatic = False
    world.run(1)
    assert client.session is not None
    assert not client.session.overdue(world.clock.seconds())
    world.run(30)
    assert client.session.overdue(world.clock.seconds())
    assert client.close_code == CloseCode.NOT_OPENED


def test_connecting_and_disconnecting_leaks_nothing() -> None:
    # objects that other tests have left are ignored; they are kept alive so that no new object reuses their address
    gc.collect()
    others = gc.get_objects()
    known = set(map(id, others))
    world = World()

    def connect_and_leave(rounds: int) -> tuple[Counter[str], int, int]:
        """Connect and disconnect this many clients; returns the counts of gateway objects, timers and series."""
        for number in range(rounds):
            (client,) = world.open(1, (ECHO_ID, CHAT_ID)[number % 2])
            if number % 3 == 0:
                client.send_payload(b"garbage")
            else:
                client.send(b"x")
                world.run(0.02)
                client.leave()
            world.until(lambda: not world.gateway.registry.ending and not world.gateway.registry.sessions)
        del client
        world.run(1)
        world.check_idle()
        gc.collect()
        kinds = Counter(
            type(each).__qualname__
            for each in gc.get_objects()
            if id(each) not in known
            and str(type(each).__module__).startswith(("icwsgw.gateway", "icwsgw.core", "icwsgw.agent"))
        )
        # ended sessions are kept for ten minutes, up to a maximum number
        assert kinds.pop("EndRecord") == len(world.context.ended_sessions)
        series = sum(len(family.samples) for family in world.metrics.registry.collect())
        return kinds, len(world.clock.getDelayedCalls()), series

    first = connect_and_leave(12)
    assert connect_and_leave(60) == first


def test_draining_closes_all_clients_and_sends_each_ws_close() -> None:
    world = World()
    clients = [*world.open(30), *world.open(20, CHAT_ID)]
    newcomer = world.client()
    newcomer.automatic = False
    done: list[None] = []
    world.gateway.drain(1.0).addCallback(done.append)
    world.until(lambda: done, 10)
    assert {client.close_code for client in [*clients, newcomer]} == {CloseCode.DRAINING}
    assert world.replica.stats["ws_close"] == 50
    world.check_idle()
    late = world.client()
    assert late.close_code == CloseCode.DRAINING


def test_draining_ends_although_the_network_is_unreachable() -> None:
    world = World()
    world.open(5)
    world.replica.faults.add(InjectedFault(kind="hang", on="call", count=None))
    done: list[None] = []
    world.gateway.drain(1.0).addCallback(done.append)
    world.until(lambda: done, 20)
    world.check_idle()


def test_draining_without_clients_ends_at_once() -> None:
    world = World()
    done: list[None] = []
    world.gateway.drain(10.0).addCallback(done.append)
    assert done


def test_denied_and_not_allowed_canisters() -> None:
    world = World(denied_canisters=(CHAT_ID.text,))
    denied = world.client(CHAT_ID)
    world.run(1)
    assert denied.close_code == CloseCode.CANISTER_NOT_ALLOWED
    world = World(allowed_canisters=(CHAT_ID.text,), max_connections_per_canister=1)
    (first,) = world.open(1, CHAT_ID)
    other, second = world.client(ECHO_ID), world.client(CHAT_ID)
    world.run(1)
    assert other.close_code == CloseCode.CANISTER_NOT_ALLOWED
    assert second.close_code == CloseCode.OVERLOADED
    assert first.close_code is None


@pytest.mark.parametrize("delegation", ["by-version", "none", "sharded", "legacy"])
def test_verified_batches_are_delivered(delegation: str) -> None:
    world = World(verify=True, verify_batches=True, verify_queries="on", delegation=delegation)
    (client,) = world.open()
    for number in range(60):
        client.send(b"%d" % number)
    world.until(lambda: len(client.received) == 60, 30)
    assert client.close_code is None


def test_forged_answers_of_a_replica_are_rejected() -> None:
    world = World(verify_batches=True)
    (client,) = world.open()
    host = world.replica.host(ECHO_ID)
    honest = host.ws.certified_data
    host.ws.certified_data = lambda: bytes(32)
    world.replica.canisters.changed(host)
    client.send(b"x")
    world.run(2)
    assert client.received == []
    assert world.metrics.queries.values["certificate"] > 0
    host.ws.certified_data = honest
    world.replica.canisters.changed(host)
    world.until(lambda: client.received == [b"x"])


def test_a_forged_ws_open_is_never_relayed() -> None:
    world = World()
    forger = world.client()
    forger.automatic = False
    world.run(0.1)
    payload = forger.open_payload(world.now_ns())
    before = len(world.transport.requests)
    signature = cbor.loads(payload)["envelope"]["sender_sig"]
    forger.send_payload(payload.replace(signature, bytes(64)))
    world.run(1)
    assert forger.close_code == CloseCode.OPEN_REFUSED
    assert "wrong Ed25519 signature" in forger.close_reason
    assert len(world.transport.requests) == before
    assert world.metrics.open_signatures.values["wrong"] == 1
    assert not world.gateway.registry.pollers
    group = forger.session.group
    assert len(world.context.suspects) == 1
    for _ in range(FORGED):
        assert world.context.suspects.admits(group, world.clock.seconds()), "one alone slows nobody"
    for _ in range(FORGED - 1):
        forger = world.client()
        forger.automatic = False
        world.run(0.1)
        payload = forger.open_payload(world.now_ns())
        forger.send_payload(payload.replace(cbor.loads(payload)["envelope"]["sender_sig"], bytes(64)))
    assert world.context.suspects.admits(group, world.clock.seconds())
    assert not world.context.suspects.admits(group, world.clock.seconds())
    # an address whose signatures are valid is not suspect
    world.open(FORGED + 1)
    assert world.metrics.open_signatures.values["wrong"] == FORGED
