"""icwsctl top: what is drawn, by which keys, and that the terminal is as it was afterwards."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from icwsgw.ctl.admin_client import Failed
from icwsgw.ctl.live_view import SORT_KEYS, LiveView, key_from, print_views, view
from tests.support.measured import interpreter
from tests.test_layering import ROOT

RATES = {"up": 1.25, "down": 250.4, "bytes_up": 2048.0, "bytes_down": 10.0, "lag_s": 0.012, "pending": 3}
SESSION: dict[str, Any] = {
    **{"id": "ab12-3", "state": "open", "canister": "bkyz2-fmaaa-aaaaa-qaaaq-cai", "principal": "2vxsx-fae"},
    **{"worker": 1, "peer": "192.0.2.1:5", "outbox_bytes": 0, "age_s": 61.5, "sessions": 1, **RATES},
}
CANISTER: dict[str, Any] = {
    **{"canister": "bkyz2-fmaaa-aaaaa-qaaaq-cai", "sessions": 300, "outbox_bytes": 4096, "age_s": 61.5, **RATES},
    **{"polls_in_flight": 2, "failures": 1, "last_error": "rejected\x1b[2J"},
}
DOCUMENT: dict[str, Any] = {
    **{"seconds": 2.0, "session_count": 300, "canister_count": 5, "up": 120.0, "down": 250.4},
    **{"sessions": [SESSION] * 40, "canisters": [CANISTER] * 5, "missing_workers": []},
}


def test_a_view() -> None:
    lines = view({**DOCUMENT, "sessions": [SESSION], "canisters": [CANISTER], "missing_workers": [3]}, "lag")
    assert lines[0] == ("300 clients; 5 canisters; messages up 120/s, down 250/s; over 2.0s; by lag; without workers 3")
    assert lines[3].split() == [
        *("bkyz2-fmaaa-aaaaa-qaaaq-cai", "300", "1.2", "250", "2.0KiB/s", "10B/s", "12ms", "3", "4.0KiB", "2", "1"),
        "rejected\\u001b[2J",
    ]
    assert lines[6].split()[:4] == ["ab12-3", "1", "1min1s", "1.2"]
    empty = view({**DOCUMENT, "sessions": [], "canisters": [], "seconds": None}, "rate")
    assert "since each began" in empty[0]
    assert empty[2:] == ["no canisters", "", "no clients"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (20, 8), (300, 12)])
def test_a_view_fits_the_screen(width: int, height: int) -> None:
    lines = view(DOCUMENT, "rate", width, height)
    assert len(lines) <= height - 2
    assert max(map(len, lines)) <= width
    rows = sum(line.startswith("ab12-3") for line in lines)
    assert rows >= 1


def test_without_a_terminal_there_are_no_control_characters() -> None:
    sorts: list[str] = []
    pauses: list[float] = []

    def ask(sort: str) -> Any:
        sorts.append(sort)
        if len(sorts) > 3:
            raise Failed("gone")
        return DOCUMENT

    out = io.StringIO()
    with pytest.raises(Failed):
        print_views(ask, "up", 2.5, out=out, pause=pauses.append)
    # the rates of the first are those of the first interval
    assert (sorts, pauses) == (["up"] * 4, [2.5] * 3)
    assert out.getvalue().count("300 clients") == 2
    assert "\x1b" not in out.getvalue()
    out = io.StringIO()
    sorts.clear()
    print_views(ask, "up", 1.0, as_json=True, once=True, out=out, pause=pauses.append)
    assert json.loads(out.getvalue()) == DOCUMENT
    assert out.getvalue().count("\n") == 1


def test_keys_choose_what_is_sorted_by_and_a_gateway_that_is_away_is_asked_again() -> None:
    sorts: list[str] = []
    keys = iter(["l", "x", None, " ", "q"])
    out = io.StringIO()

    def ask(sort: str) -> Any:
        sorts.append(sort)
        if len(sorts) == 2:
            raise Failed("cannot reach\x1b[2J it")
        return DOCUMENT

    seconds = [0.0]

    def key(left: float) -> str | None:
        pressed = next(keys)
        if pressed is None:
            seconds[0] += left
        return pressed

    live = LiveView(ask, "rate", 2.0, key=key, out=out, size=lambda: (100, 30), now=lambda: seconds[0])
    live.run()
    assert sorts == ["rate", "lag", "lag", "lag"]
    drawn = out.getvalue().split("\x1b[H")[1:]
    assert "by rate" in drawn[0]
    assert "cannot reach\\u001b[2J it" in drawn[1]
    assert "by lag" in drawn[2]
    assert "q quit" in drawn[3]
    for screen in drawn:
        assert screen.count("\r\n") < 30


def test_each_sort_key_has_its_first_letter() -> None:
    assert all(name.startswith(key) for key, name in SORT_KEYS.items())


def test_a_keyboard_that_is_none_gives_no_keys() -> None:
    with open(os.devnull) as nothing:
        assert key_from(nothing)(0.0) is None


# on a terminal


@pytest.fixture
def gateway() -> Iterator[str]:
    """An admin API that has one answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(DOCUMENT).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class Terminal:
    """A terminal with icwsctl top in it."""

    def __init__(self, gateway: str, size: tuple[int, int] = (30, 120)) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.seen = ""
        words = ["--endpoint", gateway, "top", "--interval", "500ms"]
        self.process = subprocess.Popen(
            [*interpreter(), "-m", "icwsgw.ctl.commands", *words],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            # a shell starts what runs in its background with SIGINT ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def until(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.seen.count(text) < count:
            assert time.monotonic() < deadline, self.seen
            self._read(0.1)

    def _read(self, seconds: float) -> bool:
        """Read what is there, or comes in time; False: nothing."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.ours, 65_536).decode()
        return True

    def end(self) -> int:
        """Wait for the end. Meanwhile what is drawn is read: a terminal that nobody reads holds the program up."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.parametrize(
    ("how", "status"), [("q", 0), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_terminal_is_restored_however_it_ends(gateway: str, how: str | int, status: int) -> None:
    terminal = Terminal(gateway)
    try:
        terminal.until("by rate", 2)
        assert termios.tcgetattr(terminal.theirs) != terminal.before, "single keys are read"
        os.write(terminal.ours, b"l")
        terminal.until("by lag")
        if isinstance(how, str):
            os.write(terminal.ours, how.encode())
        else:
            terminal.process.send_signal(how)
        assert terminal.end() == status, terminal.seen
        assert termios.tcgetattr(terminal.theirs) == terminal.before
        assert terminal.seen.startswith("\x1b[?1049h")
        assert terminal.seen.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert "Traceback" not in terminal.seen
    finally:
        terminal.close()


def test_a_terminal_that_does_not_know_its_size(gateway: str) -> None:
    terminal = Terminal(gateway, (0, 0))
    try:
        terminal.until("by rate")
        os.write(terminal.ours, b"q")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_a_stop_gives_the_terminal_back_for_as_long(gateway: str) -> None:
    terminal = Terminal(gateway)
    try:
        terminal.until("by rate")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.until("\x1b[?1049l")
        _, stopped = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(stopped)
        assert termios.tcgetattr(terminal.theirs) == terminal.before
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until("\x1b[?1049h", 2)
        drawn = len(re.findall("by rate", terminal.seen))
        terminal.until("by rate", drawn + 1)
        os.write(terminal.ours, b"q")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_into_a_pipe_it_is_plain_text(gateway: str) -> None:
    words = ["--endpoint", gateway, "top", "--interval", "500ms", "--once"]
    done = subprocess.run(
        [*interpreter(), "-m", "icwsgw.ctl.commands", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("300 clients; 5 canisters")
    assert "\x1b" not in done.stdout
