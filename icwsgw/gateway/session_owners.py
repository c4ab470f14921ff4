"""What a session needs of the gateway and its parts. Their modules import sessions; so sessions do not import them.

``S`` is :class:`icwsgw.gateway.session.ClientSession`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.replay_cache import ReplayCache
from icwsgw.core.written_state import Document
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.principal import Principal

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class SessionQuota(Protocol[S_contra]):
    """The quota of a canister for messages: :class:`icwsgw.gateway.canister_quotas.HeldClients`."""

    def came(self, session: S_contra, size: int) -> None:
        """A client has sent a message of ``size`` bytes."""

    def holds(self, session: S_contra) -> bool:
        """Whether a client is held."""

    def forget(self, session: S_contra) -> None:
        """A client has left."""

    def written(self) -> Document:
        """What is owed, for another process."""

    def read(self, document: Mapping[str, Any]) -> None:
        """Take what is owed from a document."""


class SessionPoller(Protocol[S]):
    """The poller of a session's canister, as sessions know it: :class:`icwsgw.gateway.polling.poller.Poller`.

    :ivar undecided: sessions of which it is unknown whether the canister has replaced them
    """

    canister: Principal
    identity_index: int
    backoff: PollBackoff
    messages_up: int
    undecided: dict[S, Callable[[S, bytes], None]]
    senders: dict[bytes, S]

    @property
    def held_clients(self) -> SessionQuota[S] | None:
        """The quota of the canister for messages of its clients; None: there is none."""

    def wake(self) -> None:
        """Poll soon."""

    def holds(self, session: S) -> bool:
        """Whether the canister's quota holds the client, so that its socket is not read."""

    def accepted(self, session: S, key: tuple[bytes, int]) -> S | None:
        """The canister has accepted the client; returns the session that this one replaces, if any."""

    def remove(self, session: S, key: tuple[bytes, int]) -> None:
        """The session has ended."""


class SessionReplacements(Protocol[S_contra]):
    """What decides between connections of one principal: :class:`icwsgw.gateway.replacements.Replacements`."""

    def known(self, session: S_contra) -> None:
        """The canister has shown in a later block that this is the connection it knows."""


class SessionRegistry(Protocol):
    """Where sessions are found: :class:`icwsgw.gateway.registry.Registry`."""

    def is_newcomer(self, canister: Principal) -> bool:
        """Whether a canister has not spoken to any client lately."""


class SessionGateway(Protocol[S]):
    """The gateway, as sessions know it: :class:`icwsgw.gateway.gateway.Gateway`.

    :ivar replays: request ids of relayed ws_opens
    """

    context: Context
    replays: ReplayCache

    @property
    def replacements(self) -> SessionReplacements[S]: ...

    @property
    def registry(self) -> SessionRegistry: ...

    def admit(
        self, canister: Principal, key: tuple[bytes, int], identity_index: int, group: str
    ) -> tuple[CloseCode, str] | None:
        """Whether a client may open a session with a canister.

        :param key: its client key: principal and nonce
        :param identity_index: the gateway's identity that the client has named
        :param group: the group of its address
        :return: None if it may; otherwise the close code and the reason
        """

    def register(self, session: S, canister: Principal) -> SessionPoller[S]:
        """Enter the session's client key, so that the canister's messages find it."""

    def unregister(self, session: S) -> None:
        """Remove the session's client key."""

    def accepted(self, session: S) -> None:
        """The canister has accepted the client."""

    def answered(self, session: S) -> None:
        """The canister has answered the ``ws_open`` of a client that has left."""

    def send_close_notice(self, session: S) -> None:
        """Send the canister a close notice: the client has left."""

    def finished(self, session: S) -> None:
        """Nothing of the session is left to do."""
