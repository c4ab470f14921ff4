"""What the CDK and an application on it pass to each other, and the CDK's message as bytes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal


class Trap(Exception):
    """The canister's code gave up; everything the message did is undone."""


class WsError(Exception):
    """The CDK's own refusal, which reaches the caller as ``variant { Err : text }``."""


class ClientKey(NamedTuple):
    """Who a client is to the canister; ``str()`` as the CDK writes it in its errors."""

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
    """What the application does; any of these may raise :class:`Trap`."""

    def on_open(self, client: Principal) -> None:
        """Act on a client that has just been registered and sent its OpenMessage."""

    def on_message(self, client: Principal, message: bytes) -> None:
        """Act on an application message (Candid bytes)."""

    def on_close(self, client: Principal) -> None:
        """Act on a client that is gone; it can be sent nothing any more."""


def message_content(key: ClientKey, sequence_num: int, timestamp: int, is_service: bool, content: bytes) -> bytes:
    """Return a WebsocketMessage as serde_cbor writes it: self-describe tag, fields in the order of the struct."""
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
