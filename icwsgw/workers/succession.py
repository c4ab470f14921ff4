"""A supervisor that takes over: its workers get the clients of the former supervisor's workers, or of one process.

It starts its workers, which accept no connection, and waits until all have reached the network. Then it makes a socket
for each process that hands over, and passes its other end to the worker that gets its clients: the one of the same
number, or if there are fewer workers, one of the first. A worker continues with the identities of the clients that it
gets, beside its own, and gives them to no new client (:class:`icwsgw.core.identity_assignment.IdentityAssignment`).

See :mod:`icwsgw.workers.workers_transfer` for the order of messages.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.carried_overrides import take_overrides
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.conversation import Conversation
from icwsgw.handover.early_messages import read_early
from icwsgw.handover.inheritance import Inheritance
from icwsgw.handover.service_state import EARLY
from icwsgw.handover.successor import NO_OVERRIDES_TAKEN
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate
from icwsgw.process.startup import stop
from icwsgw.workers.workers_transfer import send_accepted

if TYPE_CHECKING:
    from icwsgw.workers.supervisor import SupervisorService
    from icwsgw.workers.worker_process import WorkerProcess

#: Seconds between two looks whether all workers are ready, and between two messages to the other process.
LOOK_SECONDS, REPORT_SECONDS = 0.1, 1.0
#: Health checks since the last answer of a worker that takes over, from which on it hangs: three minutes. It does
#: nothing else while the processes send connections early, 20 s and more, and one may wait two minutes for another.
HANGS_TAKING_OVER = 120

_log = get_logger("handover")
_NOT_TAKEN = "a part of the former process's state is not taken over"


class Succession:
    """One handover.

    :param channel: to the process that hands over
    :param inheritances: what each worker takes over
    :param began: called when this process serves, with the last message of the other; no ``go``: it crashed
    :param reload: reads the configuration again: SIGHUP
    """

    hangs = HANGS_TAKING_OVER

    def __init__(
        self,
        supervisor: SupervisorService,
        channel: Channel,
        inheritances: Sequence[Inheritance],
        began: Callable[[Document], None],
        reload: Callable[[], object] = bool,
    ) -> None:
        self._supervisor = supervisor
        self._pool = supervisor.pool
        self._reactor = supervisor.reactor
        self._inheritances = inheritances
        self._began = began
        self._reload = reload
        self._conversation = Conversation(self._reactor, channel, self._received, self._ended)
        self._loop = LoopingCall(self._look)
        self._loop.clock = cast(Any, self._reactor)
        self._reported_at = -REPORT_SECONDS
        self._connections: int | None = None
        # for the case that it dies before it sends "go"
        self._early: Document = {}
        self._over = False

    def prepare(self) -> None:
        """Take over when the workers are ready."""
        self._pool.handover = self
        self._reactor.callWhenRunning(self._loop.start, LOOK_SECONDS)

    def _look(self) -> None:
        waits_for = self._waits_for()
        now = self._reactor.seconds()
        channel = self._conversation.channel
        try:
            if waits_for is None:
                self._loop.stop()
                self._begin(channel)
            elif now - self._reported_at >= REPORT_SECONDS:
                self._reported_at = now
                channel.send({"at": waits_for})
        except ChannelClosed as error:
            self._give_up(str(error))

    def _waits_for(self) -> str | None:
        for number in range(self._pool.count):
            worker = self._pool.workers.get(number)
            reason = "its start" if worker is None or not worker.ready else worker.waits_for
            if reason is not None:
                return f"worker {number} ({reason})"
        return None

    def _begin(self, channel: Channel) -> None:
        """Let the other process begin."""
        ends: dict[int, socket.socket] = {}
        for number, inheritance in enumerate(self._inheritances):
            if not inheritance.sources:
                continue
            worker = self._pool.workers[number]
            pairs = [socket.socketpair() for _ in inheritance.sources]
            ends.update(zip(inheritance.sources, (ours for ours, _ in pairs), strict=True))
            worker.busy = True
            assert worker.passage is not None
            worker.passage.send(
                {"take_over": inheritance.identities, "sockets": len(pairs)}, [theirs.fileno() for _, theirs in pairs]
            )
            for _, theirs in pairs:
                theirs.close()
        groups = [inheritance.sources for inheritance in self._inheritances if inheritance.sources]
        given = [ends[number] for number in sorted(ends)]
        channel.send(
            {"ready": __version__, EARLY: True, "groups": groups, "sockets": len(given)},
            [end.fileno() for end in given],
        )
        for end in given:
            end.close()
        self._conversation.begin()

    # the process that hands over

    def _received(self, document: Document, ends: list[int]) -> None:
        if "accepted" in document:
            self._pool.send({**document["accepted"], "own": False})
        elif "go" in document:
            self._serve(document)
        else:
            self._received_early(document, ends)

    def _received_early(self, document: Document, ends: list[int]) -> None:
        """Apply at once what is received in advance: the first workers serve long before the last ones."""
        try:
            received = read_early(document, ends)
        except FormatError as error:
            _log.error(NO_OVERRIDES_TAKEN, reason=error)
            return
        self._early |= received
        if overrides := received.get("overrides"):
            tolerate(_log, NO_OVERRIDES_TAKEN, lambda: take_overrides(self._supervisor, overrides))
        if received.get("reload"):
            tolerate(_log, "reloading failed", self._reload)
        if received.get("rotate"):
            tolerate(_log, "beginning new log files failed", self._supervisor.rotate_logs)

    def _ended(self, reason: str | None) -> None:
        if self._connections is None:
            self._give_up(reason or "the other process has ended")
        else:
            # It has crashed, or could not send that it is done: the clients that have come are here.
            self._serve(self._early)

    def _serve(self, go: Mapping[str, Any]) -> None:
        if self._over:
            return
        self._over = True
        pool, supervisor = self._pool, self._supervisor
        pool.handover = None
        for worker in pool.workers.values():
            # one that is busy still has to serve what it has taken, and could not answer for as long as it waited
            worker.unanswered = 0
        # The workers have the clients: this process serves, whatever fails.
        for failed, act in (
            ("closing the conversation failed", self._conversation.close),
            ("beginning to serve failed", supervisor.serve),
            ("reporting that this process serves failed", lambda: self._began(dict(go))),
            (_NOT_TAKEN, lambda: pool.metrics.continue_from(go.get("metrics", ()))),
            (_NOT_TAKEN, lambda: pool.statuses.continue_from(go.get("status", {}))),
        ):
            tolerate(_log, failed, act)
        if overrides := go.get("overrides"):
            tolerate(_log, NO_OVERRIDES_TAKEN, lambda: take_overrides(supervisor, overrides))
        _log.info("taken over", workers=pool.count, connections=self._connections or 0)

    def _give_up(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        if self._loop.running:
            self._loop.stop()
        _log.error("nothing is taken over, this process ends", reason=reason)
        self._conversation.close()
        for worker in self._pool.workers.values():
            # it has no clients
            worker.kill()
        for listener in self._supervisor.listening_services:
            # a stop would end it for the other process
            listener.detach()
        stop(self._reactor)

    # the pool

    def reported(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """A worker reports on its handover."""
        worker.busy = False
        if answer["type"] == "taken_over":
            self._connections = (self._connections or 0) + answer["connections"]
        else:
            _log.error("worker has not taken over", number=worker.number, reason=answer.get("reason"))

    def ended(self, worker: WorkerProcess) -> bool:
        """The process of a worker has ended; before anything is taken over, that ends the handover."""
        if self._connections is not None:
            return False
        reason = f"worker {worker.number} has ended; its output says why"
        try:
            self._conversation.channel.send({"failed": reason})
        except ChannelClosed:
            pass
        self._give_up(reason)
        return True

    def accepted(self, order: Mapping[str, Any]) -> None:
        """Tell the other process's workers which client a canister has accepted."""
        send_accepted(self._conversation.channel, order)
