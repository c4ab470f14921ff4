"""The supervisor's application tree: sockets, workers, and the admin endpoints. It serves no clients.

start   binds the addresses (privileged phase), then starts the workers, which accept
stop    reports not ready; the workers stop accepting; closes the sockets; stops the rest when all workers have drained

Clients that connect while no worker is ready wait in the kernel's queue.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from icwsgw._version import __version__
from icwsgw.admin.access import Access, admin_access
from icwsgw.admin.api import Api, Replies, Upgrader
from icwsgw.admin.api_site import ApiSite
from icwsgw.admin.control import NO_OVERRIDES, ControlRequest, Overrides
from icwsgw.admin.last_answers import AnsweringSite, LastAnswers
from icwsgw.admin.prometheus_endpoint import Admin, AdminResource, AdminSite
from icwsgw.agent.http.file_client import FileClient
from icwsgw.config.addresses import normalise, private
from icwsgw.config.provenance import Provenance
from icwsgw.config.schema import GatewayConfig
from icwsgw.gateway.identities import load_or_create_key_file
from icwsgw.handover.channel import Channel
from icwsgw.handover.inheritance import Inheritance
from icwsgw.handover.successor import accept_all
from icwsgw.observe.health import Health
from icwsgw.observe.logs import get_logger, lines_lost, override_levels, pass_on, rotate_files
from icwsgw.observe.metrics import SupervisorMetrics
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.process.check_config import configured_tls, load_acme
from icwsgw.process.program_files import ProgramFiles
from icwsgw.process.reload import with_options_that_fit
from icwsgw.process.startup import stop
from icwsgw.server.access_files import read_access_list
from icwsgw.server.access_urls import AccessUrls
from icwsgw.server.endpoints import ListeningService, listening_service
from icwsgw.workers.aggregate import Aggregate, snapshot
from icwsgw.workers.gateway_status import GatewayStatus
from icwsgw.workers.orders import (
    ANSWERS_FD,
    FIRST_SOCKET_FD,
    ORDERS_FD,
    PASSAGE_FD,
    GivenSocket,
    Orders,
    config_to_json,
    worker_config,
)
from icwsgw.workers.sockets import HeldSocket
from icwsgw.workers.worker_pool import WorkerPool
from icwsgw.workers.worker_process import WorkerProcess

#: Variables that service managers set for the process that they start, which is the supervisor and not a worker.
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

_log = get_logger("workers")


class SupervisorService(MultiService):
    """The gateway as several processes.

    :param twistd: the options of twistd: log destination and reactor
    :param recent: the last warnings and errors, for the status page
    :raises ConfigError: a key, a certificate or an address is invalid
    """

    def __init__(
        self,
        config: GatewayConfig,
        reactor: Any,
        twistd: Mapping[str, Any] | None = None,
        recent: RecentWarnings | None = None,
        *,
        endpoints: Mapping[str, Any] | None = None,
        inheritances: Sequence[Inheritance] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._config = self._configured = config
        self.reactor = self._reactor = reactor
        # sockets that another process has bound, and what the workers take over from it
        self._endpoints = endpoints or {}
        self._inheritances = list(inheritances) or [Inheritance()] * config.workers
        self.served_elsewhere = bool(inheritances)
        self.listening_services: list[ListeningService] = []
        self._twistd = dict(twistd or {})
        self._stopping: Deferred[None] | None = None
        self._program = ProgramFiles.of_this_process()
        self._principal = load_or_create_key_file(config.key_path, warn=_log.warn).principal
        self._network_url = config.ic_network_url
        if config.devnet:
            from icwsgw.devnet.embedded import embedded_devnet

            self._add(embedded_devnet(config, reactor)[0])
        self.sockets = self._hold_sockets()
        self.pool = WorkerPool(reactor, self._spawn, self._orders, config.workers, pass_on)
        self._watch()
        self.status = GatewayStatus(self.pool, self.health, self._principal.text, lambda: self._config, recent=recent)
        if config.prometheus_endpoint:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(GatewayMetrics(self.pool.metrics, self._own))
            admin = Admin(registry, self.health, self.status.document, self.pool.stuck)
            site = AdminSite(admin, reactor)
            site.resource = FreshAdminResource(admin, self.pool.refresh)
            self._listen(config.prometheus_endpoint, "--prometheus-endpoint", site)
        self.overrides = NO_OVERRIDES
        self._access: Access | None = None
        if config.admin_endpoint:
            self._access = admin_access(config)
            api = ApiSite(Api(self), self._access, reactor)
            self._listen(private(config.admin_endpoint), "--admin-endpoint", api)
        if config.acme_domains:
            self._renew_certificates()

    def _renew_certificates(self) -> None:
        """Get the certificates of ``--acme-domain``; the workers look for them, and for answers to challenges."""
        config, reactor = self._config, self._reactor
        renewals, site = load_acme().make_renewals(config, reactor, self.metrics)
        self.health.add_concern(renewals.concern)
        if config.acme_http_endpoint is not None:
            self._listen(config.acme_http_endpoint, "--acme-http-endpoint", site)
        self._add(renewals)

    def _hold_sockets(self) -> list[HeldSocket]:
        config = self._config
        tls = configured_tls(config)
        sockets = [
            HeldSocket(address, self._reactor, tls, config.tls_passphrase_file, self._given(address))
            for address in config.gateway_addresses
        ]
        for held in sockets:
            self._add(held)
            self.listening_services.append(held)
        return sockets

    def _given(self, address: str) -> Any:
        return self._endpoints.get(address) or self._endpoints.get(normalise(address))

    def _listen(self, address: str, option: str, site: AnsweringSite) -> None:
        below = self._given(address)
        listener = listening_service(address, site, reactor=self._reactor, below=below, option=option)
        listener.accepting = not self.served_elsewhere
        self._add(listener)
        self._add(LastAnswers(site, self._reactor))
        self.listening_services.append(listener)

    @property
    def identity_numbers(self) -> list[list[int]]:
        """The numbers of the identities of each worker."""
        count = self._config.identities
        return [
            [*range(number * count, (number + 1) * count), *inheritance.inherited]
            for number, inheritance in enumerate(self._inheritances)
        ]

    def serve(self) -> None:
        """Serve, after a start that takes over from another process."""
        self.served_elsewhere = False
        self.pool.send({"do": "serve"})
        accept_all([listener for listener in self.listening_services if not listener.accepting])

    def _watch(self) -> None:
        self._own = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._own)
        self.metrics = SupervisorMetrics(self._own)
        self.metrics.workers.set_function(lambda: self.pool.ready)
        self.metrics.restarts.set_function(lambda: self.pool.restarts)
        self.metrics.log_lines_dropped.set_function(lines_lost)
        self.health = Health()
        self._urls = AccessUrls(self._config, self._reactor, self._lists_changed, FileClient)
        self._add(self._urls)
        self._urls.watch(self.health, self.metrics)
        self.health.add("workers", self.pool.state)
        self.health.add("maintenance", lambda: self.overrides.out_of_service)
        self.health.add("draining", lambda: "the gateway is shutting down" if self.pool.draining else None)

    def _add(self, service: Any) -> None:
        service.setServiceParent(self)

    # whether the installed program is another one than this process runs
    _outdated = False

    # running

    def startService(self) -> None:  # noqa: N802
        """Start the workers once the reactor runs."""
        super().startService()  # type: ignore[no-untyped-call]
        _log.info(
            "gateway starts",
            version=__version__,
            principal=self._principal.text,
            network=self._network_url,
            workers=self._config.workers,
            identities=self._config.workers * self._config.identities,
        )
        if self._config.devnet:
            from icwsgw.devnet.embedded import places

            for event, url in places(self._config):
                _log.info(event, url=url)
        self._reactor.callWhenRunning(self._start_workers)

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Drain the workers, then stop."""
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
        return self._stopping

    def skip_drain_window(self) -> None:
        self.pool.skip_drain_window()

    def rotate_logs(self) -> None:
        """Begin new log files, those of workers too."""
        rotate_files()
        self.pool.send({"do": "rotate_logs"})

    def reload(self, config: GatewayConfig) -> None:
        """Pass ``config`` to all present and future workers, which also reload certificates; reload the admin token."""
        if self._access is not None:
            self._access.read_again()
        self._configured = config
        self._apply()
        self._urls.look()

    def _apply(self) -> None:
        self._config = with_options_that_fit(self._configured, self.overrides.options)
        self._urls.change(self._config)
        self.pool.send({"do": "reload", "config": config_to_json(worker_config(self._config))})

    def reloaded(self, ok: bool) -> None:
        """Count a successful or failed reload of the configuration."""
        self.metrics.reloads.inc("ok" if ok else "failed")

    def _start_workers(self) -> None:
        if self._stopping is None:
            self.pool.start()

    async def _stop(self) -> None:
        stopped_accepting, ended = self.pool.drain(self._config.drain_window, self._config.longest_stop)
        # closing a listening socket shuts it down for all processes, so the workers stop accepting first
        await stopped_accepting
        await DeferredList([held.stopService() for held in self.sockets])
        await ended
        stopped: Any = super().stopService()  # type: ignore[no-untyped-call]
        await stopped
        _log.info("this process stops, another one serves" if self.served_elsewhere else "gateway stopped")

    def _lists_changed(self) -> None:
        self.pool.send({"do": "access_lists"})

    # for the admin API, see icwsgw.admin.api.AdministeredGateway

    @property
    def config(self) -> GatewayConfig:
        return self._config

    upgrader: Upgrader | None = None
    provenance: Provenance | None = None

    @property
    def configured(self) -> GatewayConfig:
        return self._configured

    @property
    def draining(self) -> bool:
        """Whether shutdown has begun."""
        return self._stopping is not None

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        return self.pool.request(request)

    def override(self, overrides: Overrides) -> Deferred[Replies]:
        """Apply the overrides to all present and future workers, and to the supervisor's log."""
        before, self.overrides = self.overrides, overrides
        if overrides.options != before.options:
            self._apply()
        override_levels(overrides.levels)
        return self.request({"what": "override", "overrides": overrides.to_json()})

    def seconds(self) -> float:
        return float(self._reactor.seconds())

    def status_document(self) -> Deferred[dict[str, Any]]:
        """Return the status document after the workers have reported, or after the time limit for reports."""
        return self.pool.refresh(True).addCallback(lambda _: self.status.document())

    def drain(self, window: float | None) -> None:
        """Begin shutdown, as SIGTERM does, with a drain window in seconds; None: each worker chooses its own."""
        self._config = replace(self._config, drain_window=window)
        stop(self._reactor)

    # workers

    def _orders(self, number: int) -> bytes:
        config = worker_config(self._config)
        orders = Orders(
            number,
            config,
            tuple(
                GivenSocket(address, held.family, FIRST_SOCKET_FD + index)
                for index, (address, held) in enumerate(zip(config.gateway_addresses, self.sockets, strict=True))
            ),
            reactor=self._twistd.get("reactor"),
            syslog=str(self._twistd.get("prefix") or "twistd") if self._twistd.get("syslog") else None,
            # the supervisor says the one for all, and the configuration has the others
            overrides=replace(self.overrides, maintenance=False, options={}),
            inherited=self._inheritances[number].inherited,
            waits=self.served_elsewhere,
        )
        return orders.to_json().encode() + b"\n"

    def _spawn(self, worker: WorkerProcess) -> Any:
        self._check_program()
        # only the supervisor writes and rotates a log file; without one, workers inherit the output streams
        through_us = self._twistd.get("logfile") not in (None, "-") or not self._twistd.get("nodaemon", True)
        streams: dict[int, int | str] = {0: 0, 1: 1, 2: 2}
        if through_us and not self._twistd.get("syslog"):
            streams = {0: 0, 1: "r", 2: "r"}
        sockets = {FIRST_SOCKET_FD + index: held.port.fileno() for index, held in enumerate(self.sockets)}
        ours, theirs = socket.socketpair()
        worker.passage = Channel(ours)
        with theirs:
            return self._reactor.spawnProcess(
                worker,
                self._program.python,
                [self._program.python, "-m", "icwsgw.workers.worker"],
                env=worker_environment(os.environ),
                childFDs={**streams, ORDERS_FD: "w", ANSWERS_FD: "r", PASSAGE_FD: theirs.fileno(), **sockets},
            )

    def _check_program(self) -> None:
        """Drain instead of starting a worker of another version; the service manager then starts the whole new version.

        :raises OSError: the program's files are not those that this process was started from
        """
        changed = self._program.changed()
        if changed is None:
            return
        if not self._outdated:
            self._outdated = True
            _log.error(
                "the installed program has changed since the start: a new worker would be of another version, so the "
                "gateway drains and stops",
                file=changed,
            )
            stop(self._reactor)
        raise OSError(errno.ESTALE, "the installed program has changed since the start")


