"""The CDK's behaviour, one by one; the expectations are those of ic-websocket-cdk-rs and its integration tests."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.devnet.cdk_types import ClientKey, Page, Trap, WsError
from icwsgw.ic import cbor, hashtree, ws
from icwsgw.ic.principal import ANONYMOUS, Principal
from tests.support.devnet import GATEWAY, OTHER_GATEWAY, START_NS, content_of, identity

ALICE, BOB = identity(1).principal, identity(2).principal
HERE, THERE = GATEWAY.principal, OTHER_GATEWAY.principal


class Recorder:
    """Handlers that write down what happens, and do what the test wants."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Principal, bytes]] = []
        self.then: Callable[[], object] = lambda: None

    def on_open(self, client: Principal) -> None:
        self.log.append(("open", client, b""))
        self.then()

    def on_message(self, client: Principal, message: bytes) -> None:
        self.log.append(("message", client, message))
        self.then()

    def on_close(self, client: Principal) -> None:
        self.log.append(("close", client, b""))
        self.then()


class Bench:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.app = Recorder()
        self.changes = 0
        self.cdk = WebSocketCdk(self.clock, self.now_ns, changed=self.count, **options)
        self.cdk.handlers = self.app
        self.cdk.start()

    def count(self) -> None:
        self.changes += 1

    def now_ns(self) -> int:
        return START_NS + round(self.clock.seconds() * 1e9)

    def message(self, who: Principal, number: int, content: bytes = b"hi", nonce: int = 0) -> None:
        self.cdk.ws_message(who, ClientKey(who.raw, nonce), number, False, content)

    def keep_alive(self, who: Principal, number: int, nonce: int = 0) -> None:
        content = ws.encode_service_message(ws.KeepAliveMessage(0))
        self.cdk.ws_message(who, ClientKey(who.raw, nonce), number, True, content)

    def received(self, gateway: Principal = HERE, nonce: int = 0) -> list[Any]:
        return [content_of(message) for message in self.cdk.ws_get_messages(gateway, nonce).messages]

    def advance(self, *seconds: float) -> None:
        for each in seconds:
            self.clock.advance(each)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def refused(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(WsError) as caught:
        act(*arguments)
    return str(caught.value)


# -- opening ------------------------------------------------------------------------------------------------------


def test_opening_sends_an_open_message_before_the_application_hears_of_it(bench: Bench) -> None:
    bench.app.then = lambda: bench.cdk.send(ALICE, b"welcome")
    bench.cdk.ws_open(ALICE, 7, HERE)
    assert bench.received() == [ws.OpenMessage(ALICE.raw, 7), b"welcome"]
    assert bench.app.log == [("open", ALICE, b"")]


def test_the_anonymous_principal_may_not_open(bench: Bench) -> None:
    assert refused(bench.cdk.ws_open, ANONYMOUS, 0, HERE) == "Anonymous principal is not allowed"
    assert bench.cdk.clients == []


def test_a_key_opens_once(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 7, HERE)
    text = refused(bench.cdk.ws_open, ALICE, 7, THERE)
    assert text == f"Client with key {ALICE}_7 already has an open connection"
    assert bench.received(THERE) == []


def test_another_nonce_replaces_the_client_without_a_close_message(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 7, HERE)
    bench.cdk.ws_open(ALICE, 8, THERE)
    assert bench.cdk.clients == [ClientKey(ALICE.raw, 8)]
    assert bench.received(HERE) == [ws.OpenMessage(ALICE.raw, 7)]
    assert bench.received(THERE) == [ws.OpenMessage(ALICE.raw, 8)]
    assert [what for what, _, _ in bench.app.log] == ["open", "close", "open"]


# -- messages from clients ----------------------------------------------------------------------------------------


def test_messages_come_in_sequence_from_one(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    for number in (1, 2, 3):
        bench.message(ALICE, number, b"%d" % number)
    assert [message for what, _, message in bench.app.log if what == "message"] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_wrong_sequence_number_ends_the_session(bench: Bench, number: int) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.message(ALICE, 1)
    text = refused(bench.message, ALICE, number)
    assert text == f"Expected incoming sequence number 2 but got {number}"
    assert bench.received()[-1] == ws.CloseMessage("WrongSequenceNumber")
    assert bench.cdk.clients == []
    assert bench.app.log[-1] == ("close", ALICE, b"")
    gone = refused(bench.message, ALICE, 2)
    assert gone == f"Client with principal {ALICE} doesn't have an open connection"


def test_the_key_in_a_message_must_be_the_callers(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, HERE)
    text = refused(bench.cdk.ws_message, ALICE, ClientKey(BOB.raw, 0), 1, False, b"")
    assert text == f"Client with principal {BOB} has a different key than the one used in the message"
    text = refused(bench.message, ALICE, 1, b"", 1)
    assert text == f"Client with principal {ALICE} has a different key than the one used in the message"
    bench.message(ALICE, 1)


@pytest.mark.parametrize(
    "message", [ws.OpenMessage(ALICE.raw, 0), ws.AckMessage(1), ws.CloseMessage("KeepAliveTimeout")]
)
def test_of_service_messages_only_keep_alive_is_for_the_canister(bench: Bench, message: ws.ServiceMessage) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    content = ws.encode_service_message(message)
    text = refused(bench.cdk.ws_message, ALICE, ClientKey(ALICE.raw, 0), 1, True, content)
    assert text == "Invalid service message"
    # The client stays, its sequence number is used up.
    bench.message(ALICE, 2)


def test_an_undecodable_service_message(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    text = refused(bench.cdk.ws_message, ALICE, ClientKey(ALICE.raw, 0), 1, True, b"nonsense")
    assert text.startswith("Error decoding service message content: ")
    assert bench.cdk.clients == [ClientKey(ALICE.raw, 0)]


# -- closing ------------------------------------------------------------------------------------------------------


def test_a_gateway_closes_its_client_without_an_answer(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_close(HERE, ClientKey(ALICE.raw, 0))
    assert bench.received() == [ws.OpenMessage(ALICE.raw, 0)]
    assert bench.app.log[-1] == ("close", ALICE, b"")


def test_closing_is_refused_to_other_senders_and_for_other_clients(bench: Bench) -> None:
    key = ClientKey(ALICE.raw, 0)
    assert refused(bench.cdk.ws_close, HERE, key) == f"Gateway with principal {HERE} is not registered"
    bench.cdk.ws_open(BOB, 0, HERE)
    assert refused(bench.cdk.ws_close, HERE, key) == f"Client with key {key} doesn't have an open connection"
    bench.cdk.ws_open(ALICE, 0, THERE)
    assert refused(bench.cdk.ws_close, HERE, key) == f"Client with key {key} was not registered to gateway {HERE}"


def test_the_application_closes_with_its_reason(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.close(ALICE)
    assert bench.received()[-1] == ws.CloseMessage("ClosedByApplication")
    expected = f"Client with principal {ALICE} doesn't have an open connection"
    assert refused(bench.cdk.close, ALICE) == expected
    assert refused(bench.cdk.send, ALICE, b"") == expected


# -- the queue ----------------------------------------------------------------------------------------------------


def test_keys_and_sequence_numbers_count_apart(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, HERE)
    bench.cdk.send(BOB, b"x")
    messages = bench.cdk.ws_get_messages(HERE, 0).messages
    assert [message.key.decode() for message in messages] == [f"{HERE}_{n:020}" for n in range(3)]
    assert [message.principal for message in messages] == [ALICE.raw, BOB.raw, BOB.raw]
    assert [cbor.loads(message.content)["sequence_num"] for message in messages] == [1, 1, 2]
    assert cbor.loads(messages[2].content)["timestamp"] == START_NS


def test_each_gateway_has_its_own_queue(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, THERE)
    assert [ws.nonce_of_key(message.key) for message in bench.cdk.ws_get_messages(HERE, 0).messages] == [0]
    assert [ws.nonce_of_key(message.key) for message in bench.cdk.ws_get_messages(THERE, 0).messages] == [0]


def test_a_poll_returns_fifty_and_says_whether_that_is_all(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    for _ in range(100):
        bench.cdk.send(ALICE, b"x")

    def polled(nonce: int) -> tuple[int, bool]:
        page = bench.cdk.ws_get_messages(HERE, nonce)
        return len(page.messages), page.is_end_of_queue

    assert polled(0) == (50, False)
    assert polled(50) == (50, False)
    assert polled(51) == (50, True)
    assert polled(100) == (1, True)
    assert polled(101) == (0, True)
    assert polled(10**19) == (0, True)


def test_an_unknown_client_gets_the_empty_answer(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    assert bench.cdk.ws_get_messages(THERE, 0) == Page([], True)


def test_five_old_messages_are_deleted_with_each_new_one(bench: Bench) -> None:
    bench.cdk.stop()
    bench.cdk.ws_open(ALICE, 0, HERE)
    for _ in range(11):
        bench.cdk.send(ALICE, b"x")
    bench.advance(300)
    bench.cdk.send(ALICE, b"exactly the interval old is not old")
    assert bench.cdk.queue_length(HERE) == 13
    bench.advance(0.001)
    bench.cdk.send(ALICE, b"y")
    assert bench.cdk.queue_length(HERE) == 9
    page = bench.cdk.ws_get_messages(HERE, 0)
    assert ws.nonce_of_key(page.messages[0].key) == 5
    bench.cdk.send(ALICE, b"z")
    bench.cdk.send(ALICE, b"z")
    # 12 were old: 5, 5 and the 2 that were left.
    assert ws.nonce_of_key(bench.cdk.ws_get_messages(HERE, 0).messages[0].key) == 12
    assert bench.cdk.ws_get_messages(HERE, 13).messages[0].key.endswith(b"13")


# -- certification ------------------------------------------------------------------------------------------------


def test_nothing_is_certified_before_the_first_message(bench: Bench) -> None:
    assert bench.cdk.certified_data() == b""
    bench.cdk.ws_open(ALICE, 0, HERE)
    assert len(bench.cdk.certified_data()) == 32
    assert bench.changes == 1


def test_a_witness_holds_the_hashes_from_first_to_last(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, THERE)
    for _ in range(20):
        bench.cdk.send(ALICE, b"x")
        bench.cdk.send(BOB, b"x")
    messages = bench.cdk.ws_get_messages(HERE, 3).messages[:7]
    tree = hashtree.decode(bench.cdk.witness(messages[0].key, messages[-1].key))
    assert hashtree.reconstruct(tree) == bench.cdk.certified_data()
    assert hashtree.list_labels(tree, [b"websocket"]) == [message.key for message in messages]
    for message in messages:
        found = hashtree.lookup(tree, [b"websocket", message.key])
        assert found == hashtree.Found(sha256(message.content).digest())


# -- acknowledgements and keep-alives -----------------------------------------------------------------------------


def test_an_interval_must_be_longer_than_the_time_out() -> None:
    with pytest.raises(ValueError, match="longer than the keep-alive time-out"):
        WebSocketCdk(Clock(), lambda: 0, ack_interval_ms=60_000)


def test_each_round_acknowledges_what_was_received(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, HERE)
    bench.message(ALICE, 1)
    bench.message(ALICE, 2)
    bench.advance(300)
    messages = bench.cdk.ws_get_messages(HERE, 2).messages
    assert [content_of(message) for message in messages] == [ws.AckMessage(2), ws.AckMessage(0)]
    assert [message.principal for message in messages] == [ALICE.raw, BOB.raw]


def test_clients_that_answer_live_through_hours(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    for number in range(1, 61):
        # In steps, so that each timer sees the time it was set for.
        bench.advance(60, 240)
        assert bench.received(nonce=number) == [ws.AckMessage(number - 1)]
        bench.keep_alive(ALICE, number)
    assert bench.clock.seconds() == 5 * 3600
    assert bench.cdk.clients == [ClientKey(ALICE.raw, 0)]


def test_a_silent_client_is_removed_a_minute_after_the_round(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_open(BOB, 0, HERE)
    bench.advance(300, 1)
    bench.keep_alive(ALICE, 1)
    bench.advance(58)
    assert len(bench.cdk.clients) == 2
    bench.advance(1)
    assert bench.cdk.clients == [ClientKey(ALICE.raw, 0)]
    assert bench.received()[-1] == ws.CloseMessage("KeepAliveTimeout")
    assert bench.app.log[-1] == ("close", BOB, b"")


def test_who_opened_after_the_round_is_not_expected_to_answer_it(bench: Bench) -> None:
    bench.advance(300)
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.advance(60)
    assert bench.received() == [ws.OpenMessage(ALICE.raw, 0)]
    bench.advance(240, 60)
    # The OpenMessage was too old by then.
    assert bench.received() == [ws.AckMessage(0), ws.CloseMessage("KeepAliveTimeout")]


def test_application_messages_do_not_keep_alive(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.advance(300, 1)
    bench.message(ALICE, 1)
    bench.advance(59)
    assert bench.cdk.clients == []


def test_a_gateway_without_clients_is_forgotten_after_an_interval(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_close(HERE, ClientKey(ALICE.raw, 0))
    bench.advance(300, 59)
    assert bench.cdk.gateways == [HERE]
    before = bench.cdk.certified_data()
    # The first check is 360 s after the client left: more than an interval.
    bench.advance(1)
    assert bench.cdk.gateways == []
    assert bench.cdk.certified_data() != before
    bench.cdk.ws_open(ALICE, 1, HERE)
    assert ws.nonce_of_key(bench.cdk.ws_get_messages(HERE, 0).messages[0].key) == 0


def test_a_gateway_that_gets_a_client_in_time_is_kept(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.cdk.ws_close(HERE, ClientKey(ALICE.raw, 0))
    bench.advance(200)
    bench.cdk.ws_open(BOB, 0, HERE)
    bench.advance(100)
    bench.keep_alive(BOB, 1)
    bench.advance(60)
    assert bench.cdk.gateways == [HERE]
    assert [ws.nonce_of_key(message.key) for message in bench.cdk.ws_get_messages(HERE, 0).messages] == [0, 1, 2]


def test_a_gateway_emptied_within_the_interval_stays_until_the_next_check(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.advance(100)
    bench.cdk.ws_close(HERE, ClientKey(ALICE.raw, 0))
    bench.advance(200, 60)
    assert bench.cdk.gateways == [HERE]
    bench.advance(240, 60)
    assert bench.cdk.gateways == []


def test_stopping_stops_the_rounds(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.advance(300)
    bench.cdk.stop()
    assert bench.clock.getDelayedCalls() == []
    bench.advance(600)
    assert len(bench.received()) == 2


# -- traps --------------------------------------------------------------------------------------------------------


def state(bench: Bench) -> Any:
    cdk = bench.cdk
    return (
        sorted(cdk.clients),
        sorted(cdk.gateways),
        [cdk.ws_get_messages(gateway, 0) for gateway in (HERE, THERE)],
        cdk.certified_data(),
    )


def trap(bench: Bench, *, after: Callable[[], object] = lambda: None) -> Callable[[], None]:
    def run() -> None:
        after()
        raise Trap("as the test wants")

    return run


def in_transaction(bench: Bench, act: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(Trap), bench.cdk.transaction():
        act(*arguments)


def test_a_trap_undoes_an_opening_with_all_that_it_sent_and_removed(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 1, THERE)
    bench.cdk.ws_open(BOB, 1, HERE)
    before = state(bench)
    bench.app.then = trap(bench, after=lambda: bench.cdk.send(BOB, b"x"))
    in_transaction(bench, bench.cdk.ws_open, ALICE, 2, HERE)
    assert state(bench) == before
    bench.app.then = lambda: None
    bench.cdk.ws_open(ALICE, 2, HERE)
    assert bench.received()[-1] == ws.OpenMessage(ALICE.raw, 2)


def test_a_trap_undoes_a_message_so_that_its_number_is_expected_again(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    before = state(bench)
    bench.app.then = trap(bench, after=lambda: bench.cdk.send(ALICE, b"x"))
    in_transaction(bench, bench.message, ALICE, 1)
    assert state(bench) == before
    bench.app.then = lambda: None
    bench.message(ALICE, 1)
    bench.cdk.send(ALICE, b"y")
    assert cbor.loads(bench.cdk.ws_get_messages(HERE, 1).messages[0].content)["sequence_num"] == 2


def test_a_trap_undoes_deletions(bench: Bench) -> None:
    bench.cdk.stop()
    bench.cdk.ws_open(ALICE, 0, HERE)
    for _ in range(9):
        bench.cdk.send(ALICE, b"x")
    bench.advance(301)
    before = state(bench)
    bench.app.then = trap(bench, after=lambda: bench.cdk.send(ALICE, b"x"))
    in_transaction(bench, bench.message, ALICE, 1)
    assert state(bench) == before


def test_a_trap_undoes_the_keep_alive_check(bench: Bench) -> None:
    bench.cdk.ws_open(BOB, 0, THERE)
    bench.cdk.ws_close(THERE, ClientKey(BOB.raw, 0))
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.advance(300)
    before = state(bench)
    bench.app.then = trap(bench)
    bench.advance(60)
    assert state(bench) == before
    bench.app.then = lambda: None
    bench.advance(240, 60)
    assert bench.cdk.gateways == [HERE]
    assert bench.cdk.clients == []


def test_an_application_that_sends_to_no_client_and_does_not_look_traps(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    bench.app.then = lambda: bench.cdk.send(BOB, b"x")
    with pytest.raises(Trap, match="doesn't have an open connection"):
        bench.message(ALICE, 1)


def test_a_text_as_a_message_is_a_trap_that_says_how_to_make_bytes(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    text: Any = "hello"
    bench.app.then = lambda: bench.cdk.send(ALICE, text)
    with pytest.raises(TypeError, match=r"^a message is bytes, such as app_message\(text\) returns, not str$"):
        bench.message(ALICE, 1)


def test_a_refusal_keeps_what_was_done_before_it(bench: Bench) -> None:
    bench.cdk.ws_open(ALICE, 0, HERE)
    with pytest.raises(WsError), bench.cdk.transaction():
        bench.message(ALICE, 5)
    assert bench.cdk.clients == []
    assert bench.received()[-1] == ws.CloseMessage("WrongSequenceNumber")
