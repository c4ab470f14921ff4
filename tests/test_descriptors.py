import resource

import pytest

from icwsgw.descriptors import RESERVE, raise_limit

INFINITY = resource.RLIM_INFINITY


class Limits:
    """The kernel's side."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, refuse: bool = False) -> None:
        self.now = (soft, hard)
        self.refuse = refuse
        monkeypatch.setattr(resource, "getrlimit", lambda which: self.now)
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        if self.refuse:
            raise ValueError("not allowed to raise maximum limit")
        self.now = limits


def test_what_fits_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(monkeypatch, 5000, 6000)
    assert raise_limit(5000 - RESERVE) is None
    assert limits.now == (5000, 6000)
    assert raise_limit(0) is None
    Limits(monkeypatch, INFINITY, INFINITY)
    assert raise_limit(10**6) is None


@pytest.mark.parametrize("hard", [INFINITY, 1 << 20])
def test_raised_to_what_is_needed(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    limits = Limits(monkeypatch, 1024, hard)
    assert raise_limit(50_000) is None
    assert limits.now == (50_000 + RESERVE, hard)


def test_raised_as_far_as_allowed_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(monkeypatch, 1024, 4096)
    said = raise_limit(50_000)
    assert said == "4096 files may be open, --max-connections 50000 needs 51024: raise the limit (LimitNOFILE=)"
    assert limits.now == (4096, 4096)


def test_the_kernel_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    Limits(monkeypatch, 1024, INFINITY, refuse=True)
    said = raise_limit(50_000)
    assert said is not None
    assert said.startswith("1024 files may be open")


def test_the_real_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raise_limit(1) is None or hard < RESERVE + 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] in (soft, RESERVE + 1)
