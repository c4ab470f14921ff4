"""Traces by OpenTelemetry: which spans there are, and how they reach a collector. Imported only where one is named.

The tree is the original's (its ws_listener.rs, client_session_handler.rs, client_session.rs, canister_poller.rs)::

    Accept Connection                 from the TCP connection to the WebSocket, or to the refusal
      Client Session Handler          the WebSocket connection
        Client Session                from the handshake message until the session is closed
          Client Message              a message of the client, until the network has taken the call or refused it
          Canister Message            a message to the client; a link leads to the polling iteration that brought it
    Polling Iteration                 one query; a link leads to the iteration before it
      Relay Canister Messages         handing its messages to the clients

Iterations without messages would be ten a second for each canister: they are left out unless asked for, and counted
in the next one that is kept. A failed one is kept.

A root span is sampled or not, and what is below it with it; for a connection that is not, nothing at all is made.
Attributes are ids, numbers and words of this program: no contents, no arguments, no keys, no signatures, and no texts
of peers, which might hold such.

Spans leave in batches from a thread of the SDK. A collector that cannot be reached costs a line of the log a minute;
beyond :data:`QUEUE` spans the oldest are dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.util.types import AttributeValue

from icwsgw._version import __version__
from icwsgw.escaping import escape_invisible
from icwsgw.observe.collector import TRACE, Collector
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.observe.logs import get_logger

#: Spans that wait for the collector.
QUEUE = 8192
#: Seconds until the spans of a quiet gateway leave.
DELAY = 2.0
#: Seconds of one export, its repetitions included.
EXPORT_TIMEOUT = 10.0
#: Seconds that the last spans have to leave when the gateway stops.
FLUSH_SECONDS = 3.0

_log = get_logger("tracing")


class Tracing:
    """Makes the spans of one gateway.

    :param principal: the gateway's, in text; ``service.name`` is made of its beginning, as the original's
    :param ratio: share of the roots that are sampled
    :param level: :data:`~icwsgw.observe.collector.TRACE` for all spans, debug for those of connections only
    :param idle_polls: whether polling iterations without messages are kept
    :param now_ns: nanoseconds since 1970
    :ivar detailed: whether sessions, messages and polls have spans
    :ivar idle_polls: as given
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
        """Let a processor have the spans that end."""
        self._provider.add_span_processor(processor)

    def shutdown(self) -> None:
        """End the processors, which may take as long as an export does."""
        self._provider.shutdown()

    def connection(self, client: str) -> ConnectionTrace | None:
        """A TCP connection was accepted from the address ``client``; None when it is not sampled."""
        span = self.start("Accept Connection", None, {"client_addr": client})
        return ConnectionTrace(self, span) if span.is_recording() else None

    def polls(self, canister: str) -> PollTraces:
        """The polls of one canister begin."""
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
        """The WebSocket is open, and a proxy may have said where the client really is.

        :return: the trace of its session, None at a level without
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
        """The connection is gone.

        :param refusal: why it was refused, a label of the metric; None if it was not
        """
        span = self._accept if self._handler is None else self._handler
        if refusal is not None:
            span.set_attribute("refusal", refusal)
            span.set_status(Status(StatusCode.ERROR, refusal))
        span.end(self._tracing.now_ns())


class SessionTrace:
    """One client's session.

    :ivar id: the trace's id as collectors show it
    """

    __slots__ = ("_span", "_tracing", "_within", "id")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self._within = set_span_in_context(span, Context())
        self.id = format_trace_id(span.get_span_context().trace_id)

    def canister(self, canister: str) -> None:
        """The client has said which canister it wants."""
        self._span.set_attribute("canister_id", canister)

    def client_message(self, method: str, size: int) -> MessageTrace:
        """A message of the client has come, with an envelope of ``size`` bytes."""
        span = self._tracing.start("Client Message", self._within, {"method": escape_invisible(method), "bytes": size})
        return MessageTrace(self._tracing, span)

    def canister_message(self, key: str, canister: str, size: int, brought_by: SpanContext | None) -> MessageTrace:
        """A message to the client is handed on, its content of ``size`` bytes.

        :param key: the name that the canister's queue gives the message
        :param brought_by: the polling iteration, None when it is not sampled
        """
        span = self._tracing.start(
            "Canister Message",
            self._within,
            {"message_key": key, "canister_id": canister, "bytes": size},
            links=() if brought_by is None else (brought_by,),
        )
        return MessageTrace(self._tracing, span)

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
        """Its call leaves, for the ``number``-th time."""
        self._span.add_event("call", {"attempt": number}, self._tracing.now_ns())

    def ended(self, outcome: str | None = None, *, failed: bool = False) -> None:
        if outcome is not None:
            self._span.set_attribute("outcome", outcome)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, outcome))
        self._span.end(self._tracing.now_ns())


class PollTraces:
    """The polls of one canister, in the order of their answers."""

    __slots__ = ("_canister", "_idle", "_number", "_previous", "_tracing", "idle_polls")

    def __init__(self, tracing: Tracing, canister: str) -> None:
        self._tracing = tracing
        self._canister = canister
        self._previous: SpanContext | None = None
        self._number = -1
        self._idle = 0
        self.idle_polls = tracing.idle_polls

    def answered(self) -> None:
        """A query has come to its end: an iteration, of which :meth:`iteration` makes a span if it is to be kept."""
        self._number += 1
        self._idle += 1

    def iteration(self, sent_ns: int) -> PollTrace:
        """Keep this iteration, which began at ``sent_ns``."""
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

    :ivar context: what the spans of its messages link to; None when it is not sampled
    """

    __slots__ = ("_span", "_tracing", "context")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self.context: SpanContext | None = span.get_span_context() if span.is_recording() else None

    def relaying(self, messages: int) -> MessageTrace:
        """So many messages are handed to their clients."""
        within = set_span_in_context(self._span, Context())
        span = self._tracing.start("Relay Canister Messages", within, {"messages": messages})
        return MessageTrace(self._tracing, span)

    def failed(self, cause: str) -> None:
        """The query, or what was done with its answer, has failed."""
        self._span.set_status(Status(StatusCode.ERROR, cause))

    def ended(self) -> None:
        """All its messages have been handed on."""
        self._span.end(self._tracing.now_ns())


class Export:
    """Sends a gateway's spans to a collector.

    Made when the gateway starts, not before: gRPC and the thread of the batches do not survive the fork of a daemon.

    :param call_from_thread: runs a function in the reactor's thread
    :param make_exporter: replaces gRPC, for tests
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
        """Send what is left, for ``seconds`` at most. Blocks: not for the reactor's thread."""
        # a shut exporter refuses at once, so that whatever waits for it goes on
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
    """What OpenTelemetry has to complain about, through Python's logging and from any thread, as lines of our log.

    One line a minute for each source and kind: a collector may be away for days.
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
        """Take them from Python's logging, which would write them to stderr."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def ignore(self) -> None:
        """Leave Python's logging as it was."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on, or count it (under the handler's lock)."""
        now = self._now()
        before = sum(count for _, _, count in self._log_limiter.ended(now))
        if self._log_limiter.allows(record.name, record.levelname, now):
            text = record.getMessage().partition("\n")[0][:300]
            self._call_from_thread(self._tell, text, before)

    def _tell(self, text: str, before: int) -> None:
        _log.warn("exporting traces failed", collector=self._collector, reason=text, left_out=before)
