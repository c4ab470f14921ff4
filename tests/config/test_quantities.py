from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config import quantities
from icwsgw.errors import ConfigError


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
    assert quantities.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 ms"), (0.0032, "3.2 ms"), (0.24, "240 ms"), (0.9996, "1.0 s"), (1.44, "1.4 s"), (75.2, "75 s")],
)
def test_short_times(value: float, shown: str) -> None:
    assert quantities.short_time(value) == shown


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
    assert quantities.long_time(value) == shown
    assert quantities.ago(value) == ago


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 ms"), (1.26, "1.3 s"), (59.4, "59 s"), (60, "1 min"), (3_725, "1 h 2 min")]
)
def test_times_of_any_length(value: float, shown: str) -> None:
    assert quantities.duration(value) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 bytes"), (1000, "1000 bytes"), (65_536, "64 KiB"), (3136 << 10, "3136 KiB"), (4 << 30, "4 GiB")],
)
def test_exact_sizes(number: int, shown: str) -> None:
    assert quantities.exact_size(number) == shown
    assert quantities.parse_size(shown.replace(" bytes", "")) == number


@given(st.integers(0, 1 << 33))
def test_an_exact_size_is_read_as_the_same(number: int) -> None:
    assert quantities.parse_size(quantities.exact_size(number).removesuffix(" bytes")) == number


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0"), (0.001, "1 ms"), (0.1, "100 ms"), (60, "60 s"), (90.5, "90.5 s"), (3600, "1 h"), (86_400, "24 h")],
)
def test_exact_durations(seconds: float, shown: str) -> None:
    assert quantities.exact_duration(seconds) == shown
    assert quantities.parse_duration(shown) == seconds


def test_a_bare_number_counts_the_unit_that_the_option_names() -> None:
    assert quantities.parse_duration("200", 0.001) == 0.2
    assert quantities.parse_duration("2m", 0.001) == 120.0


@pytest.mark.parametrize("text", ["", "x", "1d", "-1", "1e3", "1 2"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration such as"):
        quantities.parse_duration(text)
    with pytest.raises(ConfigError, match="is not a number of bytes such as"):
        quantities.parse_size(text)


def test_a_size_of_more_digits_than_python_converts_is_refused() -> None:
    with pytest.raises(ConfigError):
        quantities.parse_size("9" * 5000)
    assert quantities.parse_size(f"{0:030d}1K") == 1024
