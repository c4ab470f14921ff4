import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from icwsgw.process.program_files import ProgramFiles, interpreter


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "one" / "program"
    directory.mkdir(parents=True)
    for name in ("__init__.py", "a.py"):
        (directory / name).write_text("pass\n")
    (directory / "data.txt").write_text("no source")
    return directory


def test_nothing_changes_by_itself(package: Path) -> None:
    files = ProgramFiles(package, [])
    assert len(files) == 2
    (package / "data.txt").write_text("new")
    (package / "__pycache__").mkdir()
    assert files.changed() is None


def test_an_upgrade_is_noticed(package: Path) -> None:
    files = ProgramFiles(package, [])
    fresh = package / "fresh"
    fresh.write_text("pass\n")
    fresh.replace(package / "a.py")
    assert files.changed() == str(package / "a.py")


def test_the_gap_of_an_upgrade_is_noticed(package: Path) -> None:
    files = ProgramFiles(package, [])
    (package / "a.py").unlink()
    assert files.changed() == str(package / "a.py")


def test_libraries_count(package: Path, tmp_path: Path) -> None:
    library = tmp_path / "library.py"
    library.write_text("pass\n")
    modules = [SimpleNamespace(__file__=str(library)), SimpleNamespace(__file__=None), SimpleNamespace(), None]
    files = ProgramFiles(package, modules)
    assert len(files) == 3
    library.write_text("pass  # 2\n")
    assert files.changed() == str(library)


def test_another_version_beside_it_is_no_change(package: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "one")
    files = ProgramFiles(link / "program", [SimpleNamespace(__file__=str(link / "program" / "a.py"))])
    other = tmp_path / "two" / "program"
    other.mkdir(parents=True)
    (other / "a.py").write_text("raise SystemExit\n")
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert files.changed() is None


def test_of_this_process() -> None:
    files = ProgramFiles.of_this_process()
    assert len(files) > 200
    assert files.changed() is None


def test_the_python_of_an_environment_that_is_behind_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1.0" / "bin").mkdir(parents=True)
    (tmp_path / "1.0" / "bin" / "python").symlink_to("/usr/bin/python3")
    (tmp_path / "current").symlink_to(tmp_path / "1.0")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "current" / "bin" / "python"))
    assert interpreter() == str(tmp_path / "1.0" / "bin" / "python")
