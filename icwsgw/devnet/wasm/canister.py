"""A canister in WebAssembly: its state, and executions that take place as a whole or leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from icwsgw.devnet.wasm.binary import START_EXPORT, CanisterModule, read_module
from icwsgw.devnet.wasm.execution import (
    DEFAULT_INSTRUCTION_LIMIT,
    INSTRUCTION_LIMITS,
    MANAGEMENT,
    Callback,
    CallContext,
    CanisterTrap,
    Entry,
    Execution,
)
from icwsgw.devnet.wasm.instance import Compiler, Instance, Saved
from icwsgw.devnet.wasm.memory import LinearMemory, StableMemory
from icwsgw.devnet.wasm.system_api import SystemApi
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal

#: The balance that a canister begins with.
INITIAL_CYCLES: Final = 100_000_000_000_000
#: The highest balance: the IC counts cycles in 128 bits, and adds no more than fit.
MAX_CYCLES: Final = (1 << 128) - 1
NO_MODULE: Final = "Attempted to execute a message, but the canister contains no Wasm module."
RUNNING, STOPPING, STOPPED = 1, 2, 3

Log = Callable[[bytes], None]
"""Takes a line that a canister prints, or the text of a trap."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a canister at one time, against which queries can be run later."""

    module: CanisterModule
    saved: Saved
    stable: StableMemory
    certified_data: bytes


