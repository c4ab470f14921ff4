from pathlib import Path

from icwsgw.acme.acme_client import ExternalAccount
from tests.acme.small_ca import LETTERS, answer
from tests.acme.world import World


def test_nonces_that_the_server_forgets(tmp_path: Path) -> None:
    world = World(tmp_path)
    bad = answer(400, {"type": LETTERS + "badNonce"}, replay_nonce="")
    world.ca.faults = {"newOrder": [bad, bad, bad], "newAccount": [bad]}
    world.service.startService()
    world.advance(30)
    assert (world.count("failed"), world.count("ok")) == (0, 1)
    assert world.ca.asked.count("/newOrder") == 4


def test_a_server_that_refuses_every_nonce_is_asked_a_limited_number_of_times(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.faults = {"newOrder": [answer(400, {"type": LETTERS + "badNonce"})] * 100}
    world.service.startService()
    world.advance(30)
    assert world.ca.asked.count("/newOrder") == 10
    assert world.count("failed") == 1


def test_an_account_that_the_server_has_lost_is_made_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.lifetime = 36_000.0
    world.service.startService()
    world.advance(20)
    world.ca.accounts.clear()
    world.advance(30_000, 10.0)
    assert (world.count("ok"), world.count("failed")) == (2, 1)
    assert len(world.ca.registrations) == 2


def test_an_account_survives_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.service.startService()
    world.advance(20)
    world.service.stopService()
    (tmp_path / "certificates" / "a.example.pem").unlink()
    (tmp_path / "state.json").unlink()
    world.begin(start=True)
    world.advance(20)
    assert len(world.ca.accounts) == 1
    assert world.orders == 2


def test_an_external_account(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.external = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
    world.service.startService()
    world.advance(20)
    assert "--acme-eab-file" in str(world.service.concern())
    world.service.stopService()
    world.external = ExternalAccount("kid-1", world.ca.external["kid-1"])
    (tmp_path / "state.json").unlink()
    world.begin(start=True)
    world.advance(20)
    assert world.count("ok") == 1
