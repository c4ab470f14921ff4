"""The service of one process, as it is handed over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from icwsgw.core.written_state import Document
from icwsgw.handover.channel import Channel
from icwsgw.handover.conversation import Conversation
from icwsgw.handover.early_messages import send_early_overrides
from icwsgw.handover.transfer import Transfer, send_go

if TYPE_CHECKING:
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.server.endpoints import ListeningService
    from icwsgw.service import GatewayService


class WrappedService(Protocol):
    """What both kinds of services have that can be handed over."""

    @property
    def reactor(self) -> Any: ...

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def draining(self) -> bool: ...

    @property
    def listening_services(self) -> Sequence[ListeningService]: ...


class HandedGateway:
    """A service of one process, or the supervisor of several, as it is handed over.

    A part of :class:`icwsgw.handover.predecessor.HandingService`.
    """

    def __init__(self, service: WrappedService) -> None:
        self._service = service

    @property
    def reactor(self) -> Any:
        return self._service.reactor

    @property
    def config(self) -> GatewayConfig:
        return self._service.config

    @property
    def draining(self) -> bool:
        return self._service.draining

    @property
    def listening_services(self) -> Sequence[ListeningService]:
        return self._service.listening_services


class HandedService(HandedGateway):
    """Hands a service of one process over as a whole (:class:`icwsgw.handover.predecessor.HandingService`)."""

    _service: GatewayService

    @property
    def handover_facts(self) -> Document:
        return {"workers": [self._service.identity_numbers]}

    def transfer(
        self,
        channel: Channel,
        ends: list[int],
        ready: Document,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> Transfer | PassedTransfer:
        """Make the transfer to a process that is ready."""
        if not ends:
            return Transfer(self._service, channel, go, done, failed)
        return PassedTransfer(self._service, channel, Channel(socket.socket(fileno=ends[0])), go, done, failed)


class PassedTransfer:
    """A transfer to a worker of the successor, which is a supervisor.

    :param channel: to the supervisor
    :param worker: to the worker
    """

    def __init__(
        self,
        service: GatewayService,
        channel: Channel,
        worker: Channel,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> None:
        self._service = service
        self._channel = channel
        self._go = go
        self._done = done
        self._failed = failed
        transfer = self._transfer = Transfer(service, worker, dict, self._over, self._has_failed)
        self._conversation = Conversation(
            service.reactor,
            worker,
            lambda document, _: transfer.received(document),
            lambda reason: transfer.fail(reason or "the new process has ended"),
        )

    def begin(self, early: bool) -> None:
        """Begin."""
        send_early_overrides(self._channel, self._service.overrides.to_json())
        self._conversation.begin()
        self._transfer.begin(early)

    def received(self, document: Document) -> None:
        """The supervisor has said something."""
        if "failed" in document:
            self.fail(str(document["failed"]))

    def pass_on(self, request: str) -> None:
        """A reload or new log files were asked for: the supervisor receives it at the end, before its worker serves."""

    def fail(self, reason: str) -> None:
        """Give up."""
        self._transfer.fail(reason)

    def _over(self, result: Document) -> None:
        self._conversation.close()
        send_go(self._channel, lambda: {**self._go(), "overrides": self._service.overrides.to_json()})
        self._done(result)

    def _has_failed(self, reason: str) -> None:
        self._conversation.close()
        self._failed(reason)
