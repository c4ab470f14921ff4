"""Readiness as far as the network goes: it answers, its root key is known, and the clocks agree."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import globalLogPublisher

from icwsgw.agent.network_monitor import MAX_SILENCE, MAX_SKEW, PERIOD, QUIET, NetworkMonitor
from icwsgw.core.network_time import WITNESSES, Evidence
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.errors import ConnectFailed
from icwsgw.ic import cbor
from tests.agent.test_ic_agent import Rig, logged
from tests.support.devnet import Net, result_of

URL = "http://127.0.0.1:4943"


class World(Rig):
    """An agent before a replica whose Date header a test may shift, and a reach."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ready=False, **options)
        self.shift = 0.0
        self.up = True
        replica = self.handler

        def handler(method: str, path: str, body: bytes) -> Any:
            if not self.up:
                raise ConnectFailed("nobody there")
            return maybeDeferred(replica, method, path, body).addCallback(self._dated)

        self.handler = handler
        self.looks: list[Deferred[str]] = []
        self.network_monitor = NetworkMonitor(self.clock, self.agent, URL, self.look)
        self._replicas = set(self.clock.getDelayedCalls())

    def look(self) -> Deferred[str]:
        self.looks.append(Deferred())
        return self.looks[-1]

    def timers(self) -> list[Any]:
        """Those that are not the replica's."""
        return [call for call in self.clock.getDelayedCalls() if call not in self._replicas]

    def _dated(self, answer: Any) -> Any:
        status, headers, content = answer
        return status, {**headers, "Date": formatdate(self.net.now_ns() / 1e9 + self.shift, usegmt=True)}, content

    def judge(self, ahead: float) -> None:
        """Let replicas tell their time."""
        self._tell(Evidence.REFUSED, ahead, WITNESSES)

    def dates(self, ahead: float, count: int) -> None:
        """Let Date headers tell a time."""
        self._tell(Evidence.DATE, ahead, count)

    def _tell(self, kind: Evidence, ahead: float, count: int) -> None:
        now_ns = self.net.now_ns()
        for _ in range(count):
            self.agent.time.take(kind, now_ns + int(ahead * 1e9), self.clock.seconds(), now_ns)

    def run(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))


def test_ready_when_the_network_has_answered() -> None:
    world = World()
    assert world.network_monitor.network() == f"{URL} has not been reached"
    world.agent.start()
    world.network_monitor.start()
    world.network_monitor.start()
    assert world.network_monitor.network() is None
    assert world.network_monitor.clock() is None
    world.network_monitor.stop()
    world.network_monitor.stop()
    world.agent.stop()
    assert world.timers() == []


def test_a_start_is_not_reported_as_a_failure() -> None:
    lines: list[str] = []

    def observe(event: Any) -> None:
        if str(event.get("log_namespace")).endswith("agent") and event["log_level"].name != "debug":
            lines.append(event["icws_message"])

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        world = World()
        world.network_monitor.start()
        world.agent.start()
        world.run(PERIOD * 2)
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert lines == []


def test_an_idle_gateway_asks_now_and_then() -> None:
    world = World()
    world.agent.start()
    world.network_monitor.start()
    world.transport.requests.clear()
    world.run(120)
    requests = len(world.transport.requests)
    assert 120 / (QUIET + PERIOD) - 1 <= requests <= 120 / QUIET + 1
    assert {path for _, path, _ in world.transport.requests} == {"/api/v2/status"}
    assert world.network_monitor.network() is None


def test_a_network_that_is_gone_is_named_with_the_reason_and_comes_back() -> None:
    world = World()
    world.agent.start()
    world.network_monitor.start()
    world.up = False
    world.run(MAX_SILENCE)
    assert world.network_monitor.network() is None
    world.run(10)
    reason = world.network_monitor.network()
    assert reason is not None
    assert reason.startswith(f"{URL} has not answered for ")
    assert reason.endswith("nobody there")
    world.up = True
    world.run(PERIOD)
    assert world.network_monitor.network() is None


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_gateway_of_the_network_that_has_no_replica_is_no_network(status: int) -> None:
    world = World()
    world.agent.start()
    world.network_monitor.start()
    world.answer(status)
    world.run(MAX_SILENCE + 15)
    reason = world.network_monitor.network()
    assert reason is not None
    assert f"HTTP {status}" in reason
    # a refusal is an answer
    world.answer(400)
    world.run(15)
    assert world.network_monitor.network() is None


def test_without_a_root_key_it_is_not_ready() -> None:
    world = World()
    world.answer(200, b"\xa0")
    world.agent.start()
    world.network_monitor.start()
    assert (
        world.network_monitor.network() == f"the root key of {URL} is not known: the network's status has no root key"
    )


def test_mainnet_has_its_root_key_and_gets_requests_too() -> None:
    world = World(root_key=b"\x01" * 133)
    world.up = False
    world.agent.start()
    assert world.agent.ready
    world.network_monitor.start()
    assert world.network_monitor.network() == f"{URL} has not been reached: nobody there"
    world.up = True
    world.answer(200, cbor.dumps({"root_key": b"\x01" * 133}))
    world.run(PERIOD)
    assert world.network_monitor.network() is None


def test_a_network_with_another_root_key_than_the_given_one() -> None:
    world = World(root_key=b"\x01" * 133)
    world.agent.start()
    with logged() as lines:
        world.network_monitor.start()
        world.run(PERIOD)
    reason = f"{URL} has another root key than the gateway, see --root-key: its answers do not verify"
    assert world.network_monitor.network() == reason
    assert lines == [reason]
    world.answer(200, cbor.dumps({"root_key": b"\x01" * 133}))
    world.run(QUIET + PERIOD)
    assert world.network_monitor.network() is None


