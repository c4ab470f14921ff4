"""docs/machines.md against the tables that it is made from."""

from __future__ import annotations

import re
from enum import Enum
from types import ModuleType

import pytest

from icwsgw.core import session_machine
from tests.support.scripts import load_script
from tests.test_layering import PACKAGE


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return load_script("machines_doc")


def test_the_page_is_what_the_tables_say(made: ModuleType) -> None:
    assert made.DOCUMENT.read_text() == made.page(), "run scripts/machines_doc.py"


def test_each_table_of_core_has_its_diagram(made: ModuleType) -> None:
    declaring = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in (PACKAGE / "core").glob("*.py")
        if re.search(r"^(TABLE|GATES)\b", path.read_text(), re.M)
    }
    assert {
        found for machine in made.MACHINES for found in re.findall(r"\(\.\./(icwsgw/core/\S+?)\)", machine.text)
    } >= (declaring)


def test_a_diagram_has_every_arrow_of_its_table(made: ModuleType) -> None:
    for machine in made.MACHINES:
        arrows = re.findall(r"^    (\w+) --> (\w+): (.*)$", "\n".join(made.diagram(machine)), re.M)
        shown = {
            (state, event, after) for state, after, words in arrows for event in re.split(r", |<br/>", words) if event
        }
        assert shown == {(state.name, event.name, after.name) for (state, event), (after, _) in machine.table.items()}


def test_every_word_of_a_machine_is_explained(made: ModuleType) -> None:
    for machine in made.MACHINES:
        for enum in machine.enums.values():
            found = made.meanings(enum)
            assert set(found) == {member.name for member in enum}
            assert all(len(text) > 10 for text in found.values()), (machine.title, found)


def test_a_meaning_is_the_string_below_a_member_or_its_value(made: ModuleType) -> None:
    assert made.meanings(Kind) == {"A": "The first one.", "B": "The other."}
    assert made.meanings(session_machine.Event)["CLIENT_LEFT"] == "The client's connection ended."


class Kind(Enum):
    """For the test above."""

    A = 1
    """The
    first one."""
    B = "the other"
