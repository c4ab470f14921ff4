"""An instance of a canister's module on wasmtime, whose state can be saved and restored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import wasmtime

from icwsgw.devnet.wasm.binary import MEMORY_EXPORT, START_EXPORT, TABLE_EXPORT, CanisterModule
from icwsgw.devnet.wasm.execution import CanisterTrap
from icwsgw.devnet.wasm.import_types import check_export, check_import, invalid_import
from icwsgw.devnet.wasm.memory import LinearMemory
from icwsgw.devnet.wasm.system_api import SystemApi, unsigned
from icwsgw.errors import FormatError

#: Compiled modules that are kept. A canister that is reloaded again and again leaves one behind each time.
MAX_COMPILED: Final = 50
#: Proposals that the IC has switched off (dfinity/ic, ``wasmtime_validation_config``) and wasmtime has not.
_SWITCHED_OFF: Final = ("multi_memory", "threads", "relaxed_simd", "gc", "function_references", "exceptions")
_I32 = wasmtime.ValType.i32()
#: What the IC says of a trap by wasmtime.
_TRAPS = {
    wasmtime.TrapCode.UNREACHABLE: "unreachable",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "heap out of bounds",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "table out of bounds",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "null function call",
    wasmtime.TrapCode.BAD_SIGNATURE: "function signature mismatch",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "integer overflow",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "integer division by zero",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "invalid conversion to integer",
    wasmtime.TrapCode.STACK_OVERFLOW: "stack overflow",
}


class Saved:
    """The state of an instance, to be restored; the buffer is used again and again."""

    __slots__ = ("globals", "memory")

    def __init__(self) -> None:
        self.memory = bytearray()
        self.globals: list[Any] = []


class Compiler:
    """Compiles modules, each once; all instances share one engine."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.wasm_memory64 = True
        for proposal in _SWITCHED_OFF:
            setattr(config, f"wasm_{proposal}", False)
        config.cranelift_nan_canonicalization = True
        self.engine = _engine(config)
        self._compiled: OrderedDict[bytes, wasmtime.Module] = OrderedDict()

    def compile(self, module: CanisterModule) -> wasmtime.Module:
        """Return the compiled module.

        :raises FormatError: not valid, it imports what the IC does not have, or a function has another type there
        """
        compiled = self._compiled.get(module.hash)
        if compiled is None:
            try:
                compiled = wasmtime.Module(self.engine, module.wasm)
            except wasmtime.WasmtimeError as error:
                raise FormatError(f"Wasm module failed validation: {error}") from None
            _check_functions(compiled)
            self._compiled[module.hash] = compiled
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(module.hash)
        return compiled


def _check_functions(compiled: wasmtime.Module) -> None:
    """Pass if a module imports functions of the IC alone, and all functions have the types that they have there."""
    exports = {each.name: each.type for each in compiled.exports}
    memory = exports.get(MEMORY_EXPORT)
    memory64 = isinstance(memory, wasmtime.MemoryType) and memory.is_64
    for each in compiled.imports:
        kind, name = each.type, each.name or ""
        if not isinstance(kind, wasmtime.FuncType):
            what = type(kind).__name__.removesuffix("Type").lower()
            raise invalid_import(
                f"Module imports a {what}, '{name}' from '{each.module}': only functions can be imported."
            )
        check_import(each.module, name, *_types(kind), memory64=memory64)
    for name, kind in exports.items():
        if isinstance(kind, wasmtime.FuncType):
            check_export(name, *_types(kind))
            # Reading the module has made an export of the start section, which wasmtime would have checked.
            if name == START_EXPORT and (kind.params or kind.results):
                raise FormatError("Wasm module failed validation: the start function has parameters or results")


def _types(kind: wasmtime.FuncType) -> tuple[list[str], list[str]]:
    return [str(each) for each in kind.params], [str(each) for each in kind.results]


def _engine(config: wasmtime.Config) -> wasmtime.Engine:
    """Return an engine that keeps compiled code on disk if it can (by default in ``~/.cache/wasmtime``).

    Compilation of a canister takes seconds, and every start and test process would repeat it.
    """
    try:
        config.cache = True
    except wasmtime.WasmtimeError:
        pass
    return wasmtime.Engine(config)


