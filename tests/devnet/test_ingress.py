from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import capturedLogs

from icwsgw.devnet.canisters import ECHO_ID, Canister
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.errors import CanisterRefused, Rejected
from icwsgw.ic import cbor, envelope, ws
from icwsgw.ic.certificate import request_status
from icwsgw.ic.principal import Principal
from tests.support.devnet import GATEWAY, Net, identity, pending, result_of


class Failing(Canister):
    """An application of the replica itself, with a mistake."""

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        raise ZeroDivisionError(method)


ALICE = identity(1)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)


def message(net: Net, number: int) -> bytes:
    return ws.encode_message_args(ws.MessageArgs(ALICE.principal.raw, 0, number, net.now_ns(), False, b"%d" % number))


def status(net: Net, request: envelope.SignedRequest) -> str:
    certificate = net.read_state(ALICE, [(b"request_status", request.request_id)])
    return request_status(certificate, request.request_id).status


def test_without_latency_a_call_is_executed_at_once() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_open", OPEN)
    code, headers, body = result_of(net.submit(request, version="v2"))
    assert (code, set(headers), body) == (202, {"x-request-id"}, b"")
    assert status(net, request) == "replied"
    assert len(net.poll().messages) == 1


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_a_synchronous_call_is_answered_when_it_was_executed(version: str) -> None:
    net = Net(call_latency=2.0)
    request = net.call_request(ALICE, "ws_open", OPEN)
    answer = net.submit(request, version=version)
    net.advance(1.9)
    assert pending(answer)
    assert status(net, request) == "received"
    net.advance(0.1)
    assert net.outcome(result_of(answer), request) == ws.encode_result_ok()


def test_a_synchronous_call_is_accepted_after_ten_seconds() -> None:
    net = Net(call_latency=12.0)
    request = net.call_request(ALICE, "ws_open", OPEN)
    answer = net.submit(request)
    net.advance(9.9)
    assert pending(answer)
    net.advance(0.1)
    assert result_of(answer)[0] == 202
    net.advance(2)
    assert status(net, request) == "replied"


def test_calls_are_executed_in_order_and_certified_together() -> None:
    net = Net(call_latency=1.0, delegation="none")
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    requests = [net.call_request(ALICE, "ws_message", message(net, number)) for number in range(1, 21)]
    answers = [net.submit(request) for request in requests]
    net.advance(1)
    for request, answer in zip(requests, answers, strict=True):
        ws.decode_unit_result(net.outcome(result_of(answer), request))
    assert net.received(1) == [b"%d" % number for number in range(1, 21)]
    assert net.replica.topology.signatures == 1


def test_with_jitter_order_is_lost() -> None:
    net = Net(call_jitter=1.0)
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    net.advance(1)
    for number in range(1, 11):
        net.submit(net.call_request(ALICE, "ws_message", message(net, number)), version="v2")
    net.advance(1)
    assert net.received()[-1] == ws.CloseMessage("WrongSequenceNumber")


def test_the_same_envelope_is_the_same_call() -> None:
    net = Net(call_latency=1.0)
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    request = net.call_request(ALICE, "ws_message", message(net, 1))
    first, second = net.submit(request), net.submit(request)
    # dfinity/ic, call_sync.rs: what the certified state knows of is answered at once, whatever its status is
    certificate = net.verified(cbor.loads(result_of(second)[2])["certificate"])
    assert request_status(certificate, request.request_id).status == "received"
    net.advance(1)
    third = net.submit(request)
    assert [net.outcome(result_of(each), request) for each in (first, third)] == [ws.encode_result_ok()] * 2
    assert net.received(1) == [b"1"]
    assert net.replica.stats["calls_again"] == 2
    assert net.replica.stats["calls_executed"] == 2


def test_a_refusal_is_remembered_too() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_message", message(net, 1))
    for _ in range(2):
        with pytest.raises(CanisterRefused):
            ws.decode_unit_result(net.outcome(result_of(net.submit(request)), request))


def test_calls_are_forgotten_after_they_have_expired() -> None:
    net = Net()
    first = net.call_request(ALICE, "ws_open", OPEN, ttl=60)
    net.submit(first)
    net.advance(119)
    net.submit(net.call_request(ALICE, "ws_message", message(net, 1)))
    assert len(net.replica.ingress) == 2
    net.advance(11)
    net.submit(net.call_request(ALICE, "ws_message", message(net, 2)))
    assert len(net.replica.ingress) == 2
    assert status(net, first) == "unknown"


def test_latency_can_be_changed_while_calls_wait() -> None:
    net = Net(call_latency=2.0)
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    net.replica.ingress.latency = 0.0
    net.submit(net.call_request(ALICE, "ws_message", message(net, 1)), version="v2")
    # What came first is executed first.
    net.advance(2)
    assert net.received(1) == [b"1"]


def test_who_goes_away_is_not_waited_for() -> None:
    net = Net(call_latency=1.0)
    answer = net.submit(net.call_request(ALICE, "ws_open", OPEN))
    answer.addErrback(lambda _: None)
    answer.cancel()
    net.advance(20)
    assert len(net.poll().messages) == 1


@pytest.mark.parametrize("options", [{"call_latency": 1.0}, {"call_jitter": 1.0}])
def test_closing_leaves_no_timer(options: dict[str, float]) -> None:
    net = Net(**options)
    net.submit(net.call_request(ALICE, "ws_open", OPEN), version="v2")
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


@pytest.mark.parametrize("options", [{"call_latency": 0.5}, {"pace": BlockTiming(1.0)}], ids=["latency", "blocks"])
def test_a_failure_of_the_replica_costs_one_call_alone(options: dict[str, Any]) -> None:
    net = Net(canisters={"failing": (ECHO_ID, Failing)}, **options)
    first, second = net.call_request(ALICE, "other", b""), net.call_request(ALICE, "ws_open", OPEN)
    answers = [net.submit(request) for request in (first, second)]
    with capturedLogs() as logged:
        net.advance(3, 0.5)
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]
    with pytest.raises(Rejected, match="The local replica failed: ZeroDivisionError: other") as caught:
        net.outcome(result_of(answers[0]), first)
    assert caught.value.code == 1
    assert net.outcome(result_of(answers[1]), second) == ws.encode_result_ok()
