"""The manual page of icws-capacity matches the command's parser."""

from __future__ import annotations

import shlex
from types import ModuleType

import pytest

from icwsgw.capacity.capacity_command import make_parser
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    return load_script("man_page_capacity")


def test_the_manual_is_what_the_parser_declares(manual: ModuleType) -> None:
    assert manual.DOCUMENT.read_text() == manual.page(), "run scripts/man_page_capacity.py"
    assert manual.page().isascii()


def test_the_commands_it_shows_are_understood(manual: ModuleType) -> None:
    lines = manual.page().replace(" \\e\n", " ").splitlines()
    shown = [shlex.split(line)[1:] for line in lines if line.startswith("icws-capacity ")]
    assert len(shown) == 2
    for words in shown:
        make_parser().parse_args(words)
