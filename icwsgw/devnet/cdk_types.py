"""The interface between the CDK and an application, and the encoding of the CDK's messages."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal


class Trap(Exception):
    """The canister's code trapped; all changes of the message are undone."""


class WsError(Exception):
    """An error that the CDK returns to the caller as ``variant { Err : text }``."""


class ClientKey(NamedTuple):
    """Identifies a client's session at the canister; ``str()`` gives the form in the CDK's error texts."""

    principal: bytes
    nonce: int

    def __str__(self) -> str:
        return f"{Principal(self.principal)}_{self.nonce}"


class Output(NamedTuple):
    """A message in a gateway's queue."""

    principal: bytes
    nonce: int
    key: bytes
    content: bytes


class Page(NamedTuple):
    """The answer to one poll, before it is certified."""

    messages: list[Output]
    is_end_of_queue: bool


class Handlers(Protocol):
    """The application's handlers; each may raise :class:`Trap`."""

    def on_open(self, client: Principal) -> None:
        """Handle a new client. It is registered, and its OpenMessage is in the queue."""

    def on_message(self, client: Principal, message: bytes) -> None:
        """Handle an application message (Candid bytes)."""

    def on_close(self, client: Principal) -> None:
        """Handle the removal of a client; the application can no longer send it messages."""


def message_content(key: ClientKey, sequence_num: int, timestamp: int, is_service: bool, content: bytes) -> bytes:
    """Encode a WebsocketMessage as serde_cbor does: self-describe tag, fields in the order of the struct."""
    return b"".join(
        (
            cbor.SELF_DESCRIBE,
            b"\xa5\x6aclient_key\xa2\x70client_principal",
            cbor.head(2, len(key.principal)),
            key.principal,
            b"\x6cclient_nonce",
            cbor.head(0, key.nonce),
            b"\x6csequence_num",
            cbor.head(0, sequence_num),
            b"\x69timestamp",
            cbor.head(0, timestamp),
            b"\x72is_service_message\xf5" if is_service else b"\x72is_service_message\xf4",
            b"\x67content",
            cbor.head(2, len(content)),
            content,
        )
    )
