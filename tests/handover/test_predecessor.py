"""The predecessor: whatever its successor does, it continues unless everything is taken over."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from icwsgw._version import __version__
from icwsgw.handover import predecessor, transfer
from icwsgw.handover.channel import Channel
from icwsgw.handover.handed_service import HandedService
from icwsgw.handover.predecessor import (
    CHANNEL,
    FACTS,
    FIRST_MESSAGE_SECONDS,
    SOCKETS,
    START_SECONDS,
    HandoverFailed,
    Predecessor,
    command_line,
)
from icwsgw.handover.transfer import SILENCE_SECONDS
from tests.test_layering import ROOT

#: The message with which successors in these tests begin.
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


class PidFile:
    """A pid file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_ours = True

    def release(self) -> None:
        self.is_ours = False


class Draining:
    """Answers, one after another, whether shutdown has begun."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers

    def __bool__(self) -> bool:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handed:
    """A state of one document."""

    detached = False
    pause = 0.0

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
        self.patch(predecessor, "FIRST_MESSAGE_SECONDS", 20.0)
        Handed.detached = False

    def hand_over(self, script: str, of: Any = None, directory: str = str(ROOT)) -> Deferred[dict[str, Any]]:
        command = [sys.executable, "-c", BEGIN + script]
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        made = Predecessor(
            HandedService(of or service()),
            lambda: command,
            directory,
            environment,
            self.announced.append,
            PidFile("/p"),
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

    def test_the_successor_is_killed_while_it_makes_connections(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); channel.receive(5); os.kill(os.getpid(), 9)'
        return Deferred.fromCoroutine(self.fails(script, "SIGKILL|has ended"))

    def test_the_successor_is_silent_while_it_makes_connections(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); time.sleep(60)'
        return Deferred.fromCoroutine(self.fails(script, "silent for 3 s"))

    def test_the_gateway_is_stopped_meanwhile(self) -> Deferred[None]:
        script = 'channel.send({"ready": "1", "early": True}); time.sleep(60)'
        stopping = service()
        stopping.draining = Draining([False, True])
        return Deferred.fromCoroutine(self.fails(script, "shutting down", of=stopping))

    def test_the_successor_fails_to_start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails("sys.exit(3)", "exit status 3"))

    def test_the_successor_is_killed(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails("os.kill(os.getpid(), 9)", "killed by SIGKILL"))

    def test_the_successor_sends_the_reason_why_it_cannot_start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.send({"failed": "no such option"})', "no such option"))

    def test_the_successor_is_silent(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.send({"at": "the network"}); time.sleep(60)', "the network"))

    def test_the_successor_sends_invalid_data(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails('channel.socket.sendall(b"x" * 100); time.sleep(60)', "no valid doc"))

    def test_the_successor_refuses_the_state(self) -> Deferred[None]:
        return Deferred.fromCoroutine(
            self.fails(
                'channel.send({"ready": "1"}); channel.receive(5); channel.send({"failed": "version 7"})', "version 7"
            )
        )

    def test_the_successor_ends_while_it_receives_the_state(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fails(READY + "os._exit(1)", "ended"))

    def test_the_state_cannot_be_written(self) -> Deferred[None]:
        def broken(self: Handed) -> Any:
            raise ZeroDivisionError
            yield

        self.patch(Handed, "documents", broken)
        return Deferred.fromCoroutine(self.fails(READY + "channel.receive(5)", "cannot be written")).addCallback(
            lambda _: self.flushLoggedErrors(ZeroDivisionError) and None
        )

    def test_a_gateway_that_cannot_hand_over_says_so(self) -> Deferred[None]:
        async def scenario() -> None:
            await self.fails("", "shutting down", of=service(draining=True))
            await self.fails("", "embedded replica", of=service(config=SimpleNamespace(devnet=True)))
            self.patch(os, "getpid", lambda: 1)
            await self.fails("", "container")

        return Deferred.fromCoroutine(scenario())

    def test_one_at_a_time(self) -> Deferred[None]:
        async def scenario() -> None:
            self.patch(predecessor, "FIRST_MESSAGE_SECONDS", 1.0)
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


class MemoryReactor(Clock):
    """Starts no processes: it keeps the other end of the channel.

    :ivar far: the successor's end of the channel
    :ivar signals: signals that the successor was sent
    :ivar ends: call it to report that the successor has ended
    :ivar spawned: arguments of the processes
    """

    far: Channel
    ends: Any

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[Any] = []
        self.readers: list[Any] = []
        self.signals: list[str] = []
        self.stopped = 0

    def spawnProcess(self, protocol: Any, *args: Any, env: dict[str, str], **names: Any) -> Any:
        self.ends = protocol.processEnded
        self.spawned.append((args, env, names))
        self.far = Channel(socket.socket(fileno=os.dup(int(env[CHANNEL]))))
        return SimpleNamespace(pid=7, signalProcess=self.signals.append)

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def send(self, *documents: dict[str, Any]) -> None:
        """Send documents as the successor, and let the predecessor read them."""
        for document in documents:
            self.far.send(document)
        for reader in list(self.readers):
            reader.doRead()

    def stop(self) -> None:
        self.stopped += 1


def in_memory(**changes: Any) -> tuple[MemoryReactor, Any, Predecessor]:
    made = MemoryReactor()
    of = service(reactor=made, **changes)
    return made, of, Predecessor(HandedService(of), lambda: ["program"], "/", {}, lambda process: None)


def why(handing: Deferred[dict[str, Any]]) -> str:
    """Why a handover has failed."""
    failures: list[Any] = []
    handing.addErrback(failures.append)
    (failure,) = failures
    assert failure.check(HandoverFailed)
    return str(failure.value)


def test_it_waits_for_a_successor_that_reports_progress_but_not_for_ever() -> None:
    made, _, predecessor = in_memory()
    handing = predecessor.hand_over()
    while made.seconds() < START_SECONDS:
        made.advance(SILENCE_SECONDS / 2)
        assert not handing.called
        made.send({"at": "the network (no answer)"})
    made.advance(1.0)
    made.send({})
    assert why(handing) == "the new process is not ready after 120 s: the network (no answer)"
    assert (made.signals, made.readers, made.getDelayedCalls()) == (["KILL"], [], [])
    made.far.close()


def test_one_that_cannot_be_started_fails_the_handover_and_the_next_one_may_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _, predecessor = in_memory()
    ends: list[socket.socket] = []
    pair = socket.socketpair

    def socketpair() -> tuple[socket.socket, socket.socket]:
        ends.extend(pair())
        return ends[0], ends[1]

    def spawn(*args: Any, **names: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", socketpair)
        patched.setattr(made, "spawnProcess", spawn)
        reason = why(predecessor.hand_over())
    assert reason == "the new process cannot be started: Resource temporarily unavailable"
    assert [end.fileno() for end in ends] == [-1, -1]
    assert (made.readers, made.getDelayedCalls()) == ([], [])
    handing = predecessor.hand_over()
    made.send({"failed": "no such option"})
    assert why(handing) == "no such option"
    made.far.close()


def test_it_waits_no_longer_when_it_is_shut_down_itself() -> None:
    made, of, predecessor = in_memory()
    handing = predecessor.hand_over()
    made.send({"at": "the network"})
    assert not handing.called
    of.draining = True
    made.send({"at": "the network"})
    assert why(handing) == "the gateway is shutting down"
    assert made.signals == ["KILL"]
    # and a second one is refused at once
    assert why(predecessor.hand_over()) == "the gateway is shutting down"
    made.far.close()


@pytest.mark.parametrize("taken", [True, False])
def test_a_signal_hands_over_and_stops_or_goes_on(monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    monkeypatch.setattr(transfer, "Handed", Handed)
    monkeypatch.setattr(transfer, "give_way", lambda: None)
    monkeypatch.setattr(Handed, "detached", False)
    made, _, predecessor = in_memory()
    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    predecessor.signalled()
    # the answer exists before the test waits for it
    made.send({"ready": "9.9"}, {"taken": 0} if taken else {"failed": "no such option"})
    gc.collect()
    globalLogPublisher.removeObserver(observer)
    assert not [event for event in events if "log_failure" in event], "nobody else reports the failure again"
    assert (Handed.detached, made.stopped) == (taken, int(taken))
    assert made.signals == ([] if taken else ["KILL"])
    made.far.close()


class Stub:
    """A service whose transfer is a stub that does nothing."""

    def __init__(self, reactor: MemoryReactor) -> None:
        self.reactor = reactor
        self.draining = False
        self.config: Any = SimpleNamespace(devnet=False)
        self.listening_services: Any = []
        self.handover_facts = {"workers": [[0]]}
        self.given: list[Any] = []
        self.received: list[Any] = []
        self.passed_on: list[str] = []

    def transfer(self, channel: Any, ends: list[int], ready: Any, go: Any, done: Any, failed: Any) -> Any:
        self.given.append((channel, ends, ready))
        self.go, self.done = go, done
        return SimpleNamespace(
            begin=self.given.append, received=self.received.append, fail=failed, pass_on=self.passed_on.append
        )


def stubbed(**options: Any) -> tuple[MemoryReactor, Stub, Deferred[dict[str, Any]]]:
    """A handover that has begun."""
    made = MemoryReactor()
    of = Stub(made)
    predecessor = Predecessor(
        of, lambda: ["py", "-m", "x"], "/at", {"A": "b"}, options.get("announce", print), PidFile("/p")
    )
    return made, of, predecessor.hand_over()


def test_what_a_successor_is_started_with() -> None:
    made, _, handing = stubbed()
    ((command, environment, names),) = made.spawned
    assert command == ("py", ["py", "-m", "x"])
    channel = int(environment[CHANNEL])
    assert environment == {"A": "b", CHANNEL: str(channel), SOCKETS: "{}", FACTS: '{"workers": [[0]], "pidfile": "/p"}'}
    assert names["path"] == "/at"
    null, output = names["childFDs"].pop(0), names["childFDs"]
    assert null not in (0, 1, 2)
    assert output == {1: 1, 2: 2, channel: channel}
    made.advance(FIRST_MESSAGE_SECONDS)
    assert why(handing) == f"the new process was silent for {FIRST_MESSAGE_SECONDS:.0f} s, waiting for its start"
    made.far.close()


def test_a_ready_successors_messages_are_passed_to_the_transfer() -> None:
    announced: list[int] = []
    made, of, handing = stubbed(announce=announced.append)
    with socket.socket() as end:
        made.far.send({"ready": "9.9", "early": True, "sockets": 1}, [end.fileno()])
    made.send()
    (channel, ends, ready), early = of.given
    assert (len(ends), ready["ready"], early) == (1, "9.9", True)
    os.close(ends[0])
    channel.send({"go": True})
    assert made.far.receive(5.0)[0] == {"go": True}
    made.send({"made": 3})
    assert of.received == [{"made": 3}]
    made.advance(2 * START_SECONDS)
    assert not handing.called
    assert (of.go(), announced) == ({"pidfile": "/p", "reload": False, "rotate": False}, [7])
    of.done({"connections": 3})
    results: list[Any] = []
    handing.addCallback(results.append)
    assert results == [{"from": __version__, "to": "9.9", "process": 7, "connections": 3}]
    assert (made.readers, made.signals, made.getDelayedCalls()) == ([], [], [])
    made.far.close()


def test_one_that_ends_in_the_transfer_has_waited_for_clients() -> None:
    made, of, handing = stubbed()
    made.send({"ready": "9.9"})
    made.ends(Failure(ProcessTerminated(3)))
    reason = why(handing)
    assert reason.endswith("the new process ended (exit status 3) while it waited for clients; its output says why")
    assert made.signals == [], "it has ended"
    # the point of no return may have been passed before
    assert of.go() == {"pidfile": "/p", "reload": False, "rotate": False}
    made.far.close()


def test_a_reload_that_is_asked_for_meanwhile_is_passed_on() -> None:
    """The successor may have read its configuration before the reload was requested."""
    made, of = MemoryReactor(), Stub(MemoryReactor())
    of.reactor = made
    file = PidFile("/p")
    predecessor = Predecessor(of, lambda: ["py"], "/at", {}, lambda process: None, file)
    reads: list[None] = []

    def reload() -> None:
        predecessor.reload(lambda: reads.append(None))

    reload()
    handing = predecessor.hand_over()
    made.send({"ready": "9.9"})
    assert of.passed_on == []
    reload()
    assert len(reads) == 2, "this process reads it again in any case"
    assert of.passed_on == ["reload"], "some of the successor's workers may serve already"
    assert file.is_ours
    assert of.go() == {"pidfile": "/p", "reload": True, "rotate": False}
    assert not file.is_ours
    of.done({})
    assert made.signals == []
    reload()
    assert len(reads) == 2, "it drains what is left"
    assert made.signals == ["HUP"], "and the successor, which has been allowed to go on already, is signalled"
    assert why(predecessor.hand_over()) == "a handover is under way already"
    made.ends(Failure(ProcessTerminated(3)))
    reload()
    assert (made.signals, handing.called, of.passed_on) == (["HUP"], True, ["reload"])
    made.far.close()


def test_what_is_asked_for_before_the_successor_is_ready_is_passed_on_when_it_is() -> None:
    made = MemoryReactor()
    of = Stub(made)
    predecessor = Predecessor(of, lambda: ["py"], "/at", {}, lambda process: None)
    predecessor.hand_over()
    predecessor.rotate_logs(lambda: None)
    predecessor.reload(lambda: None)
    assert (of.passed_on, made.signals) == ([], [])
    made.send({"ready": "9.9"})
    assert of.passed_on == ["reload", "rotate"]
    made.far.close()


def test_new_log_files_that_are_asked_for_meanwhile_are_those_of_the_successor_too() -> None:
    """The successor may have opened a log file that was moved since."""
    made = MemoryReactor()
    of = Stub(made)
    predecessor = Predecessor(of, lambda: ["py"], "/at", {}, lambda process: None)
    rotations: list[None] = []
    predecessor.rotate_logs(lambda: rotations.append(None))
    predecessor.hand_over()
    made.send({"ready": "9.9"})
    assert not of.go()["rotate"]
    predecessor.rotate_logs(lambda: rotations.append(None))
    assert of.go() == {"pidfile": "", "reload": False, "rotate": True}
    assert of.passed_on == ["rotate"]
    of.done({})
    predecessor.rotate_logs(lambda: rotations.append(None))
    assert (made.signals, len(rotations)) == (["USR1"], 3), "this process writes to the same files until it ends"
    made.far.close()


def test_a_handover_that_has_failed_forgets_that_a_reload_was_asked_for() -> None:
    made, _, predecessor = in_memory()
    handing = predecessor.hand_over()
    reads: list[None] = []
    predecessor.reload(lambda: reads.append(None))
    made.send({"failed": "no such option"})
    assert why(handing) == "no such option"
    predecessor.reload(lambda: reads.append(None))
    assert len(reads) == 2
    assert made.signals == ["KILL"]
    made.far.close()


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
        # an option of the interpreter, and the value of an option of twistd
        (["py", "-u", "t", "icws"], ["-u", "t", *SINGLE, "icws"]),
        (["py", "t", "--prefix", "icws", "icws"], ["t", "--prefix", "icws", *SINGLE, "icws"]),
        (["py", "t", "-n", "-l", "icws", "icws"], ["t", "-n", "-l", "icws", *SINGLE, "icws"]),
    ],
)
def test_the_command_line_of_a_successor(given: list[str], made: list[str]) -> None:
    assert command_line(given) == [sys.executable, *made]


def test_a_command_line_does_not_grow_with_each_upgrade() -> None:
    first = command_line(["py", "-m", "twisted", "--pidfile=a", "icws", "--x"], ["--logfile=b"])
    second = command_line(["py", *first[1:]])
    assert command_line(["py", *second[1:]]) == second
    assert command_line(["py", *first[1:]], ["--logfile=b"]) == first


def test_a_script_is_run_by_the_interpreter_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link to the installed version points to the new one, whose script names another interpreter."""
    script = tmp_path / "twistd"
    script.write_text("#!/new/python\n")
    assert command_line(["/old/python", str(script), "icws"])[0] == sys.executable
    script.chmod(0o755)
    assert command_line(["/old/python", str(script), "icws"]) == [str(script), *SINGLE, "icws"]
    assert command_line(["/old/python", "-O", str(script), "icws"])[:2] == [sys.executable, "-O"]
    # a program that is named like an option is not the script
    monkeypatch.chdir(tmp_path)
    script.rename("-O")
    assert command_line(["/old/python", "-O", "twistd", "icws"])[:2] == [sys.executable, "-O"]


@pytest.mark.parametrize("option", ["uid", "gid", "chroot"])
def test_what_cannot_be_applied_twice(option: str) -> None:
    with pytest.raises(HandoverFailed, match=f"twistd's --{option} cannot be applied twice"):
        command_line(["py", "twistd", "icws"], (), {"uid": None, option: 0})
