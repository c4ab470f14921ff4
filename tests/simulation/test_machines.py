"""Tests each stateful part alone: hypothesis generates events in any order, and the tests answer for the network.

The simulation tests all parts together; here, a failure shrinks to the few steps that matter.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from icwsgw.agent.outcome import ACCEPTED
from icwsgw.core.messages import ClientEnvelope
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import ConnectionLost, HttpError, IcwsError, Rejected
from icwsgw.gateway.calls.relay import Relay, RelayOwner
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP
from icwsgw.gateway.polling.poller import Poller
from icwsgw.ic import cbor, ws
from tests.simulation.world import OrderedSet, simulated
from tests.support.fake_network import (
    CANISTER,
    IDENTITY,
    NOW_NS,
    REPLIED_OK,
    Request,
    envelope,
    make_context,
    rejected,
    replied_err,
)
from tests.support.pausing import Pausing
from tests.support.sdk_client import SdkClient

#: Random events are not measured, as in test_simulation.py.
pytestmark = pytest.mark.no_cover

MACHINE = settings(max_examples=min(60, settings.default.max_examples), stateful_step_count=40, deadline=None)
FAILURES = (ConnectionLost("lost"), HttpError(503, "busy"), HttpError(429, "slow", 0.5))


def pending(requests: list[Request]) -> list[Request]:
    return [request for request in requests if not request.deferred.called and not request.cancelled]


class RelayMachine(RuleBasedStateMachine):
    """Envelopes leave one at a time, in order, each until it has an end; a full queue pushes back."""

    class Owner(RelayOwner):
        def __init__(self) -> None:
            self.ends: list[int] = []
            self.full = False

        def relayed(self, envelope: ClientEnvelope, outcome: Any) -> None:
            self.ends.append(int(envelope.body))

        def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
            self.ends.append(int(envelope.body))

        def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
            self.ends.append(int(envelope.body))

        def relay_full(self) -> None:
            assert not self.full
            self.full = True

        def relay_drained(self) -> None:
            assert self.full
            self.full = False

    def __init__(self) -> None:
        super().__init__()
        self.context, self.network, self.clock = make_context(relay_queue_messages=3)
        self.owner = self.Owner()
        self.relay = Relay(self.context, CANISTER, self.owner)
        self.relay.open(envelope(0, "ws_open"))
        self.sent = 0
        self.released = self.finished = self.dropped = False
        self.gave_up = False
        self.done: list[None] = []

    @rule()
    @precondition(lambda self: not self.finished and not self.dropped)
    def send(self) -> None:
        self.sent += 1
        self.relay.send(envelope(self.sent))

    @rule()
    def release(self) -> None:
        if not self.finished and not self.dropped:
            self.relay.release()
            self.released = True

    @rule(outcome=st.sampled_from([ACCEPTED, REPLIED_OK, rejected(4, "no"), *FAILURES, Rejected(5, "no")]))
    def answer(self, outcome: Any) -> None:
        for request in pending(self.network.calls):
            if (
                self.finished
                and not self.released
                and isinstance(outcome, Exception)
                and not isinstance(outcome, Rejected)
            ):
                self.gave_up = True
            request.answer(outcome)

    @rule(seconds=st.sampled_from([0.05, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    @precondition(lambda self: not self.finished and not self.dropped)
    def finish(self) -> None:
        self.finished = True
        if not self.released and not self.owner.ends and not pending(self.network.calls):
            self.gave_up = True
        self.relay.finish(lambda: self.done.append(None))

    @rule()
    @precondition(lambda self: not self.dropped)
    def drop(self) -> None:
        self.dropped = True
        self.relay.drop()

    @invariant()
    def one_at_a_time_in_order(self) -> None:
        assert len(pending(self.network.calls)) <= 1
        numbers = [int(request.body) for request in self.network.calls]
        assert numbers == sorted(numbers)
        assert self.owner.ends == sorted(set(self.owner.ends))
        assert len(self.done) <= 1

    @invariant()
    def the_gate_holds(self) -> None:
        if not self.released and not self.finished:
            assert all(int(request.body) == 0 for request in self.network.calls)

    def teardown(self) -> None:
        if not self.dropped:
            if not self.finished:
                self.finish()
            for _ in range(2 * self.sent + 4):
                for request in pending(self.network.calls):
                    request.answer(ACCEPTED)
                self.clock.advance(6.0)
            assert self.done == [None]
            if not self.gave_up:
                expected = list(range(self.sent + 1))
                # ws_open has no end of its own once the canister has spoken
                assert self.owner.ends in (expected, expected[1:])
        assert pending(self.network.calls) == []
        assert self.clock.getDelayedCalls() == []


class PollerMachine(RuleBasedStateMachine):
    """Cursor, window, reset detector, poller: a queue is delivered once and in order, whatever its replicas answer."""

    class Session:
        id = "s"
        state = State.OPEN
        client_key = (b"\x01" * 29, 7)

        def __init__(self) -> None:
            self.opened = Opened.EXECUTED
            self.outgoing: list[bytes] | None = None
            self.got: list[bytes] = []

        def first_message(self, content: bytes) -> bool:
            return True

        def deliver(self, frames: list[bytes], more: bool = False) -> None:
            self.opened = Opened.SPOKE
            self.got += frames

        def end(self, code: int, text: str) -> None:
            raise AssertionError((code, text))

        def canister_reset(self) -> None:
            raise AssertionError("it was not reset")

    PAGE = 4

    def __init__(self) -> None:
        super().__init__()
        self.context, self.network, self.clock = make_context(poll_window=8, canister_grace=100_000.0)
        self.session: Any = self.Session()
        self.poller = Poller(self.context, CANISTER, 0, None)
        self.poller.add(self.session, self.session.client_key)  # type: ignore[arg-type]
        self.poller.start()
        self.queue: list[tuple[bytes, int, bytes, bytes]] = []

    @rule(count=st.sampled_from([1, 3, 4, 30]))
    def push(self, count: int) -> None:
        for _ in range(count):
            number = len(self.queue)
            content = cbor.dumps({"sequence_num": number + 1, "timestamp": NOW_NS + number})
            self.queue.append((*self.session.client_key, b"gw_%020d" % number, content))

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 9), behind=st.sampled_from([0, 0, 0, 1, 3]))
    def answer(self, which: int, behind: int) -> None:
        """Any query is answered, perhaps by a replica that has not seen the newest messages."""
        waiting = pending(self.network.queries)
        if waiting:
            request = waiting[which % len(waiting)]
            # a replica that has seen nothing at all for seconds would look like a reset
            length = max(len(self.queue) - behind, min(len(self.queue), 1))
            page = self.queue[request.nonce : min(request.nonce + self.PAGE, length)]
            request.answer(ws.encode_batch(page, b"c", b"t", request.nonce + self.PAGE >= length))

    @rule(which=st.integers(0, 9), error=st.sampled_from([*FAILURES, Rejected(5, "trap")]))
    def fail(self, which: int, error: Exception) -> None:
        waiting = pending(self.network.queries)
        if waiting:
            waiting[which % len(waiting)].answer(error)

    @rule(data=st.binary(max_size=20))
    def garbage(self, data: bytes) -> None:
        for request in pending(self.network.queries)[:1]:
            request.answer(data)

    @invariant()
    def once_and_in_order(self) -> None:
        got = self.session.got
        assert len(got) <= len(self.queue)
        for frame, message in zip(got, self.queue, strict=False):
            assert message[2] in frame

    @invariant()
    def queries_are_bounded(self) -> None:
        assert self.poller.in_flight <= 8 + MAX_OVERLAP + 1
        assert self.poller.in_flight == len(pending(self.network.queries))

    def teardown(self) -> None:
        for _ in range(20 + len(self.queue)):
            self.clock.advance(6.0 if _ < 3 else 0.1)
            while pending(self.network.queries) and len(self.session.got) < len(self.queue):
                self.answer(0, 0)
        assert len(self.session.got) == len(self.queue)
        self.poller.stop()
        assert pending(self.network.queries) == []
        assert self.clock.getDelayedCalls() == []


class SessionMachine(RuleBasedStateMachine):
    """Sessions of one gateway: whatever happens, each is closed once at most and leaves nothing behind."""

    class Connection(Pausing):
        peer = "test:1"
        origin = ""
        waiting_bytes = 0

        def __init__(self) -> None:
            self.closed: list[int] = []
            self.after_close = 0

        def deliver(self, frames: list[bytes], more: bool = False) -> None:
            self.after_close += bool(self.closed)

        def close(self, code: int, reason: str) -> None:
            self.closed.append(code)

    def __init__(self) -> None:
        super().__init__()
        self.context, self.network, self.clock = make_context(relay_queue_messages=2)
        self.gateway = Gateway(self.context)
        self.clients: list[tuple[Any, Any, SdkClient]] = []
        self.states: dict[Any, State] = {}

    def pick(self, which: int) -> tuple[Any, Any, SdkClient] | None:
        return self.clients[which % len(self.clients)] if self.clients else None

    def now_ns(self) -> int:
        return NOW_NS + int(self.clock.seconds() * 1e9)

    @rule(same=st.booleans())
    @precondition(lambda self: len(self.clients) < 6)
    def connect(self, same: bool) -> None:
        connection = self.Connection()
        session = self.gateway.connect(connection)
        sdk = SdkClient(CANISTER, IDENTITY.derive(50) if same else None)
        sdk.gateway = self.context.identities[session.identity_index].principal
        self.clients.append((connection, session, sdk))

    @rule(which=st.integers(0, 5))
    def ws_open(self, which: int) -> None:
        if (client := self.pick(which)) is not None:
            client[1].received(client[2].open_payload(self.now_ns()), True)

    @rule(which=st.integers(0, 5))
    def message(self, which: int) -> None:
        if (client := self.pick(which)) is not None:
            client[1].received(client[2].message_payload(b"x", self.now_ns()), True)

    @rule(which=st.integers(0, 5), data=st.binary(max_size=9), binary=st.booleans())
    def garbage(self, which: int, data: bytes, binary: bool) -> None:
        if (client := self.pick(which)) is not None:
            client[1].received(data, binary)

    @rule(which=st.integers(0, 5))
    def canister_speaks(self, which: int) -> None:
        if (client := self.pick(which)) is not None and client[1].poller is not None:
            client[1].deliver([b"frame"])

    @rule(which=st.integers(0, 5))
    def leave(self, which: int) -> None:
        if (client := self.pick(which)) is not None:
            client[1].left(1006)

    @rule(which=st.integers(0, 5))
    def reset(self, which: int) -> None:
        client = self.pick(which)
        if client is not None and client[1].state is not State.INIT and client[1].state is not State.CLOSED:
            client[1].canister_reset()

    @rule(
        which=st.integers(0, 5),
        outcome=st.sampled_from([ACCEPTED, REPLIED_OK, replied_err("no"), rejected(4, "no"), *FAILURES]),
    )
    def answer(self, which: int, outcome: Any) -> None:
        waiting = pending(self.network.calls)
        if waiting:
            waiting[which % len(waiting)].answer(outcome)

    @rule(seconds=st.sampled_from([0.2, 6.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _, session, _ in self.clients:
            session.overdue(self.clock.seconds())

    @invariant()
    def lives_go_forward(self) -> None:
        for connection, session, _ in self.clients:
            assert session.state >= self.states.get(session, State.INIT)
            self.states[session] = session.state
            assert len(connection.closed) <= 1
            assert not connection.after_close
            if connection.closed:
                assert session.state is State.CLOSED

    @invariant()
    def the_registry_knows_exactly_the_living(self) -> None:
        registry = self.gateway.registry
        living = {session for _, session, _ in self.clients if session.state is not State.CLOSED}
        assert set(registry.sessions) == living
        registered = {s for poller in registry.pollers.values() for s in poller.sessions.values()}
        assert registered == {session for session in living if session.state is not State.INIT}
        for poller in registry.pollers.values():
            assert poller.sessions
            assert set(poller.waiting.values()) == {s for s in poller.sessions.values() if s.state < State.OPEN}
            assert set(poller.senders.values()) <= set(poller.sessions.values())

    def teardown(self) -> None:
        for _, session, _ in self.clients:
            session.left(1000)
        for _ in range(60):
            for request in pending(self.network.calls):
                request.answer(REPLIED_OK)
            self.clock.advance(6.0)
        registry = self.gateway.registry
        assert not registry.sessions
        assert not registry.ending
        assert not registry.pollers
        assert len(self.gateway.close_notices) == 0
        assert self.clock.getDelayedCalls() == []


RelayMachine.TestCase.settings = MACHINE
PollerMachine.TestCase.settings = MACHINE
SessionMachine.TestCase.settings = MACHINE
TestRelay = RelayMachine.TestCase
TestPoller = PollerMachine.TestCase
TestSession = SessionMachine.TestCase


def test_sets_of_the_simulation_behave_as_sets() -> None:
    with simulated():
        items = OrderedSet([3, 1])
        items.add(2)
        items.add(3)
        items.discard(9)
        items.remove(1)
    assert list(items) == [3, 2]
    assert len(items) == 2
    items.update([5, 2, 4])
    assert list(items) == [3, 2, 5, 4]
    assert list(items.difference([2, 9])) == [3, 5, 4]
