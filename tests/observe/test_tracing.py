"""Spans as the SDK keeps them, and their way to a collector: real gRPC on loopback, in the test's process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from icwsgw.observe import collector as addresses
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.tracing import Export, ExportErrors, Tracing
from tests.support import otlp, pem

PRINCIPAL = "7cio4-7j2lx-6f3tp-mkfw7-t4amd-tjphs-hkits-6qa7x-hmnmx-yvwxk-nqe"


class Ticking:
    """A clock that goes on by a nanosecond each time it is read."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


def kept(**options: Any) -> tuple[Tracing, Callable[[], dict[str, ReadableSpan]]]:
    tracing = Tracing(PRINCIPAL, now_ns=Ticking(), **options)
    exporter = InMemorySpanExporter()
    tracing.add(SimpleSpanProcessor(exporter))
    return tracing, lambda: {span.name: span for span in exporter.get_finished_spans()}


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def ident(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def test_a_connection_with_its_session_and_messages() -> None:
    tracing, spans = kept()
    connection = tracing.connection("10.0.0.1")
    assert connection is not None
    session = connection.opened("ab-1", "192.0.2.7")
    assert session is not None
    session.canister("aaaaa-aa")
    up = session.client_message("ws_message", b"x" * 500)
    up.attempt(1)
    up.attempt(2)
    up.ended("accepted")
    poll = tracing.polls("aaaaa-aa")
    poll.answered()
    iteration = poll.iteration(tracing.now_ns())
    relaying = iteration.relaying(1)
    session.canister_message("gateway_00000000000000000000", "aaaaa-aa", 40, iteration.context).ended()
    relaying.ended()
    iteration.ended()
    session.ended({"cause": 1000})
    connection.lost(None)
    found = spans()
    accept, handler, ours = found["Accept Connection"], found["Client Session Handler"], found["Client Session"]
    assert [parent(accept), parent(handler), parent(ours)] == [None, ident(accept), ident(handler)]
    assert parent(found["Client Message"]) == parent(found["Canister Message"]) == ident(ours)
    assert parent(found["Polling Iteration"]) is None
    assert parent(found["Relay Canister Messages"]) == ident(found["Polling Iteration"])
    assert [link.context.span_id for link in found["Canister Message"].links] == [ident(found["Polling Iteration"])]
    assert dict(accept.attributes or {}) == {"client_addr": "192.0.2.7", "client_id": "ab-1"}
    assert dict(ours.attributes or {}) == {"client_id": "ab-1", "canister_id": "aaaaa-aa", "cause": 1000}
    assert [event.attributes for event in found["Client Message"].events] == [{"attempt": 1}, {"attempt": 2}]
    context = ours.get_span_context()
    assert context is not None
    assert session.id == f"{context.trace_id:032x}"
    assert accept.resource.attributes["service.name"] == "ic-ws-gw-7cio4"
    assert all((span.end_time or 0) > (span.start_time or 0) > 1_700_000_000_000_000_000 for span in found.values())


def test_a_refused_connection_is_one_failed_span() -> None:
    tracing, spans = kept()
    connection = tracing.connection("10.0.0.1")
    assert connection is not None
    connection.lost("origin")
    ((name, span),) = spans().items()
    assert name == "Accept Connection"
    assert not span.status.is_ok
    assert (span.attributes or {})["refusal"] == "origin"


def test_polls_are_numbered_and_linked_to_the_one_before_that_was_kept() -> None:
    tracing = Tracing(PRINCIPAL, now_ns=Ticking())
    exporter = InMemorySpanExporter()
    tracing.add(SimpleSpanProcessor(exporter))
    polls = tracing.polls("aaaaa-aa")
    for number in range(6):
        polls.answered()
        if number in (2, 5):
            iteration = polls.iteration(tracing.now_ns())
            if number == 5:
                iteration.failed("timeout")
            iteration.ended()
    first, second = exporter.get_finished_spans()
    assert [dict(span.attributes or {}) for span in (first, second)] == [
        {"canister_id": "aaaaa-aa", "polling_iteration": 2, "idle_before": 2},
        {"canister_id": "aaaaa-aa", "polling_iteration": 5, "idle_before": 2},
    ]
    assert [link.context.span_id for link in second.links] == [ident(first)]
    assert second.status.description == "timeout"


def test_what_is_not_sampled_is_not_made() -> None:
    tracing, spans = kept(ratio=0.0)
    assert tracing.connection("10.0.0.1") is None
    polls = tracing.polls("aaaaa-aa")
    polls.answered()
    iteration = polls.iteration(0)
    assert iteration.context is None
    iteration.relaying(1).ended()
    iteration.ended()
    assert spans() == {}


def test_connections_only_at_debug() -> None:
    tracing, spans = kept(level=DEBUG)
    connection = tracing.connection("10.0.0.1")
    assert connection is not None
    assert connection.opened("ab-1", "10.0.0.1") is None
    connection.lost(None)
    assert not tracing.detailed
    assert set(spans()) == {"Accept Connection", "Client Session Handler"}


# the way to a collector


@pytest.fixture
def collector() -> Iterator[otlp.Collector]:
    found = otlp.Collector()
    yield found
    found.stop()


def test_spans_arrive_and_the_last_ones_with_the_end(collector: otlp.Collector) -> None:
    tracing = Tracing(PRINCIPAL)
    export = Export(tracing, addresses.parse_collector(f"grpc://127.0.0.1:{collector.port}"), lambda *args: None)
    for _ in range(3):
        connection = tracing.connection("10.0.0.1")
        assert connection is not None
        connection.lost(None)
    export.close()
    assert [span.name for span in collector.spans] == ["Accept Connection"] * 3
    resource = collector.spans[0].resource
    assert resource["service.name"] == "ic-ws-gw-7cio4"
    assert resource["service.instance.id"] == PRINCIPAL
    assert logging.getLogger("opentelemetry").propagate


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = pem.authority()
    certificate, key = pem.server(authority).write(tmp_path)
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.pem)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(trusted))
    found = otlp.Collector(grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())]))
    try:
        tracing = Tracing(PRINCIPAL)
        export = Export(tracing, addresses.parse_collector(f"https://localhost:{found.port}"), lambda *args: None)
        connection = tracing.connection("10.0.0.1")
        assert connection is not None
        connection.lost(None)
        export.close()
        assert [span.name for span in found.spans] == ["Accept Connection"]
    finally:
        found.stop()


