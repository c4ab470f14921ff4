"""Who has to leave when a waiting room is full: the one that waits longest of the group that has most in it.

A bound that refuses who comes lets a few that stay silent keep all others out. So the room always takes the newcomer,
and the largest group loses its oldest member: whoever fills the room pushes out its own, and of groups that are equal
the one that has been so large for longest loses one.

Where another bound is met than the room's, and members may leave for it as well, :meth:`EvictionTable.outnumbers` says
whether one does: only a group with more members than the newcomer's would have. Otherwise a crowd that has one member
each would push out one another, and none of them would ever be done.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class EvictionTable(Generic[T]):
    """Members by group. Each method takes the same time however many there are.

    :param most: members; 0 for no bound
    """

    __slots__ = ("_by_size", "_group_of", "_groups", "_largest", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._group_of: dict[T, str] = {}
        # the oldest first
        self._groups: dict[str, dict[T, None]] = {}
        # groups by how many members they have; the one that has had so many for longest first
        self._by_size: dict[int, dict[str, None]] = {}
        self._largest = 0

    def __len__(self) -> int:
        return len(self._group_of)

    def __contains__(self, member: T) -> bool:
        return member in self._group_of

    def outnumbers(self, group: str) -> bool:
        """Whether some group has more members than this one would have with a newcomer."""
        return self._largest > len(self._groups.get(group, ())) + 1

    def enter(self, member: T, group: str, full: bool = False) -> T | None:
        """Take a newcomer.

        :param full: somebody has to leave in any case
        :return: who has to leave for it and has been removed, if any; it is not told
        """
        self._add(member, group)
        if not full and (not self._most or len(self._group_of) <= self._most):
            return None
        first = next(iter(self._by_size[self._largest]))
        oldest = next(iter(self._groups[first]))
        self.leave(oldest)
        return oldest

    def move(self, member: T, group: str) -> None:
        """More is known of a member: it is of another group, in which it is the newest."""
        if self._group_of.get(member, group) != group:
            self.leave(member)
            self._add(member, group)

    def leave(self, member: T) -> None:
        """A member leaves; nothing happens if it is none."""
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
        # a group grows and shrinks by one, so that the largest size does as well
        if now > self._largest or (before == self._largest and before not in self._by_size):
            self._largest = now
