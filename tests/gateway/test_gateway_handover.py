"""A gateway goes on in another process, at any moment: each message arrives once and in order, nobody is closed.

The other process is a second gateway beside the same network, which gets nothing but the documents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icwsgw.core.call_slots import CallSlots
from icwsgw.core.client_calls import WaitingBytes
from icwsgw.core.close_notice import NoticeState
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import State
from icwsgw.devnet.faults import InjectedFault
from icwsgw.errors import FormatError
from icwsgw.gateway import gateway_handover
from icwsgw.gateway.batches import BATCH
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.gateway_handover import (
    client_document,
    complete,
    departed,
    detach_sessions,
    early_document,
    gateway_document,
    take_over_early,
    take_over_gateway,
    take_over_session,
    with_identities,
)
from icwsgw.gateway.registry import KEEP_SECONDS
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.session_handover import resume, session_document
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.metrics import Metrics
from tests.memory.test_replacements import SAME, opened_in_one_block
from tests.memory.world import CHAT_ID, ECHO_ID, MemoryClient, World


def sent(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the other process gets it."""
    arrived: dict[str, Any] = cbor.loads(cbor.dumps(document))
    return arrived


def successor(world: World, clock: Any = None) -> Gateway:
    """A gateway of another process, which has read the configuration and reached the network.

    :param clock: of that process; None: the world's
    """
    own = Metrics()
    context = replace(
        world.context,
        metrics=own,
        calls=CallSlots(1024),
        waiting=WaitingBytes(),
        queries=CallSlots(512, 3),
        newcomers_queries=CallSlots(64),
        newcomers=CallSlots(2000),
        clock=clock or world.clock,
    )
    gateway = Gateway(context)
    gateway.start()
    return gateway


def hand_over(world: World, clients: list[MemoryClient]) -> Gateway:
    """Hand the gateway of a world over to a new one."""
    old, new = world.gateway, successor(world)
    connected = [client for client in clients if client.session is not None and client.session.client is client]
    connected = [client for client in connected if client.session in old.registry.sessions]
    documents = [sent(session_document(client.session)) for client in connected if client.session is not None]
    document = sent(gateway_document(old))
    detach_sessions(old, [client.session for client in connected if client.session is not None])
    old.stop()
    assert not old.registry.sessions
    assert not old.registry.ending
    assert not old.registry.pollers
    assert (len(old.close_notices), old.notices()) == (0, {})
    assert old.context.waiting.octets == 0
    take_over_gateway(new, document)
    sessions = []
    for client, written in zip(connected, documents, strict=True):
        client.paused = False
        client.session = take_over_session(new, client, written)
        sessions.append(client.session)
    complete(new, document, sessions)
    world.gateway = new
    world.context = new.context
    return new


def test_an_idle_client_notices_nothing() -> None:
    world = World()
    clients = [*world.open(3), *world.open(2, CHAT_ID)]
    clients[0].echoes(b"before")
    ids = [client.session.id for client in clients if client.session is not None]
    hand_over(world, clients)
    assert [client.session.id for client in clients if client.session is not None] == ids
    clients[0].echoes(b"after")
    clients[1].echoes(b"after")
    fresh = world.open(1)[0]
    assert fresh.session is not None
    assert fresh.session.id not in ids
    for client in (*clients, fresh):
        client.leave()
    world.run(5)
    world.check_idle()


def test_each_session_of_a_principal_counts_even_where_one_that_is_about_to_end_is_made_first() -> None:
    """The early rounds bring both; the last one says that the older one has ended."""
    world = World()
    same = Ed25519Identity(b"\x31" * 32)
    older, newer = world.client(identity=same), world.client(CHAT_ID, same)
    world.until(lambda: older.opened and newer.opened)
    # the new process has read a configuration with a limit
    world.context = replace(world.context, config=replace(world.context.config, max_connections_per_principal=1))
    new = hand_over(world, [older, newer])
    assert new.principals.most == 1
    older.leave()
    world.run(2)
    assert newer.session in new.registry.sessions
    assert new.principals.full(same.principal.raw)


