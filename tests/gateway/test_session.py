"""A session between its client and a fake network; tests/memory/test_sessions.py has complete sessions."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.agent.outcome import ACCEPTED, DONE, CallOutcome, OutcomeKind
from icwsgw.core.call_answers import REFUSED_RESUBMISSIONS, RESUBMIT_SECONDS
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.messages import frame, handshake
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import ConnectFailed, ConnectionLost, HttpError, Rejected
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.session import NEXT_MESSAGE_SECONDS, ClientSession
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import encode_batch
from tests.support.fake_network import (
    CANISTER,
    IDENTITY,
    NOW_NS,
    REPLIED_OK,
    FakeNetwork,
    make_context,
    rejected,
    replied_err,
    set_skew,
)
from tests.support.sdk_client import SdkClient


class Connection:
    """The client's end, as the session sees it."""

    def __init__(self) -> None:
        self.peer = "192.0.2.1:5"
        self.origin = ""
        self.waiting_bytes = 0
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.reading = True

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        self.frames += frames

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


class World:
    def __init__(self, **options: Any) -> None:
        context, self.network, self.clock = make_context(**options)
        self.context = context
        self.gateway = Gateway(context)
        self.connection = Connection()
        self.sdk = SdkClient(CANISTER)
        self.sdk.gateway = IDENTITY.principal
        self.session = self.gateway.connect(self.connection)

    network: FakeNetwork
    clock: Clock
    session: ClientSession

    def now_ns(self) -> int:
        return NOW_NS + int(self.clock.seconds() * 1e9)

    def receive(self, payload: bytes) -> None:
        self.session.received(payload, True)

    def setup(self) -> World:
        self.receive(self.sdk.open_payload(self.now_ns()))
        assert self.session.state is State.SETUP
        return self

    def open(self) -> World:
        self.setup()
        self.network.calls[-1].answer(REPLIED_OK)
        self.session.deliver([b"first frame"])
        assert self.session.state is State.OPEN
        return self

    def methods(self) -> list[str]:
        return [call.content["method_name"] for call in self.network.calls]


def test_it_greets_with_the_principal_to_name() -> None:
    world = World()
    assert world.connection.frames == [frame(handshake(IDENTITY.principal.raw))]


def test_the_client_key_is_registered_before_ws_open_leaves() -> None:
    world = World()
    seen: list[Any] = []
    key = (world.sdk.identity.principal.raw, world.sdk.client_nonce)
    call = world.network.call

    def spy(canister: Principal, body: bytes, **options: Any) -> Any:
        seen.append(world.gateway.registry.find(canister, 0, key))
        return call(canister, body, **options)

    world.network.call = spy
    world.setup()
    assert seen == [world.session]


def test_an_executed_ws_open_wakes_the_poller_and_the_first_message_opens() -> None:
    world = World().setup()
    world.network.calls[0].answer(REPLIED_OK)
    world.clock.advance(0)
    assert len(world.network.queries) == 1
    world.receive(world.sdk.message_payload(b"early", world.now_ns()))
    assert world.methods() == ["ws_open"]
    world.session.deliver([b"frame"])
    assert world.connection.frames[-1] == b"frame"
    assert world.methods() == ["ws_open", "ws_message"]


@pytest.mark.parametrize("value", [b"\xf5", b"\xa1\x01\x02"], ids=["without a hash", "not readable"])
def test_a_ws_open_with_a_field_that_is_not_known_is_relayed_once(value: bytes) -> None:
    """What it holds is for the replica to judge; a repetition is still refused."""
    world = World()
    payload = world.sdk.open_payload(world.now_ns())
    head = b"\x67content"
    at = payload.index(head) + len(head)
    assert payload[at] == 0xA7, "a map of seven fields"
    payload = payload[:at] + b"\xa8\x69something" + value + payload[at + 1 :]
    world.receive(payload)
    assert len(world.network.calls) == 1
    world.session.left(1001)
    other = Connection()
    world.gateway.connect(other).received(payload, True)
    assert len(world.network.calls) == 1
    ((code, reason),) = other.closed
    assert code == CloseCode.OPEN_REFUSED
    assert "relayed before" in reason


