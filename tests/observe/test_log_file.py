"""Log files that rotate, and that others move and truncate; with a real logrotate in tests/deploy/test_logrotate.py."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.logfile import LogFile as TwistedLogFile

from icwsgw.observe.log_file import FileBounds, LogFile
from icwsgw.observe.writer import LogLine


def failure_line(reason: str) -> LogLine:
    return LogLine(f"cannot rotate: {reason}", "error")


def opened(path: Path, octets: int = 0, kept: int = 3) -> LogFile:
    return LogFile(path, FileBounds(octets, kept), failure_line)


def say(file: LogFile, *lines: str) -> None:
    for line in lines:
        file.write(LogLine(line, "info"))


def test_what_stands_there_already_stays(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    file = opened(path)
    say(file, "one", "zwei \N{SNOWMAN}", "\udc80")
    assert path.read_text() == "before\none\nzwei \N{SNOWMAN}\n\\udc80\n"


def test_a_new_file_is_not_public_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = os.umask(0o002)
    try:
        file = opened(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        file.rotate()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_it_rotates_as_twisteds_does(tmp_path: Path) -> None:
    """The names of older files are those that stock twistd gives."""
    ours, theirs = opened(tmp_path / "ours", kept=5), TwistedLogFile.fromFullPath(str(tmp_path / "theirs"))
    for number in range(4):
        say(ours, str(number))
        ours.rotate()
        theirs.write(f"{number}\n")
        theirs.rotate()
    theirs.close()

    def contents(name: str) -> dict[str, str]:
        return {path.name.removeprefix(name): path.read_text() for path in tmp_path.glob(f"{name}*")}

    assert contents("ours") == contents("theirs") == {"": "", ".1": "3\n", ".2": "2\n", ".3": "1\n", ".4": "0\n"}


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=60),
    st.integers(10, 100),
    st.integers(0, 4),
)
def test_no_more_is_kept_than_the_bounds_say_and_the_last_lines_are(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], octets: int, kept: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    file = opened(directory / "log", octets, kept)
    say(file, *lines)
    files = sorted(directory.iterdir(), key=lambda path: int(path.suffix[1:] or "0"), reverse=True)
    assert len(files) <= kept + 1
    for path in files:
        data = path.read_bytes()
        # a line that is longer than the bound has a file of its own
        assert len(data) <= octets or data.count(b"\n") == 1
    written = b"".join(path.read_bytes() for path in files).split(b"\n")[:-1]
    encoded = [line.encode() for line in lines]
    assert written == encoded[len(encoded) - len(written) :]
    assert bool(written) == bool(lines)
    file.close()


def test_one_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = opened(path)
    say(file, "one")
    path.rename(tmp_path / "moved")
    say(file, "two")
    file.rotate()
    say(file, "three")
    # and one for which another program has made a new file
    path.rename(tmp_path / "moved too")
    path.write_text("")
    path.chmod(0o604)
    file.rotate()
    say(file, "four")
    found = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert found == {"moved": "one\ntwo\n", "moved too": "three\n", "log": "four\n"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_one_that_was_copied_and_truncated_has_no_hole_and_its_own_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = opened(path, octets=40)
    for _ in range(3):
        say(file, "x" * 19)
        os.truncate(path, 0)
    say(file, "y" * 19, "z" * 19)
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert path.read_bytes() == b"y" * 19 + b"\n" + b"z" * 19 + b"\n"


def test_where_rotating_fails_the_file_goes_on_and_says_why_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = opened(path, octets=400)
    # a directory with something in it cannot be replaced
    for name in ("log.2", "log.3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    say(file, *["0123456789"] * 50)
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("cannot rotate: ")] == [lines[36]]
    assert lines.count("0123456789") == 50
    for name in ("log.2", "log.3"):
        (tmp_path / name / "x").unlink()
        (tmp_path / name).rmdir()
    # it is tried again when there are as many more
    say(file, *["0123456789"] * 40)
    assert (tmp_path / "log.1").read_text().splitlines()[:51] == lines


def test_a_missing_directory_is_reported_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    file = opened(path)
    path.parent.rename(tmp_path / "away")
    file.rotate()
    assert (tmp_path / "away" / "log").read_text() == f"cannot rotate: {path}: No such file or directory\n"
    path.parent.mkdir()
    file.rotate()
    say(file, "here again")
    assert path.read_text() == "here again\n"


def test_a_path_stays_the_same_when_the_directory_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = opened(Path("log"))
    monkeypatch.chdir("/")
    file.rotate()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1"]


def test_a_file_that_must_be_new(tmp_path: Path) -> None:
    LogFile(tmp_path / "log", FileBounds(), failure_line, new=True).close()
    with pytest.raises(FileExistsError):
        LogFile(tmp_path / "log", FileBounds(), failure_line, new=True)


def test_a_line_that_the_disk_cut_off_ends_before_the_next_one(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: the kernel writes what fits, then refuses."""
    path = tmp_path / "log"
    file = opened(path)
    say(file, "whole")
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                say(file, "cut off")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    say(file, "next", "last")
    assert path.read_text() == "whole\ncut \nnext\nlast\n"
