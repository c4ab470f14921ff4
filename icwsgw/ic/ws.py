"""The methods of the WebSocket CDK in Candid, both ways: what the gateway sends and reads, and the canister's side.

Source: omnia-network/ic-websocket-cdk-rs, src/ic-websocket-cdk/src/types.rs and its ws_types.did.

Answers of ``ws_get_messages`` are the hot path: each message of each client comes by here. A Candid message
begins with a head, the type table, that is the same for every answer of a canister and differs between
encoders in numbering only, because fields travel in the order of their ids. So a head is parsed once and
remembered together with the one thing that changes how the values lie: the form of ``is_end_of_queue``
(``bool`` in the Rust CDK, ``opt bool`` in others, absent in old ones). Answers under a remembered head are read
by offsets alone. A head of another shape (further fields, other types) is remembered as such, and its answers
go through the general decoder with its coercions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from icwsgw.errors import CanisterRefused, FormatError
from icwsgw.ic.candid import (
    Blob,
    Bool,
    Nat64,
    Null,
    Opt,
    PrincipalType,
    Record,
    Reserved,
    Text,
    Type,
    Variant,
    Vec,
    decode_as,
    encode,
    encode_head,
    encode_values,
)
from icwsgw.ic.candid.leb import read_unsigned, write_unsigned
from icwsgw.ic.candid.table import read_head
from icwsgw.ic.principal import MAX_LENGTH, Principal

#: One message for a client: principal and nonce of its client key, key (UTF-8 of the text), content.
Message = tuple[bytes, int, bytes, bytes]

_CLIENT_KEY = Record({"client_principal": PrincipalType, "client_nonce": Nat64})
_OPEN_ARGS = Record({"client_nonce": Nat64, "gateway_principal": PrincipalType})
_CLOSE_ARGS = Record({"client_key": _CLIENT_KEY})
_GET_ARGS = Record({"nonce": Nat64})
_MESSAGE_ARGS = Record(
    {
        "msg": Record(
            {
                "client_key": _CLIENT_KEY,
                "sequence_num": Nat64,
                "timestamp": Nat64,
                "is_service_message": Bool,
                "content": Blob,
            }
        )
    }
)
_UNIT_RESULT = Variant({"Ok": Null, "Err": Text})
# What Ok carries is of no interest, and not every encoder takes "nothing" to be null.
_ANY_RESULT = Variant({"Ok": Reserved, "Err": Text})


def _get_result(end: Type | None) -> Variant:
    message = Record({"client_key": _CLIENT_KEY, "key": Text, "content": Blob})
    fields: dict[str, Type] = {"messages": Vec(message), "cert": Blob, "tree": Blob}
    if end is not None:
        fields["is_end_of_queue"] = end
    return Variant({"Ok": Record(fields), "Err": Text})


# -- ws_get_messages, the gateway's side --------------------------------------------------------------


class Batch:
    """An answer of ``ws_get_messages``.

    :ivar messages: in the queue's order
    :ivar cert: certificate, empty where there are no messages
    :ivar tree: witness of the messages in the canister's certified tree, empty where there are no messages
    :ivar end_of_queue: whether these are the last messages for now; None where the canister does not say
    """

    __slots__ = ("cert", "end_of_queue", "messages", "tree")

    def __init__(self, messages: list[Message], cert: bytes, tree: bytes, end_of_queue: bool | None) -> None:
        self.messages = messages
        self.cert = cert
        self.tree = tree
        self.end_of_queue = end_of_queue


_ABSENT, _PLAIN, _OPTIONAL, _OTHER = range(4)  # forms of is_end_of_queue; _OTHER: not readable by offsets
_GET_RESULTS = {_ABSENT: _get_result(None), _PLAIN: _get_result(Bool), _OPTIONAL: _get_result(Opt(Bool))}
_GET_HEADS = {form: encode_head([kind]) for form, kind in _GET_RESULTS.items()}
# Heads known from the start stay; others are forgotten together when there are too many of them, so that a canister
# that makes up a new head for each answer costs itself a parse, and others one now and then.
_KNOWN = [(_GET_HEADS[_PLAIN], _PLAIN), (_GET_HEADS[_OPTIONAL], _OPTIONAL), (_GET_HEADS[_ABSENT], _ABSENT)]
_MAX_HEADS = 32
_MAX_HEAD_SIZE = 1024
_heads: list[tuple[bytes, int]] = list(_KNOWN)


def encode_get_messages(nonce: int) -> bytes:
    """Argument of ``ws_get_messages``: messages from this nonce on."""
    return _GET_ARGS_HEAD + nonce.to_bytes(8, "little")


def parse_get_messages(reply: bytes) -> Batch:
    """Read an answer of ``ws_get_messages``.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not such an answer
    """
    pos, form = _known_head(reply) or _learn(reply)
    if form == _OTHER:
        return _parse_other(reply)
    try:
        return _parse_known(reply, pos, form)
    except IndexError:
        raise FormatError("ws_get_messages: the answer is cut short") from None


def _known_head(reply: bytes) -> tuple[int, int] | None:
    for head, form in _heads:
        if reply.startswith(head):
            return len(head), form
    return None


def _parse_known(reply: bytes, pos: int, form: int) -> Batch:
    """Read the values behind a head of the usual shape.

    A slice beyond the end is short without complaint, but then the offset lies beyond the end too: the next byte
    looked at raises IndexError, or the comparison at the end fails.
    """
    tag = reply[pos]
    if tag:
        if tag != 1:
            raise FormatError(f"ws_get_messages: variant has no alternative {tag}")
        raise CanisterRefused(_last_text(reply, pos + 1))
    size = len(reply)
    count, pos = _length(reply, pos + 1)
    if count > size:
        raise FormatError(f"ws_get_messages: {count} messages announced in {size} bytes")
    messages: list[Message] = []
    append = messages.append
    from_bytes = int.from_bytes
    for _ in range(count):
        # In the order of field ids: key, content, client_key = client_principal, client_nonce.
        length = reply[pos]
        pos += 1
        if length > 127:
            length, pos = _length(reply, pos - 1)
        end = pos + length
        key = reply[pos:end]
        length = reply[end]
        pos = end + 1
        if length > 127:
            high = reply[pos]
            if high < 128:
                length += (high << 7) - 128
                pos += 1
            else:
                length, pos = _length(reply, end)
        end = pos + length
        content = reply[pos:end]
        length = reply[end + 1]
        if reply[end] != 1 or length > MAX_LENGTH:
            raise FormatError("ws_get_messages: a client_principal is not a principal")
        pos = end + 2
        end = pos + length
        principal = reply[pos:end]
        pos = end + 8
        if not key.isascii():
            _check_text(key)
        append((principal, from_bytes(reply[end:pos], "little"), key, content))
    length, pos = _length(reply, pos)
    cert = reply[pos : pos + length]
    length, pos = _length(reply, pos + length)
    tree = reply[pos : pos + length]
    pos += length
    end_of_queue: bool | None = None
    if form != _ABSENT:
        flag = reply[pos]
        pos += 1
        if form == _OPTIONAL and flag == 1:
            flag = reply[pos] | 2
            pos += 1
            end_of_queue = flag == 3
        elif form == _PLAIN:
            end_of_queue = flag == 1
        elif flag:
            flag = 4
        if flag > 3 or (form == _PLAIN and flag > 1):
            raise FormatError("ws_get_messages: is_end_of_queue is neither true nor false")
    if pos != size:
        raise FormatError("ws_get_messages: the values do not end where the answer does")
    return Batch(messages, cert, tree, end_of_queue)


def _length(data: bytes, pos: int) -> tuple[int, int]:
    return read_unsigned(data, pos, 10)


def _check_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise FormatError("ws_get_messages: a text is not UTF-8") from None


def _last_text(data: bytes, pos: int) -> str:
    length, pos = _length(data, pos)
    if pos + length != len(data):
        raise FormatError("ws_get_messages: the text does not end where the answer does")
    return _check_text(data[pos:])


def _learn(reply: bytes) -> tuple[int, int]:
    """Parse and remember the head of an answer; the offset of its values and the form of is_end_of_queue."""
    head = read_head(reply)
    form = _OTHER
    if len(head.args) == 1:
        for candidate, kind in _GET_RESULTS.items():
            if _same(head.args[0], kind):
                form = candidate
    if head.size <= _MAX_HEAD_SIZE:
        if len(_heads) >= _MAX_HEADS:
            _heads[:] = _KNOWN
        _heads.append((reply[: head.size], form))
    return head.size, form


def _same(wire: Type, kind: Type) -> bool:
    """Whether two types are the same, field names aside; kind is not recursive, so this ends."""
    if wire.code != kind.code:
        return False
    if isinstance(wire, (Opt, Vec)) and isinstance(kind, (Opt, Vec)):
        return _same(wire.inner, kind.inner)
    if isinstance(wire, (Record, Variant)) and isinstance(kind, (Record, Variant)):
        return len(wire.fields) == len(kind.fields) and all(
            ours[0] == theirs[0] and _same(theirs[2], ours[2])
            for theirs, ours in zip(wire.fields, kind.fields, strict=True)
        )
    return True


def _parse_other(reply: bytes) -> Batch:
    """The general decoder: further fields, other encodings of the same, is_end_of_queue in any form."""
    (result,) = decode_as(reply, [_GET_RESULTS[_OPTIONAL]])
    if "Err" in result:
        raise CanisterRefused(result["Err"])
    answer = result["Ok"]
    messages: list[Message] = []
    for message in answer["messages"]:
        client = message["client_key"]
        messages.append(
            (client["client_principal"].raw, client["client_nonce"], message["key"].encode(), message["content"])
        )
    return Batch(messages, answer["cert"], answer["tree"], answer["is_end_of_queue"])


def nonce_of_key(key: bytes) -> int:
    """The nonce in a message's key, gateway principal . "_" . digits (the CDK writes 20 of them).

    :raises FormatError: no such number at the end
    """
    digits = key[key.rfind(b"_") + 1 :]
    if not digits.isdigit() or len(digits) > 20 or len(digits) == len(key):
        raise FormatError(f"message key {key[:100]!r} does not end in a nonce")
    return int(digits)


# -- ws_open, ws_close ------------------------------------------------------------------------------------


class OpenArgs(NamedTuple):
    """Argument of ``ws_open``, which the client signs."""

    client_nonce: int
    gateway_principal: bytes


class CloseArgs(NamedTuple):
    """Argument of ``ws_close``, which the gateway signs: whom it has lost."""

    client_principal: bytes
    client_nonce: int


_OPEN_HEAD = encode_head([_OPEN_ARGS])
_CLOSE_HEAD = encode_head([_CLOSE_ARGS])
_GET_ARGS_HEAD = encode_head([_GET_ARGS])


def encode_open_args(client_nonce: int, gateway_principal: bytes) -> bytes:
    """Argument of ``ws_open``.

    :raises FormatError: a principal or nonce that is none
    """
    values = {"client_nonce": client_nonce, "gateway_principal": Principal(gateway_principal)}
    return _OPEN_HEAD + encode_values([_OPEN_ARGS], [values])


def decode_open_args(arg: bytes) -> OpenArgs:
    """Read the argument of ``ws_open``.

    :raises FormatError: not such an argument
    """
    start = len(_OPEN_HEAD)
    if arg.startswith(_OPEN_HEAD) and len(arg) >= start + 10:
        # Field order on the wire: gateway_principal, client_nonce.
        end = start + 2 + arg[start + 1]
        if arg[start] == 1 and end - start - 2 <= MAX_LENGTH and len(arg) == end + 8:
            return OpenArgs(int.from_bytes(arg[end:], "little"), arg[start + 2 : end])
    (values,) = decode_as(arg, [_OPEN_ARGS])
    return OpenArgs(values["client_nonce"], values["gateway_principal"].raw)


def encode_close(client_principal: bytes, client_nonce: int) -> bytes:
    """Argument of ``ws_close``.

    :raises FormatError: a principal or nonce that is none
    """
    values = {"client_key": _client_key(client_principal, client_nonce)}
    return _CLOSE_HEAD + encode_values([_CLOSE_ARGS], [values])


def decode_close_args(arg: bytes) -> CloseArgs:
    """Read the argument of ``ws_close``.

    :raises FormatError: not such an argument
    """
    (values,) = decode_as(arg, [_CLOSE_ARGS])
    return CloseArgs(*_read_client_key(values))


def decode_unit_result(reply: bytes) -> None:
    """Read the answer of ``ws_open``, ``ws_close`` or ``ws_message``; to return is good news.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not such an answer
    """
    if reply == _UNIT_OK:
        return
    (result,) = decode_as(reply, [_ANY_RESULT])
    if "Err" in result:
        raise CanisterRefused(result["Err"])


def _client_key(principal: bytes, nonce: int) -> dict[str, Any]:
    return {"client_principal": Principal(principal), "client_nonce": nonce}


def _read_client_key(record: dict[str, Any]) -> tuple[bytes, int]:
    client = record["client_key"]
    return client["client_principal"].raw, client["client_nonce"]


# -- the canister's side ----------------------------------------------------------------------------------


class MessageArgs(NamedTuple):
    """Argument of ``ws_message``: the client's WebsocketMessage. ``timestamp`` is in nanoseconds."""

    client_principal: bytes
    client_nonce: int
    sequence_num: int
    timestamp: int
    is_service_message: bool
    content: bytes


