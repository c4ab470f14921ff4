from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from icwsgw.config.quotas import CANISTER_QUOTAS
from icwsgw.core.session_machine import Opened, State
from icwsgw.gateway import registry as registry_module
from icwsgw.gateway.polling.poll_timer import PollTimer
from icwsgw.gateway.registry import KEEP_SECONDS, Registry
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import encode_batch
from tests.support.fake_network import CANISTER, FakeNetwork, make_context

OTHER = Principal(b"\x00\x00\x00\x00\x00\x00\x00\x09\x01\x01")


class Session:
    def __init__(self, number: int, identity_index: int = 0) -> None:
        self.client_key = (b"\x01" * 29, number)
        self.identity_index = identity_index
        self.group = "192.0.2.1"
        self.poller: Any = None
        self.state = State.SETUP
        self.opened = Opened.UNKNOWN
        self.outgoing = None

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        pass


def make(**options: Any) -> tuple[Registry, FakeNetwork, Clock]:
    context, network, clock = make_context(**options)
    return Registry(context), network, clock


def enter(registry: Registry, session: Any, canister: Principal = CANISTER) -> Any:
    session.poller = registry.add(session, canister, session.client_key)
    return session


def test_one_poller_for_each_canister_and_identity() -> None:
    registry, _, _ = make(identities=2)
    sessions = [enter(registry, Session(n)) for n in range(3)]
    enter(registry, Session(3, identity_index=1))
    enter(registry, Session(4), OTHER)
    assert len({session.poller for session in sessions}) == 1
    assert len(registry.pollers) == 3
    assert registry.count(CANISTER) == 4
    assert registry.find(CANISTER, 0, sessions[0].client_key) is sessions[0]
    assert registry.find(CANISTER, 1, sessions[0].client_key) is None  # type: ignore[arg-type]
    assert registry.find(Principal(b"\x01"), 0, sessions[0].client_key) is None  # type: ignore[arg-type]


def test_the_last_one_out_stops_the_poller() -> None:
    registry, _, clock = make()
    first, second = enter(registry, Session(1)), enter(registry, Session(2))
    registry.remove(first)
    assert registry.pollers
    registry.remove(second)
    registry.remove(second)
    assert not registry.pollers
    assert clock.getDelayedCalls() == []


def answer(network: FakeNetwork, canister: Principal) -> None:
    """The canister answers its last poll with message 4."""
    content = cbor.dumps({"timestamp": 1})
    query = [each for each in network.queries if each.canister == canister][-1]
    query.answer(encode_batch([(b"\x01" * 29, 9, b"g_%020d" % 4, content)], b"", b"", True))


def read_some(registry: Registry, network: FakeNetwork, clock: Clock, canister: Principal = CANISTER) -> None:
    session = enter(registry, Session(1), canister)
    clock.advance(0.1)
    answer(network, canister)
    registry.remove(session)


def test_a_position_is_kept_for_as_long_as_the_canister_keeps_its_own() -> None:
    for waited, nonce in [(1.0, 4), (KEEP_SECONDS - 1, 4), (KEEP_SECONDS + 1, 0)]:
        registry, network, clock = make()
        read_some(registry, network, clock)
        clock.advance(waited)
        enter(registry, Session(2))
        clock.advance(0.1)
        assert network.queries[-1].nonce == nonce


def test_too_many_canisters_for_the_budget_are_logged_once() -> None:
    registry, _, _ = make(query_budget=20)
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    canisters = [Principal(bytes([number, 1, 1])) for number in range(4)]
    for canister in canisters:
        registry.spoke(canister)
    sessions = [enter(registry, Session(number), canister) for number, canister in enumerate(canisters)]
    for session in sessions:
        registry.remove(session)
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    logged = [(event["icws_message"], event["icws_fields"]) for event in events if "icws_message" in event]
    logged = [(text, fields) for text, fields in logged if "polled" in text]
    words = ("canisters are polled less often than --polling-interval", "canisters are polled at --polling-interval")
    assert [text.startswith(start) for (text, _), start in zip(logged, words, strict=True)] == [True, True]
    assert [fields["pollers"] for _, fields in logged] == [2, 1]


def test_of_two_states_of_one_queue_the_later_one_has_the_position() -> None:
    registry, _, _ = make()
    cursor = {"next": 5, "fresh": False, "last": {"nonce": 4, "content": b"m"}, "_gap_asks": 1}
    states = [{"cursor": cursor | more} for more in ({"next": 4}, {"last": None}, {"_gap_asks": 0}, {})]
    for state in states:
        registry.read({"pollers": [[CANISTER.raw, 0, state]]})
    assert [registry.continues_from(CANISTER.raw, 0, state) for state in states] == [False, False, True, True]
    assert registry.continues_from(OTHER.raw, 0, states[0]), "nobody else has it"


def test_stopping_stops_all() -> None:
    registry, _, clock = make()
    enter(registry, Session(1))
    enter(registry, Session(2), OTHER)
    registry.stop()
    assert clock.getDelayedCalls() == []


def test_a_canister_that_has_spoken_is_no_newcomer_under_any_identity() -> None:
    registry, _, _ = make(identities=3)
    pollers = [enter(registry, Session(index, identity_index=index)).poller for index in range(3)]
    newcomer = enter(registry, Session(9), OTHER).poller
    assert all(poller.poll_budget.newcomer for poller in pollers)
    registry.spoke(CANISTER)
    assert not any(poller.poll_budget.newcomer for poller in pollers)
    assert newcomer.poll_budget.newcomer


