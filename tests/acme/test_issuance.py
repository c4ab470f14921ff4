import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from icwsgw.acme.issuance import challenge_pem
from icwsgw.core.acme_order import ORDER_KEPT_SECONDS
from tests.acme.small_ca import LETTERS, Fault, answer
from tests.acme.world import World
from tests.support import pem

OF_VERSION_2 = pem.damaged(pem.authority().pem, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01")

ORDER = "https://ca.example/order/0"
NO_URLS: list[object] = [5, [5], [{"a": 1}], [[]], {"a": 1}, True]
DEEP = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"status":' * 300 + b"1" + b"}" * 300,
    b'{"type":"a","subproblems":[' * 900 + b"]}" * 900,
]


@pytest.mark.parametrize(
    ("place", "fault", "words"),
    [
        ("dir", answer(200, b"<html>"), "is not a JSON object"),
        ("dir", answer(200, {"newNonce": "x"}), "is not the directory of an ACME server"),
        ("dir", answer(200, {"meta": 3}), "invalid"),
        ("dir", answer(404, b"gone"), "HTTP status 404"),
        ("newNonce", answer(200), "gives no nonce"),
        ("newNonce", answer(200, replay_nonce="%%"), "gives no nonce"),
        ("newNonce", answer(200, replay_nonce="A"), "gives an invalid nonce"),
        ("newAccount", answer(201, {}), "names no account"),
        ("newAccount", answer(400, {"type": LETTERS + "invalidContact", "detail": "no such\x1b[31m host"}), "no such"),
        ("newOrder", answer(201, {"status": "pending"}), "does not name the order"),
        ("newOrder", answer(201, [], location="https://ca.example/order/0"), "is not a JSON object"),
        ("newOrder", answer(201, {"status": "odd"}, location="https://ca.example/order/0"), "does not say why"),
        ("newOrder", answer(201, {"status": "ready"}, location="https://ca.example/order/0"), "lacks a URL"),
        ("newOrder", answer(201, {"status": "valid"}, location="https://ca.example/order/0"), "lacks a URL"),
        ("newOrder", answer(201, {"status": "invalid"}, location="https://ca.example/order/0"), "does not say why"),
        (
            "newOrder",
            answer(201, {"status": "pending", "authorizations": ["ftp://x"]}, location="https://ca.example/order/0"),
            "which is no URL",
        ),
        *(
            ("newOrder", answer(201, {"status": "pending", "authorizations": given}, location=ORDER), "lacks a URL")
            for given in NO_URLS
        ),
        ("newOrder", answer(201, {"status": "invalid", "authorizations": [5]}, location=ORDER), "lacks a URL"),
        *(("dir", answer(200, deep), "is not a JSON object") for deep in DEEP),
        *(("newAccount", answer(400, deep), "HTTP status 400") for deep in DEEP),
        *(("order", answer(200, deep), "is not a JSON object") for deep in DEEP),
        ("authorization", answer(200, {"status": "pending", "challenges": []}), "does not offer the challenge http-01"),
        ("authorization", answer(200, {"status": "expired"}), "the authorization is expired"),
        (
            "authorization",
            answer(200, {"status": "pending", "challenges": [{"type": "http-01", "url": "x", "token": "../../x"}]}),
            "token of the challenge is not base64url",
        ),
        ("challenge-http-01", lambda: None, "cannot be reached"),
        ("order", answer(500, b"oops"), "HTTP status 500"),
        ("finalize", answer(400, {"type": LETTERS + "badCSR", "detail": "weak"}), "badCSR: weak"),
        ("certificate", answer(200, b"nonsense"), "no certificate"),
        ("certificate", answer(200, OF_VERSION_2), "no certificate"),
    ],
)
def test_bad_answers_cost_one_attempt(tmp_path: Path, place: str, fault: Any, words: str) -> None:
    world = World(tmp_path)
    world.ca.faults[place] = [fault]
    world.service.startService()
    world.advance(40)
    concern = world.service.concern()
    assert concern is not None
    assert words in concern
    assert "\x1b" not in concern
    assert (world.count("failed"), world.count("ok")) == (1, 0)
    assert list((tmp_path / "challenges").iterdir()) == []
    world.advance(600, 5.0)
    assert (world.count("failed"), world.count("ok")) == (1, 1)