def test_a_refused_ws_open_closes_with_the_reason_and_sends_no_ws_close() -> None:
    for outcome, words in [
        (rejected(4, "not you"), "ws_open refused: reject 4: not you"),
        (replied_err("no guests"), "ws_open refused: no guests"),
        (HttpError(400, "bad signature"), "ws_open refused: HTTP 400 bad signature"),
    ]:
        world = World().setup()
        world.network.calls[0].answer(outcome)
        ((code, reason),) = world.connection.closed
        assert code == CloseCode.OPEN_REFUSED
        assert reason.startswith(words)
        world.session.left(code)
        assert world.methods() == ["ws_open"]
        assert not world.gateway.registry.sessions
        assert not world.gateway.registry.ending


def test_a_refused_ws_open_of_a_client_that_left_needs_no_ws_close() -> None:
    world = World().setup()
    world.session.left(1006)
    world.network.calls[0].answer(rejected(4, "not you"))
    assert world.methods() == ["ws_open"]
    assert not world.gateway.registry.ending


def test_a_ws_open_that_waits_for_its_turn_when_the_client_leaves_needs_no_ws_close() -> None:
    """Attackers could keep thousands of sessions in memory that way, at canisters that never answer."""
    world = World()
    sessions = []
    for _ in range(100):
        sdk, connection = SdkClient(CANISTER), Connection()
        session = world.gateway.connect(connection)
        sdk.gateway = world.sdk.gateway
        session.received(sdk.open_payload(world.now_ns()), True)
        sessions.append(session)
    sent = len(world.network.calls)
    assert 0 < sent < 100
    for session in sessions:
        session.left(1006)
    assert len(world.network.calls) == sent
    assert len(world.gateway.registry.ending) == sent


@pytest.mark.parametrize(("error", "closes"), [(ConnectFailed("down"), False), (ConnectionLost("lost"), True)])
@pytest.mark.parametrize("first", ["answer", "leave"])
def test_a_canister_that_cannot_have_got_ws_open_needs_no_ws_close(error: Any, closes: bool, first: str) -> None:
    world = World().setup()
    if first == "leave":
        world.session.left(1006)
    world.network.calls[0].answer(error)
    if first == "answer":
        world.session.left(1006)
    assert world.methods() == ["ws_open", *(["ws_close"] if closes else [])]
    assert bool(world.gateway.registry.ending) is closes


def test_an_ws_open_that_expired_may_have_been_executed_so_the_canister_is_notified() -> None:
    world = World().setup()
    while not world.connection.closed:
        if not world.network.calls[-1].deferred.called:
            world.network.calls[-1].answer(ConnectionLost("lost"))
        world.clock.advance(5)
    assert world.connection.closed[0][0] == CloseCode.EXPIRED
    assert world.methods()[-1] == "ws_close"


@pytest.mark.parametrize("refusal", [HttpError(400, "stale"), rejected(5, "stopped")])
def test_a_message_that_may_have_been_executed_ends_nothing(refusal: Any) -> None:
    world = World().open()
    world.receive(world.sdk.message_payload(b"1", world.now_ns()))
    world.receive(world.sdk.message_payload(b"2", world.now_ns()))
    world.network.calls[-1].answer(ConnectionLost("lost"))
    world.clock.advance(5)
    for _ in range(REFUSED_RESUBMISSIONS):
        world.network.calls[-1].answer(refusal)
        world.clock.advance(RESUBMIT_SECONDS)
    assert world.connection.closed == []
    assert world.methods() == ["ws_open", *["ws_message"] * (2 + REFUSED_RESUBMISSIONS)]
    assert world.network.calls[-1].body != world.network.calls[-2].body
    assert world.context.metrics.relays.values["unknown"] == 1


def test_a_message_that_expires_undelivered_ends_the_session_in_plain_words() -> None:
    world = World().open()
    world.receive(world.sdk.message_payload(b"1", world.now_ns()))
    while not world.connection.closed:
        world.network.calls[-1].answer(ConnectFailed("down"))
        world.clock.advance(5)
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.EXPIRED
    assert reason.startswith("ws_message: the envelope expired before the network took it")


GARBAGE = CallOutcome(OutcomeKind.REPLIED, b"no Candid")
DOUBTS = [
    (GARBAGE,),
    (DONE,),
    # with Motoko's CDK a trap of the application's on_open comes so, after the client was taken
    (rejected(4, "trapped", certified=True),),
    (ConnectionLost("lost"), *[HttpError(400, "stale")] * REFUSED_RESUBMISSIONS),
    (HttpError(502), *[rejected(5, "stopped")] * REFUSED_RESUBMISSIONS),
]


def doubtful(answers: tuple[Any, ...]) -> World:
    """A session whose ws_open has such answers."""
    world = World().setup()
    for answer in answers[:-1]:
        world.network.calls[-1].answer(answer)
        world.clock.advance(1)
    world.network.calls[-1].answer(answers[-1])
    return world


