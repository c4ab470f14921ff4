"""Decides whether a worker accepts connections: one that is full leaves them to siblings that have room.

Workers share the listening sockets, and the kernel gives a connection to whichever accepts it first. A worker that has
its share of ``--max-connections`` therefore stops accepting while a sibling has room; the connection waits for that
sibling in the kernel's queue. If no sibling has room, the worker accepts: it evicts or refuses with a status, as a
gateway of one process does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Port(Protocol):
    """A listening port of the reactor."""

    def stopReading(self) -> None:  # noqa: N802
        """Accept no connections."""

    def startReading(self) -> None:  # noqa: N802
        """Accept connections."""


class AcceptGate:
    """Whether one process accepts connections, and its ports.

    :ivar full: the process has all connections that it may have
    :ivar room_elsewhere: another process would accept connections; False for a gateway of one process
    :ivar report: called with whether the process has room, when that changes
    """

    __slots__ = ("_ports", "full", "report", "room_elsewhere")

    def __init__(self) -> None:
        self.full = False
        self.room_elsewhere = False
        self.report: Callable[[bool], None] = lambda room: None
        self._ports: list[Port] = []

    @property
    def closed(self) -> bool:
        """Whether the process accepts no connections."""
        return self.full and self.room_elsewhere

    def add(self, port: Port) -> None:
        """Open and close the gate at this port too, which accepts."""
        if port not in self._ports:
            self._ports.append(port)
        if self.closed:
            port.stopReading()

    def remove(self, port: Port) -> None:
        """Leave a port alone from now on, because it stops listening."""
        if port in self._ports:
            self._ports.remove(port)

    def set_full(self, full: bool) -> None:
        """Take note that the process has no room any more, or has some again."""
        if full != self.full:
            self._change(full, self.room_elsewhere)
            self.report(not full)

    def set_room_elsewhere(self, room: bool) -> None:
        """Take note that a sibling has room, or that none has."""
        self._change(self.full, room)

    def _change(self, full: bool, room_elsewhere: bool) -> None:
        before = self.closed
        self.full, self.room_elsewhere = full, room_elsewhere
        if self.closed != before:
            for port in self._ports:
                if self.closed:
                    port.stopReading()
                else:
                    port.startReading()
