from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import CanisterRefused, FormatError
from icwsgw.ic import ws
from icwsgw.ic.candid import (
    Blob,
    Bool,
    Nat,
    Nat64,
    Null,
    Opt,
    PrincipalType,
    Record,
    Text,
    Type,
    Variant,
    Vec,
    decode,
    decode_as,
    encode,
)
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import batch

RUST = json.loads((Path(__file__).parents[2] / "vectors" / "cdk" / "rust.json").read_text())

principals = st.binary(max_size=29)
nonces = st.integers(0, (1 << 64) - 1)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=90).map(str.encode)
contents = st.one_of(st.binary(max_size=300), st.integers(0, 20_000).map(bytes))
messages = st.lists(st.tuples(principals, nonces, keys, contents), max_size=6)


@pytest.fixture(autouse=True)
def forget_heads() -> None:
    batch._heads.forget()


def result_type(end: Type | None = Bool, **more: Type) -> Variant:
    """The answer's type with further fields in each record."""
    client = Record({"client_principal": PrincipalType, "client_nonce": Nat64, **more})
    message = Record({"client_key": client, "key": Text, "content": Blob, **more})
    fields: dict[str, Type] = {"messages": Vec(message), "cert": Blob, "tree": Blob, **more}
    if end is not None:
        fields["is_end_of_queue"] = end
    return Variant({"Ok": Record(fields), "Err": Text})


def record(rows: list[ws.Message], cert: bytes, tree: bytes, **more: Any) -> dict[str, Any]:
    return {
        "Ok": {
            "messages": [
                {
                    "client_key": {"client_principal": Principal(principal), "client_nonce": nonce},
                    "key": key.decode(),
                    "content": content,
                }
                for principal, nonce, key, content in rows
            ],
            "cert": cert,
            "tree": tree,
            **more,
        }
    }


def parts(answer: ws.Batch) -> tuple[Any, ...]:
    return answer.messages, answer.cert, answer.tree, answer.end_of_queue


def outcome(reply: bytes, read: Any) -> Any:
    """What a decoder makes of an answer, failures among it."""
    try:
        return parts(read(reply))
    except FormatError:
        return "malformed"
    except CanisterRefused as refusal:
        return str(refusal)


def test_the_rust_cdk() -> None:
    empty = bytes.fromhex(RUST["get_messages_empty"])
    assert parts(ws.parse_get_messages(empty)) == ([], b"", b"", True)
    assert ws.encode_batch([], b"", b"", True) == empty
    full = bytes.fromhex(RUST["get_messages_open"])
    answer = ws.parse_get_messages(full)
    ((principal, nonce, key, content),) = answer.messages
    assert principal.hex() == RUST["client_principal"]
    assert nonce == RUST["client_nonce"]
    assert key == b"wf3fv-4c4nr-7ks2b-xa4u7-kf3no-32glf-lf7e4-4ng4a-wwtlu-a2vnq-nae_00000000000000000000"
    assert content.startswith(b"\xd9\xd9\xf7\xa5")
    assert (answer.cert, answer.tree, answer.end_of_queue) == (b"\xab" * 1000, b"\xcd" * 500, True)
    assert ws.encode_batch(answer.messages, answer.cert, answer.tree, True) == full


@given(messages, contents, contents, st.sampled_from([None, True, False]), st.booleans())
def test_round_trip(rows: list[ws.Message], cert: bytes, tree: bytes, end: bool | None, optional: bool) -> None:
    reply = ws.encode_batch(rows, cert, tree, end, optional=optional)
    assert parts(ws.parse_get_messages(reply)) == (rows, cert, tree, end)
    assert parts(batch._parse_other(reply)) == (rows, cert, tree, end)
    # The general encoder writes the same bytes.
    kind = result_type(Opt(Bool) if optional else None if end is None else Bool)
    more = {"is_end_of_queue": end} if optional or end is not None else {}
    assert encode([kind], [record(rows, cert, tree, **more)]) == reply


@given(messages, st.data())
def test_both_decoders_agree_on_damaged_answers(rows: list[ws.Message], data: st.DataObject) -> None:
    optional = data.draw(st.booleans())
    end = data.draw(st.sampled_from([None, True, False]))
    reply = bytearray(ws.encode_batch(rows, b"cert", b"tree", end, optional=optional))
    start = decode_head_size(bytes(reply))
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()) and len(reply) > start:
            reply[data.draw(st.integers(start, len(reply) - 1))] = data.draw(st.integers(0, 255))
        elif data.draw(st.booleans()):
            reply = reply[: data.draw(st.integers(start, len(reply)))]
        else:
            reply += data.draw(st.binary(max_size=3))
    damaged = bytes(reply)
    assert outcome(damaged, ws.parse_get_messages) == outcome(damaged, batch._parse_other)