class WasmCanister:
    """One canister. It satisfies :class:`~icwsgw.devnet.wasm.environment.Environment`.

    :param now_ns: the network's time, ns since 1970
    :param log: takes what it prints
    :ivar module: the code; None: the canister is empty
    :ivar status: :data:`RUNNING`, :data:`STOPPING` or :data:`STOPPED`
    :ivar certified_data: at most 32 bytes
    :ivar global_timer_ns: when the timer is due, ns since 1970; 0: it is not set
    :ivar open_calls: calls to others whose answers have not come; a canister that has some cannot be stopped
    :ivar executions: that may have changed the state, so far
    """

    def __init__(
        self,
        canister_id: Principal,
        compiler: Compiler,
        now_ns: Callable[[], int],
        *,
        root_key: bytes,
        subnet_id: Principal,
        node_count: int,
        log: Log,
        controllers: Sequence[Principal] = (),
    ) -> None:
        self.id = canister_id
        self.root_key = root_key
        self.subnet_id = subnet_id
        self.node_count = node_count
        self.controllers = controllers
        self.variables: Sequence[tuple[bytes, bytes]] = ()
        self.status = RUNNING
        self.version = 0
        self.cycles = INITIAL_CYCLES
        self.executions = 0
        self.open_calls = 0
        self.stable = StableMemory()
        self.certified_data = b""
        self.global_timer_ns = 0
        self.module: CanisterModule | None = None
        self.execution = Execution(Entry.START, CallContext(MANAGEMENT, needs_answer=False))
        self._now_ns = now_ns
        self._time_ns = 0
        self._log = log
        self._compiler = compiler
        self._api = SystemApi(self)
        self._instance: Instance | None = None
        self._past: Instance | None = None
        self._saved = Saved()
        # The instance whose present state is in _saved: it need not be saved again before the next execution.
        self._saved_of: Instance | None = None
        self._before: tuple[bytes, int, int] = (b"", 0, 0)

    @property
    def cycles(self) -> int:
        """The balance, at most :data:`MAX_CYCLES`."""
        return self._cycles

    @cycles.setter
    def cycles(self, value: int) -> None:
        self._cycles = min(value, MAX_CYCLES)

    def refusal(self) -> Rejected | None:
        """Return the reject of new calls and queries; None: the canister runs."""
        if self.status == RUNNING:
            return None
        word, code = ("stopped", "IC0508") if self.status == STOPPED else ("stopping", "IC0509")
        return Rejected(5, f"Canister {self.id} is {word}", code)

    # -- environment ----------------------------------------------------------------------------------------------

    @property
    def memory(self) -> LinearMemory:
        """The heap.

        :raises CanisterTrap: the module has none, or ``start`` asks for it
        """
        memory = self._instance.memory if self._instance is not None else None
        if memory is None:
            raise CanisterTrap("IC0502", "Canister trapped: the module has no memory")
        return memory

    @property
    def heap_size(self) -> int:
        """Bytes of the heap."""
        memory = self._instance.memory if self._instance is not None else None
        return 0 if memory is None else memory.size

    def now_ns(self) -> int:
        return self._time_ns

    def instructions(self) -> int:
        return self._instance.instructions() if self._instance is not None else 0

    def print(self, text: bytes) -> None:
        self._log(text)

    # -- code -----------------------------------------------------------------------------------------------------

    def install(self, file: bytes, argument: bytes = b"", caller: Principal = MANAGEMENT) -> None:
        """Put code into the canister, and run ``canister_init``; all memory is new.

        :param file: WebAssembly, compressed with gzip or not
        :param argument: Candid
        :raises FormatError: not a module of a canister; the canister is as it was
        :raises CanisterTrap: ``canister_init`` traps; the canister is as it was
        """
        module = read_module(file)
        self._compiler.compile(module)
        self._replace(module, "canister_init", argument, caller, keep_stable=False)

    def upgrade(
        self,
        file: bytes,
        argument: bytes = b"",
        caller: Principal = MANAGEMENT,
        *,
        skip_pre_upgrade: bool = False,
        keep_heap: bool | None = None,
    ) -> None:
        """Run ``canister_pre_upgrade``, put in other code, and run ``canister_post_upgrade``; stable memory stays.

        :param keep_heap: whether the main memory stays too; None: if both modules ask for it
            (:data:`~icwsgw.devnet.wasm.binary.KEEP_MEMORY`)
        :raises FormatError: not a module of a canister; the canister is as it was
        :raises CanisterTrap: one of them traps; the canister is as it was
        """
        module = read_module(file)
        self._compiler.compile(module)
        before = (self.stable.copy(), self.certified_data, self.global_timer_ns, self.cycles)
        saved = Saved()
        if self._instance is not None:
            self._instance.save(saved)
        try:
            old = None if skip_pre_upgrade else self.module
            if old is not None and "canister_pre_upgrade" in old.functions:
                self.execute(
                    Execution(Entry.PRE_UPGRADE, CallContext(caller, needs_answer=False)), "canister_pre_upgrade"
                )
            self._replace(module, "canister_post_upgrade", argument, caller, keep_stable=True, keep_heap=keep_heap)
        except BaseException:
            self.stable, self.certified_data, self.global_timer_ns, self.cycles = before
            if self._instance is not None:
                self._restore(self._instance, saved)
            raise

    def _replace(
        self,
        module: CanisterModule,
        function: str,
        argument: bytes,
        caller: Principal,
        *,
        keep_stable: bool,
        keep_heap: bool | None = None,
    ) -> None:
        before = (self.module, self._instance, self.stable, self.certified_data, self.global_timer_ns, self.cycles)
        if not keep_stable:
            self.stable, self.certified_data = StableMemory(), b""
        self.global_timer_ns = 0
        self._saved_of = None
        kept = None
        if keep_stable and (module.keeps_memory if keep_heap is None else keep_heap):
            kept = self._main_memory(keep_heap is True)
        self.module = module
        try:
            self._instance = None
            self._instance = self._new_instance(module)
            if kept is not None:
                self.memory.keep(kept)
            if module.has_start:
                self._instance.run(START_EXPORT, INSTRUCTION_LIMITS[Entry.START])
            if function in module.functions:
                self.execute(
                    Execution(Entry.INIT, CallContext(caller, needs_answer=False), argument=argument), function
                )
        except BaseException:
            if self._instance is not None:
                self._instance.close()
            self.module, self._instance, self.stable, self.certified_data, self.global_timer_ns, self.cycles = before
            raise
        if before[1] is not None:
            before[1].close()
        self.version += 1

    def _main_memory(self, always: bool) -> bytearray | None:
        """Copy the main memory of a canister that wants to keep it, or always."""
        if self._instance is None or self.module is None or not (always or self.module.keeps_memory):
            return None
        saved = Saved()
        self._instance.save(saved)
        return saved.memory

    def uninstall(self) -> None:
        """Take the code out, and all memory."""
        if self._instance is not None:
            self._instance.close()
        self.module, self._instance = None, None
        self.stable, self.certified_data, self.global_timer_ns = StableMemory(), b"", 0
        self.version += 1

    def _new_instance(self, module: CanisterModule) -> Instance:
        self.execution = Execution(Entry.START, CallContext(MANAGEMENT, needs_answer=False))
        self._time_ns = self._now_ns()
        return Instance(self._compiler, module, self._api, INSTRUCTION_LIMITS[Entry.START])

    # -- execution ------------------------------------------------------------------------------------------------

    def execute(self, execution: Execution, function: str | Callback) -> None:
        """Run a function; what it did stays.

        :param function: name of an export, or a callback
        :raises CanisterTrap: it traps; nothing of what it did stays
        """
        instance = self._begin()
        self.executions += 1
        try:
            self._enter(instance, execution, function)
        except BaseException:
            self._undo(instance)
            raise
        self._saved_of = None

    def query(self, execution: Execution, function: str) -> None:
        """Run a function; nothing of what it did stays.

        :raises CanisterTrap: it traps
        """
        instance = self._begin()
        try:
            self._enter(instance, execution, function)
        finally:
            self._undo(instance)

    def snapshot(self) -> Snapshot | None:
        """Copy the state, for :meth:`query_at`; None: the canister is empty."""
        if self._instance is None or self.module is None:
            return None
        saved = Saved()
        self._instance.save(saved)
        return Snapshot(self.module, saved, self.stable.copy(), self.certified_data)

    def query_at(self, snapshot: Snapshot, execution: Execution, function: str) -> None:
        """Run a function on an older state; nothing of what it did stays.

        :raises CanisterTrap: it traps
        """
        instance = self._past
        if instance is None or instance.module is not snapshot.module or not instance.restore(snapshot.saved):
            if instance is not None:
                instance.close()
            instance = self._past = self._new_instance(snapshot.module)
            instance.restore(snapshot.saved)
        now = (self._instance, self.stable, self.certified_data, self.global_timer_ns, self.cycles)
        self._instance, self.stable, self.certified_data = instance, snapshot.stable, snapshot.certified_data
        self.stable.begin()
        try:
            self._enter(instance, execution, function)
        finally:
            self.stable.undo()
            self._instance, self.stable, self.certified_data, self.global_timer_ns, self.cycles = now

    def _enter(self, instance: Instance, execution: Execution, function: str | Callback) -> None:
        self.execution = execution
        self._time_ns = self._now_ns()
        fuel = INSTRUCTION_LIMITS.get(execution.entry, DEFAULT_INSTRUCTION_LIMIT)
        try:
            if isinstance(function, str):
                instance.run(function, fuel)
            else:
                instance.run_callback(function.function, function.environment, fuel)
        finally:
            execution.context.instructions += instance.instructions()
        if execution.building is not None:
            self.cycles += execution.building.cycles

    def _begin(self) -> Instance:
        if self._instance is None:
            raise CanisterTrap("IC0537", NO_MODULE)
        if self._saved_of is not self._instance:
            self._instance.save(self._saved)
            self._saved_of = self._instance
        self.stable.begin()
        self._before = (self.certified_data, self.global_timer_ns, self.cycles)
        return self._instance

    def _undo(self, instance: Instance) -> None:
        self.stable.undo()
        self.certified_data, self.global_timer_ns, self.cycles = self._before
        self._restore(instance, self._saved)

    def _restore(self, instance: Instance, saved: Saved) -> None:
        if instance.restore(saved):
            self._saved_of = instance if saved is self._saved else None
            return
        # A memory does not shrink: another instance takes the state.
        assert self.module is not None
        execution = self.execution
        fresh = self._new_instance(self.module)
        self.execution = execution
        fresh.restore(saved)
        instance.close()
        self._instance = fresh
        self._saved_of = fresh if saved is self._saved else None

    def close(self) -> None:
        """Free the memory."""
        for instance in (self._instance, self._past):
            if instance is not None:
                instance.close()
        self._instance = self._past = None

    def rejected(self, trap: CanisterTrap) -> Rejected:
        """Make the reject of a trap, and write it to the log."""
        self._log(trap.text.encode())
        return trap.rejected(self.id)
