"""Runs of scripts and lines on a client that echoes in memory."""

from __future__ import annotations

import asyncio
import errno
import io
import re
from typing import Any, cast

import pytest

from icwsgw.cli.connection_run import MAX_LINES, ConnectionRun, ExitStatus, Plan, lines_of
from icwsgw.cli.message_format import MessageFormat
from icwsgw.cli.message_script import parse_script
from icwsgw.client.client_errors import ClientError, MessageTooBig, NotOpen, SessionEnded
from icwsgw.client.client_events import ClientOpened, Disconnected, Ended
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import Acknowledged
from icwsgw.devnet.canisters import app_message
from icwsgw.ic.candid import Record, Text
from icwsgw.ic.principal import Principal

PLAN = Plan(steps=None, source=None, timeout=5.0, wait=0.0, limit=None, strict=False, prompts=False, trace=False)


class EchoClient:
    """Echoes each message; ``fails`` is what opening or receiving raises."""

    def __init__(self, fails: ClientError | None = None, silent: bool = False, opens: bool = True) -> None:
        self.state = ClientState.OPEN
        self.last_error = fails
        self.buffered_bytes = 0
        self.sent: list[bytes] = []
        self.unsent: tuple[int, ...] = ()
        self._fails, self._silent, self._opens = fails, silent, opens
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def opened(self) -> None:
        if not self._opens:
            await asyncio.Event().wait()
        if self._fails is not None and not self.sent:
            raise self._fails

    async def send_soon(self, content: bytes) -> int:
        self.sent.append(content)
        if not self._silent:
            self._queue.put_nowait(content)
        return len(self.sent)

    async def receive(self) -> bytes:
        return await self._queue.get()

    async def close(self) -> Ended:
        self.state = ClientState.CLOSED
        return Ended(None, self.unsent, ())


class Ran:
    def __init__(
        self,
        plan: Plan,
        client: Any = None,
        script: str | None = None,
        lines: str | None = None,
        form: MessageFormat | None = None,
    ) -> None:
        self.out: list[str] = []
        self.notes: list[str] = []
        self.recording = io.StringIO()
        if script is not None:
            plan = plan._replace(steps=parse_script(script))
        if lines is not None:
            plan = plan._replace(source=io.StringIO(lines))

        async def run() -> ExitStatus:
            self.client = EchoClient() if client is None else client
            used = form or MessageFormat("text" if script is None else "hex", None)
            made = cast(Any, self.client)
            self.run = ConnectionRun(made, used, plan, self.out.append, self.notes.append, self.recording)
            return await self.run.run()

        self.status = asyncio.run(run())


def test_a_script_that_is_fulfilled() -> None:
    ran = Ran(PLAN, script="> 01\n> 02\n< 02\nwait 0\n> 03\n< 03\n")
    assert (ran.status, ran.out, ran.notes) == (ExitStatus.OK, ["01", "02", "03"], [])
    assert ran.client.state is ClientState.CLOSED
    kept = [line for line in ran.recording.getvalue().splitlines() if not line.startswith("#")]
    assert sorted(kept) == sorted(["> 01", "> 02", "< 01", "< 02", "> 03", "< 03"])


def test_a_script_that_is_not() -> None:
    ran = Ran(PLAN._replace(timeout=0.05), script="> 01\n< 02\n")
    assert (ran.status, ran.out) == (ExitStatus.UNEXPECTED, ["01"])
    assert ran.notes == ["line 2: no message that matches came in 0.05 s"]
    strict = Ran(PLAN._replace(strict=True), script="> 01\n< 02\n")
    assert strict.status is ExitStatus.UNEXPECTED
    assert strict.notes == ["line 2: another message came than the one expected"]
    wrong = Ran(PLAN, script="> xyz\n")
    assert wrong.status is ExitStatus.USAGE
    assert wrong.notes == ["line 1: not hex digits"]


@pytest.mark.parametrize(
    ("name", "message", "lines"),
    [
        ("text", "plain, ü and \\n".encode(), ["# t", "> plain, ü and \\n"]),
        ("text", b"", ["# t", "> "]),
        ("text", b"two\nlines", ["# t: two\\nlines", "hex> 74776f0a6c696e6573"]),
        ("text", b" a", ["# t:  a", "hex> 2061"]),
        ("text", b"\xff", ["# t", "hex> ff"]),
        ("hex", b"\xff", ["# t", "> ff"]),
        ("json", app_message("a\nb"), ["# t", '> {"text": "a\\nb"}']),
        ("json", b"\xff", ["# t", "hex> ff"]),
        ("json", b"\x12", ["# t", "hex> 12"]),
        ("candid", app_message("a\nb"), ["# t", '> (record { text = "a\\nb" })']),
    ],
)
def test_a_recording_has_the_exact_messages(name: str, message: bytes, lines: list[str]) -> None:
    form = MessageFormat(name, Record({"text": Text}))
    first = Ran(PLAN, script=f"hex> {message.hex()}\nhex< {message.hex()}\n", form=form)
    recording = re.sub(r"(?m)^# \d+\.\d{3} s", "# t", first.recording.getvalue())
    sent, received = "\n".join([*lines, ""]), "\n".join([lines[0], lines[1].replace(">", "<", 1), ""])
    assert recording == sent + received
    again = Ran(PLAN._replace(strict=True), script=first.recording.getvalue(), form=form)
    assert (again.status, again.client.sent, again.notes) == (ExitStatus.OK, [message], [])


