"""The functions ``ic0.call_*``: a canister builds a call to another canister, and performs it."""

from __future__ import annotations

from typing import Final

from icwsgw.devnet.wasm.environment import SystemFunctions
from icwsgw.devnet.wasm.execution import MAX_CALL, Callback, CanisterTrap, OutgoingCall, contract_violation
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

#: Calls that one execution may perform, as the queues of the IC bound them.
MAX_CALLS: Final = 500


class CallFunctions(SystemFunctions):
    """These functions. At most one call is under construction; a new one gives it up."""

    def _building(self, name: str) -> OutgoingCall:
        call = self._env.execution.building
        if call is None:
            raise contract_violation(f"ic0.{name} called when no call is under construction.")
        return call

    def _ic0_call_new(
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

    def _ic0_call_on_cleanup(self, function: int, environment: int) -> None:
        call = self._building("call_on_cleanup")
        if call.on_cleanup is not None:
            raise contract_violation(
                "ic0.call_on_cleanup can be called at most once between ic0.call_new and ic0.call_perform"
            )
        call.on_cleanup = Callback(function, environment)

    def _ic0_call_data_append(self, source: int, size: int) -> None:
        call = self._building("call_data_append")
        total = len(call.argument) + size
        if total > MAX_CALL:
            raise contract_violation(f"ic0.call_data_append: {total} bytes are more than {MAX_CALL}")
        call.argument += self._read(source, size)

    def _ic0_call_with_best_effort_response(self, timeout_seconds: int) -> None:
        call = self._building("call_with_best_effort_response")
        if call.timeout_s is not None:
            raise contract_violation("ic0.call_with_best_effort_response: a time-out is already set")
        call.timeout_s = min(timeout_seconds, 300)

    def _ic0_call_cycles_add(self, amount: int) -> None:
        call = self._building("call_cycles_add")
        if amount > self._env.cycles:
            raise CanisterTrap("IC0207", f"Canister out of cycles: {amount} to be sent, {self._env.cycles} are there")
        self._env.cycles -= amount
        call.cycles += amount

    def _ic0_call_cycles_add128(self, high: int, low: int) -> None:
        self._ic0_call_cycles_add(high << 64 | low)

    def _ic0_call_perform(self) -> int:
        call = self._building("call_perform")
        execution = self._env.execution
        if len(execution.calls) >= MAX_CALLS:
            self._give_up_call()
            return 2
        execution.calls.append(call)
        execution.building = None
        return 0