def test_what_verifies_counts_more_than_the_root_key_that_a_status_states() -> None:
    net = Net()
    world = World(root_key=net.replica.root_key_der)
    world.agent.start()
    status = cbor.dumps({"root_key": b"\x01" * 133})
    replica = world.handler
    world.handler = lambda *request: (200, {}, status) if request[1].endswith("status") else replica(*request)
    world.network_monitor.start()
    world.run(PERIOD)
    assert world.network_monitor.network() is not None
    result_of(world.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))
    assert world.network_monitor.network() is None


@pytest.mark.parametrize(("ahead", "words"), [(95, "95 s behind the network's"), (-95, "95 s ahead of the network's")])
def test_a_clock_that_is_wrong(ahead: int, words: str) -> None:
    world = World()
    world.agent.start()
    world.network_monitor.start()
    world.judge(ahead)
    assert world.network_monitor.clock() == f"this machine's clock is {words}, more than 30 s: set it"
    world.judge(MAX_SKEW - 2)
    assert world.network_monitor.clock() is None


def test_dates_alone_make_no_gateway_unready() -> None:
    world = World()
    world.shift = 3600.0
    world.agent.start()
    world.network_monitor.start()
    world.run(60)
    assert world.network_monitor.clock() is None
    world.answer(202, Date=formatdate(world.net.now_ns() / 1e9 + 3600, usegmt=True))
    for _ in range(WITNESSES):
        result_of(world.agent.call(ECHO_ID, b"", wait=False, timeout=5.0))
    assert world.agent.time.disputed
    assert world.network_monitor.clock() is None


def test_changes_are_lines_in_the_log() -> None:
    lines: list[str] = []

    def record(event: Any) -> None:
        if "icws_message" in event:
            lines.append(event["icws_message"])

    globalLogPublisher.addObserver(record)  # type: ignore[arg-type]
    try:
        world = World()
        world.agent.start()
        world.network_monitor.start()
        world.run(60)
        assert lines == []
        world.up = False
        world.run(180)
        world.up = True
        world.run(60)
        world.judge(-95)
        world.run(60)
        world.judge(0)
        world.run(60)
        world.dates(3600, WITNESSES)
        world.run(60)
        world.dates(0, 1)
        world.run(60)
    finally:
        globalLogPublisher.removeObserver(record)  # type: ignore[arg-type]
    first, *rest = lines
    assert first.startswith(f"{URL} has not answered for")
    assert rest == [
        "the network answers again",
        "this machine's clock is 95 s ahead of the network's, more than 30 s: set it",
        "this machine's clock is right again",
        "this machine's clock is 3600 s behind the Date headers of the network's answers, one of them is wrong",
        "this machine's clock and the network's Date headers are reconciled",
    ]


def test_stopping_while_asking() -> None:
    world = World(root_key=b"\x01" * 133)
    world.handler = lambda *request: Deferred()
    world.network_monitor.start()
    world.network_monitor.stop()
    assert world.network_monitor.network() == f"{URL} has not been reached"
    assert world.timers() == []


def test_where_nothing_answers_other_networks_are_looked_for_and_named() -> None:
    world = World()
    world.up = False
    world.agent.start()
    world.network_monitor.start()
    world.run(3 * PERIOD)
    assert len(world.looks) == 1
    with logged() as lines:
        world.looks.pop().callback("dfx's answers")
    assert lines == ["the network does not answer"]
    assert str(world.network_monitor.network()) == f"{URL} has not been reached: nobody there; dfx's answers"
    world.run(MAX_SILENCE)
    assert len(world.looks) == 1, "it is looked again after a while"
    world.looks.pop().callback("")
    assert str(world.network_monitor.network()) == f"{URL} has not been reached: nobody there"
    world.run(MAX_SILENCE + PERIOD)
    world.looks.pop().callback("dfx's answers")
    world.up = True
    world.run(60)
    assert world.network_monitor.network() is None
    world.up = False
    world.run(MAX_SILENCE + QUIET + PERIOD)
    assert "dfx's answers" not in str(world.network_monitor.network())
    world.run(MAX_SILENCE)
    assert len(world.looks) == 1
    world.network_monitor.stop()
    world.agent.stop()


def test_no_search_while_the_network_answers() -> None:
    world = World()
    world.agent.start()
    world.network_monitor.start()
    world.run(120)
    assert world.looks == []


@pytest.mark.parametrize(("ahead", "words"), [(40.0, "40 s ahead of"), (-86_400.0, "86400 s behind")])
def test_a_test_network_with_its_own_time_is_a_concern_and_no_reason_to_be_unready(ahead: float, words: str) -> None:
    world = World()
    world.network_monitor.own_time = True
    world.agent.start()
    world.network_monitor.start()
    assert world.network_monitor.concern() is None
    with logged() as lines:
        world.judge(ahead)
        world.run(PERIOD)
        assert world.network_monitor.clock() is None
        concern = world.network_monitor.concern()
        assert concern is not None
        assert concern.startswith(f"the network's time is {words} this machine's")
        world.judge(0.0)
        world.run(PERIOD)
    assert world.network_monitor.concern() is None
    assert concern in str(lines)
    assert "the network's time is this machine's again" in str(lines)
    world.network_monitor.own_time = False
    world.judge(ahead)
    assert world.network_monitor.concern() is None
    assert world.network_monitor.clock() is not None
    world.network_monitor.stop()
    world.agent.stop()
