import os
import pwd
from pathlib import Path

import pytest

from icwsgw.process.ownership import NewFiles, switches_to


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int, int]]:
    calls: list[tuple[Path, int, int]] = []

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        calls.append((path, uid, gid))

    monkeypatch.setattr(os, "chown", chown)
    return calls


def test_what_a_start_makes_is_given_away(tmp_path: Path, given: list[tuple[Path, int, int]]) -> None:
    data = tmp_path / "lib" / "icws"
    new = NewFiles(data)
    data.mkdir(parents=True)
    (data / "traces").mkdir()
    for name in ("key_pair", "traces/gateway_1.log"):
        (data / name).write_bytes(b"")
    expected = {data.parent, data, data / "key_pair", data / "traces", data / "traces" / "gateway_1.log"}
    assert set(new.give_to(7, 8)) == expected
    assert {path for path, *ids in given if ids == [7, 8]} == expected


def test_what_was_there_stays_whose_it_is(tmp_path: Path, given: list[tuple[Path, int, int]]) -> None:
    (tmp_path / "key_pair").write_bytes(b"")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").write_bytes(b"")
    new = NewFiles(tmp_path)
    (tmp_path / "traces").mkdir()
    assert new.give_to(7, 8) == [tmp_path / "traces"]
    assert len(given) == 1


def test_a_directory_that_cannot_be_looked_at_is_left_to_the_start(
    tmp_path: Path, given: list[tuple[Path, int, int]]
) -> None:
    """As one below another user's private directory, which a test that runs as root could still see."""
    new = NewFiles(tmp_path / ("x" * 300) / "data")
    assert new.give_to(7, 8) == []


def test_to_whom_twistd_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = pwd.getpwuid(os.getuid())
    assert switches_to({}) is None
    assert switches_to({"uid": None, "gid": None}) is None
    assert switches_to({"uid": user.pw_uid}) == (user.pw_uid, user.pw_gid)
    assert switches_to({"uid": user.pw_uid, "gid": 12}) == (user.pw_uid, 12)
    assert switches_to({"gid": 12}) == (0, 12)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert switches_to({"uid": 7}) is None, "twistd itself says that it may not"
