from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import CanisterRefused, FormatError
from icwsgw.ic import ws
from icwsgw.ic.candid import (
    Blob,
    Nat,
    Nat32,
    Nat64,
    Null,
    Opt,
    PrincipalType,
    Record,
    Text,
    Tuple,
    Type,
    Variant,
    decode_as,
    encode,
)
from icwsgw.ic.candid.leb import write_unsigned
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import arguments

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "cdk"

principals = st.binary(max_size=29)
nonces = st.integers(0, (1 << 64) - 1)
messages = st.builds(ws.MessageArgs, principals, nonces, nonces, nonces, st.booleans(), st.binary(max_size=300))


@given(nonces, principals)
def test_open(nonce: int, gateway: bytes) -> None:
    arg = ws.encode_open_args(nonce, gateway)
    assert ws.decode_open_args(arg) == ws.OpenArgs(nonce, gateway)
    kind = Record({"client_nonce": Nat64, "gateway_principal": PrincipalType})
    assert decode_as(arg, [kind]) == [{"client_nonce": nonce, "gateway_principal": Principal(gateway)}]
    # Another head: a further field and argument.
    wider = Record({"client_nonce": Nat64, "gateway_principal": PrincipalType, "more": Text})
    value = {"client_nonce": nonce, "gateway_principal": Principal(gateway), "more": ""}
    assert ws.decode_open_args(encode([wider, Nat], [value, 1])) == ws.OpenArgs(nonce, gateway)


@given(principals, st.integers(0, 60), st.integers(0, 255))
def test_damaged_open(gateway: bytes, place: int, byte: int) -> None:
    arg = bytearray(ws.encode_open_args(1, gateway))
    arg[place % len(arg)] = byte
    kind = Record({"client_nonce": Nat64, "gateway_principal": PrincipalType})
    try:
        (value,) = decode_as(bytes(arg), [kind])
    except FormatError:
        with pytest.raises(FormatError):
            ws.decode_open_args(bytes(arg))
    else:
        assert ws.decode_open_args(bytes(arg)) == (value["client_nonce"], value["gateway_principal"].raw)


@pytest.mark.parametrize("cut", range(1, 45))
def test_cut_open(cut: int) -> None:
    with pytest.raises(FormatError):
        ws.decode_open_args(ws.encode_open_args(1, b"p" * 29)[:-cut])


@pytest.mark.parametrize(
    "arg",
    [
        b"",
        b"DIDL\x00\x00",
        encode(
            [Record({"client_nonce": Nat, "gateway_principal": PrincipalType})],
            [{"client_nonce": 1, "gateway_principal": Principal(b"")}],
        ),
        ws.encode_open_args(1, b"p") + b"\0",
    ],
)
def test_not_open_arguments(arg: bytes) -> None:
    with pytest.raises(FormatError):
        ws.decode_open_args(arg)


def test_long_principals() -> None:
    with pytest.raises(FormatError):
        ws.encode_open_args(1, b"p" * 30)
    good = ws.encode_open_args(1, b"p" * 29)
    with pytest.raises(FormatError):
        ws.decode_open_args(good.replace(b"\x1dp", b"\x1epp"))


@given(principals, nonces)
def test_close(principal: bytes, nonce: int) -> None:
    arg = ws.encode_close(principal, nonce)
    assert ws.decode_close_args(arg) == ws.CloseArgs(principal, nonce)


def test_not_close_arguments() -> None:
    with pytest.raises(FormatError):
        ws.decode_close_args(ws.encode_open_args(1, b"p"))


@given(
    st.builds(ws.MessageArgs, principals, nonces, nonces, nonces, st.booleans(), st.binary(max_size=300)),
    st.sampled_from([(), ((Opt(Null), None),), ((Opt(Record({"text": Text})), {"text": "x"}), (Nat32, 7))]),
)
def test_message(message: ws.MessageArgs, extra: tuple[tuple[Type, object], ...]) -> None:
    assert ws.decode_message_args(ws.encode_message_args(message, extra)) == message


@given(st.builds(ws.MessageArgs, principals, nonces, nonces, nonces, st.booleans(), st.binary(max_size=300)), st.data())
def test_damaged_message(message: ws.MessageArgs, data: st.DataObject) -> None:
    """By offsets or not, the result is the general decoder's."""
    arg = bytearray(ws.encode_message_args(message))
    start = arguments._message_heads.find(bytes(arg))[0]
    if data.draw(st.booleans()):
        arg[data.draw(st.integers(start, len(arg) - 1))] = data.draw(st.integers(0, 255))
    elif data.draw(st.booleans()):
        arg = arg[: data.draw(st.integers(start, len(arg)))]
    else:
        arg += data.draw(st.binary(max_size=2))
    damaged = bytes(arg)
    try:
        (values,) = decode_as(damaged, [arguments._MESSAGE_ARGS])
    except FormatError:
        with pytest.raises(FormatError):
            ws.decode_message_args(damaged)
        return
    msg = values["msg"]
    client = msg["client_key"]
    assert ws.decode_message_args(damaged) == (
        client["client_principal"].raw,
        client["client_nonce"],
        msg["sequence_num"],
        msg["timestamp"],
        msg["is_service_message"],
        msg["content"],
    )


def test_message_as_the_sdk_makes_it() -> None:
    """The second argument, ``opt AppMessage``, is there and null."""
    raw = ws.encode_message_args(ws.MessageArgs(b"p", 1, 2, 3, False, b"c"))
    msg, extra = decode_as(raw, [Record({"msg": Record({"content": Blob})}), Opt(Text)])
    assert (msg, extra) == ({"msg": {"content": b"c"}}, None)


