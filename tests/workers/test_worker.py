from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import globalLogPublisher

from icwsgw.admin.control import Overrides
from icwsgw.agent.outcome import CallOutcome, OutcomeKind
from icwsgw.config.client_limits import ClientLimits
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import ConfigError
from icwsgw.gateway.identities import load_or_create_key_file
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.health import Health
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.log_file import FileBounds
from icwsgw.observe.metrics import CANISTERS_OF_A_WORKER, Metrics
from icwsgw.server.connection_limits import ConnectionLimits
from icwsgw.workers import worker as process
from icwsgw.workers.orders import ORDERS_FD, GivenSocket, Orders, config_to_json
from icwsgw.workers.worker import Link, NotOrders, OrderHandler, read_orders
from tests.gateway.test_gateway import World as GatewayWorld
from tests.support.fake_network import NOW_NS, REPLIED_OK, replied_err
from tests.support.measured import interpreter
from tests.test_layering import ROOT

CONFIG = GatewayConfig(data_dir=Path("/nonexistent"))


class Gateway:
    def __init__(self) -> None:
        self.announce: Any = None
        self.received: list[tuple[bytes, bytes, int, bool]] = []

    def replaced_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        self.received.append((canister, sender, at_ns, later))

    def left_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        self.received.append((canister, sender, -at_ns, later))


class Factory:
    """The server's factory, as a worker sees it."""

    def __init__(self) -> None:
        self.limits = ConnectionLimits(ClientLimits(max_connections=2), 0.0)


class Service:
    """A gateway's service, as its worker sees it."""

    def __init__(self) -> None:
        self.gateway: Any = Gateway()
        self.factory = Factory()
        self.metrics = Metrics()
        self.health = Health()
        self.health.add("network", lambda: "not reached")
        self.status = self
        self.control = self
        self.done: list[Any] = []
        self.stopped: Deferred[None] = succeed(None)
        self.long: Deferred[dict[str, Any]] = Deferred()

    def document(self) -> dict[str, Any]:
        return {"now": 1}

    def reply(self, request: dict[str, Any]) -> Deferred[dict[str, Any]]:
        if request["what"] == "bug":
            raise RuntimeError("bug")
        if request["what"] == "long":
            return self.long
        return succeed({"asked": request["what"]})

    def drain_over(self, window: float) -> None:
        self.done.append(window)

    def skip_drain_window(self) -> None:
        self.done.append("hurry")

    def reload(self, config: GatewayConfig) -> None:
        self.done.append(config)

    def stopService(self) -> Deferred[None]:
        self.done.append("stop")
        return self.stopped

    @property
    def access_lists(self) -> Any:
        return SimpleNamespace(look_at_copies=lambda: self.done.append("lists"))


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    levels: list[Any] = []
    monkeypatch.setattr(process, "change_levels", lambda *wanted: levels.append(wanted))
    return levels


def test_a_worker_reports_when_it_is_full_and_gets_the_room_of_others() -> None:
    service = Service()
    answers: list[Any] = []
    order_handler = OrderHandler(service, lambda: None, answers.append)
    limits = service.factory.limits
    for _ in range(3):
        limits.enter(0.0, "192.0.2.1")
    assert limits.gate.closed, "until an order says otherwise"
    order_handler.handle({"do": "siblings", "room": False})
    assert not limits.gate.closed
    order_handler.handle({"do": "siblings", "room": True})
    assert limits.gate.closed
    limits.leave(None)
    assert answers == [{"type": "room", "room": False}, {"type": "room", "room": True}]


def test_a_worker_begins_new_log_files_on_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[None] = []
    monkeypatch.setattr(process, "rotate_files", lambda: begun.append(None))
    OrderHandler(Service(), lambda: None, lambda answer: None).handle({"do": "rotate_logs"})
    assert begun == [None]


def test_orders_are_executed(levels: list[Any]) -> None:
    service = Service()
    stops: list[Any] = []
    answers: list[Any] = []
    order_handler = OrderHandler(service, lambda: stops.append(None), answers.append)
    order_handler.handle({"do": "report", "number": 7})
    (report,) = answers
    assert (report["type"], report["number"]) == ("report", 7)
    assert report["findings"] == [["network", "not reached"]]
    assert any(family[0] == "icws_sessions" for family in report["families"])
    assert "status" not in report
    order_handler.handle({"do": "report", "number": 8, "status": True})
    assert answers[1]["status"] == {"now": 1}
    config = replace(CONFIG, denied_canisters=("aaaaa-aa",), log_level="debug")
    order_handler.handle({"do": "reload", "config": config_to_json(config)})
    assert service.done == [config]
    assert levels[0][0].default == 10
    order_handler.handle({"do": "hurry"})
    assert service.done[1:] == ["hurry"]
    order_handler.handle({"do": "drain", "window": 3.5})
    assert service.done[2:] == [3.5]
    assert stops == [None]


