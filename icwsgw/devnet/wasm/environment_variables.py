"""The functions ``ic0.env_var_*``: the environment variables that a canister's settings hold.

icp-cli puts the ids of a project's canisters there (``PUBLIC_CANISTER_ID:<name>``). Source: IC interface specification,
"Environment variables".
"""

from __future__ import annotations

from typing import Final

from icwsgw.devnet.wasm.environment import SystemFunctions
from icwsgw.devnet.wasm.execution import contract_violation

#: Bytes of a name.
MAX_NAME: Final = 128


class EnvironmentVariables(SystemFunctions):
    """These functions."""

    def _ic0_env_var_count(self) -> int:
        return len(self._env.variables)

    def _ic0_env_var_name_size(self, index: int) -> int:
        return len(self._name("ic0.env_var_name_size", index))

    def _ic0_env_var_name_copy(self, index: int, destination: int, offset: int, size: int) -> None:
        name = "ic0.env_var_name_copy"
        self._copy(self._name(name, index), name, destination, offset, size)

    def _ic0_env_var_name_exists(self, source: int, size: int) -> int:
        name = self._wanted("ic0.env_var_name_exists", source, size)
        return int(any(each == name for each, _ in self._env.variables))

    def _ic0_env_var_value_size(self, source: int, size: int) -> int:
        return len(self._value("ic0.env_var_value_size", source, size))

    def _ic0_env_var_value_copy(
        self, name_source: int, name_size: int, destination: int, offset: int, size: int
    ) -> None:
        name = "ic0.env_var_value_copy"
        self._copy(self._value(name, name_source, name_size), name, destination, offset, size)

    def _name(self, what: str, index: int) -> bytes:
        if index >= len(self._env.variables):
            raise contract_violation(f"{what}: there are {len(self._env.variables)} variables, not {index + 1}")
        return self._env.variables[index][0]

    def _wanted(self, what: str, source: int, size: int) -> bytes:
        if size > MAX_NAME:
            raise contract_violation(f"{what}: a name has at most {MAX_NAME} bytes, not {size}")
        name = self._read(source, size)
        try:
            name.decode()
        except UnicodeDecodeError:
            raise contract_violation(f"{what}: the name is not UTF-8") from None
        return name

    def _value(self, what: str, source: int, size: int) -> bytes:
        name = self._wanted(what, source, size)
        for each, value in self._env.variables:
            if each == name:
                return value
        raise contract_violation(f"{what}: there is no variable of this name")
