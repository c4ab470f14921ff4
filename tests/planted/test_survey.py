"""A mark is reached when and only when the lines are that an error changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.planted.marks import reached
from tests.planted.patches import ROOT, Planted, all_patches, make, read
from tests.planted.survey import Survey, marked, save

MODULES = sorted({each.path for each in all_patches()})

BEFORE = '''"""A module."""

from __future__ import annotations

LIMIT = 3


def kind(number: int) -> str:
    """Say what it is."""
    try:
        if number > LIMIT:
            word = "large"
        elif number == LIMIT:
            word = "even"
            word += "ly"
        else:
            word = "small"
    finally:
        number += 1
    return word
'''


def planted(tmp_path: Path, old: str, new: str) -> Planted:
    path = tmp_path / "one.patch"
    path.write_text(make("Why.", "icwsgw/core/x.py", BEFORE, BEFORE.replace(old, new)), encoding="utf-8")
    return read(path)


def numbers_that_reach(error: Planted) -> list[int]:
    text, everywhere = marked(BEFORE, [error])
    assert not everywhere
    module: dict[str, Any] = {}
    exec(compile(text, "x", "exec"), module)
    found = []
    for number in range(6):
        reached.clear()
        module["kind"](number)
        if reached:
            assert reached == {error.name}
            found.append(number)
    return found


@pytest.mark.parametrize(
    ("old", "new", "network_monitor"),
    [
        ("number > LIMIT", "number >= LIMIT", [0, 1, 2, 3, 4, 5]),
        ("number == LIMIT", "number != LIMIT", [0, 1, 2, 3]),
        ('            word += "ly"\n', "", [3]),
        ('word = "small"', 'word = "little"', [0, 1, 2]),
        ('word = "small"\n', 'word = "small"\n            number = 7\n', [0, 1, 2]),
        ("number += 1", "number += 2", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_mark_stands_before_the_statement(tmp_path: Path, old: str, new: str, network_monitor: list[int]) -> None:
    assert numbers_that_reach(planted(tmp_path, old, new)) == network_monitor


def test_what_is_no_part_of_a_function_is_reached_by_all(tmp_path: Path) -> None:
    error = planted(tmp_path, "LIMIT = 3", "LIMIT = 4")
    _, everywhere = marked(BEFORE, [error])
    assert everywhere == {error.name}


@pytest.mark.parametrize("module", MODULES)
def test_marked_modules_compile(module: str) -> None:
    errors = [each for each in all_patches() if each.path == module]
    text, everywhere = marked((ROOT / module).read_text(encoding="utf-8"), errors)
    compile(text, module, "exec")
    assert all(repr(each.name) in text or each.name in everywhere for each in errors)


def test_a_survey_gives_the_scenarios_of_a_time_that_reach_an_error(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    reports = [
        {"seed": 7, "cpu": 1.0, "places": ["core/a"]},
        {"seed": 8, "cpu": 2.0, "places": []},
        {"seed": 9, "cpu": 1.5, "places": ["core/a", "core/b"]},
    ]
    save(path, {"core/c"}, reports)
    assert json.loads(path.read_text(encoding="utf-8"))
    survey = Survey(path)
    assert survey.seeds("core/a", 10.0) == [7, 9]
    assert survey.seeds("core/a", 4.0) == [7]
    assert survey.seeds("core/b", 10.0) == [9]
    assert survey.seeds("core/c", 3.0) == [7, 8]
    assert (survey.seconds, survey.seconds_until(8)) == (4.5, 3.0)
