"""The lists of who may connect, as files that change while clients are connected."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from icwsgw.config.access_list import MOST_BYTES, AccessRules, parse_access_list
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import ConfigError
from icwsgw.gateway.batches import BATCH
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.server import access_files
from icwsgw.server.access_files import PERIOD, AccessFiles, KeptAt, read_access_list
from tests.memory.world import CHAT_ID, ECHO_ID
from tests.memory.world import World as Gateway
from tests.server.test_admission import accept, refusals, status, tcp
from tests.server.test_protocol import World, lose


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, message: str, **fields: object) -> None:
        self.lines.append(f"error {message} {fields['reason']}")

    def info(self, message: str, **fields: object) -> None:
        self.lines.append(f"info {message} {fields}")


def write(path: Path, text: str) -> None:
    """Write a new file and move it into place, as programs do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_a_file_that_changes_is_read_again_and_an_invalid_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    monkeypatch.setattr(access_files, "_log", log)
    path, clock = tmp_path / "deny", Clock()
    path.write_text("203.0.113.7\n")
    applied: list[AccessRules] = []
    files = AccessFiles(path, None, clock, applied.append)
    assert not files.rules.admits_address("203.0.113.7")
    files.startService()
    clock.pump([PERIOD] * 3)
    assert (applied, log.lines) == ([], [])
    write(path, "203.0.113.8\n2vxsx-fae\n")
    clock.advance(PERIOD)
    assert [rules.admits_address("203.0.113.8") for rules in applied] == [False]
    write(path, "nonsense!\n")
    clock.pump([PERIOD] * 3)
    path.unlink()
    clock.pump([PERIOD] * 3)
    assert not files.rules.admits_address("203.0.113.8"), "the former one stays"
    write(path, "")
    clock.advance(PERIOD)
    assert [rules.admits_address("203.0.113.8") for rules in applied] == [False, True]
    assert [line.partition(" ")[0] for line in log.lines] == ["info", "error", "error", "info"]
    assert f"access list {path}: line 1: 'nonsense!'" in log.lines[1]
    files.stopService()
    assert clock.getDelayedCalls() == []


