"""The lock files have all that setup.cfg asks for, in versions it allows, with hashes, and name no package index."""

from __future__ import annotations

import configparser
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_layering import ROOT

LOCKS = {"image.txt": ("otel",), "ci.txt": ("test", "lint", "docs", "mutation", "release"), "build.txt": ()}
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)((?: ;[^\\\n]*)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", re.M)


def pinned(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for package, version, _, _ in _PINNED.findall((ROOT / "requirements" / name).read_text()):
        found.setdefault(canonicalize_name(package), []).append(version)
    return found


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for text in texts for line in text.splitlines() if line]


@pytest.mark.parametrize("name", LOCKS)
def test_everything_in_it_has_hashes_and_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert _PINNED.sub("", text) == "", "nothing but packages with hashes"


@pytest.mark.parametrize("name", ["image.txt", "ci.txt"])
def test_it_has_what_setup_cfg_asks_for(name: str) -> None:
    found = pinned(name)
    for requirement in wanted(LOCKS[name]):
        versions = found.get(canonicalize_name(requirement.name), [])
        assert any(version in requirement.specifier for version in versions), f"run scripts/lock.sh: {requirement}"


def test_an_alpha_has_an_upper_bound() -> None:
    (pyblst,) = (requirement for requirement in wanted(()) if requirement.name == "pyblst")
    assert "0.4" not in pyblst.specifier


def test_ci_builds_the_package_with_what_is_locked() -> None:
    """Its environment is made with --no-build-isolation: pip would fetch another setuptools, without a hash."""
    text = (ROOT / "requirements" / "ci.txt").read_text()
    markers = [marker for package, _, marker, _ in _PINNED.findall(text) if package == "setuptools"]
    assert len(markers) == 1
    assert "python" not in markers[0].replace("platform_python_implementation", ""), "for every version of Python"
    script = (ROOT / "scripts" / "environment.sh").read_text()
    assert "--require-hashes" in script
    assert "--no-build-isolation" in script


def test_the_image_is_made_of_them() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert text.count("--require-hashes -r requirements/") == 2
    assert [line for line in text.splitlines() if re.match("FROM ", line)] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