@pytest.mark.parametrize("order", ["executed", "accepted"])
@pytest.mark.parametrize("moment", [0.0, 0.001, 0.006, 0.011, 0.02, 0.1])
def test_messages_on_their_way_arrive_once_and_in_order(order: str, moment: float) -> None:
    world = World(relay_order=order, call_latency=0.01, query_latency=0.01)
    clients = world.open(3)
    expected = [b"%d" % number for number in range(12)]
    for client in clients:
        for content in expected:
            client.send(content)
    world.run(moment, step=0.001)
    hand_over(world, clients)
    world.run(0.007, step=0.001)
    hand_over(world, clients)
    world.until(lambda: all(len(client.received) >= len(expected) for client in clients), 30)
    world.run(2)
    assert [client.received for client in clients] == [expected] * 3
    assert {client.close_code for client in clients} == {None}


@pytest.mark.parametrize("moment", [0.0, 0.002, 0.006, 0.012, 0.05])
def test_a_session_that_is_opening_opens(moment: float) -> None:
    world = World(call_latency=0.02)
    client = world.client()
    world.run(moment, step=0.001)
    hand_over(world, [client])
    world.until(lambda: client.opened)
    client.echoes(b"one")


def test_a_client_that_has_left_still_has_its_close_notice() -> None:
    world = World(call_latency=0.05)
    clients = world.open(2)
    clients[0].send(b"the last word")
    clients[0].leave()
    clients[1].leave()
    world.run(0.02)
    hand_over(world, clients)
    world.run(5)
    world.check_idle()
    assert not world.replica.host(ECHO_ID).ws.clients


def test_who_has_left_before_an_answer_still_counts() -> None:
    world = World(call_latency=0.5)
    client = world.client()
    world.run(0.1)
    client.leave()
    assert len(world.gateway.registry.unanswered) == 1
    old = world.gateway
    new = hand_over(world, [client])
    assert (len(old.registry.unanswered), len(new.registry.unanswered)) == (0, 1)
    world.run(10)
    assert len(new.registry.unanswered) == 0
    world.check_idle()


def test_a_canister_that_is_reset_afterwards_closes_its_clients() -> None:
    world = World()
    clients = world.open(2)
    clients[0].echoes(b"one")
    hand_over(world, clients)
    world.run(1)
    world.replica.host(ECHO_ID).reset()
    world.until(lambda: all(client.close_code for client in clients), 20)
    assert {client.close_code for client in clients} == {CloseCode.CANISTER_RESET}


STEPS = ["open", "send", "send", "leave", "hand over", "wait", "long"]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from(["open", "send", "send", "leave", "hand over", "wait", "long"]), max_size=25), st.randoms()
)
def test_at_any_moment(steps: list[str], dice: Any) -> None:
    world = World(call_latency=0.012, query_latency=0.004, seed=dice.randrange(1 << 30))
    clients: list[MemoryClient] = []
    sent_by: dict[MemoryClient, list[bytes]] = {}
    for step in steps:
        living = [client for client in clients if client in sent_by]
        if step == "open":
            client = world.client()
            clients.append(client)
            sent_by[client] = []
        elif step == "send" and living:
            client = dice.choice(living)
            content = b"%d" % len(sent_by[client])
            if client.opened:
                sent_by[client].append(content)
                client.send(content)
        elif step == "leave" and living:
            client = dice.choice(living)
            del sent_by[client]
            client.leave()
        elif step == "hand over":
            hand_over(world, clients)
        else:
            world.run(dice.random() * (2.0 if step == "long" else 0.03), step=0.001)
    hand_over(world, clients)
    world.until(lambda: all(client.opened for client in sent_by), 20)
    world.until(lambda: all(client.received == messages for client, messages in sent_by.items()), 30)
    assert {client.close_code for client in sent_by} <= {None}
    for client in sent_by:
        client.leave()
    world.run(10)
    world.check_idle()


def test_who_may_have_missed_a_message_is_still_suspected() -> None:
    world = World()
    clients = world.open(3)
    new = successor(world)
    sessions = [
        take_over_session(new, client, sent(session_document(client.session))) for client in clients if client.session
    ]
    document = sent(gateway_document(world.gateway))
    ((_, _, state),) = document["registry"]["pollers"]
    assert state["suspects"] == []
    state["suspects"] = [sessions[1].id, "one that has ended"]
    take_over_gateway(new, document)
    complete(new, document, sessions)
    (poller,) = new.registry.pollers.values()
    assert poller.suspects == {sessions[1]}


# documents that are not what they should be


def test_of_a_document_without_anything_nothing_is_taken_over() -> None:
    world = World()
    new = successor(world)
    before = sent(gateway_document(new))
    take_over_gateway(new, {})
    complete(new, {}, [])
    assert sent(gateway_document(new)) == before


