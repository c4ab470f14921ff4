"""Encodes and decodes the argument and the answer of ``ws_get_messages``.

Decoding the answers is the hot path, because they contain every message for every client. Therefore this module parses
each Candid head once and caches it:

* A Candid message begins with a head, which has the type table. All answers of a canister have the same head. Encoders
  differ only in how they number the types, because fields are written in the order of their ids.
* The cache has each head with the only property that changes the layout of the values: the form of ``is_end_of_queue``
  (``bool`` in the Rust CDK, ``opt bool`` in others, absent in old ones).
* The values after a cached head are read at computed offsets, in less than a microsecond for each message.
* A head of another shape (further fields, other types) is cached as such. The general decoder reads its answers, with
  the coercions of Candid.
"""

from __future__ import annotations

from collections.abc import Iterable

from icwsgw.errors import CanisterRefused, FormatError
from icwsgw.ic.candid import Blob, Bool, Nat64, Opt, Record, Text, Type, Variant, Vec, decode_as, encode, encode_head
from icwsgw.ic.candid.leb import read_unsigned, write_unsigned
from icwsgw.ic.principal import MAX_LENGTH
from icwsgw.ic.ws.client_keys import CLIENT_KEY, LIMITS, SMALL
from icwsgw.ic.ws.head_cache import CandidHeadCache, same_type

#: The most messages in one answer. With the CDK's keys and contents, 3 MiB hold no more. Reading them takes 30 ms.
MAX_MESSAGES = 16_384
#: The highest nonce of a message. Canisters count from 0 and never reach it, so the next nonce always fits in 64 bits.
MAX_NONCE = (1 << 63) - 1

#: One message for a client: principal and nonce of the client key, the message key (text in UTF-8), the content.
Message = tuple[bytes, int, bytes, bytes]

_GET_ARGS = Record({"nonce": Nat64})
_GET_ARGS_HEAD = encode_head([_GET_ARGS])


def _get_result(end: Type | None) -> Variant:
    message = Record({"client_key": CLIENT_KEY, "key": Text, "content": Blob})
    fields: dict[str, Type] = {"messages": Vec(message), "cert": Blob, "tree": Blob}
    if end is not None:
        fields["is_end_of_queue"] = end
    return Variant({"Ok": Record(fields), "Err": Text})


