"""The process that serves: whatever its successor does, it goes on unless all is taken over."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.trial.unittest import TestCase

from icwsgw._version import __version__
from icwsgw.handover import predecessor, transfer
from icwsgw.handover.handed_service import HandedService
from icwsgw.handover.predecessor import HandoverFailed, Predecessor, command_line
from tests.test_layering import ROOT

#: What a successor in these tests begins with.
BEGIN = """
import os, socket, sys, time
from icwsgw.handover.channel import Channel
channel = Channel(socket.socket(fileno=int(os.environ["ICWSGW_HANDOVER"])))
"""


READY = 'channel.send({"ready": "1"}); '


def service(**changes: Any) -> Any:
    """A service without clients."""
    values = {
        "reactor": reactor,
        "listening_services": [],
        "draining": False,
        "config": SimpleNamespace(devnet=False),
        "factory": SimpleNamespace(connections=set()),
        "identity_numbers": [0],
    }
    return SimpleNamespace(**{**values, **changes})


class Draining:
    """Answers in turn whether shutdown has begun."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers

    def __bool__(self) -> bool:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handed:
    """A state of one document."""

    detached = False

    def __init__(self, of: object) -> None:
        self.connections: list[Any] = []

    def early(self) -> Any:
        yield {"early": True}, []
        yield {"early": True, "last": True}, []

    def documents(self) -> Any:
        yield {"end": True}, []

    def detach(self) -> None:
        Handed.detached = True