@pytest.mark.parametrize("answers", DOUBTS)
def test_a_ws_open_that_may_have_been_executed_is_waited_for_and_then_taken_back(answers: tuple[Any, ...]) -> None:
    world = doubtful(answers)
    assert world.connection.closed == []
    world.clock.advance(NEXT_MESSAGE_SECONDS)
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.OPEN_REFUSED
    assert "ws_open" in reason
    # the canister may have the client
    assert world.methods()[-1] == "ws_close"
    world.network.calls[-1].answer(REPLIED_OK)
    world.session.left(code)
    assert not world.gateway.registry.ending


def test_a_ws_open_in_doubt_costs_no_other_connection_its_place() -> None:
    world = doubtful(DOUBTS[0])
    announced: list[Any] = []
    world.gateway.announce = lambda *what: announced.append(what)
    world.clock.advance(NEXT_MESSAGE_SECONDS)
    assert world.connection.closed
    assert announced == []


@pytest.mark.parametrize("answers", DOUBTS)
def test_a_ws_open_that_may_have_been_executed_opens_with_the_canisters_first_message(answers: tuple[Any, ...]) -> None:
    world = doubtful(answers)
    world.clock.advance(NEXT_MESSAGE_SECONDS / 2)
    world.session.deliver([b"first frame"])
    world.clock.advance(NEXT_MESSAGE_SECONDS)
    assert (world.session.state, world.connection.closed) == (State.OPEN, [])


def test_what_a_client_had_sent_before_it_left_ends_with_the_first_that_its_canister_refuses() -> None:
    world = World().open()
    for text in (b"1", b"2", b"3"):
        world.receive(world.sdk.message_payload(text, world.now_ns()))
    world.session.left(1000)
    world.network.calls[-1].answer(replied_err("no such client"))
    assert world.methods() == ["ws_open", "ws_message", "ws_close"]
    world.network.calls[-1].answer(replied_err("no such client"))
    assert not world.gateway.registry.ending
    assert world.context.waiting.octets == 0


def test_what_a_client_sends_while_its_opening_is_uncertain_is_not_lost() -> None:
    world = doubtful(DOUBTS[0])
    world.receive(world.sdk.message_payload(b"early", world.now_ns()))
    world.session.deliver([b"first frame"])
    assert world.methods() == ["ws_open", "ws_message"]


def test_once_ws_open_is_answered_a_client_that_has_left_counts_as_answered() -> None:
    """Of those that wait for the answer only a number is kept: its messages would be given up with it."""
    world = World()
    world.receive(world.sdk.open_payload(NOW_NS))
    world.receive(world.sdk.message_payload(b"sent before it left", NOW_NS))
    world.session.left(1001)
    assert world.session in world.gateway.registry.unanswered
    world.network.calls[0].answer(REPLIED_OK)
    assert world.session not in world.gateway.registry.unanswered
    assert world.methods() == ["ws_open", "ws_message"]
    world.network.calls[1].answer(REPLIED_OK)
    assert world.methods() == ["ws_open", "ws_message", "ws_close"]


@pytest.mark.parametrize("answers", DOUBTS)
def test_a_client_that_leaves_in_doubt_leaves_nothing_behind(answers: tuple[Any, ...]) -> None:
    world = doubtful(answers)
    world.session.left(1006)
    assert world.methods()[-1] == "ws_close"
    world.network.calls[-1].answer(REPLIED_OK)
    assert not world.gateway.registry.ending
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize("answers", DOUBTS)
def test_doubt_about_a_client_that_has_left_is_reported_to_the_canister(answers: tuple[Any, ...]) -> None:
    world = World().setup()
    world.session.left(1006)
    world.network.calls[-1].answer(answers[0])
    assert world.methods()[-1] == "ws_close"


def test_one_session_one_canister_one_sender_one_method() -> None:
    def other_canister(world: World) -> bytes:
        world.sdk.canister = Principal(b"\x09\x01\x01")
        return world.sdk.message_payload(b"x", world.now_ns())

    def other_sender(world: World) -> bytes:
        other = SdkClient(CANISTER)
        return other.message_payload(b"x", world.now_ns())

    def second_open(world: World) -> bytes:
        return world.sdk.open_payload(world.now_ns())

    for make in (other_canister, other_sender, second_open):
        world = World().open()
        world.receive(make(world))
        assert world.connection.closed[0][0] == CloseCode.PROTOCOL_ERROR, make.__name__


