"""The types of the functions that a canister may import as ``ic0``, and of those that it exports.

Source: IC interface specification, "Overview of imports" and "Entry points". The network refuses a module that imports
anything else, or with another type, when it is installed (dfinity/ic, ``rs/embedders/src/wasm_utils/validation.rs``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from icwsgw.errors import FormatError

#: Parameters and results of each function. ``I`` is a pointer or a size: as wide as an address of the module's memory.
_TYPES: Final = """
msg_arg_data_size -> I
msg_arg_data_copy I I I ->
msg_caller_size -> I
msg_caller_copy I I I ->
msg_caller_info_data_size -> I
msg_caller_info_data_copy I I I ->
msg_caller_info_signer_size -> I
msg_caller_info_signer_copy I I I ->
msg_reject_code -> i32
msg_reject_msg_size -> I
msg_reject_msg_copy I I I ->
msg_deadline -> i64
msg_reply_data_append I I ->
msg_reply ->
msg_reject I I ->
msg_cycles_available128 I ->
msg_cycles_refunded128 I ->
msg_cycles_accept128 i64 i64 I ->
cycles_burn128 i64 i64 I ->
mint_cycles128 i64 i64 I ->
canister_self_size -> I
canister_self_copy I I I ->
canister_cycle_balance128 I ->
canister_liquid_cycle_balance128 I ->
canister_status -> i32
canister_version -> i64
subnet_self_size -> I
subnet_self_copy I I I ->
subnet_self_node_count -> i32
msg_method_name_size -> I
msg_method_name_copy I I I ->
accept_message ->
call_new I I I I I I I I ->
call_on_cleanup I I ->
call_data_append I I ->
call_with_best_effort_response i32 ->
call_cycles_add128 i64 i64 ->
call_perform -> i32
stable64_size -> i64
stable64_grow i64 -> i64
stable64_write i64 i64 i64 ->
stable64_read i64 i64 i64 ->
root_key_size -> I
root_key_copy I I I ->
certified_data_set I I ->
data_certificate_present -> i32
data_certificate_size -> I
data_certificate_copy I I I ->
time -> i64
global_timer_set i64 -> i64
performance_counter i32 -> i64
is_controller I I -> i32
in_replicated_execution -> i32
cost_call i64 i64 I ->
cost_create_canister I ->
cost_http_request i64 i64 I ->
cost_http_request_v2 I I I ->
cost_sign_with_ecdsa I I i32 I -> i32
cost_sign_with_schnorr I I i32 I -> i32
cost_vetkd_derive_key I I i32 I -> i32
env_var_count -> I
env_var_name_size I -> I
env_var_name_copy I I I I ->
env_var_name_exists I I -> i32
env_var_value_size I I -> I
env_var_value_copy I I I I I ->
debug_print I I ->
trap I I ->
"""
#: The functions that a module with a memory of 64 bits cannot import.
_TYPES_32: Final = """
msg_cycles_available -> i64
msg_cycles_refunded -> i64
msg_cycles_accept i64 -> i64
canister_cycle_balance -> i64
call_cycles_add i64 ->
stable_size -> i32
stable_grow i32 -> i32
stable_write i32 i32 i32 ->
stable_read i32 i32 i32 ->
"""

#: Functions of the network that :mod:`icwsgw.devnet.wasm.system_api` lacks: a module that imports one can be installed,
#: and a call of it traps.
NOT_HERE: Final = frozenset(("mint_cycles128",))

FunctionType = tuple[tuple[str, ...], tuple[str, ...]]
"""Parameters and results: ``i32`` or ``i64`` each."""

#: Functions that the network calls.
ENTRY_POINTS: Final = frozenset(
    f"canister_{name}"
    for name in (
        *("init", "pre_upgrade", "post_upgrade", "inspect_message"),
        *("heartbeat", "global_timer", "on_low_wasm_memory"),
    )
)
#: What stands before the names of methods.
METHODS: Final = ("canister_update ", "canister_query ", "canister_composite_query ")


def _parsed(text: str, address: str) -> dict[str, FunctionType]:
    parsed = {}
    for line in text.split("\n"):
        if line:
            left, _, right = line.replace("I", address).partition("->")
            name, *parameters = left.split()
            parsed[name] = (tuple(parameters), tuple(right.split()))
    return parsed


_I64: Final = _parsed(_TYPES, "i64")
_I32: Final = _parsed(_TYPES + _TYPES_32, "i32")


def import_types(memory64: bool) -> Mapping[str, FunctionType]:
    """Return the types of the system interface's functions, by name.

    :param memory64: whether the module's memory has addresses of 64 bits
    """
    return _I64 if memory64 else _I32


def check_import(module: str, name: str, parameters: Sequence[str], results: Sequence[str], *, memory64: bool) -> None:
    """Pass if the network has a function ``<module>.<name>`` of this type.

    :param memory64: whether the module's memory has addresses of 64 bits
    :raises FormatError: it does not have it, or with another type, or not for memories of 64 bits
    """
    expected = import_types(memory64).get(name)
    if module != "ic0" and name in _I32:
        raise invalid_import(
            f'Module imports function "{name}" from "{module}", expected to be imported from one of ["ic0"] instead.'
        )
    if expected is None:
        width = " for a memory of 64 bits" if memory64 and name in _I32 else ""
        raise invalid_import(
            f"Module imports function '{name}' from '{module}' that is not exported by the runtime{width}."
        )
    _check(name, expected, parameters, results)


def invalid_import(text: str) -> FormatError:
    """Make the error of a module that imports what it may not."""
    return FormatError(f"Wasm module has an invalid import section. {text}")


def check_export(name: str, parameters: Sequence[str], results: Sequence[str]) -> None:
    """Pass if an exported function is no entry point of a canister, or takes and returns nothing.

    :raises FormatError: it is an entry point of another type
    """
    if name in ENTRY_POINTS or name.startswith(METHODS):
        _check(name, ((), ()), parameters, results)


def _check(name: str, expected: FunctionType, parameters: Sequence[str], results: Sequence[str]) -> None:
    for what, wanted, found in (("input params", expected[0], parameters), ("return type", expected[1], results)):
        if tuple(found) != wanted:
            raise FormatError(
                f"Wasm module has an invalid function signature. Expected {what} {_shown(wanted)} for '{name}', got "
                f"{_shown(found)}."
            )


def _shown(types: Sequence[str]) -> str:
    return f"[{', '.join(each.upper() for each in types)}]"
