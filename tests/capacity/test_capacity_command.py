"""The command's output is the one that docs/scaling.md shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from icwsgw.capacity.capacity_command import load_of, make_parser, run
from icwsgw.capacity.capacity_plan import make_plan
from icwsgw.tap import Options

SCALING = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
EXAMPLES = re.findall(
    r"^```console\n\$ icws-capacity (.*?)\n((?!\$).*?)^```$", SCALING.read_text(), re.MULTILINE | re.DOTALL
)


def words_of(text: str) -> list[str]:
    return shlex.split(text.replace("\\\n", " "))


def test_the_document_has_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_the_document_shows_what_it_prints(command: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    # a command may take more than one line
    lines = f"{command}\n{shown}".split("\n")
    at = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
    run(words_of("\n".join(lines[:at])), {})
    assert capsys.readouterr().out == "\n".join(lines[at:])


def test_the_gateway_takes_the_options() -> None:
    for text in ("--clients 100000 --canisters 50", "--clients 9 --own-boundary-node --messages-down 90_000"):
        plan = make_plan(load_of(make_parser().parse_args(words_of(text))))
        options = Options()
        options.parseOptions([word for name, value in plan.options.items() for word in (f"--{name}", value)])
        assert options.config.identities == plan.identities
        assert options.config.workers == plan.workers


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--clients", "1,000", "--message-size", "2K", "--json"], {}) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["gateways"], plan["options"]["identities"]) == (2, "1")


def test_a_warning_is_in_the_output_and_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--clients", "1000000"], {}) == 1
    assert "\nbut" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "--clients"),
        (["--clients", "0"], "'0' is not a whole number of at least 1"),
        (["--clients", "many"], "'many' is not a number"),
        (["--clients", "5", "--opens", "-1"], "is outside 0 to"),
        (["--clients", "5", "--canisters", "6"], "each canister needs a client"),
        (["--clients", "5", "--largest-canister", "6"], "it cannot have more clients"),
        (["--clients", "5", "--polling-interval", "2h"], "outside 1 ms to 60 s"),
        (["--clients", "5", "--polling-interval", "x"], "x"),
        (["--clients", "5", "--message-size", "x"], "x"),
    ],
)
def test_mistakes_are_reported(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(words, {})
    assert ended.value.code == 2
    assert error in capsys.readouterr().err