def encode_message_args(message: MessageArgs, extra: Iterable[tuple[Type, Any]] = ((Opt(Null), None),)) -> bytes:
    """Arguments of ``ws_message``, as a client makes them.

    :param extra: further arguments; the SDK adds an ``opt`` of the application's message type
    :raises FormatError: a value is not of its type
    """
    record = {
        "client_key": _client_key(message.client_principal, message.client_nonce),
        "sequence_num": message.sequence_num,
        "timestamp": message.timestamp,
        "is_service_message": message.is_service_message,
        "content": message.content,
    }
    rest = list(extra)
    return encode([_MESSAGE_ARGS, *(kind for kind, _ in rest)], [{"msg": record}, *(value for _, value in rest)])


def decode_message_args(arg: bytes) -> MessageArgs:
    """Read the argument of ``ws_message``; what follows the first one is dropped.

    :raises FormatError: not such an argument
    """
    (values,) = decode_as(arg, [_MESSAGE_ARGS])
    msg = values["msg"]
    principal, nonce = _read_client_key(msg)
    return MessageArgs(
        principal, nonce, msg["sequence_num"], msg["timestamp"], msg["is_service_message"], msg["content"]
    )


def decode_get_args(arg: bytes) -> int:
    """Read the argument of ``ws_get_messages``: the nonce.

    :raises FormatError: not such an argument
    """
    if arg.startswith(_GET_ARGS_HEAD) and len(arg) == len(_GET_ARGS_HEAD) + 8:
        return int.from_bytes(arg[-8:], "little")
    (values,) = decode_as(arg, [_GET_ARGS])
    nonce: int = values["nonce"]
    return nonce


