"""Slows down addresses that send forged ``ws_open`` calls, by admitting their connections one by one at a rate.

A connection costs much more than the check that refuses its ``ws_open``, and many clients may share an address (NAT).
So no address is banned. Once an address has sent several wrong signatures, its connections wait before their handshake,
in the order of their arrival, and a number of them is admitted each second. It is free again when it has sent no wrong
signature for a while. Other addresses never wait.

Times are in seconds of one clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from icwsgw.core.written_state import Document, Written

W = TypeVar("W", bound=Hashable)

#: Wrong signatures after which an address is suspect, and seconds for which each counts.
FORGED, MEMORY = 5, 10.0
#: Connections of a suspect address that are admitted each second.
RATE = 50.0
#: Maximum number of addresses in the table; then the one that has been quiet for longest is dropped.
MOST = 4096


class _Suspect(Written, Generic[W]):
    __slots__ = ("count", "last", "line", "next")
    WRITTEN = {"count": int, "last": float, "next": float}

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        self.next = 0.0
        self.line: OrderedDict[W, None] = OrderedDict()

    def forgotten(self, now: float) -> bool:
        return now - self.last > MEMORY

    def slow(self, now: float) -> bool:
        return self.count >= FORGED and not self.forgotten(now)


class SuspectAddresses(Generic[W]):
    """All suspect addresses, and the connections that wait.

    :ivar waiting: number of connections that wait
    """

    __slots__ = ("_groups", "waiting")

    def __init__(self) -> None:
        self._groups: OrderedDict[str, _Suspect[W]] = OrderedDict()
        self.waiting = 0

    def __len__(self) -> int:
        return len(self._groups)

    def written(self) -> Document:
        """The addresses as plain values, without the connections that wait."""
        return {group: suspect.written() for group, suspect in self._groups.items()}

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the addresses of a document.

        :raises FormatError: a value is of the wrong kind
        """
        for group, values in list(document.items())[-MOST:]:
            suspect = self._groups[group] = _Suspect()
            suspect.read(values)

    def forged(self, group: str, now: float) -> None:
        """A ``ws_open`` from this address had a wrong signature."""
        suspect = self._groups.get(group)
        if suspect is None:
            if len(self._groups) >= MOST:
                quiet = next((each for each, its in self._groups.items() if not its.line), None)
                if quiet is None:
                    return
                del self._groups[quiet]
            suspect = self._groups[group] = _Suspect()
        elif suspect.forgotten(now):
            suspect.count = 0
        suspect.count += 1
        suspect.last = now
        self._groups.move_to_end(group)

    def admits(self, group: str, now: float) -> bool:
        """Whether a connection from this address may continue at once."""
        suspect = self._groups.get(group)
        if suspect is None:
            return True
        if suspect.line:
            return False
        if not suspect.slow(now):
            if suspect.forgotten(now):
                del self._groups[group]
            return True
        if now < suspect.next:
            return False
        suspect.next = now + 1 / RATE
        return True

    def wait(self, group: str, waiter: W) -> None:
        """Queue a connection until :meth:`turns` gives it."""
        line = self._groups[group].line
        if waiter not in line:
            line[waiter] = None
            self.waiting += 1

    def leave(self, group: str, waiter: W) -> None:
        """A connection does not wait any more."""
        suspect = self._groups.get(group)
        if suspect is not None and waiter in suspect.line:
            del suspect.line[waiter]
            self.waiting -= 1

    def turns(self, now: float) -> list[W]:
        """Remove the connections that are admitted now, and return them."""
        admitted: list[W] = []
        for suspect in self._groups.values() if self.waiting else ():
            slow = suspect.slow(now)
            while suspect.line and not (slow and now < suspect.next):
                admitted.append(suspect.line.popitem(last=False)[0])
                # A late call does not slow the queue down; a very late one does not admit a crowd.
                suspect.next = max(suspect.next, now - 1.0) + 1 / RATE
        self.waiting -= len(admitted)
        return admitted
