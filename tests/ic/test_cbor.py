from __future__ import annotations

import math
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.cbor import (
    MAX_ITEMS,
    SELF_DESCRIBE,
    UNDEFINED,
    dumps,
    dumps_tagged,
    head,
    item_end,
    loads,
    optional,
)
from tests.support.strategies import cbor_values, damaged

# RFC 8949, appendix A: what may be read.
READABLE: list[tuple[str, Any]] = [
    ("00", 0),
    ("01", 1),
    ("0a", 10),
    ("17", 23),
    ("1818", 24),
    ("1819", 25),
    ("1864", 100),
    ("1903e8", 1000),
    ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000),
    ("1bffffffffffffffff", 18446744073709551615),
    ("c249010000000000000000", 18446744073709551616),
    ("3bffffffffffffffff", -18446744073709551616),
    ("c349010000000000000000", -18446744073709551617),
    ("20", -1),
    ("29", -10),
    ("3863", -100),
    ("3903e7", -1000),
    ("f90000", 0.0),
    ("f93c00", 1.0),
    ("fb3ff199999999999a", 1.1),
    ("f93e00", 1.5),
    ("f97bff", 65504.0),
    ("fa47c35000", 100000.0),
    ("fa7f7fffff", 3.4028234663852886e38),
    ("fb7e37e43c8800759c", 1.0e300),
    ("f90001", 5.960464477539063e-8),
    ("f90400", 0.00006103515625),
    ("f9c400", -4.0),
    ("fbc010666666666666", -4.1),
    ("f97c00", math.inf),
    ("f9fc00", -math.inf),
    ("fa7f800000", math.inf),
    ("fb7ff0000000000000", math.inf),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("f7", UNDEFINED),
    ("f0", cbor2.CBORSimpleValue(16)),
    ("f8ff", cbor2.CBORSimpleValue(255)),
    ("40", b""),
    ("4401020304", b"\x01\x02\x03\x04"),
    ("60", ""),
    ("6161", "a"),
    ("6449455446", "IETF"),
    ("62225c", '"\\'),
    ("62c3bc", "\u00fc"),
    ("63e6b0b4", "\u6c34"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))),
    ("a0", {}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}),
    ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
    ("7f657374726561646d696e67ff", "streaming"),
    ("9fff", []),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
    ("9f01820203820405ff", [1, [2, 3], [4, 5]]),
    ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
    ("83019f0203ff820405", [1, [2, 3], [4, 5]]),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", list(range(1, 26))),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ("826161bf61626163ff", ["a", {"b": "c"}]),
    ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
]
# The same appendix: well-formed, but not for us (tags with a meaning, keys that are numbers).
WELL_FORMED_ONLY = [
    "c074323031332d30332d32315432303a30343a30305a",
    "c11a514b67b0",
    "c1fb41d452d9e2000000",
    "d74401020304",
    "d818456449455446",
    "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
    "a201020304",
]
# RFC 8949, appendix F: not well-formed.
_MALFORMED = """
    18 19 1a 1b 1901 1a0102 1b01020304050607 38 58 78 98 9a01ff00 b8 d8 f8 f900 fa0000 fb000000
    41 61 5affffffff00 5bffffffffffffffff010203 7affffffff00 7b7fffffffffffffff010203
    81 818181818181818181 8200 a1 a20102 a100 a2000000 c0
    5f4100 7f6100 9f 9f0102 bf bf01020102 819f 9f8000 9f9f9f9f9fffffffff 9f819f819f9fffffff
    1c 1d 1e 3c 3d 3e 5c 5d 5e 7c 7d 7e 9c 9d 9e bc bd be dc dd de fc fd fe
    f800 f801 f818 f81f
    5f00ff 5f21ff 5f6100ff 5f80ff 5fa0ff 5fc000ff 5fe0ff 7f4100ff
    5f5f4100ffff 7f7f6100ffff
    ff 81ff 8200ff a1ff a1ff00 a100ff a20000ff 9f81ff 9f829f819f9fffffffff bf00ff bf000000ff
    1f 3f df
"""


@pytest.mark.parametrize(("encoded", "value"), READABLE)
def test_rfc_8949_appendix_a(encoded: str, value: Any) -> None:
    data = bytes.fromhex(encoded)
    assert loads(data) == value
    assert type(loads(data)) is type(value)
    assert loads(SELF_DESCRIBE + data) == value
    assert item_end(data) == len(data)
    assert item_end(b"\xff" + data + b"\xff", 1) == len(data) + 1


