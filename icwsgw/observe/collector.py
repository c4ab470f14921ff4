"""Options of traces: the collector's address and the level.

This module does not import OpenTelemetry, so that the program can check a configuration without it.

``grpc://host:port`` is the form of the Rust gateway; the default port is 4317. ``https://`` is gRPC over TLS.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from icwsgw.errors import ConfigError
from icwsgw.observe.levels import DEBUG, LEVELS, parse_levels
from icwsgw.observe.peers import bracketed

#: OTLP over gRPC (OpenTelemetry protocol specification, "OTLP/gRPC default port").
DEFAULT_PORT = 4317

#: As in the Rust gateway, spans of messages and sessions have level TRACE, those of connections DEBUG.
TRACE = LEVELS["trace"]

_SCHEMES = {"grpc": False, "http": False, "https": True}


class Collector(NamedTuple):
    """A collector that accepts OTLP over gRPC.

    :ivar target: ``host:port``, IPv6 addresses in brackets
    :ivar secure: whether to use TLS
    """

    target: str
    secure: bool


def parse_collector(text: str) -> Collector:
    """Parse ``grpc://host:port``, ``http://host:port`` (the same), or ``https://host:port``.

    :raises ConfigError: the text has none of these forms
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is not the address of a collector: {error}") from None
    host = parts.hostname
    if parts.scheme not in _SCHEMES or not host or port == 0:
        raise ConfigError(f"{text!r} is not grpc://host:port, http://host:port or https://host:port")
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"{text!r}: a collector has a host and a port, nothing else")
    shown = bracketed(host)
    return Collector(f"{shown}:{port or DEFAULT_PORT}", _SCHEMES[parts.scheme])


def trace_level(text: str) -> int:
    """Read one level, for RUST_LOG_TELEMETRY and its option.

    :return: the number of the level
    :raises ConfigError: not a level
    """
    levels = parse_levels(text)
    if levels.components or "," in text:
        raise ConfigError(f"{text!r} is not one level: spans have no components")
    return levels.default


def exports_anything(level: int) -> bool:
    """Return whether any span is exported at this level; as in the Rust gateway, no span is above debug."""
    return level <= DEBUG
