"""Known fields of CBOR maps among unknown ones; cbor2 encodes and decodes, RFC 8949 gives what stands in the way."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic import cbor
from icwsgw.ic.fields import ANSWER, CERTIFICATE, ENVELOPE, MAX_SKIPPED, field_span, loads_known
from tests.ic.test_cbor import READABLE, WELL_FORMED_ONLY
from tests.support.strategies import cbor_values, damaged

ANSWERS: list[dict[str, Any]] = [
    {
        "status": "replied",
        "reply": {"arg": b"DIDL"},
        "signatures": [{"timestamp": 1, "signature": b"s", "identity": b"i"}],
    },
    {"status": "rejected", "reject_code": 5, "reject_message": "no", "error_code": "IC0503"},
    {"status": "replied", "certificate": b"c"},
    {"root_key": b"k"},
]
STRANGE = [
    *WELL_FORMED_ONLY,
    *(encoded for encoded, _ in READABLE),
    (b"\x81" * 40 + b"\x80").hex(),
    (b"\x81" * 4000 + b"\x80").hex(),
    cbor2.dumps([0] * 70_000).hex(),
    "61ff",  # text that is no UTF-8
    "c1c1c100",
]


def with_fields(known: dict[str, Any], *unknown: bytes, last: bool = True) -> bytes:
    """A map in which key and value of each unknown field stand as bytes."""
    body = b"".join(cbor2.dumps(key) + cbor2.dumps(value) for key, value in known.items())
    extra = b"".join(unknown)
    return cbor.head(5, len(known) + len(unknown)) + (body + extra if last else extra + body)


@pytest.mark.parametrize("encoded", STRANGE, ids=lambda text: text[:20])
def test_what_an_unknown_field_holds_does_not_matter(encoded: str) -> None:
    value = bytes.fromhex(encoded)
    for number, key in enumerate(
        (b"\x63new", b"\x18\x63", b"\x20", b"\x41k", b"\x81\x00", b"\xc1\x00", b"\xf6", b"\x61\xff")
    ):
        known = ANSWERS[number % len(ANSWERS)]
        for last in (True, False):
            read = loads_known(with_fields(known, key + value, last=last), ANSWER)
            assert {name: each for name, each in read.items() if name in known} == known


@pytest.mark.parametrize("encoded", WELL_FORMED_ONLY)
def test_it_may_stand_in_every_map_that_is_known(encoded: str) -> None:
    unknown = b"\x63new" + bytes.fromhex(encoded)
    reply = b"\x65reply" + with_fields({"arg": b"a"}, unknown)
    entry = with_fields({"timestamp": 1, "signature": b"s", "identity": b"i"}, unknown)
    for entries in (b"\x81" + entry, b"\x9f" + entry + b"\xff", cbor.SELF_DESCRIBE + b"\x81" + entry):
        data = with_fields({"status": "replied"}, unknown, reply, b"\x6asignatures" + entries)
        for tagged in (data, cbor.SELF_DESCRIBE + data, b"\xbf" + data[1:] + b"\xff"):
            assert loads_known(tagged, ANSWER) == {
                "status": "replied",
                "reply": {"arg": b"a"},
                "signatures": [{"timestamp": 1, "signature": b"s", "identity": b"i"}],
            }


def test_known_fields_are_read_strictly() -> None:
    tagged = cbor2.dumps(cbor2.CBORTag(1, 1))
    for name in ("status", "reply", "reject_code", "signatures"):
        with pytest.raises(FormatError, match="tag"):
            loads_known(with_fields({}, cbor2.dumps(name) + tagged), ANSWER)
    with pytest.raises(FormatError, match="twice"):
        loads_known(with_fields({"status": "x"}, b"\x66status\x60", b"\x00" + tagged), ANSWER)
    with pytest.raises(FormatError, match="items"):
        loads_known(with_fields({"status": [0] * 70_000}), ANSWER)
    with pytest.raises(FormatError, match=r"depth|nest"):
        loads_known(with_fields({}, b"\x66status" + b"\x81" * 40 + b"\x80"), ANSWER)


@pytest.mark.parametrize(
    "data", ["", "00", "80", "c100", "a1", "a100", "a10000ff", "a1c100", "a10000a0", "d9d9f7", "ff", "bf0000"]
)
def test_what_is_no_such_map(data: str) -> None:
    strange = bytes.fromhex(data)
    try:
        value = loads_known(strange, ANSWER)
    except FormatError:
        return
    assert not isinstance(value, dict)


def test_what_is_passed_over_is_bounded_in_all() -> None:
    half = b"\x61x" + cbor2.dumps([0] * (MAX_SKIPPED // 2 - 10))
    assert loads_known(with_fields({"status": "x"}, half, b"\x00" + half[2:]), ANSWER) == {"status": "x"}
    with pytest.raises(FormatError, match="more than 131072 items in fields that are not known"):
        loads_known(with_fields({"status": "x"}, half, half, b"\x61y" + cbor2.dumps([0] * 100)), ANSWER)
    # each key is an item, too
    with pytest.raises(FormatError, match="more than 131072"):
        loads_known(cbor.head(5, 200_000) + b"\x00\x00" * 200_000, ANSWER)


@given(st.dictionaries(st.sampled_from(["status", "reply", "new", "arg"]), cbor_values(), max_size=4), st.data())
def test_it_reads_what_cbor2_reads(fields: dict[str, Any], data: st.DataObject) -> None:
    """With a field that our strict reader refuses, all others are as cbor2 has them."""
    encoded = with_fields(fields, b"\x01" + cbor2.dumps(cbor2.CBORTag(1, 1)))
    theirs = cbor2.loads(encoded)
    assert loads_known(encoded, {"status": None, "reply": None}) == {
        name: theirs[name] for name in ("status", "reply") if name in theirs
    }
    hurt = data.draw(damaged(encoded))
    try:
        ours = loads_known(hurt, {"status": None, "reply": None})
    except FormatError:
        return
    if isinstance(ours, dict):
        assert cbor.item_end(hurt, 0, 10**6) == len(hurt)


@given(st.binary(max_size=200))
def test_any_bytes_end_well(data: bytes) -> None:
    for shape in (ANSWER, CERTIFICATE, ENVELOPE):
        for start in (b"", b"\xa1", b"\xa1\x67content", b"\xa1\x6asignatures\x81"):
            try:
                loads_known(start + data, shape)
            except FormatError:
                pass


def test_the_span_of_a_field() -> None:
    data = with_fields({"a": 1, "envelope": {"x": 2}}, b"\x01\xc1\x00", last=False)
    span = field_span(data, "envelope")
    assert span is not None
    assert cbor2.loads(data[span[0] : span[1]]) == {"x": 2}
    assert field_span(data, "other") is None
    for wrong in (b"", b"\x80", b"\xa2\x61a\x00\x61a\x00", b"\xa1\x61a"):
        with pytest.raises(FormatError):
            field_span(wrong, "a")
