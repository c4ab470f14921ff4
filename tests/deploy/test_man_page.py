"""The manual pages, read by mandoc."""

from __future__ import annotations

import pytest

from tests.deploy.tools import ROOT, run, tool

pytestmark = pytest.mark.deploy

PAGES = ROOT / "docs" / "man"


@pytest.mark.parametrize("name", ["icws.1", "icws-capacity.1", "icws-client.1", "icwsctl.1"])
def test_mandoc_has_nothing_to_say(name: str) -> None:
    # warnings, not its style: that wants the manuals that are referred to installed on this machine
    assert run(tool("mandoc", "mandoc"), "-T", "lint", "-W", "warning", PAGES / name) == ""


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("icws.1", ("**--gateway-address** *address*", "# SIGNALS")),
        ("icws-capacity.1", ("**--clients** *n*", "# EXAMPLES")),
        ("icws-client.1", ("**--gateway** *url*", "# SCRIPTS")),
        ("icwsctl.1", ("**log-level**\n\\[*component*]\n\\[*level*]\n\\[**--reset**]", "# COMMANDS")),
    ],
)
def test_it_reads_as_a_manual(name: str, parts: tuple[str, ...]) -> None:
    text = run(tool("mandoc", "mandoc"), "-T", "markdown", PAGES / name).replace("&#45;", "-")
    for part in parts:
        assert part in text