@pytest.mark.parametrize("encoded", WELL_FORMED_ONLY)
def test_well_formed_but_not_for_us(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert item_end(data) == len(data)
    with pytest.raises(FormatError):
        loads(data)


@pytest.mark.parametrize("encoded", ["", *_MALFORMED.split()])
def test_rfc_8949_appendix_f(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(FormatError):
        loads(data)
    with pytest.raises(FormatError):
        item_end(data)


def test_not_a_number() -> None:
    assert all(math.isnan(loads(bytes.fromhex(nan))) for nan in ("f97e00", "fa7fc00000", "fb7ff8000000000000"))


@pytest.mark.parametrize("after", [b"\x00", b"\xff", SELF_DESCRIBE, b"\xf6" * 100, b"\x00" * MAX_ITEMS])
def test_trailing_bytes_are_refused(after: bytes) -> None:
    for data in (b"\x01", dumps_tagged({"a": bytes(5000)})):
        assert item_end(data + after) == len(data)
        with pytest.raises(FormatError, match="after the end"):
            loads(data + after)


@pytest.mark.parametrize(
    "encoded",
    [
        "a2616101616102",
        "bf616101616102ff",
        "a2616101" + "780161" + "02",
        "81a2410100410101",
        "a1f400",
        "a1f700",
        "a18000",
        "a1a000",
        "a1d9d9f78000",
    ],
)
def test_maps_have_text_or_byte_keys_once(encoded: str) -> None:
    with pytest.raises(FormatError):
        loads(bytes.fromhex(encoded))


def test_byte_keys_are_read() -> None:
    assert loads(bytes.fromhex("a24101006101 01".replace(" ", ""))) == {b"\x01": 0, "\x01": 1}


@pytest.mark.parametrize("tag", [*(set(range(70)) - {2, 3}), 100, 256, 258, 260, 261, 1004, 43000, 2**32, 2**64 - 1])
@pytest.mark.parametrize("inner", ["00", "6161", "820102", "a0", "4101"])
def test_tags_are_refused(tag: int, inner: str) -> None:
    data = head(6, tag) + bytes.fromhex(inner)
    for wrapped in (data, b"\x81" + data, SELF_DESCRIBE + b"\xa1\x61a" + data):
        with pytest.raises(FormatError):
            loads(wrapped)
        assert item_end(wrapped) == len(wrapped)


def test_a_shared_reference_to_itself_is_refused() -> None:
    with pytest.raises(FormatError):
        loads(bytes.fromhex("d81c81d81d00"))


def test_the_self_describe_tag_changes_nothing_wherever_it_stands() -> None:
    data = b"\xa1\x61a" + SELF_DESCRIBE + b"\x81" + SELF_DESCRIBE * 3 + b"\xa1" + SELF_DESCRIBE + b"\x61b\xf5"
    for prefix in (b"", SELF_DESCRIBE, SELF_DESCRIBE * 2):
        value = loads(prefix + data)
        assert value == {"a": [{"b": True}]}
        assert (type(value), type(value["a"]), type(value["a"][0])) == (dict, list, dict)


def test_bignums_have_at_most_32_bytes() -> None:
    assert loads(b"\xc2\x58\x20" + b"\xff" * 32) == 2**256 - 1
    assert loads(b"\xc3\x58\x20" + b"\xff" * 32) == -(2**256)
    assert loads(bytes.fromhex("c240")) == 0
    for data in ("c2582101" + "00" * 32, "c35a00010000" + "ff" * 65536, "c280", "c26131", "c2c24101", "c201"):
        with pytest.raises(FormatError):
            loads(bytes.fromhex(data))


@pytest.mark.parametrize("opening", ["81", "9f", "a16161", "bf6161", "d9d9f7", "c2", "d864"])
@pytest.mark.parametrize("depth", [34, 1000, 200_000])
def test_depth_is_bounded(opening: str, depth: int) -> None:
    with pytest.raises(FormatError):
        loads(bytes.fromhex(opening) * depth + b"\x00")


def test_depth_as_asked_for() -> None:
    assert loads(b"\x81" * 32 + b"\x00")
    assert loads(b"\x81" * 100 + b"\x00", max_depth=100)
    with pytest.raises(FormatError):
        loads(b"\x81" * 4 + b"\x00", max_depth=3)


def test_deep_items_are_skipped_without_recursion() -> None:
    data = b"\x81" * 50_000 + b"\x00"
    assert item_end(data) == len(data)


@pytest.mark.parametrize("lead", ["5b", "7b", "9b", "bb", "d9d9f79b", "825b"])
@pytest.mark.parametrize("length", ["ffffffffffffffff", "7fffffffffffffff", "0000000100000000", "000000007fffffff"])
def test_lengths_that_are_not_there(lead: str, length: str) -> None:
    data = bytes.fromhex(lead + length) + bytes(40)
    with pytest.raises(FormatError):
        loads(data)
    with pytest.raises(FormatError):
        item_end(data)


def test_a_small_message_cannot_become_millions_of_objects() -> None:
    bomb = b"\x9a" + (2**21).to_bytes(4, "big") + b"\x80" * 2**21
    with pytest.raises(FormatError, match="items"):
        loads(bomb)
    with pytest.raises(FormatError, match="items"):
        item_end(bomb)
    assert len(loads(dumps([[]] * (MAX_ITEMS - 1)))) == MAX_ITEMS - 1
    assert len(loads(dumps({"a": bytes(3 << 20)}))["a"]) == 3 << 20


@pytest.mark.parametrize("size", [4000, 4090, 4096, 4097, 8192, 65_530, 65_536, 65_537, 1_000_003])
def test_items_longer_than_a_read_buffer(size: int) -> None:
    value = {
        "before": 1,
        "blob": bytes(range(256)) * (size // 256) + bytes(size % 256),
        "text": "é" * size,
        "list": [1, 2],
    }
    assert loads(dumps_tagged(value)) == value
    with pytest.raises(FormatError):
        loads(dumps_tagged(value)[:-1])


@pytest.mark.parametrize("text", ["61ff", "62c328", "63eda080", "7f61c361bcff", "64f4908080"])
def test_text_is_utf_8(text: str) -> None:
    with pytest.raises(FormatError):
        loads(bytes.fromhex(text))


def test_head_is_the_shortest() -> None:
    for argument in (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1):
        assert head(0, argument) == cbor2.dumps(argument)
        assert head(1, argument) == cbor2.dumps(-1 - argument)
        assert head(6, argument)[1:] == head(0, argument)[1:]
    assert head(2, 300) + bytes(300) == cbor2.dumps(bytes(300))
    assert head(5, 0) == b"\xa0"
    assert head(6, 55799) == SELF_DESCRIBE


@pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", {"\ud800": 1}])
def test_what_cannot_be_written(value: Any) -> None:
    with pytest.raises(FormatError):
        dumps(value)


def test_a_list_that_holds_itself_cannot_be_written() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(FormatError):
        dumps_tagged(value)


@given(cbor_values())
def test_round_trip(value: Any) -> None:
    data = dumps(value)
    assert loads(data) == value
    assert loads(dumps_tagged(value)) == value
    assert item_end(b"\xff\xff" + data + b"\xff", 2) == 2 + len(data)
    for cut in range(len(data)):
        with pytest.raises(FormatError):
            item_end(data[:cut])
        with pytest.raises(FormatError):
            loads(data[:cut])


def _reads(data: bytes) -> tuple[bool, Any]:
    try:
        return True, loads(data)
    except FormatError:
        return False, None


def _ends(data: bytes) -> int:
    try:
        return item_end(data)
    except FormatError:
        return -1


@given(st.data(), cbor_values())
def test_damaged_data_reads_or_is_refused(data: st.DataObject, value: Any) -> None:
    hurt = data.draw(damaged(dumps_tagged(value)))
    read, _ = _reads(hurt)
    if read:
        assert _ends(hurt) == len(hurt)


@given(st.binary(max_size=80))
@example(bytes.fromhex("9f9f9fffffff"))
@example(bytes.fromhex("bf6161ff"))
@example(bytes.fromhex("d9d9f7d9d9f7"))
def test_any_bytes_read_or_are_refused(data: bytes) -> None:
    read, value = _reads(data)
    if read:
        assert _ends(data) == len(data)
        assert _reads(dumps(value)) == (True, value) or value != value or "nan" in repr(value)


@pytest.mark.parametrize(("data", "value"), [("a0", None), ("a16161f6", None), ("a16161f7", None), ("a1616100", 0)])
def test_a_field_that_is_not_there_can_be_written_in_three_ways(data: str, value: Any) -> None:
    assert optional(loads(bytes.fromhex(data)), "a") == value


def test_a_caller_may_ask_for_fewer_items() -> None:
    values: tuple[Any, ...] = ([0] * 99, {str(number): b"" for number in range(49)}, [[]] * 99)
    for value in values:
        assert loads(dumps(value), max_items=100) == value
        with pytest.raises(FormatError, match="more than 50 items"):
            loads(dumps(value), max_items=50)
    # few items, however long
    assert loads(dumps([bytes(10_000)]), max_items=2) == [bytes(10_000)]
    with pytest.raises(FormatError):
        loads(dumps([bytes(10_000)]) + b"\0", max_items=2)


@pytest.mark.parametrize("value", [[0] * 9, [[[]] * 4] * 2, {"a": 1, "b": [2], "c": [3, 4]}])
def test_items_are_counted_to_the_last_one(value: Any) -> None:
    def items(of: Any) -> int:
        if isinstance(of, dict):
            return 1 + sum(items(key) + items(each) for key, each in of.items())
        return 1 + sum(items(each) for each in of) if isinstance(of, list) else 1

    data = dumps(value)
    assert item_end(data, 0, items(value)) == len(data)
    with pytest.raises(FormatError, match="more than"):
        item_end(data, 0, items(value) - 1)