def test_a_handover_carries_the_changes_of_the_operator() -> None:
    """Not the values from the worker's start; maintenance and options are the supervisor's."""
    service: Any = Service()
    handler = process.OrderHandler(service, lambda: None, lambda answer: None)
    overrides = Overrides(denied=("aaaaa-aa",), maintenance=True, options={"drain-window": ("3",)})
    handler.handle({"do": "ask", "number": 1, "what": {"what": "override", "overrides": overrides.to_json()}})
    assert service.overrides == Overrides(denied=("aaaaa-aa",))


def test_health_is_reported_and_lists_are_read_again_on_an_order() -> None:
    service = Service()
    answers: list[Any] = []
    order_handler = OrderHandler(service, lambda: None, answers.append)
    order_handler.handle({"do": "report_health"})
    assert answers == [{"type": "health", "findings": [["network", "not reached"]]}], (
        "no metrics: this order is frequent"
    )
    order_handler.handle({"do": "access_lists"})
    assert service.done == ["lists"]
    # an order of a supervisor of another version
    order_handler.handle({"do": "unknown"})
    assert (len(answers), service.done) == (1, ["lists"])


def test_requests_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    monkeypatch.setattr(process, "_log", _Log(failures))
    answers: list[Any] = []
    order_handler = OrderHandler(Service(), lambda: None, answers.append)
    order_handler.handle({"do": "ask", "number": 5, "what": {"what": "levels"}})
    order_handler.handle({"do": "ask", "number": 6, "what": {"what": "bug"}})
    assert answers == [
        {"type": "answer", "number": 5, "answer": {"asked": "levels"}},
        {"type": "answer", "number": 6, "answer": None},
    ]
    assert failures == ["answering the supervisor failed"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_request_that_takes_long_is_answered_later(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    failures: list[str] = []
    monkeypatch.setattr(process, "_log", _Log(failures))
    answers: list[Any] = []
    service = Service()
    order_handler = OrderHandler(service, lambda: None, answers.append)
    order_handler.handle({"do": "ask", "number": 5, "what": {"what": "long"}})
    order_handler.handle({"do": "ask", "number": 6, "what": {"what": "levels"}})
    if fails:
        service.long.errback(RuntimeError("bug"))
    else:
        service.long.callback({"rows": []})
    assert [each["number"] for each in answers] == [6, 5]
    assert answers[1]["answer"] == (None if fails else {"rows": []})
    assert failures == ["answering the supervisor failed"] * fails


def test_acceptances_elsewhere_are_passed_on_with_their_time_and_the_supervisors_order() -> None:
    service = Service()
    answers: list[Any] = []
    order_handler = OrderHandler(service, lambda: None, answers.append)
    gateway = service.gateway

    def announced(canister: str, own: bool, left: bool = False) -> bool | None:
        before = len(gateway.received)
        order_handler.handle(
            {"do": "replaced", "canister": canister, "sender": "05", "at": 70, "left": left, "own": own}
        )
        if len(gateway.received) == before:
            return None
        *what, later = gateway.received[-1]
        assert what == [bytes.fromhex(canister), b"\x05", -70 if left else 70]
        return later

    assert announced("0a", own=False) is True
    gateway.announce(b"\x0a", b"\x05", 60, False)
    assert answers == [{"type": "accepted", "canister": "0a", "sender": "05", "at": 60, "left": False}]
    assert announced("0a", own=False) is False, "ours is in flight, so it is the later one"
    assert announced("0a", own=False, left=True) is False
    assert announced("0b", own=False) is True
    assert announced("0a", own=True) is None
    assert announced("0a", own=False) is True, "ours was before this one"
    gateway.announce(b"\x0a", b"\x05", 60, False)
    gateway.announce(b"\x0a", b"\x05", 60, True)
    assert answers[-1]["left"] is True
    assert announced("0a", own=True) is None
    assert announced("0a", own=False) is False
    assert announced("0a", own=True) is None
    assert announced("0a", own=True) is None
    assert announced("0a", own=False) is True


class Together:
    """Workers with one gateway each, and a supervisor whose pipes the test moves."""

    def __init__(self, count: int) -> None:
        self.worlds = [GatewayWorld() for _ in range(count)]
        self.up: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self.down: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self.workers = []
        for world, up in zip(self.worlds, self.up, strict=True):
            service = Service()
            service.gateway = world.gateway
            self.workers.append(OrderHandler(service, lambda: None, up.append))  # type: ignore[arg-type]

    def pump(self, which: int) -> bool:
        """Pass one line, if there is one in this pipe."""
        count = len(self.workers)
        if which < count and self.up[which]:
            answer = self.up[which].pop(0)
            for number, pipe in enumerate(self.down):
                what = {name: answer[name] for name in ("canister", "sender", "at", "left")}
                pipe.append({"do": "replaced", **what, "own": number == which})
        elif which >= count and self.down[which - count]:
            self.workers[which - count].handle(self.down[which - count].pop(0))
        else:
            return False
        return True

    def wait_until_quiet(self) -> None:
        """Pass all lines."""
        while any(self.pump(which) for which in range(2 * len(self.workers))):
            pass


@given(
    st.permutations([10, 20, 30]),
    st.booleans(),
    st.lists(st.one_of(st.just("accept"), st.integers(0, 5)), max_size=40),
)
def test_of_a_clients_connections_in_several_workers_the_newest_by_the_canister_remains(
    times: list[int], known: bool, script: list[Any]
) -> None:
    together = Together(3)
    identity = Ed25519Identity(b"\x24" * 32)
    left = list(enumerate(times))
    connections: dict[int, Any] = {}
    for step in [*script, *["accept"] * 3]:
        if step == "accept" and left:
            worker, at = left.pop()
            connections[at], _ = together.worlds[worker].open(identity=identity, at_ns=at if known else 0)
        elif isinstance(step, int):
            together.pump(step)
    together.wait_until_quiet()
    stay = [at for at, connection in connections.items() if not connection.closed]
    assert len(stay) == 1
    if known:
        assert stay == [30]


@pytest.mark.parametrize("known", [True, False])
def test_a_client_is_replaced_by_one_that_left_another_worker_if_the_canister_knew_it(known: bool) -> None:
    """The canister's answer to ws_close shows it; a waiting client is closed when its first message arrives."""
    together = Together(3)
    identity = Ed25519Identity(b"\x24" * 32)
    older, _ = together.worlds[0].open(identity=identity, at_ns=NOW_NS - 2)
    waits, waiting = together.worlds[2].connect(identity=identity)
    _, left = together.worlds[1].connect(identity=identity)
    left.left(1000)
    calls = together.worlds[1].network.calls
    # the outcome of ws_open stays unknown
    calls[-1].answer(CallOutcome(OutcomeKind.REPLIED, b"no Candid"))
    together.wait_until_quiet()
    assert older.closed == []
    # ws_close
    calls[-1].answer(REPLIED_OK if known else replied_err("not registered"))
    together.wait_until_quiet()
    assert bool(older.closed) is known
    assert waits.closed == []
    waiting.opened_at_ns = NOW_NS - 1
    waiting.deliver([b"open"])
    together.wait_until_quiet()
    assert bool(waits.closed) is known
    assert older.closed[0][0] == CloseCode.REPLACED
    # a later connection is not replaced
    newer, _ = together.worlds[0].open(identity=identity, at_ns=NOW_NS + 1)
    together.wait_until_quiet()
    assert newer.closed == []


class Reactor:
    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class Lines:
    def __init__(self, take: Any, ended: Any) -> None:
        self.lines: list[Any] = []
        self.ended = ended
        self.dataReceived = self.lines.append

    def open(self, *_: Any) -> None:
        self.lines.append("open")

    def send(self, value: Any) -> None:
        self.lines.append(value["type"])
        if value["type"] == "report":
            assert value["number"] == 0, "no order has requested it"

    def close(self) -> Deferred[None]:
        self.lines.append("close")
        return succeed(None)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(process, "Lines", Lines)
    monkeypatch.setattr(process, "Passage", lambda *_: SimpleNamespace(begin=lambda: None, serve=lambda: None))
    return Link(Reactor(), Service())


def test_a_worker_reports_at_its_start_and_after_its_drain(link: Any) -> None:
    link.begin(b"rest")
    assert link._lines.lines == ["open", "ready", "report", b"rest"]
    link._service.stopped = Deferred()
    link.end()
    assert link._lines.lines[4:] == ["stopped_accepting"]
    link._service.stopped.callback(None)
    assert link._lines.lines[5:] == ["report", "close"]
    link.stop()
    assert link._reactor.stops == 0, "it is ending"
    link.signalled()
    assert link._service.done == ["stop", "hurry"]


def test_signals(link: Any) -> None:
    link.signalled()
    assert (link._reactor.stops, link._service.done) == (1, [])
    link.signalled()
    assert (link._reactor.stops, link._service.done) == (1, ["hurry"])
    link.stop()


def test_a_stop_of_a_reactor_that_does_not_run_is_ignored(link: Any) -> None:
    link._reactor.stops = 1
    link.stop()
    link.stop()
    assert link._reactor.stops == 2, "it was requested once, and refused"


def test_the_order_to_serve_goes_to_its_passage(link: Any) -> None:
    served: list[None] = []
    link.passage.serve = lambda: served.append(None)
    link._order({"do": "serve"})
    assert (served, link._service.done) == ([None], [])
    link._order({"do": "hurry"})
    assert (served, link._service.done) == ([None], ["hurry"])


def test_signals_are_handled_from_when_the_reactor_runs(link: Any, held_signals: object) -> None:
    running: list[Any] = []
    called: list[Any] = []
    before = signal.getsignal(signal.SIGTERM)
    reactor = SimpleNamespace(callWhenRunning=running.append, callFromThread=called.append)
    process._handle_signals(reactor, link)
    assert signal.getsignal(signal.SIGTERM) is before, "the reactor installs its own when it starts"
    (install,) = running
    install()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
    assert called == [link.signalled] * 2, "the handler itself does nothing"


def test_a_worker_continues_after_an_order_that_fails(link: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str] = []
    monkeypatch.setattr(process, "_log", _Log(answers))
    link._order({"do": "reload"})
    assert answers == ["executing an order of the supervisor failed"]


class _Log:
    def __init__(self, answers: list[str]) -> None:
        self.lines = answers

    def failure(self, message: str, **fields: Any) -> None:
        self.lines.append(message)

    error = failure


def test_a_worker_without_supervisor_hurries_and_sets_an_alarm_that_ends_it(
    link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    monkeypatch.setattr(process, "_log", _Log([]))
    link._lines.ended()
    assert alarms == [process.ORPHAN_SECONDS]
    assert (link._reactor.stops, link._service.done) == (1, ["hurry"])


def test_start_parameters_are_read_to_the_end_of_their_line() -> None:
    out, into = os.pipe()
    orders = Orders(1, CONFIG, ())
    os.write(into, orders.to_json().encode() + b'\n{"do":"report"}\n')
    assert read_orders(out) == (orders, b'{"do":"report"}\n')
    os.close(into)
    with pytest.raises(EOFError):
        read_orders(out)
    os.close(out)


def test_a_worker_uses_the_monotonic_clock_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor

    class Begun(Exception):
        pass

    def use_monotonic_time(given: object) -> None:
        assert given is reactor
        raise Begun

    monkeypatch.setattr(process, "use_monotonic_time", use_monotonic_time)
    with pytest.raises(Begun):
        process.run(Orders(0, CONFIG, ()))


class Running:
    """A reactor, and the order of what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.done.append(trigger)

    def run(self) -> None:
        self.done.append("run")


@pytest.mark.parametrize("waits", [False, True])
def test_a_worker_runs_a_gateway_with_its_start_parameters(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    reactor = Running()
    done = reactor.done
    made: list[Any] = []

    class Gateway:
        metrics = SimpleNamespace(canisters=SimpleNamespace(keep=0))

        def __init__(self, *given: Any, **named: Any) -> None:
            made.append((given, named))
            self.override = lambda overrides: done.append(overrides)
            self.privilegedStartService = lambda: done.append("bind")
            self.startService = lambda: done.append("start")

    class Linked:
        def __init__(self, *given: Any) -> None:
            made.append(given)
            self.passage = SimpleNamespace(wait=lambda: done.append("wait"))
            self.begin = lambda rest: done.append(rest)
            self.end = "the end"

    monkeypatch.setattr("twisted.internet.reactor", reactor)
    monkeypatch.setattr("icwsgw.service.GatewayService", Gateway)
    monkeypatch.setattr(process, "Link", Linked)
    monkeypatch.setattr(process, "_begin_log", lambda orders: "recent")
    for name in ("use_monotonic_time", "freeze_startup_objects", "trim_heap"):
        monkeypatch.setattr(process, name, lambda given, name=name: done.append((name, given is reactor)))
    monkeypatch.setattr(process, "require_key_file", lambda path: made.append(path))
    monkeypatch.setattr(process, "_handle_signals", lambda *given: done.append(("signals", given[0] is reactor)))
    sockets = (GivenSocket("tcp:8080", socket.AF_INET, 77),)
    orders = Orders(1, CONFIG, sockets, inherited=(9,), waits=waits)
    process.run(orders, b"rest")
    key, (given, named), linked = made
    assert key == CONFIG.key_path, "before the service would make one"
    endpoints = named.pop("endpoints")
    assert given == (CONFIG, reactor)
    assert named == {
        "first_identity": orders.first_identity,
        "inherited": (9,),
        "recent": "recent",
        "fetch_lists": False,
    }
    assert [(address, each._descriptor, each._family) for address, each in endpoints.items()] == [
        ("tcp:8080", 77, socket.AF_INET)
    ]
    assert linked[0] is reactor
    assert linked[1].metrics.canisters.keep == CANISTERS_OF_A_WORKER
    assert done == [
        ("use_monotonic_time", True),
        *(["wait"] if waits else []),
        orders.overrides,
        *(("signals", True), "bind", "start", ("before", "shutdown", "the end"), b"rest"),
        *(("freeze_startup_objects", True), ("trim_heap", True), "run"),
    ]


@pytest.mark.parametrize("syslog", [None, "icws"])
def test_the_log_of_a_worker_follows_its_configuration(monkeypatch: pytest.MonkeyPatch, syslog: str | None) -> None:
    made: list[Any] = []
    begun: list[Any] = []

    def make_observer(*given: Any, **named: Any) -> str:
        made.append((given, named))
        return "observer"

    monkeypatch.setattr(process, "make_observer", make_observer)
    monkeypatch.setattr(
        process, "globalLogBeginner", SimpleNamespace(beginLoggingTo=lambda *a, **k: begun.append((a, k)))
    )
    for name in ("mark", "hide_clients"):
        monkeypatch.setattr(process, name, lambda *a, name=name, **k: begun.append((name, a, k)))
    config = replace(CONFIG, log_level="debug", log_file_level="warn", log_format="json", log_clients="none")
    recent = process._begin_log(Orders(4, config, (), syslog=syslog))
    globalLogPublisher.removeObserver(recent)  # type: ignore[arg-type]
    (((levels, form), named),) = made
    assert (levels, form) == (parse_levels("debug"), "json")
    assert named == {
        "file_levels": parse_levels("warn"),
        "traces": config.data_dir / "traces",
        "bounds": FileBounds(config.log_file_bytes, config.log_file_count),
        "twistd": {} if syslog is None else {"syslog": True, "prefix": "icws"},
    }
    assert begun == [
        ("mark", (), {"worker": 4}),
        ("hide_clients", ("none",), {}),
        ((["observer"],), {"redirectStandardIO": False}),
    ]


@pytest.mark.parametrize(
    ("failing", "error", "line"),
    [
        ("read_orders", EOFError(), "twistd icws: a worker is started by the gateway itself, see --workers"),
        ("read_orders", NotOrders("x"), "twistd icws: a worker is started by the gateway itself, see --workers"),
        ("read_orders", OSError(9, "Bad file"), "twistd icws: not started as a worker: Bad file"),
        ("run", ConfigError("--deny-list /d:\n no principal"), "twistd icws: --deny-list /d: no principal"),
    ],
)
def test_a_worker_that_cannot_start_gives_the_reason_in_one_line(
    failing: str, error: Exception, line: str, held_signals: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(process, "read_orders", lambda descriptor: (Orders(0, CONFIG, ()), b"rest"))
    monkeypatch.setattr(process, failing, fail)
    with pytest.raises(SystemExit) as ended:
        process.main()
    assert ended.value.code == line
    for number in (signal.SIGHUP, signal.SIGUSR1):
        assert signal.getsignal(number) is signal.SIG_IGN


def test_a_worker_runs_with_the_start_parameters_that_it_reads(
    held_signals: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(process, "read_orders", lambda descriptor: (descriptor, b"rest"))
    monkeypatch.setattr(process, "run", lambda *given: ran.append(given))
    process.main()
    assert ran == [(ORDERS_FD, b"rest")]


class Started:
    """A worker's process, with the descriptors that a supervisor gives it."""

    def __init__(self, tmp_path: Path, orders: Orders, listening: socket.socket) -> None:
        orders_out, self.orders = os.pipe()
        answers, answers_in = os.pipe()
        self.passage, theirs = socket.socketpair()
        given = [orders_out, answers_in, theirs.detach(), listening.detach()]
        # above the numbers that they get in the process
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in given]
        self.output = tmp_path / "output"
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, each, ORDERS_FD + index) for index, each in enumerate(high)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions += [(os.POSIX_SPAWN_OPEN, 1, self.output, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        command = [*interpreter(), "-m", "icwsgw.workers.worker"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        for each in (*given, *high):
            os.close(each)
        self._ended = False
        # a worker that hangs fails this test and does not block the others
        self._limit = threading.Timer(120, os.kill, (self.pid, signal.SIGKILL))
        self._limit.daemon = True
        self._limit.start()
        self.answers = os.fdopen(answers, "rb")
        self.send(orders.to_json())

    def send(self, line: str) -> None:
        os.write(self.orders, line.encode() + b"\n")

    def receive(self, kind: str) -> dict[str, Any]:
        """Return the next answer of this kind; skip those before it."""
        for line in self.answers:
            answer: dict[str, Any] = json.loads(line)
            if answer["type"] == kind:
                return answer
        raise AssertionError(self.output.read_text())

    def wait(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        self._limit.cancel()
        self._ended = True
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.answers.close()
        self.passage.close()
        os.close(self.orders)


def test_a_worker_from_its_start_to_its_end(tmp_path: Path) -> None:
    """It waits for a handover, accepts connections after the order to serve, and ends on SIGTERM."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    config = GatewayConfig(
        gateway_addresses=("tcp:8080",),
        data_dir=tmp_path,
        ic_network_url="http://127.0.0.1:9",
        prometheus_endpoint=None,
        log_format="json",
        drain_window=0.0,
    )
    sockets = (GivenSocket("tcp:8080", socket.AF_INET, ORDERS_FD + 3),)
    load_or_create_key_file(config.key_path)
    worker = Started(tmp_path, Orders(3, config, sockets, reactor="poll", inherited=(9,), waits=True), listening)
    try:
        worker.receive("ready")
        report = worker.receive("report")
        assert any(family[0] == "icws_sessions" for family in report["families"])
        assert worker.receive("prepared")["waits_for"] is not None, "there is no network"
        # the supervisor decides about this
        os.kill(worker.pid, signal.SIGHUP)
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            worker.send('{"do":"report_health"}')
            assert worker.receive("health")["findings"], "it is not ready without a network"
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.settimeout(60)
            worker.send('{"do":"serve"}')
            assert client.recv(9) == b"HTTP/1.1 "
        os.kill(worker.pid, signal.SIGTERM)
        worker.receive("stopped_accepting")
        worker.receive("report")
        assert worker.answers.read() == b""
        assert worker.wait() == 0, worker.output.read_text()
    finally:
        worker.close()
    lines = [json.loads(line) for line in worker.output.read_text().splitlines()]
    assert lines
    assert {line["worker"] for line in lines} == {3}


NOT_A_WORKER = "twistd icws: a worker is started by the gateway itself, see --workers\n"
NO_DESCRIPTOR = "twistd icws: not started as a worker: Bad file descriptor\n"


@pytest.mark.parametrize(
    ("redirection", "lines"),
    [
        # some versions of Python, such as 3.14, have opened a file of their own there
        ("3<&-", {NO_DESCRIPTOR, NOT_A_WORKER}),
        ("3</dev/null", {NOT_A_WORKER}),
        ("3<README.md", {NOT_A_WORKER}),
        ("3<tests/vectors/certificates/ivg37_time.bin", {NOT_A_WORKER}),
    ],
)
def test_a_person_who_starts_it_gets_a_message(redirection: str, lines: set[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m icwsgw.workers.worker {redirection}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr in lines


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"null\n", b'{"sockets": 1}\n', b"\xff\n", b"# Title\n"])
def test_a_line_without_start_parameters(line: bytes) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as pipe:
        pipe.write(line)
        pipe.flush()
        with pytest.raises(process.NotOrders):
            process.read_orders(reading)
