"""The functions ``ic0.env_var_*``: the environment variables that a canister's settings hold.

icp-cli puts the ids of a project's canisters there (``PUBLIC_CANISTER_ID:<name>``). Source: IC interface specification,
"Environment variables".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from icwsgw.devnet.wasm.execution import contract_violation


class EnvironmentVariables(ABC):
    """These functions, over the memory of an instance."""

    @property
    @abstractmethod
    def variables(self) -> Sequence[tuple[bytes, bytes]]:
        """Names and values in UTF-8."""

    @abstractmethod
    def _read(self, source: int, size: int) -> bytes:
        """Copy out of the memory."""

    @abstractmethod
    def _copy(self, source: bytes, what: str, destination: int, offset: int, size: int) -> None:
        """Copy a part of ``source`` into the memory."""

    def _env_var_count(self) -> int:
        return len(self.variables)

    def _env_var_name_size(self, index: int) -> int:
        return len(self._name("ic0.env_var_name_size", index))

    def _env_var_name_copy(self, index: int, destination: int, offset: int, size: int) -> None:
        name = "ic0.env_var_name_copy"
        self._copy(self._name(name, index), name, destination, offset, size)

    def _env_var_name_exists(self, source: int, size: int) -> int:
        name = self._read(source, size)
        return int(any(each == name for each, _ in self.variables))

    def _env_var_value_size(self, source: int, size: int) -> int:
        return len(self._value("ic0.env_var_value_size", source, size))

    def _env_var_value_copy(self, name_source: int, name_size: int, destination: int, offset: int, size: int) -> None:
        name = "ic0.env_var_value_copy"
        self._copy(self._value(name, name_source, name_size), name, destination, offset, size)

    def _name(self, what: str, index: int) -> bytes:
        if index >= len(self.variables):
            raise contract_violation(f"{what}: there are {len(self.variables)} variables, not {index + 1}")
        return self.variables[index][0]

    def _value(self, what: str, source: int, size: int) -> bytes:
        name = self._read(source, size)
        for each, value in self.variables:
            if each == name:
                return value
        raise contract_violation(f"{what}: there is no variable of this name")
