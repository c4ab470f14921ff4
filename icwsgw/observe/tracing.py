"""OpenTelemetry traces: the spans and their export to a collector. Imported only if a collector is configured.

The tree of spans is that of the Rust gateway (its ws_listener.rs, client_session_handler.rs, client_session.rs,
canister_poller.rs)::

    Accept Connection                 from the TCP connection to the WebSocket, or to the refusal
      Client Session Handler          the WebSocket connection
        Client Session                from the handshake message until the session is closed
          Client Message              a message of the client, until the network has accepted or refused the call
          Canister Message            a message to the client; a link leads to the polling iteration that brought it
    Polling Iteration                 one query; a link leads to the iteration before it
      Relay Canister Messages         passing its messages to the clients

Iterations without messages occur ten times a second for each canister. They get no span unless an option enables it;
the next span counts them. A failed iteration always gets a span.

Sampling applies to a root span and everything below it. A connection that is not sampled has no trace objects at all.
Attributes are ids, numbers and words of this program. They contain no contents, arguments, keys or signatures, and no
text from peers, which could contain these.

A thread of the OpenTelemetry SDK exports spans in batches. While a collector cannot be reached, one line per minute is
logged. Beyond :data:`QUEUE` waiting spans, the oldest are dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from icwsgw._version import __version__
from icwsgw.escaping import escape_invisible
from icwsgw.observe.collector import TRACE, Collector
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.observe.logs import get_logger

#: Spans that wait for the collector.
QUEUE = 8192
#: Longest delay in seconds before waiting spans are exported.
DELAY = 2.0
#: Timeout of one export in seconds, including retries.
EXPORT_TIMEOUT = 10.0
#: Seconds for the export of the last spans when the gateway stops.
FLUSH_SECONDS = 3.0

_log = get_logger("tracing")


class Tracing:
    """Makes the spans of one gateway.

    :param principal: the gateway's principal as text; ``service.name`` contains its beginning, as in the Rust gateway
    :param ratio: fraction of root spans that are sampled, 0 to 1
    :param level: :data:`~icwsgw.observe.collector.TRACE` for all spans, debug for those of connections only
    :param idle_polls: whether polling iterations without messages get spans
    :param now_ns: returns nanoseconds since 1970
    :ivar detailed: whether sessions, messages and polls have spans
    :ivar idle_polls: the parameter of that name
    """

    def __init__(
        self,
        principal: str,
        *,
        ratio: float = 1.0,
        level: int = TRACE,
        idle_polls: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.detailed = level <= TRACE
        self.idle_polls = idle_polls
        self.now_ns = now_ns
        resource = Resource.create(
            {
                "service.name": "ic-ws-gw-" + principal[:5],
                "service.instance.id": principal,
                "service.version": __version__,
            }
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False
        )
        self._tracer = self._provider.get_tracer("icwsgw", __version__)

    def add(self, processor: SpanProcessor) -> None:
        """Add a processor, which gets every span that ends."""
        self._provider.add_span_processor(processor)

    def shutdown(self) -> None:
        """Shut down the processors; this may block for as long as an export."""
        self._provider.shutdown()

    def connection(self, client: str) -> ConnectionTrace | None:
        """Begin the trace of a TCP connection from the address ``client``; None if it is not sampled."""
        span = self.start("Accept Connection", None, {"client_addr": client})
        return ConnectionTrace(self, span) if span.is_recording() else None

    def handed_over(self, session_id: str, trace: Mapping[str, Any]) -> SessionTrace | None:
        """Continue with the trace of a session that another process has served.

        :param trace: as :meth:`SessionTrace.written` gives it
        :return: None if the level excludes sessions
        """
        if not self.detailed:
            return None
        former = SpanContext(
            int(trace["trace_id"], 16),
            int(trace["span_id"], 16),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        within = set_span_in_context(NonRecordingSpan(former), Context())
        return SessionTrace(self, self.start("Client Session", within, {"client_id": session_id, "handed_over": True}))

    def polls(self, canister: str) -> PollTraces:
        """Begin the traces of the polls of one canister."""
        return PollTraces(self, canister)

    def start(
        self,
        name: str,
        parent: Context | None,
        attributes: dict[str, AttributeValue],
        *,
        start_ns: int | None = None,
        links: tuple[SpanContext, ...] = (),
    ) -> Span:
        """Begin a span; without a parent it is a root."""
        return self._tracer.start_span(
            name,
            Context() if parent is None else parent,
            attributes=attributes,
            links=[Link(link) for link in links],
            start_time=self.now_ns() if start_ns is None else start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )


class ConnectionTrace:
    """The span of one client's connection."""

    __slots__ = ("_accept", "_handler", "_tracing")

    def __init__(self, tracing: Tracing, accept: Span) -> None:
        self._tracing = tracing
        self._accept = accept
        self._handler: Span | None = None

    def opened(self, session_id: str, client: str) -> SessionTrace | None:
        """Record that the WebSocket is open.

        :param client: the client's address; a proxy may have named another one than that of the TCP connection
        :return: the trace of the session, None if the level excludes sessions
        """
        tracing, accept = self._tracing, self._accept
        accept.set_attributes({"client_id": session_id, "client_addr": client})
        accept.end(tracing.now_ns())
        ids: dict[str, AttributeValue] = {"client_id": session_id}
        self._handler = tracing.start("Client Session Handler", set_span_in_context(accept, Context()), ids)
        if not tracing.detailed:
            return None
        session = tracing.start("Client Session", set_span_in_context(self._handler, Context()), ids)
        return SessionTrace(tracing, session)

    def lost(self, refusal: str | None) -> None:
        """Record the end of the connection.

        :param refusal: the reason of the refusal, a label of the metric; None if it was not refused
        """
        span = self._accept if self._handler is None else self._handler
        if refusal is not None:
            span.set_attribute("refusal", refusal)
            span.set_status(Status(StatusCode.ERROR, refusal))
        span.end(self._tracing.now_ns())


