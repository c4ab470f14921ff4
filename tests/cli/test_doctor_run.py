"""The doctor, on a real gateway and on what is none."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.cli import doctor_run
from icwsgw.cli.cli_options import Places
from icwsgw.cli.doctor_judge import Grade, Remark
from icwsgw.cli.doctor_run import Examination
from icwsgw.cli.message_format import MessageFormat
from icwsgw.client.client_errors import SessionEnded
from icwsgw.devnet.canisters import EchoCanister
from icwsgw.devnet.replica import Replica
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack, stack
from tests.acceptance.processes import ROOT, free_port
from tests.cli.test_icws_command import icws
from tests.support.devnet import result_of
from tests.support.scripted_http import HttpExchange, scripted_http

__all__ = ["stack"]

pytestmark = pytest.mark.acceptance


def topics(out: str) -> list[tuple[str, str]]:
    """Grade and topic of each finding."""
    lines = [line for line in out.splitlines() if not line.startswith("      ->")]
    return [(line[:4].strip(), line[6:].partition(":")[0]) for line in lines]


def test_a_healthy_canister(stack: Stack) -> None:
    options = ("--message", '{"text": "hi"}', "--origin", "https://a.example", "--sdk", "0.5.0")
    status, out, err = icws(stack, "doctor", stack.echo, *options)
    assert (status, err) == (0, ""), out
    found = topics(out)
    assert [topic for _, topic in found] == [
        "SDK",
        *("gateway", "origin", "network", "clocks", "clocks", "canister", "methods", "poll", "opening", "messages"),
        *("clocks", "CDK", "gateway's network", "delegation"),
    ]
    assert {verdict for verdict, _ in found} <= {"ok", "skip"}


def test_a_canister_that_does_not_exist(stack: Stack) -> None:
    status, out, _ = icws(stack, "doctor", "be2us-64aaa-aaaaa-qaabq-cai", "--timeout=20")
    assert status == 1
    assert ("FAIL", "opening") in topics(out)


def test_a_session_that_ends_before_a_message_is_a_finding() -> None:
    found: list[Remark] = []
    where = Places("ws://127.0.0.1:1", "http://127.0.0.1:2", Principal(b""))
    examination = Examination(Namespace(message=None, timeout=5.0), where, Ed25519Identity(bytes(32)), found.append)

    async def receive() -> bytes:
        raise SessionEnded(4108, "the canister sent a message twice")

    client: Any = SimpleNamespace(receive=receive)
    asyncio.run(examination._exchange(client, None))
    (remark,) = found
    assert (remark.topic, remark.verdict) == ("messages", Grade.BAD)
    assert "the session has ended: the canister sent a message twice" in remark.lines()


class Greeting:
    """A client whose canister greets it, and then does with each message what ``after`` does."""

    def __init__(self, after: Callable[[], bytes] | None) -> None:
        self.after = after
        self.sent = asyncio.Event()
        self.greetings = [b"welcome", b"to all"]

    def send(self, message: bytes) -> None:
        assert message == b"hi"
        assert not self.greetings
        self.sent.set()

    async def receive(self) -> bytes:
        if self.greetings:
            return self.greetings.pop()
        await self.sent.wait()
        if self.after is None:
            await asyncio.Event().wait()
        assert self.after is not None
        return self.after()


def trap() -> bytes:
    raise SessionEnded(4111, "the canister trapped")


@pytest.mark.parametrize(
    ("after", "verdict", "words"),
    [
        (lambda: b"hi", Grade.GOOD, "a message came"),
        (None, Grade.BAD, "no message came"),
        (trap, Grade.BAD, "the session has ended: the canister trapped"),
    ],
)
def test_a_greeting_answers_no_message(
    after: Callable[[], bytes] | None, verdict: Grade, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_run, "QUIET_SECONDS", 0.01)
    found: list[Remark] = []
    where = Places("ws://127.0.0.1:1", "http://127.0.0.1:2", Principal(b""))
    parsed = Namespace(message="hi", timeout=60.0 if after else 0.01)

    async def exchange() -> None:
        client: Any = Greeting(after)
        await Examination(parsed, where, Ed25519Identity(bytes(32)), found.append)._exchange(
            client, MessageFormat("text", None)
        )

    asyncio.run(exchange())
    (remark,) = found
    assert (remark.topic, remark.verdict) == ("messages", verdict)
    assert words in remark.says


#: Autobahn is for asyncio or for Twisted in one process, and this one is for Twisted.
TOO_BIG = """
import asyncio, sys
from argparse import Namespace
from icwsgw.cli.cli_options import Places
from icwsgw.cli.doctor_run import Examination
from icwsgw.client.root_key import fetch_root_key
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

gateway, network, canister = sys.argv[1:]
where = Places(gateway, network, Principal.from_text(canister))
parsed = Namespace(message="ab" * 2_090_001, timeout=60.0, origin=None, format="hex", type=None)
say = lambda remark: print(remark.verdict.name, remark.says, remark.advice, sep="; ")
examination = Examination(parsed, where, Ed25519Identity(bytes(32)), say, key=fetch_root_key(network))
asyncio.run(examination.open_session())
"""


def test_a_message_that_is_too_big_is_named_and_not_sent(stack: Stack) -> None:
    """Linux has no arguments of that length, so no command line does this test."""
    done = subprocess.run(
        [sys.executable, "-c", TOO_BIG, stack.gateway, stack.network, stack.echo],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    opening, remark = done.stdout.splitlines()
    assert opening.startswith("GOOD; ")
    assert re.fullmatch(
        r"BAD; the message is too big and was not sent: .* has 2090001 bytes, at most 2090000.*; .+", remark
    )
    assert "session" not in remark


def test_a_gateway_that_does_not_run(stack: Stack) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    status, out, _ = icws(stack, "doctor", stack.echo, "--gateway", url, "--network", stack.network)
    assert status == 1
    found = topics(out)
    assert found[0] == ("FAIL", "gateway")
    assert "      -> Start the gateway" in out
    # the rest is still examined
    assert ("ok", "poll") in found
    assert ("skip", "opening") in found


def test_clocks_that_differ_are_a_finding_of_their_own() -> None:
    """Certificates of another hour are read all the same."""
    canister = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
    replica = Replica(Clock(), lambda: time.time_ns() - 3600 * SECOND_NS, b"clocks")
    replica.install(canister, EchoCanister)

    def answer(exchange: HttpExchange) -> None:
        method, path = exchange.line.split(" ")
        status, _, body = result_of(replica.handle(method, path, exchange.body))
        exchange.answer(body, status)

    found: list[Remark] = []
    with scripted_http(answer) as url:
        parsed = Namespace(timeout=60.0, did=None)
        examination = Examination(
            parsed, Places("ws://127.0.0.1:1", url, canister), Ed25519Identity(bytes(32)), found.append
        )
        examination.key = replica.root_key_der
        examination.look_at_canister()
    grades = {(remark.topic, remark.verdict) for remark in found}
    assert {("clocks", Grade.BAD), ("canister", Grade.GOOD), ("methods", Grade.GOOD)} <= grades
    assert any("3600 s behind" in remark.says for remark in found)


def test_a_network_that_is_none(stack: Stack, tmp_path: Path) -> None:
    status, out, _ = icws(stack, "doctor", stack.echo, "--network", f"http://127.0.0.1:{free_port()}")
    assert status == 1
    found = topics(out)
    assert ("FAIL", "network") in found
    assert ("skip", "canister") in found
    assert ("skip", "opening") in found
