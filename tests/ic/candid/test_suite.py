"""Candid's own test data, every assertion of it (tests/vectors/candid)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from icwsgw.errors import FormatError
from tests.support.candid_suite import Assertion, load

VECTORS = Path(__file__).parents[2] / "vectors" / "candid"
ASSERTIONS = [assertion for path in sorted(VECTORS.glob("*.test.did")) for assertion in load(path)]


def test_the_data_is_there() -> None:
    counts: dict[str, int] = {}
    for assertion in ASSERTIONS:
        counts[assertion.file] = counts.get(assertion.file, 0) + 1
    for path in VECTORS.glob("*.test.did"):
        source = re.sub(rb"/\*.*?\*/", b"", path.read_bytes(), flags=re.DOTALL)
        written = len(re.findall(rb"^assert ", source, re.MULTILINE))
        assert counts[path.name.removesuffix(".test.did")] == written
    assert set(counts) == {"construct", "overshoot", "prim", "reference", "spacebomb", "subtypes"}


@pytest.mark.parametrize("case", ASSERTIONS, ids=lambda case: case.name)
def test_assertion(case: Assertion) -> None:
    if case.operator == "!:":
        with pytest.raises(FormatError):
            case.left.read(case.types)
        return
    left = case.left.read(case.types)
    if case.right is not None:
        right = case.right.read(case.types)
        # By repr as well, because Python takes True for equal to 1.
        assert (left == right and repr(left) == repr(right)) == (case.operator == "==")