def test_a_poller_all_of_whose_clients_are_closed_stops_with_the_last() -> None:
    registry, _, clock = make()
    session = enter(registry, Session(1))
    session.poller.closing = True
    registry.remove(session)
    assert not registry.pollers
    assert clock.getDelayedCalls() == []


def test_a_newcomers_poller_takes_a_place_of_its_address_and_gives_it_back() -> None:
    registry, _, _ = make()
    context = registry._context
    session = enter(registry, Session(1))
    assert session.poller.poll_budget.newcomer
    assert context.newcomers.busy == 1
    enter(registry, Session(2))
    assert context.newcomers.busy == 1, "one for the poller, not for each client"
    registry.spoke(CANISTER)
    assert not session.poller.poll_budget.newcomer
    assert context.newcomers.busy == 0
    assert not enter(registry, Session(3), CANISTER).poller.poll_budget.newcomer


def test_a_canister_that_has_spoken_is_known_as_long_as_its_clients_stay() -> None:
    registry, _, clock = make()
    assert registry.is_newcomer(CANISTER)
    session = enter(registry, Session(1))
    registry.spoke(CANISTER)
    clock.advance(KEEP_SECONDS - 1)
    assert not registry.is_newcomer(CANISTER)
    clock.advance(2)
    assert registry.is_newcomer(CANISTER), "it has no client that it has accepted"
    session.poller.senders[session.client_key[0]] = session
    assert not registry.is_newcomer(CANISTER)
    registry.remove(session)
    assert registry.is_newcomer(CANISTER)


def test_polls_of_a_canister_that_has_spoken_are_due_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    hastened: list[PollTimer] = []
    monkeypatch.setattr(PollTimer, "hasten", lambda timer: hastened.append(timer))
    registry, _, _ = make(identities=2)
    pollers = [enter(registry, Session(index, identity_index=index)).poller for index in range(2)]
    enter(registry, Session(9), OTHER)
    registry.spoke(CANISTER)
    assert hastened == [poller.poll_timer for poller in pollers]


def test_of_too_many_that_wait_for_the_answer_to_ws_open_the_oldest_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry_module, "MAX_UNANSWERED", 2)
    registry, _, _ = make()
    sessions: list[Any] = [enter(registry, Session(number)) for number in range(5)]
    for session in sessions:
        session.relay = object()
    sessions[1].opened = Opened.SPOKE
    sessions[2].relay = None
    assert [registry.left(session) for session in sessions] == [None, None, None, None, sessions[0]]
    assert list(registry.unanswered) == sessions[3:]
    assert registry.ending == set(sessions)
    registry.answered(sessions[3])
    registry.answered(sessions[1])
    assert list(registry.unanswered) == sessions[4:]


def test_of_too_many_positions_the_oldest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "KEEP_POSITIONS", 2)
    registry, network, clock = make()
    for canister in (CANISTER, OTHER, Principal(b"\x01")):
        read_some(registry, network, clock, canister)
        registry.spoke(canister)
    written = registry.written()
    kept = [OTHER.raw, b"\x01"]
    assert [canister for canister, *_ in written["positions"]] == kept
    assert [canister for canister, _ in written["spoken"]] == kept


def test_pollers_that_are_there_already_get_the_later_state() -> None:
    """Sessions are taken over early, and their pollers with them; some have ended since then."""
    before, network, clock = make()
    for canister in (OTHER, CANISTER):
        session = enter(before, Session(1), canister)
        clock.advance(0.1)
        answer(network, canister)
        session.poller.senders[session.client_key[0]] = SimpleNamespace(id="s-1")
    registry, _, _ = make()
    poller = enter(registry, Session(1)).poller
    assert (poller.cursor.next, poller.poll_budget.newcomer) == (0, True)
    registry.read(cbor.loads(cbor.dumps(before.written())))
    assert (poller.cursor.next, poller.poll_budget.newcomer) == (5, False)
    assert list(registry.pollers.values()) == [poller]
    # a second session of it changes nothing
    poller.cursor.next = 9
    second: Any = Session(2)
    assert registry.take_over(second, CANISTER) is poller
    assert (poller.cursor.next, second.client_key in poller.waiting) == (9, True)
    spoken: Any = Session(3)
    spoken.opened = Opened.SPOKE
    registry.take_over(spoken, CANISTER)
    assert spoken.client_key not in poller.waiting
    # the first session of another one does
    assert registry.take_over(Session(4), OTHER).cursor.next == 5  # type: ignore[arg-type]
    registry.taken_over()
    other = Principal(b"\x01")
    assert registry.take_over(Session(5), other).cursor.next == 0  # type: ignore[arg-type]


def test_a_canister_without_clients_has_no_quota_in_use() -> None:
    registry, _, clock = make(canister_quotas=CANISTER_QUOTAS.parse(f"{CANISTER.text}:message-rate=1"))
    registry.quotas.change(registry._context.config, [])
    sessions = [enter(registry, Session(number)) for number in range(2)]
    held = sessions[0].poller.held_clients
    assert held is not None
    for session in sessions:
        registry.remove(session)
    assert clock.getDelayedCalls() == []
    assert enter(registry, Session(3)).poller.held_clients is not held


def test_what_has_stopped_is_forgotten() -> None:
    registry, _, _ = make()
    enter(registry, Session(1))
    registry.stop()
    assert registry.pollers == {}
