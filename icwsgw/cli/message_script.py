"""Scripts of messages: what to send, and what to expect. A recording is a script.

::

    # a comment
    > {"text": "hello"}
    < {"text": "hello"}
    wait 1.5

A line with ``>`` sends a message, a line with ``<`` waits for one. The message is written in the format of the command
line; after ``hex>`` and ``hex<``, in hex digits. Times in a recording are comments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from icwsgw.errors import FormatError

#: The longest pause in seconds.
MAX_PAUSE: Final = 3600.0
_HEX: Final = "hex"


class SendStep(NamedTuple):
    """Send a message, which is written in the format of the command line, or in hex digits."""

    line: int
    message: str
    is_hex: bool = False


class ExpectStep(NamedTuple):
    """Wait for a message that matches."""

    line: int
    message: str
    is_hex: bool = False


class PauseStep(NamedTuple):
    """Wait for some seconds."""

    line: int
    seconds: float


Step = SendStep | ExpectStep | PauseStep


def parse_script(text: str) -> list[Step]:
    """Read a script.

    :raises FormatError: a line is none of a script; the text names it
    """
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        is_hex = stripped.startswith((_HEX + ">", _HEX + "<"))
        marked = stripped.removeprefix(_HEX) if is_hex else stripped
        mark, rest = marked[0], marked[1:].strip()
        if mark == ">":
            steps.append(SendStep(number, rest, is_hex))
        elif mark == "<":
            steps.append(ExpectStep(number, rest, is_hex))
        elif stripped.split()[0] == "wait":
            steps.append(PauseStep(number, _seconds(stripped, number)))
        else:
            raise FormatError(f"line {number}: {stripped[:40]!r} begins with none of >, <, hex>, hex<, wait and #")
    return steps


def recorded(seconds: float, mark: str, message: str) -> str:
    """Return the lines of a recording for a message.

    :param seconds: the time since the recording began
    :param mark: ``>`` for what was sent, ``<`` for what was received
    :param message: the message in the format of the command line, without spaces around it
    """
    return f"# {seconds:.3f} s\n{mark} {message}\n"


def recorded_in_hex(seconds: float, mark: str, content: bytes, shown: str) -> str:
    """Return the lines of a recording for a message that has no line in the format of the command line.

    :param content: the message
    :param shown: the message for people: one line
    """
    digits = content.hex()
    comment = "" if shown == digits else f": {shown}"
    return f"# {seconds:.3f} s{comment}\n{_HEX}{mark} {digits}\n"


def _seconds(text: str, number: int) -> float:
    try:
        (_, value) = text.split()
        seconds = float(value)
    except ValueError:
        raise FormatError(f"line {number}: say wait SECONDS") from None
    if not 0 <= seconds <= MAX_PAUSE:
        raise FormatError(f"line {number}: a pause has 0 to {MAX_PAUSE:.0f} seconds")
    return seconds
