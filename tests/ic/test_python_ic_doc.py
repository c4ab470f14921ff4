"""docs/python-ic.md and docs/python-client.md: the names that other programs may use exist and are typed."""

from __future__ import annotations

import inspect
import re
import typing
from importlib import import_module
from types import ModuleType

import pytest

from icwsgw.ic import candid
from tests.test_layering import ROOT

DOCUMENTS = ("python-ic.md", "python-client.md")
TEXTS = [(ROOT / "docs" / name).read_text() for name in DOCUMENTS]
#: Autobahn's two halves exclude each other in a process: tests/client/test_python_client_doc.py reads that module.
NAMES = sorted({name for text in TEXTS for name in re.findall(r"`(icwsgw(?:\.\w+)+)`", text) if "asyncio" not in name})


def found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError:
        return import_module(name)


def functions(thing: object) -> list[object]:
    """The functions that belong to a name: itself, or the public methods of a class, and how it is made."""
    if not inspect.isclass(thing):
        return [thing]
    names = [name for name in vars(thing) if not name.startswith("_") or name == "__init__"]
    methods = [inspect.getattr_static(thing, name) for name in names]
    methods = [each.fget if isinstance(each, property) else getattr(each, "__func__", each) for each in methods]
    return [each for each in methods if inspect.isfunction(each)]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_described_and_typed(name: str) -> None:
    thing = found(name)
    assert thing.__doc__
    if isinstance(thing, ModuleType):
        return
    for function in functions(thing):
        parameters = list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
        assert [
            each.name for each in parameters if each.annotation is each.empty and each.name not in ("self", "cls")
        ] == []
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty  # type: ignore[arg-type]


def test_the_public_names_cover_their_purpose() -> None:
    assert len(NAMES) > 30
    for part in ("principal", "candid", "certificate", "identity", "ecdsa_identity", "delegated_identity", "envelope"):
        assert any(name.startswith(f"icwsgw.ic.{part}.") for name in NAMES), part
    assert "icwsgw.client.network_requests.NetworkRequests" in NAMES
    # type checkers of other programs read the annotations
    assert (ROOT / "icwsgw" / "py.typed").exists()


def test_the_types_of_candid_are_its_public_names() -> None:
    assert {"Record", "Variant", "Opt", "Vec", "Text", "Nat", "encode", "decode", "decode_as"} <= set(candid.__all__)
    assert all(hasattr(candid, name) for name in candid.__all__)
    assert typing.get_type_hints(candid.encode)
