"""A gateway of several processes, as its supervisor is handed over."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from icwsgw.core.written_state import Document
from icwsgw.handover.channel import Channel
from icwsgw.handover.handed_service import HandedGateway
from icwsgw.workers.workers_transfer import WorkersTransfer

if TYPE_CHECKING:
    from icwsgw.workers.supervisor import SupervisorService


class HandedSupervisor(HandedGateway):
    """Hands a supervisor and its workers over (:class:`icwsgw.handover.predecessor.HandingService`)."""

    _service: SupervisorService

    @property
    def handover_facts(self) -> Document:
        return {"supervisor": True, "workers": self._service.identity_numbers}

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
        return WorkersTransfer(self._service, channel, sockets, ready, go, done, failed)
