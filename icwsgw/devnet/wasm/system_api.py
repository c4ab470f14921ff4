"""The functions that a canister imports as ``ic0`` (IC interface specification, "System API").

Each is a method of :class:`SystemApi` that takes and returns integers as WebAssembly passes them, made unsigned.
:mod:`icwsgw.devnet.wasm.entry_points` says from where each may be called. A function that is not there can
be linked, and traps with its name when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from icwsgw.devnet.wasm.entry_points import allowed_from
from icwsgw.devnet.wasm.environment_variables import EnvironmentVariables
from icwsgw.devnet.wasm.execution import (
    MAX_CALL,
    MAX_REPLY,
    Callback,
    CanisterTrap,
    Execution,
    OutgoingCall,
    contract_violation,
)
from icwsgw.devnet.wasm.memory import LinearMemory, StableMemory
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic.principal import Principal

#: What ``certified_data_set`` takes.
MAX_CERTIFIED_DATA: Final = 32
#: Calls that one execution may perform, as the queues of the IC bound them.
MAX_CALLS: Final = 500
_U64 = (1 << 64) - 1
_U128 = (1 << 128) - 1


class Environment(Protocol):
    """What surrounds an execution: the canister and its instance.

    :ivar execution: the one that is under way
    :ivar stable: the canister's
    :ivar certified_data: at most 32 bytes
    :ivar global_timer_ns: when the timer is due, ns since 1970; 0: it is not set
    :ivar cycles: the balance
    :ivar version: counts changes of code and settings
    :ivar controllers: who may change the canister
    :ivar status: 1: running, 2: stopping, 3: stopped
    :ivar root_key: DER
    :ivar variables: names and values of its environment variables, UTF-8
    """

    id: Principal
    execution: Execution
    stable: StableMemory
    certified_data: bytes
    global_timer_ns: int
    cycles: int
    version: int
    controllers: Sequence[Principal]
    status: int
    root_key: bytes
    subnet_id: Principal
    variables: Sequence[tuple[bytes, bytes]]

    @property
    def memory(self) -> LinearMemory:
        """The heap of the instance."""
        ...

    def now_ns(self) -> int:
        """The time of the execution, ns since 1970."""
        ...

    def instructions(self) -> int:
        """Instructions of this execution so far."""
        ...

    def print(self, text: bytes) -> None:
        """Write to the canister's log."""
        ...