def decode_head_size(reply: bytes) -> int:
    return batch._heads.find(reply)[0]


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    for reply in (data, b"DIDL" + data, *(head + data for head in batch._GET_HEADS.values())):
        assert outcome(reply, ws.parse_get_messages) == outcome(reply, batch._parse_other)


def test_another_encoders_table_is_learnt() -> None:
    """Another numbering of the same types: read by offsets after the first time."""
    rows: list[ws.Message] = [(b"p", 1, b"gw_00000000000000000007", b"content")]
    ours = ws.encode_batch(rows, b"c", b"t", True)
    values = ours[decode_head_size(ours) :]
    # blob, client key, message, vec message, Ok, result; the entries the other way round, blob listed twice.
    table = [
        b"\x6d\x7b",
        b"\x6c\x02\xfa\x80\xa2\x94\x05\x68\xbb\xd1\xea\xcd\x0e\x78",
        b"\x6c\x03\x9f\x93\xc6\x02\x71\xb9\x9a\xde\xcb\x01\x00\xeb\xb4\x9c\xe9\x03\x01",
        b"\x6d\x02",
        b"\x6c\x04\xcc\xb1\xf7\xa7\x03\x03\xe4\xcd\xf4\x8d\x04\x06\xde\xb2\x8e\xe8\x04\x00\x82\x9c\x8d\xf4\x0d\x7e",
        b"\x6b\x02\xbc\x8a\x01\x04\xc5\xfe\xd2\x01\x71",
        b"\x6d\x7b",
    ]
    head = b"DIDL\x07" + b"".join(table) + b"\x01\x05"
    assert decode(head + values)
    for _ in range(2):
        assert parts(ws.parse_get_messages(head + values)) == (rows, b"c", b"t", True)
    assert batch._heads.rows[3:] == [(head, batch._PLAIN)]


@pytest.mark.parametrize("more", [{"zzz": Nat}, {"AAA": Opt(Text), "timestamp": Nat64}])
@pytest.mark.parametrize("end", [None, Bool, Opt(Bool), Opt(Opt(Bool)), Text])
def test_further_fields_and_other_types(more: dict[str, Type], end: Type | None) -> None:
    rows: list[ws.Message] = [(b"p", n, b"gw_%020d" % n, b"content") for n in range(3)]
    kind = result_type(end, **more)
    given_values = {"zzz": 5, "AAA": None, "timestamp": 9}
    extra = {name: given_values[name] for name in more}
    value = record(rows, b"c", b"t", **extra)
    if end is not None:
        value["Ok"]["is_end_of_queue"] = "text" if end is Text else None if isinstance(end, Opt) else True
    for message in value["Ok"]["messages"]:
        message.update(extra)
        message["client_key"].update(extra)
    reply = encode([kind, Nat], [value, 1])
    for _ in range(2):
        assert parts(ws.parse_get_messages(reply)) == (rows, b"c", b"t", True if end is Bool else None)
    assert batch._heads.rows[3:] == [(reply[: decode_head_size(reply)], batch._OTHER)]


def _ok(cert: Type = Blob, row: Type = Null) -> Variant:
    return Variant({"Ok": Record({"messages": Vec(row), "cert": cert, "tree": Blob}), "Err": Text})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Nat, 1),
        (Record({}), {}),
        (Variant({"Ok": Null, "Err": Text}), {"Ok": None}),
        (Variant({"Err": Nat}), {"Err": 1}),
        (_ok(), {"Ok": {"messages": [None], "cert": b"", "tree": b""}}),
        (_ok(row=Nat), {"Ok": {"messages": [1], "cert": b"", "tree": b""}}),
        (_ok(cert=Text), {"Ok": {"messages": [], "cert": "", "tree": b""}}),
    ],
)
def test_other_answers_are_malformed(kind: Type, value: Any) -> None:
    with pytest.raises(FormatError):
        ws.parse_get_messages(encode([kind], [value]))


def test_tolerable_answers() -> None:
    """Nothing in them that could be misread."""
    empty = encode([_ok(row=Nat)], [{"Ok": {"messages": [], "cert": b"", "tree": b""}}])
    assert parts(ws.parse_get_messages(empty)) == ([], b"", b"", None)
    with pytest.raises(CanisterRefused, match="no"):
        ws.parse_get_messages(encode([Variant({"Err": Text})], [{"Err": "no"}]))


