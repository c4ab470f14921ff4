from __future__ import annotations

from icwsgw.ic.candid import FuncRef, FutureValue, ServiceRef, Some
from icwsgw.ic.principal import Principal


def test_a_present_null_is_not_null() -> None:
    assert Some(None) != None  # noqa: E711 - the comparison is what is tested
    assert Some(Some(None)) != Some(None)
    assert Some(1) == Some(1)


def test_references_name_what_they_refer_to() -> None:
    principal = Principal(b"\4")
    assert FuncRef(principal, "m").method == "m"
    assert ServiceRef(principal).principal.is_anonymous
    assert FutureValue(-25, b"x").data == b"x"
