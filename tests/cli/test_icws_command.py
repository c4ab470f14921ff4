"""The command ``icws`` as people start it, with a real gateway."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from icwsgw.cli.icws_command import _plan, make_parser
from tests.acceptance.conftest import Stack, stack
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter

__all__ = ["stack"]


def icws(where: Stack, *words: str, given: str = "") -> tuple[int, str, str]:
    environment = {"ICWS_GATEWAY": where.gateway, "ICWS_NETWORK": where.network, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*interpreter(), "-m", "icwsgw.cli.icws_command", *words],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.acceptance
def test_a_session_is_recorded_and_played_again(stack: Stack, tmp_path: Path) -> None:
    record = tmp_path / "talk"
    lines = '{"text": "one"}\nnonsense\n{"text": "two"}\n'
    status, out, err = icws(stack, "connect", stack.echo, "--count=2", f"--record={record}", "--wait=60", given=lines)
    assert (status, out) == (0, '{"text": "one"}\n{"text": "two"}\n')
    assert "not sent: not JSON" in err
    status, again, err = icws(stack, "connect", stack.echo, "--script", str(record))
    assert (status, again, err) == (0, out, "")


@pytest.mark.acceptance
def test_sending(stack: Stack) -> None:
    form = ["--format=candid", "--expect", 'record { text = "hi" }']
    assert icws(stack, "send", stack.echo, 'record { text = "hi" }', *form) == (0, '(record { text = "hi" })\n', "")
    unmet = icws(stack, "send", stack.echo, '{"text": "hi"}', "--expect", '{"text": "ho"}', "--timeout=1")
    assert unmet == (3, '{"text": "hi"}\n', "icws: no message that matches came in 1 s\n")


@pytest.mark.acceptance
def test_a_trace_shows_each_message_of_the_protocol(stack: Stack) -> None:
    status, out, err = icws(stack, "send", stack.echo, '{"text": "hi"}', "--expect", '{"text": "hi"}', "--trace")
    assert (status, out) == (0, '{"text": "hi"}\n')
    lines = [line.partition(" s  ")[2] for line in err.splitlines() if " s  " in line]
    frames = [line for line in lines if line[:2] in ("->", "<-")]
    assert [line.partition(";")[0].partition(" of gateway")[0] for line in frames] == [
        "<- handshake",
        "-> ws_open",
        "<- message 1: OpenMessage",
        '-> ws_message 1: {"text": "hi"}',
        '<- message 2: {"text": "hi"}',
    ]
    assert all("verified: certificate" in line for line in frames if line.startswith("<- message"))


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("words", "status", "err"),
    [
        (["send", "ECHO", '{"txet": 1}'], 2, "the record has no field 'txet'; it has text"),
        (["send", "be2us-64aaa-aaaaa-qaabq-cai", "01", "--format=hex", "--no-reconnect"], 1, "(4101)"),
        (["send", "x", "01"], 1, "x is not a canister id"),
        (["send", "ECHO", "01", "--gateway=http://127.0.0.1"], 1, "not the URL of a gateway"),
        (["send", "ECHO"], 2, "arguments are required: message"),
        (["send", "ECHO", "01", "--timeout=never"], 2, "--timeout"),
        (["connect", "ECHO", "--script", "/nonexistent"], 1, "/nonexistent"),
    ],
)
def test_what_goes_wrong(words: list[str], status: int, err: str, stack: Stack) -> None:
    found = icws(stack, *(stack.echo if word == "ECHO" else word for word in words))
    assert found[:2] == (status, "")
    assert err in found[2]
    assert found[2].startswith("icws: ")
    assert found[2].count("\n") == 1


def test_a_line_of_the_input_that_is_not_utf_8_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    canister = "bkyz2-fmaaa-aaaaa-qaaaq-cai"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n\xff\ntwo\n"), encoding="utf-8"))
    source = _plan(make_parser().parse_args(["connect", canister])).source
    assert source is not None
    assert list(source) == ["one\n", "\udcff\n", "two\n"]


def test_help_loads_no_transport() -> None:
    code = "import sys, icwsgw.cli.icws_command as c; c.make_parser(); sys.exit('autobahn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_argument_says_what_it_does() -> None:
    help = make_parser().format_help()
    assert "connect" in help
    assert "send" in help
    assert "doctor" in help
