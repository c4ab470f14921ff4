"""A trace collector: OTLP's TraceService over gRPC on loopback; the received spans are plain objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass
class CollectedSpan:
    """A received span."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]
    events: list[str]
    start: int
    end: int
    failed: bool
    resource: dict[str, Any] = field(default_factory=dict)


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Collector(TraceServiceServicer):
    """Listens from its construction until :meth:`stop`.

    :ivar spans: in order of arrival
    :ivar raw: every request, serialised
    """

    def __init__(self, credentials: Any = None) -> None:
        self.spans: list[CollectedSpan] = []
        self.raw: list[bytes] = []
        self.hang = threading.Event()
        self.hang.set()
        self._news = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_TraceServiceServicer_to_server(self, self._server)
        address = "127.0.0.1:0"
        self.port: int = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port(address, credentials)
        )
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        self.hang.wait(60)
        with self._news:
            self.raw.append(request.SerializeToString())
            for group in request.resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    for span in scope.spans:
                        self.spans.append(
                            CollectedSpan(
                                span.name,
                                span.trace_id.hex(),
                                span.span_id.hex(),
                                span.parent_span_id.hex(),
                                [link.span_id.hex() for link in span.links],
                                _values(span.attributes),
                                [event.name for event in span.events],
                                span.start_time_unix_nano,
                                span.end_time_unix_nano,
                                span.status.code == 2,
                                resource,
                            )
                        )
            self._news.notify_all()
        return ExportTraceServiceResponse()

    def named(self, name: str) -> list[CollectedSpan]:
        """Spans of one name, in the order of their start times."""
        with self._news:
            return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start)

    def wait_for(self, condition: Callable[[], object], timeout: float = 30.0) -> None:
        """Wait until the received spans fulfil a condition."""
        end = time.monotonic() + timeout
        with self._news:
            while not condition():
                left = end - time.monotonic()
                assert left > 0, [span.name for span in self.spans]
                self._news.wait(left)

    def stop(self) -> None:
        self.hang.set()
        self._server.stop(None).wait(10)
