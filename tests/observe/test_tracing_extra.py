from __future__ import annotations

import sys

import pytest

from icwsgw.errors import ConfigError
from icwsgw.observe.tracing_extra import load_tracing


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "icwsgw.observe.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[otel\]'"):
        load_tracing()