def test_a_certificate_of_another_key_is_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.swap_key = True
    world.service.startService()
    world.advance(30)
    assert world.storage.dates("a.example") is None
    assert "not the one that was ordered" in str(world.service.concern())


def test_a_certificate_that_is_not_valid_now_is_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.now = lambda: world.now() + 7200
    world.service.startService()
    world.advance(30)
    assert world.storage.dates("a.example") is None
    assert "is not valid now" in str(world.service.concern())


def test_an_order_that_is_never_ready_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.processing_polls = 1_000_000
    world.service.startService()
    world.advance(400, 5.0)
    assert "not ready after 300 s" in str(world.service.concern())
    assert world.ca.polls < 60


def test_the_certificate_of_a_challenge_is_valid_in_any_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-12")
    time.tzset()
    try:
        certificate = x509.load_pem_x509_certificate(challenge_pem("a.example", "proof", 1.8e9))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert certificate.not_valid_before_utc.timestamp() == 1.8e9 - 86_400
    assert certificate.not_valid_after_utc.timestamp() == 1.8e9 + 7 * 86_400


def interrupted(world: World, seconds: float = 0.0) -> None:
    """An order whose process ends while the authority issues; another process starts so much later."""
    world.ca.processing_polls = 4
    world.service.startService()
    world.advance(5)
    assert world.ca.orders[0]["status"] == "processing"
    world.service.stopService()
    world.clock.advance(seconds)
    world.begin()


def test_an_order_whose_request_may_be_lost_is_continued(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.faults["finalize"] = [lambda: None]
    world.service.startService()
    world.advance(200)
    assert (world.count("failed"), world.count("ok"), world.orders) == (1, 1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        answer(404, {"type": LETTERS + "malformed", "detail": "no such order"}),
        answer(200, {"status": "invalid"}),
        answer(200, {"status": "odd"}),
    ],
)
def test_an_order_that_leads_to_nothing_is_followed_by_another_at_once(tmp_path: Path, fault: Fault) -> None:
    world = World(tmp_path)
    interrupted(world)
    world.ca.faults["order"] = [fault]
    world.service.startService()
    world.advance(100)
    assert (world.count("failed"), world.count("ok"), world.orders) == (0, 1, 2)


@pytest.mark.parametrize(
    "fault", [lambda: None, answer(503, b""), answer(429, {"type": LETTERS + "rateLimited", "detail": "later"})]
)
def test_an_order_is_kept_while_the_authority_cannot_answer(tmp_path: Path, fault: Fault) -> None:
    world = World(tmp_path)
    interrupted(world)
    world.ca.faults["order"] = [fault]
    world.service.startService()
    world.advance(1200, 5.0)
    assert (world.count("failed"), world.count("ok"), world.orders) == (1, 1, 1)


@pytest.mark.parametrize(("seconds", "orders"), [(ORDER_KEPT_SECONDS - 60, 1), (ORDER_KEPT_SECONDS + 60, 2)])
def test_an_order_is_continued_for_a_day(tmp_path: Path, seconds: float, orders: int) -> None:
    world = World(tmp_path)
    interrupted(world, seconds)
    world.service.startService()
    world.advance(100)
    assert (world.count("ok"), world.orders) == (1, orders)


def test_a_refused_request_leaves_no_order_to_continue(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.faults["finalize"] = [answer(400, {"type": LETTERS + "badCSR", "detail": "weak"})]
    world.service.startService()
    world.advance(10)
    assert world.count("failed") == 1
    assert list((tmp_path / "orders").iterdir()) == []


def test_a_certificate_for_another_key_leaves_no_order_to_continue(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ca.swap_key = True
    world.service.startService()
    world.advance(10)
    assert world.count("failed") == 1
    assert list((tmp_path / "orders").iterdir()) == []
