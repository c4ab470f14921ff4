"""The functions that a canister imports as ``ic0`` (IC interface specification, "System API").

Each is a method ``_ic0_<name>`` of :class:`SystemApi` that takes and returns integers as WebAssembly passes them, made
unsigned. :mod:`icwsgw.devnet.wasm.entry_points` lists from where each may be called. A function that exists on the IC
alone (:data:`~icwsgw.devnet.wasm.import_types.NOT_HERE`) can be linked, and traps with its name when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from icwsgw.devnet.wasm.call_functions import CallFunctions
from icwsgw.devnet.wasm.cycle_functions import CycleFunctions
from icwsgw.devnet.wasm.entry_points import allowed_from
from icwsgw.devnet.wasm.environment_variables import EnvironmentVariables
from icwsgw.devnet.wasm.execution import CanisterTrap, Execution, contract_violation
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal

#: What ``certified_data_set`` takes.
MAX_CERTIFIED_DATA: Final = 32
_U64 = (1 << 64) - 1


class SystemApi(CallFunctions, CycleFunctions, EnvironmentVariables):
    """All functions, over one environment."""

    def function(self, name: str) -> Callable[..., int | None]:
        """Return the function of a name, checked for from where it is called.

        :return: takes and returns unsigned integers; raises CanisterTrap
        """
        run = getattr(self, f"_ic0_{name}", None)
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
            raise CanisterTrap("IC0502", f"Canister trapped: ic0.{name} exists on the IC, but not on the local replica")

        return missing

    # -- argument, caller, reject ---------------------------------------------------------------------------------

    def _ic0_msg_arg_data_size(self) -> int:
        return len(self._env.execution.argument)

    def _ic0_msg_arg_data_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.argument, "ic0.msg_arg_data_copy", destination, offset, size)

    def _ic0_msg_caller_size(self) -> int:
        return len(self._env.execution.context.caller.raw)

    def _ic0_msg_caller_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.context.caller.raw, "ic0.msg_caller_copy", destination, offset, size)

    def _ic0_msg_caller_info_data_size(self) -> int:
        return 0

    def _ic0_msg_caller_info_data_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(b"", "ic0.msg_caller_info_data_copy", destination, offset, size)

    def _ic0_msg_caller_info_signer_size(self) -> int:
        return 0

    def _ic0_msg_caller_info_signer_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(b"", "ic0.msg_caller_info_signer_copy", destination, offset, size)

    def _ic0_msg_reject_code(self) -> int:
        reject = self._env.execution.reject
        return 0 if reject is None else reject.code

    def _reject_message(self) -> bytes:
        reject = self._env.execution.reject
        if reject is None:
            raise contract_violation("ic0.msg_reject_msg: there is no reject")
        return reject.message.encode()

    def _ic0_msg_reject_msg_size(self) -> int:
        return len(self._reject_message())

    def _ic0_msg_reject_msg_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._reject_message(), "ic0.msg_reject_msg_copy", destination, offset, size)

    def _ic0_msg_deadline(self) -> int:
        return self._env.execution.context.deadline_ns

    # -- answer ---------------------------------------------------------------------------------------------------

    def _unanswered(self, name: str) -> Execution:
        execution = self._env.execution
        if execution.response is not None or not execution.context.needs_answer:
            raise contract_violation(f"ic0.{name}: the call is already replied")
        return execution

    def _ic0_msg_reply_data_append(self, source: int, size: int) -> None:
        execution = self._unanswered("msg_reply_data_append")
        total = len(execution.reply) + size
        if total > execution.max_reply:
            raise contract_violation(
                f"ic0.msg_reply_data_append: application payload size ({total}) cannot be larger than "
                f"{execution.max_reply}."
            )
        execution.reply += self._read(source, size)

    def _ic0_msg_reply(self) -> None:
        execution = self._unanswered("msg_reply")
        execution.response = bytes(execution.reply)

    def _ic0_msg_reject(self, source: int, size: int) -> None:
        execution = self._unanswered("msg_reject")
        if size > execution.max_reply:
            raise contract_violation(f"ic0.msg_reject: {size} bytes are more than {execution.max_reply}")
        try:
            message = self._read(source, size).decode()
        except UnicodeDecodeError:
            raise contract_violation("ic0.msg_reject: invalid UTF-8 string provided") from None
        execution.response = Rejected(4, message, "IC0406")

    # -- the canister ---------------------------------------------------------------------------------------------

    def _ic0_canister_self_size(self) -> int:
        return len(self._env.id.raw)

    def _ic0_canister_self_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.id.raw, "ic0.canister_self_copy", destination, offset, size)

    def _ic0_canister_status(self) -> int:
        return self._env.status

    def _ic0_canister_version(self) -> int:
        return self._env.version

    def _ic0_subnet_self_size(self) -> int:
        return len(self._env.subnet_id.raw)

    def _ic0_subnet_self_node_count(self) -> int:
        return self._env.node_count

    def _ic0_subnet_self_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.subnet_id.raw, "ic0.subnet_self_copy", destination, offset, size)

    def _ic0_root_key_size(self) -> int:
        return len(self._env.root_key)

    def _ic0_root_key_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.root_key, "ic0.root_key_copy", destination, offset, size)

    def _ic0_is_controller(self, source: int, size: int) -> int:
        raw = self._read(source, size)
        if len(raw) > 29:
            raise contract_violation("ic0.is_controller: not a principal")
        return int(Principal(raw) in self._env.controllers)

    def _ic0_in_replicated_execution(self) -> int:
        return int(self._env.execution.replicated)

    # -- inspect_message ------------------------------------------------------------------------------------------

    def _ic0_msg_method_name_size(self) -> int:
        return len(self._env.execution.method.encode())

    def _ic0_msg_method_name_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._env.execution.method.encode(), "ic0.msg_method_name_copy", destination, offset, size)

    def _ic0_accept_message(self) -> None:
        if self._env.execution.accepted:
            raise contract_violation("ic0.accept_message: the function was already called")
        self._env.execution.accepted = True

    # -- stable memory --------------------------------------------------------------------------------------------

    def _ic0_stable64_size(self) -> int:
        return self._env.stable.pages

    def _ic0_stable64_grow(self, pages: int) -> int:
        return self._env.stable.grow(pages) & _U64

    def _ic0_stable64_write(self, offset: int, source: int, size: int) -> None:
        self._env.stable.write(offset, self._read(source, size))

    def _ic0_stable64_read(self, destination: int, offset: int, size: int) -> None:
        self._env.memory.write(destination, self._env.stable.read(offset, size))

    def _ic0_stable_size(self) -> int:
        return self._env.stable.pages

    def _ic0_stable_grow(self, pages: int) -> int:
        if self._env.stable.pages + pages > 65_536:
            return 0xFFFFFFFF
        return self._env.stable.grow(pages) & 0xFFFFFFFF

    _ic0_stable_write = _ic0_stable64_write
    _ic0_stable_read = _ic0_stable64_read

    # -- certified data, time, counters ---------------------------------------------------------------------------

    def _ic0_certified_data_set(self, source: int, size: int) -> None:
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

    def _ic0_data_certificate_present(self) -> int:
        return int(self._env.execution.certificate is not None)

    def _ic0_data_certificate_size(self) -> int:
        return len(self._certificate())

    def _ic0_data_certificate_copy(self, destination: int, offset: int, size: int) -> None:
        self._copy(self._certificate(), "ic0.data_certificate_copy", destination, offset, size)

    def _ic0_time(self) -> int:
        return self._env.now_ns()

    def _ic0_global_timer_set(self, timestamp: int) -> int:
        before, self._env.global_timer_ns = self._env.global_timer_ns, timestamp
        return before

    def _ic0_performance_counter(self, counter: int) -> int:
        here = self._env.instructions()
        if counter == 0:
            return here
        if counter == 1:
            return here + self._env.execution.context.instructions
        raise contract_violation(f"ic0.performance_counter: there is no counter {counter}")

    # -- debugging ------------------------------------------------------------------------------------------------

    def _ic0_debug_print(self, source: int, size: int) -> None:
        try:
            text = self._read(source, size)
        except CanisterTrap:
            # As on the IC, this is no trap.
            text = b"(debug_print message out of memory bounds)"
        self._env.print(text)

    def _ic0_trap(self, source: int, size: int) -> None:
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
