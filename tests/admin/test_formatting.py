from __future__ import annotations

import pytest

from icwsgw.admin import formatting
from icwsgw.core.close_reasons import CloseCode
from icwsgw.observe.labels import CLOSE_CODES
from icwsgw.observe.meters import OTHER


def test_every_close_code_has_words() -> None:
    assert list(formatting.CLOSES) == [*CLOSE_CODES, OTHER]
    assert {str(int(code)) for code in CloseCode} < set(formatting.CLOSES)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.04, "0.0"), (0.4, "0.4"), (9.94, "9.9"), (9.96, "10"), (12345.6, "12,346")]
)
def test_rates(value: float, shown: str) -> None:
    assert formatting.rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1023, "1.0 KiB"),
        (6_815_744, "6.5 MiB"),
        (69 << 20, "69 MiB"),
        (3 << 30, "3.0 GiB"),
        (5000 << 30, "5000 GiB"),
    ],
)
def test_sizes(value: float, shown: str) -> None:
    assert formatting.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 ms"), (0.0032, "3.2 ms"), (0.24, "240 ms"), (0.9996, "1.0 s"), (1.44, "1.4 s"), (75.2, "75 s")],
)
def test_short_times(value: float, shown: str) -> None:
    assert formatting.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown", "ago"),
    [
        (-3, "0 s", "just now"),
        (0.4, "0 s", "just now"),
        (45.9, "45 s", "45 s ago"),
        (200, "3 min 20 s", "3 min ago"),
        (3600, "1 h", "1 h ago"),
        (3605, "1 h", "1 h ago"),
        (2 * 86400 + 4 * 3600 + 59, "2 d 4 h", "2 d ago"),
    ],
)
def test_long_times(value: float, shown: str, ago: str) -> None:
    assert formatting.span(value) == shown
    assert formatting.ago(value) == ago