def test_after_the_end_nothing_comes_and_nothing_goes() -> None:
    world = World().open()
    world.session.end(CloseCode.REPLACED, "replaced")
    frames = len(world.connection.frames)
    world.session.end(CloseCode.INTERNAL, "again")
    world.session.deliver([b"late"])
    world.receive(world.sdk.message_payload(b"late", world.now_ns()))
    world.session.canister_reset()
    world.session.left(1000)
    assert len(world.connection.closed) == 1
    assert len(world.connection.frames) == frames
    assert world.methods() == ["ws_open", "ws_close"]


def test_a_clients_code_is_counted_and_unknown_ones_share_a_label() -> None:
    for code, label in [(1000, "1000"), (4001, "4001"), (3999, "other")]:
        world = World().open()
        world.session.left(code)
        assert world.context.metrics.closes.values[label] == 1


def test_deadlines() -> None:
    world = World()
    assert not world.session.overdue(29.0)
    assert world.session.overdue(30.0)
    assert world.connection.closed[0][0] == CloseCode.NOT_OPENED
    world = World().setup()
    assert not world.session.overdue(49.0)
    assert world.session.overdue(50.0)
    world = World().open()
    assert not world.session.overdue(1e9)


@pytest.mark.parametrize("outcome", [REPLIED_OK, ACCEPTED])
def test_a_message_that_was_executed_wakes_the_poller(outcome: CallOutcome) -> None:
    for world, executed in ((World().setup(), True), (World().open(), outcome is REPLIED_OK)):
        world.clock.advance(0.05)
        if world.session.state is State.OPEN:
            world.receive(world.sdk.message_payload(b"one", world.now_ns()))
        while world.network.queries and not world.network.queries[-1].deferred.called:
            world.network.queries[-1].answer(encode_batch([], b"", b"", True))
        before = len(world.network.queries)
        world.network.calls[-1].answer(outcome)
        world.clock.advance(0.02)
        assert (len(world.network.queries) > before) is executed


def test_a_session_that_is_overdue_ends_with_what_is_wrong_with_polls() -> None:
    world = World().setup()
    assert world.session.poller is not None
    world.session.poller.backoff.failed(0.0, error="no such method")
    assert world.session.overdue(50.0)
    assert "does not answer polls: no such method" in world.connection.closed[0][1]


def test_the_canister_has_its_whole_time_however_late_ws_open_came() -> None:
    world = World()
    world.clock.advance(25)
    world.setup()
    assert not world.session.overdue(25 + 49.0)
    assert world.session.overdue(25 + 50.0)


def test_what_is_held_when_the_canister_is_reset_never_leaves() -> None:
    world = World().open()
    world.sdk.message_payload(b"the one that is missing", world.now_ns())
    world.receive(world.sdk.message_payload(b"ahead of its turn", world.now_ns()))
    world.session.canister_reset()
    world.clock.advance(5)
    assert world.methods() == ["ws_open"]
    assert world.connection.closed[0][0] == CloseCode.CANISTER_RESET


def test_a_clients_reading_is_stopped_while_its_queue_is_full() -> None:
    world = World(relay_queue_messages=3).open()
    for _ in range(5):
        world.receive(world.sdk.message_payload(b"x", world.now_ns()))
    assert not world.connection.reading
    while not world.connection.reading:
        world.network.calls[-1].answer()
    assert not world.connection.closed


def test_expiries_are_judged_by_the_networks_clock() -> None:
    world = World()
    set_skew(world.context, -600 * 10**9)
    world.receive(world.sdk.open_payload(world.now_ns() - 600 * 10**9))
    assert not world.connection.closed
    for certified in (False, True):
        world = World()
        set_skew(world.context, -600 * 10**9, certified)
        world.receive(world.sdk.open_payload(world.now_ns()))
        assert bool(world.connection.closed) is certified, "text alone refuses no client"
    assert world.connection.closed[0][0] == CloseCode.EXPIRED


