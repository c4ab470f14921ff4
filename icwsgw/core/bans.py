"""Who may not open a session for a while, because an operator has closed it with ``kick --for``.

A ban names a principal, a canister, or a principal at a canister, and has an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Ban(NamedTuple):
    """One ban.

    :ivar canister: raw canister id; None for all canisters
    :ivar principal: raw principal; None for all clients of the canister
    :ivar until: seconds of the system's monotonic clock, which all processes of a machine share
    """

    canister: bytes | None
    principal: bytes | None
    until: float


class Bans:
    """The bans of a gateway."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[bytes | None, bytes | None], float] = {}

    def replace(self, bans: Iterable[Ban]) -> None:
        """Replace all bans by these."""
        self._until = {(ban.canister, ban.principal): ban.until for ban in bans}

    def seconds_left(self, canister: bytes, principal: bytes, now: float) -> float:
        """How long a client may not open a session with a canister.

        :param now: seconds of the monotonic clock
        :return: seconds; 0 if it may
        """
        if not self._until:
            return 0.0
        found = ((canister, principal), (None, principal), (canister, None))
        return max(0.0, *(self._until.get(each, now) - now for each in found))