class Attempts(TestCase):
    def setUp(self) -> None:
        self.announced: list[int] = []
        self.patch(transfer, "Handed", Handed)
        self.patch(transfer, "give_way", lambda: None)
        self.patch(transfer, "SILENCE_SECONDS", 3.0)
        self.patch(predecessor, "SILENCE_SECONDS", 3.0)
        self.patch(predecessor, "FIRST_WORD_SECONDS", 20.0)
        Handed.detached = False

    def hand_over(self, script: str, of: Any = None, directory: str = str(ROOT)) -> Deferred[dict[str, Any]]:
        command = [sys.executable, "-c", BEGIN + script]
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        made = Predecessor(
            HandedService(of or service()), lambda: command, directory, environment, self.announced.append, lambda: "/p"
        )
        return made.hand_over()

    async def fails(self, script: str, text: str, **options: Any) -> None:
        with pytest.raises(HandoverFailed, match=text):
            await self.hand_over(script, **options)
        assert not Handed.detached
        assert not self.announced

    def test_all_is_taken(self) -> Deferred[None]:
        async def scenario() -> None:
            result = await self.hand_over(
                'channel.send({"at": "x"}); channel.send({"ready": "9.9"}); channel.receive(5);'
                'channel.send({"taken": 0}); print("go", channel.receive(5)[0], flush=True)'
            )
            assert Handed.detached
            assert self.announced == [result["process"]]
            assert (result["to"], result["connections"], result["left"]) == ("9.9", 0, 0)

        return Deferred.fromCoroutine(scenario())

    def test_all_is_taken_early(self) -> Deferred[None]:
        async def scenario() -> None:
            result = await self.hand_over(
                'channel.send({"ready": "9.9", "early": True})\n'
                'for _ in range(2): assert channel.receive(5)[0]["early"]; channel.send({"made": 0})\n'
                'assert channel.receive(5)[0] == {"end": True}; channel.send({"taken": 0}); channel.receive(5)'
            )
            assert Handed.detached
            assert (result["to"], result["from"]) == ("9.9", __version__)

        return Deferred.fromCoroutine(scenario())

    def test_it_is_killed_while_it_makes_connections(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); channel.receive(5); os.kill(os.getpid(), 9)'
        return Deferred.fromCoroutine(self.fails(script, "signal 9|is gone|has ended"))

    def test_it_is_silent_while_it_makes_connections(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); time.sleep(60)'
        return Deferred.fromCoroutine(self.fails(script, "silent for 3 s"))

    def test_the_gateway_is_stopped_meanwhile(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); time.sleep(60)'
        stopping = service()
        stopping.draining = Draining([False, True])
        return Deferred.fromCoroutine(self.fails(script, "shutting down", of=stopping))

    def test_it_fails_to_start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails("sys.exit(3)", "exit code 3"))

    def test_it_is_killed(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails("os.kill(os.getpid(), 9)", "signal 9"))

    def test_it_says_why_it_cannot(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.send({"failed": "no such option"})', "no such option"))

    def test_it_is_silent(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.send({"at": "the network"}); time.sleep(60)', "the network"))

    def test_it_sends_nonsense(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.socket.sendall(b"x" * 100); time.sleep(60)', "nonsense"))

    def test_it_refuses_the_state(self) -> Deferred[None]:
        return Deferred.fromCoroutine(
            self.fails(
                'channel.send({"ready": "1"}); channel.receive(5); channel.send({"failed": "version 7"})', "version 7"
            )
        )

    def test_it_ends_while_it_gets_the_state(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails(READY + "os._exit(1)", "ended|is gone"))

    def test_the_state_cannot_be_written(self) -> Deferred[None]:
        def broken(self: Handed) -> Any:
            raise ZeroDivisionError
            yield

        self.patch(Handed, "documents", broken)
        return Deferred.fromCoroutine(self.fails(READY + "channel.receive(5)", "cannot be written")).addCallback(
            lambda _: self.flushLoggedErrors(ZeroDivisionError) and None
        )

    def test_what_cannot_hand_over_says_so(self) -> Deferred[None]:
        async def scenario() -> None:
            await self.fails("", "shutting down", of=service(draining=True))
            await self.fails("", "embedded replica", of=service(config=SimpleNamespace(devnet=True)))
            self.patch(os, "getpid", lambda: 1)
            await self.fails("", "container")

        return Deferred.fromCoroutine(scenario())

    def test_one_at_a_time(self) -> Deferred[None]:
        async def scenario() -> None:
            self.patch(predecessor, "FIRST_WORD_SECONDS", 1.0)
            handed = HandedService(service())
            made = Predecessor(handed, lambda: [sys.executable, "-c", "import time; time.sleep(60)"], "/", {}, print)
            first = made.hand_over()
            with pytest.raises(HandoverFailed, match="under way"):
                await made.hand_over()
            with pytest.raises(HandoverFailed, match="silent"):
                await first

        return Deferred.fromCoroutine(scenario())

    def test_the_listening_sockets_are_given(self) -> Deferred[None]:
        async def scenario() -> None:
            port: Any = cast(Any, reactor).listenTCP(0, ServerFactory(), interface="127.0.0.1")
            listener = SimpleNamespace(address="tcp:1", port=port)
            script = 'channel.send({"failed": os.environ["ICWSGW_HANDOVER_SOCKETS"]}); time.sleep(60)'
            await self.fails(
                script, re.escape(json.dumps({"tcp:1": port.fileno()})), of=service(listening_services=[listener])
            )
            await port.stopListening()

        return Deferred.fromCoroutine(scenario())


SINGLE = ("--nodaemon", "--pidfile=")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["py", "bin/twistd", "-n", "icws", "--x"], ["bin/twistd", "-n", *SINGLE, "icws", "--x"]),
        (["py", "-m", "twisted", "icws"], ["-m", "twisted", *SINGLE, "icws"]),
        (
            ["py", "t", "--pidfile", "a", "icws", "icws"],
            ["t", "--pidfile", "a", *SINGLE, "icws", "icws"],
        ),
    ],
)
def test_the_command_line_of_a_successor(given: list[str], made: list[str]) -> None:
    assert command_line(given) == [sys.executable, *made]


def test_a_script_is_run_by_the_interpreter_that_it_names(tmp_path: Path) -> None:
    """The link to the installed version leads to the new one, whose script has another interpreter."""
    script = tmp_path / "twistd"
    script.write_text("#!/new/python\n")
    assert command_line(["/old/python", str(script), "icws"])[0] == sys.executable
    script.chmod(0o755)
    assert command_line(["/old/python", str(script), "icws"]) == [str(script), *SINGLE, "icws"]
    assert command_line(["/old/python", "-O", str(script), "icws"])[:2] == [sys.executable, "-O"]


@pytest.mark.parametrize("option", ["--uid=5", "-u", "--gid", "--chroot=/x"])
def test_what_cannot_be_applied_twice(option: str) -> None:
    with pytest.raises(HandoverFailed, match=option.partition("=")[0]):
        command_line(["py", "twistd", option, "icws"])