class SessionTrace:
    """One client's session.

    :ivar id: the trace id, as collectors show it
    """

    __slots__ = ("_span", "_tracing", "_within", "id")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self._within = set_span_in_context(span, Context())
        self.id = format_trace_id(span.get_span_context().trace_id)

    def canister(self, canister: str) -> None:
        """Record the canister that the client has named."""
        self._span.set_attribute("canister_id", canister)

    def client_message(self, method: str, body: bytes) -> MessageTrace:
        """Begin the span of a message from the client.

        :param body: the envelope, of which the span has the size
        """
        facts: dict[str, AttributeValue] = {"method": escape_invisible(method), "bytes": len(body)}
        return MessageTrace(self._tracing, self._tracing.start("Client Message", self._within, facts))

    def canister_message(self, key: str, canister: str, size: int, brought_by: SpanContext | None) -> MessageTrace:
        """Begin the span of a message to the client, with a content of ``size`` bytes.

        :param key: the key of the message in the canister's queue
        :param brought_by: the polling iteration that fetched the message, None if it is not sampled
        """
        span = self._tracing.start(
            "Canister Message",
            self._within,
            {"message_key": key, "canister_id": canister, "bytes": size},
            links=() if brought_by is None else (brought_by,),
        )
        return MessageTrace(self._tracing, span)

    def written(self) -> dict[str, str]:
        """Return what the process needs that continues with the session, as plain values."""
        return {"trace_id": self.id, "span_id": format_span_id(self._span.get_span_context().span_id)}

    def left(self) -> None:
        """End the span, because another process continues with the session: its span is below this one."""
        self.ended({"cause": "handed over"})

    def ended(self, facts: dict[str, AttributeValue]) -> None:
        self._span.set_attributes(facts)
        self._span.end(self._tracing.now_ns())


class MessageTrace:
    """The span of one message, in either direction."""

    __slots__ = ("_span", "_tracing")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def attempt(self, number: int) -> None:
        """Record the ``number``-th submission of its call."""
        self._span.add_event("call", {"attempt": number}, self._tracing.now_ns())

    def ended(self, outcome: str | None = None, *, failed: bool = False) -> None:
        if outcome is not None:
            self._span.set_attribute("outcome", outcome)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, outcome))
        self._span.end(self._tracing.now_ns())


