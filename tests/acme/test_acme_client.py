from pathlib import Path
from typing import Any

import pytest
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, succeed

from icwsgw.acme.acme_client import AccountRequest, AcmeClient, AcmeFailed, ExternalAccount, describe
from icwsgw.agent.http.response_parser import ParsedResponse
from icwsgw.core.renewal_schedule import FailureKind
from tests.acme.small_ca import LETTERS, answer
from tests.acme.world import World


def test_nonces_that_the_server_forgets(tmp_path: Path) -> None:
    world = World(tmp_path)
    bad = answer(400, {"type": LETTERS + "badNonce"}, replay_nonce="")
    world.ca.faults = {"newOrder": [bad, bad, bad], "newAccount": [bad]}
    world.service.startService()
    world.advance(30)
    assert (world.count("failed"), world.count("ok")) == (0, 1)
    assert world.ca.paths.count("/newOrder") == 4


def test_a_server_that_refuses_every_nonce_gets_a_limited_number_of_requests(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.faults = {"newOrder": [answer(400, {"type": LETTERS + "badNonce"})] * 100}
    world.service.startService()
    world.advance(30)
    assert world.ca.paths.count("/newOrder") == 10
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


MALFORMED = b'{"type": "urn:ietf:params:acme:error:malformed", "detail": "no such order"}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, MALFORMED, FailureKind.REFUSED),
        (404, MALFORMED, FailureKind.REFUSED),
        (500, MALFORMED, FailureKind.UNREACHABLE),
        # not in the words of the protocol: of the authority if it fits to what it may refuse, otherwise of a proxy
        (403, b"<html>", FailureKind.REFUSED),
        (429, b"<html>", FailureKind.REFUSED),
        (404, b"<html>", FailureKind.UNREACHABLE),
        (502, b"<html>", FailureKind.UNREACHABLE),
    ],
)
def test_a_refused_order_is_retried_later_than_one_that_did_not_arrive(
    status: int, body: bytes, kind: FailureKind
) -> None:
    def fetch(*request: Any, **options: Any) -> Deferred[ParsedResponse]:
        return succeed(ParsedResponse(status, {}, body))

    key = ec.generate_private_key(ec.SECP256R1())
    client = AcmeClient(fetch, "https://ca.example/dir", key, AccountRequest(True), lambda: 0.0)
    failures: list[Any] = []
    Deferred.fromCoroutine(client.directory()).addErrback(failures.append)
    (failure,) = failures
    assert failure.check(AcmeFailed)
    assert failure.value.kind is kind


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ({"type": f"{LETTERS}malformed"}, "malformed"),
        ({"type": f"{LETTERS}malformed", "title": "Odd"}, "malformed: Odd"),
        ({"type": f"{LETTERS}malformed", "title": "Odd", "detail": "no\nname"}, "malformed: no name"),
    ],
)
def test_a_problem_is_reported_in_its_own_words(problem: dict[str, str], words: str) -> None:
    assert describe(messages.Error.from_json(problem)) == words
