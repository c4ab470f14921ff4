"""The machine, with the real gateway and the devnet in memory, and by hand where these cannot produce the event."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.client.client_errors import ClientError, MessageInvalid, MessageTooBig, NotOpen, QueueFull, SessionEnded
from icwsgw.client.client_events import Abort, ClientOpened, CloseConnection, Connect, Disconnected, Ended, RoomAgain
from icwsgw.client.client_machine import MAX_INVALID_OPENINGS, ClientMachine, ClientState
from icwsgw.client.client_session import Acknowledged, ClosedByCanister, SessionOpened
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.driver import MAX_UNREAD
from icwsgw.core.messages import handshake
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.candid import Null, Text
from icwsgw.ic.delegated_identity import DelegatedIdentity, sign_delegation
from icwsgw.ic.ecdsa_identity import EcdsaIdentity
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.client.memory_link import MemoryLink
from tests.memory.world import CHAT_ID, EPOCH_NS, World

ECHO = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
CLIENT = Ed25519Identity(b"\2" * 32)
SESSION = Ed25519Identity(b"\3" * 32)


# -- with the gateway -----------------------------------------------------------------------------------------------


def test_messages_sent_before_the_session_is_open_go_out_in_order() -> None:
    world = World()
    client = MemoryLink(world)
    for number in range(5):
        assert client.client.send(b"m%d" % number) == number + 1
    client.opened()
    world.until(lambda: len(client.received) == 5)
    assert client.received == [b"m%d" % number for number in range(5)]
    assert client.of(RoomAgain) == [], "there was room all the time"
    assert client.machine.gateway == client.of(ClientOpened)[0].gateway
    client.client.stop()
    world.run(1)
    assert client.events[-1] == Ended(None, (), (1, 2, 3, 4, 5))
    assert client.machine.state is ClientState.CLOSED
    world.check_idle()


@pytest.mark.parametrize(
    "identity",
    [
        EcdsaIdentity.of_secret("secp256k1", b"\4" * 32),
        EcdsaIdentity.of_secret("p256", b"\4" * 32),
        DelegatedIdentity(
            SESSION, CLIENT.public_key_der, [sign_delegation(CLIENT, SESSION.public_key_der, EPOCH_NS + 10**15)]
        ),
    ],
    ids=["secp256k1", "P-256", "delegated"],
)
def test_every_kind_of_identity(identity: Any) -> None:
    world = World()
    client = MemoryLink(world, identity=identity).opened()
    client.client.send(b"hello")
    world.until(lambda: client.received == [b"hello"])


def test_rounds_of_acknowledgements_and_keep_alives() -> None:
    world = World(settings=CdkSettings(ack_interval_ms=60_000, keep_alive_timeout_ms=30_000))
    client = MemoryLink(world).opened()
    handles = []
    for round_number in range(4):
        handles.append(client.client.send(b"%d" % round_number))
        world.run(61, step=0.05)
    assert client.received == [b"%d" % number for number in range(4)]
    acknowledged = [handle for event in client.of(Acknowledged) for handle in event.handles]
    assert acknowledged == handles
    assert client.machine.state is ClientState.OPEN
    assert client.of(Disconnected) == []


def test_a_reset_canister_is_opened_again_and_waiting_messages_go_first() -> None:
    world = World()
    client = MemoryLink(world)

    def greet(event: Any) -> None:
        client.events.append(event)
        if isinstance(event, ClientOpened) and event.resumed:
            client.client.send(b"first of all", first=True)

    client.client._emit = greet
    client.opened()
    client.client.send(b"one")
    world.until(lambda: client.received == [b"one"])
    world.replica.reset(ECHO)
    world.until(lambda: client.machine.state is ClientState.WAITING, 60)
    (lost,) = client.of(Disconnected)
    assert isinstance(lost.error, SessionEnded)
    assert lost.error.code == 4105
    client.client.send(b"two")
    # what is uncertain is reported when a session is open, not before
    client.refusing = 2
    world.until(lambda: len(client.received) == 3, 60)
    assert client.received == [b"one", b"first of all", b"two"]
    again = client.of(ClientOpened)[1]
    assert again.resumed
    assert again.uncertain == (1,)


def test_a_replaced_client_stays_away() -> None:
    world = World()
    first = MemoryLink(world, identity=CLIENT).opened()
    MemoryLink(world, identity=CLIENT, seed=2).opened()
    world.until(lambda: first.machine.state is ClientState.CLOSED, 60)
    ended = first.events[-1]
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, SessionEnded)
    assert ended.error.code == 4109
    world.run(120, step=0.1)
    assert len(first.attempts) == 1


def test_a_gateway_that_cannot_be_reached_is_tried_with_growing_pauses() -> None:
    world = World()
    client = MemoryLink(world)
    client.refusing = 5
    client.client.send(b"patience")
    client.client.start()
    world.until(lambda: client.received == [b"patience"], 120, step=0.05)
    pauses = [event.pause for event in client.of(Disconnected)]
    assert len(pauses) == 5
    assert all(low <= pause <= high for pause, low, high in zip(pauses, (0, 1, 2, 4, 8), (1, 2, 4, 8, 16), strict=True))
    gaps = [later - before for before, later in zip(client.attempts, client.attempts[1:], strict=False)]
    assert all(abs(gap - pause) < 0.2 for gap, pause in zip(gaps, pauses, strict=True))


def test_a_wrong_root_key_ends_the_client_after_a_few_sessions() -> None:
    world = World()
    client = MemoryLink(world, root_key=MAINNET_ROOT_KEY_DER)
    client.client.start()
    world.until(lambda: client.machine.state is ClientState.CLOSED, 200, step=0.05)
    assert len(client.attempts) == MAX_INVALID_OPENINGS
    error = client.events[-1].error
    assert isinstance(error, MessageInvalid)
    assert "root key" in error.hint


def test_two_clients_in_a_room() -> None:
    world = World()
    one, other = (MemoryLink(world, CHAT_ID, seed=seed).opened() for seed in (1, 2))
    world.run(1)
    before = len(other.received)
    from icwsgw.devnet.canisters import app_message

    one.client.send(app_message("hello"))
    world.until(lambda: len(other.received) > before)
    assert b"hello" in other.received[-1]


# -- by hand --------------------------------------------------------------------------------------------------------


def machine(urls: tuple[str, ...] = ("ws://a",), identity: Any = CLIENT, **settings: Any) -> ClientMachine:
    chance = random.Random(1)
    return ClientMachine(urls, ECHO, identity, MAINNET_ROOT_KEY_DER, chance.randbytes, ClientSettings(**settings))


def started(**settings: Any) -> ClientMachine:
    made = machine(**settings)
    assert made.start(0.0) == [Connect("ws://a")]
    return made


def greet(made: ClientMachine, now: float = 0.0, now_ns: int = 10**18) -> list[Any]:
    made.connected(now)
    return made.received(handshake(b"\x01" * 29), now, now_ns)


def test_a_client_without_a_gateway_is_refused() -> None:
    with pytest.raises(ValueError, match="URL of a gateway"):
        machine(urls=())


def test_each_wait_has_an_end() -> None:
    made = started(connect_timeout=3.0, open_timeout=4.0, closing_timeout=5.0)
    assert made.deadline == 3.0
    assert made.tick(2.9) == []
    assert made.tick(3.0) == [Abort()]
    (lost,) = made.lost(1006, "", 3.0)
    assert isinstance(lost, Disconnected)
    assert "while connecting to the gateway" in str(lost.error)
    assert lost.error.hint.startswith("Check the URL")
    assert made.last_error is lost.error

    made = started(connect_timeout=3.0, open_timeout=4.0, closing_timeout=5.0)
    greet(made, 1.0)
    assert made.deadline == 5.0
    (close,) = made.tick(5.0)
    assert isinstance(close, CloseConnection)
    assert close.code == 4000
    assert close.reason == "no answer in time while waiting for the canister to open the session"
    assert made.deadline == 10.0
    assert made.tick(10.0) == [Abort()]
    (lost,) = made.lost(1006, "", 10.0)
    assert isinstance(lost, Disconnected)
    assert "to open the session" in str(lost.error)
    assert "methods" in lost.error.hint


def test_a_gateway_that_is_not_there_may_have_another_address() -> None:
    (lost,) = started().lost(1006, "cannot connect to ws://a: connection refused", 0.0)
    assert isinstance(lost, Disconnected)
    assert lost.error.hint.startswith("Start the gateway, or check the URL")
    for untrusted in (
        "cannot connect to wss://a: the certificate is not valid: self-signed certificate",
        'connection was closed uncleanly ("SSL error: certificate verify failed (in )")',
    ):
        (lost,) = started().lost(1006, untrusted, 0.0)
        assert isinstance(lost, Disconnected)
        assert lost.error.hint.startswith("Give the gateway a certificate for this host that clients trust.")
    opened = started()
    greet(opened, 1.0)
    (lost,) = opened.lost(1006, "", 2.0)
    assert isinstance(lost, Disconnected)
    assert lost.error.hint == "Connect again."


def test_urls_take_turns() -> None:
    made = machine(urls=("ws://a", "ws://b", "ws://c"))
    seen, outputs, now = [], made.start(0.0), 0.0
    for _ in range(4):
        seen.append(outputs[0])
        made.lost(1006, "", now)
        assert made.deadline is not None
        now = made.deadline
        outputs = made.tick(now)
    assert seen == [Connect("ws://a"), Connect("ws://b"), Connect("ws://c"), Connect("ws://a")]


@pytest.mark.parametrize(("status", "again"), [(403, False), (404, False), (429, True), (503, True), (502, True)])
def test_http_answers(status: int, again: bool) -> None:
    made = started()
    (output,) = made.refused(status, "No", 1.0)
    assert isinstance(output, Disconnected if again else Ended)
    error = output.error
    assert str(error) == f"the gateway answered HTTP {status}: No"
    assert error.hint


def test_without_reconnection_the_first_loss_ends_it() -> None:
    made = started(reconnect=False)
    made.send(b"m")
    (ended,) = made.lost(1006, "refused", 1.0)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, SessionEnded)
    assert ended.unsent == (1,)
    assert made.last_error is ended.error
    with pytest.raises(NotOpen):
        made.send(b"m")
    assert made.stop(2.0) == []


def test_attempts_may_have_an_end() -> None:
    made = started(max_attempts=2)
    assert isinstance(made.lost(1006, "", 0.0)[0], Disconnected)
    made.tick(100.0)
    assert isinstance(made.lost(1006, "", 100.0)[0], Disconnected)
    made.tick(200.0)
    assert isinstance(made.lost(1006, "", 200.0)[0], Ended)


def test_stopping_in_every_state() -> None:
    assert machine().stop(0.0) == [Ended(None, (), ())]
    assert started().stop(0.0) == [Abort()]
    made = started()
    greet(made)
    assert made.stop(0.0, 1000, "bye") == [CloseConnection(1000, "bye")]
    assert made.stop(0.0) == []
    with pytest.raises(NotOpen):
        made.send(b"late")
    silent = started()
    greet(silent)
    assert silent.stop(0.0) == [CloseConnection(1000, "")]
    long = started()
    greet(long)
    assert long.stop(0.0, 1000, "\u00e9" * 100) == [CloseConnection(1000, "\u00e9" * 61)], "a frame has 123 bytes"
    assert made.lost(1000, "", 0.1) == [Ended(None, (), ())]
    waiting = started()
    waiting.lost(1006, "", 0.0)
    assert waiting.stop(0.0) == [Ended(None, (), ())]


def test_an_expired_delegation_does_not_reach_the_canister() -> None:
    old = DelegatedIdentity(SESSION, CLIENT.public_key_der, [sign_delegation(CLIENT, SESSION.public_key_der, 10**18)])
    made = started(identity=old)
    assert greet(made, now_ns=10**18 + 1) == [CloseConnection(1000, "the identity's delegation has expired")]
    assert made.payload(10**18 + 1) == (None, [])
    (ended,) = made.lost(1006, "", 0.0)
    assert isinstance(ended, Ended)
    assert "expired" in str(ended.error)


def test_text_and_other_services_are_refused() -> None:
    made = started()
    made.connected(0.0)
    assert made.received(b"hello", 0.0, 0, binary=False) == [CloseConnection(4000, "a text message came")]
    # what still comes is not looked at
    assert made.received(b"more", 0.0, 0) == []


def opened(now: float = 0.0, **settings: Any) -> ClientMachine:
    """A machine whose session the canister has opened."""
    made = started(**settings)
    greet(made, now)
    assert made.payload(10**18)[0] is not None
    session_event(made, SessionOpened(), now)
    return made


def session_event(made: ClientMachine, event: Any, now: float = 0.0) -> list[Any]:
    """Let its session read a message as this event."""
    session = made._session
    assert session is not None
    session.receive = lambda payload, now_ns: event
    return made.received(b"", now, 10**18)


def test_messages_keep_their_order_but_for_those_that_go_first() -> None:
    made = machine()
    assert [made.send(b"a"), made.send(b"b"), made.send(b"c", first=True)] == [1, 2, 3]
    assert made.stop(0.0) == [Ended(None, (3, 1, 2), ())]


@pytest.mark.parametrize(
    ("settings", "size", "most"), [({"max_messages": 4}, 1, 4), ({"max_bytes": 12}, 2, 6)], ids=["messages", "bytes"]
)
def test_there_is_room_again_when_half_of_a_full_queue_is_left(settings: Any, size: int, most: int) -> None:
    made = opened(**settings)
    for _ in range(most):
        made.send(bytes(size))
    for _ in range(2):
        with pytest.raises(QueueFull):
            made.send(bytes(size))
        events: list[Any] = []
        while not events:
            payload, events = made.payload(10**18)
            assert payload is not None
        assert events == [RoomAgain()]
        assert made.buffered == (most // 2, most // 2 * size)
        for _ in range(most - most // 2):
            made.send(bytes(size))


def test_a_message_that_no_call_can_hold_is_refused() -> None:
    made = opened()
    with pytest.raises(MessageTooBig, match="a message has 2090001 bytes, at most 2090000 are sent") as raised:
        made.send(bytes(2_090_001))
    assert raised.value.hint.startswith("A call has at most 2 MiB.")
    assert made.buffered == (0, 0)
    # nothing waits, so nothing has to leave before there is room
    assert made.send(bytes(2_090_000)) == 1
    assert made.payload(10**18)[1] == []
    made = opened(max_message_bytes=3)
    with pytest.raises(MessageTooBig):
        made.send(b"four")


def test_a_withdrawn_message_is_not_sent_and_leaves_room() -> None:
    made = opened(max_messages=2)
    one, two = made.send(b"one"), made.send(b"two")
    with pytest.raises(QueueFull):
        made.send(b"too much")
    assert (made.waits(one), made.waits(two)) == (True, True)
    assert made.withdraw(one) == [RoomAgain()]
    assert made.withdraw(one) == []
    assert (made.waits(one), made.buffered) == (False, (1, 3))
    payload, events = made.payload(10**18)
    assert payload is not None
    assert events == []
    assert made.payload(10**18) == (None, [])
    # what has left cannot be withdrawn
    assert not made.waits(two)
    assert made.withdraw(two) == []
    assert made.stop(1.0) == [CloseConnection(1000, "")]
    (ended,) = made.lost(1000, "", 1.0)
    assert ended == Ended(None, (), (two,))


def test_the_message_type_goes_with_each_message() -> None:
    payloads = []
    for message_type in (Null, Text):
        made = ClientMachine(
            ["ws://a"], ECHO, CLIENT, MAINNET_ROOT_KEY_DER, random.Random(1).randbytes, message_type=message_type
        )
        made.start(0.0)
        greet(made)
        made.payload(10**18)
        session_event(made, SessionOpened())
        made.send(b"m")
        payload, _ = made.payload(10**18)
        assert payload is not None
        payloads.append(payload)
    # the table of types: opt null, and opt text
    assert [b"\x6e\x7f" in payload for payload in payloads] == [True, False]
    assert [b"\x6e\x71" in payload for payload in payloads] == [False, True]


@pytest.mark.parametrize(("open_for", "first"), [(29.0, False), (30.0, True)])
def test_pauses_begin_anew_after_a_session_that_was_stable(open_for: float, first: bool) -> None:
    made, now = started(), 0.0
    for _ in range(4):
        made.lost(1006, "", now)
        assert made.deadline is not None
        now = made.deadline
        made.tick(now)
    greet(made, now)
    session_event(made, SessionOpened(), now)
    (lost,) = made.lost(1006, "", now + open_for)
    assert isinstance(lost, Disconnected)
    assert (lost.pause <= 1.0) is first
    # one that has not opened at all was not stable
    assert made.deadline is not None
    made.tick(made.deadline)
    (lost,) = made.lost(1006, "", 1e6)
    assert isinstance(lost, Disconnected)
    assert lost.pause >= 1.0


def test_invalid_messages_are_counted_anew_after_a_session_that_was_open() -> None:
    made, now = opened(), 0.0
    made.lost(1006, "", now)
    for number in range(MAX_INVALID_OPENINGS):
        now += 1000.0
        made.tick(now)
        made.connected(now)
        made.received(b"text", now, 10**18, binary=False)
        (output,) = made.lost(4000, "", now)
        assert isinstance(output, Ended if number == MAX_INVALID_OPENINGS - 1 else Disconnected)


@pytest.mark.parametrize(
    ("reason", "again", "hint"),
    [
        ("ClosedByApplication", False, "own code"),
        ("KeepAliveTimeout", True, "keep-alive"),
        ("WrongSequenceNumber", True, "lost or came twice"),
        ("SomethingNew", True, ""),
    ],
)
def test_a_session_that_the_canister_closes_is_opened_again_unless_its_application_has_closed_it(
    reason: str, again: bool, hint: str
) -> None:
    made = opened()
    assert session_event(made, ClosedByCanister(reason)) == [CloseConnection(4001, reason)]
    (output,) = made.lost(1006, "", 1.0)
    assert isinstance(output, Disconnected if again else Ended)
    error = output.error
    assert isinstance(error, SessionEnded)
    assert (error.code, reason in str(error)) == (4001, True)
    assert hint in error.hint if hint else error.hint == ""


def test_a_full_queue_and_room_are_reported() -> None:
    world = World()
    client = MemoryLink(world, settings=ClientSettings(max_messages=4))
    for number in range(4):
        client.client.send(b"%d" % number)
    with pytest.raises(QueueFull):
        client.client.send(b"too much")
    assert client.machine.buffered == (4, 4)
    client.opened()
    world.until(lambda: len(client.received) == 4)
    assert len(client.of(RoomAgain)) == 1
    client.client.send(b"again")
    world.until(lambda: client.received[-1] == b"again")


def test_a_keep_alive_overtakes_messages_that_wait() -> None:
    """Few messages are on the way while the gateway does not read; the others have no number yet."""
    world = World(settings=CdkSettings(ack_interval_ms=60_000, keep_alive_timeout_ms=30_000))
    client = MemoryLink(world).opened()
    client.silent = True
    for number in range(MAX_UNREAD + 3):
        client.client.send(b"%d" % number)
    assert client.machine.buffered[0] == 3
    session = client.machine._session
    assert session is not None
    world.until(lambda: session.keep_alive_due, 120, step=0.05)
    order: list[str] = []
    message, keep_alive = session.message, session.keep_alive

    def noted(what: str, make: Any) -> Any:
        def made(*args: Any) -> Any:
            order.append(what)
            return make(*args)

        return made

    session.message, session.keep_alive = noted("message", message), noted("keep-alive", keep_alive)
    client.silent = False
    world.until(lambda: len(client.received) == MAX_UNREAD + 3)
    assert order == ["keep-alive", "message", "message", "message"]
    world.run(60, step=0.05)
    assert client.machine.state is ClientState.OPEN


_STEPS = st.lists(
    st.sampled_from(
        ["connected", "greeting", "junk", "text", "lost", "lost for good", "tick", "send", "payload", "stop"]
    ),
    max_size=30,
)


@given(_STEPS, st.booleans())
def test_any_order_of_events_leaves_a_state_that_can_go_on(steps: list[str], reconnect: bool) -> None:
    """No order of what a transport may report is an error, every message is accounted for, and it can always end."""
    made = machine(reconnect=reconnect)
    now, sent, events = 0.0, 0, list(made.start(0.0))
    for step in steps:
        now += 1.0
        if step == "connected":
            events += made.connected(now)
        elif step == "greeting":
            events += made.received(handshake(b"\x01" * 29), now, 10**18)
        elif step in ("junk", "text"):
            events += made.received(b"\xff", now, 10**18, binary=step == "junk")
        elif step.startswith("lost"):
            events += made.lost(4109 if "good" in step else 1006, "", now)
        elif step == "tick":
            events += made.tick(now)
        elif step == "payload":
            events += made.payload(10**18)[1]
        elif step == "stop":
            events += made.stop(now)
        else:
            try:
                made.send(b"m")
                sent += 1
            except ClientError:
                pass
    events += made.stop(now)
    events += made.lost(1006, "", now)
    assert made.state is ClientState.CLOSED
    assert made.deadline is None
    (ended,) = [event for event in events if isinstance(event, Ended)]
    assert ended.unsent == tuple(range(1, sent + 1))
