"""The messages between gateway and client in both directions (docs/protocol.md).

    gateway -> client   CBOR, self-describe tag   {gateway_principal: bytes}          once, the handshake message
    client -> gateway   CBOR, tag optional        {envelope: {content, sender_pubkey, sender_sig, ...}}
    gateway -> client   CBOR, no tag              {key: text, content: bytes, cert: bytes, tree: bytes}

An envelope is relayed as the bytes that the client sent. Its request id covers fields that this version may not know,
and decoding and encoding could change them (decision 0002). So a client's frame is decoded once, to see whose call it
is, and then the envelope's bytes are cut out of it.

Messages to clients are built as complete WebSocket frames, header included. A frame is joined once, from parts that are
mostly shared by its batch, and written unchanged (decision 0013).
"""

from __future__ import annotations

import sys
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic import cbor
from icwsgw.ic.fields import ENVELOPE, field_span, known_alone, loads_known
from icwsgw.ic.principal import MAX_LENGTH
from icwsgw.ic.ws import AckMessage, decode_service_message

_TAG = cbor.SELF_DESCRIBE
_UNTAGGED_PREFIX = b"\xa1\x68envelope"
_USUAL_PREFIX = _TAG + _UNTAGGED_PREFIX
_USUAL_LENGTH = len(_USUAL_PREFIX)

#: Maximum nesting of a client's frame. Four levels are used (frame, envelope, content or delegation, entry); the rest
#: is for new fields.
MAX_CLIENT_DEPTH = 12
#: Maximum number of items: an envelope has about twenty, and each delegation its targets. 64 KiB of one-byte items took
#: 80 ms.
MAX_CLIENT_ITEMS = 2048
#: Maximum number of items in unknown fields: skipping so many takes about 5 ms.
MAX_CLIENT_SKIPPED = 16_384
#: Maximum number of items in a message: the CDK's WebsocketMessage has about a dozen.
MAX_CONTENT_ITEMS = 1024

_FRAME = {"envelope": ENVELOPE}
_CONTENT = {"sequence_num": None, "timestamp": None}


class ClientEnvelope:
    """A signed call as a client sent it, with the fields that decide where it goes.

    :ivar body: the envelope's bytes after the self-describe tag: the body of the HTTP call
    :ivar sender: raw principal
    :ivar canister_id: raw principal
    :ivar method_name: the canister's method
    :ivar arg: its Candid argument, or only the end of it after :meth:`shrink`
    :ivar ingress_expiry: ns since 1970
    """

    __slots__ = ("arg", "body", "canister_id", "ingress_expiry", "method_name", "sender")

    def __init__(
        self, body: bytes, sender: bytes, canister_id: bytes, method_name: str, arg: bytes, ingress_expiry: int
    ) -> None:
        self.body = body
        self.sender = sender
        self.canister_id = canister_id
        self.method_name = method_name
        self.arg = arg
        self.ingress_expiry = ingress_expiry

    def shrink(self) -> None:
        """Free what a message does not need while it waits: its argument, which the body contains too.

        The last bytes stay: they say whether it is a keep-alive (:func:`icwsgw.ic.ws.is_service_message`).
        """
        self.arg = self.arg[-2:]
        self.method_name = sys.intern(self.method_name)


def handshake(gateway_principal: bytes) -> bytes:
    """The payload of the handshake message: ``{gateway_principal}``, which the client has to name in ``ws_open``."""
    return _TAG + b"\xa1\x71gateway_principal" + cbor.head(2, len(gateway_principal)) + gateway_principal


def parse_client_frame(payload: bytes) -> ClientEnvelope:
    """Decode a client's message.

    :param payload: the payload of a binary WebSocket message: CBOR with an envelope
    :raises FormatError: it is no CBOR, has no envelope, or the envelope is not that of a call; the text is fit for
        clients
    """
    # Every message comes by here, so the usual form is handled without further calls.
    try:
        frame = cbor.loads(payload, max_depth=MAX_CLIENT_DEPTH, max_items=MAX_CLIENT_ITEMS)
    except FormatError as error:
        frame = known_alone(
            payload,
            _FRAME,
            error,
            max_depth=MAX_CLIENT_DEPTH,
            max_items=MAX_CLIENT_ITEMS,
            max_skipped=MAX_CLIENT_SKIPPED,
        )
    if type(frame) is not dict or type(envelope := frame.get("envelope")) is not dict:
        raise FormatError("message is not a map with an envelope")
    content = envelope.get("content")
    if type(content) is not dict:
        raise FormatError("envelope has no content")
    if content.get("request_type") != "call":
        raise FormatError("envelope is not that of a call")
    sender, canister_id = content.get("sender"), content.get("canister_id")
    if type(sender) is not bytes or len(sender) > MAX_LENGTH:
        raise FormatError("sender is missing or not a principal")
    if type(canister_id) is not bytes or len(canister_id) > MAX_LENGTH:
        raise FormatError("canister_id is missing or not a principal")
    method_name, arg, expiry = content.get("method_name"), content.get("arg"), content.get("ingress_expiry")
    if type(method_name) is not str:
        raise FormatError("method_name is missing or not text")
    if type(arg) is not bytes:
        raise FormatError("arg is missing or not bytes")
    if type(expiry) is not int or not 0 <= expiry < 1 << 64:
        raise FormatError("ingress_expiry is missing or not a time")
    if delegations := envelope.get("sender_delegation"):
        _check_delegations(delegations)
    body = payload[_USUAL_LENGTH:] if payload.startswith(_USUAL_PREFIX) else _envelope_bytes(payload)
    if not body.startswith(_TAG):
        body = _TAG + body
    return ClientEnvelope(body, sender, canister_id, method_name, arg, expiry)


