"""The functions ``ic0.*`` for cycles: those of a message, the canister's balance, and what something would cost."""

from __future__ import annotations

from typing import Final

from icwsgw.devnet.wasm.environment import SystemFunctions
from icwsgw.devnet.wasm.execution import contract_violation
from icwsgw.errors import FormatError
from icwsgw.ic import candid

_U64 = (1 << 64) - 1
_COUNTS: Final = dict.fromkeys(("min_responses", "max_responses", "total_requests"), candid.Nat32)
_SIZES: Final = (
    *("request_bytes", "http_roundtrip_time_ms", "raw_response_bytes", "transformed_response_bytes"),
    "transform_instructions",
)
_KINDS: Final = {
    "fully_replicated": candid.Reserved,
    "non_replicated": candid.Reserved,
    "flexible": candid.Opt(candid.Record(_COUNTS)),
}
#: What an HTTPS outcall uses.
_OUTCALL: Final = candid.Record(
    {**dict.fromkeys(_SIZES, candid.Nat64), "outcall_type": candid.Opt(candid.Variant(_KINDS))}
)


class CycleFunctions(SystemFunctions):
    """These functions. Nothing costs anything on the local replica."""

    def _available(self) -> int:
        execution = self._env.execution
        return execution.context.cycles - execution.cycles_accepted

    def _accept(self, most: int) -> int:
        accepted = min(most, self._available())
        self._env.execution.cycles_accepted += accepted
        self._env.cycles += accepted
        return accepted

    def _ic0_msg_cycles_available(self) -> int:
        return self._fits(self._available())

    def _ic0_msg_cycles_available128(self, destination: int) -> None:
        self._write_u128(destination, self._available())

    def _ic0_msg_cycles_refunded(self) -> int:
        return self._fits(self._env.execution.refunded)

    def _ic0_msg_cycles_refunded128(self, destination: int) -> None:
        self._write_u128(destination, self._env.execution.refunded)

    def _ic0_msg_cycles_accept(self, most: int) -> int:
        return self._accept(most)

    def _ic0_msg_cycles_accept128(self, high: int, low: int, destination: int) -> None:
        self._write_u128(destination, self._accept(high << 64 | low))

    def _ic0_cycles_burn128(self, high: int, low: int, destination: int) -> None:
        burnt = min(high << 64 | low, self._env.cycles)
        self._env.cycles -= burnt
        self._write_u128(destination, burnt)

    def _ic0_canister_cycle_balance(self) -> int:
        return self._fits(self._env.cycles)

    def _ic0_canister_cycle_balance128(self, destination: int) -> None:
        self._write_u128(destination, self._env.cycles)

    def _ic0_canister_liquid_cycle_balance128(self, destination: int) -> None:
        self._write_u128(destination, self._env.cycles)

    def _fits(self, cycles: int) -> int:
        if cycles > _U64:
            raise contract_violation("the number of cycles does not fit into 64 bits")
        return cycles

    # -- costs: nothing costs anything here -----------------------------------------------------------------------

    def _ic0_cost_call(self, method_name_size: int, payload_size: int, destination: int) -> None:
        self._write_u128(destination, 0)

    def _ic0_cost_create_canister(self, destination: int) -> None:
        self._write_u128(destination, 0)

    def _ic0_cost_http_request(self, request_size: int, max_response_size: int, destination: int) -> None:
        self._write_u128(destination, 0)

    def _ic0_cost_http_request_v2(self, source: int, size: int, destination: int) -> None:
        try:
            candid.decode_as(self._read(source, size), [_OUTCALL])
        except FormatError as error:
            raise contract_violation(f"ic0.cost_http_request_v2: failed to decode the parameters: {error}") from None
        self._write_u128(destination, 0)

    def _cost_of_key(self, source: int, size: int, kind: int, kinds: int, destination: int) -> int:
        """Write the cost; 0, or 1 for a curve or algorithm that does not exist."""
        self._read(source, size)
        if kind >= kinds:
            return 1
        self._write_u128(destination, 0)
        return 0

    def _ic0_cost_sign_with_ecdsa(self, source: int, size: int, curve: int, destination: int) -> int:
        return self._cost_of_key(source, size, curve, 1, destination)

    def _ic0_cost_sign_with_schnorr(self, source: int, size: int, algorithm: int, destination: int) -> int:
        return self._cost_of_key(source, size, algorithm, 2, destination)

    def _ic0_cost_vetkd_derive_key(self, source: int, size: int, curve: int, destination: int) -> int:
        return self._cost_of_key(source, size, curve, 1, destination)
