"""``icwsctl top``: shows the busiest canisters and clients again and again, on a terminal or as plain text.

On a terminal it takes the whole screen and reacts to single keys; the terminal is restored however it ends.
Anywhere else, such as in a pipe, each view is plain text without control characters, or a line of JSON.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from icwsgw.ctl import tables
from icwsgw.ctl.admin_client import Failed

if sys.platform != "win32":
    import termios
    import tty

#: The sort keys, and the key of the keyboard for each.
SORT_KEYS = {
    "r": "rate",
    "u": "up",
    "d": "down",
    "b": "bytes",
    "l": "lag",
    "p": "pending",
    "o": "outbox",
    "a": "age",
    "s": "sessions",
}
_HELP = "q quit, sort by: " + " ".join(f"{key} {name}" for key, name in SORT_KEYS.items())

#: To the alternate screen and back, without a cursor and without wrapping long lines.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

#: Fetches the rows of a sort key from the gateway.
Fetch = Callable[[str], Mapping[str, Any]]


def wait_for(seconds: float) -> None:
    """Let time pass; nothing else has to run meanwhile in this program."""
    select.select([], [], [], seconds)


def view(document: Mapping[str, Any], sort: str, width: int | None = None, height: int | None = None) -> list[str]:
    """Format an answer to ``GET /v1/top`` as lines.

    :param width: columns of the screen; None: as many as needed
    :param height: lines of the screen; None: as many as needed
    """
    canisters, sessions = document["canisters"], document["sessions"]
    lines = [_summary(document, sort), ""]
    if height is not None:
        # two heads, two empty lines, the summary and the last line of the screen
        room = max(1, height - 7)
        of_canisters = min(len(canisters), max(room // 3, room - len(sessions)))
        canisters, sessions = canisters[:of_canisters], sessions[: room - of_canisters]
    lines += _canisters(canisters).splitlines()
    lines.append("")
    lines += _sessions(sessions).splitlines()
    return lines if width is None else [line[:width] for line in lines]


def _summary(document: Mapping[str, Any], sort: str) -> str:
    seconds = document["seconds"]
    parts = [
        f"{document['session_count']} clients",
        f"{document['canister_count']} canisters",
        f"messages up {_figure(document['up'])}/s, down {_figure(document['down'])}/s",
        f"over {tables.duration(seconds)}" if seconds is not None else "since each began",
        f"by {sort}",
    ]
    if document["missing_workers"]:
        parts.append(f"without workers {', '.join(map(str, document['missing_workers']))}")
    return "; ".join(parts)


def _figure(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 or number == int(number) else f"{number:.1f}"


def _rates(row: Mapping[str, Any]) -> list[str]:
    octets = [f"{tables.size(row[name])}/s" for name in ("bytes_up", "bytes_down")]
    lag = tables.duration(row["lag_s"])
    return [
        _figure(row["up"]),
        _figure(row["down"]),
        *octets,
        lag,
        str(row["pending"]),
        tables.size(row["outbox_bytes"]),
    ]


_RATES = ["UP/S>", "DOWN/S>", "UP>", "DOWN>", "LAG>", "PENDING>", "OUTBOX>"]


def _canisters(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "no canisters"
    head = ["CANISTER", "SESSIONS>", *_RATES, "POLLS>", "FAILED>", "LAST-ERROR"]
    return tables.table(
        head,
        [
            [
                row["canister"],
                row["sessions"],
                *_rates(row),
                row["polls_in_flight"],
                row["failures"],
                row["last_error"],
            ]
            for row in rows
        ],
    )


def _sessions(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "no clients"
    head = ["SESSION", "W>", "AGE>", *_RATES, "STATE", "PEER", "CANISTER", "PRINCIPAL"]
    return tables.table(
        head,
        [
            [
                row["id"],
                row["worker"],
                tables.duration(row["age_s"]),
                *_rates(row),
                row["state"],
                row["peer"],
                row["canister"],
                row["principal"],
            ]
            for row in rows
        ],
    )


def print_views(
    fetch: Fetch,
    sort: str,
    interval: float,
    *,
    as_json: bool = False,
    once: bool = False,
    out: TextIO,
    pause: Callable[[float], None] = wait_for,
) -> None:
    """Print views as plain text, or JSON lines, until the process is interrupted.

    The rates of the first one are those of the first interval, so it is printed after it.

    :raises Failed: the gateway cannot be reached, or has refused
    """
    fetch(sort)
    while True:
        pause(interval)
        document = fetch(sort)
        if as_json:
            print(json.dumps(document), file=out, flush=True)
        else:
            print("\n".join(view(document, sort)), end="\n" if once else "\n\n", file=out, flush=True)
        if once:
            return


def screen_size() -> tuple[int, int]:
    """Return columns and lines of the terminal; 80 and 24 where it does not say, as terminals of containers may."""
    columns, lines = shutil.get_terminal_size()
    # Python 3.10 returns zeros
    return columns or 80, lines or 24


class LiveView:
    """The view on a terminal.

    :param fetch: fetches rows from the gateway
    :param key: waits for a key for some seconds at most; None: none was pressed
    :param out: the terminal
    :param size: columns and lines of the terminal
    """

    def __init__(
        self,
        fetch: Fetch,
        sort: str,
        interval: float,
        *,
        key: Callable[[float], str | None],
        out: TextIO,
        size: Callable[[], tuple[int, int]] = screen_size,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._sort = sort
        self._interval = interval
        self._key = key
        self._out = out
        self._size = size
        self._now = now
        self._document: Mapping[str, Any] | None = None
        self._error = ""

    def run(self) -> None:
        """Show views until q is pressed. A gateway that does not answer gets another request."""
        while True:
            self._refresh()
            due = self._now() + self._interval
            while (left := due - self._now()) > 0:
                pressed = self._key(left)
                if pressed in ("q", "Q", "\x03"):
                    return
                if pressed in SORT_KEYS:
                    self._sort = SORT_KEYS[pressed]
                    break
                if pressed == " ":
                    break

    def _refresh(self) -> None:
        try:
            self._document = self._fetch(self._sort)
            self._error = ""
        except Failed as error:
            self._error = tables.clean(error)
        self.draw()

    def draw(self) -> None:
        """Draw the last answer, to the size that the terminal has now."""
        width, height = self._size()
        lines = [] if self._document is None else view(self._document, self._sort, width, height)
        last = (self._error or _HELP)[:width]
        lines = [*lines[: height - 2], "", last]
        body = "".join(f"{line}{_REST_OF_LINE}\r\n" for line in lines[:-1]) + lines[-1] + _REST_OF_LINE
        self._out.write(f"{_HOME}{body}{_REST_OF_SCREEN}")
        self._out.flush()


@contextmanager
def whole_screen(out: TextIO, keyboard: TextIO, redraw: Callable[[], None]) -> Iterator[None]:
    """Take the terminal, and give it back: at the end, at an exception, at SIGTERM and SIGHUP, and for a stop (ctrl-z).

    :param keyboard: read key by key if it is a terminal
    :param redraw: called when the process continues after a stop
    """
    attributes = termios.tcgetattr(keyboard) if keyboard.isatty() else None

    def take() -> None:
        if attributes is not None:
            tty.setcbreak(keyboard)
        out.write(_ENTER)
        out.flush()

    def give_back() -> None:
        if attributes is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, attributes)
        out.write(_LEAVE)
        out.flush()

    def ended(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def stopped(number: int, frame: FrameType | None) -> None:
        give_back()
        # stops here, until SIGCONT
        signal.raise_signal(signal.SIGSTOP)
        take()
        redraw()

    handlers = {signal.SIGTERM: ended, signal.SIGHUP: ended, signal.SIGTSTP: stopped}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        take()
        yield
    finally:
        give_back()
        for number, handler in before.items():
            signal.signal(number, handler)


def key_from(keyboard: TextIO) -> Callable[[float], str | None]:
    """Return what waits for a key."""
    if not keyboard.isatty():

        def no_key(seconds: float) -> None:
            wait_for(seconds)

        return no_key

    def key(seconds: float) -> str | None:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        # q at the end of the input: the terminal is gone
        return (os.read(keyboard.fileno(), 1).decode("latin-1") or "q") if ready else None

    return key
