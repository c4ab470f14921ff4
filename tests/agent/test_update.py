"""Calls of the gateway's own, until their certified end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from icwsgw.agent import root_subnet
from icwsgw.agent.root_subnet import RootSubnet
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.errors import (
    AnswerMalformed,
    CertificateInvalid,
    ConnectionLost,
    HttpError,
    NotReady,
    Rejected,
    RequestTimeout,
)
from icwsgw.ic import bls, cbor
from tests.agent.test_ic_agent import CLOSE, Rig
from tests.support.devnet import GATEWAY, pending, result_of


def update(rig: Rig, method: str = "ws_close", timeout: float = 30.0) -> Deferred[bytes]:
    return rig.agent.update(GATEWAY, ECHO_ID, method, CLOSE, timeout=timeout)


def ended(rig: Rig, d: Deferred[bytes], seconds: float = 30.0) -> bytes:
    rig.clock.pump([0.05] * int(seconds / 0.05))
    return result_of(d)


def first(rig: Rig, *replies: Any) -> None:
    """Let these be the answers to the first calls, then the replica's own; an exception is raised."""
    left = list(replies)

    def handler(method: str, path: str, body: bytes) -> Any:
        if path.endswith("/call") and left:
            reply = left.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply
        return rig.net.handle(method, path, body)

    rig.handler = handler


def test_certified_at_once() -> None:
    rig = Rig()
    assert ended(rig, update(rig)).startswith(b"DIDL")
    assert rig.paths == ["/api/v3/canister/C/call"]


def test_certified_reject() -> None:
    rig = Rig()
    with pytest.raises(Rejected) as caught:
        ended(rig, update(rig, "no_such_method"))
    assert caught.value.code == 5


def test_polled_where_the_call_is_asynchronous() -> None:
    rig = Rig()
    rig.only("v2/call", "v3/read_state")
    assert ended(rig, update(rig)).startswith(b"DIDL")
    assert rig.paths[:3] == [f"/api/{v}/canister/C/call" for v in ("v3", "v4", "v2")]
    assert rig.paths[3].endswith("/read_state")


def test_the_same_envelope_is_sent_again() -> None:
    rig = Rig()
    first(rig, ConnectionLost("x"), (503, {"Retry-After": "2"}, b"busy"), (429, {}, b""))
    d = update(rig)
    assert ended(rig, d).startswith(b"DIDL")
    bodies = {body for _, path, body in rig.transport.requests if path.endswith("/call")}
    assert len(rig.paths) == 4
    assert len(bodies) == 1


def test_two_updates_are_two_calls() -> None:
    rig = Rig()
    ended(rig, update(rig))
    ended(rig, update(rig))
    assert len({body for _, _, body in rig.transport.requests}) == 2


@pytest.mark.parametrize("status", [400, 403, 413])
def test_what_will_not_change_is_not_repeated(status) -> None:
    rig = Rig()
    rig.answer(status)
    with pytest.raises(HttpError):
        ended(rig, update(rig))
    assert len(rig.paths) == 1


def test_given_up_in_time() -> None:
    rig = Rig()
    rig.answer(503, b"busy")
    d = update(rig, timeout=5.0)
    with pytest.raises(HttpError):
        ended(rig, d, 5.1)
    rig.answer(202)
    d = update(rig, timeout=5.0)
    with pytest.raises(HttpError):
        # read_state answers 202 too, which is no certificate
        ended(rig, d, 6.0)


def test_no_certified_end_in_time() -> None:
    rig = Rig()

    def handler(method: str, path: str, body: bytes) -> Any:
        return (202, {}, b"") if path.endswith("/call") else rig.net.handle(method, path, body)

    rig.handler = handler
    d = update(rig, timeout=5.0)
    rig.clock.pump([0.05] * 90)
    assert pending(d)
    with pytest.raises(RequestTimeout):
        ended(rig, d, 1.5)
    reads = [path for path in rig.paths if path.endswith("/read_state")]
    assert 4 <= len(reads) <= 9


def test_reading_is_tried_again() -> None:
    rig = Rig()
    trouble = [ConnectionLost("x"), HttpError(503)]

    def handler(method: str, path: str, body: bytes) -> Any:
        if path.endswith("/read_state") and trouble:
            raise trouble.pop()
        return rig.net.handle(method, path, body)

    rig.handler = handler
    rig.handler, replica = lambda *request: (404, {}, b"") if "/v2/" not in request[1] else replica(*request), handler
    assert ended(rig, update(rig)).startswith(b"DIDL")
    assert trouble == []


def test_an_unverified_certificate_is_not_accepted() -> None:
    rig = Rig(root_key=bls.MAINNET_ROOT_KEY_DER)
    with pytest.raises(CertificateInvalid):
        ended(rig, update(rig))


def test_another_calls_certificate() -> None:
    """A certificate that proves another call's end is not taken for ours, which never came to an end."""
    rig = Rig()
    other: list[Any] = []
    rig.net.submit(rig.net.call_request(GATEWAY, "ws_close", CLOSE)).addCallback(other.append)
    rig.clock.pump([0.1] * 20)
    first(rig, other[0])
    with pytest.raises(RequestTimeout):
        ended(rig, update(rig, timeout=5.0))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"garbage", AnswerMalformed),
        (cbor.dumps({"status": "replied"}), AnswerMalformed),
        (cbor.dumps({"status": "non_replicated_rejection", "reject_code": 3, "reject_message": "no"}), Rejected),
    ],
)
def test_other_answers(body, error) -> None:
    rig = Rig()
    rig.answer(200, body)
    d = update(rig, timeout=2.0)
    with pytest.raises(error):
        ended(rig, d, 3.0)


def test_not_ready() -> None:
    rig = Rig(ready=False)
    with pytest.raises(NotReady):
        ended(rig, update(rig))


def test_cancelled() -> None:
    rig = Rig()
    before = list(rig.clock.getDelayedCalls())
    rig.answer(503)
    d = update(rig)
    assert len(rig.clock.getDelayedCalls()) == len(before) + 1
    d.cancel()
    with pytest.raises(CancelledError):
        result_of(d)
    assert rig.clock.getDelayedCalls() == before


def test_an_answer_of_the_root_subnet_needs_its_canister_ranges() -> None:
    rig = Rig(net={"delegation": "none"})
    assert ended(rig, update(rig)).startswith(b"DIDL")
    assert ended(rig, update(rig)).startswith(b"DIDL")
    assert [path.split("/")[-1] for path in rig.paths] == ["call", "read_state", "call"], "asked once"


def test_an_answer_of_the_root_subnet_for_another_s_canister_is_not_accepted(monkeypatch) -> None:
    rig = Rig(net={"delegation": "none"})
    monkeypatch.setattr(root_subnet, "root_ranges_cover", lambda *_: None)
    monkeypatch.setattr(root_subnet.bls, "MAINNET_ROOT_KEY_DER", rig.agent.root_key)  # type: ignore[attr-defined]
    with pytest.raises(CertificateInvalid, match="does not show its canister ranges"):
        ended(rig, update(rig))
    monkeypatch.undo()
    monkeypatch.setattr(RootSubnet, "holds", lambda *_: False)
    with pytest.raises(CertificateInvalid, match="not one of its canisters"):
        ended(rig, update(rig))


def test_attempts_come_farther_and_farther_apart() -> None:
    rig = Rig()
    rig.answer(503, b"busy")
    d = update(rig, timeout=40.0)
    with pytest.raises(HttpError):
        ended(rig, d, 41.0)
    # a quarter of a second at first, four seconds in the end
    assert 10 <= len(rig.paths) <= 18
