"""The metrics of a whole gateway: the Rust gateway's seven under their names, and this gateway's further ones."""

from __future__ import annotations

from typing import Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.faults import InjectedFault
from tests.memory.world import CHAT_ID, ECHO_ID, World


def value(world: World, name: str, **labels: str) -> float | None:
    return world.metrics.registry.get_sample_value(name, labels)


def test_the_rust_gateways_seven_metrics() -> None:
    world = World(query_latency=0.03)
    newcomer = world.client()
    newcomer.automatic = False
    (client, _), (other,) = world.open(2), world.open(1, CHAT_ID)
    world.run(1)
    assert value(world, "client_connected_count") == 3
    assert value(world, "clients_connected") == 3
    assert value(world, "active_pollers") == value(world, "icws_pollers") == 2
    assert value(world, "connection_opening_time_count") == 3
    assert value(world, "connection_duration_count") == 0
    polls = value(world, "poller_duration_count")
    assert polls
    assert polls == value(world, "icws_query_seconds_count")
    assert (value(world, "poller_duration_sum") or 0) / polls >= 0.03
    for one in (newcomer, client, other):
        one.leave()
    world.run(1)
    assert value(world, "client_connected_count") == 3
    assert value(world, "clients_connected") == value(world, "active_pollers") == 1
    # as in the Rust gateway, clients that never had a canister are not counted
    assert value(world, "connection_duration_count") == 2
    assert (value(world, "connection_duration_sum") or 0) > 2
    # handshakes with TLS are observed where they end: tests/server/test_tls.py
    assert value(world, "tls_resolution_time_count") == 0


def test_bytes_and_messages_both_ways_are_those_of_the_sessions() -> None:
    world = World()
    clients = world.open(3)
    for client in clients:
        client.echoes(b"x" * 1000)
    sessions = [client.session for client in clients]
    for name, field in (
        ("icws_client_messages_total", "messages_up"),
        ("icws_client_bytes_total", "bytes_up"),
        ("icws_canister_messages_total", "messages_down"),
        ("icws_canister_bytes_total", "bytes_down"),
    ):
        assert value(world, name) == sum(getattr(session, field) for session in sessions) > 0, name
    assert (value(world, "icws_client_bytes_total") or 0) > 3000


def test_queue_lag_is_measured_by_canister() -> None:
    world = World()
    (client,) = world.open()
    before = value(world, "icws_queue_lag_seconds_count") or 0
    world.run(1)
    client.echoes(b"now")
    assert value(world, "icws_queue_lag_seconds_count") == before + 1
    lag = value(world, "icws_canister_queue_lag_seconds", canister=ECHO_ID.text)
    assert lag is not None
    assert 0 <= lag < 0.2
    # the queue is not read for a while
    world.replica.faults.add(InjectedFault(kind="trap", on="query"))
    client.send(b"late")
    world.run(3)
    world.replica.faults.clear()
    world.until(lambda: client.received[-1:] == [b"late"], 20)
    lag = value(world, "icws_canister_queue_lag_seconds", canister=ECHO_ID.text)
    assert lag is not None
    assert lag >= 2.5
    assert (value(world, "icws_query_retries_total") or 0) > 0
    assert value(world, "icws_canister_sessions", canister=ECHO_ID.text) == 1
    world.run(61, 0.05)
    assert value(world, "icws_canister_queue_lag_seconds", canister=ECHO_ID.text) is None


def test_empty_polls_and_woken_polls_are_counted() -> None:
    world = World(relay_order="accepted")
    (client,) = world.open()
    empty, found = (world.metrics.queries.values[word] for word in ("empty", "ok"))
    for number in range(20):
        client.echoes(b"%d" % number)
        world.run(0.06)
    # when a regular poll finds messages, another poll follows half an interval later
    world.replica.faults.add(InjectedFault(kind="trap", on="query", count=1))
    client.send(b"late")
    world.run(1)
    queries, wakes = world.metrics.queries.values, world.metrics.wakes.values
    assert queries["empty"] > empty
    assert queries["ok"] > found
    assert wakes["call"] > 0
    assert wakes["follow_up"] > 0
    assert wakes["other"] == 0


def test_each_session_has_one_outcome() -> None:
    world = World(first_message_timeout=5, open_timeout=5, denied_canisters=(CHAT_ID.text,))
    outcomes: list[str] = []

    def ended(outcome: str, client: Any) -> None:
        # as the timer wheel does for connections
        world.until(
            lambda: client.session.overdue(world.clock.seconds()) or client.session.state.name in ("OPEN", "CLOSED"), 20
        )
        outcomes.append(outcome)
        counts = {word: count for word, count in world.metrics.opens.values.items() if count}
        assert counts == {word: outcomes.count(word) for word in outcomes}

    def silent() -> Any:
        client = world.client()
        client.automatic = False
        return client

    ended("opened", world.client())
    ended("not_allowed", world.client(CHAT_ID))
    ended("silent", silent())
    malformed = silent()
    world.run(0.1)
    malformed.send_payload(b"\xff")
    ended("malformed", malformed)
    left = silent()
    # a code that the client chose itself is not reported as the gateway's
    left.leave(CloseCode.DRAINING)
    ended("left", left)
    world.replica.faults.add(InjectedFault(kind="hang", on="call"))
    ended("timeout", world.client())
    world.replica.faults.clear()


def test_ws_close_that_is_sent_again_is_counted() -> None:
    world = World()
    (client,) = world.open()
    world.replica.faults.add(InjectedFault(kind="http", status=503, on="call"))
    client.leave()
    world.run(1)
    assert (value(world, "icws_ws_close_retries_total") or 0) >= 1
    assert value(world, "icws_ws_closes_pending") == 1
    world.replica.faults.clear()
    world.run(10)
    assert value(world, "icws_ws_closes_pending") == 0
    assert value(world, "icws_ws_close_total", outcome="done") == 1
