from __future__ import annotations

import inspect

import pytest

from icwsgw.devnet.wasm.entry_points import ALLOWED
from icwsgw.devnet.wasm.import_types import NOT_HERE, check_export, check_import, import_types
from icwsgw.devnet.wasm.system_api import SystemApi
from icwsgw.errors import FormatError

FUNCTIONS = sorted(name.removeprefix("_ic0_") for name in dir(SystemApi) if name.startswith("_ic0_"))


def test_each_function_has_a_type_and_each_type_a_function() -> None:
    types = import_types(memory64=False)
    assert set(FUNCTIONS) == set(types) - NOT_HERE
    assert set(types) > NOT_HERE
    assert set(ALLOWED) <= set(types)
    for name in FUNCTIONS:
        # without self
        assert len(inspect.signature(getattr(SystemApi, f"_ic0_{name}")).parameters) - 1 == len(types[name][0]), name


# Lines of the specification.
@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [
        ("msg_reply", ((), ()), ((), ())),
        ("msg_arg_data_copy", (("i32",) * 3, ()), (("i64",) * 3, ())),
        ("call_perform", ((), ("i32",)), ((), ("i32",))),
        ("cycles_burn128", (("i64", "i64", "i32"), ()), (("i64", "i64", "i64"), ())),
        ("mint_cycles128", (("i64", "i64", "i32"), ()), (("i64", "i64", "i64"), ())),
        ("cost_sign_with_ecdsa", (("i32",) * 4, ("i32",)), (("i64", "i64", "i32", "i64"), ("i32",))),
    ],
)
def test_the_types_of_the_specification(name: str, narrow: object, wide: object) -> None:
    assert import_types(memory64=False)[name] == narrow
    assert import_types(memory64=True)[name] == wide


def test_another_type_is_refused() -> None:
    check_import("ic0", "time", [], ["i64"], memory64=False)
    with pytest.raises(FormatError, match=r"Expected return type \[I64\] for 'time', got \[\]."):
        check_import("ic0", "time", [], [], memory64=False)
    with pytest.raises(FormatError, match=r"Expected input params \[\] for 'time', got \[F32, I32\]."):
        check_import("ic0", "time", ["f32", "i32"], ["i64"], memory64=True)


def test_a_function_that_the_network_does_not_have() -> None:
    check_import("ic0", "stable_size", [], ["i32"], memory64=False)
    with pytest.raises(FormatError, match="for a memory of 64 bits"):
        check_import("ic0", "stable_size", [], ["i32"], memory64=True)
    for name in ("call_simple", "controller_size", ""):
        with pytest.raises(FormatError, match=f"imports function '{name}' from 'ic0' that is not exported by the runt"):
            check_import("ic0", name, [], [], memory64=False)


def test_another_module() -> None:
    with pytest.raises(FormatError, match="'fetch' from '__wbindgen' that is not exported by the runtime"):
        check_import("__wbindgen", "fetch", [], [], memory64=False)
    with pytest.raises(FormatError, match=r'"time" from "ic1", expected to be imported from one of \["ic0"\] instead'):
        check_import("ic1", "time", [], ["i64"], memory64=False)


@pytest.mark.parametrize("name", sorted(NOT_HERE))
def test_what_exists_on_the_network_alone_has_its_type(name: str) -> None:
    parameters, results = import_types(memory64=False)[name]
    check_import("ic0", name, parameters, results, memory64=False)
    with pytest.raises(FormatError, match=f"for '{name}', got"):
        check_import("ic0", name, ["f64"], [], memory64=False)


@pytest.mark.parametrize("name", ["canister_init", "canister_on_low_wasm_memory", "canister_query x"])
def test_entry_points_take_and_return_nothing(name: str) -> None:
    check_export(name, [], [])
    with pytest.raises(FormatError, match="got \\[I32\\]"):
        check_export(name, ["i32"], [])
    check_export("helper", ["i32"], ["i32"])
