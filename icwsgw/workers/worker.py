"""The worker process. The supervisor starts it with ``python -m icwsgw.workers.worker``; users do not.

This module does what twistd does for a single-process gateway: log, services, reactor, signals. SIGTERM drains the
worker, because some service managers signal every process. A worker ignores SIGHUP and SIGUSR1: the supervisor handles
them and sends its workers an order. The end of the order pipe means that the supervisor has died; the worker then
drains its clients without a drain window. If that hangs, the kernel's alarm ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from icwsgw.admin.control import Overrides
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.gateway.identities import require_key_file
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.log_file import FileBounds
from icwsgw.observe.logs import change_levels, get_logger, hide_clients, make_observer, mark, rotate_files
from icwsgw.observe.metrics import CANISTERS_OF_A_WORKER
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.process.heap_trim import trim_heap
from icwsgw.process.signals import UNUSED
from icwsgw.process.startup import freeze_startup_objects, one_line
from icwsgw.reactor.clock import use_monotonic_time
from icwsgw.workers.aggregate import snapshot
from icwsgw.workers.json_lines import Lines
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD, PASSAGE_FD, Orders, config_from_json
from icwsgw.workers.passage import Passage
from icwsgw.workers.sockets import GivenEndpoint

#: Time limit for shutdown after the supervisor has died, in seconds.
ORPHAN_SECONDS = 15

_log = get_logger("workers")


class OrderHandler:
    """Executes the supervisor's orders, and answers them.

    :param service: a :class:`icwsgw.service.GatewayService`
    :param stop: begins shutdown of the process; called once
    :param answer: sends an object as one line
    """

    def __init__(self, service: Any, stop: Callable[[], None], answer: Callable[[Mapping[str, Any]], None]) -> None:
        self._service = service
        self._stop = stop
        self._answer = answer
        # clients whose acceptance the supervisor has not yet passed on to all workers
        self._announced: dict[tuple[str, str], int] = {}
        service.gateway.announce = self._accepted
        gate = service.factory.limits.gate
        # siblings that are starting will have room; the supervisor sends an order if they have none
        gate.set_room_elsewhere(True)
        gate.report = lambda room: self._answer({"type": "room", "room": room})

    def handle(self, order: Mapping[str, Any]) -> None:
        service = self._service
        what = order["do"]
        if what == "report_health":
            self._answer({"type": "health", "findings": self._findings()})
        elif what == "report":
            self._answer({"type": "report", "number": order["number"], **self.report(bool(order.get("status")))})
        elif what == "replaced":
            self._replaced(order)
        elif what == "rotate_logs":
            rotate_files()
        elif what == "access_lists":
            service.access_lists.look_at_copies()
        elif what == "siblings":
            service.factory.limits.gate.set_room_elsewhere(bool(order["room"]))
        elif what == "reload":
            config: GatewayConfig = config_from_json(order["config"])
            change_levels(parse_levels(config.log_level), parse_levels(config.log_file_level))
            service.reload(config)
        elif what == "ask":
            number = order["number"]
            self._reply(order["what"]).addCallback(
                lambda answer: self._answer({"type": "answer", "number": number, "answer": answer})
            )
        elif what == "drain":
            service.drain_over(order["window"])
            self._stop()
        elif what == "hurry":
            service.skip_drain_window()

    def report(self, status: bool = True) -> dict[str, Any]:
        """Return the health findings and metrics of this worker.

        :param status: whether to include the status document
        """
        return {
            **({"status": self._service.status.document()} if status else {}),
            "findings": self._findings(),
            "families": snapshot(self._service.metrics.registry),
        }

    def _findings(self) -> list[list[Any]]:
        return [list(finding) for finding in self._service.health.findings()]

    def _reply(self, what: Mapping[str, Any]) -> Deferred[dict[str, Any] | None]:
        if what.get("what") == "override":
            # a handover carries them; maintenance and options are the supervisor's
            overrides = Overrides.from_json(what["overrides"])
            self._service.overrides = replace(overrides, maintenance=False, options={})

        def failed(failure: Failure) -> None:
            _log.failure("answering the supervisor failed", failure=failure, what=what.get("what"))

        reply: Deferred[dict[str, Any] | None] = maybeDeferred(self._service.control.reply, what)
        return reply.addErrback(failed)

    def _accepted(self, canister: bytes, sender: bytes, at_ns: int, left: bool) -> None:
        key = canister.hex(), sender.hex()
        self._announced[key] = self._announced.get(key, 0) + 1
        self._answer({"type": "accepted", "canister": key[0], "sender": key[1], "at": at_ns, "left": left})

    def _replaced(self, order: Mapping[str, Any]) -> None:
        """Handle a client that a canister has accepted, here (``own``) or in another worker, or one that has ``left``.

        The canister's times may not show which of two connections is older. The supervisor therefore sends all
        acceptances to all workers in one order. If another worker's acceptance arrives before this worker's has come
        back, the other worker's is older.
        """
        key = canister, sender = order["canister"], order["sender"]
        if order["own"]:
            left = self._announced.pop(key, 1) - 1
            if left:
                self._announced[key] = left
        else:
            later = key not in self._announced
            gateway = self._service.gateway
            report = gateway.left_elsewhere if order["left"] else gateway.replaced_elsewhere
            report(bytes.fromhex(canister), bytes.fromhex(sender), order["at"], later)


class NotOrders(ValueError):
    """The first line is not a worker's start parameters: the program was not started by a supervisor."""


