"""What ``pip install .`` brings: the package whole, with a ``twistd`` that knows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from icwsgw._version import __version__
from tests.acceptance.processes import ROOT

pytestmark = pytest.mark.acceptance


EPOCH = 1_700_000_000


def make_dist(directory: Path, umask: int) -> list[Path]:
    """Wheel and sdist, as a release makes them."""
    script = f"import os, sys; os.umask({umask}); sys.path.insert(0, 'scripts'); import dist; from pathlib import Path"
    script += f"; dist.build(Path({str(directory)!r}), {EPOCH})"
    built = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_dist(tmp_path_factory.mktemp("dist"), 0o022)


@pytest.fixture(scope="module")
def wheel(dist: list[Path]) -> Path:
    (made,) = (path for path in dist if path.suffix == ".whl")
    return made


def run_tool(*words: object) -> str:
    """Run a program of this environment; returns its output. Any failure is one of the test."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_builds_are_the_same_byte_for_byte(dist: list[Path], tmp_path: Path) -> None:
    again = make_dist(tmp_path, 0o077)
    assert [path.name for path in again] == [path.name for path in dist]
    for one, other in zip(dist, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_tools_of_the_index_have_nothing_to_say(dist: list[Path], wheel: Path) -> None:
    assert run_tool("twine", "check", "--strict", *dist).count("PASSED") == 2
    run_tool("check-wheel-contents", wheel)


def test_the_sdist_has_what_the_wheel_is_made_of_and_no_more(dist: list[Path], wheel: Path) -> None:
    (sdist,) = (path for path in dist if path.name.endswith(".tar.gz"))
    with tarfile.open(sdist) as files:
        members = files.getmembers()
    assert {member.mtime for member in members} == {EPOCH}
    assert {(member.uid, member.gid, member.uname, member.mode & 0o022) for member in members} == {(0, 0, "", 0)}
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert not [name for name in names if name.startswith(("tests/", "bench/", "."))]
    package = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(("icwsgw/", "twisted/"))}
    assert package <= names
    assert {"LICENSE", "README.md", "setup.cfg", "docs/man/icws.1"} <= names


def test_the_list_of_what_an_image_installs(tmp_path: Path) -> None:
    script = "import sys; sys.path.insert(0, 'scripts'); import dist; from pathlib import Path"
    run_tool("python", "-c", f"{script}; dist.write_sbom(Path({str(tmp_path)!r}), 'icwsgw-1')")
    document = json.loads((tmp_path / "icwsgw-1.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    listed = {(each["name"].lower().replace("_", "-"), each["version"]) for each in document["components"]}
    locked = re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / "requirements" / "image.txt").read_text(), re.MULTILINE)
    assert {(name.lower().replace("_", "-"), version) for name, version in locked} == listed
    for each in document["components"]:
        assert any(each["externalReferences"][0]["hashes"]), each["name"]


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
    assert {name.split("/")[0] for name in shipped} == {
        *("icwsgw", "twisted"),
        *(f"icwsgw-{__version__}.{part}" for part in ("data", "dist-info")),
    }


def test_twistd_has_the_installed_programs(wheel: Path, tmp_path: Path) -> None:
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


def test_a_fresh_environment_has_the_commands(wheel: Path, tmp_path: Path) -> None:
    """With pip's own scripts; the dependencies are those of this environment, so that nothing is downloaded."""
    target = tmp_path / "icws"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True, timeout=120)
    (site,) = target.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    words = ["-m", "pip", "--python", target / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index"]
    run_tool("python", *words, "--ignore-installed", wheel)
    for command, output in (
        (["icws", "--version"], f"icws {__version__}"),
        (["icwsctl", "--version"], f"icwsctl {__version__}"),
        (["icws-capacity", "--version"], f"icws-capacity {__version__}"),
        (["python", "-m", "twisted", "icws", "--version"], f"icwsgw {__version__}"),
    ):
        program, *rest = command
        done = subprocess.run(
            [target / "bin" / program, *rest], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert output in done.stdout + done.stderr, done.stdout + done.stderr
    for page in ("icws.1", "icwsctl.1", "icws-client.1", "icws-capacity.1"):
        assert (target / "share" / "man" / "man1" / page).is_file()
