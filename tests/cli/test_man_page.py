"""The manual page of the command icws against the parser that it is made from."""

from __future__ import annotations

import shlex
from types import ModuleType

import pytest

from icwsgw.cli.icws_command import make_parser
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    return load_script("man_page_client")


def test_the_manual_is_what_the_parser_declares(manual: ModuleType) -> None:
    assert manual.DOCUMENT.read_text() == manual.page(), "run scripts/man_page_client.py"


def test_every_list_ends(manual: ModuleType) -> None:
    open_lists: list[str] = []
    for line in manual.page().splitlines():
        if line[:3] in (".Bl", ".Bd"):
            open_lists.append(line[2])
        elif line[:3] in (".El", ".Ed"):
            assert open_lists.pop() == line[2]
        assert len(line) <= 80 or line.startswith('.\\"')
    assert open_lists == []
    assert manual.page().isascii()


def test_the_commands_it_shows_are_understood(manual: ModuleType) -> None:
    lines = manual.page().replace(" \\e\n", " ").splitlines()
    shown = [shlex.split(line)[1:] for line in lines if line.startswith("icws ")]
    assert len(shown) >= 4
    for words in shown:
        make_parser().parse_args(words)