def read_orders(descriptor: int) -> tuple[Orders, bytes]:
    """Read the first line; return it with the bytes received after it.

    :raises EOFError: the supervisor has ended
    :raises NotOrders: the line is not from a supervisor
    """
    data = b""
    while b"\n" not in data:
        more = os.read(descriptor, 1 << 16)
        if not more:
            raise EOFError
        data += more
    line, _, rest = data.partition(b"\n")
    try:
        return Orders.from_json(line), rest
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotOrders(str(error)) from None


def main() -> None:
    """Run a worker process until the supervisor or a signal stops it."""
    for number in (signal.SIGHUP, signal.SIGUSR1, *UNUSED):
        # some service managers signal every process; what concerns workers comes as an order
        signal.signal(number, signal.SIG_IGN)
    try:
        orders, rest = read_orders(ORDERS_FD)
    except (EOFError, NotOrders):
        raise SystemExit("twistd icws: a worker is started by the gateway itself, see --workers") from None
    except OSError as error:
        raise SystemExit(f"twistd icws: not started as a worker: {error.strerror}") from None
    try:
        run(orders, rest)
    except ConfigError as error:
        raise SystemExit(one_line(error)) from None


def run(orders: Orders, rest: bytes = b"") -> None:
    """Run the gateway with these start parameters, until it has been drained.

    :param rest: the bytes that were already read from the order pipe after the first line
    :raises ConfigError: a file that the configuration names is invalid
    """
    if orders.reactor:
        from twisted.application.reactors import installReactor

        installReactor(orders.reactor)
    from twisted.internet import reactor as installed

    from icwsgw.service import GatewayService

    reactor: Any = installed
    use_monotonic_time(reactor)
    config = orders.config
    recent = _begin_log(orders)
    # the supervisor has made it
    require_key_file(config.key_path)
    endpoints = {given.address: GivenEndpoint(reactor, given.descriptor, given.family) for given in orders.sockets}
    service: Any = GatewayService(
        config,
        reactor,
        first_identity=orders.first_identity,
        inherited=orders.inherited,
        endpoints=endpoints,
        recent=recent,
        fetch_lists=False,
    )
    service.metrics.canisters.keep = CANISTERS_OF_A_WORKER
    link = Link(reactor, service)
    if orders.waits:
        link.passage.wait()
    service.override(orders.overrides)
    _handle_signals(reactor, link)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", link.end)
    link.begin(rest)
    freeze_startup_objects(reactor)
    trim_heap(reactor)
    reactor.run()


def _begin_log(orders: Orders) -> RecentWarnings:
    config = orders.config
    mark(worker=orders.worker)
    observer: Any = make_observer(
        parse_levels(config.log_level),
        config.log_format,
        file_levels=parse_levels(config.log_file_level),
        traces=config.data_dir / "traces",
        bounds=FileBounds(config.log_file_bytes, config.log_file_count),
        twistd={} if orders.syslog is None else {"syslog": True, "prefix": orders.syslog},
    )
    hide_clients(config.log_clients)
    recent = RecentWarnings().listen()
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return recent


class Link:
    """The pipes to the supervisor, the socket for handovers, and the worker's shutdown."""

    def __init__(self, reactor: Any, service: Any) -> None:
        self._reactor = reactor
        self._service = service
        self._lines = Lines(self._order, self._orphaned)
        self._order_handler = OrderHandler(service, self.stop, self._lines.send)
        self.passage = Passage(service, PASSAGE_FD, self._lines.send, self.stop)
        self._stopping = False

    def begin(self, rest: bytes) -> None:
        """Start to read orders, and report that the worker is ready."""
        self._lines.open(self._reactor, ORDERS_FD, ANSWERS_FD)
        self._lines.send({"type": "ready"})
        self._lines.send({"type": "report", "number": 0, **self._order_handler.report()})
        self.passage.begin()
        self._lines.dataReceived(rest)

    def stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            try:
                self._reactor.stop()
            except ReactorNotRunning:
                pass

    def signalled(self) -> None:
        """Begin shutdown at the first signal; skip the drain window at the next."""
        if self._stopping:
            self._service.skip_drain_window()
        self.stop()

    def end(self) -> Any:
        """Drain, and send a last report; fires when that has been written."""
        self._stopping = True
        stopped = self._service.stopService()
        self._lines.send({"type": "stopped_accepting"})
        stopped.addCallback(lambda _: self._lines.send({"type": "report", "number": 0, **self._order_handler.report()}))
        return stopped.addCallback(lambda _: self._lines.close())

    def _order(self, order: Mapping[str, Any]) -> None:
        try:
            if order["do"] == "serve":
                self.passage.serve()
                return
            self._order_handler.handle(order)
        except Exception:
            _log.failure("executing an order of the supervisor failed", order=order.get("do"))

    def _orphaned(self) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(ORPHAN_SECONDS)
        _log.error("the supervisor has ended, stopping this worker")
        self.stop()
        self._service.skip_drain_window()


def _handle_signals(reactor: Any, link: Link) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(link.signalled)

    def install() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)

    reactor.callWhenRunning(install)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry]
    main()
