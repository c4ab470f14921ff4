"""What a client's machine returns: tasks for its transport, and events for the application."""

from __future__ import annotations

from typing import NamedTuple

from icwsgw.client.client_errors import ClientError
from icwsgw.client.client_session import Acknowledged, MessageReceived
from icwsgw.ic.principal import Principal


class Connect(NamedTuple):
    """For the transport: open a connection to this URL."""

    url: str


class CloseConnection(NamedTuple):
    """For the transport: send a close frame with this code and reason, then wait for the connection to end."""

    code: int
    reason: str


class Abort(NamedTuple):
    """For the transport: end the connection, or the attempt to open it, at once."""


class ConnectNext(NamedTuple):
    """For the transport: open a second connection to this URL (:mod:`icwsgw.client.moving_machine`)."""

    url: str


class AbortNext(NamedTuple):
    """For the transport: end the second connection, or the attempt to open it, and report nothing more of it."""


class Promote(NamedTuple):
    """For the transport: the second connection is the only one from now on. Close the first one with 1000."""


class ClientOpened(NamedTuple):
    """A session is open.

    :ivar gateway: the gateway's principal
    :ivar resumed: whether another session was open before: the canister does not know what that one has received
    :ivar uncertain: handles of messages of sessions before that the canister may or may not have executed
    """

    gateway: Principal
    resumed: bool
    uncertain: tuple[int, ...]


class Disconnected(NamedTuple):
    """A connection ended, and the client connects again.

    :ivar error: why
    :ivar pause: seconds until it connects
    """

    error: ClientError
    pause: float

    def explained(self) -> str:
        """Return what happened, what to do and what the client does, as sentences."""
        error = self.error
        text = str(error) if error.hint.startswith("Connect again") else error.explained()
        return f"{text}{'' if text.endswith('.') else '.'} Connecting again in {self.pause:.1f} s."


class Ended(NamedTuple):
    """The client has ended and does not connect again.

    :ivar error: why; None: the application has stopped it
    :ivar unsent: handles of messages that were not sent
    :ivar uncertain: handles of messages that the canister may or may not have executed
    """

    error: ClientError | None
    unsent: tuple[int, ...]
    uncertain: tuple[int, ...]


class RoomAgain(NamedTuple):
    """The queue was full and is half empty now."""


ForTransport = Connect | CloseConnection | Abort | ConnectNext | AbortNext | Promote
ForApplication = ClientOpened | MessageReceived | Acknowledged | Disconnected | Ended | RoomAgain
Output = ForTransport | ForApplication
