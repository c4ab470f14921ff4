"""Feeds the inspector from the gateway in whose process the replica runs.

The gateway calls the same methods for the inspector as for traces (:mod:`icwsgw.observe.tracing`). The classes here
have these methods, and keep the arguments in :class:`icwsgw.devnet.inspector.Inspector`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icwsgw.devnet.inspector import Inspector


class InspectedTraffic:
    """Records what a gateway does; has the methods of ``Tracing``.

    :param now_ns: gives the time, ns since 1970
    """

    detailed = True
    idle_polls = False

    def __init__(self, inspector: Inspector, now_ns: Callable[[], int]) -> None:
        self.inspector = inspector
        self.now_ns = now_ns

    def connection(self, client: str) -> InspectedConnection:
        """A connection begins."""
        return InspectedConnection(self)

    def handed_over(self, session_id: str, trace: Mapping[str, Any]) -> InspectedSession:
        """A session continues that another process has served."""
        return InspectedSession(self, session_id)

    def polls(self, canister: str) -> InspectedPolls:
        """The polls of a canister begin."""
        return InspectedPolls()


class InspectedConnection:
    """One connection; has the methods of ``ConnectionTrace``."""

    __slots__ = ("_traffic",)

    def __init__(self, traffic: InspectedTraffic) -> None:
        self._traffic = traffic

    def opened(self, session_id: str, client: str) -> InspectedSession:
        """The WebSocket is open."""
        return InspectedSession(self._traffic, session_id)

    def lost(self, refusal: str | None) -> None:
        """The connection has ended."""


class InspectedSession:
    """One session; has the methods of ``SessionTrace``.

    :ivar id: empty: there is no trace to look up
    """

    __slots__ = ("_session", "_traffic", "id")

    def __init__(self, traffic: InspectedTraffic, session: str) -> None:
        self._traffic = traffic
        self._session = session
        self.id = ""

    def canister(self, canister: str) -> None:
        """The client has named its canister."""

    def client_message(self, method: str, body: bytes) -> InspectedMessage:
        """An envelope of the client has arrived."""
        traffic = self._traffic
        key = traffic.inspector.arrived(body, self._session, traffic.now_ns())
        return InspectedMessage(lambda outcome, failed: traffic.inspector.given_up(key, outcome) if failed else None)

    def canister_message(self, key: str, canister: str, size: int, brought_by: object) -> InspectedMessage:
        """A message of the canister is delivered."""
        traffic, session, raw = self._traffic, self._session, key.encode()
        return InspectedMessage(
            lambda outcome, failed: traffic.inspector.delivered(canister, raw, session, traffic.now_ns())
        )

    def written(self) -> dict[str, str]:
        """Nothing: the record of a session stays in this process."""
        return {}

    def left(self) -> None:
        """Another process continues with the session."""

    def ended(self, facts: dict[str, object]) -> None:
        """The session has ended."""


class InspectedMessage:
    """One message in either direction; has the methods of ``MessageTrace``."""

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[str, bool], None]) -> None:
        self._ended = ended

    def attempt(self, number: int) -> None:
        """Its call is sent."""

    def ended(self, outcome: str | None = None, *, failed: bool = False) -> None:
        """It was delivered, or its call has ended."""
        self._ended(outcome or "", failed)


class InspectedPolls:
    """The polls of a canister, which the replica records by itself; has the methods of ``PollTraces``."""

    idle_polls = False

    def answered(self) -> None:
        """A poll was answered."""

    def iteration(self, sent_ns: int) -> InspectedPoll:
        """A poll has brought messages, or has failed."""
        return InspectedPoll()


class InspectedPoll:
    """One poll; has the methods of ``PollTrace``."""

    context = None

    def relaying(self, messages: int) -> InspectedMessage:
        """Its messages are delivered."""
        return InspectedMessage(lambda outcome, failed: None)

    def failed(self, cause: str) -> None:
        """It has failed."""

    def ended(self) -> None:
        """All is done."""