class PollTraces:
    """The spans of the polls of one canister, in the order of their answers."""

    __slots__ = ("_canister", "_idle", "_number", "_previous", "_tracing", "idle_polls")

    def __init__(self, tracing: Tracing, canister: str) -> None:
        self._tracing = tracing
        self._canister = canister
        self._previous: SpanContext | None = None
        self._number = -1
        self._idle = 0
        self.idle_polls = tracing.idle_polls

    def answered(self) -> None:
        """Count a finished query as one iteration; :meth:`iteration` makes a span for it if it is kept."""
        self._number += 1
        self._idle += 1

    def iteration(self, sent_ns: int) -> PollTrace:
        """Make the span of this iteration, which began at ``sent_ns`` (nanoseconds since 1970)."""
        previous = self._previous
        span = self._tracing.start(
            "Polling Iteration",
            None,
            {"canister_id": self._canister, "polling_iteration": self._number, "idle_before": self._idle - 1},
            start_ns=sent_ns,
            links=() if previous is None else (previous,),
        )
        self._idle = 0
        if span.is_recording():
            self._previous = span.get_span_context()
        return PollTrace(self._tracing, span)


class PollTrace:
    """One polling iteration.

    :ivar context: the target of links from the spans of its messages; None if it is not sampled
    """

    __slots__ = ("_span", "_tracing", "context")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self.context: SpanContext | None = span.get_span_context() if span.is_recording() else None

    def relaying(self, messages: int) -> MessageTrace:
        """Begin the span that covers the relaying of ``messages`` messages to their clients."""
        within = set_span_in_context(self._span, Context())
        span = self._tracing.start("Relay Canister Messages", within, {"messages": messages})
        return MessageTrace(self._tracing, span)

    def failed(self, cause: str) -> None:
        """Record that the query, or the processing of its answer, has failed."""
        self._span.set_status(Status(StatusCode.ERROR, cause))

    def ended(self) -> None:
        """End the span: all its messages have been passed to their clients."""
        self._span.end(self._tracing.now_ns())


class Export:
    """Sends a gateway's spans to a collector.

    Create it when the gateway starts, not before: gRPC and the export thread do not survive the fork of a daemon.

    :param call_from_thread: runs a function in the reactor's thread
    :param make_exporter: replaces the gRPC exporter in tests
    """

    def __init__(
        self,
        tracing: Tracing,
        collector: Collector,
        call_from_thread: Callable[..., Any],
        make_exporter: Callable[[Collector], SpanExporter] | None = None,
    ) -> None:
        self._tracing = tracing
        self._complaints = ExportErrors(collector.target, call_from_thread)
        self._complaints.listen()
        self._exporter = (make_exporter or _grpc)(collector)
        tracing.add(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE,
                schedule_delay_millis=DELAY * 1000,
                max_export_batch_size=512,
            )
        )

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Export the remaining spans within ``seconds``. Blocks, so do not call it in the reactor's thread."""
        # After its shutdown, the exporter fails at once, which ends the wait for it.
        late = threading.Timer(seconds, self._exporter.shutdown)
        late.daemon = True
        late.start()
        try:
            self._tracing.shutdown()
        finally:
            late.cancel()
            self._complaints.ignore()


def _grpc(collector: Collector) -> SpanExporter:
    return OTLPSpanExporter(
        endpoint=f"{'https' if collector.secure else 'http'}://{collector.target}",
        insecure=not collector.secure,
        timeout=EXPORT_TIMEOUT,
    )


class ExportErrors(logging.Handler):
    """Writes OpenTelemetry's errors, which arrive through Python's logging from any thread, to the gateway's log.

    At most one line per minute for each source and kind, because a collector may be unreachable for days.
    """

    def __init__(
        self, collector: str, call_from_thread: Callable[..., Any], now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(logging.WARNING)
        self._collector = collector
        self._call_from_thread = call_from_thread
        self._now = now
        self._log_limiter = LogRateLimiter(most=1)
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def listen(self) -> None:
        """Install the handler in Python's logging, which would otherwise write the errors to stderr."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def ignore(self) -> None:
        """Remove the handler from Python's logging."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        """Log one error or count it; called with the handler's lock held."""
        now = self._now()
        before = sum(count for _, _, count in self._log_limiter.ended(now))
        if self._log_limiter.allows(record.name, record.levelname, now):
            text = record.getMessage().partition("\n")[0][:300]
            self._call_from_thread(self._log_export_error, text, before)

    def _log_export_error(self, text: str, before: int) -> None:
        _log.warn("exporting traces failed", collector=self._collector, reason=text, left_out=before)
