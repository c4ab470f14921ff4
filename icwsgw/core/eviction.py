"""Which entry a full table evicts: the oldest one of the largest group.

A limit that refuses new entries would let a few silent ones keep all others out. So a full table always takes the new
entry, and the largest group loses its oldest one. A client that fills the table evicts its own entries; of groups with
the same size, the one that has had it for longest loses one.

An entry of the table may also be evicted for another limit. Then :meth:`EvictionTable.outnumbers` shows whether some
group has more entries than the new entry's group would have. Otherwise a crowd of groups with one entry each would
evict one another for ever.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class EvictionTable(Generic[T]):
    """Entries by group. Each method takes constant time.

    :param most: maximum number of entries; 0: no limit
    :ivar most: the same; where it becomes smaller, each new entry still evicts one only
    """

    __slots__ = ("_by_size", "_group_of", "_groups", "_largest", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._group_of: dict[T, str] = {}
        # the oldest first
        self._groups: dict[str, dict[T, None]] = {}
        # groups by size; the one that has had its size for longest first
        self._by_size: dict[int, dict[str, None]] = {}
        self._largest = 0

    def __len__(self) -> int:
        return len(self._group_of)

    def __contains__(self, member: T) -> bool:
        return member in self._group_of

    def outnumbers(self, group: str) -> bool:
        """Whether some group has more entries than this one would have with a new one."""
        return self._largest > len(self._groups.get(group, ())) + 1

    def enter(self, member: T, group: str, full: bool = False) -> T | None:
        """Add an entry.

        :param full: evict an entry in any case
        :return: the evicted entry, or None; the caller has to close it
        """
        self._add(member, group)
        if not full and (not self.most or len(self._group_of) <= self.most):
            return None
        return self.evict()

    def evict(self) -> T:
        """Remove the oldest entry of the largest group, and return it. The table must not be empty."""
        first = next(iter(self._by_size[self._largest]))
        oldest = next(iter(self._groups[first]))
        self.leave(oldest)
        return oldest

    def move(self, member: T, group: str) -> None:
        """Move an entry to another group, in which it is the newest."""
        if self._group_of.get(member, group) != group:
            self.leave(member)
            self._add(member, group)

    def leave(self, member: T) -> None:
        """Remove an entry, if it is one."""
        group = self._group_of.pop(member, None)
        if group is None:
            return
        members = self._groups[group]
        del members[member]
        self._resized(group, len(members) + 1, len(members))
        if not members:
            del self._groups[group]

    def _add(self, member: T, group: str) -> None:
        self._group_of[member] = group
        members = self._groups.setdefault(group, {})
        members[member] = None
        self._resized(group, len(members) - 1, len(members))

    def _resized(self, group: str, before: int, now: int) -> None:
        if before:
            same = self._by_size[before]
            del same[group]
            if not same:
                del self._by_size[before]
        if now:
            self._by_size.setdefault(now, {})[group] = None
        # A group grows and shrinks by one, so the largest size does as well.
        if now > self._largest or (before == self._largest and before not in self._by_size):
            self._largest = now
