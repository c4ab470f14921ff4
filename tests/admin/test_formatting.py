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
