"""Stopping a canister: at once, when its open calls are done, too late, or not at all."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.devnet.wasm.canister import RUNNING, STOPPED, STOPPING
from icwsgw.devnet.wasm.stop_requests import STOP_TIMEOUT_S, StopRequests
from icwsgw.errors import Rejected
from tests.devnet.wasm.support import FIRST, PRINTING, World, module


class Stopping:
    """A canister whose calls of the management canister are answered when a test does it."""

    def __init__(self) -> None:
        self.world = World(module(PRINTING))
        self.clock = Clock()
        self.canister = self.world.first
        self.requests = StopRequests(self.canister, self.clock)

    def ask(self) -> list[bytes | Rejected]:
        answers = self.world.send("ask")
        self.world.messages.run(100)
        return answers

    def answer(self) -> None:
        self.world.elsewhere.pop(0).answered(b"random", 0)
        self.world.messages.run(100)
        self.requests.stop_if_idle()

    def stop(self) -> list[object]:
        """What the request has come to: nothing yet, None, or its reject."""
        outcomes: list[object] = []
        later = self.requests.stop()
        assert isinstance(later, Deferred)
        later.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
        return outcomes


def code(outcomes: list[object]) -> tuple[int, str | None]:
    (reject,) = outcomes
    assert isinstance(reject, Rejected)
    return reject.code, reject.error_code


def test_a_canister_without_open_calls_stops_at_once() -> None:
    test = Stopping()
    for _ in range(2):
        assert test.requests.stop() is None
        assert test.canister.status == STOPPED
    assert test.clock.getDelayedCalls() == []


def test_a_canister_stops_when_its_last_open_call_is_done() -> None:
    test = Stopping()
    first, second = test.ask(), test.ask()
    outcomes = [test.stop(), test.stop()]
    assert test.canister.status == STOPPING
    assert test.world.reject("echo").error_code == "IC0509"
    test.answer()
    assert (first, second, outcomes) == ([b"random"], [], [[], []])
    assert test.canister.status == STOPPING
    test.answer()
    assert (second, outcomes) == ([b"random"], [[None], [None]])
    assert test.canister.status == STOPPED
    assert test.world.reject("echo").error_code == "IC0508"
    assert test.clock.getDelayedCalls() == []


def test_a_canister_that_calls_again_from_its_callback_goes_on() -> None:
    test = Stopping()
    body = """
      (table 2 funcref) (elem (i32.const 0) $again $done) (data (i32.const 50) "raw_rand")
      (func $ask (param $reply i32) (call $call_new (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)
        (local.get $reply) (i32.const 0) (i32.const 1) (i32.const 0)) (drop (call $call_perform)))
      (func $again (param i32) (call $ask (i32.const 1)))
      (func $done (param i32) (call $msg_reply))
      (func (export "canister_update ask") (call $ask (i32.const 0)))"""
    test.canister.upgrade(module(body))
    answers = test.ask()
    outcomes = test.stop()
    test.answer()
    assert (answers, outcomes, test.canister.status) == ([], [], STOPPING)
    test.answer()
    assert (answers, outcomes, test.canister.status) == ([b""], [None], STOPPED)


def test_a_call_that_is_answered_before_its_callees_is_open() -> None:
    test = Stopping()
    test.canister.upgrade(
        module("""
      (table 1 funcref) (elem (i32.const 0) $ignore) (data (i32.const 50) "raw_rand") (func $ignore (param i32))
      (func (export "canister_update ask") (call $call_new (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (drop (call $call_perform)) (call $msg_reply))""")
    )
    assert test.ask() == [b""]
    outcomes = test.stop()
    assert (outcomes, test.canister.status) == ([], STOPPING)
    test.answer()
    assert (outcomes, test.canister.status) == ([None], STOPPED)


def test_too_late() -> None:
    test = Stopping()
    answers = test.ask()
    early = test.stop()
    test.clock.advance(1)
    late = test.stop()
    test.clock.advance(STOP_TIMEOUT_S - 1)
    assert code(early) == (2, "IC0206")
    assert (late, test.canister.status) == ([], STOPPING)
    # the canister goes on stopping
    test.answer()
    assert (answers, late, test.canister.status) == ([b"random"], [None], STOPPED)
    assert len(early) == 1
    assert test.clock.getDelayedCalls() == []


def test_starting_cancels_the_requests() -> None:
    test = Stopping()
    test.ask()
    outcomes = [test.stop(), test.stop()]
    test.requests.start()
    assert [code(each) for each in outcomes] == [(5, "IC0511")] * 2
    assert test.canister.status == RUNNING
    assert test.world.call("echo", b"x") == b"x"
    test.answer()
    assert test.canister.status == RUNNING
    assert test.clock.getDelayedCalls() == []


def test_stopping_by_force_answers_the_requests() -> None:
    test = Stopping()
    test.ask()
    outcomes = test.stop()
    test.requests.stop_now()
    assert (outcomes, test.canister.status) == ([None], STOPPED)
    assert test.clock.getDelayedCalls() == []


def test_the_open_calls_of_code_that_was_taken_out_count() -> None:
    test = Stopping()
    answers = test.ask()
    outcomes = test.stop()
    test.canister.uninstall()
    test.world.messages.uninstalled(test.canister)
    test.requests.stop_if_idle()
    assert code(list(answers)) == (4, "IC0406")
    assert (outcomes, test.canister.status) == ([], STOPPING)
    test.answer()
    assert (outcomes, test.canister.status) == ([None], STOPPED)


def test_closing_ends_the_timers() -> None:
    test = Stopping()
    test.ask()
    outcomes = test.stop()
    test.requests.close()
    assert test.clock.getDelayedCalls() == []
    assert outcomes == []
    assert test.world.canisters[FIRST].status == STOPPING