class Instance:
    """A module with memory of its own. Creating one does not run the module's ``start`` function.

    :param api: the functions that it imports
    :param fuel: instructions that creating it may take
    :ivar memory: None: the module has none
    :raises CanisterTrap: a segment of data does not fit
    """

    def __init__(self, compiler: Compiler, module: CanisterModule, api: SystemApi, fuel: int) -> None:
        self.module = module
        self._store = wasmtime.Store(compiler.engine)
        self._fuel = fuel
        self._store.set_fuel(fuel)
        compiled = compiler.compile(module)
        functions = [self._import(each, api) for each in compiled.imports]
        try:
            instance = wasmtime.Instance(self._store, compiled, functions)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise self._trapped(error) from None
        exports = instance.exports(self._store)
        self._exports: Any = exports
        self._functions: dict[str, wasmtime.Func] = {}
        memory: Any = exports[MEMORY_EXPORT] if module.has_memory else None
        self.memory = LinearMemory(self._store, memory) if memory is not None else None
        self._table: Any = exports[TABLE_EXPORT] if module.has_table else None
        self._globals: list[Any] = [exports[name] for name in module.globals]

    def _import(self, each: wasmtime.ImportType, api: SystemApi) -> wasmtime.Func:
        kind = each.type
        assert isinstance(kind, wasmtime.FuncType)
        assert each.name is not None
        bits = [32 if parameter == _I32 else 64 for parameter in kind.params]
        return wasmtime.Func(self._store, kind, unsigned(api.function(each.name), bits))

    # -- execution ------------------------------------------------------------------------------------------------

    def run(self, function: str, fuel: int) -> None:
        """Call an exported function without arguments.

        :param fuel: instructions that it may take
        :raises CanisterTrap: it traps, or takes more
        """
        found = self._functions.get(function)
        if found is None:
            exported: Any = self._exports[function]
            found = self._functions[function] = exported
        self._enter(lambda: found(self._store), fuel)

    def run_callback(self, function: int, environment: int, fuel: int) -> None:
        """Call a function of the table with one argument.

        :raises CanisterTrap: there is none, it traps, or takes more than ``fuel`` instructions
        """
        try:
            found = self._table.get(self._store, function) if self._table is not None else None
        except wasmtime.WasmtimeError:
            found = None
        if found is None:
            raise CanisterTrap("IC0502", "Canister trapped: null function call")
        bits = 32 if found.type(self._store).params[:1] == [_I32] else 64
        signed = environment - (1 << bits) if environment >> bits - 1 else environment
        self._enter(lambda: found(self._store, signed), fuel)

    def _enter(self, call: Callable[[], object], fuel: int) -> None:
        self._fuel = fuel
        self._store.set_fuel(fuel)
        try:
            call()
        except CanisterTrap:
            raise
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise self._trapped(error) from None
        except Exception as error:
            # A mistake of this replica in a function of the system interface: it must not cost other calls.
            text = f"the local replica failed in a system call: {type(error).__name__}: {error}"
            raise CanisterTrap("IC0502", f"Canister trapped: {text}") from error

    def instructions(self) -> int:
        """Instructions executed since the function was entered."""
        left: int = self._store.get_fuel()
        return self._fuel - left

    def _trapped(self, error: Exception) -> CanisterTrap:
        code = getattr(error, "trap_code", None)
        if code is wasmtime.TrapCode.OUT_OF_FUEL:
            return CanisterTrap(
                "IC0522",
                f"Canister exceeded the limit of {self._fuel} instructions for single message execution.",
            )
        if code is None:
            return CanisterTrap("IC0502", f"Canister trapped: {error}")
        frames = [frame.func_name or f"function {frame.func_index}" for frame in getattr(error, "frames", [])]
        backtrace = "".join(f"\n{frame}" for frame in frames)
        text = _TRAPS.get(code, code.name.lower().replace("_", " "))
        return CanisterTrap(
            "IC0502", f"Canister trapped: {text}" + (f"\nCanister Backtrace:{backtrace}" if frames else "")
        )

    # -- state ----------------------------------------------------------------------------------------------------

    def save(self, into: Saved) -> None:
        """Copy the state into a buffer."""
        if self.memory is not None:
            self.memory.save(into.memory)
        into.globals = [each.value(self._store) for each in self._globals]

    def restore(self, saved: Saved) -> bool:
        """Bring back the state of the buffer.

        :return: False: the memory has grown since, so that another instance has to take the state
        """
        if self.memory is not None:
            if self.memory.size > len(saved.memory):
                return False
            self.memory.load(saved.memory)
        for each, value in zip(self._globals, saved.globals, strict=True):
            each.set_value(self._store, value)
        return True

    def close(self) -> None:
        """Free the memory."""
        self._exports = None
        self._functions.clear()
        self._globals.clear()
        self._table = None
        self.memory = None
        self._store.close()
