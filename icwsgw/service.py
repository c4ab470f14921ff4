"""The application tree: makes all parts from the configuration, and starts and stops them in order.

start   binds the ports first (privileged phase), so that a port in use ends startup before anything else runs;
        then the agent contacts the network, and the gateway serves clients
stop    /ready answers 503 and accepting ends; clients are drained, and their canisters receive close notices;
        connections get time for the closing handshake; then the agent, its connections and other listeners stop
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThreadPool

from icwsgw._version import __version__
from icwsgw.admin.access import Access, admin_access
from icwsgw.admin.api import Api, Replies, Upgrader
from icwsgw.admin.api_site import ApiSite
from icwsgw.admin.control import NO_OVERRIDES, Control, ControlRequest, Overrides
from icwsgw.admin.last_answers import AnsweringSite, LastAnswers
from icwsgw.admin.prometheus_endpoint import Admin, AdminSite
from icwsgw.admin.status import Status
from icwsgw.agent.http.file_client import FileClient
from icwsgw.config.access_list import AccessRules
from icwsgw.config.addresses import normalise, private
from icwsgw.config.provenance import Provenance
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.identities import IdentityPool, load_or_create_key_file
from icwsgw.gateway.interfaces import Context
from icwsgw.network_access import NetworkAccess
from icwsgw.observe.collector import parse_collector, trace_level
from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.health import Health
from icwsgw.observe.logs import get_logger, lines_lost, lines_written, rotate_files
from icwsgw.observe.metrics import Metrics
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.observe.tracing_extra import load_tracing
from icwsgw.process.check_config import UNUSED_CERTIFICATE, configured_tls, load_acme
from icwsgw.process.reload import with_options_that_fit
from icwsgw.process.rlimits import make_room
from icwsgw.process.startup import stop
from icwsgw.reactor import epoll_turn
from icwsgw.server.access_lists import AccessLists
from icwsgw.server.endpoints import ListeningService, listening_service
from icwsgw.server.factory import GatewayFactory
from icwsgw.server.served_certificates import ServedCertificates
from icwsgw.server.tls import Tls

_log = get_logger("service")

#: Time limit of the closing handshake when the drain window is skipped, in seconds.
HURRIED_CLOSE = 1.0


class GatewayService(MultiService):
    """The whole gateway.

    :param first_identity: the number of the first of its ``config.identities`` identities
    :param inherited: the numbers of further identities, whose clients are taken over from another process
    :param endpoints: sockets that another process has bound, by their gateway address in ``config``
    :param recent: the last warnings and errors, for the status page
    :param fetch_lists: fetch access lists from their URLs, which the supervisor does for its workers
    :raises ConfigError: a key, a certificate or an address is invalid
    :ivar gateway: the clients and canisters
    :ivar status: builds the status document
    :ivar network: the access to the network; ``agent`` and ``network_monitor`` are its parts
    :ivar control: answers the requests of the admin API
    :ivar overrides: the settings that the admin API has changed
    :ivar listening_services: everything that listens: for clients, metrics and the admin API
    :ivar identity_numbers: the numbers of its identities
    :ivar upgrader: hands over to a new process; None: this process cannot
    :ivar provenance: where the values of options come from; None: unknown
    """

    provenance: Provenance | None = None

    def __init__(
        self,
        config: GatewayConfig,
        reactor: Any,
        *,
        first_identity: int = 0,
        inherited: Sequence[int] = (),
        endpoints: Mapping[str, Any] | None = None,
        recent: RecentWarnings | None = None,
        fetch_lists: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._configured = config
        self._room, self._wanted_connections = make_room(config.max_connections), config.max_connections
        config = self._config = replace(config, max_connections=self._room.connections)
        self.reactor = reactor
        self._listeners, self.listening_services = list[ListeningService](), list[ListeningService]()
        self._certificates = ServedCertificates(self._listeners)
        self.upgrader: Upgrader | None = None
        self._stopping: Deferred[None] | None = None
        self._hurried = False
        self._dropping: Any = None
        self.metrics, self.health = Metrics(), Health()
        self.identity_numbers = [*range(first_identity, first_identity + config.identities), *inherited]
        key = load_or_create_key_file(config.key_path, warn=_log.warn)
        self.identities = IdentityPool.derived(key, self.identity_numbers)
        if config.devnet:
            self._add_devnet()
        self.network = NetworkAccess(config, reactor, self._room.network)
        self.agent, self.network_monitor = self.network.agent, self.network.monitor
        self._make_tracing()
        self.gateway = Gateway(self._make_context(), IdentityAssignment(config.identities, inherited=len(inherited)))
        self.control, self.overrides = Control(self.gateway), NO_OVERRIDES
        self._access: Access | None = None
        self.factory = GatewayFactory(self.gateway, self._room.refused)
        self._make_status(recent, first_identity)
        self.access_lists = AccessLists(config, reactor, self._restrict, FileClient if fetch_lists else None)
        self._add(self.access_lists)
        self._add_listeners(endpoints or {})
        self._watch()

    # construction

    def _add_devnet(self) -> None:
        # imported here to save memory: the devnet is a tenth of the program
        from icwsgw.devnet.embedded import embedded_devnet

        service, self.replica = embedded_devnet(self._config, self.reactor)
        self._add(service)

    def _make_context(self) -> Context:
        config = self._config
        return Context(
            clock=self.reactor,
            network=self.agent,
            identities=tuple(self.identities),
            config=config,
            metrics=self.metrics,
            now_ns=time.time_ns,
            jitter=random.random,
            budget=self.network.budget,
            in_flight_limits=self.network.in_flight_limits,
            delegations=self.agent.delegations,
            readable=self.agent.readable,
            tracing=self._tracing,
        )

    def _make_tracing(self) -> None:
        config = self._config
        self._tracing: Any = self.replica.traffic if config.devnet else None
        self._export: Any = None
        if config.exports_traces:
            self._tracing = load_tracing().Tracing(
                self.identities.primary.principal.text,
                ratio=config.trace_sampling,
                level=trace_level(config.trace_level),
                idle_polls=config.trace_idle_polls,
            )

    def _make_status(self, recent: RecentWarnings | None, first_identity: int) -> None:
        self._lag = EventLoopLag(self.metrics.event_loop_lag, self.reactor)
        self.status = Status(
            self.gateway,
            self.health,
            self._lag,
            recent=recent,
            connections=lambda: len(self.factory.connections),
            identity_numbers=self.identity_numbers,
            worker=first_identity // self._config.identities,
        )

    def _add_listeners(self, endpoints: Mapping[str, Any]) -> None:
        config, metrics, reactor = self._config, self.metrics, self.reactor
        self._restrict(self.access_lists.rules)
        observe = metrics.tls_resolution_time.observe
        tls: Tls | None = configured_tls(config, observe_handshake=observe)
        if config.prometheus_endpoint:
            admin = Admin(metrics.registry, self.health, self.status.document)
            self._listen(config.prometheus_endpoint, "--prometheus-endpoint", AdminSite(admin, reactor), endpoints)
        if config.admin_endpoint:
            self._access = admin_access(config)
            site = ApiSite(Api(self), self._access, reactor)
            self._listen(private(config.admin_endpoint), "--admin-endpoint", site, endpoints)
        for address in config.gateway_addresses:
            listener = listening_service(
                address,
                self.factory,
                reactor=reactor,
                tls=tls,
                observe_handshake=observe,
                passphrase=config.tls_passphrase_file,
                below=endpoints.get(address) or endpoints.get(normalise(address)),
                limits=self.factory.limits,
                option="--gateway-address",
            )
            self._add(listener)
            self._listeners.append(listener)
            self.listening_services.append(listener)
        self.control.certificates = self._certificates.rows
        if tls is not None and tls not in self._certificates.sources():
            _log.warn(UNUSED_CERTIFICATE)

    def _listen(self, address: str, option: str, site: AnsweringSite, endpoints: Mapping[str, Any]) -> None:
        """Listen for operators, without TLS."""
        below = endpoints.get(normalise(address))
        listener = listening_service(address, site, reactor=self.reactor, below=below, option=option)
        self._add(listener)
        self._add(LastAnswers(site, self.reactor))
        self.listening_services.append(listener)

    def renew_certificates(self, endpoints: Mapping[str, Any]) -> None:
        """Get the certificates of ``--acme-domain``, in this process.

        :param endpoints: as of the constructor
        :raises ConfigError: a file or the address for HTTP-01 is invalid
        """
        config = self._config
        renewals, site = load_acme().make_renewals(
            config, self.reactor, self.metrics, self._certificates.reload_if_changed
        )
        self.health.add_concern(renewals.concern)
        if config.acme_http_endpoint is not None:
            self._listen(config.acme_http_endpoint, "--acme-http-endpoint", site, endpoints)
        self._add(renewals)

    def _watch(self) -> None:
        metrics = self.metrics
        metrics.tls_certificate_expiry.set_function(self._certificates.expiry)
        metrics.tls_certificates.set_function(self._certificates.renewals)
        metrics.tls_reloads.set_function(self._certificates.reloads)
        metrics.log_lines.set_function(lambda: lines_written.values)
        metrics.log_lines_dropped.set_function(
            lambda: {"repeated": self.gateway.context.log_limiter.left_out, **lines_lost()}
        )
        self.network.watch(metrics, self.health, lambda: self._config)
        self.health.add("draining", lambda: "the gateway is shutting down" if self.gateway.draining else None)
        self.health.add("listening", self._listening)
        self.access_lists.watch(self.health, metrics)
        self.health.add("maintenance", lambda: self.overrides.out_of_service)

    def _add(self, service: Any) -> None:
        service.setServiceParent(self)

    def _listening(self) -> str | None:
        not_listening = [listener.address for listener in self._listeners if listener.port is None]
        return f"not listening on {', '.join(not_listening)}" if not_listening else None

    # running

    def startService(self) -> None:  # noqa: N802
        super().startService()  # type: ignore[no-untyped-call]
        epoll_turn.install(self.reactor, self.factory.low_priority)
        _log.info(
            "gateway starts",
            version=__version__,
            principal=self.identities.primary.principal.text,
            network=self.network.url,
            identities=len(self.identities),
            polling_interval_ms=round(self._config.polling_interval * 1000),
        )
        if self._config.exports_traces:
            self._start_export()
        self.network.start()
        self.gateway.start()
        self.factory.start()
        self._lag.start()
        self.status.start()
        room = self._room
        if room.connections < self._wanted_connections:
            _log.info(
                "connection limit lowered: too few open files allowed",
                clients=room.connections,
                max_connections=self._wanted_connections,
                files=room.files,
            )
        if self._config.devnet:
            from icwsgw.devnet.embedded import places

            for event, url in places(self._config):
                _log.info(event, url=url)

    def _start_export(self) -> None:
        endpoint = self._config.opentelemetry_collector_endpoint
        assert endpoint is not None
        self._export = load_tracing().Export(self._tracing, parse_collector(endpoint), self.reactor.callFromThread)
        _log.info("traces are exported", collector=endpoint, sampling=self._config.trace_sampling)

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Drain, then stop all parts."""
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
            self._stopping.addErrback(lambda failure: _log.failure("stopping failed", failure))
        return self._stopping

    def skip_drain_window(self) -> None:
        """Close clients at once and shorten the closing handshake, in a shutdown that has begun or will begin."""
        self._hurried = True
        self.gateway.skip_drain_window()
        if self._dropping is not None and self._dropping.active():
            self._dropping.reset(HURRIED_CLOSE)

    def rotate_logs(self) -> None:
        """Begin new log files."""
        rotate_files()

    def reload(self, config: GatewayConfig) -> None:
        """Apply what a running gateway can take of ``config``; reload the admin token and certificates."""
        if self._access is not None:
            self._access.read_again()
        self._configured = config
        self._apply(self._with_overrides())
        self.access_lists.look()
        self._certificates.reload_if_changed()

    def _restrict(self, rules: AccessRules) -> None:
        self.gateway.restrict(rules)
        self.factory.restrict(rules)

    def _with_overrides(self) -> GatewayConfig:
        return with_options_that_fit(self._configured, self.overrides.options)

    def _apply(self, config: GatewayConfig) -> None:
        self._room, self._wanted_connections = make_room(config.max_connections), config.max_connections
        config = self._config = replace(config, max_connections=self._room.connections)
        self.gateway.context.change(config)
        self.network.change(config)
        self.gateway.serve(config)
        self.factory.change(config)
        self.access_lists.change(config)

    def reloaded(self, ok: bool) -> None:
        """Count a successful or failed reload of the configuration."""
        self.metrics.reloads.inc("ok" if ok else "failed")

    # for the admin API, see icwsgw.admin.api.AdministeredGateway

    @property
    def config(self) -> GatewayConfig:
        return self._config

    @property
    def configured(self) -> GatewayConfig:
        return self._configured

    @property
    def draining(self) -> bool:
        """Whether shutdown has begun."""
        return self._stopping is not None

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        """Answer a request; there is only this process."""
        return self.control.reply(request).addCallback(lambda answer: Replies({0: answer}, []))

    def override(self, overrides: Overrides) -> Deferred[Replies]:
        before, self.overrides = self.overrides, overrides
        if overrides.options != before.options:
            self._apply(self._with_overrides())
        return self.request({"what": "override", "overrides": overrides.to_json()})

    def seconds(self) -> float:
        return float(self.reactor.seconds())

    def status_document(self) -> Deferred[dict[str, Any]]:
        """Return the status document."""
        return succeed(self.status.document())

    def drain_over(self, window: float | None) -> None:
        """Set the drain window of the next shutdown, in seconds; None: the gateway chooses it."""
        self._config = replace(self._config, drain_window=window)

    def drain(self, window: float | None) -> None:
        """Begin shutdown, as SIGTERM does, with a drain window in seconds; None: the gateway chooses it."""
        self.drain_over(window)
        stop(self.reactor)

    # shutdown

    async def _stop(self) -> None:
        await DeferredList([listener.stopService() for listener in self._listeners])
        drained = self.gateway.drain(self._config.drain_window)
        if self._hurried:
            self.gateway.skip_drain_window()
        await drained
        await self._connections_end()
        self.factory.stop()
        self.gateway.stop()
        self.status.stop()
        self._lag.stop()
        await self.network.stop()
        await cast(Any, super()).stopService()
        if self._export is not None:
            await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), self._export.close)
        _log.info("this process stops, another one serves" if self.gateway.served_elsewhere else "gateway stopped")

    async def _connections_end(self) -> None:
        """Wait for the closing handshakes, for a limited time; then abort the remaining connections."""
        empty = self.factory.when_empty()
        timeout = HURRIED_CLOSE if self._hurried else min(self._config.close_timeout, 5.0)
        self._dropping = self.reactor.callLater(timeout, self.factory.abort_all)
        await empty
        if self._dropping.active():
            self._dropping.cancel()


def make_gateway_service(
    config: GatewayConfig,
    reactor: Any,
    recent: RecentWarnings | None = None,
    endpoints: Mapping[str, Any] | None = None,
    inherited: Sequence[int] = (),
) -> GatewayService:
    """Return the gateway for ``config``.

    :param recent: the last warnings and errors, for the status page
    :param endpoints: sockets that another process has bound, by address
    :param inherited: the numbers of further identities, whose clients are taken over from another process
    :raises ConfigError: a key, a certificate or an address is invalid
    """
    service = GatewayService(config, reactor, inherited=inherited, endpoints=endpoints, recent=recent)
    if config.acme_domains:
        service.renew_certificates(endpoints or {})
    return service
