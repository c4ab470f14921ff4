from __future__ import annotations

import cProfile
from pathlib import Path

import pytest

from bench import profiling
from bench.gateway import BenchError


def busy() -> int:
    return sum(len(str(number)) for number in range(100))


def test_a_profile_becomes_tables(tmp_path: Path) -> None:
    profile = cProfile.Profile()
    profile.runcall(busy)
    raw = tmp_path / "raw"
    profile.dump_stats(raw)
    text = profiling.cprofile_tables(raw, 5)
    assert "busy  tests/bench/test_profiling.py:" in text
    assert "callers of those that take most" in text


def test_a_missing_profile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError):
        profiling.cprofile_tables(tmp_path / "none", 5)
    with pytest.raises(BenchError):
        profiling.sample_tables("", 5)


def test_samples_become_a_tree() -> None:
    raw = "main (a.py:1);read (b.py:2);parse (c.py:3) 60\nmain (a.py:1);write (b.py:9) 40\nmain (a.py:1) 0\n"
    lines = profiling.sample_tables(raw, 2).splitlines()
    assert lines[0] == "100 samples"
    assert "  60.0%  parse (c.py:3)" in lines
    assert lines[-4:] == [
        " 100.0%  main (a.py:1)",
        "  60.0%  | read (b.py:2)",
        "  60.0%  | | parse (c.py:3)",
        "  40.0%  | write (b.py:9)",
    ]
