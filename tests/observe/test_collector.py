from __future__ import annotations

import pytest

from icwsgw.errors import ConfigError
from icwsgw.observe.collector import Collector, exports_anything, parse_collector, trace_level


@pytest.mark.parametrize(
    ("text", "collector"),
    [
        ("grpc://otlp_collector:4317", Collector("otlp_collector:4317", False)),
        ("grpc://127.0.0.1", Collector("127.0.0.1:4317", False)),
        ("http://[::1]:55690/", Collector("[::1]:55690", False)),
        ("https://traces.example.com:443", Collector("traces.example.com:443", True)),
    ],
)
def test_addresses(text: str, collector: Collector) -> None:
    assert parse_collector(text) == collector


@pytest.mark.parametrize(
    "text",
    [
        *("collector:4317", "ftp://collector:4317", "grpc://", "grpc://:4317", "grpc://c:0", "grpc://c:99999"),
        *("http://collector:4318/v1/traces", "https://key@collector", "grpc://c?x=1", "[", "http://[::1"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"collector|grpc://host:port"):
        parse_collector(text)


def test_levels() -> None:
    assert [name for name in ("trace", "DEBUG", "info", "off") if exports_anything(trace_level(name))] == [
        "trace",
        "DEBUG",
    ]
    for wrong in ("loud", "trace,gateway=debug", "gateway=trace", "info,debug"):
        with pytest.raises(ConfigError):
            trace_level(wrong)