def test_an_identity_that_is_not_there_costs_that_session() -> None:
    world = World()
    client = world.open(1)[0]
    assert client.session is not None
    document = session_document(client.session)
    with pytest.raises(FormatError, match="there is no identity 7"):
        take_over_session(successor(world), client, {**document, "identity": 7})


def test_a_session_that_cannot_go_on_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    clients = world.open(3)
    unlucky = clients[1].session
    assert unlucky is not None

    def broken(session: ClientSession, gateway: Gateway) -> None:
        if session.id == unlucky.id:
            raise ZeroDivisionError
        resume(session, gateway)

    monkeypatch.setattr(gateway_handover, "resume", broken)
    hand_over(world, clients)
    world.run(1)
    assert [client.close_code for client in clients] == [None, CloseCode.INTERNAL, None]
    clients[0].echoes(b"after")


def test_an_ended_session_that_is_invalid_costs_no_other() -> None:
    world = World()
    client = world.open(1)[0]
    assert client.session is not None
    new = successor(world)
    complete(new, {"ended": [{"id": 5}]}, [take_over_session(new, client, session_document(client.session))])
    assert len(new.registry.sessions) == 1


def test_a_client_that_has_left_has_a_name_and_does_nothing() -> None:
    world = World()
    client = departed(client_document(world.open(1)[0]))
    assert (client.peer, client.origin, client.waiting_bytes) == ("memory", "", 0)
    client.deliver([b"frame"])
    client.close(4100, "no")
    client.pause()
    client.resume()


def test_a_session_that_waits_waits_in_the_other_process() -> None:
    world = World()
    client = world.open(1)[0]
    session = client.session
    assert session is not None
    session.after_wait = CloseCode.OPEN_REFUSED, "the outcome is not known"
    session.state = State.UNCERTAIN
    session.wait = world.clock.callLater(5, session.wait_over)
    hand_over(world, [client])
    assert client.session is not session
    world.run(6)
    assert (client.close_code, "the outcome is not known" in client.close_reason) == (CloseCode.OPEN_REFUSED, True)


# what is undecided, and what was learnt


@pytest.mark.parametrize("slow", [0, 1])
def test_who_replaced_whom_is_still_found_out(slow: int) -> None:
    world, known, dropped = opened_in_one_block(slow)
    assert len(world.gateway.replacements.machine.undecided) == 1
    hand_over(world, [known, dropped])
    hand_over(world, [known, dropped])
    assert len(world.gateway.replacements.machine.undecided) == 1
    known.send(b"one more")
    world.until(lambda: dropped.close_code is not None)
    assert (dropped.close_code, known.close_code) == (CloseCode.REPLACED, None)
    assert len(world.gateway.replacements) == 0
    world.until(lambda: known.received == [b"one more"])


def test_what_one_that_has_left_unanswered_had_replaced_is_still_found_out() -> None:
    world = World(call_latency=0.3, identities=2, clients_per_identity=1)
    first = world.client(ECHO_ID, SAME)
    world.until(lambda: first.opened)
    second = world.client(ECHO_ID, SAME)
    world.run(0.1)
    second.leave()
    world.until(lambda: len(world.gateway.close_notices) == 1)
    world.run(0.02)
    new = hand_over(world, [first])
    (notice,) = new.notices().values()
    assert (notice["attempts"], notice["others"]["opened"]) == (2, [first.session and first.session.id])
    world.until(lambda: first.close_code is not None, 5)
    assert first.close_code == CloseCode.REPLACED
    world.run(5)
    world.check_idle()


def test_a_close_notice_goes_on_with_its_attempts_and_its_pause() -> None:
    world = World(call_latency=0.02)
    (client,) = world.open()
    fault = world.replica.faults.add(InjectedFault(kind="http", status=503, on="call", count=None, retry_after=3.0))
    client.leave()
    world.run(0.5)
    (before,) = world.gateway.notices().values()
    assert (before["attempts"], before["state"]) == (1, NoticeState.PAUSING)
    assert before["pause"] >= 3.0
    new = hand_over(world, [])
    assert list(new.notices().values()) == [before]
    world.replica.faults.remove(fault)
    calls = world.replica.stats["ws_close"]
    world.run(2.9)
    assert world.replica.stats["ws_close"] == calls, "the network has asked for a pause"
    world.run(5)
    world.check_idle()
    assert not world.replica.host(ECHO_ID).ws.clients


