"""Imports the module of traces, which needs the extra ``otel``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from icwsgw.errors import ConfigError


def load_tracing() -> Any:
    """Import :mod:`icwsgw.observe.tracing`.

    :raises ConfigError: OpenTelemetry is not installed
    """
    try:
        return import_module("icwsgw.observe.tracing")
    except ImportError as error:
        raise ConfigError(
            f"--opentelemetry-collector-endpoint needs OpenTelemetry ({error}): install the extra 'otel', in a clone by"
            " pip install '.[otel]'"
        ) from None
