"""Limits to how many canisters one principal is connected (``--max-connections-per-principal``).

Only sessions that their canister has accepted count. Before that it is unknown whether the principal has signed the
``ws_open``, and others must not use up its limit. So the limit is checked twice: before ``ws_open`` is relayed, and
when the canister has accepted the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession


class PrincipalLimit:
    """Counts accepted sessions by principal.

    :param most: sessions of one principal; 0: no limit, and nothing is counted
    """

    __slots__ = ("_sessions", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._sessions: dict[bytes, set[ClientSession]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def full(self, principal: bytes) -> bool:
        """Whether the principal has reached the limit."""
        return bool(self.most) and len(self._sessions.get(principal, ())) >= self.most

    def add(self, principal: bytes, session: ClientSession) -> bool:
        """Count an accepted session once.

        :return: False if it exceeds the limit
        """
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

    def count(self, principal: bytes, session: ClientSession) -> None:
        """Count an accepted session, even if it exceeds the limit: the limit has begun later."""
        if self.most:
            self._sessions.setdefault(principal, set()).add(session)

    def remove(self, principal: bytes, session: ClientSession) -> None:
        """A session has ended, whether it was counted or not."""
        sessions = self._sessions.get(principal)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._sessions[principal]
