"""Runs ``icws connect`` and ``icws send``: lines of a terminal, a pipe or a script on a session."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from enum import IntEnum
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from icwsgw.cli.message_format import MessageFormat
from icwsgw.cli.message_script import ExpectStep, PauseStep, SendStep, Step, recorded, recorded_in_hex
from icwsgw.client.client_errors import ClientError, MessageTooBig, NotOpen
from icwsgw.client.client_events import ClientOpened, Disconnected, ForApplication
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import Acknowledged
from icwsgw.errors import FormatError

if TYPE_CHECKING:
    from icwsgw.client.asyncio_client import AsyncioClient

#: Lines of input that wait until they can be sent.
MAX_LINES = 100
_HEX: Final = MessageFormat("hex", None)


class ExitStatus(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNEXPECTED = 3


class Plan(NamedTuple):
    """What to do in a session.

    :ivar steps: of a script; None: lines of ``source`` are sent
    :ivar source: where lines come from, if there is no script
    :ivar timeout: seconds for each expectation, and until the session is open
    :ivar wait: seconds for further messages after the end of the input
    :ivar limit: end after so many messages; None: any number
    :ivar strict: whether a message that an expectation does not match is a failure
    :ivar prompts: whether messages are marked with ``<``, for a terminal
    :ivar trace: whether events are shown
    """

    steps: list[Step] | None
    source: IO[str] | None
    timeout: float
    wait: float
    limit: int | None
    strict: bool
    prompts: bool
    trace: bool


class ConnectionRun:
    """One run of a plan.

    :param client: not started
    :param form: how messages are read and shown
    :param plan: what to do
    :param out: takes what is received, a line for each message
    :param note: takes what happens, for people
    :param recording: takes a recording; None: there is none
    """

    def __init__(
        self,
        client: AsyncioClient[bytes],
        form: MessageFormat,
        plan: Plan,
        out: Callable[[str], None],
        note: Callable[[str], None],
        recording: IO[str] | None = None,
    ) -> None:
        self._client = client
        self._form = form
        self._plan = plan
        self._out = out
        self._note = note
        self._recording = recording
        self._began = time.monotonic()
        self._received = 0
        self._sent_at: float | None = None

    async def run(self) -> ExitStatus:
        """Open the session, follow the plan and close the session."""
        try:
            await asyncio.wait_for(self._client.opened(), self._plan.timeout)
        except ClientError as error:
            self._note(error.explained())
            return ExitStatus.FAILED
        except asyncio.TimeoutError:
            why = self._client.last_error
            text = "" if why is None else f": {why.explained()}"
            self._note(f"not open after {self._plan.timeout:g} s ({self._client.state.value}){text}")
            await self._client.close()
            return ExitStatus.FAILED
        try:
            status = await (self._follow(self._plan.steps) if self._plan.steps is not None else self._relay())
            await self._flush()
        except ClientError as error:
            # that the client has ended says less than why
            why = self._client.last_error if isinstance(error, NotOpen) else None
            self._note(f"the session has ended: {(why or error).explained()}")
            return ExitStatus.FAILED
        ended = await self._client.close()
        if ended.unsent:
            self._note(f"{len(ended.unsent)} messages were not sent")
            return ExitStatus.FAILED
        return status

    def event(self, event: ForApplication) -> None:
        """Show an event of the client."""
        if isinstance(event, Disconnected):
            self._note(f"disconnected: {event.explained()}")
        elif isinstance(event, ClientOpened) and event.resumed:
            lost = f"; of {len(event.uncertain)} messages it is not known whether they were executed"
            self._note(f"a new session is open{lost if event.uncertain else ''}")
        elif self._plan.trace:
            if isinstance(event, ClientOpened):
                self._trace(f"open, through gateway {event.gateway}")
            elif isinstance(event, Acknowledged):
                self._trace(f"the canister has executed {len(event.handles)} messages")

    def frame(self, text: str) -> None:
        """Show a message of the protocol, if events are shown."""
        if self._plan.trace:
            self._trace(text)

    # -- a script -----------------------------------------------------------------------------------------------

    async def _follow(self, steps: Iterable[Step]) -> ExitStatus:
        for step in steps:
            if isinstance(step, SendStep):
                try:
                    await self._send(step.message, self._form_of(step))
                except (FormatError, MessageTooBig) as error:
                    self._complain(step, _explained(error))
                    return ExitStatus.USAGE
            elif isinstance(step, PauseStep):
                await asyncio.sleep(step.seconds)
            elif not await self._expect(step):
                return ExitStatus.UNEXPECTED
        await self._listen(self._plan.wait)
        return ExitStatus.OK

    async def _expect(self, step: ExpectStep) -> bool:
        deadline = time.monotonic() + self._plan.timeout
        while True:
            try:
                content = await asyncio.wait_for(self._client.receive(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                self._complain(step, f"no message that matches came in {self._plan.timeout:g} s")
                return False
            self._show(content)
            if self._form_of(step).matches(step.message, content):
                return True
            if self._plan.strict:
                self._complain(step, "another message came than the one expected")
                return False

    # -- lines ----------------------------------------------------------------------------------------------------

    async def _relay(self) -> ExitStatus:
        """Send each line and show each message, until the input ends or enough messages have come."""
        receiving = asyncio.ensure_future(self._receive_all())
        sending = asyncio.ensure_future(self._send_lines())
        try:
            done, _ = await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
            if sending in done and not receiving.done():
                sending.result()
                await asyncio.wait((receiving,), timeout=self._plan.wait)
            if receiving.done():
                receiving.result()
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)
        return ExitStatus.OK

    async def _receive_all(self) -> None:
        while self._plan.limit is None or self._received < self._plan.limit:
            self._show(await self._client.receive())

    async def _listen(self, seconds: float) -> None:
        """Show further messages for some time."""
        receiving = asyncio.ensure_future(self._receive_all())
        await asyncio.wait((receiving,), timeout=seconds)
        if receiving.done():
            receiving.result()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)

    async def _send_lines(self) -> None:
        assert self._plan.source is not None
        async for line in lines_of(self._plan.source):
            if not line.strip():
                continue
            try:
                await self._send(line, self._form)
            except (FormatError, MessageTooBig) as error:
                self._note(f"not sent: {_explained(error)}")

    # -- messages -------------------------------------------------------------------------------------------------

    def _form_of(self, step: SendStep | ExpectStep) -> MessageFormat:
        return _HEX if step.is_hex else self._form

    async def _send(self, line: str, form: MessageFormat) -> None:
        content = form.read(line)
        await self._client.send_soon(content)
        self._sent_at = time.monotonic()
        self._record(">", content)

    def _show(self, content: bytes) -> None:
        self._received += 1
        shown = self._form.show(content)
        self._out(f"< {shown}" if self._plan.prompts else shown)
        self._record("<", content)
        if self._plan.trace and self._sent_at is not None:
            self._trace(
                f"message {self._received}, {1000 * (time.monotonic() - self._sent_at):.0f} ms after the last sent"
            )

    async def _flush(self) -> None:
        """Wait until all is sent, at most for the time limit."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._sent(), self._plan.timeout)

    async def _sent(self) -> None:
        while self._client.buffered_bytes and self._client.state is not ClientState.CLOSED:
            await asyncio.sleep(0.02)

    def _record(self, mark: str, content: bytes) -> None:
        if self._recording is None:
            return
        seconds, line = time.monotonic() - self._began, self._form.line(content)
        if line is None:
            self._recording.write(recorded_in_hex(seconds, mark, content, self._form.show(content)))
        else:
            self._recording.write(recorded(seconds, mark, line))
        self._recording.flush()

    def _complain(self, step: Step, text: str) -> None:
        self._note(f"line {step.line}: {text}" if step.line else text)

    def _trace(self, text: str) -> None:
        self._note(f"{time.monotonic() - self._began:8.3f} s  {text}")


def _explained(error: FormatError | MessageTooBig) -> str:
    return error.explained() if isinstance(error, ClientError) else str(error)


async def lines_of(source: IO[str]) -> AsyncIterator[str]:
    """Yield the lines of a file, a pipe or a terminal, which a thread reads."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    room = threading.Semaphore(MAX_LINES)

    def read() -> None:
        # the loop is closed when the session ends before the input
        with contextlib.suppress(RuntimeError):
            # the input ends too when it cannot be read any more
            with contextlib.suppress(ValueError, OSError):
                for line in source:
                    room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, line.rstrip("\n"))
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await queue.get()) is not None:
        room.release()
        yield line
