"""What candid's own test data does not ask of heads; see test_suite.py for what it does."""

from __future__ import annotations

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic.candid import Limits
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.leb import write_unsigned
from icwsgw.ic.candid.table import read_head


def test_head_of_a_recursive_type() -> None:
    # type List = opt record { head : int; tail : List }
    raw = b"DIDL\x02\x6e\x01\x6c\x02\xa0\xd2\xac\xa8\x04\x7c\x90\xed\xda\xe7\x04\x00\x01\x00"
    head = read_head(raw + b"\x00")
    assert head.size == len(raw)
    (kind,) = head.args
    assert isinstance(kind, t.Opt)
    record = kind.inner
    assert isinstance(record, t.Record)
    assert record.fields == ((t.hash_name("head"),) * 2 + (t.Int,), (t.hash_name("tail"),) * 2 + (kind,))


def test_names_become_keys() -> None:
    raw = b"DIDL\x01\x6b\x02\xbc\x8a\x01\x7f\xc5\xfe\xd2\x01\x71\x01\x00"
    (kind,) = read_head(raw, names={t.hash_name("Ok"): "Ok"}).args
    assert isinstance(kind, t.Variant)
    assert [key for _, key, _ in kind.fields] == ["Ok", t.hash_name("Err")]


def test_functions_and_services() -> None:
    raw = b"DIDL\x03\x6a\x01\x71\x02\x7d\x01\x02\x01\x03\x69\x02\x01a\x00\x01b\x00\x6e\x7e\x01\x01"
    (service,) = read_head(raw).args
    assert isinstance(service, t.Service)
    func = service.methods["a"]
    assert isinstance(func, t.Func)
    assert service.methods["b"] is func
    assert func.args == (t.Text,)
    assert func.results[0] is t.Nat
    assert func.annotations == {"query", "composite_query"}
    assert isinstance(func.results[1], t.Service)


@pytest.mark.parametrize("items", [0, 5, 20_000])
def test_large_tables_are_refused(items: int) -> None:
    limits = Limits(table_items=items)
    # The types themselves, and one argument.
    table = b"DIDL" + write_unsigned(items) + b"\x6e\x7e" * items + b"\x01\x7e"
    with pytest.raises(FormatError, match="too large"):
        read_head(table, limits)
    assert len(read_head(table, limits._replace(table_items=items + 1)).args) == 1


@pytest.mark.parametrize(
    "table",
    [
        b"\x01\x6c" + write_unsigned(20_000) + b"".join(write_unsigned(i) + b"\x7f" for i in range(20_000)),
        b"\x01\x6a" + write_unsigned(20_000) + b"\x7f" * 20_000 + b"\x00\x00",
        b"\x01\x69" + write_unsigned(20_000) + b"".join(b"\x05%05d\x00" % i for i in range(20_000)),
        b"\x00" + write_unsigned(20_001) + b"\x7f" * 20_001,
    ],
    ids=["fields", "arguments", "methods", "values"],
)
def test_everything_in_the_table_counts(table: bytes) -> None:
    with pytest.raises(FormatError, match="too large"):
        read_head(b"DIDL" + table + b"\x00")


def test_endless_numbers_are_refused() -> None:
    with pytest.raises(FormatError, match="longer than 10 bytes"):
        read_head(b"DIDL" + b"\x80" * 1_000_000 + b"\x00\x00")


def test_future_types_must_be_whole() -> None:
    with pytest.raises(FormatError, match="cut short"):
        read_head(b"DIDL\x01\x67\x05abc")
    assert read_head(b"DIDL\x01\x67\x03abc\x01\x00").args[0].code == -25
