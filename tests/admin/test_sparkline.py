from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.admin.history import SLOTS
from icwsgw.admin.sparkline import HEIGHT, STEP, sparkline


def paths(drawing: str) -> dict[str, str]:
    return {path.attrib["class"]: path.attrib["d"] for path in ElementTree.fromstring(drawing)}


def test_a_curve_ends_at_the_right_and_fills_the_height() -> None:
    drawn = paths(sparkline([0, 5, 10], 1, "x"))
    right = (SLOTS - 1) * STEP
    assert drawn["line"] == f"M{right - 4} 38L{right - 2} 20L{right} 2"
    assert drawn["area"] == f"M{right - 4} 40L{right - 4} 38L{right - 2} 20L{right} 2L{right} 40Z"


def test_gaps_dots_and_quiet_series() -> None:
    line = paths(sparkline([10, 10, None, None, 10, None, 10, 10], 100, "x"))["line"]
    assert line.count("M") == 3
    assert set(re.findall(r" (\S+?)(?=[LMZ]|$)", line)) == {"34.4"}, "a tenth of the floor"
    assert "<path" not in sparkline([None, None], 1, "x")
    assert "<path" not in sparkline([], 0, "x")


def test_its_words_are_escaped() -> None:
    root = ElementTree.fromstring(sparkline([1], 0, 'a "b" <c>'))
    assert (root.attrib["aria-label"], root.attrib["role"]) == ('a "b" <c>', "img")


@given(st.lists(st.none() | st.floats(-1e3, 1e12), max_size=SLOTS), st.floats(0, 1e6))
def test_it_stays_within_its_frame(series: list[float | None], floor: float) -> None:
    for path in paths(sparkline(series, floor, "x")).values():
        for x, y in re.findall(r"([\d.e+-]+) ([\d.e+-]+)", path):
            assert 0 <= float(x) <= (SLOTS - 1) * STEP + 1
            assert 0 <= float(y) <= HEIGHT
