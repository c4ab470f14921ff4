from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.submitted_call import SubmittedCall
from icwsgw.devnet.topology import Topology
from icwsgw.errors import Rejected
from icwsgw.ic.certificate import RequestStatus, decode_certificate, request_status
from tests.support.devnet import START_NS, identity, pending, result_of

ALICE = identity(1)
ID = b"r" * 32


def make(execute: object = lambda: b"reply") -> SubmittedCall:
    topology = Topology(b"seed", "none")
    state = StateTree(topology, topology.root)
    return SubmittedCall(state, ID, ALICE.principal, ECHO_ID, START_NS, execute)  # type: ignore[arg-type]


def outcome(call: SubmittedCall) -> RequestStatus:
    raw = call.state.certificate([(b"request_status", ID)], START_NS)
    return request_status(decode_certificate(raw), ID)


def test_a_call_runs_once() -> None:
    runs: list[int] = []

    def execute() -> bytes:
        runs.append(1)
        return b"reply"

    call = make(execute)
    call.run()
    call.run()
    assert call.done
    assert len(runs) == 1
    assert outcome(call) == RequestStatus("replied", reply=b"reply")


def test_a_reject_is_an_outcome() -> None:
    def execute() -> bytes:
        raise Rejected(5, "no", "IC0503")

    call = make(execute)
    call.run()
    assert outcome(call) == RequestStatus("rejected", None, 5, "no", "IC0503")


@pytest.mark.parametrize("later", [False, True])
def test_an_unexpected_exception_is_a_reject_and_is_logged(later: bool) -> None:
    waiting: Deferred[bytes] = Deferred()

    def execute() -> Deferred[bytes]:
        if later:
            return waiting
        raise ZeroDivisionError("by zero")

    call = make(execute)
    with capturedLogs() as logged:
        call.run()
        if later:
            assert not call.done
            waiting.errback(ZeroDivisionError("by zero"))
    assert call.done
    assert outcome(call) == RequestStatus("rejected", None, 1, "The local replica failed: ZeroDivisionError: by zero")
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_those_who_wait_are_notified_by_node() -> None:
    clock, call = Clock(), make()
    here, there, late = call.wait(clock, 10, 0), call.wait(clock, 10, 1), call.wait(clock, 1, 1)
    assert sorted(call.awaited_at) == [0, 1]
    clock.advance(1)
    assert result_of(late) is False
    call.notify(0)
    assert result_of(here) is True
    assert pending(there)
    assert call.awaited_at == [1]
    clock.advance(9)
    assert result_of(there) is False
    assert call.awaited_at == []
    assert clock.getDelayedCalls() == []


def test_a_cancelled_wait_is_not_notified() -> None:
    clock, call = Clock(), make()
    waiting = call.wait(clock, 10, 0)
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert call.awaited_at == []
    call.notify(0)