class Batch:
    """An answer of ``ws_get_messages``: one page.

    :ivar messages: the messages, in the order of the queue
    :ivar cert: the certificate; empty without messages
    :ivar tree: the witness of the messages in the canister's certified tree; empty without messages
    :ivar end_of_queue: whether the queue has no messages after these; None: the canister does not send it
    """

    __slots__ = ("cert", "end_of_queue", "messages", "tree")

    def __init__(self, messages: list[Message], cert: bytes, tree: bytes, end_of_queue: bool | None) -> None:
        self.messages = messages
        self.cert = cert
        self.tree = tree
        self.end_of_queue = end_of_queue

    def cut(self, most_messages: int, most_bytes: int) -> None:
        """Drop messages from the end until the page is within the limits; at least one stays.

        A later poll must fetch the dropped messages again.

        :param most_messages: the most messages, at least 1
        :param most_bytes: the most bytes of certificate and tree in the frames of all messages: each frame has its own
            copy of both
        """
        shared = len(self.cert) + len(self.tree)
        most = min(most_messages, max(1, most_bytes // (shared + 1)))
        if len(self.messages) > most:
            del self.messages[most:]
            self.end_of_queue = False


_ABSENT, _PLAIN, _OPTIONAL, _OTHER = range(4)  # forms of is_end_of_queue; _OTHER: needs the general decoder
_GET_RESULTS = {_ABSENT: _get_result(None), _PLAIN: _get_result(Bool), _OPTIONAL: _get_result(Opt(Bool))}
_GET_HEADS = {form: encode_head([kind]) for form, kind in _GET_RESULTS.items()}
# The values in the usual answer of an empty queue: Ok, no messages, empty cert and tree, end of queue.
_EMPTY = {_ABSENT: b"\0\0\0\0", _PLAIN: b"\0\0\0\0\1", _OPTIONAL: b"\0\0\0\0\1\1"}


def _form(args: list[Type]) -> int:
    for form, kind in _GET_RESULTS.items():
        if len(args) == 1 and same_type(args[0], kind):
            return form
    return _OTHER


_heads = CandidHeadCache([(_GET_HEADS[form], form) for form in (_PLAIN, _OPTIONAL, _ABSENT)], _form)


def encode_get_messages(nonce: int) -> bytes:
    """Encode the argument of ``ws_get_messages``, which gets messages from a nonce on.

    :raises OverflowError: the nonce does not fit in 64 bits
    """
    return _GET_ARGS_HEAD + nonce.to_bytes(8, "little")


def parse_get_messages(reply: bytes) -> Batch:
    """Decode an answer of ``ws_get_messages``.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not an answer of ``ws_get_messages``
    """
    pos, form = _heads.find(reply)
    if form == _OTHER:
        return _parse_other(reply)
    if len(reply) - pos < 8 and reply[pos:] == _EMPTY[form]:
        return Batch([], b"", b"", True if form != _ABSENT else None)
    try:
        return _parse_known(reply, pos, form)
    except IndexError:
        raise FormatError("ws_get_messages: the answer is cut short") from None


def _parse_known(reply: bytes, pos: int, form: int) -> Batch:
    """Read the values after a head of a usual shape.

    Python shortens a slice beyond the end of the bytes without an error. The offset is then beyond the end too, so
    reading the next byte raises IndexError, or the comparison of the final offset with the length fails.
    """
    tag = reply[pos]
    if tag:
        if tag > 1:
            return _parse_other(reply)  # an overlong 0 or 1, or malformed
        raise CanisterRefused(_last_text(reply, pos + 1))
    count, pos = _count(reply, pos + 1)
    messages: list[Message] = []
    append = messages.append
    from_bytes = int.from_bytes
    for _ in range(count):
        # The fields in the order of their ids: key, content, client_key (client_principal, client_nonce).
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
    return _with_proof(messages, reply, pos, form)


def _count(reply: bytes, pos: int) -> tuple[int, int]:
    """Return the number of messages, and the offset of the first one."""
    count, pos = _length(reply, pos)
    if count > len(reply):
        raise FormatError(f"ws_get_messages: {count} messages announced in {len(reply)} bytes")
    if count > MAX_MESSAGES:
        raise FormatError(f"ws_get_messages: {count} messages in one answer, at most {MAX_MESSAGES} are read")
    return count, pos


def _with_proof(messages: list[Message], reply: bytes, pos: int, form: int) -> Batch:
    """Read the values after the messages: certificate, tree and end of queue."""
    length, pos = _length(reply, pos)
    cert = reply[pos : pos + length]
    length, pos = _length(reply, pos + length)
    tree = reply[pos : pos + length]
    pos += length
    end_of_queue, pos = _end_of_queue(reply, pos, form)
    if pos != len(reply):
        raise FormatError("ws_get_messages: the values do not end where the answer does")
    return Batch(messages, cert, tree, end_of_queue)


def _end_of_queue(reply: bytes, pos: int, form: int) -> tuple[bool | None, int]:
    if form == _ABSENT:
        return None, pos
    flag = reply[pos]
    pos += 1
    if form == _OPTIONAL and flag < 2:
        if not flag:
            return None, pos
        flag = reply[pos]
        pos += 1
    if flag > 1:
        raise FormatError("ws_get_messages: is_end_of_queue is neither true nor false")
    return flag == 1, pos


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


def _parse_other(reply: bytes) -> Batch:
    """Decode an answer with the general decoder: further fields, unusual encodings, any form of is_end_of_queue."""
    (result,) = decode_as(reply, [_GET_RESULTS[_OPTIONAL]], limits=LIMITS)
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
    """Return the nonce in a message's key.

    :param key: the gateway's principal as text, "_" and digits (20 from the CDK)

    :raises FormatError: the key does not end in "_" and at most 20 digits, or the nonce is above MAX_NONCE
    """
    digits = key[-20:]
    if not digits.isdigit() or key[-21:-20] != b"_":
        digits = key[key.rfind(b"_") + 1 :]
        if not digits.isdigit() or len(digits) > 20 or len(digits) == len(key):
            raise FormatError(f"message key {key[:100]!r} does not end in a nonce")
    nonce = int(digits)
    if nonce > MAX_NONCE:
        raise FormatError(f"message key {key[:100]!r} ends in a nonce beyond {MAX_NONCE}")
    return nonce


def decode_get_args(arg: bytes) -> int:
    """Decode the argument of ``ws_get_messages``: the nonce.

    :raises FormatError: not an argument of ``ws_get_messages``
    """
    if arg.startswith(_GET_ARGS_HEAD) and len(arg) == len(_GET_ARGS_HEAD) + 8:
        return int.from_bytes(arg[-8:], "little")
    (values,) = decode_as(arg, [_GET_ARGS], limits=SMALL)
    nonce: int = values["nonce"]
    return nonce


def encode_batch(
    messages: Iterable[Message], cert: bytes, tree: bytes, end_of_queue: bool | None, *, optional: bool = False
) -> bytes:
    """Encode the answer ``Ok`` of ``ws_get_messages``.

    :param end_of_queue: the value of ``is_end_of_queue``; None: the field is left out, or null if ``optional``
    :param optional: write ``is_end_of_queue : opt bool`` instead of the Rust CDK's ``bool``
    :raises FormatError: a principal is longer than 29 bytes
    """
    rows = list(messages)
    out = [b"\0" + write_unsigned(len(rows))]
    for principal, nonce, key, content in rows:
        if len(principal) > MAX_LENGTH:
            raise FormatError("a client_principal is longer than a principal can be")
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
    """Encode the answer ``Err`` of ``ws_get_messages``."""
    return encode([_GET_RESULTS[_PLAIN]], [{"Err": text}])
