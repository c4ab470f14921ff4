"""To how many canisters one principal is connected, where that is bounded.

Only sessions that their canister has accepted count: until then nobody knows whether ``ws_open`` was signed by the
principal it names, and a stranger must not use up somebody else's share. So the bound is kept twice, before ``ws_open``
leaves and when it was accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession


class PrincipalLimit:
    """Counts accepted sessions by principal.

    :param most: sessions of one principal; 0: no bound, and nothing is counted
    """

    __slots__ = ("_sessions", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._sessions: dict[bytes, set[ClientSession]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def full(self, principal: bytes) -> bool:
        """Whether one more session would be too many."""
        return bool(self.most) and len(self._sessions.get(principal, ())) >= self.most

    def add(self, principal: bytes, session: ClientSession) -> bool:
        """Count an accepted session, once; whether there was room for it."""
        if not self.most:
            return True
        sessions = self._sessions.get(principal)
        if sessions is None:
            self._sessions[principal] = {session}
            return True
        if session not in sessions and len(sessions) >= self.most:
            return False
        sessions.add(session)
        return True

    def remove(self, principal: bytes, session: ClientSession) -> None:
        """A session has ended, counted or not."""
        sessions = self._sessions.get(principal)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._sessions[principal]
