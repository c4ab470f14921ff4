from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ProcessDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from icwsgw.admin.access import Caller, Refused
from icwsgw.admin.api import Replies
from icwsgw.admin.control import Overrides
from icwsgw.admin.prometheus_endpoint import Admin, AdminSite
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.handover.inheritance import Inheritance
from icwsgw.observe.health import Health
from icwsgw.observe.logs import get_logger, override_levels
from icwsgw.observe.metrics import Metrics
from icwsgw.process.program_files import interpreter
from icwsgw.workers import supervisor
from icwsgw.workers.aggregate import snapshot
from icwsgw.workers.json_lines import line_of
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD, GivenSocket, Orders, config_from_json, worker_config
from icwsgw.workers.supervisor import (
    FreshAdminResource,
    GatewayMetrics,
    SupervisorService,
    make_supervisor,
    worker_environment,
)
from icwsgw.workers.worker_pool import FIRST_PAUSE
from tests.admin.test_prometheus_endpoint import Turns


class Held(Service):
    """A listening socket in memory."""

    def __init__(self, address: str, reactor: Any, tls: Any = None, passphrase: Any = None, below: Any = None) -> None:
        self.address = address
        self.family = 2 if address.startswith("tcp") else 1
        self.port = self
        self.stopped = 0

    def fileno(self) -> int:
        return 70 + self.family

    def stopService(self) -> Any:
        self.stopped += 1
        return succeed(None)


class Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[Any] = []

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any, childFDs: Any) -> Any:
        process = Process(len(self.spawned), executable, args, env, childFDs)
        self.spawned.append(process)
        process.protocol = protocol
        protocol.makeConnection(process)
        return process


class Process:
    def __init__(self, number: int, executable: str, args: list[str], env: dict[str, str], descriptors: Any) -> None:
        self.pid = 500 + number
        self.command = (executable, args)
        self.env = env
        self.descriptors = descriptors
        self.received: list[bytes] = []
        self.protocol: Any = None

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == ORDERS_FD
        self.received.append(data)

    def report(self, **answer: Any) -> None:
        self.protocol.childDataReceived(ANSWERS_FD, line_of(answer))

    def end(self) -> None:
        self.protocol.processEnded(Failure(ProcessDone(0)))


class World:
    def __init__(self, tmp_path: Path, twistd: dict[str, Any] | None = None, **options: Any) -> None:
        self.reactor = Reactor()
        self.config = replace(
            GatewayConfig(
                gateway_addresses=("tcp:8080", "unix:/s"),
                prometheus_endpoint=None,
                data_dir=tmp_path,
                workers=2,
                identities=3,
            ),
            **options,
        )
        self.service: Any = make_supervisor(self.config, self.reactor, twistd)
        self.service.privilegedStartService()
        self.service.startService()
        assert isinstance(self.service, SupervisorService)
        self.reactor.run()

    @property
    def processes(self) -> list[Process]:
        return self.reactor.spawned

    def ready(self) -> None:
        for process in self.processes:
            metrics = Metrics()
            metrics.sessions.set_function(lambda: {"open": 4})
            process.report(type="ready")
            process.report(type="report", number=0, findings=[], families=snapshot(metrics.registry))


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "HeldSocket", Held)


def test_workers_are_started_with_their_start_parameters(tmp_path: Path) -> None:
    world = World(tmp_path, {"reactor": "poll", "nodaemon": True, "logfile": None})
    assert (tmp_path / "key_pair").exists()
    for number, process in enumerate(world.processes):
        orders = Orders.from_json(process.received[0])
        assert (orders.worker, orders.first_identity, orders.reactor, orders.syslog) == (
            number,
            3 * number,
            "poll",
            None,
        )
        assert orders.sockets == (GivenSocket("tcp:8080", 2, 6), GivenSocket("unix:/s", 1, 7))
        assert orders.config == worker_config(world.config)
        assert process.command == (interpreter(), [interpreter(), "-m", "icwsgw.workers.worker"])
        assert process.env == worker_environment(os.environ)
        assert process.descriptors.pop(5) > 2, "the socket for handovers"
        assert process.descriptors == {0: 0, 1: 1, 2: 2, 3: "w", 4: "r", 6: 72, 7: 71}


