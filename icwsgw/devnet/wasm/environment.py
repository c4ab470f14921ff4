"""What surrounds an execution of a canister, and the access that functions of the system interface have to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from icwsgw.devnet.wasm.execution import Execution, contract_violation
from icwsgw.devnet.wasm.memory import LinearMemory, StableMemory
from icwsgw.ic.principal import Principal


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
    :ivar node_count: nodes of its subnet
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
    node_count: int
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


class SystemFunctions:
    """Some functions of the system interface, over one environment: the methods ``_ic0_*``, by the function's name.

    :param environment: the canister
    """

    def __init__(self, environment: Environment) -> None:
        self._env = environment

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