def test_lines_of_input() -> None:
    ran = Ran(PLAN._replace(wait=5.0, limit=3), lines="one\n\ntwo\nthree")
    assert (ran.status, ran.out) == (ExitStatus.OK, ["one", "two", "three"])
    prompted = Ran(PLAN._replace(wait=5.0, limit=1, prompts=True), lines="one\n")
    assert prompted.out == ["< one"]


def test_a_limit_ends_it_before_the_input_does() -> None:
    ran = Ran(PLAN._replace(limit=1, wait=60.0), lines="a\n" * 5)
    assert ran.status is ExitStatus.OK
    assert ran.out == ["a"]


def test_a_session_that_does_not_open() -> None:
    failed = Ran(PLAN, client=EchoClient(SessionEnded(4101, "no"), opens=True), lines="")
    assert failed.status is ExitStatus.FAILED
    assert failed.notes == ["no (4101)"]
    late = Ran(
        PLAN._replace(timeout=0.01), client=EchoClient(ClientError("refused", "Start it."), opens=False), lines=""
    )
    assert late.status is ExitStatus.FAILED
    assert late.notes == ["not open after 0.01 s (open): refused. Start it."]


@pytest.mark.parametrize("error", [SessionEnded(4109, "replaced"), NotOpen("closed")])
def test_a_session_that_ends(error: ClientError) -> None:
    class Ending(EchoClient):
        async def receive(self) -> bytes:
            raise error

    ran = Ran(PLAN, client=Ending(), script="> 01\n< 01\n")
    assert ran.status is ExitStatus.FAILED
    assert ran.notes == [f"the session has ended: {error.explained()}"]


def test_a_session_that_has_ended_when_the_next_message_is_due() -> None:
    class Ended(EchoClient):
        async def send_soon(self, content: bytes) -> int:
            if self.sent:
                self.last_error = SessionEnded(4001, "the canister closed the session", "Ask it why.")
                raise NotOpen("the client has ended", "Make a new one.")
            return await super().send_soon(content)

    for script, lines in (("> 01\n< 01\n> 02\n", None), (None, "one\ntwo\n")):
        ran = Ran(PLAN, client=Ended(), script=script, lines=lines)
        assert ran.status is ExitStatus.FAILED
        assert ran.notes == ["the session has ended: the canister closed the session (4001). Ask it why."]


def test_a_message_that_is_too_big() -> None:
    class Narrow(EchoClient):
        async def send_soon(self, content: bytes) -> int:
            if len(content) > 1:
                raise MessageTooBig("a message has 2 bytes", "Split it.")
            return await super().send_soon(content)

    script = Ran(PLAN, client=Narrow(), script="> 01\n> 0202\n")
    assert (script.status, script.notes) == (ExitStatus.USAGE, ["line 2: a message has 2 bytes. Split it."])
    lines = Ran(PLAN._replace(limit=1, wait=5.0), client=Narrow(), lines="too\nb\n")
    assert (lines.status, lines.out) == (ExitStatus.OK, ["b"])
    assert lines.notes == ["not sent: a message has 2 bytes. Split it."]


def test_what_was_not_sent_is_a_failure() -> None:
    client = EchoClient()
    client.unsent = (1, 2)
    ran = Ran(PLAN, client=client, script="> 01\n")
    assert (ran.status, ran.notes) == (ExitStatus.FAILED, ["2 messages were not sent"])


def test_events() -> None:
    ran = Ran(PLAN._replace(trace=True), script="")
    gateway = Principal(b"\x01")
    ran.run.event(ClientOpened(gateway, False, ()))
    ran.run.event(Acknowledged((1, 2)))
    ran.run.event(Disconnected(ClientError("lost", "Wait."), 1.25))
    ran.run.event(ClientOpened(gateway, True, (3,)))
    assert [note.split("s  ", 1)[-1] for note in ran.notes] == [
        f"open, through gateway {gateway}",
        "the canister has executed 2 messages",
        "disconnected: lost. Wait. Connecting again in 1.2 s.",
        "a new session is open; of 1 messages it is not known whether they were executed",
    ]


def test_an_input_that_cannot_be_read_any_more_has_ended() -> None:
    class Source(io.StringIO):
        def __next__(self) -> str:  # type: ignore[override]
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().__next__()

    async def read() -> list[str]:
        return [line async for line in lines_of(Source("one\ntwo\n"))]

    assert asyncio.run(read()) == ["one"]


def test_a_long_input_is_read_as_it_is_sent() -> None:
    """The thread that reads holds a bounded number of lines."""

    class Source(io.StringIO):
        taken = 0

        def __next__(self) -> str:  # type: ignore[override]
            self.taken += 1
            return super().__next__()

    source = Source("line\n" * 5 * MAX_LINES)

    async def read() -> int:
        count = 0
        async for line in lines_of(source):
            assert line == "line"
            count += 1
            assert source.taken <= count + MAX_LINES + 1
        return count

    assert asyncio.run(read()) == 5 * MAX_LINES
