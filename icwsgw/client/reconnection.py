"""Decides whether and when a client connects again after its connection has ended.

The close code decides (:mod:`icwsgw.close_codes`). The pauses grow, because a canister or a network that fails is not
helped by more connections. They are random, because a drain or a crash disconnects all clients at once. They start
again from the shortest only after a session was open for a while: a session that opens and ends at once is no sign of
health.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from icwsgw.client.client_errors import KNOWN_CODES
from icwsgw.close_codes import Reconnect


class Pauses(NamedTuple):
    """The lengths of pauses, in seconds.

    :ivar first: the longest first pause
    :ivar later: the longest first pause where the code means to connect later
    :ivar longest: the longest of all pauses
    :ivar stable: a session that was open for so long resets the pauses
    """

    first: float = 1.0
    later: float = 8.0
    longest: float = 60.0
    stable: float = 30.0


DEFAULT_PAUSES: Final = Pauses()
#: Codes of RFC 6455 and of applications that the table does not have.
_UNKNOWN: Final = Reconnect.LATER


class Reconnection:
    """The reconnections of one client.

    :ivar attempts: connections since a session was stable
    """

    __slots__ = ("_pauses", "attempts")

    def __init__(self, pauses: Pauses = DEFAULT_PAUSES) -> None:
        self._pauses = pauses
        self.attempts = 0

    def pause(self, code: int, *, opened: bool, open_for: float, chance: float) -> float | None:
        """Return the pause in seconds before the next connection; None: there is none.

        :param code: the close code; 1006 if the connection ended without one
        :param opened: whether the session, or one before it, was open
        :param open_for: how long the session was open, in seconds
        :param chance: a random number from 0 to 1
        """
        info = KNOWN_CODES.get(code)
        rule = _UNKNOWN if info is None else info.reconnect
        if rule is Reconnect.NEVER or (rule is Reconnect.IF_OPENED and not opened):
            return None
        if open_for >= self._pauses.stable:
            self.attempts = 0
        self.attempts += 1
        first = self._pauses.first if rule is Reconnect.AGAIN else self._pauses.later
        longest = min(self._pauses.longest, first * 2.0 ** min(self.attempts - 1, 30))
        # never shorter than half of it, so that the pauses do grow; the first may be 0, for one client alone
        return longest * (chance if self.attempts == 1 else 0.5 + chance / 2)
