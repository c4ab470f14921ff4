from pathlib import Path
from types import SimpleNamespace

import pytest

from icwsgw.acme import renewals
from icwsgw.acme.storage import AcmeStorage
from icwsgw.core.renewal_schedule import renewal_time
from tests.acme.small_ca import LETTERS, answer
from tests.acme.world import World


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_certificate_is_obtained_and_renewed(tmp_path: Path, challenge: str) -> None:
    world = World(tmp_path, challenge=challenge)
    world.ca.lifetime = 36_000.0
    assert world.service.concern() == "no valid TLS certificate for a.example"
    world.service.startService()
    world.advance(20)
    first = world.storage.dates("a.example")
    assert first is not None
    assert (world.orders, world.count("ok"), world.count("failed"), world.obtained) == (1, 1, 0, 1)
    assert world.service.concern() is None
    assert list((tmp_path / "challenges").iterdir()) == [], "answers do not stay"
    assert world.ca.registrations == [{"contact": ["mailto:admin@example.com"], "termsOfServiceAgreed": True}]
    due = renewal_time("a.example", first)
    world.advance(due - world.now() - 10, 10.0)
    assert world.orders == 1
    world.advance(40)
    second = world.storage.dates("a.example")
    assert second is not None
    assert second.not_after > first.not_after
    assert (world.orders, world.obtained) == (2, 2)
    world.service.stopService()
    assert not world.clock.getDelayedCalls()


def test_files_are_private(tmp_path: Path) -> None:
    world = World(tmp_path / "some" / "where")
    world.service.startService()
    world.advance(20)
    for path in (tmp_path / "some").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert {path.name for path in (tmp_path / "some" / "where").iterdir()} == {
        *("account.pem", "state.json", "certificates", "challenges", "orders", "lock")
    }


def test_each_name_has_its_certificate_and_a_bad_one_costs_no_other(tmp_path: Path) -> None:
    names = ("a.example", "b.example", "c.example")
    world = World(tmp_path, names)
    right = world.ca.lookup
    world.ca.lookup = lambda kind, name, token: None if name == "b.example" else right(kind, name, token)
    world.service.startService()
    world.advance(60)
    assert [world.storage.dates(name) is not None for name in names] == [True, False, True]
    assert world.service.concern() == (
        "no valid TLS certificate for b.example (b.example: unauthorized: b.example: the server's answer is not right)"
    )


def test_pauses_grow_while_a_name_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.wrong_answers = True
    world.service.startService()
    world.advance(3600, 5.0)
    assert world.orders == world.count("failed") == 4
    world.advance(86_400, 30.0)
    assert world.orders < 12
    # a restart does not ask earlier
    world.service.stopService()
    before = world.orders
    world.begin(start=True)
    world.advance(60)
    assert world.orders == before
    concern = world.service.concern()
    assert concern is not None
    assert "the server's answer is not right" in concern, "the reason outlives a restart"
    world.wrong_answers = False
    world.advance(14 * 3600, 30.0)
    assert world.count("ok") == 1


def test_an_authority_that_is_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.down = True
    world.service.startService()
    world.advance(3600, 5.0)
    assert 4 <= world.count("failed") <= 7
    concern = world.service.concern()
    assert concern is not None
    assert "the ACME server cannot be reached: no connection to ca.example: refused" in concern
    world.ca.down = False
    world.advance(2 * 3600, 10.0)
    assert world.count("ok") == 1
    assert world.service.concern() is None


def test_a_certificate_in_use_stays_while_the_authority_is_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.lifetime = 36_000.0
    world.service.startService()
    world.advance(20)
    before = (tmp_path / "certificates" / "a.example.pem").read_bytes()
    world.ca.down = True
    world.advance(30_000, 10.0)
    assert world.count("failed") >= 3
    assert (tmp_path / "certificates" / "a.example.pem").read_bytes() == before
    assert world.service.concern() is None, "it is valid still"
    assert world.missing == 0
    world.advance(10_000, 10.0)
    assert world.service.concern() is not None, "it has expired"
    assert world.missing == 1
    world.ca.down = False
    world.advance(4000, 10.0)
    assert world.service.concern() is None


def test_a_certificate_is_missing_when_its_last_second_is_over(tmp_path: Path) -> None:
    """RFC 5280, section 4.1.2.5: the last second is within."""
    world = World(tmp_path)
    world.ca.lifetime = 3600.0
    world.service.startService()
    world.advance(20)
    dates = world.storage.dates("a.example")
    assert dates is not None
    world.service.stopService()
    world.advance(dates.not_after - world.now(), dates.not_after - world.now())
    assert (world.now(), world.missing) == (dates.not_after, 0)
    world.advance(1)
    assert world.missing == 1


def test_the_server_s_pause_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    limit = {"type": LETTERS + "rateLimited", "detail": "too many certificates"}
    world.ca.faults = {"newOrder": [answer(429, limit, retry_after="7200")]}
    world.service.startService()
    world.advance(7100, 10.0)
    assert world.ca.paths.count("/newOrder") == 1
    world.advance(200, 5.0)
    assert world.count("ok") == 1


