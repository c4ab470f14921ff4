"""Limits and times of a client, of one that moves too."""

from __future__ import annotations

from typing import Final, NamedTuple

from icwsgw.client.reconnection import DEFAULT_PAUSES, Pauses


class ClientSettings(NamedTuple):
    """Limits and times of a client.

    :ivar connect_timeout: seconds until the gateway's handshake message
    :ivar open_timeout: seconds until the canister opens the session
    :ivar closing_timeout: seconds until the connection ends after a close frame
    :ivar max_messages: the most messages that wait to be sent
    :ivar max_bytes: the most bytes of them
    :ivar max_message_bytes: the most bytes of one message; a call has at most 2 MiB with what goes around it
    :ivar reconnect: whether to connect again at all
    :ivar max_attempts: connections in a row without a stable session after which the client ends; None: any number
    :ivar pauses: before the next connection
    :ivar overlap: seconds in which a client that moves still receives on the former connection, once the next session
        is open
    :ivar move_pause: seconds until another attempt to open the next session
    :ivar max_held_bytes: the most bytes of the next session's messages that wait for the end of the overlap; more is a
        failure of the attempt
    """

    connect_timeout: float = 30.0
    open_timeout: float = 60.0
    closing_timeout: float = 5.0
    max_messages: int = 1000
    max_bytes: int = 16 << 20
    reconnect: bool = True
    max_attempts: int | None = None
    pauses: Pauses = DEFAULT_PAUSES
    overlap: float = 1.0
    move_pause: float = 1.0
    max_held_bytes: int = 16 << 20
    max_message_bytes: int = 2_090_000


DEFAULT_SETTINGS: Final = ClientSettings()
