"""Messages between canisters, and from users to them: a queue that executes one after the other.

A request is executed at its callee, which may call others before it answers. Each answer is a message too and runs a
callback. As on the IC, the caller gets exactly one answer: a canister that can no longer answer, because no call of
it is outstanding, has its caller's call rejected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from icwsgw.devnet.hosting import no_method
from icwsgw.devnet.wasm.canister import NO_MODULE, WasmCanister
from icwsgw.devnet.wasm.execution import (
    Callback,
    CallContext,
    CanisterTrap,
    Entry,
    Execution,
    OutgoingCall,
    Response,
)
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal

Answered = Callable[[Response, int], None]
"""Gets the answer and the cycles that come back with it."""


@dataclass
class CanisterRequest:
    """A call that is to be executed.

    :ivar cycles: attached
    :ivar answered: called once, with the answer
    """

    callee: Principal
    method: str
    caller: Principal
    argument: bytes
    cycles: int
    answered: Answered
    deadline_ns: int = 0


#: Executes a request at a callee that has no WebAssembly, and answers it now or later.
Elsewhere = Callable[[CanisterRequest], None]


class Messages:
    """The messages of one subnet.

    :param find: gives a canister in WebAssembly; None: the id belongs to something else
    :param elsewhere: executes what is for something else: the management canister, canisters in Python, no canister
    """

    def __init__(self, find: Callable[[Principal], WasmCanister | None], elsewhere: Elsewhere) -> None:
        self._find = find
        self._elsewhere = elsewhere
        self._queue: deque[Callable[[], None]] = deque()
        # of each canister the calls that wait for others, by the identity of their context
        self._waiting: dict[Principal, dict[int, tuple[CallContext, Answered]]] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def run(self, most: int) -> None:
        """Execute the oldest messages, and those that they cause, at most so many."""
        for _ in range(most):
            if not self._queue:
                return
            self._queue.popleft()()

    def call(self, request: CanisterRequest) -> None:
        """Put a request at the end of the queue."""
        self._queue.append(lambda: self._execute(request))

    def system_task(self, canister: WasmCanister, function: str) -> None:
        """Execute ``canister_heartbeat`` or ``canister_global_timer``, now."""
        context = CallContext(Principal(b""), needs_answer=False)
        self._run(canister, context, Execution(Entry.SYSTEM_TASK, context), function, _ignore)

    def uninstalled(self, canister: WasmCanister) -> None:
        """Reject the calls that a canister has not answered; answers for which it waits only bring cycles back."""
        for context, answered in self._waiting.pop(canister.id, {}).values():
            context.deleted = True
            if context.needs_answer:
                self._answer(context, Rejected(4, "Canister has been uninstalled.", "IC0406"), answered)

    # -- requests -------------------------------------------------------------------------------------------------

    def _execute(self, request: CanisterRequest) -> None:
        canister = self._find(request.callee)
        if canister is None:
            self._elsewhere(request)
            return
        refusal = self._refusal(canister, request)
        if refusal is not None:
            request.answered(refusal, request.cycles)
            return
        context = CallContext(request.caller, needs_answer=True, cycles=request.cycles, deadline_ns=request.deadline_ns)
        assert canister.module is not None
        update = canister.module.has_method("update", request.method)
        execution = Execution(Entry.UPDATE if update else Entry.REPLICATED_QUERY, context, argument=request.argument)
        function = f"canister_{'update' if update else 'query'} {request.method}"
        self._run(canister, context, execution, function, request.answered)

    @staticmethod
    def _refusal(canister: WasmCanister, request: CanisterRequest) -> Rejected | None:
        refusal = canister.refusal()
        if refusal is not None:
            return refusal
        if canister.module is None:
            return CanisterTrap("IC0537", NO_MODULE).rejected(canister.id)
        if not any(canister.module.has_method(kind, request.method) for kind in ("update", "query")):
            return no_method(canister.id, "update", request.method)
        return None

    def _run(
        self,
        canister: WasmCanister,
        context: CallContext,
        execution: Execution,
        function: str | Callback,
        answered: Answered,
    ) -> CanisterTrap | None:
        trap = None
        try:
            if execution.entry is Entry.REPLICATED_QUERY:
                canister.query(execution, str(function))
            else:
                canister.execute(execution, function)
        except CanisterTrap as caught:
            trap = caught
        else:
            context.cycles -= execution.cycles_accepted
            for call in execution.calls:
                self._send(canister, context, call, answered)
            if execution.response is not None:
                self._answer(context, execution.response, answered)
        reject = canister.rejected(trap) if trap is not None else None
        if context.needs_answer and not context.outstanding:
            text = f"Error from Canister {canister.id}: Canister did not reply to the call"
            self._answer(context, reject or Rejected(5, text, "IC0506"), answered)
        return trap

    @staticmethod
    def _answer(context: CallContext, response: Response, answered: Answered) -> None:
        """Answer a call; the cycles that were not accepted go back, and callbacks can no longer accept them."""
        context.needs_answer = False
        refunded, context.cycles = context.cycles, 0
        answered(response, refunded)

    # -- answers --------------------------------------------------------------------------------------------------

    def _send(self, canister: WasmCanister, context: CallContext, call: OutgoingCall, answered: Answered) -> None:
        context.outstanding += 1
        canister.open_calls += 1
        self._waiting.setdefault(canister.id, {})[id(context)] = context, answered

        def come(response: Response, refunded: int) -> None:
            self._queue.append(lambda: self._respond(canister, context, call, response, refunded, answered))

        deadline = canister.now_ns() + call.timeout_s * 1_000_000_000 if call.timeout_s is not None else 0
        self.call(
            CanisterRequest(call.callee, call.method, canister.id, bytes(call.argument), call.cycles, come, deadline)
        )

    def _respond(
        self,
        canister: WasmCanister,
        context: CallContext,
        call: OutgoingCall,
        response: Response,
        refunded: int,
        answered: Answered,
    ) -> None:
        context.outstanding -= 1
        canister.open_calls -= 1
        canister.cycles += refunded
        if context.deleted:
            return
        if not context.outstanding:
            waiting = self._waiting[canister.id]
            del waiting[id(context)]
            if not waiting:
                del self._waiting[canister.id]
        if isinstance(response, Rejected):
            execution = Execution(Entry.REJECT_CALLBACK, context, reject=response, refunded=refunded)
            callback = call.on_reject
        else:
            execution = Execution(Entry.REPLY_CALLBACK, context, argument=response, refunded=refunded)
            callback = call.on_reply
        trap = self._run(canister, context, execution, callback, answered)
        if trap is not None and call.on_cleanup is not None:
            cleanup = Execution(Entry.CLEANUP, context, reject=execution.reject)
            try:
                canister.execute(cleanup, call.on_cleanup)
            except CanisterTrap as also:
                canister.rejected(also)


def _ignore(response: Response, refunded: int) -> None:
    """Drop the answer of a system task: it has none."""
