"""The manual page of icwsctl against the command line that it is made from."""

from __future__ import annotations

import re
import shlex
from types import ModuleType

import pytest

from icwsgw.ctl.commands import make_parser
from icwsgw.observe.levels import LEVELS
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    return load_script("man_page_ctl")


def test_the_manual_is_what_the_parser_declares(manual: ModuleType) -> None:
    assert manual.DOCUMENT.read_text() == manual.page(), "run scripts/man_page_ctl.py"


def test_its_sections_are_in_order_and_every_list_ends(manual: ModuleType) -> None:
    lines = manual.page().splitlines()
    assert [line[4:] for line in lines if line.startswith(".Sh ")] == [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"),
        *("DIAGNOSTICS", "SEE ALSO"),
    ]
    open_lists: list[str] = []
    for line in lines:
        if line[:3] in (".Bl", ".Bd"):
            open_lists.append(line[2])
        elif line[:3] in (".El", ".Ed"):
            assert open_lists.pop() == line[2]
        assert len(line) <= 80 or line.startswith('.\\"')
    assert open_lists == []
    assert manual.page().isascii()


def test_every_command_and_argument_says_what_it_does(manual: ModuleType) -> None:
    """In the manual by way of --help: an argument without a word about it would fail to be written."""
    page = manual.page().replace("\\-", "-")
    commands = re.findall(r"^\.Cm (\S+)$", page, re.M)
    first = [
        "status",
        "sessions",
        "session",
        "ended",
        "canisters",
        "top",
        "dump",
        "kick",
        "bans",
        "unban",
        "maintenance",
    ]
    assert commands == [*first, "drain", "upgrade", "deny", "allow", "options", "set", "log-level"]
    for option in ("canister", "principal", "state", "limit", "for", "reconnect", "window", "reset"):
        assert f"\n.It Fl -{option}" in page
    for variable in ("ICWS_ADMIN_ENDPOINT", "ICWS_ADMIN_TOKEN_FILE"):
        assert page.count(f"Ev {variable}\n") == 2
    # the levels it names are those there are
    (named,) = re.findall(r"^Levels are ([^.]*)\.$", page, re.M)
    assert re.findall(r"\w+", named.replace(" and ", " ")) == list(LEVELS)


def test_the_commands_it_shows_are_understood(manual: ModuleType) -> None:
    lines = manual.page().replace(" \\e\n", " ").splitlines()
    shown = [shlex.split(line)[1:] for line in lines if line.startswith("icwsctl ")]
    assert len(shown) >= 6
    for words in shown:
        make_parser().parse_args(words)
