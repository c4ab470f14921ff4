"""Service messages, which the canister's CDK and the client's SDK exchange within a session.

Each is the content of a WebsocketMessage with ``is_service_message`` true (the CDK's service_messages.did).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from icwsgw.ic.candid import Nat64, Null, Record, Variant, decode_as, encode_head, encode_values
from icwsgw.ic.ws.client_keys import CLIENT_KEY, SMALL, client_key, read_client_key


class OpenMessage(NamedTuple):
    """From the canister: the session is open."""

    client_principal: bytes
    client_nonce: int


class AckMessage(NamedTuple):
    """From the canister, periodically: the acknowledgement of the client's messages."""

    last_incoming_sequence_num: int


class KeepAliveMessage(NamedTuple):
    """From the client: the answer to an :class:`AckMessage`."""

    last_incoming_sequence_num: int


class CloseMessage(NamedTuple):
    """From the canister: the session has ended. ``reason`` is one of CLOSE_REASONS."""

    reason: str


ServiceMessage = OpenMessage | AckMessage | KeepAliveMessage | CloseMessage
CLOSE_REASONS = ("WrongSequenceNumber", "InvalidServiceMessage", "KeepAliveTimeout", "ClosedByApplication")

_SEQUENCE = Record({"last_incoming_sequence_num": Nat64})
_SERVICE_CONTENT = Variant(
    {
        "OpenMessage": Record({"client_key": CLIENT_KEY}),
        "AckMessage": _SEQUENCE,
        "KeepAliveMessage": _SEQUENCE,
        "CloseMessage": Record({"reason": Variant(dict.fromkeys(CLOSE_REASONS, Null))}),
    }
)
_SERVICE_HEAD = encode_head([_SERVICE_CONTENT])


def encode_service_message(message: ServiceMessage) -> bytes:
    """Encode a service message as the content of a WebsocketMessage.

    :raises FormatError: a value does not fit its type
    """
    content: dict[str, Any]
    if isinstance(message, OpenMessage):
        content = {"client_key": client_key(*message)}
    elif isinstance(message, CloseMessage):
        content = {"reason": {message.reason: None}}
    else:
        content = message._asdict()
    return _SERVICE_HEAD + encode_values([_SERVICE_CONTENT], [{type(message).__name__: content}])


def decode_service_message(content: bytes) -> ServiceMessage:
    """Decode the content of a WebsocketMessage with ``is_service_message`` true.

    :raises FormatError: not a service message
    """
    (variant,) = decode_as(content, [_SERVICE_CONTENT], limits=SMALL)
    ((tag, record),) = variant.items()
    if tag == "OpenMessage":
        return OpenMessage(*read_client_key(record))
    if tag == "CloseMessage":
        (reason,) = record["reason"]
        return CloseMessage(reason)
    number = record["last_incoming_sequence_num"]
    return AckMessage(number) if tag == "AckMessage" else KeepAliveMessage(number)
