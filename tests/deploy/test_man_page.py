"""The manual page, read by mandoc."""

from __future__ import annotations

import pytest

from tests.deploy.tools import ROOT, run, tool

pytestmark = pytest.mark.deploy

PAGE = ROOT / "docs" / "man" / "icws.1"


def test_mandoc_has_nothing_to_say() -> None:
    # warnings, not its style: that wants the manuals that are referred to installed on this machine
    assert run(tool("mandoc", "mandoc"), "-T", "lint", "-W", "warning", PAGE) == ""


def test_it_reads_as_a_manual() -> None:
    text = run(tool("mandoc", "mandoc"), "-T", "markdown", PAGE).replace("&#45;", "-")
    assert "**--gateway-address** *address*" in text
    assert "# SIGNALS" in text