@pytest.mark.parametrize(
    "refusal", [rejected(4, "again?"), HttpError(400, "stale"), replied_err("again?"), ConnectionLost("x")]
)
@pytest.mark.parametrize("stays", [True, False])
def test_a_ws_open_refused_when_the_canister_has_spoken_already_changes_nothing(refusal: Any, stays: bool) -> None:
    """Its first answer was lost and the repetition is refused, or never gets through."""
    world = World().setup()
    world.session.deliver([b"first frame"])
    if not stays:
        world.receive(world.sdk.message_payload(b"x", world.now_ns()))
        world.session.left(1000)
    for _ in range(60):
        call = world.network.calls[-1]
        if call.content["method_name"] == "ws_open" and not call.deferred.called:
            call.answer(refusal)
        world.clock.advance(5)
    assert world.connection.closed == []
    if stays:
        assert world.session.state is State.OPEN
        world.receive(world.sdk.message_payload(b"x", world.now_ns()))
        assert world.methods()[-1] == "ws_message"
        world.session.left(1000)
    while world.methods()[-1] != "ws_close":
        world.network.calls[-1].answer()
    world.network.calls[-1].answer(REPLIED_OK)
    assert not world.gateway.registry.ending
    assert world.context.metrics.closes.values["1000"] == 1


def test_a_message_that_expired_behind_the_gate_ends_the_session_once_and_the_canister_is_notified() -> None:
    world = World().setup()
    world.network.calls[-1].answer(REPLIED_OK)
    stale = world.sdk.envelope("ws_message", b"", world.now_ns(), ttl=2.0)
    world.receive(stale)
    world.receive(world.sdk.message_payload(b"still valid", world.now_ns()))
    world.clock.advance(5)
    # the canister's first message opens the gate
    world.session.deliver([b"first frame"])
    assert [code for code, _ in world.connection.closed] == [CloseCode.EXPIRED]
    assert world.context.metrics.closes.values["4102"] == 1
    assert world.session in world.gateway.registry.ending
    assert world.methods() == ["ws_open", "ws_message"]
    world.network.calls[-1].answer()
    assert world.methods()[-1] == "ws_close"
    world.network.calls[-1].answer(REPLIED_OK)
    assert not world.gateway.registry.ending


def test_a_ws_open_about_to_expire_is_one_end_of_one_session() -> None:
    world = World()
    world.receive(world.sdk.open_payload(world.now_ns(), ttl=-2.2))
    assert [code for code, _ in world.connection.closed] == [CloseCode.EXPIRED]
    assert world.methods() == []
    assert world.context.metrics.closes.values["4102"] == 1
    assert sum(world.context.metrics.opens.values.values()) == 1


# what is certified about a message decides


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (rejected(5, "IC0503: trapped", certified=True), "reject 5: IC0503: trapped"),
        (rejected(3, "no such canister", certified=True), "reject 3: no such canister"),
    ],
)
def test_what_is_certified_against_a_message_is_reported_at_once(outcome: CallOutcome, words: str) -> None:
    world = World().open()
    world.receive(world.sdk.message_payload(b"1", world.now_ns()))
    world.network.calls[-1].answer(outcome)
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.MESSAGE_REFUSED
    assert reason.startswith(f"ws_message refused: {words}")
    assert world.methods()[-1] == "ws_close"
    counted = world.context.metrics.relays.values
    assert (counted["replied"], counted["rejected"]) == (1, 1)


def test_a_client_whose_message_the_canister_refuses_gets_its_queued_messages_and_then_the_reason() -> None:
    world = World().open()
    for _ in range(3):
        world.receive(world.sdk.message_payload(b"1", world.now_ns()))
    world.network.calls[-1].answer(replied_err("Expected incoming sequence number 2 but got 3"))
    # counted at once, and what follows would be refused as well
    counted = world.context.metrics.relays.values
    assert (counted["canister_refused"], counted["abandoned"]) == (1, 2)
    assert world.connection.closed == []
    world.receive(world.sdk.message_payload(b"2", world.now_ns()))
    world.session.deliver([b"the canister's close message"])
    assert world.connection.frames[-1] == b"the canister's close message"
    assert world.methods() == ["ws_open", "ws_message"]
    world.clock.advance(NEXT_MESSAGE_SECONDS)
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.MESSAGE_REFUSED
    assert reason.startswith("ws_message refused: Expected incoming sequence number 2 but got 3")
    assert world.methods()[-1] == "ws_close"


def test_a_client_that_gets_the_canisters_close_message_leaves_by_itself() -> None:
    world = World().open()
    world.receive(world.sdk.message_payload(b"1", world.now_ns()))
    world.network.calls[-1].answer(replied_err("no open connection"))
    world.session.left(4001)
    world.network.calls[-1].answer(REPLIED_OK)
    assert (world.connection.closed, world.clock.getDelayedCalls()) == ([], [])