def parse_envelope(body: bytes) -> ClientEnvelope:
    """Decode an envelope's bytes, as :attr:`ClientEnvelope.body` has them.

    :raises FormatError: as :func:`parse_client_frame`
    """
    return parse_client_frame(_USUAL_PREFIX + body.removeprefix(_TAG))


def parse_waiting(body: bytes) -> ClientEnvelope:
    """Decode an envelope that waits in a queue.

    :param body: the envelope in CBOR, as it will be relayed

    :raises FormatError: as :func:`parse_client_frame`
    """
    envelope = parse_envelope(body)
    envelope.shrink()
    return envelope


def _check_delegations(delegations: Any) -> None:
    """Refuse early what no replica would accept: a delegation for queries only cannot sign a call."""
    if type(delegations) is not list:
        raise FormatError("sender_delegation is not a list")
    for entry in delegations:
        delegation = entry.get("delegation") if type(entry) is dict else None
        if type(delegation) is not dict:
            raise FormatError("sender_delegation has an entry without delegation")
        if delegation.get("permissions") == "queries":
            raise FormatError("the sender's delegation is for queries only")


def _envelope_bytes(payload: bytes) -> bytes:
    """Cut the envelope's bytes out of ``payload``, which has been decoded, so it is well-formed.

    :raises FormatError: its key is there, but in an odd form, such as with a tag
    """
    if payload.startswith(_UNTAGGED_PREFIX):
        return payload[len(_UNTAGGED_PREFIX) :]
    span = field_span(payload, "envelope", MAX_CLIENT_SKIPPED)
    if span is None:
        raise FormatError("the key of the envelope is not plain text")
    return payload[span[0] : span[1]]


def frame_header(length: int) -> bytes:
    """The header of an unmasked, unfragmented binary WebSocket frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x82, length))
    if length < 1 << 16:
        return b"\x82\x7e" + length.to_bytes(2, "big")
    return b"\x82\x7f" + length.to_bytes(8, "big")


def frame(payload: bytes) -> bytes:
    """A payload as a binary WebSocket frame."""
    return frame_header(len(payload)) + payload


_TEXT_HEADS = tuple(cbor.head(3, size) for size in range(256))
_BYTES_HEADS = tuple(cbor.head(2, size) for size in range(1024))


class BatchFramer:
    """Builds the frames of one batch of canister messages, which share certificate and tree."""

    __slots__ = ("_fixed", "_tail")

    def __init__(self, cert: bytes, tree: bytes) -> None:
        self._tail = b"".join((b"\x64cert", cbor.head(2, len(cert)), cert, b"\x64tree", cbor.head(2, len(tree)), tree))
        # map head, "key", "content"
        self._fixed = 1 + 4 + 8 + len(self._tail)

    def frame(self, key: bytes, content: bytes) -> bytes:
        """The complete frame of one message.

        :param key: UTF-8 of the message's key
        :param content: the message as the canister's CDK encoded it
        """
        # Tables for CBOR heads, and a header without a call: a full page has fifty messages.
        key_size, content_size = len(key), len(content)
        key_head = _TEXT_HEADS[key_size] if key_size < 256 else cbor.head(3, key_size)
        content_head = _BYTES_HEADS[content_size] if content_size < 1024 else cbor.head(2, content_size)
        length = self._fixed + len(key_head) + key_size + len(content_head) + content_size
        usual = 126 <= length < 1 << 16
        return b"".join(
            (
                b"\x82\x7e" + length.to_bytes(2, "big") if usual else frame_header(length),
                b"\xa4\x63key",
                key_head,
                key,
                b"\x67content",
                content_head,
                content,
                self._tail,
            )
        )


def payload_of(frame: bytes) -> bytes:
    """The payload of a frame that this module has made."""
    size = frame[1]
    return frame[2 if size < 126 else 4 if size == 126 else 10 :]


_SERVICE = b"\x72is_service_message\xf5"


def is_acknowledgement(frame: bytes) -> bool:
    """Whether a frame contains an AckMessage of the canister, which the client answers with a keep-alive."""
    if _SERVICE not in frame:
        return False
    try:
        content = cbor.loads(payload_of(frame))["content"]
        message = cbor.loads(content, max_items=MAX_CONTENT_ITEMS)
        return message["is_service_message"] is True and isinstance(
            decode_service_message(message["content"]), AckMessage
        )
    except (FormatError, TypeError, KeyError):
        return False


def message_timestamp(content: bytes) -> int | None:
    """The canister's timestamp in a message's content, ns since 1970; None if it is no WebsocketMessage of the CDK."""
    return message_place(content)[1]


def message_place(content: bytes) -> tuple[int | None, int | None]:
    """A message's sequence number, from 1, and the canister's timestamp, ns since 1970.

    :param content: a canister's message to a client, in the CDK's CBOR
    :return: None in place of what the content does not have
    """
    try:
        message = loads_known(content, _CONTENT, max_items=MAX_CONTENT_ITEMS, max_skipped=MAX_CLIENT_SKIPPED)
    except FormatError:
        return None, None
    if type(message) is not dict:
        return None, None
    number, timestamp = message.get("sequence_num"), message.get("timestamp")
    return number if type(number) is int else None, timestamp if type(timestamp) is int else None