def test_not_message_arguments() -> None:
    with pytest.raises(FormatError):
        ws.decode_message_args(encode([Record({"msg": Text})], [{"msg": ""}]))


def test_results() -> None:
    ws.decode_unit_result(ws.encode_result_ok())
    assert ws.encode_result_ok() == b"DIDL\x01\x6b\x02\xbc\x8a\x01\x7f\xc5\xfe\xd2\x01\x71\x01\x00\x00"
    with pytest.raises(CanisterRefused, match=r"^client is not registered$"):
        ws.decode_unit_result(ws.encode_result_err("client is not registered"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Variant({"Ok": Tuple(), "Err": Text}), {"Ok": {}}),
        (Variant({"Ok": Null}), {"Ok": None}),
        (Variant({"Ok": Text, "Err": Nat}), {"Ok": "x"}),
    ],
)
def test_other_forms_of_good_news(kind: Type, value: object) -> None:
    ws.decode_unit_result(encode([kind], [value]))


@pytest.mark.parametrize("reply", [b"", b"DIDL\x00\x00", ws.encode_result_ok() + b"\0", encode([Text], ["Ok"])])
def test_not_results(reply: bytes) -> None:
    with pytest.raises(FormatError):
        ws.decode_unit_result(reply)


def test_a_huge_type_table_is_refused_before_it_is_read() -> None:
    for items in (2_000, 20_000, 60_000):
        # so many optional types of which the first is the argument's
        table = b"\x6e\x7f" * items
        arg = b"DIDL" + write_unsigned(items) + table + b"\x01\x00\x00"
        with pytest.raises(FormatError, match="table is too large"):
            ws.decode_open_args(arg)


def doubled(levels: int) -> bytes:
    """A message whose one value has 2 ** levels parts that take no byte: records of two of the next."""
    out = [b"DIDL", write_unsigned(levels)]
    for level in range(1, levels + 1):
        part = bytes((level,)) if level < levels else b"\x7f"
        out.append(b"\x6c\x02\x00%b\x01%b" % (part, part))
    return b"".join((*out, b"\x01\x00"))


@pytest.mark.parametrize(
    "decode", [ws.decode_open_args, ws.decode_close_args, ws.decode_message_args, ws.decode_get_args]
)
def test_a_small_type_table_that_stands_for_a_great_deal_is_refused_early(decode: Callable[[bytes], object]) -> None:
    # what is passed over is metered as far as a thousand parts, and then the message is refused
    with pytest.raises(FormatError, match="is missing"):
        decode(doubled(8))
    for levels in (10, 16, 20):
        with pytest.raises(FormatError, match="more values than the limit"):
            decode(doubled(levels))


# reading the number by its offset


SDK_MESSAGE = bytes.fromhex(json.loads((VECTORS / "javascript.json").read_text())["message"])


def test_the_number_of_a_message_as_the_sdk_makes_it_is_read_by_its_offset() -> None:
    head = ws.usual_message_head(SDK_MESSAGE)
    assert head
    assert SDK_MESSAGE.startswith(head)
    assert ws.message_number(head, SDK_MESSAGE) == ws.decode_message_args(SDK_MESSAGE).sequence_num
    assert not ws.is_service_message(SDK_MESSAGE)


@given(messages)
def test_the_number_is_that_of_the_general_decoder(message: ws.MessageArgs) -> None:
    arg = ws.encode_message_args(message)
    head = ws.usual_message_head(arg)
    assert head
    assert ws.message_number(head, arg) == message.sequence_num
    assert ws.is_service_message(arg) is message.is_service_message


@given(messages, st.data())
def test_a_damaged_message_has_the_number_that_the_general_decoder_reads_or_none(
    message: ws.MessageArgs, data: st.DataObject
) -> None:
    arg = bytearray(ws.encode_message_args(message))
    arg[data.draw(st.integers(0, len(arg) - 1))] = data.draw(st.integers(0, 255))
    arg = arg[: data.draw(st.integers(0, len(arg)))]
    head = ws.usual_message_head(bytes(arg))
    if head:
        assert ws.message_number(head, bytes(arg)) == ws.decode_message_args(bytes(arg)).sequence_num


@pytest.mark.parametrize("arg", [b"", b"DIDL", b"DIDL\0\0", b"DIDL\0\1\x78" + bytes(8), SDK_MESSAGE[:40], b"x" * 5000])
def test_other_shapes_have_no_number(arg: bytes) -> None:
    assert ws.usual_message_head(arg) == b""
    assert ws.message_number(ws.usual_message_head(SDK_MESSAGE), arg) is None


def test_a_message_without_the_second_argument_has_another_head() -> None:
    message = ws.decode_message_args(SDK_MESSAGE)
    arg = ws.encode_message_args(message, extra=())
    assert ws.usual_message_head(arg) == b""
    assert ws.message_number(ws.usual_message_head(SDK_MESSAGE), arg) is None


def test_version_0_1_sends_a_nonce_and_no_gateway() -> None:
    # IDL.encode([IDL.Record({client_nonce: IDL.Nat64})], [{client_nonce: 42n}]) of @dfinity/candid, as 0.1.2 does
    old = bytes.fromhex("4449444c016c01bbd1eacd0e7801002a00000000000000")
    assert ws.is_open_of_version_0_1(old)
    with pytest.raises(FormatError):
        ws.decode_open_args(old)
    assert not ws.is_open_of_version_0_1(old[:-1])
    assert not ws.is_open_of_version_0_1(ws.encode_open_args(42, b"\x04"))
