"""One session as a document. Whole gateways are handed over in test_gateway_handover.py."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import FormatError
from icwsgw.gateway.gateway_handover import take_over_session
from icwsgw.gateway.session_handover import AbsentPoller, detach, session_document, update
from icwsgw.ic import cbor
from tests.gateway.test_gateway_handover import hand_over, successor
from tests.memory.world import ECHO_ID, World


def test_a_session_is_the_same_in_the_other_process() -> None:
    world = World()
    client = world.open(1)[0]
    client.echoes(b"one")
    session = client.session
    assert session is not None
    document = cbor.loads(cbor.dumps(session_document(session)))
    copy = take_over_session(successor(world), client, document)
    assert (copy.id, copy.client_key, copy.state, copy.opened) == (
        session.id,
        session.client_key,
        State.OPEN,
        Opened.CONFIRMED,
    )
    assert cbor.loads(cbor.dumps(session_document(copy))) == document


def test_a_session_before_ws_open_has_no_canister() -> None:
    world = World()
    client = world.client()
    assert client.session is not None
    copy = take_over_session(successor(world), client, session_document(client.session))
    assert (copy.state, copy.client_key, copy.poller, copy.relay) == (State.INIT, None, None, None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": 5}, "id: int instead of str"),
        ({"identity": None}, "identity: NoneType instead of int"),
        ({"state": 77}, "state: 77 is not a valid State"),
        ({"key": ["x", 1]}, "key: str instead of bytes"),
        ({"key": [b"x", "1"]}, "key: str instead of int"),
        ({"canister": "x"}, "canister: str instead of bytes"),
        ({"wait": [4101, 7]}, "wait: int instead of str"),
    ],
)
def test_a_document_with_a_wrong_value_is_refused(change: dict[str, Any], text: str) -> None:
    world = World()
    client = world.open(1)[0]
    assert client.session is not None
    with pytest.raises(FormatError, match=f"^{text}$"):
        take_over_session(successor(world), client, {**session_document(client.session), **change})


def taken(**changes: object) -> tuple[Any, dict[str, Any]]:
    """A session that was taken over, and the document that it was made from."""
    world = World()
    client = world.open(1)[0]
    assert client.session is not None
    document = cbor.loads(cbor.dumps({**session_document(client.session), **changes}))
    return take_over_session(successor(world), client, document), document


@pytest.mark.parametrize("opened", [Opened.SPOKE, Opened.CONFIRMED])
def test_a_session_that_has_gone_on_since_it_was_taken_over_is_brought_to_its_later_state(opened: Opened) -> None:
    session, before = taken(opened=opened)
    after = {**before, "messages_up": 77, "opened": Opened.CONFIRMED, "relay": {**before["relay"], "took": 3.0}}
    assert update(session, before, after)
    assert (session.messages_up, session.opened, session_document(session)["relay"]["took"]) == (77, 3, 3.0)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({}, {"state": State.CLOSED}),
        ({}, {"wait": [4101, "why"]}),
        ({"opened": Opened.EXECUTED}, {}),
        ({"opened": None}, {}),
        ({"relay": {"current": [b"envelope"]}}, {}),
        ({"relay": {"queue": [[b"envelope"]]}}, {}),
        ({"inbound": {"held": [b"message"]}}, {}),
    ],
)
def test_a_session_whose_change_concerns_others_is_made_anew(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    session, document = taken()
    before = {name: value for name, value in {**document, **earlier}.items() if value is not None or name != "opened"}
    assert not update(session, before, {**document, "messages_up": 77, **later})
    assert cbor.loads(cbor.dumps(session_document(session))) == document


def test_a_session_that_is_left_to_another_process_does_nothing_any_more() -> None:
    world = World(call_latency=0.05)
    client = world.open(1)[0]
    client.send(b"on its way")
    session = client.session
    assert session is not None
    calls = world.replica.stats["ws_close"]
    detach(session)
    world.run(2)
    session.left(1006)
    world.run(2)
    assert world.replica.stats["ws_close"] == calls
    assert client.close_code is None
    assert session.relay is not None
    assert session.relay.idle


def test_the_poller_of_an_ended_session_only_names_the_canister() -> None:
    poller = AbsentPoller(ECHO_ID, 3)
    world = World()
    session = world.open(1)[0].session
    assert session is not None
    assert session.client_key is not None
    poller.wake()
    assert poller.accepted(session, session.client_key) is None
    poller.remove(session, session.client_key)
    assert (poller.canister, poller.identity_index) == (ECHO_ID, 3)


def test_a_session_that_ends_as_it_continues_sends_each_message_once() -> None:
    """Its keep-alive is overdue when the other process begins, while messages wait for the one before them."""
    world = World()
    client = world.open(1)[0]
    session = client.session
    assert session is not None
    assert session.stream is not None
    assert session.relay is not None
    client.echoes(b"1")
    client._sequence_out = 2
    client.send(b"3")
    client.send(b"4")
    session.stream.keep_alive_late()
    assert session.stream.watch is not None
    session.stream.watch.acknowledged(world.clock.seconds() - 60)
    hand_over(world, [client])
    assert client.close_code is not None
    world.run(30)
    world.check_idle()
    # 1, and 3 once: the canister refuses it, since 2 is missing, and would refuse 4
    assert world.replica.stats["ws_message"] == 2