def test_one_process_asks(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = AcmeStorage(tmp_path)
    assert other.hold()
    world.service.startService()
    world.advance(300, 5.0)
    assert world.ca.paths == []
    other.release()
    world.advance(100, 5.0)
    assert world.count("ok") == 1
    assert not other.hold()
    world.service.stopService()
    assert other.hold()
    other.release()


def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.processing_polls = 1000
    world.service.startService()
    world.advance(5)
    assert world.orders == 1
    world.service.stopService()
    assert not world.clock.getDelayedCalls()
    assert list((tmp_path / "challenges").iterdir()) == []
    assert world.count("failed") == 0


@pytest.mark.parametrize("fails", [False, True])
def test_an_unexpected_end_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    failures: list[str] = []
    monkeypatch.setattr(renewals, "_log", SimpleNamespace(failure=lambda words, failure: failures.append(words)))
    world = World(tmp_path)

    def broken() -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(world.storage, "hold", broken if fails else lambda: False)
    world.service.startService()
    world.service.stopService()
    assert failures == ["renewing TLS certificates ended"] * fails


def test_a_full_disk_does_not_make_it_ask_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    world.service.startService()
    world.storage.account_key()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.storage, "_write", full)
    world.advance(1000, 5.0)
    assert world.count("failed") <= 3
    assert "No space left on device" in str(world.service.concern())


def issued(world: World) -> int:
    return sum(order["status"] == "valid" for order in world.ca.orders)


def test_a_certificate_that_cannot_be_written_is_not_issued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let's Encrypt issues five certificates for a name in a week."""
    world = World(tmp_path)

    def full(name: str, chain: bytes, key: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "keep_certificate", full)
        world.service.startService()
        world.advance(86_400, 30.0)
        assert (issued(world), world.orders) == (1, 1)
        assert world.count("failed") > 5
        assert "No space left on device" in str(world.service.concern())
    world.advance(86_400, 30.0)
    assert world.count("ok") == 1
    assert (issued(world), world.obtained) == (1, 1)
    assert world.service.concern() is None


def test_a_restart_loses_no_certificate_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)

    def full(name: str, chain: bytes, key: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "keep_certificate", full)
        world.service.startService()
        world.advance(60)
        assert (issued(world), world.count("failed")) == (1, 1)
    world.service.stopService()
    world.begin(start=True)
    world.advance(1200, 10.0)
    assert (world.orders, world.count("ok")) == (1, 1)
    assert world.service.concern() is None
    assert list((tmp_path / "orders").iterdir()) == []


def test_a_restart_while_the_authority_issues_continues_the_order(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.processing_polls = 10
    world.service.startService()
    world.advance(5)
    assert world.ca.orders[0]["status"] == "processing"
    (kept,) = (tmp_path / "orders").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    world.service.stopService()
    world.begin(start=True)
    world.advance(200)
    assert (world.orders, world.count("ok")) == (1, 1)
    assert list((tmp_path / "orders").iterdir()) == []


def test_one_that_expires_before_it_can_be_written_is_ordered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.ca.lifetime = 3600.0

    def full(name: str, chain: bytes, key: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "keep_certificate", full)
        world.service.startService()
        world.advance(3500, 10.0)
        assert issued(world) == 1
        world.advance(86_400, 60.0)
        # one at each attempt, whose pauses are longer than an hour
        assert issued(world) <= 6
    world.ca.lifetime = 90 * 86_400.0
    world.advance(86_400, 60.0)
    assert world.count("ok") >= 1
    assert world.service.concern() is None


def test_nothing_is_ordered_where_no_certificate_can_be_written(tmp_path: Path) -> None:
    """A restart loses what is in memory, so the directory is tried before."""
    world = World(tmp_path)
    path = tmp_path / "certificates" / "a.example.pem"
    path.mkdir()
    world.service.startService()
    world.advance(3600, 10.0)
    assert world.orders == 0
    assert world.count("failed") > 2
    assert "Is a directory" in str(world.service.concern())
    path.rmdir()
    world.advance(86_400, 30.0)
    assert (world.count("ok"), world.orders) == (1, 1)


def test_a_lock_that_cannot_be_opened_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another owner, a read-only disk: nobody asks, which operators must learn before the certificate has expired."""
    lines: list[tuple[str, str]] = []
    log = SimpleNamespace(
        info=lambda event, **fields: None,
        error=lambda event, **fields: lines.append((event, str(fields.get("reason")))),
    )
    monkeypatch.setattr(renewals, "_log", log)
    world = World(tmp_path, ("a.example", "b.example"))
    world.ca.lifetime = 36_000.0
    world.service.startService()
    world.advance(60)
    assert world.count("ok") == 2
    world.service.stopService()
    kept = (tmp_path / "state.json").read_bytes()
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").mkdir()
    world.begin(start=True)
    world.advance(20_000, 50.0)
    assert (lines, world.count("failed")) == ([], 0), "none is due"
    world.advance(15_900, 50.0)
    assert world.service.concern() is None, "both are valid still"
    assert {event for event, _ in lines} == {"no TLS certificate obtained"}
    assert all("the files of ACME" in reason and "Is a directory" in reason for _, reason in lines)
    assert 4 <= len(lines) == world.count("failed") <= 14, "pauses grow"
    world.advance(400, 50.0)
    concern = str(world.service.concern())
    assert concern.count("Is a directory") == 2
    assert (tmp_path / "state.json").read_bytes() == kept, "it belongs to the process that has the lock"
    (tmp_path / "lock").rmdir()
    world.advance(50_000, 50.0)
    assert world.count("ok") >= 2
    assert world.service.concern() is None


def test_files_that_cannot_be_read_are_no_crash(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "a.example.pem").write_bytes(b"nonsense")
    (tmp_path / "state.json").write_text("[1]")
    (tmp_path / "account.pem").write_text("nonsense")
    world = World(tmp_path)
    world.service.startService()
    world.advance(20)
    assert "the files of ACME" in str(world.service.concern())
    (tmp_path / "account.pem").unlink()
    world.advance(1000, 5.0)
    assert world.count("ok") == 1