class SystemApi(EnvironmentVariables):
    """The functions, over one environment."""

    def __init__(self, environment: Environment) -> None:
        self._env = environment

    def function(self, name: str) -> Callable[..., int | None]:
        """Return the function of a name, checked for from where it is called.

        :return: takes and returns unsigned integers; raises CanisterTrap
        """
        run = getattr(self, f"_{name}", None)
        if run is None:
            return self._missing(name)
        allowed = allowed_from(name)
        environment = self._env

        def checked(*values: int) -> int | None:
            entry = environment.execution.entry
            if entry not in allowed:
                raise contract_violation(
                    f'"ic0_{name}" cannot be executed in {entry.name.lower().replace("_", " ")} mode'
                )
            result: int | None = run(*values)
            return result

        return checked

    def _missing(self, name: str) -> Callable[..., int | None]:
        def missing(*values: int) -> int | None:
            raise CanisterTrap("IC0502", f"Canister trapped: ic0.{name} is not available on the local replica")

        return missing

    @property
    def variables(self) -> Sequence[tuple[bytes, bytes]]:
        return self._env.variables

    # -- helpers --------------------------------------------------------------------------------------------------

    def _copy(self, source: bytes, what: str, destination: int, offset: int, size: int) -> None:
        if offset + size > len(source):
            raise contract_violation(
                f"{what}: offset {offset} and size {size} are outside the {len(source)} bytes there are"
            )
        self._env.memory.write(destination, source[offset : offset + size])

    def _write_u128(self, destination: int, value: int) -> None:
        self._env.memory.write(destination, value.to_bytes(16, "little"))

    def _read(self, source: int, size: int) -> bytes:
        return self._env.memory.read(source, size)

    # -- argument, caller, reject ---------------------------------------------------------------------------------

    def _msg_arg_data_size(self) -> int:
        return len(self._env.execution.argument)

    def _msg_arg_data_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.argument, "ic0.msg_arg_data_copy", destination, offset, size)

    def _msg_caller_size(self) -> int:
        return len(self._env.execution.context.caller.raw)

    def _msg_caller_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.context.caller.raw, "ic0.msg_caller_copy", destination, offset, size)

    def _msg_caller_info_data_size(self) -> int:
        return 0

    def _msg_caller_info_data_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(b"", "ic0.msg_caller_info_data_copy", destination, offset, size)

    def _msg_caller_info_signer_size(self) -> int:
        return 0

    def _msg_caller_info_signer_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(b"", "ic0.msg_caller_info_signer_copy", destination, offset, size)

    def _msg_reject_code(self) -> int:
        reject = self._env.execution.reject
        return 0 if reject is None else reject.code

    def _reject_message(self) -> bytes:
        reject = self._env.execution.reject
        if reject is None:
            raise contract_violation("ic0.msg_reject_msg: there is no reject")
        return reject.message.encode()

    def _msg_reject_msg_size(self) -> int:
        return len(self._reject_message())

    def _msg_reject_msg_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._reject_message(), "ic0.msg_reject_msg_copy", destination, offset, size)

    def _msg_deadline(self) -> int:
        return self._env.execution.context.deadline_ns

    # -- answer ---------------------------------------------------------------------------------------------------

    def _unanswered(self, name: str) -> Execution:
        execution = self._env.execution
        if execution.response is not None or not execution.context.needs_answer:
            raise contract_violation(f"ic0.{name}: the call is already replied")
        return execution

    def _msg_reply_data_append(self, source: int, size: int) -> None:
        execution = self._unanswered("msg_reply_data_append")
        total = len(execution.reply) + size
        if total > MAX_REPLY:
            raise contract_violation(
                f"ic0.msg_reply_data_append: application payload size ({total}) cannot be larger than {MAX_REPLY}."
            )
        execution.reply += self._read(source, size)

    def _msg_reply(self) -> None:
        execution = self._unanswered("msg_reply")
        execution.response = bytes(execution.reply)

    def _msg_reject(self, source: int, size: int) -> None:
        execution = self._unanswered("msg_reject")
        if size > MAX_REPLY:
            raise contract_violation(f"ic0.msg_reject: {size} bytes are more than {MAX_REPLY}")
        execution.response = Rejected(4, self._read(source, size).decode("utf-8", "replace"), "IC0406")

    # -- cycles ---------------------------------------------------------------------------------------------------

    def _available(self) -> int:
        execution = self._env.execution
        return execution.context.cycles - execution.cycles_accepted

    def _accept(self, most: int) -> int:
        accepted = min(most, self._available())
        self._env.execution.cycles_accepted += accepted
        self._env.cycles += accepted
        return accepted

    def _msg_cycles_available(self) -> int:
        return self._fits(self._available())

    def _msg_cycles_available128(self, destination: int) -> None:
        self._write_u128(destination, self._available())

    def _msg_cycles_refunded(self) -> int:
        return self._fits(self._env.execution.refunded)

    def _msg_cycles_refunded128(self, destination: int) -> None:
        self._write_u128(destination, self._env.execution.refunded)

    def _msg_cycles_accept(self, most: int) -> int:
        return self._accept(most)

    def _msg_cycles_accept128(self, high: int, low: int, destination: int) -> None:
        self._write_u128(destination, self._accept(high << 64 | low))

    def _cycles_burn128(self, high: int, low: int, destination: int) -> None:
        burnt = min(high << 64 | low, self._env.cycles)
        self._env.cycles -= burnt
        self._write_u128(destination, burnt)

    def _canister_cycle_balance(self) -> int:
        return self._fits(self._env.cycles)

    def _canister_cycle_balance128(self, destination: int) -> None:
        self._write_u128(destination, self._env.cycles)

    def _canister_liquid_cycle_balance128(self, destination: int) -> None:
        self._write_u128(destination, self._env.cycles)

    def _fits(self, cycles: int) -> int:
        if cycles > _U64:
            raise contract_violation("the number of cycles does not fit into 64 bits")
        return cycles

    # -- the canister ---------------------------------------------------------------------------------------------

    def _canister_self_size(self) -> int:
        return len(self._env.id.raw)

    def _canister_self_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.id.raw, "ic0.canister_self_copy", destination, offset, size)

    def _canister_status(self) -> int:
        return self._env.status

    def _canister_version(self) -> int:
        return self._env.version

    def _subnet_self_size(self) -> int:
        return len(self._env.subnet_id.raw)

    def _subnet_self_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.subnet_id.raw, "ic0.subnet_self_copy", destination, offset, size)

    def _root_key_size(self) -> int:
        return len(self._env.root_key)

    def _root_key_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.root_key, "ic0.root_key_copy", destination, offset, size)

    def _is_controller(self, source: int, size: int) -> int:
        raw = self._read(source, size)
        if len(raw) > 29:
            raise contract_violation("ic0.is_controller: not a principal")
        return int(Principal(raw) in self._env.controllers)

    def _in_replicated_execution(self) -> int:
        return int(self._env.execution.replicated)

    # -- inspect_message ------------------------------------------------------------------------------------------

    def _msg_method_name_size(self) -> int:
        return len(self._env.execution.method.encode())

    def _msg_method_name_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.method.encode(), "ic0.msg_method_name_copy", destination, offset, size)

    def _accept_message(self) -> None:
        if self._env.execution.accepted:
            raise contract_violation("ic0.accept_message: the function was already called")
        self._env.execution.accepted = True

    # -- calls ----------------------------------------------------------------------------------------------------

    def _building(self, name: str) -> OutgoingCall:
        call = self._env.execution.building
        if call is None:
            raise contract_violation(f"ic0.{name} called when no call is under construction.")
        return call

    def _call_new(
        self,
        callee_source: int,
        callee_size: int,
        name_source: int,
        name_size: int,
        reply_function: int,
        reply_environment: int,
        reject_function: int,
        reject_environment: int,
    ) -> None:
        self._give_up_call()
        raw = self._read(callee_source, callee_size)
        try:
            callee = Principal(raw)
        except (ValueError, FormatError):
            raise contract_violation("ic0.call_new: the callee is not a principal") from None
        try:
            method = self._read(name_source, name_size).decode()
        except UnicodeDecodeError:
            raise contract_violation("ic0.call_new: the method's name is not UTF-8") from None
        self._env.execution.building = OutgoingCall(
            callee, method, Callback(reply_function, reply_environment), Callback(reject_function, reject_environment)
        )

    def _give_up_call(self) -> None:
        execution = self._env.execution
        if execution.building is not None:
            self._env.cycles += execution.building.cycles
            execution.building = None

    def _call_on_cleanup(self, function: int, environment: int) -> None:
        call = self._building("call_on_cleanup")
        if call.on_cleanup is not None:
            raise contract_violation(
                "ic0.call_on_cleanup can be called at most once between ic0.call_new and ic0.call_perform"
            )
        call.on_cleanup = Callback(function, environment)

    def _call_data_append(self, source: int, size: int) -> None:
        call = self._building("call_data_append")
        total = len(call.argument) + size
        if total > MAX_CALL:
            raise contract_violation(f"ic0.call_data_append: {total} bytes are more than {MAX_CALL}")
        call.argument += self._read(source, size)

    def _call_with_best_effort_response(self, timeout_seconds: int) -> None:
        call = self._building("call_with_best_effort_response")
        if call.timeout_s is not None:
            raise contract_violation("ic0.call_with_best_effort_response: a time-out is already set")
        call.timeout_s = min(timeout_seconds, 300)

    def _call_cycles_add(self, amount: int) -> None:
        call = self._building("call_cycles_add")
        if amount > self._env.cycles:
            raise CanisterTrap("IC0501", f"Canister out of cycles: {amount} to be sent, {self._env.cycles} are there")
        self._env.cycles -= amount
        call.cycles += amount

    def _call_cycles_add128(self, high: int, low: int) -> None:
        self._call_cycles_add(high << 64 | low)

    def _call_perform(self) -> int:
        call = self._building("call_perform")
        execution = self._env.execution
        if len(execution.calls) >= MAX_CALLS:
            self._give_up_call()
            return 2
        execution.calls.append(call)
        execution.building = None
        return 0

    # -- stable memory --------------------------------------------------------------------------------------------

    def _stable64_size(self) -> int:
        return self._env.stable.pages

    def _stable64_grow(self, pages: int) -> int:
        return self._env.stable.grow(pages) & _U64

    def _stable64_write(self, offset: int, source: int, size: int) -> None:
        self._env.stable.write(offset, self._read(source, size))

    def _stable64_read(self, destination: int, offset: int, size: int) -> None:
        self._env.memory.write(destination, self._env.stable.read(offset, size))

    def _stable_size(self) -> int:
        return self._env.stable.pages

    def _stable_grow(self, pages: int) -> int:
        if self._env.stable.pages + pages > 65_536:
            return 0xFFFFFFFF
        return self._env.stable.grow(pages) & 0xFFFFFFFF

    _stable_write = _stable64_write
    _stable_read = _stable64_read

    # -- certified data, time, counters ---------------------------------------------------------------------------

    def _certified_data_set(self, source: int, size: int) -> None:
        if size > MAX_CERTIFIED_DATA:
            raise contract_violation(
                "ic0_certified_data_set failed because the passed data must be no larger than "
                f"{MAX_CERTIFIED_DATA} bytes. Found {size} bytes"
            )
        self._env.certified_data = self._read(source, size)

    def _certificate(self) -> bytes:
        certificate = self._env.execution.certificate
        if certificate is None:
            raise contract_violation("ic0.data_certificate: there is none")
        return certificate

    def _data_certificate_present(self) -> int:
        return int(self._env.execution.certificate is not None)

    def _data_certificate_size(self) -> int:
        return len(self._certificate())

    def _data_certificate_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._certificate(), "ic0.data_certificate_copy", destination, offset, size)

    def _time(self) -> int:
        return self._env.now_ns()

    def _global_timer_set(self, timestamp: int) -> int:
        before, self._env.global_timer_ns = self._env.global_timer_ns, timestamp
        return before

    def _performance_counter(self, counter: int) -> int:
        here = self._env.instructions()
        if counter == 0:
            return here
        if counter == 1:
            return here + self._env.execution.context.instructions
        raise contract_violation(f"ic0.performance_counter: there is no counter {counter}")

    # -- costs: nothing costs anything here -----------------------------------------------------------------------

    def _cost_call(self, method_name_size: int, payload_size: int, destination: int) -> None:
        self._write_u128(destination, 0)

    def _cost_create_canister(self, destination: int) -> None:
        self._write_u128(destination, 0)

    def _cost_http_request(self, request_size: int, max_response_size: int, destination: int) -> None:
        self._write_u128(destination, 0)

    def _cost_of_key(self, source: int, size: int, kind: int, destination: int) -> int:
        self._read(source, size)
        self._write_u128(destination, 0)
        return 0

    _cost_sign_with_ecdsa = _cost_of_key
    _cost_sign_with_schnorr = _cost_of_key
    _cost_vetkd_derive_key = _cost_of_key

    # -- debugging ------------------------------------------------------------------------------------------------

    def _debug_print(self, source: int, size: int) -> None:
        self._env.print(self._read(source, size))

    def _trap(self, source: int, size: int) -> None:
        text = self._read(source, size).decode("utf-8", "replace")
        raise CanisterTrap("IC0503", f"Canister called `ic0.trap` with message: '{text}'")


def unsigned(function: Callable[..., int | None], bits: Sequence[int]) -> Callable[..., Any]:
    """Wrap a function so that the signed integers WebAssembly passes become unsigned.

    :param bits: 32 or 64 for each parameter
    """
    masks = tuple((1 << each) - 1 for each in bits)
    if len(masks) == 3:
        first, second, third = masks
        return lambda a, b, c: function(a & first, b & second, c & third)
    if len(masks) == 2:
        first, second = masks
        return lambda a, b: function(a & first, b & second)
    if not masks:
        return function
    return lambda *values: function(*(value & mask for value, mask in zip(values, masks, strict=True)))