_UNIT_OK = encode([_UNIT_RESULT], [{"Ok": None}])


def encode_result_ok() -> bytes:
    """The answer ``Ok`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return _UNIT_OK


def encode_result_err(text: str) -> bytes:
    """The answer ``Err`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return encode([_UNIT_RESULT], [{"Err": text}])


def encode_batch(
    messages: Iterable[Message], cert: bytes, tree: bytes, end_of_queue: bool | None, *, optional: bool = False
) -> bytes:
    """The answer ``Ok`` of ``ws_get_messages``.

    :param end_of_queue: None: the field is left out, or null with optional
    :param optional: ``is_end_of_queue : opt bool`` instead of the Rust CDK's ``bool``
    """
    rows = list(messages)
    out = [b"\0" + write_unsigned(len(rows))]
    for principal, nonce, key, content in rows:
        out.append(
            b"%b%b%b%b\1%c%b%b"
            % (
                write_unsigned(len(key)),
                key,
                write_unsigned(len(content)),
                content,
                len(principal),
                principal,
                nonce.to_bytes(8, "little"),
            )
        )
    out.append(b"%b%b%b%b" % (write_unsigned(len(cert)), cert, write_unsigned(len(tree)), tree))
    if optional:
        form = _OPTIONAL
        out.append(b"\0" if end_of_queue is None else b"\1\1" if end_of_queue else b"\1\0")
    elif end_of_queue is None:
        form = _ABSENT
    else:
        form = _PLAIN
        out.append(b"\1" if end_of_queue else b"\0")
    return _GET_HEADS[form] + b"".join(out)


def encode_batch_err(text: str) -> bytes:
    """The answer ``Err`` of ``ws_get_messages``."""
    return encode([_GET_RESULTS[_PLAIN]], [{"Err": text}])


# -- service messages ---------------------------------------------------------------------------------------


class OpenMessage(NamedTuple):
    """From the canister: the session is open."""

    client_principal: bytes
    client_nonce: int


class AckMessage(NamedTuple):
    """From the canister, each acknowledgement round."""

    last_incoming_sequence_num: int


class KeepAliveMessage(NamedTuple):
    """From the client, in answer to an :class:`AckMessage`."""

    last_incoming_sequence_num: int


class CloseMessage(NamedTuple):
    """From the canister: the session is over; ``reason`` is one of CLOSE_REASONS."""

    reason: str


ServiceMessage = OpenMessage | AckMessage | KeepAliveMessage | CloseMessage
CLOSE_REASONS = ("WrongSequenceNumber", "InvalidServiceMessage", "KeepAliveTimeout", "ClosedByApplication")

_SEQUENCE = Record({"last_incoming_sequence_num": Nat64})
_SERVICE_CONTENT = Variant(
    {
        "OpenMessage": Record({"client_key": _CLIENT_KEY}),
        "AckMessage": _SEQUENCE,
        "KeepAliveMessage": _SEQUENCE,
        "CloseMessage": Record({"reason": Variant(dict.fromkeys(CLOSE_REASONS, Null))}),
    }
)


def encode_service_message(message: ServiceMessage) -> bytes:
    """Content of a WebsocketMessage with ``is_service_message``.

    :raises FormatError: a value is not of its type
    """
    content: dict[str, Any]
    if isinstance(message, OpenMessage):
        content = {"client_key": _client_key(*message)}
    elif isinstance(message, CloseMessage):
        content = {"reason": {message.reason: None}}
    else:
        content = message._asdict()
    return encode([_SERVICE_CONTENT], [{type(message).__name__: content}])


def decode_service_message(content: bytes) -> ServiceMessage:
    """Read the content of a WebsocketMessage with ``is_service_message``.

    :raises FormatError: not such a content
    """
    (variant,) = decode_as(content, [_SERVICE_CONTENT])
    ((tag, record),) = variant.items()
    if tag == "OpenMessage":
        return OpenMessage(*_read_client_key(record))
    if tag == "CloseMessage":
        (reason,) = record["reason"]
        return CloseMessage(reason)
    number = record["last_incoming_sequence_num"]
    return AckMessage(number) if tag == "AckMessage" else KeepAliveMessage(number)
