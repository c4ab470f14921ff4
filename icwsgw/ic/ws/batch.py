"""``ws_get_messages``, both ways.

Answers of this method are the hot path: each message of each client comes by here. A Candid message begins with
a head, the type table, that is the same for every answer of a canister and differs between encoders in numbering
only, because fields travel in the order of their ids. So a head is parsed once and remembered together with the
one thing that changes how the values lie: the form of ``is_end_of_queue`` (``bool`` in the Rust CDK, ``opt bool``
in others, absent in old ones). Answers under a remembered head are read by offsets alone, in under a microsecond
a message. A head of another shape (further fields, other types) is remembered as such, and its answers go through
the general decoder with its coercions.
"""

from __future__ import annotations

from collections.abc import Iterable

from icwsgw.errors import CanisterRefused, FormatError
from icwsgw.ic.candid import Blob, Bool, Nat64, Opt, Record, Text, Type, Variant, Vec, decode_as, encode, encode_head
from icwsgw.ic.candid.leb import read_unsigned, write_unsigned
from icwsgw.ic.principal import MAX_LENGTH
from icwsgw.ic.ws.client_keys import CLIENT_KEY, LIMITS, SMALL
from icwsgw.ic.ws.head_cache import CandidHeadCache, same_type

#: Messages in one answer: with the CDK's keys and contents no more fit into its 3 MiB. Reading as many takes 30 ms.
MAX_MESSAGES = 16_384
#: Numbers of messages: a canister counts up from 0, so there is room above all that can be met for "from there on".
MAX_NONCE = (1 << 63) - 1

#: One message for a client: principal and nonce of its client key, key (UTF-8 of the text), content.
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

    def cut(self, most_messages: int, most_bytes: int) -> None:
        """Drop messages at the end that are too many; at least one stays, and those dropped have to be asked for again.

        :param most_bytes: of all messages to clients, each of which comes with certificate and tree
        """
        shared = len(self.cert) + len(self.tree)
        most = min(most_messages, max(1, most_bytes // (shared + 1)))
        if len(self.messages) > most:
            del self.messages[most:]
            self.end_of_queue = False


_ABSENT, _PLAIN, _OPTIONAL, _OTHER = range(4)  # forms of is_end_of_queue; _OTHER: not readable by offsets
_GET_RESULTS = {_ABSENT: _get_result(None), _PLAIN: _get_result(Bool), _OPTIONAL: _get_result(Opt(Bool))}
_GET_HEADS = {form: encode_head([kind]) for form, kind in _GET_RESULTS.items()}
# What follows the head in the usual answer of an idle queue: Ok, no messages, cert, tree, end of queue.
_EMPTY = {_ABSENT: b"\0\0\0\0", _PLAIN: b"\0\0\0\0\1", _OPTIONAL: b"\0\0\0\0\1\1"}


def _form(args: list[Type]) -> int:
    for form, kind in _GET_RESULTS.items():
        if len(args) == 1 and same_type(args[0], kind):
            return form
    return _OTHER


_heads = CandidHeadCache([(_GET_HEADS[form], form) for form in (_PLAIN, _OPTIONAL, _ABSENT)], _form)


def encode_get_messages(nonce: int) -> bytes:
    """Argument of ``ws_get_messages``: messages from this nonce on."""
    return _GET_ARGS_HEAD + nonce.to_bytes(8, "little")


def parse_get_messages(reply: bytes) -> Batch:
    """Read an answer of ``ws_get_messages``.

    :raises CanisterRefused: the canister answered ``Err``
    :raises FormatError: not such an answer
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
    """Read the values behind a head of the usual shape.

    A range beyond the end is cut off silently, but then the offset lies beyond the end too: the next byte
    looked at raises IndexError, or the comparison at the end fails.
    """
    tag = reply[pos]
    if tag:
        if tag > 1:
            return _parse_other(reply)  # an overlong 0 or 1, or wrong
        raise CanisterRefused(_last_text(reply, pos + 1))
    count, pos = _count(reply, pos + 1)
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
    return _with_proof(messages, reply, pos, form)


def _count(reply: bytes, pos: int) -> tuple[int, int]:
    """Read how many messages follow; returns that, and where they begin."""
    count, pos = _length(reply, pos)
    if count > len(reply):
        raise FormatError(f"ws_get_messages: {count} messages announced in {len(reply)} bytes")
    if count > MAX_MESSAGES:
        raise FormatError(f"ws_get_messages: {count} messages in one answer, at most {MAX_MESSAGES} are read")
    return count, pos


def _with_proof(messages: list[Message], reply: bytes, pos: int, form: int) -> Batch:
    """Read what follows the messages: certificate, tree and end of queue."""
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
    """The general decoder: further fields, other encodings of the same, is_end_of_queue in any form."""
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
    """The nonce in a message's key, gateway principal . "_" . digits (the CDK writes 20 of them).

    :raises FormatError: no such number at the end, or none that a canister counts up to
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
    """Read the argument of ``ws_get_messages``: the nonce.

    :raises FormatError: not such an argument
    """
    if arg.startswith(_GET_ARGS_HEAD) and len(arg) == len(_GET_ARGS_HEAD) + 8:
        return int.from_bytes(arg[-8:], "little")
    (values,) = decode_as(arg, [_GET_ARGS], limits=SMALL)
    nonce: int = values["nonce"]
    return nonce


def encode_batch(
    messages: Iterable[Message], cert: bytes, tree: bytes, end_of_queue: bool | None, *, optional: bool = False
) -> bytes:
    """The answer ``Ok`` of ``ws_get_messages``.

    :param end_of_queue: None: the field is left out, or null with optional
    :param optional: ``is_end_of_queue : opt bool`` instead of the Rust CDK's ``bool``
    :raises FormatError: a principal that is none
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
    """The answer ``Err`` of ``ws_get_messages``."""
    return encode([_GET_RESULTS[_PLAIN]], [{"Err": text}])
