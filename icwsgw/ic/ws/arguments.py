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
# What Ok carries is of no interest, and not every encoder takes "nothing" to be null.
_ANY_RESULT = Variant({"Ok": Reserved, "Err": Text})


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
    (values,) = decode_as(arg, [_OPEN_ARGS], limits=SMALL)
    return OpenArgs(values["client_nonce"], values["gateway_principal"].raw)


def encode_close(client_principal: bytes, client_nonce: int) -> bytes:
    """Argument of ``ws_close``.

    :raises FormatError: a principal or nonce that is none
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
    """Read the argument of ``ws_close``.

    :raises FormatError: not such an argument
    """
    (values,) = decode_as(arg, [_CLOSE_ARGS], limits=SMALL)
    return CloseArgs(*read_client_key(values))


def decode_unit_result(reply: bytes) -> None:
    """Read the answer of ``ws_open``, ``ws_close`` or ``ws_message``; to return is good news.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not such an answer
    """
    if reply == UNIT_OK:
        return
    (result,) = decode_as(reply, [_ANY_RESULT], limits=SMALL)
    if "Err" in result:
        raise CanisterRefused(result["Err"])


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
        "client_key": client_key(message.client_principal, message.client_nonce),
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
    """Give the head of an argument of ``ws_message`` as the SDK makes it, behind which :func:`message_number` reads.

    A client's messages all have the same head, so it is looked for once a session.

    :return: empty where the argument has another shape, or none at all
    """
    try:
        pos, form = _message_heads.find(arg)
        return arg[:pos] if form == _USUAL and _usual_message(arg, pos) is not None else b""
    except FormatError:
        return b""


def message_number(head: bytes, arg: bytes) -> int | None:
    """Read the sequence number of a message by its offset; None where the argument has another head, or is cut short.

    :param head: from :func:`usual_message_head`, not empty
    """
    end = len(head) + 8
    return int.from_bytes(arg[end - 8 : end], "little") if len(arg) > end and arg.startswith(head) else None


def is_service_message(arg: bytes) -> bool:
    """Say whether an argument with a usual head is that of a service message: a keep-alive."""
    return arg[-2:] == b"\x01\x00"


def is_open_of_version_0_1(arg: bytes) -> bool:
    """Say whether an argument of ``ws_open`` is what ic-websocket-js 0.1.x sends: a nonce and no gateway principal."""
    return len(arg) == len(_OLD_OPEN_HEAD) + 8 and arg.startswith(_OLD_OPEN_HEAD)


_OLD_OPEN_HEAD = encode_head([Record({"client_nonce": Nat64})])
_USUAL, _OTHER = range(2)


def _message_form(args: list[Type]) -> int:
    """As the SDK makes it: the message, and an ``opt`` of whatever the application's type is."""
    return _USUAL if len(args) == 2 and same_type(args[0], _MESSAGE_ARGS) and isinstance(args[1], Opt) else _OTHER


_message_heads = CandidHeadCache([], _message_form)


def _usual_message(arg: bytes, pos: int) -> MessageArgs | None:
    """The values behind a usual head, with null as the second argument; None where they are not as expected.

    In the order of field ids: sequence_num, content, client_key = client_principal, client_nonce, timestamp,
    is_service_message.
    """
    from_bytes = int.from_bytes
    content_size, start = read_unsigned(arg, pos + 8, 10)
    end = start + content_size
    tail = end + 2
    # Behind the principal: client_nonce 8, timestamp 8, is_service_message 1, the null 1.
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
"""``Ok`` as the Rust CDK and we encode it."""


def encode_result_ok() -> bytes:
    """The answer ``Ok`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return UNIT_OK


def encode_result_err(text: str) -> bytes:
    """The answer ``Err`` of ``ws_open``, ``ws_close`` and ``ws_message``."""
    return encode([_UNIT_RESULT], [{"Err": text}])
