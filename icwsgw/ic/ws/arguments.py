"""Arguments and answers of ``ws_open``, ``ws_close`` and ``ws_message`` (the CDK's ws_types.did)."""

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
    decode_as,
    encode,
    encode_head,
    encode_values,
)
from icwsgw.ic.candid.leb import read_unsigned
from icwsgw.ic.principal import MAX_LENGTH, Principal
from icwsgw.ic.ws.client_keys import CLIENT_KEY, SMALL, client_key, read_client_key
from icwsgw.ic.ws.head_cache import CandidHeadCache, same_type

_OPEN_ARGS = Record({"client_nonce": Nat64, "gateway_principal": PrincipalType})
_CLOSE_ARGS = Record({"client_key": CLIENT_KEY})
_MESSAGE_ARGS = Record(
    {
        "msg": Record(
            {
                "client_key": CLIENT_KEY,
                "sequence_num": Nat64,
                "timestamp": Nat64,
                "is_service_message": Bool,
                "content": Blob,
            }
        )
    }
)
_UNIT_RESULT = Variant({"Ok": Null, "Err": Text})
# The value of Ok is ignored, because not every encoder writes null there.
_ANY_RESULT = Variant({"Ok": Reserved, "Err": Text})


class OpenArgs(NamedTuple):
    """The argument of ``ws_open``. The client signs this call."""

    client_nonce: int
    gateway_principal: bytes


class CloseArgs(NamedTuple):
    """The argument of ``ws_close``: the client key of the client that has left. The gateway signs this call."""

    client_principal: bytes
    client_nonce: int


_OPEN_HEAD = encode_head([_OPEN_ARGS])
_CLOSE_HEAD = encode_head([_CLOSE_ARGS])


def encode_open_args(client_nonce: int, gateway_principal: bytes) -> bytes:
    """Encode the argument of ``ws_open``.

    :raises FormatError: the principal is longer than 29 bytes, or the nonce does not fit in 64 bits
    """
    values = {"client_nonce": client_nonce, "gateway_principal": Principal(gateway_principal)}
    return _OPEN_HEAD + encode_values([_OPEN_ARGS], [values])


def decode_open_args(arg: bytes) -> OpenArgs:
    """Decode the argument of ``ws_open``.

    :raises FormatError: not an argument of ``ws_open``
    """
    start = len(_OPEN_HEAD)
    if arg.startswith(_OPEN_HEAD) and len(arg) >= start + 10:
        # Field order on the wire: gateway_principal, client_nonce.
        end = start + 2 + arg[start + 1]
        if arg[start] == 1 and end - start - 2 <= MAX_LENGTH and len(arg) == end + 8:
            return OpenArgs(int.from_bytes(arg[end:], "little"), arg[start + 2 : end])
    (values,) = decode_as(arg, [_OPEN_ARGS], limits=SMALL)
    return OpenArgs(values["client_nonce"], values["gateway_principal"].raw)


def encode_close(client_principal: bytes, client_nonce: int) -> bytes:
    """Encode the argument of ``ws_close``.

    :raises FormatError: the principal is longer than 29 bytes, or the nonce does not fit in 64 bits
    """
    if len(client_principal) > MAX_LENGTH or not 0 <= client_nonce < 1 << 64:
        raise FormatError("not a client key")
    # Field order on the wire: client_principal, client_nonce.
    return b"%b\x01%c%b%b" % (
        _CLOSE_HEAD,
        len(client_principal),
        client_principal,
        client_nonce.to_bytes(8, "little"),
    )


def decode_close_args(arg: bytes) -> CloseArgs:
    """Decode the argument of ``ws_close``.

    :raises FormatError: not an argument of ``ws_close``
    """
    (values,) = decode_as(arg, [_CLOSE_ARGS], limits=SMALL)
    return CloseArgs(*read_client_key(values))


def decode_unit_result(reply: bytes) -> None:
    """Check that the answer of ``ws_open``, ``ws_close`` or ``ws_message`` is ``Ok``.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not an answer of these methods
    """
    if reply == UNIT_OK:
        return
    (result,) = decode_as(reply, [_ANY_RESULT], limits=SMALL)
    if "Err" in result:
        raise CanisterRefused(result["Err"])


class MessageArgs(NamedTuple):
    """The first argument of ``ws_message``: the client's WebsocketMessage. ``timestamp`` is in ns since 1970."""

    client_principal: bytes
    client_nonce: int
    sequence_num: int
    timestamp: int
    is_service_message: bool
    content: bytes