def test_a_pause_that_the_network_has_asked_for_goes_on() -> None:
    world = World()
    (client,) = world.open()
    fault = world.replica.faults.add(InjectedFault(kind="http", status=429, on="query", count=None, retry_after=5.0))
    world.run(0.5)
    (poller,) = world.gateway.registry.pollers.values()
    held_until = poller.backoff.held_until
    (poller,) = hand_over(world, [client]).registry.pollers.values()
    assert (poller.backoff.held_until, poller.backoff.failures) == (held_until, 1)
    world.replica.faults.remove(fault)
    polls = world.metrics.queries.values["ok"]
    world.run(held_until - world.clock.seconds() - 0.1)
    assert poller.in_flight == 0
    assert poller.backoff.failures == 1
    assert world.metrics.queries.values["ok"] == polls
    client.echoes(b"after")


def test_the_grace_period_of_a_canister_does_not_begin_anew() -> None:
    world = World(canister_grace=4.0)
    (client,) = world.open()
    world.replica.faults.add(InjectedFault(kind="trap", on="query", count=None))
    for _ in range(4):
        world.run(1.2)
        if client.close_code is None:
            hand_over(world, [client])
    assert client.close_code == CloseCode.CANISTER_SILENT


def test_a_canister_that_has_clients_is_no_newcomer_however_long_ago_they_came() -> None:
    world = World(identities=2, clients_per_identity=1)
    clients = world.open(2)
    world.run(KEEP_SECONDS + 10, step=0.5)
    new = hand_over(world, clients)
    assert [poller.poll_budget.newcomer for poller in new.registry.pollers.values()] == [False, False]
    assert not new.registry.is_newcomer(ECHO_ID)
    assert new.context.newcomers.busy == 0
    clients[0].echoes(b"after")


def test_a_canister_that_answers_during_the_handover_is_no_newcomer_afterwards() -> None:
    world = World(query_latency=0.2)
    client = world.client()
    world.run(0.1)
    assert client.session is not None
    new = successor(world)
    take_over_early(new, sent(early_document(world.gateway)))
    take_over_session(new, client, sent(session_document(client.session)))
    (poller,) = new.registry.pollers.values()
    assert poller.poll_budget.newcomer
    world.gateway.registry.spoke(ECHO_ID)
    take_over_gateway(new, sent(gateway_document(world.gateway)))
    assert not poller.poll_budget.newcomer


def test_identities_get_the_numbers_that_they_have_in_the_other_process() -> None:
    document = {
        "connections": [{"session": {"identity": 1, "id": "a"}}, {"stage": 0}],
        "changed": [[0, {"session": {"identity": 0}}]],
        "gateway": {
            "prefix": "p",
            "registry": {"spoken": [], "positions": [[b"c", 0, 1.0, {}]], "pollers": [[b"c", 1, {"senders": {}}]]},
            "ended": [{"identity": 1}],
        },
    }
    found = with_identities(document, (2, 5))
    assert found["connections"] == [{"session": {"identity": 5, "id": "a"}}, {"stage": 0}]
    assert found["changed"] == [[0, {"session": {"identity": 2}}]]
    registry = found["gateway"]["registry"]
    assert registry == {"spoken": [], "positions": [[b"c", 2, 1.0, {}]], "pollers": [[b"c", 5, {"senders": {}}]]}
    assert (found["gateway"]["ended"], found["gateway"]["prefix"]) == ([{"identity": 5}], "p")
    assert with_identities({"end": True}, (2, 5)) == {"end": True}
    for wrong in ({"connections": [{"session": {"identity": 2}}]}, {"gateway": {"registry": {"pollers": [[1]]}}}):
        with pytest.raises(FormatError, match="identities"):
            with_identities(wrong, (2, 5))