def test_refusals() -> None:
    with pytest.raises(CanisterRefused, match="gateway not registered é"):
        ws.parse_get_messages(ws.encode_batch_err("gateway not registered é"))
    with pytest.raises(CanisterRefused, match="no"):
        ws.parse_get_messages(encode([result_type(zzz=Nat)], [{"Err": "no"}]))
    broken = ws.encode_batch_err("no")
    for reply in (broken[:-1], broken + b"!", broken[:-2] + b"\xff\xff"):
        with pytest.raises(FormatError):
            ws.parse_get_messages(reply)


def test_overlong_numbers_are_read() -> None:
    reply = ws.encode_batch([(b"p", 1, b"k_1", b"c" * 3)], b"", b"", True)
    long = reply.replace(b"\x03k_1\x03ccc", b"\x83\x80\x00k_1\x83\x80\x80\x00ccc")
    assert long != reply
    assert ws.parse_get_messages(long).messages == [(b"p", 1, b"k_1", b"ccc")]
    head = reply[: decode_head_size(reply)]
    assert ws.parse_get_messages(head + b"\x80\x00" + reply[len(head) + 1 :]).messages == [(b"p", 1, b"k_1", b"ccc")]


def test_principals_are_bounded() -> None:
    with pytest.raises(FormatError):
        ws.encode_batch([(b"p" * 30, 1, b"k", b"")], b"", b"", True)


def test_nonces_of_keys() -> None:
    assert ws.nonce_of_key(b"aaaaa-aa_00000000000000000042") == 42
    assert ws.nonce_of_key(b"aaaaa-aa_09223372036854775807") == (1 << 63) - 1
    assert ws.nonce_of_key(b"aaaaa-aa_7") == 7
    assert ws.nonce_of_key(b"_7") == 7


@pytest.mark.parametrize(
    "key",
    [
        *(b"", b"_", b"7", b"aaaaa-aa", b"a_", b"a_x", b"a_-1", b"a_+1", b"a_ 1", b"a_1_", b"a_1 ", b"a_\xd9\xa1"),
        *(b"a_100000000000000000000", b"00000000000000000000000000000042", b"a_" + b"9" * 5000),
        *(b"a_09223372036854775808", b"a_18446744073709551615", b"a_99999999999999999999"),
    ],
)
def test_keys_without_a_nonce(key: bytes) -> None:
    with pytest.raises(FormatError):
        ws.nonce_of_key(key)


def test_an_answer_of_more_messages_than_can_be_meant_is_refused() -> None:
    row = (b"", 0, b"_1", b"")
    assert (
        len(ws.parse_get_messages(ws.encode_batch([row] * batch.MAX_MESSAGES, b"", b"", False)).messages)
        == batch.MAX_MESSAGES
    )
    with pytest.raises(FormatError, match="16385 messages"):
        ws.parse_get_messages(ws.encode_batch([row] * (batch.MAX_MESSAGES + 1), b"", b"", False))


@pytest.mark.parametrize(
    ("shared", "most_messages", "most_bytes", "left"),
    [(0, 10, 5, 5), (0, 3, 1000, 3), (99, 10, 300, 3), (500, 10, 300, 1), (0, 5, 5, 5), (0, 100, 100, 5)],
)
def test_a_batch_is_cut_to_what_its_frames_may_take(
    shared: int, most_messages: int, most_bytes: int, left: int
) -> None:
    rows = [(b"", 0, b"_%d" % number, b"") for number in range(5)]
    for end in (True, False, None):
        answer = ws.Batch(list(rows), bytes(shared // 2), bytes(shared - shared // 2), end)
        answer.cut(most_messages, most_bytes)
        assert answer.messages == rows[:left]
        assert answer.end_of_queue is (end if left == 5 else False)


@given(nonces)
def test_arguments(nonce: int) -> None:
    arg = ws.encode_get_messages(nonce)
    assert decode_as(arg, [Record({"nonce": Nat64})]) == [{"nonce": nonce}]
    assert ws.decode_get_args(arg) == nonce
    assert ws.decode_get_args(encode([Record({"a": Null, "nonce": Nat64})], [{"nonce": nonce}])) == nonce


@pytest.mark.parametrize("arg", [b"", b"DIDL\x00\x00", encode([Record({"nonce": Nat})], [{"nonce": 1}])])
def test_wrong_arguments(arg: bytes) -> None:
    with pytest.raises(FormatError):
        ws.decode_get_args(arg)