@pytest.mark.parametrize(
    "reject",
    [
        CallOutcome(OutcomeKind.REJECTED, reject=Rejected(4, "the handler trapped", "IC0406"), certified=True),
        CallOutcome(OutcomeKind.REJECTED, reject=Rejected(5, "did not reply", "IC0506"), certified=True),
    ],
)
def test_where_the_number_may_have_been_taken_the_next_message_decides(reject: CallOutcome) -> None:
    for last, closed in ((REPLIED_OK, 0), (replied_err("wrong number"), 1)):
        world = World().open()
        world.receive(world.sdk.message_payload(b"1", world.now_ns()))
        world.receive(world.sdk.message_payload(b"2", world.now_ns()))
        world.network.calls[-1].answer(reject)
        assert world.connection.closed == []
        world.network.calls[-1].answer(last)
        world.clock.advance(NEXT_MESSAGE_SECONDS)
        assert len(world.connection.closed) == closed


def test_a_client_of_version_0_1_is_sent_the_version_it_needs() -> None:
    world = World()
    # IDL.encode([IDL.Record({client_nonce: IDL.Nat64})], [{client_nonce: 42n}]) of @dfinity/candid
    arg = bytes.fromhex("4449444c016c01bbd1eacd0e7801002a00000000000000")
    world.receive(world.sdk.envelope("ws_open", arg, world.now_ns()))
    ((code, reason),) = world.connection.closed
    assert code == CloseCode.OPEN_REFUSED
    assert reason.startswith("use ic-websocket-js 0.3 or later [")


def canister_message(number: int | None, timestamp: int = 5) -> bytes:
    return cbor.dumps({"timestamp": timestamp} if number is None else {"sequence_num": number, "timestamp": timestamp})


@pytest.mark.parametrize(("number", "opens"), [(None, True), (0, True), (1, True), (2, False), (50, False)])
def test_a_first_message_that_is_not_the_canisters_first_is_of_another_life(number: int | None, opens: bool) -> None:
    world = World().setup()
    assert world.session.first_message(canister_message(number)) is opens
    assert world.session.opened_at_ns == 5
    assert [code for code, _ in world.connection.closed] == ([] if opens else [CloseCode.CANISTER_RESET])


@pytest.mark.parametrize(("number", "missed"), [(None, False), (1, False), (2, False), (3, True), (50, True)])
def test_a_message_is_missed_where_the_next_but_one_comes(number: int | None, missed: bool) -> None:
    world = World().open()
    assert world.session.messages_down == 1
    assert world.session.has_missed(canister_message(number)) is missed
    assert [code for code, _ in world.connection.closed] == ([CloseCode.MESSAGES_MISSED] if missed else [])


def test_what_is_known_of_an_opening_only_grows() -> None:
    world = World().setup()
    assert world.session.opened is Opened.UNKNOWN
    world.network.calls[-1].answer(REPLIED_OK)
    assert world.session.opened is Opened.EXECUTED
    world.session.deliver([b"first frame"])
    assert world.session.opened is Opened.SPOKE
    other = World().setup()
    other.session.deliver([b"first frame"])
    # the certificate comes later than the message
    other.network.calls[-1].answer(REPLIED_OK)
    assert other.session.opened is Opened.SPOKE
    other.session.left(1000)
    assert other.session.opened is Opened.SPOKE, "also when the session is over"


def test_an_opening_is_counted_and_timed() -> None:
    world = World()
    world.clock.advance(7.0)
    world.session = world.gateway.connect(world.connection)
    world.setup()
    world.clock.advance(2.0)
    world.network.calls[-1].answer(REPLIED_OK)
    world.session.deliver([b"first frame"])
    metrics = world.context.metrics
    assert {kind: count for kind, count in metrics.opens.values.items() if count} == {"opened": 1}
    assert (metrics.connection_opening_time.count, metrics.connection_opening_time.sum) == (1, 2.0)


def test_doubt_about_a_ws_open_asks_the_canister_at_once() -> None:
    world = World().setup()
    world.network.calls[0].answer(rejected(4, "no", certified=True))
    assert world.network.queries == []
    world.clock.advance(0)
    assert len(world.network.queries) == 1


@pytest.mark.parametrize(("number", "missed"), [(1, False), (2, False), (3, True), (4, True), (None, False)])
def test_a_message_after_one_that_was_left_out_ends_the_session(number: int | None, missed: bool) -> None:
    world = World().open()
    assert world.session.messages_down == 1
    assert world.session.has_missed(cbor.dumps({"sequence_num": number})) is missed
    assert [code for code, _ in world.connection.closed] == [CloseCode.MESSAGES_MISSED] * missed
