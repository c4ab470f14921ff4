"""A canister in WebAssembly as the replica runs it: calls, queries, timers, its part of the state tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from icwsgw.devnet.hosting import CANDID_SECTION, Certifier, PageFilter, no_method
from icwsgw.devnet.wasm.canister import RUNNING, STOPPED, Snapshot, WasmCanister
from icwsgw.devnet.wasm.canister_messages import CanisterRequest, Messages
from icwsgw.devnet.wasm.execution import MANAGEMENT, CallContext, CanisterTrap, Entry, Execution, Response
from icwsgw.devnet.wasm.memory import PAGE
from icwsgw.devnet.wasm.stop_requests import StopRequests
from icwsgw.errors import Rejected
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.hashtree import Tree
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock, Timer

#: Seconds between two heartbeats of a canister that has them, about as often as blocks of the public network.
HEARTBEAT_S: Final = 1.0
#: Messages that are executed before others get their turn.
MESSAGES_AT_ONCE: Final = 200


class MessageRunner:
    """Executes the messages between canisters: at once, and what is left in later turns of the event loop.

    :param clock: calls later
    :param elsewhere: executes what is for no canister in WebAssembly
    """

    def __init__(self, clock: Clock, elsewhere: Callable[[CanisterRequest], None]) -> None:
        self._clock = clock
        self._hosts: dict[Principal, WasmHost] = {}
        self.messages = Messages(self._find, elsewhere)
        self._timer: Timer | None = None
        self._running = False

    def _find(self, canister_id: Principal) -> WasmCanister | None:
        host = self._hosts.get(canister_id)
        return None if host is None else host.canister

    def add(self, host: WasmHost) -> None:
        self._hosts[host.id] = host

    def remove(self, host: WasmHost) -> None:
        if self._hosts.get(host.id) is host:
            del self._hosts[host.id]

    def run(self) -> None:
        """Execute messages, and notify each canister that its state may have changed."""
        if self._running:
            return
        self._running = True
        try:
            self.messages.run(MESSAGES_AT_ONCE)
        finally:
            self._running = False
            if len(self.messages) and self._timer is None:
                self._timer = self._clock.callLater(0, self._again)
        for host in list(self._hosts.values()):
            host.executed()

    def _again(self) -> None:
        self._timer = None
        self.run()

    def close(self) -> None:
        """Execute nothing more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class WasmHost:
    """One canister id with code in WebAssembly behind it.

    :param changed: called with the host when its part of the state tree may have changed
    """

    def __init__(
        self,
        canister: WasmCanister,
        runner: MessageRunner,
        clock: Clock,
        now_ns: Callable[[], int],
        changed: Callable[[WasmHost], None],
    ) -> None:
        self.id = canister.id
        self.canister = canister
        self._runner = runner
        self._clock = clock
        self._now_ns = now_ns
        self._changed = changed
        self._timer: Timer | None = None
        self._timer_ns = 0
        self._heartbeat_timer: Timer | None = None
        self._executions = 0
        self._stops = StopRequests(canister, clock)
        self._file = b""
        self._candid: str | None = None
        runner.add(self)

    # -- life -----------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the canister takes calls. When set to False, it stops at once, whatever it waits for."""
        return self.canister.status == RUNNING

    @running.setter
    def running(self, value: bool) -> None:
        if value:
            self._stops.start()
            self._arm()
        else:
            self._stops.stop_now()

    @property
    def stopped(self) -> bool:
        """Whether the canister neither runs nor is stopping."""
        return self.canister.status == STOPPED

    def stop(self) -> Deferred[None] | None:
        """Stop the canister when its open calls are done, see :meth:`StopRequests.stop`."""
        return self._stops.stop()

    def check_running(self) -> None:
        """Pass if the canister runs.

        :raises Rejected: it is stopped or stopping
        """
        refusal = self.canister.refusal()
        if refusal is not None:
            raise refusal

    def install(self, file: bytes, argument: bytes = b"", caller: Principal = MANAGEMENT) -> None:
        """Put code into the canister; all memory is new.

        :param caller: of ``canister_init``
        :raises FormatError: not a module of a canister; nothing has changed
        :raises CanisterTrap: ``canister_init`` traps; nothing has changed
        """
        self.canister.install(file, argument, caller)
        self._file = file
        self._after_code()

    def upgrade(
        self,
        file: bytes,
        argument: bytes = b"",
        caller: Principal = MANAGEMENT,
        *,
        skip_pre_upgrade: bool = False,
        keep_heap: bool | None = None,
    ) -> None:
        """Put other code into the canister; stable memory stays.

        :param caller: of the upgrade's functions
        :raises FormatError: not a module of a canister; nothing has changed
        :raises CanisterTrap: ``canister_pre_upgrade`` or ``canister_post_upgrade`` traps; nothing has changed
        """
        self.canister.upgrade(file, argument, caller, skip_pre_upgrade=skip_pre_upgrade, keep_heap=keep_heap)
        self._file = file
        self._after_code()

    def uninstall(self) -> None:
        """Take the code out, and all memory; calls that it has not answered are rejected."""
        self.canister.uninstall()
        self._runner.messages.uninstalled(self.canister)
        self._file = b""
        self._after_code()

    def reset(self) -> None:
        """Upgrade the canister with the code that it has.

        :raises CanisterTrap: its code traps; nothing has changed
        """
        if self._file:
            self.upgrade(self._file)

    def _after_code(self) -> None:
        self._executions = -1
        self._runner.run()
        self._schedule_heartbeat()

    def close(self) -> None:
        """Stop the timers and free the memory."""
        self._runner.remove(self)
        self._stops.close()
        for timer in (self._timer, self._heartbeat_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._heartbeat_timer = None
        self.canister.close()

    @property
    def candid(self) -> str | None:
        """The description of its interface: what was set, or the module's own."""
        if self._candid is not None or self.canister.module is None:
            return self._candid
        own = self.canister.module.metadata.get(CANDID_SECTION.decode())
        return None if own is None else own.content.decode("utf-8", "replace")

    @candid.setter
    def candid(self, value: str | None) -> None:
        self._candid = value

    # -- state ----------------------------------------------------------------------------------------------------

    def state(self) -> Tree:
        """Return what stands under ``/canister/<id>``."""
        canister = self.canister
        entries = [
            (b"certified_data", hashtree.leaf(canister.certified_data)),
            (b"controllers", hashtree.leaf(cbor.dumps_tagged([each.raw for each in canister.controllers]))),
        ]
        if canister.module is not None:
            named = {name.encode(): data.content for name, data in canister.module.metadata.items()}
            if self._candid is not None:
                named[CANDID_SECTION] = self._candid.encode()
            if named:
                metadata = [(name, hashtree.leaf(content)) for name, content in sorted(named.items())]
                entries.append((b"metadata", hashtree.label_map(metadata)))
            entries.append((b"module_hash", hashtree.leaf(canister.module.hash)))
        return hashtree.label_map(entries)

    @property
    def private_metadata(self) -> frozenset[str]:
        """Names of the metadata sections that only controllers may read."""
        module = self.canister.module
        return frozenset(name for name, data in module.metadata.items() if not data.public) if module else frozenset()

    def memory_sizes(self) -> dict[str, int]:
        """Return the bytes of its memories, by their names in ``canister_status``."""
        canister = self.canister
        module = canister.module
        if module is None:
            return {}
        return {
            "wasm_memory_size": canister.heap_size,
            "stable_memory_size": canister.stable.pages * PAGE,
            "wasm_binary_size": len(module.wasm),
            "custom_sections_size": sum(len(each.content) for each in module.metadata.values()),
        }

    def view(self) -> Snapshot | None:
        """Copy the state, so that a query can be run against it when it is older."""
        return self.canister.snapshot()

    def executed(self) -> None:
        """Act on what the canister has set while messages were executed, and on what has come to its end."""
        self._stops.stop_if_idle()
        if self.canister.executions == self._executions:
            return
        self._executions = self.canister.executions
        self._changed(self)
        self._arm()

    # -- calls ----------------------------------------------------------------------------------------------------

    def inspect(self, method: str, caller: Principal, arg: bytes) -> None:
        """Ask the canister whether it takes a call from a user.

        :raises Rejected: it does not, or traps
        """
        module = self.canister.module
        if module is None or "canister_inspect_message" not in module.functions:
            return
        execution = Execution(Entry.INSPECT, CallContext(caller, needs_answer=False), argument=arg, method=method)
        try:
            self.canister.query(execution, "canister_inspect_message")
        except CanisterTrap as trap:
            raise self.canister.rejected(trap) from None
        if not execution.accepted:
            text = f"Canister {self.id} rejected the message"
            raise Rejected(4, text, "IC0406")

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes | Deferred[bytes]:
        """Run an update method.

        :return: the reply; a Deferred if the canister waits for another canister
        :raises Rejected: stopped, no such method, trapped, no reply; the Deferred fails with it
        """
        later: Deferred[bytes] = Deferred()
        answers: list[Response] = []
        waiting = False

        def answered(response: Response, refunded: int) -> None:
            if not waiting:
                answers.append(response)
            elif isinstance(response, Rejected):
                later.errback(response)
            else:
                later.callback(response)

        self._runner.messages.call(CanisterRequest(self.id, method, caller, arg, 0, answered))
        self._runner.run()
        if not answers:
            waiting = True
            return later
        if isinstance(answers[0], Rejected):
            raise answers[0]
        return answers[0]

    def query(
        self,
        method: str,
        caller: Principal,
        arg: bytes,
        certify: Certifier,
        page_filter: PageFilter | None = None,
        view: Snapshot | None = None,
    ) -> bytes:
        """Run a query method and return its reply.

        :param certify: gives the data certificate
        :param page_filter: is for canisters in Python
        :param view: an older state of the canister
        :raises Rejected: stopped, no such method, trapped, rejected, no reply
        """
        self.check_running()
        module = self.canister.module if view is None else view.module
        if module is None:
            raise Rejected(5, f"Error from Canister {self.id}: Canister contains no Wasm module.", "IC0537")
        entry, kind = Entry.QUERY, "query"
        if not module.has_method(kind, method):
            entry, kind = Entry.COMPOSITE_QUERY, "composite_query"
        if not module.has_method(kind, method):
            raise no_method(self.id, "query", method)
        context = CallContext(caller, needs_answer=True)
        execution = Execution(entry, context, argument=arg, certificate=certify(self.id))
        try:
            if view is None:
                self.canister.query(execution, f"canister_{kind} {method}")
            else:
                self.canister.query_at(view, execution, f"canister_{kind} {method}")
        except CanisterTrap as trap:
            raise self.canister.rejected(trap) from None
        response = execution.response
        if response is None:
            text = f"Error from Canister {self.id}: Canister did not reply to the call"
            raise Rejected(5, text, "IC0506")
        if isinstance(response, Rejected):
            raise response
        return response

    # -- timers ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due = self.canister.global_timer_ns
        if due == self._timer_ns and (self._timer is None) == (due == 0):
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer, self._timer_ns = None, due
        if due:
            delay = max(due - self._now_ns(), 0) / 1e9
            self._timer = self._clock.callLater(min(delay, 1e6), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_ns = None, 0
        canister = self.canister
        if not self.running:
            # As on the IC, the timer stays set: it fires when the canister has been started again.
            return
        if canister.global_timer_ns > self._now_ns():
            self._arm()
            return
        canister.global_timer_ns = 0
        self._task("canister_global_timer")

    def _schedule_heartbeat(self) -> None:
        module = self.canister.module
        if self._heartbeat_timer is None and module is not None and "canister_heartbeat" in module.functions:
            self._heartbeat_timer = self._clock.callLater(HEARTBEAT_S, self._run_heartbeat)

    def _run_heartbeat(self) -> None:
        self._heartbeat_timer = None
        self._task("canister_heartbeat")
        self._schedule_heartbeat()

    def _task(self, function: str) -> None:
        module = self.canister.module
        if self.running and module is not None and function in module.functions:
            self._runner.messages.system_task(self.canister, function)
            self._runner.run()