@pytest.mark.parametrize(
    ("twistd", "stream", "syslog"),
    [
        ({"nodaemon": True, "logfile": "-"}, 1, None),
        ({"nodaemon": True, "logfile": "icws.log"}, "r", None),
        ({"nodaemon": False}, "r", None),
        ({"nodaemon": False, "syslog": True, "prefix": "icws"}, 1, "icws"),
        ({"nodaemon": True, "syslog": True}, 1, "twistd"),
    ],
)
def test_the_destination_of_a_workers_log(
    tmp_path: Path, twistd: dict[str, Any], stream: object, syslog: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(supervisor, "pass_on", lines.append)
    world = World(tmp_path, twistd)
    process = world.processes[0]
    assert process.descriptors[1] == stream
    assert Orders.from_json(process.received[0]).syslog == syslog
    process.protocol.childDataReceived(1, b"one\ntw")
    world.processes[1].protocol.childDataReceived(1, b"other\n")
    process.protocol.childDataReceived(1, b"o\n")
    assert lines == ["one", "other", "two"]


def test_the_environment_of_a_worker() -> None:
    environment = worker_environment(
        {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "HOME": "/root", "PYTHONPATH": "/lib"}
    )
    package = str(Path(supervisor.__file__).parents[2])
    assert environment == {"HOME": "/root", "PYTHONPATH": f"{package}:/lib"}
    assert worker_environment({})["PYTHONPATH"] == package


def test_health_and_status(tmp_path: Path) -> None:
    world = World(tmp_path)
    service = world.service
    assert [finding.name for finding in service.health.findings()] == ["workers", "maintenance", "draining"]
    assert not service.health.ready
    assert [row["state"] for row in service.status.document()["workers"]] == ["starting", "starting"]
    world.ready()
    assert service.health.ready
    status = service.status.document()
    assert (status["ready"], status["draining"], status["principal"]) == (True, False, service._principal.text)
    assert [(row["worker"], row["state"], row["pid"]) for row in status["workers"]] == [
        (0, "serving", 500),
        (1, "serving", 501),
    ]
    world.processes[1].end()
    assert service.status.document()["workers"][1]["state"] == "is started again"
    samples = [
        sample for metric in GatewayMetrics(service.pool.metrics, service._own).collect() for sample in metric.samples
    ]
    assert [sample.value for sample in samples if sample.name == "icws_workers"] == [1]


def test_a_reload_reaches_present_and_future_workers(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    new = replace(world.config, denied_canisters=("aaaaa-aa",))
    world.service.reload(new)
    for process in world.processes:
        assert b'"do":"reload"' in process.received[-1]
        assert b"aaaaa-aa" in process.received[-1]
    world.processes[0].end()
    world.reactor.advance(60)
    assert Orders.from_json(world.processes[2].received[0]).config.denied_canisters == ("aaaaa-aa",)


def test_every_process_begins_new_log_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[None] = []
    monkeypatch.setattr(supervisor, "rotate_files", lambda: own.append(None))
    world = World(tmp_path)
    world.ready()
    world.service.rotate_logs()
    assert own == [None]
    assert [process.received[-1] for process in world.processes] == [b'{"do":"rotate_logs"}\n'] * 2


def test_changes_by_the_admin_reach_present_and_future_workers(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    overrides = Overrides(("aaaaa-aa",), {"relay": 10}, ((None, "aaaaa-aa", 5.0),))
    replies: list[Replies] = []
    try:
        world.service.override(overrides).addCallback(replies.append)
        assert get_logger("relay").level == 10, "it applies in the supervisor, too"
    finally:
        override_levels({})
    request = {"what": "override", "overrides": overrides.to_json()}
    for process in world.processes:
        assert json.loads(process.received[-1]) == {"do": "ask", "number": 1, "what": request}
    world.processes[1].report(type="answer", number=1, answer={"closed": 2, "components": []})
    world.processes[0].end()
    assert replies == [Replies({1: {"closed": 2, "components": []}}, [0])]
    world.reactor.advance(60)
    assert Orders.from_json(world.processes[2].received[0]).overrides == overrides


def test_maintenance_concerns_the_gateway_and_not_its_workers(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    assert world.service.health.ready
    world.service.override(Overrides(maintenance=True))
    (reason,) = [found.reason for found in world.service.health.findings() if found.name == "maintenance"]
    assert reason == "the operator has taken the gateway out of service; it keeps its clients"
    assert not world.service.health.ready
    # a worker that reported it would not count as ready
    world.processes[0].end()
    world.reactor.advance(60)
    assert not Orders.from_json(world.processes[2].received[0]).overrides.maintenance
    world.service.override(Overrides())
    assert world.service.health.ready


def test_options_that_the_admin_sets_reach_workers_by_their_shares(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    world.service.override(Overrides(options={"max-connections": ("100",), "open-timeout": ("70",)}))
    for process in world.processes:
        reloads = [json.loads(line) for line in process.received if b'"reload"' in line]
        config = config_from_json(reloads[-1]["config"])
        assert (config.max_connections, config.open_timeout) == (50, 70.0)
    assert world.service.config.max_connections == 100
    assert world.service.configured == world.config
    # a reload of the file keeps them, and a worker that starts gets them with its configuration
    world.service.reload(replace(world.config, max_connections=30, accept_rate=10))
    assert (world.service.config.max_connections, world.service.config.accept_rate) == (100, 10)
    world.processes[0].end()
    world.reactor.advance(60)
    orders = Orders.from_json(world.processes[2].received[0])
    assert (orders.config.max_connections, orders.config.accept_rate, orders.overrides.options) == (50, 5, {})
    world.service.override(Overrides())
    assert world.service.config.max_connections == 30


def test_a_drain_by_the_admin(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    stops: list[None] = []
    world.reactor.stop = lambda: stops.append(None)
    world.service.drain(77.0)
    assert (stops, world.service.draining) == ([None], False)
    world.service.stopService()
    assert world.service.draining
    for process in world.processes:
        assert json.loads(process.received[-1]) == {"do": "drain", "window": 77.0}
    longest_stop = replace(world.config, drain_window=77.0).longest_stop
    assert longest_stop in [call.getTime() for call in world.reactor.getDelayedCalls()], "no worker is killed before"


def test_the_status_is_fresh(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    documents: list[dict[str, Any]] = []
    world.service.status_document().addCallback(documents.append)
    assert documents == []
    for process in world.processes:
        process.report(type="report", number=1, findings=[], families=[])
    assert len(documents[0]["workers"]) == 2


@pytest.mark.parametrize("reload", [False, True])
def test_the_admin_endpoint(tmp_path: Path, reload: bool) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    world = World(tmp_path, admin_endpoint="tcp:9091", admin_token_file=token)
    ((port, site, _, _),) = world.reactor.tcpServers
    assert port == 9091
    for process in world.processes:
        assert Orders.from_json(process.received[0]).config.admin_endpoint is None
    caller = Caller("GET", {"authorization": "Bearer fedcba9876543210"})
    token.write_text("fedcba9876543210")
    if reload:
        world.service.reload(world.config)
        site.access.check(caller)
    else:
        with pytest.raises(Refused):
            site.access.check(caller)


def test_the_stop(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    one, two = world.processes
    done: list[None] = []
    world.service.stopService().addCallback(done.append)
    assert not world.service.health.ready
    one.report(type="stopped_accepting")
    held = world.service.sockets
    assert [socket.stopped for socket in held] == [0, 0], "the other process still has the sockets"
    two.report(type="stopped_accepting")
    assert [socket.stopped for socket in held] == [1, 1]
    world.service.skip_drain_window()
    assert b'"do":"hurry"' in two.received[-1]
    one.end()
    assert not done
    two.end()
    assert done == [None]
    assert world.service.stopService() is world.service.stopService()


def test_a_stop_before_the_reactor_ran(tmp_path: Path) -> None:
    world = World.__new__(World)
    world.reactor = Reactor()
    config = GatewayConfig(data_dir=tmp_path, workers=2, prometheus_endpoint=None)
    service: Any = SupervisorService(config, world.reactor)
    service.startService()
    done: list[None] = []
    service.stopService().addCallback(done.append)
    world.reactor.run()
    assert (done, world.processes) == ([None], [])


def test_an_invalid_key_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "key_pair").write_bytes(b"x")
    with pytest.raises(ConfigError):
        World(tmp_path)


class Answers:
    """An admin site in memory whose reports come when the test says so."""

    def __init__(self) -> None:
        self.refreshed: list[Deferred[None]] = []
        self.shown: list[bool] = []
        self.clock = Clock()
        admin = Admin(Metrics().registry, Health(), lambda: {"now": 1})
        self.site = AdminSite(admin, self.clock)
        self.site.resource = FreshAdminResource(admin, self.refresh)

    def refresh(self, status: bool) -> Deferred[None]:
        self.shown.append(status)
        self.refreshed.append(Deferred())
        return self.refreshed[-1]

    def ask(self, path: str, accept: str = "", method: str = "GET") -> tuple[Any, StringTransport]:
        transport = StringTransport()
        protocol: Any = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        protocol.makeConnection(transport)
        protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        self.clock.advance(0)
        return protocol, transport


def test_answers_wait_for_reports_of_the_workers() -> None:
    answers = Answers()
    _, transport = answers.ask("/metrics")
    assert not transport.value()
    answers.refreshed[0].callback(None)
    answers.clock.advance(0)
    assert b"icws_sessions" in transport.value()
    for path, text in (("/health/live", b"OK\n"), ("/health", b"OK\n"), ("/health/ready", b"ready\n")):
        assert answers.ask(path)[1].value().endswith(text)
    assert answers.ask("/metrics", method="POST")[1].value().startswith(b"HTTP/1.1 405 ")
    assert len(answers.refreshed) == 1, "neither waits for workers"


def test_only_a_request_for_the_status_asks_workers_for_it() -> None:
    answers = Answers()
    _, status = answers.ask("/status.json")
    for path, accept in (("/", "text/html"), ("/", "*/*"), ("/metrics", "text/html"), ("/health/ready", "")):
        answers.ask(path, accept)
    assert answers.shown == [True, True, False, False]
    answers.refreshed[0].callback(None)
    answers.clock.advance(0)
    assert status.value().endswith(b'{"now":1}')


def test_one_of_the_requests_that_share_a_report_is_answered_in_a_turn() -> None:
    answers = Answers()
    transports = [answers.ask("/metrics")[1] for _ in range(5)]
    turns: Any = Turns()
    answers.site.reactor = turns
    for report in answers.refreshed:
        report.callback(None)
    for answered in range(1, 6):
        assert sum(bool(transport.value()) for transport in transports) == answered
        turns.turn()


def test_a_client_that_has_left_waits_for_no_report_and_a_fault_is_answered() -> None:
    answers = Answers()
    gone, unanswered = answers.ask("/metrics")
    gone.connectionLost(Failure(ConnectionDone()))
    cancelled: list[None] = []
    answers.refreshed[0].addCallback(cancelled.append)
    assert cancelled == [None], "the request has taken the cancellation"
    assert not unanswered.value()
    _, broken = answers.ask("/metrics")
    answers.refreshed[1].errback(RuntimeError("bug"))
    assert broken.value().startswith(b"HTTP/1.1 500 ")


def test_no_worker_of_another_version_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(info=lambda text, **fields: None, error=lambda text, **fields: lines.append(fields))
    log.warn = log.info
    monkeypatch.setattr(supervisor, "_log", log)
    world = World(tmp_path)
    world.ready()
    monkeypatch.setattr(world.service._program, "changed", lambda: "/opt/icws/session.py")
    stops: list[int] = []
    monkeypatch.setattr(world.reactor, "stop", lambda: stops.append(1), raising=False)
    world.processes[0].end()
    world.reactor.advance(FIRST_PAUSE)
    assert len(world.processes) == 2, "no worker of the new version is started"
    assert lines == [{"file": "/opt/icws/session.py"}]
    assert stops == [1], "it drains, so that clients of the other worker get a close code"
    world.processes[1].end()
    world.reactor.advance(FIRST_PAUSE)
    assert (len(lines), stops) == (1, [1]), "it is logged once"


def test_the_prometheus_endpoint_shows_workers_and_supervisor(tmp_path: Path) -> None:
    world = World(tmp_path, prometheus_endpoint="tcp:9090")
    site: Any
    ((port, site, _, _),) = world.reactor.tcpServers
    assert port == 9090
    world.ready()
    world.service.reloaded(True)
    world.service.reloaded(False)
    transport = StringTransport()
    protocol: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    protocol.makeConnection(transport)
    protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not transport.value()
    for process in world.processes:
        # without families: those of the first report are replaced
        process.report(type="report", number=1, findings=[], families=[])
    lines = transport.value().decode().splitlines()
    assert "icws_workers 2.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines), "the supervisor's own metric"
    for outcome in ("ok", "failed"):
        assert f'icws_reloads_total{{outcome="{outcome}"}} 1.0' in lines


def test_the_replica_runs_in_the_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, Any]] = []
    log = SimpleNamespace(info=lambda text, **fields: lines.append((text, fields.get("url"))))
    log.warn = log.info
    monkeypatch.setattr(supervisor, "_log", log)
    world = World(tmp_path, devnet=True, devnet_listen="tcp:4999", ic_network_url="http://127.0.0.1:4999")
    assert [server[0] for server in world.reactor.tcpServers] == [4999]
    for process in world.processes:
        orders = Orders.from_json(process.received[0])
        assert (orders.config.devnet, orders.config.ic_network_url) == (False, "http://127.0.0.1:4999")
    assert ("demo page of the embedded replica", "http://127.0.0.1:4999/") in lines
    assert ("clients connect to the gateway", "ws://127.0.0.1:8080") in lines
    world.service.services[0].stopService()


class Renewals(Service):
    """ACME without a server."""

    def concern(self) -> str:
        return "no valid TLS certificate for a.example"


@pytest.mark.parametrize("endpoint", [None, "tcp:8081"])
def test_the_supervisor_renews_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str | None
) -> None:
    renewals, site = Renewals(), object()
    given: list[Any] = []

    def make_renewals(*arguments: Any) -> Any:
        given.extend(arguments)
        return renewals, site

    monkeypatch.setattr(supervisor, "load_acme", lambda: SimpleNamespace(make_renewals=make_renewals))
    world = World(tmp_path, acme_domains=("a.example",), acme_agree_terms=True, acme_http_endpoint=endpoint)
    assert given == [world.config, world.reactor, world.service.metrics]
    assert renewals.running
    assert world.service.health.concerns() == ["no valid TLS certificate for a.example"]
    assert [server[:2] for server in world.reactor.tcpServers] == ([] if endpoint is None else [(8081, site)])
    for process in world.processes:
        assert Orders.from_json(process.received[0]).config.acme_http_endpoint is None


def test_the_numbers_of_identities_include_inherited_ones(tmp_path: Path) -> None:
    assert World(tmp_path).service.identity_numbers == [[0, 1, 2], [3, 4, 5]]
    config = GatewayConfig(data_dir=tmp_path, workers=2, identities=2, prometheus_endpoint=None)
    inheritances = [Inheritance((0,), ((0, 1),)), Inheritance((1,), ((2, 3, 4),), (4,))]
    service = make_supervisor(config, Reactor(), None, inheritances=inheritances)
    assert service.identity_numbers == [[0, 1], [2, 3, 4]]


def test_a_successor_accepts_nothing_before_it_serves(tmp_path: Path) -> None:
    reactor = Reactor()
    config = GatewayConfig(
        data_dir=tmp_path, workers=2, gateway_addresses=("tcp:8080",), prometheus_endpoint="tcp:9090"
    )
    service: Any = make_supervisor(config, reactor, None, inheritances=[Inheritance(), Inheritance((), (), (9,))])
    accepted: list[str] = []
    held, status = service.listening_services
    # the workers accept from it, and not the supervisor
    held.accepting = True
    held.accept = lambda: accepted.append("held")
    status.accept = lambda: accepted.append("status")
    service.startService()
    reactor.run()
    first = [Orders.from_json(process.received[0]) for process in reactor.spawned]
    assert [(orders.waits, orders.inherited) for orders in first] == [(True, ()), (True, (9,))]
    assert not status.accepting
    service.serve()
    assert accepted == ["status"]
    assert [process.received[-1] for process in reactor.spawned] == [b'{"do":"serve"}\n'] * 2
    reactor.spawned[0].end()
    reactor.advance(FIRST_PAUSE)
    assert not Orders.from_json(reactor.spawned[2].received[0]).waits, "a worker that starts later does not wait"


def test_workers_read_changed_lists_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ready()
    world.service._lists_changed()
    assert [process.received[-1] for process in world.processes] == [b'{"do":"access_lists"}\n'] * 2


def test_lists_at_urls_are_watched_while_it_runs(tmp_path: Path) -> None:
    service = World(tmp_path).service
    assert service._urls in list(service)
    assert service._urls.running


def test_a_successor_listens_on_the_sockets_that_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, Any]] = []

    def listening_service(address: str, site: object, *, reactor: Any, below: Any, option: str) -> Any:
        made.append((address, below))
        listener: Any = Service()
        listener.address = address
        return listener

    monkeypatch.setattr(supervisor, "listening_service", listening_service)
    config = GatewayConfig(
        data_dir=tmp_path, workers=2, gateway_addresses=("tcp:8080",), prometheus_endpoint="tcp:9090"
    )
    given: Any = {"tcp:9090": object()}
    make_supervisor(config, Reactor(), None, inheritances=[Inheritance(), Inheritance()], endpoints=given)
    assert made == [("tcp:9090", given["tcp:9090"])]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_only_a_gateway_that_serves_says_that_it_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    events: list[str] = []
    world = World(tmp_path)
    world.ready()
    monkeypatch.setattr(supervisor, "_log", SimpleNamespace(info=lambda event, **_: events.append(event)))
    world.service.served_elsewhere = elsewhere
    world.service.stopService()
    for process in world.processes:
        process.report(type="stopped_accepting")
        process.end()
    assert events[-1] == ("this process stops, another one serves" if elsewhere else "gateway stopped")


def test_its_time_is_the_reactors(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = world.service.seconds()
    world.reactor.advance(2.5)
    assert world.service.seconds() == before + 2.5


@pytest.mark.parametrize("option", ["deny_list", "allow_list"])
def test_an_invalid_list_ends_the_start(tmp_path: Path, option: str) -> None:
    path = tmp_path / "list"
    path.write_text("aaaaa-aa\n")
    options: dict[str, Any] = {option: path}
    assert World(tmp_path, **options).processes
    path.write_text("no principal!\n")
    with pytest.raises(ConfigError, match="list"):
        World(tmp_path, **options)
