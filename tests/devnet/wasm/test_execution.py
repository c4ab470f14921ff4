from __future__ import annotations

from icwsgw.devnet.wasm.execution import CallContext, CanisterTrap, Entry, Execution, contract_violation
from tests.devnet.wasm.support import ALICE, FIRST


def test_the_reject_of_a_trap_names_the_canister() -> None:
    reject = CanisterTrap("IC0503", "Canister called `ic0.trap` with message: 'no'").rejected(FIRST)
    assert (reject.code, reject.error_code) == (5, "IC0503")
    assert reject.message == f"Error from Canister {FIRST}: Canister called `ic0.trap` with message: 'no'"


def test_misuse_of_the_system_interface_has_a_code_of_its_own() -> None:
    trap = contract_violation("too much")
    assert (trap.error_code, trap.text) == ("IC0504", "Canister violated contract: too much")


def test_queries_and_inspections_are_not_replicated() -> None:
    context = CallContext(ALICE, needs_answer=True)
    apart = {entry for entry in Entry if not Execution(entry, context).replicated}
    assert apart == {Entry.QUERY, Entry.COMPOSITE_QUERY, Entry.INSPECT}
