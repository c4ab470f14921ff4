"""A gateway of several processes, as its supervisor is handed over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from icwsgw.core.written_state import Document
from icwsgw.handover.channel import Channel
from icwsgw.workers.workers_transfer import WorkersTransfer

if TYPE_CHECKING:
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.server.endpoints import ListeningService
    from icwsgw.workers.supervisor import SupervisorService


class HandedSupervisor:
    """Hands a supervisor and its workers over (:class:`icwsgw.handover.predecessor.HandingService`)."""

    def __init__(self, supervisor: SupervisorService) -> None:
        self._supervisor = supervisor

    @property
    def reactor(self) -> Any:
        return self._supervisor.reactor

    @property
    def config(self) -> GatewayConfig:
        return self._supervisor.config

    @property
    def draining(self) -> bool:
        return self._supervisor.draining

    @property
    def listening_services(self) -> Sequence[ListeningService]:
        return self._supervisor.listening_services

    @property
    def handover_facts(self) -> Document:
        return {"supervisor": True, "workers": self._supervisor.identity_numbers}

    def transfer(
        self,
        channel: Channel,
        ends: list[int],
        ready: Document,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> WorkersTransfer:
        """Make the transfer to a process that is ready."""
        sockets = [socket.socket(fileno=end) for end in ends]
        return WorkersTransfer(self._supervisor, channel, sockets, ready, go, done, failed)
