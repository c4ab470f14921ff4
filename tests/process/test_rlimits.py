import resource

import pytest

from icwsgw.admin import api_site
from icwsgw.admin import prometheus_endpoint as admin
from icwsgw.agent.http import transport
from icwsgw.process.rlimits import NETWORK, OTHERS, REFUSED, Room, make_room, share
from icwsgw.server import endpoints

INFINITY = resource.RLIM_INFINITY


class Limits:
    """A fake of the kernel's resource limits."""

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
    kernel = Limits(monkeypatch, 5000, 6000)
    assert make_room(5000 - NETWORK - OTHERS) == Room(5000, 5000 - NETWORK - OTHERS, NETWORK)
    assert kernel.now == (5000, 6000)
    Limits(monkeypatch, INFINITY, INFINITY)
    assert make_room(10**6) == Room(None, 10**6, NETWORK)


@pytest.mark.parametrize("hard", [INFINITY, 1 << 20])
def test_raised_to_what_is_needed(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    kernel = Limits(monkeypatch, 1024, hard)
    wanted = 50_000 + NETWORK + OTHERS
    assert make_room(50_000) == Room(wanted, 50_000, NETWORK)
    assert kernel.now == (wanted, hard)


def test_raised_as_far_as_allowed_and_the_clients_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Limits(monkeypatch, 1024, 20_000)
    assert make_room(50_000) == Room(20_000, 17_312, 2048)
    assert kernel.now == (20_000, 20_000)


def test_the_kernel_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    Limits(monkeypatch, 1024, INFINITY, refuse=True)
    assert make_room(50_000) == Room(1024, 384, 128, 204)


def test_the_real_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = make_room(1)
    assert (room.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[1]) == (1, hard)


@pytest.mark.parametrize("files", [8, 64, 256, 1024, 4096, 20_000, 52_000])
def test_all_shares_together_fit(files: int) -> None:
    for connections in (1, 100, 50_000):
        room = share(files, connections)
        assert 1 <= room.connections <= connections
        assert room.connections + room.network + min(OTHERS, files // 2) <= files
    assert share(None, 7) == Room(None, 7, NETWORK)


def test_what_is_reckoned_with_is_what_is_taken() -> None:
    assert transport.MAX_CONNECTIONS == NETWORK
    named = admin.MAX_CONNECTIONS + api_site.MAX_CONNECTIONS + REFUSED + endpoints.MOST_ACCEPTS
    assert named + 64 < OTHERS
