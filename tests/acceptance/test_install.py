"""What ``pip install .`` brings: the package whole, with a ``twistd`` that knows it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.processes import ROOT

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built by pip from a copy of what git tracks or would track."""
    directory = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    source = directory / "source"
    for name in filter(None, listed):
        if name.startswith(("icwsgw/", "twisted/", "docs/man/")) or "/" not in name:
            if not (ROOT / name).is_file():
                continue
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = directory.glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_package_but_those_of_the_linter(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    present = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "icwsgw").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "ruff.toml"
    }
    assert present - shipped == set()
    assert "twisted/plugins/icws_plugin.py" in shipped
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in shipped if name.endswith(".dist-info/entry_points.txt"))
        scripts = files.read(name).decode()
        assert "icwsctl = icwsgw.ctl.commands:main" in scripts
        assert "icws = icwsgw.cli.icws_command:main" in scripts
        assert "icws-capacity = icwsgw.capacity.capacity_command:main" in scripts
    for page in ("icws.1", "icws-capacity.1", "icws-client.1", "icwsctl.1"):
        assert any(name.endswith(f".data/data/share/man/man1/{page}") for name in shipped)
    assert "twisted/plugins/__init__.py" not in shipped


def test_twistd_knows_the_installed_programs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    twistd = Path(sys.executable).with_name("twistd")
    for program, option in (("icws", "--gateway-address"), ("icws-devnet", "--listen")):
        shown = subprocess.run(
            [str(twistd), program, "--help"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert option in shown.stdout, shown.stdout + shown.stderr
