"""The planted errors are of use: each applies to the tree as it is, and changes what is compiled."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.planted.patches import HERE, PACKAGES, ROOT, DoesNotApply, Planted, all_patches, make, read

PLANTED = list(all_patches())


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.name)
def test_applies_and_changes_what_is_compiled(planted: Planted) -> None:
    """Where it does not: ``python -m tests.planted --check`` lists all, docs/reliability.md says what to do."""
    changed = planted.planted_in(ROOT)
    compile(changed, planted.path, "exec")
    before = (ROOT / planted.path).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(before))


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.name)
def test_says_why_it_matters_and_stands_with_its_package(planted: Planted) -> None:
    assert len(planted.reason) > 60
    assert planted.reason.endswith(".")
    assert planted.path.startswith(f"icwsgw/{planted.name.partition('/')[0]}/")


def test_there_are_enough_of_each_package() -> None:
    counts = {package: sum(each.name.startswith(f"{package}/") for each in PLANTED) for package in PACKAGES}
    assert counts["core"] >= 22
    assert counts["gateway"] >= 28
    assert counts["agent"] >= 18
    assert counts["server"] >= 14


def test_no_two_are_the_same_error() -> None:
    changes = [(each.path, each.hunks) for each in PLANTED]
    assert len(set(changes)) == len(changes)


def test_nothing_else_lies_among_them() -> None:
    folders = [path for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {folder.name for folder in folders} == set(PACKAGES)
    assert all(path.suffix == ".patch" for folder in folders for path in folder.iterdir())


OLD = "".join(f"line {number % 7}\n" for number in range(40)) + "end\n"


def test_a_patch_that_is_made_gives_the_change_again(tmp_path: Path) -> None:
    lines = OLD.splitlines()
    lines[20] = "another line"
    del lines[33]
    new = "\n".join(lines) + "\n"
    path = tmp_path / "one.patch"
    path.write_text(make("Why.\n", "icwsgw/core/x.py", OLD, new), encoding="utf-8")
    planted = read(path)
    assert (planted.reason, planted.path, planted.name) == ("Why.", "icwsgw/core/x.py", "one")
    assert planted.apply(OLD) == new
    # lines that were added or taken away elsewhere do no harm
    assert planted.apply("first\n" + OLD) == "first\n" + new


def test_a_patch_whose_place_is_gone_or_not_the_only_one_does_not_apply(tmp_path: Path) -> None:
    path = tmp_path / "one.patch"
    path.write_text(make("Why.", "icwsgw/core/x.py", "a\nb\nc\n", "a\nd\nc\n"), encoding="utf-8")
    planted = read(path)
    with pytest.raises(DoesNotApply, match="not there"):
        planted.apply("a\nc\n")
    with pytest.raises(DoesNotApply, match="not there"):
        planted.apply("a\ne\nc\n")
    with pytest.raises(DoesNotApply, match="2 times"):
        planted.apply("a\nb\nc\na\nb\nc\n")


@pytest.mark.parametrize("near", ["x\nb\nc\n", "a\nb\nx\n", "x\nb\nx\n", "a\nb\n"])
def test_a_change_nearby_does_not_matter(tmp_path: Path, near: str) -> None:
    path = tmp_path / "one.patch"
    path.write_text(make("Why.", "icwsgw/core/x.py", "a\nb\nc\n", "a\nd\nc\n"), encoding="utf-8")
    assert read(path).apply(near) == near.replace("b", "d")


@pytest.mark.parametrize("text", ["", "Why.\n", "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "--- a/x\n+++ b/x\n"])
def test_what_is_no_patch_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.patch"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.patch"):
        read(path)
