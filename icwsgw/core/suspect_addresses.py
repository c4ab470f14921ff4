"""Addresses from which forged ws_opens come: their connections are admitted one after the other, at a rate.

A connection costs much more than the check that refuses it, and many clients may share an address (NAT). So nobody is
banned: once an address has sent several wrong signatures, its connections wait in a line before their handshake, in the
order in which they came, and so many a second are admitted. It is free again when no wrong signature has come from it
for a while. Other addresses do not wait.

Times are in seconds, of one clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)

#: Wrong signatures that make a suspect, and for how long each counts.
FORGED, MEMORY = 5, 10.0
#: Connections a second that are admitted of a suspect.
RATE = 50.0
#: Addresses that are remembered; beyond, the one that has been quiet for longest is forgotten.
MOST = 4096


class _Suspect(Generic[W]):
    __slots__ = ("count", "last", "line", "next")

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
    """All of them, and who waits for its turn.

    :ivar waiting: how many connections do
    """

    __slots__ = ("_groups", "waiting")

    def __init__(self) -> None:
        self._groups: OrderedDict[str, _Suspect[W]] = OrderedDict()
        self.waiting = 0

    def __len__(self) -> int:
        return len(self._groups)

    def forged(self, group: str, now: float) -> None:
        """A ws_open of this address had a wrong signature."""
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
        """Whether a connection of this address may go on at once; if so, it has had its turn."""
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
        """Let a connection that is not admitted wait until :meth:`turns` gives it."""
        line = self._groups[group].line
        if waiter not in line:
            line[waiter] = None
            self.waiting += 1

    def leave(self, group: str, waiter: W) -> None:
        """It waits no more."""
        suspect = self._groups.get(group)
        if suspect is not None and waiter in suspect.line:
            del suspect.line[waiter]
            self.waiting -= 1

    def turns(self, now: float) -> list[W]:
        """Those whose turn has come; they wait no more."""
        admitted: list[W] = []
        for suspect in self._groups.values() if self.waiting else ():
            slow = suspect.slow(now)
            while suspect.line and not (slow and now < suspect.next):
                admitted.append(suspect.line.popitem(last=False)[0])
                # a look that comes late does not slow the line down, one that comes very late admits no crowd
                suspect.next = max(suspect.next, now - 1.0) + 1 / RATE
        self.waiting -= len(admitted)
        return admitted