def encode_message_args(message: MessageArgs, extra: Iterable[tuple[Type, Any]] = ((Opt(Null), None),)) -> bytes:
    """Encode the arguments of ``ws_message`` as a client does.

    :param extra: types and values of further arguments; the SDK adds an ``opt`` of the application's message type
    :raises FormatError: a value does not fit its type
    """
    record = {
        "client_key": client_key(message.client_principal, message.client_nonce),
        "sequence_num": message.sequence_num,
        "timestamp": message.timestamp,
        "is_service_message": message.is_service_message,
        "content": message.content,
    }
    rest = list(extra)
    return encode([_MESSAGE_ARGS, *(kind for kind, _ in rest)], [{"msg": record}, *(value for _, value in rest)])


def decode_message_args(arg: bytes) -> MessageArgs:
    """Decode the first argument of ``ws_message``; further arguments are ignored.

    :raises FormatError: not arguments of ``ws_message``
    """
    pos, form = _message_heads.find(arg)
    if form == _USUAL:
        found = _usual_message(arg, pos)
        if found is not None:
            return found
    (values,) = decode_as(arg, [_MESSAGE_ARGS], limits=SMALL)
    msg = values["msg"]
    principal, nonce = read_client_key(msg)
    return MessageArgs(
        principal, nonce, msg["sequence_num"], msg["timestamp"], msg["is_service_message"], msg["content"]
    )


def usual_message_head(arg: bytes) -> bytes:
    """Return the Candid head of an argument of ``ws_message``, if the argument has the form that the SDK writes.

    All messages of a client have the same head, so the caller finds it once in a session and gives it to
    :func:`message_number`.

    :return: the head; empty if the argument has another form or is malformed
    """
    try:
        pos, form = _message_heads.find(arg)
        return arg[:pos] if form == _USUAL and _usual_message(arg, pos) is not None else b""
    except FormatError:
        return b""


def message_number(head: bytes, arg: bytes) -> int | None:
    """Read the sequence number of a message at its fixed offset after the head.

    :param head: a result of :func:`usual_message_head`, not empty
    :param arg: the argument of ``ws_message``
    :returns: the sequence number; None: the argument has another head, or is cut short
    """
    end = len(head) + 8
    return int.from_bytes(arg[end - 8 : end], "little") if len(arg) > end and arg.startswith(head) else None


def is_service_message(arg: bytes) -> bool:
    """Return whether an argument of ``ws_message`` with the usual head is a service message, that is a keep-alive."""
    return arg[-2:] == b"\x01\x00"


def is_open_of_version_0_1(arg: bytes) -> bool:
    """Return whether an argument of ``ws_open`` is from ic-websocket-js 0.1.x: a nonce without a gateway principal."""
    return len(arg) == len(_OLD_OPEN_HEAD) + 8 and arg.startswith(_OLD_OPEN_HEAD)


_OLD_OPEN_HEAD = encode_head([Record({"client_nonce": Nat64})])
_USUAL, _OTHER = range(2)


def _message_form(args: list[Type]) -> int:
    """Return _USUAL for the SDK's arguments: the message, and an ``opt`` of any application type; else _OTHER."""
    return _USUAL if len(args) == 2 and same_type(args[0], _MESSAGE_ARGS) and isinstance(args[1], Opt) else _OTHER


_message_heads = CandidHeadCache([], _message_form)


def _usual_message(arg: bytes, pos: int) -> MessageArgs | None:
    """Read the values after a usual head. Return None if they are not as expected, or the second argument is not null.

    The order of the fields on the wire is that of their ids: sequence_num, content, client_key (client_principal,
    client_nonce), timestamp, is_service_message.
    """
    from_bytes = int.from_bytes
    content_size, start = read_unsigned(arg, pos + 8, 10)
    end = start + content_size
    tail = end + 2
    # After the principal: client_nonce 8 bytes, timestamp 8, is_service_message 1, the null 1.
    if len(arg) < tail + 18 or arg[end] != 1:
        return None
    rest = tail + arg[end + 1]
    if arg[end + 1] > MAX_LENGTH or len(arg) != rest + 18 or arg[-1] or arg[-2] > 1:
        return None
    return MessageArgs(
        arg[tail:rest],
        from_bytes(arg[rest : rest + 8], "little"),
        from_bytes(arg[pos : pos + 8], "little"),
        from_bytes(arg[rest + 8 : rest + 16], "little"),
        arg[-2] == 1,
        arg[start:end],
    )


UNIT_OK = encode([_UNIT_RESULT], [{"Ok": None}])
"""The encoding of ``Ok`` that the Rust CDK and this module write."""


def encode_result_ok() -> bytes:
    """Encode the answer ``Ok`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return UNIT_OK


def encode_result_err(text: str) -> bytes:
    """Encode the answer ``Err`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return encode([_UNIT_RESULT], [{"Err": text}])
