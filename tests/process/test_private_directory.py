from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from icwsgw.process.private_directory import make_private_directory


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_each_directory_that_is_made_is_private(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    made = old / "data" / "traces"
    make_private_directory(made)
    assert (mode(old), mode(made.parent), mode(made)) == (0o755, 0o700, 0o700)
    make_private_directory(made)


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OSError, match="data"):
        make_private_directory(tmp_path / "data" / "traces")
