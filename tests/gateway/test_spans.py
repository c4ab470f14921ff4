"""The spans of a whole world in memory, and that nothing of them is there when nobody collects them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from icwsgw.agent.outcome import ACCEPTED, UNDER_WAY, CallOutcome
from icwsgw.core.call_answers import RESUBMIT_SECONDS
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.errors import ConnectionLost, HttpError
from icwsgw.gateway.calls.relay import Relay, RelayOwner
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.spans import RelaySpans
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.tracing import Tracing
from tests.gateway.test_gateway_handover import hand_over
from tests.memory.world import MemoryClient, World
from tests.support.fake_network import CANISTER, REPLIED_OK, envelope, make_context, rejected, replied_err


class TracedWorld(World):
    """A world whose clients' connections are traced, as the server's are."""

    def __init__(self, *, ratio: float = 1.0, idle_polls: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing("abcde-fg", ratio=ratio, idle_polls=idle_polls, now_ns=self.now_ns)
        self.tracing.add(SimpleSpanProcessor(self.exporter))
        self.gateway.stop()
        self.context = replace(self.context, tracing=self.tracing)
        self.gateway = Gateway(self.context)
        self.gateway.start()

    def connect(self) -> MemoryClient:
        connection = self.tracing.connection("memory")
        client = self.client()
        if connection is not None:
            assert client.session is not None
            client.session.trace = connection.opened(client.session.id, "memory")
        self.until(lambda: client.opened)
        return client

    def named(self, name: str) -> list[ReadableSpan]:
        found = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)


def ident(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def test_a_session_s_messages_and_the_polls_that_brought_them() -> None:
    world = TracedWorld(query_latency=0.02)
    client = world.connect()
    for number in range(3):
        client.send(b"DIDL\x00\x00%d" % number)
    world.until(lambda: len(client.received) == 3)
    client.leave()
    world.run(3)
    (session,) = world.named("Client Session")
    up, down, polls = world.named("Client Message"), world.named("Canister Message"), world.named("Polling Iteration")
    assert [facts(span)["method"] for span in up] == ["ws_open", "ws_message", "ws_message", "ws_message"]
    assert [facts(span)["outcome"] for span in up] == ["replied"] * 4
    assert {span.parent.span_id for span in up + down if span.parent} == {ident(session)}
    assert [facts(span)["message_key"] for span in down] == client.keys
    ids = {ident(span): span for span in polls}
    assert all(link in ids for span in down for link in links(span))
    assert [links(span) for span in polls] == [[], *([ident(span)] for span in polls[:-1])]
    assert facts(session)["cause"] == 1000
    assert facts(session)["canister_id"] == ECHO_ID.text
    assert (facts(session)["up"], facts(session)["down"]) == (4, 4)
    relays = world.named("Relay Canister Messages")
    assert {span.parent.span_id for span in relays if span.parent} == set(ids)
    # a poll began when its query left
    assert all((span.end_time or 0) - (span.start_time or 0) >= 20_000_000 for span in polls)
    numbers = [facts(span)["polling_iteration"] for span in polls]
    assert numbers == sorted(set(numbers))
    world.check_idle()


def test_polls_without_messages_are_kept_where_they_are_asked_for() -> None:
    few, all_of_them = TracedWorld(), TracedWorld(idle_polls=True)
    for world in (few, all_of_them):
        world.connect()
        world.run(2)
    assert len(few.named("Polling Iteration")) == 1
    polls = all_of_them.named("Polling Iteration")
    assert len(polls) > 15
    assert {facts(span)["idle_before"] for span in polls} == {0}


def test_a_failed_poll_is_kept() -> None:
    world = TracedWorld()
    world.connect()
    world.replica.faults.add(InjectedFault(kind="http", on="query", canister=ECHO_ID, status=500, count=1))
    world.run(1)
    failed = [span for span in world.named("Polling Iteration") if not span.status.is_ok and span.status.description]
    assert [span.status.description for span in failed] == ["http"]


def test_a_session_that_is_not_sampled_has_no_spans() -> None:
    world = TracedWorld(ratio=0.0)
    client = world.connect()
    assert client.session is not None
    assert client.session.relay is not None
    assert client.session.relay._spans is None
    client.send(b"DIDL\x00\x00")
    world.until(lambda: client.received)
    assert world.exporter.get_finished_spans() == ()


def test_without_tracing_nothing_is_traced() -> None:
    world = World()
    (client,) = world.open()
    assert client.session is not None
    assert client.session.trace is None
    assert client.session.relay is not None
    assert client.session.relay._spans is None
    assert [poller._spans for poller in world.gateway.registry.pollers.values()] == [None]
    traced = TracedWorld()
    traced.connect()
    assert None not in [poller._spans for poller in traced.gateway.registry.pollers.values()]


# the relay alone


class Owner(RelayOwner):
    __slots__ = ("id", "notifications")

    def __init__(self) -> None:
        self.id = "s-1"
        self.notifications: list[str] = []

    def relayed(self, envelope: Any, outcome: Any) -> None:
        self.notifications.append("relayed")

    def relay_failed(self, envelope: Any, error: Any) -> None:
        self.notifications.append("failed")

    def relay_outcome_unknown(self, envelope: Any, error: Any) -> None:
        self.notifications.append("unknown")

    def relay_full(self) -> None:
        self.notifications.append("full")

    def relay_drained(self) -> None:
        self.notifications.append("drained")


class RelayWorld:
    def __init__(self, **options: Any) -> None:
        context, self.network, self.clock = make_context(**options)
        self.exporter = InMemorySpanExporter()
        tracing = Tracing("abcde-fg", now_ns=context.now_ns)
        tracing.add(SimpleSpanProcessor(self.exporter))
        connection = tracing.connection("memory")
        assert connection is not None
        session = connection.opened("s-1", "memory")
        assert session is not None
        self.owner = Owner()
        self.relay = Relay(context, CANISTER, self.owner, spans=RelaySpans(session, CANISTER.text))

    def outcomes(self) -> list[tuple[str, int]]:
        """(outcome, calls) of each message that is done with."""
        return [(facts(span)["outcome"], len(span.events)) for span in self._messages()]

    def failed(self) -> list[bool]:
        """Whether each of them is marked as failed."""
        return [span.status.status_code is StatusCode.ERROR for span in self._messages()]

    def _messages(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == "Client Message"]


def test_every_end_of_a_message_ends_its_span() -> None:
    world = RelayWorld(relay_queue_messages=3)
    relay, network = world.relay, world.network
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(ConnectionLost("gone"))
    world.clock.advance(60)
    network.calls[1].answer(REPLIED_OK)
    for number in range(1, 6):
        relay.send(envelope(number))
    relay.release()
    network.calls[2].answer()
    network.calls[3].answer(HttpError(403, "no"))
    network.calls[4].answer(rejected(4, "no"))
    relay.drop()
    assert world.outcomes() == [
        *(("replied", 2), ("accepted", 1), ("http", 1), ("rejected", 1)),
        *(("dropped", 1), ("dropped", 0)),
    ]
    assert world.failed() == [False, False, True, True, True, True]
    # the owner gets every notification that it gets without spans
    assert sorted(world.owner.notifications) == ["drained", "failed", "failed", "full", "relayed", "relayed"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [(REPLIED_OK, False), (ACCEPTED, False), (replied_err("no"), True), (rejected(4, "no", certified=True), True)],
)
def test_a_span_fails_with_a_message_that_the_canister_refuses(answer: CallOutcome, failed: bool) -> None:
    world = RelayWorld()
    world.relay.open(envelope(0, "ws_open"))
    world.network.calls[0].answer(answer)
    assert world.failed() == [failed]


def test_the_span_of_a_call_with_an_unknown_outcome_ends_when_it_is_given_up() -> None:
    world = RelayWorld()
    relay, network = world.relay, world.network
    relay.open(envelope(0, "ws_open"))
    network.calls[0].answer(REPLIED_OK)
    relay.release()
    relay.send(envelope(1, ttl=20))
    while not world.owner.notifications[1:]:
        network.calls[-1].answer(UNDER_WAY)
        world.clock.advance(RESUBMIT_SECONDS)
    assert world.owner.notifications == ["relayed", "unknown"]
    assert [outcome for outcome, _ in world.outcomes()] == ["replied", "unknown"]


def test_a_ws_open_that_is_not_tried_again_ends_all_behind_it() -> None:
    world = RelayWorld()
    done: list[None] = []
    world.relay.open(envelope(0, "ws_open"))
    world.relay.send(envelope(1))
    world.network.calls[0].answer(ConnectionLost("gone"))
    world.relay.finish(lambda: done.append(None))
    assert done == [None]
    assert world.outcomes() == [("given up", 1), ("dropped", 0)]


def test_the_trace_of_a_session_goes_on_in_the_process_that_takes_it_over() -> None:
    world = TracedWorld(query_latency=0.02, call_latency=0.05)
    client = world.connect()
    untraced = world.client()
    world.until(lambda: untraced.opened)
    client.send(b"DIDL\x00\x00before")
    world.run(0.01)
    assert client.session is not None
    assert client.session.trace is not None
    trace = client.session.trace.id
    hand_over(world, [client, untraced])
    traces = [each.session.trace for each in (client, untraced) if each.session is not None]
    assert [each if each is None else each.id for each in traces] == [trace, None]
    world.until(lambda: len(client.received) == 1)
    client.echoes(b"DIDL\x00\x00after")
    client.leave()
    world.run(3)
    first, second = world.named("Client Session")
    assert (facts(first)["cause"], facts(second)["cause"]) == ("handed over", 1000)
    assert second.parent is not None
    assert (second.parent.span_id, second.parent.is_remote) == (ident(first), True)
    assert {span.context and span.context.trace_id for span in (first, second)} == {int(trace, 16)}
    up = world.named("Client Message")
    assert [facts(span)["outcome"] for span in up] == ["replied", "handed over", "replied"]
    assert [span.parent and span.parent.span_id for span in up] == [ident(first), ident(first), ident(second)]


def test_a_level_without_sessions_goes_on_without_them() -> None:
    tracing = Tracing("abcde-fg", level=DEBUG)
    assert tracing.handed_over("a-1", {"trace_id": "1", "span_id": "2"}) is None