@pytest.mark.parametrize("hangs", [False, True])
def test_a_collector_that_is_away_or_hangs_costs_a_line_and_no_time(
    collector: otlp.Collector, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icwsgw.observe.tracing.EXPORT_TIMEOUT", 600.0)
    if hangs:
        collector.hang.clear()
    else:
        collector.stop()
    tracing = Tracing(PRINCIPAL)
    lines: list[tuple[Any, ...]] = []
    received = threading.Event()

    def call_from_thread(function: Callable[..., Any], *args: Any) -> None:
        lines.append(args)
        received.set()

    export = Export(tracing, addresses.parse_collector(f"grpc://127.0.0.1:{collector.port}"), call_from_thread)
    for _ in range(2000):
        connection = tracing.connection("10.0.0.1")
        assert connection is not None
        connection.lost(None)
    if not hangs:
        assert received.wait(30)
    # comes back long before the export's own time is over
    export.close(0.2)
    assert len(lines) <= 3


class Failing(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        logging.getLogger("opentelemetry.exporter").error("no route\nsecond line")
        return SpanExportResult.FAILURE


def test_an_exporter_may_be_given() -> None:
    lines: list[tuple[Any, ...]] = []
    tracing = Tracing(PRINCIPAL)
    export = Export(
        tracing,
        addresses.Collector("nowhere:1", False),
        lambda function, *args: lines.append(args),
        lambda collector: Failing(),
    )
    connection = tracing.connection("10.0.0.1")
    assert connection is not None
    connection.lost(None)
    export.close()
    assert lines == [("no route", 0)]


def test_complaints_are_one_a_minute_for_each_source(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr("icwsgw.observe.tracing._log", Sink(logged))
    complaints = ExportErrors("c:4317", lambda function, *args: function(*args), lambda: now[0])
    complaints.listen()
    try:
        exporter, sdk = logging.getLogger("opentelemetry.exporter"), logging.getLogger("opentelemetry.sdk")
        for _ in range(50):
            exporter.warning("%s", "x" * 1000)
            exporter.info("quiet")
        sdk.warning("queue is full")
        now[0] = 61.0
        exporter.warning("again")
    finally:
        complaints.ignore()
    assert [(line["reason"][:20], line["left_out"]) for line in logged] == [
        ("x" * 20, 0),
        ("queue is full", 0),
        ("again", 49),
    ]
    assert len(logged[0]["reason"]) == 300
    assert {line["collector"] for line in logged} == {"c:4317"}


class Sink:
    def __init__(self, logged: list[dict[str, Any]]) -> None:
        self._logged = logged

    def warn(self, message: str, /, **fields: Any) -> None:
        assert message == "exporting traces failed"
        self._logged.append(fields)