def taken_over_from_two(behind: bool, clients: int) -> tuple[World, list[MemoryClient], list[MemoryClient]]:
    """Two processes have polled one queue for clients of one canister, which a third one has just taken over.

    :param behind: the first process has not seen a message that the second one has
    :param clients: those of the first process
    :return: the world, and the clients of each
    """
    world = World(call_latency=0.01, query_latency=0.01, polling_interval=1.0)
    one, other = world.gateway, successor(world)
    first = world.open(clients)
    world.gateway = other
    second = world.open(1)
    first[0].echoes(b"before")
    world.run(3)
    documents = []
    for gateway, its in ((one, first), (other, second)):
        if gateway is other and behind:
            # the other one goes on, beyond a message that no client of the first one receives
            host = world.replica.host(ECHO_ID)
            for client in (*first, *second):
                host.ws.send(client.identity.principal, b"news")
            world.run(3)
        sessions: list[Any] = [client.session for client in its]
        documents.append((sent(gateway_document(gateway)), [sent(session_document(session)) for session in sessions]))
        detach_sessions(gateway, sessions)
        gateway.stop()
    world.gateway = new = successor(world)
    world.context = new.context
    for document, _ in documents:
        take_over_gateway(new, document)
    made = []
    for (_, written), its in zip(documents, (first, second), strict=True):
        for client, each in zip(its, written, strict=True):
            client.session = take_over_session(new, client, each)
        made.append([client.session for client in its])
    for (document, _), taken in zip(documents, made, strict=True):
        complete(new, document, taken)  # type: ignore[arg-type]
    new.registry.taken_over()
    return world, first, second


@pytest.mark.parametrize("behind", [False, True])
def test_of_two_pollers_of_one_queue_clients_of_another_position_are_closed(behind: bool) -> None:
    world, first, second = taken_over_from_two(behind, 2)
    world.run(3)
    closed = CloseCode.DRAINING if behind else None
    assert [client.close_code for client in first] == [closed] * 2
    second[0].echoes(b"after")
    if not behind:
        first[1].echoes(b"after")


def test_clients_of_another_position_are_closed_in_batches_and_receive_nothing_meanwhile() -> None:
    world, first, second = taken_over_from_two(True, BATCH + 10)
    assert sum(client.close_code is not None for client in first) == BATCH
    (poller,) = world.gateway.registry.pollers.values()
    assert list(poller.sessions.values()) == [second[0].session]
    world.clock.advance(0)
    assert [client.close_code for client in first] == [CloseCode.DRAINING] * (BATCH + 10)
    second[0].echoes(b"after")


def test_what_a_canisters_clients_owe_they_owe_in_the_other_process() -> None:
    world = World(message_rate_per_canister=5, delivery_rate_per_canister=5)
    (client,) = world.open()
    for number in range(40):
        if not client.paused:
            client.send(b"%d" % number)
    (before,) = (poller.written() for poller in world.gateway.registry.pollers.values())
    new = hand_over(world, [client])
    (poller,) = new.registry.pollers.values()
    after = poller.written()
    assert after["clients_quota"] == before["clients_quota"]
    assert after["clients_quota"]["messages"]["level"] < 0
    assert after["budget"]["quota"] == before["budget"]["quota"]
    client.send(b"one more")
    assert client.paused, "it has to wait here, too"


@pytest.mark.parametrize("leave", [(), (1, 2, 3)], ids=["messages", "close notices"])
def test_what_waits_for_a_call_slot_is_not_sent_by_the_process_that_lets_go(
    monkeypatch: pytest.MonkeyPatch, leave: tuple[int, ...]
) -> None:
    """A call that is cancelled gives its slot to the next one in line."""
    world = World(call_latency=0.05)
    clients = world.open(8)
    world.context.calls.limit = 0
    for client in clients:
        client.send(b"DIDL\0\0")
    for number in leave:
        clients[number].leave()
    world.run(0.005, step=0.005)
    gateway, network = world.gateway, world.context.network
    left: list[Any] = []
    monkeypatch.setattr(network, "call", lambda *args, **options: left.append(args))
    connected = [client.session for client in clients if client.session in gateway.registry.sessions]
    assert sum(session.relay.waits_for_slot for session in connected) > 2
    detach_sessions(gateway, connected)
    assert left == []
    assert world.context.calls.busy == 0


@pytest.mark.parametrize("given_up", [False, True])
def test_a_message_ahead_of_its_number_counts_where_it_waits(given_up: bool) -> None:
    world = World()
    (client,) = world.open()
    client._sequence_out += 1
    client.send(bytes(5_000))
    assert world.context.waiting.octets > 5_000
    new = hand_over(world, [client])
    assert new.context.waiting.octets > 5_000
    if given_up:
        # the other process continues after all
        detach_sessions(new, list(new.registry.sessions))
    else:
        client._sequence_out -= 2
        client.send(b"the missing one")
        world.until(lambda: client.received == [b"the missing one", bytes(5_000)])
        client.leave()
        world.run(5)
        world.check_idle()
    assert new.context.waiting.octets == 0
