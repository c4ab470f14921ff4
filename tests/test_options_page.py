"""docs/options.md and the manual page against the declarations they are made from."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from icwsgw.config.option import GROUPS, Option
from icwsgw.config.schema import OPTIONS, REMOVED
from icwsgw.config.sources import load
from icwsgw.tap import Options
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return load_script("options_page")


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    return load_script("man_page")


def test_the_page_is_what_the_code_declares(made: ModuleType) -> None:
    assert made.DOCUMENT.read_text() == made.page(), "run scripts/options_page.py"


def test_every_option_has_its_section_and_every_link_one(made: ModuleType) -> None:
    page = made.page()
    headings = re.findall(r"^### (--\S+)$", page, re.M)
    assert headings == [f"--{entry.name}" for entry in OPTIONS]
    assert re.findall(r"\]\(#(--\S+?)\)", page) == headings
    assert re.findall(r"^## (.*)$", page, re.M) == [*GROUPS, "Removed options"]
    assert re.findall(r"^\* `--(\S+)`: ", page, re.M) == [entry.name for entry in REMOVED]


@pytest.mark.parametrize("entry", OPTIONS, ids=lambda entry: entry.name)
def test_each_example_is_understood(made: ModuleType, entry: Option, tmp_path: Path) -> None:
    """As it stands there: on the command line by the parser, in the file by TOML; the two mean the same."""
    file = tmp_path / "icws.toml"
    pair = {"tls-certificate-pem-path": "tls-certificate-key-pem-path"}
    pair |= {second: first for first, second in pair.items()}
    other = pair.get(entry.name)
    in_file, on_command_line = [], []
    if entry.name == "devnet-canister":
        in_file, on_command_line = ["devnet = true"], ["--devnet"]
    if other:
        in_file, on_command_line = [f'{other} = "x"'], [f"--{other}=x"]
    if entry.name.startswith("acme-"):
        values = {"acme-domain": "a.example", "acme-agree-terms": "true"}
        values.pop(entry.name, None)
        in_file = [f'{name} = "{value}"' for name, value in values.items()]
        on_command_line = [f"--{name}={value}" if value != "true" else f"--{name}" for name, value in values.items()]
    file.write_text("\n".join([made.assignment(entry), *in_file]))
    options = Options()
    options.parseOptions([*shlex.split(made.command(entry)), *on_command_line])
    assert getattr(options.config, entry.field) == getattr(load({}, {}, file).config, entry.field) != entry.default


def test_the_manual_is_what_the_code_declares(manual: ModuleType) -> None:
    assert manual.DOCUMENT.read_text() == manual.page(), "run scripts/man_page.py"


def test_the_manual_has_its_sections_in_order_and_every_list_ends(manual: ModuleType) -> None:
    lines = manual.page().splitlines()
    assert [line[4:] for line in lines if line.startswith(".Sh ")] == [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SIGNALS", "ENVIRONMENT", "FILES", "EXIT STATUS"),
        *("EXAMPLES", "DIAGNOSTICS", "SEE ALSO"),
    ]
    depth = 0
    for line in lines:
        depth += {".Bl": 1, ".Bd": 1, ".El": -1, ".Ed": -1}.get(line[:3], 0)
        assert 0 <= depth <= 1, line
    assert depth == 0
    macros = {line.split()[0] for line in lines if line.startswith(".")}
    assert macros <= {
        *('.\\"', ".Dd", ".Dt", ".Os", ".Sh", ".Ss", ".Nm", ".Nd", ".Op", ".Cm", ".Em", ".Pp", ".Xr", ".Fl", ".Bl"),
        *(".It", ".El", ".Ev", ".br", ".Bd", ".Ed", ".Ql", ".Pa", ".Ar", ".Dv"),
    }
    assert all(len(line) <= 80 for line in lines[1:])
    assert manual.page().isascii()


def test_the_manual_names_every_option_with_its_variable(manual: ModuleType) -> None:
    page = manual.page().replace("\\-", "-").replace("\\&", "")
    for entry in OPTIONS:
        assert f"\n.It Fl -{entry.name}" in page
        assert f"\n.Ev {entry.variable}\n" in page
    flags = re.findall(r"\.It Fl -(\S+)$", page, re.M)
    assert set(flags) == {entry.name for entry in OPTIONS if entry.is_flag} | {
        *("check-config", "help", "print-config", "print-principal", "version")
    }
    # the commands it shows are understood
    for command in re.findall(r"^(twistd .*?)^\.Ed", page.replace(" \\e\n", " "), re.M | re.S):
        words = shlex.split(command)
        Options().parseOptions(words[words.index("icws") + 1 :])


@pytest.mark.parametrize(
    ("text", "written"),
    [("a-b", r"a\-b"), ("a\\b", r"a\eb"), (".Sh x", r"\&.Sh x"), ("'x", r"\&'x"), ("plain", "plain")],
)
def test_text_is_never_taken_for_a_macro(manual: ModuleType, text: str, written: str) -> None:
    assert manual.roff(text) == written