def test_without_files_nothing_is_watched() -> None:
    clock = Clock()
    files = AccessFiles(None, None, clock, lambda rules: None)
    files.startService()
    assert clock.getDelayedCalls() == []
    files.look()
    files.stopService()


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x y z", b"#" * (MOST_BYTES + 1)])
def test_a_file_of_no_use_ends_the_start(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "deny"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^access list {path}"):
        read_access_list(path)
    with pytest.raises(ConfigError):
        AccessFiles(None, path, Clock(), lambda rules: None)


def denying(text: str) -> AccessRules:
    return AccessRules(denied=parse_access_list(text))


def test_denied_addresses_are_refused_and_their_present_connections_closed() -> None:
    world = World(trusted_proxies=("10.0.0.0/8",))
    for peer, *headers in (("192.0.2.7",), ("10.0.0.1", "X-Forwarded-For: 192.0.2.8"), ("192.0.2.100",)):
        accept(world, tcp(peer), *headers)
    world.factory.restrict(denying("192.0.2.0/28"))
    assert [bool(session.ended) for session in world.sessions] == [True, True, False]
    assert world.sessions[0].ended[0][0] == CloseCode.POLICY
    assert status(accept(world, tcp("192.0.2.7"))[1]) == 403
    assert status(accept(world, tcp("10.0.0.1"), "X-Forwarded-For: 192.0.2.8")[1]) == 403
    assert status(accept(world, tcp("10.0.0.1"), "X-Forwarded-For: 192.0.2.18")[1]) == 101
    assert refusals(world) == {"denied": 2}
    world.factory.restrict(AccessRules())
    assert status(accept(world, tcp("192.0.2.7"))[1]) == 101


def test_a_connection_in_its_handshake_is_cut_if_its_address_is_denied_now() -> None:
    world = World()
    _, transport = world.connect()
    world.factory.restrict(denying("192.0.2.1"))
    assert transport.aborted
    behind = World(trusted_proxies=("192.0.2.0/24",))
    _, transport = behind.connect()
    behind.factory.restrict(denying("192.0.2.0/24"))
    assert not transport.aborted, "the proxy may name another address"


def test_denied_and_allowed_origins_come_on_top_of_the_option() -> None:
    world = World()
    world.factory.restrict(denying("https://*.bad.example"))
    assert status(accept(world, tcp("192.0.2.7"), "Origin: https://a.bad.example")[1]) == 403
    assert status(accept(world, tcp("192.0.2.7"), "Origin: https://good.example")[1]) == 101
    assert status(accept(world, tcp("192.0.2.7"))[1]) == 101
    world.factory.restrict(AccessRules(allowed=parse_access_list("https://one.example")))
    assert status(accept(world, tcp("192.0.2.7"), "Origin: https://two.example")[1]) == 403
    assert status(accept(world, tcp("192.0.2.7"), "Origin: https://one.example")[1]) == 101


def test_present_clients_of_an_origin_that_is_denied_now_are_closed() -> None:
    world = World()
    bad, good = "Origin: https://a.bad.example", "Origin: https://good.example"
    for header in (bad, good, "x: y"):
        assert status(accept(world, tcp("192.0.2.7"), header)[1]) == 101
    _, in_handshake = world.connect()
    world.factory.restrict(denying("https://*.bad.example"))
    assert [bool(session.ended) for session in world.sessions] == [True, False, False]
    assert world.sessions[0].ended[0] == (CloseCode.POLICY, "connections from this origin are not allowed")
    assert not in_handshake.aborted, "its request will tell its origin"
    # programs send none, and an allow list names who may
    world.factory.restrict(AccessRules(allowed=parse_access_list("https://good.example")))
    assert [bool(session.ended) for session in world.sessions] == [True, False, True]


def test_a_change_of_other_entries_closes_no_client_whose_origin_the_option_does_not_name_any_more() -> None:
    world = World()
    accept(world, tcp("192.0.2.7"), "Origin: https://one.example")
    world.factory.change(replace(world.gateway.context.config, allowed_origins=("https://two.example",)))
    world.factory.restrict(denying("192.0.2.99"))
    world.factory.restrict(denying("https://three.example"))
    assert not world.sessions[0].ended, "a reload refuses new ones only"


@pytest.mark.parametrize("denied", ["192.0.2.7", "https://bad.example"])
def test_many_denied_clients_are_closed_in_batches(denied: str) -> None:
    world = World()
    protocols = [accept(world, tcp("192.0.2.7"), "Origin: https://bad.example")[0] for _ in range(BATCH + 10)]
    world.factory.restrict(denying(denied))
    left = [protocol for protocol in protocols if protocol.state == protocol.STATE_OPEN]
    assert len(left) == 10
    lose(left[0])
    world.clock.advance(0)
    assert [len(session.ended) for session in world.sessions].count(1) == BATCH + 9
    assert left[0] not in world.factory.connections
    assert {protocol.state for protocol in left[1:]} == {protocols[0].STATE_CLOSING}


def test_denied_principals_and_canisters() -> None:
    world = Gateway()
    denied, other = Ed25519Identity(b"\x11" * 32), Ed25519Identity(b"\x12" * 32)
    first, second = world.client(identity=denied), world.client(identity=other)
    (chatter,) = world.open(canister=CHAT_ID)
    world.until(lambda: first.opened and second.opened)
    world.gateway.restrict(denying(f"{denied.principal.text}\n{CHAT_ID.text}"))
    world.run(1)
    closed = (first.close_code, second.close_code, chatter.close_code)
    assert closed == (CloseCode.POLICY, None, CloseCode.CANISTER_NOT_ALLOWED)
    again, elsewhere = world.client(identity=denied), world.client(CHAT_ID)
    world.until(lambda: again.close_code is not None and elsewhere.close_code is not None)
    assert (again.close_code, elsewhere.close_code) == (CloseCode.POLICY, CloseCode.CANISTER_NOT_ALLOWED)
    world.gateway.restrict(AccessRules(allowed=parse_access_list(denied.principal.text)))
    world.run(1)
    assert second.close_code == CloseCode.POLICY
    welcome = world.client(ECHO_ID, denied)
    world.until(lambda: welcome.opened)


# copies of lists from URLs

URL = "https://lists.example/allow"


def keep(path: Path, text: str, url: str = URL) -> KeptAt:
    """Write a kept copy, as :mod:`icwsgw.server.list_download` does."""
    marks = json.dumps({"url": url, "etag": "", "modified": "", "at": 1.0})
    write(path, f"# kept by icwsgw: {marks}\n{text}")
    return KeptAt(path, URL)


def test_an_allow_list_that_was_never_fetched_admits_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(access_files, "_log", log)
    clock, applied = Clock(), list[AccessRules]()
    kept = KeptAt(tmp_path / "allow.list", URL)
    files = AccessFiles(None, None, clock, applied.append, kept_allowed=kept)
    assert files.rules.unknown
    assert not files.rules.admits_address("192.0.2.1")
    assert not files.rules.admits_principal(b"\x04")
    assert files.unready() == "the allow list has not been fetched yet: no client may connect"
    files.startService()
    keep(kept.path, "192.0.2.0/24\n")
    clock.advance(PERIOD)
    assert [(rules.unknown, rules.admits_address("192.0.2.1")) for rules in applied] == [(False, True)]
    assert files.unready() is None
    # from now on it stays what it was
    kept.path.unlink()
    clock.advance(PERIOD)
    assert files.unready() is None
    keep(kept.path, "", url="https://elsewhere.example/allow")
    clock.advance(PERIOD)
    assert files.rules.admits_address("192.0.2.1")
    assert [line.partition(" ")[0] for line in log.lines] == ["info", "error", "error"]
    files.stopService()


def test_a_deny_list_that_was_never_fetched_is_reported(tmp_path: Path) -> None:
    kept = KeptAt(tmp_path / "deny.list", URL)
    files = AccessFiles(None, None, Clock(), lambda rules: None, kept_denied=kept)
    assert files.rules.admits_address("192.0.2.1")
    assert files.concern() == "the deny list has not been fetched yet: it denies no client"
    assert files.unready() is None
    keep(kept.path, "192.0.2.1\n")
    files.look()
    assert (files.concern(), files.rules.admits_address("192.0.2.1")) == (None, False)


def test_lists_of_a_file_and_a_url_count_together(tmp_path: Path) -> None:
    file = tmp_path / "deny"
    file.write_text("192.0.2.1\nhttps://a.example\n")
    kept = keep(tmp_path / "deny.list", "192.0.2.2\nhttps://b.example\n2vxsx-fae\n")
    rules = AccessFiles(file, None, Clock(), lambda rules: None, kept_denied=kept).rules
    assert [rules.admits_address(f"192.0.2.{number}") for number in (1, 2, 3)] == [False, False, True]
    assert rules.denied.origins == ("https://a.example", "https://b.example")
    assert not rules.admits_principal(b"\x04")
    assert rules.denied.size == 5


def test_a_damaged_copy_does_not_end_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(access_files, "_log", log)
    path = tmp_path / "allow.list"
    path.write_text("192.0.2.1\n")
    files = AccessFiles(None, None, Clock(), lambda rules: None, kept_allowed=KeptAt(path, URL))
    assert files.rules.unknown
    assert log.lines == [
        f"error access list ignored until it is fetched kept access list {path} is damaged: its first line is missing"
    ]


def test_while_it_is_unknown_who_is_allowed_clients_are_sent_away_for_now() -> None:
    world = World()
    world.factory.restrict(AccessRules(unknown=True))
    assert status(accept(world, tcp("192.0.2.7"))[1]) == 503
    assert refusals(world) == {"no_allow_list": 1}
    world.factory.restrict(AccessRules())
    assert status(accept(world, tcp("192.0.2.7"))[1]) == 101