class GatewayMetrics(Collector):
    """The metrics of the whole gateway, as a collector for a prometheus_client registry.

    :param reported: those that workers have reported
    :param own: the supervisor's
    """

    def __init__(self, reported: Aggregate, own: CollectorRegistry) -> None:
        self._reported = reported
        self._own = own

    def collect(self) -> Iterator[Metric]:
        self._reported.report("supervisor", snapshot(self._own))
        return self._reported.collect()


class FreshAdminResource(AdminResource):
    """Requests new reports from the workers before it answers; probes are answered at once from the last reports.

    :param refresh: requests the reports; its argument says whether to include the status document; fires when all
        workers have reported or the time limit has passed
    """

    def __init__(self, admin: Admin, refresh: Any) -> None:
        super().__init__(admin)
        self._refresh = refresh

    def prepare(self, request: Any) -> Deferred[None] | None:
        if request.method not in (b"GET", b"HEAD") or self.is_probe(request) or self.refuses(request):
            return None
        return maybeDeferred(self._refresh, self.shows_status(request))


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment: the supervisor's, without its private variables, and with this package's path."""
    ours = {name: value for name, value in environment.items() if name not in _OURS}
    package = str(Path(__file__).resolve().parents[2])
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, (package, ours.get("PYTHONPATH"))))
    return ours


def make_supervisor(
    config: GatewayConfig,
    reactor: Any,
    twistd: Mapping[str, Any] | None,
    recent: RecentWarnings | None = None,
    endpoints: Mapping[str, Any] | None = None,
    inheritances: Sequence[Inheritance] = (),
) -> SupervisorService:
    """Return the supervisor for the number of workers in ``config``.

    :param recent: the last warnings and errors, for the status page
    :param endpoints: sockets that another process has bound, by address
    :param inheritances: what the workers take over from that process; empty: there is none
    :raises ConfigError: a key, a certificate or an address is invalid
    """
    for path in (config.deny_list, config.allow_list):
        if path is not None:
            # only a check: each worker reads them itself
            read_access_list(path)
    return SupervisorService(config, reactor, twistd, recent, endpoints=endpoints, inheritances=inheritances)
