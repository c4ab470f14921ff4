"""Checks that no client waits without a reason: progress after faults, turns between canisters, and unused budgets.

- *Progress*: a client with a message in flight makes progress within a bound after its last progress, or after the end
  of the last fault. The bound depends on the world: the duration of a call, how many wait, and which limits are small.
- *Turns*: while a canister's messages wait for a token, or for a slot although it has fewer calls in flight, no other
  canister sends more than a few; canisters whose requests of one kind wait for tokens get them in turn.
- *Use*: while calls wait for tokens, the budget is used, and each kind of call gets its share of it: none of its tokens
  is lent to others.
- *Answers*: while one canister's answer waits to be handled, others do not get the time of several; and answers that
  arrive one after the other are not handled without a break.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from icwsgw.core.call_table import CallState
from icwsgw.core.request_kind import WAITING, WEIGHTS, RequestKind
from icwsgw.core.round_robin import QUANTUM
from icwsgw.gateway.polling.answer_queue import AnswerQueue
from tests.simulation.oracle import _show
from tests.simulation.plan import Plan
from tests.simulation.subject import Subject

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient
    from tests.simulation.process import SimProcess
    from tests.simulation.scenario import Scenario
    from tests.simulation.world import SimWorld

#: Seconds after a fault that still count to it: the longest Retry-After with its jitter, a call that hung until its
#: timeout at two versions of its endpoint, the longest back-off.
AFTERMATH = 50.0
#: Calls that another canister may send while one of this one waits: those that had their slot before, and turns.
TURNS = 16
#: Tokens that one canister may get while another one waits for one of the same kind. In turn it is one or two; those
#: that were taken for calls that had expired, of which nothing is seen, come on top.
ROUNDS = 8
#: Kinds of calls of which canisters are served in turn.
IN_TURN = (RequestKind.CALL, RequestKind.EAGER, RequestKind.CLOSE)
#: Seconds over which the use of the budget is measured, and the part of it that is used at least.
SPAN, USED, OWN_SHARE = 4.0, 0.5, 0.5


class Progress(Subject):
    """Checks each client once a second."""

    name = "progress"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._call = self.world.clock.callLater(1.0, self._look)
        # what changes with a client's progress, when it last did, and the longest bound since then: a client waits for
        # those who were in line before it, also when they have been served
        self._marks: dict[SimClient, tuple[Any, float, float]] = {}
        self._sound_at = 0.0
        self._troubles = 0

    def _look(self) -> None:
        world = self.world
        now = world.clock.seconds()
        self._call = world.clock.callLater(1.0, self._look)
        troubles = sum(self.oracle.troubles.values())
        if not world.sound or troubles != self._troubles:
            self._sound_at, self._troubles = now, troubles
            return
        since = self._sound_at
        if troubles or world.plan.clocks or world.plan.liars:
            since += AFTERMATH
        bounds = {process: self._bound(process) for process in world.processes}
        for client in world.clients:
            mark = self._mark(client)
            before, at, longest = self._marks.get(client, (None, now, 0.0))
            if mark is None or mark != before:
                self._marks[client] = mark, now, 0.0
                continue
            bound = max(bounds[client.process], longest)
            self._marks[client] = mark, at, bound
            late = now - max(at, since) - bound
            if late > 0:
                state = self.scenario._state(client)
                self.oracle.fail(f"client {client.number} {_show(client.key)} waits {late:.1f} s too long: {state}")

    def _mark(self, client: SimClient) -> Any:
        """A value that changes with each progress of a client; None if nothing is in flight."""
        oracle, key, session = self.oracle, client.key, client.session
        if not client.usable or session is None or not client.open_sent or not client.link.reading:
            return None
        if client.process.gateway.draining or client.quiet or client.number >= CROWDS or client.process.dead:
            return None
        if key in oracle.gone or key in oracle.spoilt or oracle.may_be_undecided(key):
            return None
        opened = oracle.opened.get(key)
        if opened is not None and opened[1] != oracle.lives[opened[0]]:
            return None
        if client.canister in self.world.unserved:
            return None
        return client.opened, len(session.accepted), len(oracle.done.get(key, ())), len(client.received)

    def _bound(self, process: SimProcess) -> float:
        """The longest time in seconds between two steps of progress of a client."""
        plan = self.world.plan
        waiting = [client for client in self.world.clients if client.connected and not client.quiet]
        openings = sum(not client.opened for client in waiting)
        # a canister may have half of the slots
        places = max(1, plan.calls // 2)
        bound = 6.0 + plan.slowest_call * (3 + len(waiting) / places)
        bound += 4 * (plan.query_latency + plan.network_jitter) + 3 * plan.polling_interval
        bound += 100 * plan.answer_cost
        if plan.query_budget is not None:
            bound += 5.0 + 4 * len(waiting) / (plan.query_budget / 8)
        if plan.opens_per_second:
            bound += 2.0 + openings / plan.opens_per_second
        if plan.client_byte_rate < 1 << 20:
            bound += 2 * 80_000 / plan.client_byte_rate
        if plan.client_message_rate < 100:
            bound += 10 / plan.client_message_rate
        if plan.crowded:
            bound += 30.0
        if plan.strangers:
            bound += 15.0
        if plan.wire:
            # a large message on a slow line
            bound += 10.0
        return bound

    def check_at_end(self) -> None:
        self._call.cancel()


#: Numbers of clients that come in crowds.
CROWDS = 2_000_000


class Turns(Subject):
    """Checks which canisters send while others wait."""

    name = "turns"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._call = self.world.clock.callLater(0.5, self._look)
        for process in self.world.processes:
            process.agent.turns = SendRecord(self.world, process)

    def _look(self) -> None:
        self._call = self.world.clock.callLater(0.5, self._look)
        for process in self.world.processes:
            ledger = process.agent.turns
            if ledger is not None:
                ledger.look(self.world.clock.seconds())

    def check_at_end(self) -> None:
        self._call.cancel()

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.processes == 1


class SendRecord:
    """The requests that one process has sent lately, and which canisters waited meanwhile.

    :param process: the process
    """

    def __init__(self, world: SimWorld, process: SimProcess) -> None:
        self._world = world
        self._process = process
        #: by canister that waits: how many each other one has sent since it began to, or sent one itself
        self._bypassed: dict[bytes, dict[bytes, int]] = {}
        #: when each request left, by method
        self._sent: deque[tuple[float, str]] = deque()
        #: since when calls of a kind wait, without a break
        self._waits: dict[RequestKind, float] = {}
        #: by kind: tokens that were taken until now; and by canister that waits for one: how many each other one got
        self._tokens = dict.fromkeys(IN_TURN, 0)
        self._passed: dict[RequestKind, dict[bytes, dict[bytes, int]]] = {kind: {} for kind in IN_TURN}
        #: by kind in which somebody waits: its tokens, and how many of them and of nobody's were taken until then
        self._levels: dict[RequestKind, tuple[float, int, int]] = {}

    def sends(self, method: str, canister: bytes, now: float) -> None:
        """Record a request that is sent."""
        self._sent.append((now, method))
        self._kept(now)
        for kind in IN_TURN:
            taken = self._process.budget.sent[kind]
            if taken != self._tokens[kind]:
                self._tokens[kind] = taken
                self._in_turn(kind, canister)
        if method != "ws_message":
            return
        self._bypassed.pop(canister, None)
        waiting = self._waiting()
        for other in list(self._bypassed):
            if other not in waiting:
                del self._bypassed[other]
        slots = self._process.gateway.context.call_scheduler.calls
        busy = slots.slot_queue(canister).busy
        for other in waiting.keys() - {canister}:
            if waiting[other] and slots.slot_queue(other).busy >= busy:
                # a slot is free only for the canister that has fewer calls in flight
                continue
            counts = self._bypassed.setdefault(other, defaultdict(int))
            counts[canister] += 1
            if counts[canister] > TURNS + len(self._world.clients):
                self._world.oracle.fail(f"{counts[canister]} messages of one canister left while another one waited")

    def _kept(self, now: float) -> None:
        """Check that tokens of a kind for which requests wait are not lent to another kind."""
        budget = self._process.budget
        for kind in WAITING:
            bucket, before = budget._buckets[kind], self._levels.pop(kind, None)
            if not bucket.line.size:
                continue
            level = min(bucket.depth, bucket.level + (now - bucket.stamp) * bucket.rate)
            mine, nobodys = budget.sent[kind], budget.sent[RequestKind.OWN]
            if before is not None and before[1:] == (mine, nobodys) and level < before[0] - 1e-6:
                self._world.oracle.fail(f"a token of {kind.name} was taken for another kind, while some of it wait")
            self._levels[kind] = level, mine, nobodys

    def _in_turn(self, kind: RequestKind, canister: bytes) -> None:
        """A canister's call has got its token: it must not get many while another canister waits for its first."""
        line, passed = self._process.budget._buckets[kind].line, self._passed[kind]
        waiting: set[Any] = {flow for flows in (line._new, line._served) for flow, calls in flows.items() if calls}
        passed.pop(canister, None)
        for other in list(passed):
            if other not in waiting:
                del passed[other]
        for other in waiting - {canister}:
            counts = passed.setdefault(other, defaultdict(int))
            counts[canister] += 1
            if counts[canister] > ROUNDS:
                self._world.oracle.fail(
                    f"{counts[canister]} {kind.name} of one canister got a token, another one waits"
                )

    def _waiting(self) -> dict[bytes, bool]:
        """Canisters of which a message waits for its turn, and whose clients have not sent within a second.

        :return: whether all these messages of a canister wait for slots, none for a token
        """
        found: dict[bytes, bool] = {}
        now = self._world.clock.seconds()
        for session in self._process.gateway.registry.sessions:
            relay, poller = session.relay, session.poller
            if relay is not None and relay._calls.state is CallState.WAITING and relay._calls.current is not None:
                patient = now - relay.sent >= 1.0 and now - relay._calls.started >= 0.0
                if patient and poller is not None and relay._calls.current.method_name == "ws_message":
                    canister, calls = poller.canister.raw, relay._slot_queue
                    ticket = (calls._tickets or {}).get(relay)
                    for_slot = ticket is not None and ticket.taken < len(calls._slot_queues)
                    found[canister] = for_slot and found.get(canister, True)
        return found

    def look(self, now: float) -> None:
        """Compare the requests that were sent with those that could have been."""
        budget = self._process.budget
        while self._sent and self._sent[0][0] < now - SPAN:
            self._sent.popleft()
        rate = budget.per_second
        if rate is None:
            return
        for kind, method in KINDS.items():
            if not budget.waiting(kind):
                self._waits.pop(kind, None)
                continue
            since = self._waits.setdefault(kind, now)
            if now - since < SPAN + 1.0:
                continue
            sent = sum(each == method for _, each in self._sent)
            share = rate * WEIGHTS[kind] / sum(WEIGHTS)
            if kind is RequestKind.OPEN and self._world.plan.opens_per_second is not None:
                share = min(share, self._world.plan.opens_per_second)
            if sent < OWN_SHARE * share * SPAN - 1:
                self._world.oracle.fail(f"{sent} {method} left in {SPAN} s while more waited, {share} a second may")
            if kind is RequestKind.CALL and len(self._sent) < USED * rate * SPAN - 2:
                self._world.oracle.fail(
                    f"{len(self._sent)} requests left in {SPAN} s, though some waited for {rate} a s"
                )


#: Kinds of calls that may wait, and their methods.
KINDS = {RequestKind.CALL: "ws_message", RequestKind.CLOSE: "ws_close", RequestKind.OPEN: "ws_open"}


class AnswerTurns:
    """The time that answers take while others wait.

    :param world: in which
    """

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        #: by poller whose answer waits: seconds that each other one has had since
        self._had: dict[Any, dict[Any, float]] = {}

    def took(self, poller: Any, waiting: set[Any], seconds: float) -> None:
        """Record that an answer was handled.

        :param waiting: pollers whose answers wait
        """
        self._had.pop(poller, None)
        for other in list(self._had):
            if other not in waiting:
                del self._had[other]
        for other in waiting - {poller}:
            had = self._had.setdefault(other, defaultdict(float))
            had[poller] += seconds
            # a turn with the answer that goes beyond it, for each turn that the other one owes, and the one under way
            cost = self._world.plan.answer_cost
            most = (2 + cost / QUANTUM) * (QUANTUM + cost)
            if had[poller] > most:
                self._world.oracle.fail(f"one canister's answers had {had[poller]:.3f} s while another one's waited")


class WatchedAnswers(AnswerQueue):
    """The answers of one process; those that are handled at once must leave time for everything else.

    :param world: in which
    """

    def __init__(self, world: SimWorld, clock: Any) -> None:
        super().__init__(clock)
        self._world = world
        #: seconds that answers may take before something else has its turn
        self._spare = QUANTUM
        self._ended = clock.seconds()

    def arrived(self, reply: bytes, ask: Any, poller: Any) -> None:
        waiting, began = self.waiting, self._clock.seconds()
        spare = min(QUANTUM, self._spare + began - self._ended)
        super().arrived(reply, ask, poller)
        if self.waiting > waiting:
            return
        if spare < -1e-9:
            self._world.oracle.fail(f"an answer was handled at once, {-spare:.4f} s after others had their share")
        self._ended = self._clock.seconds()
        self._spare = spare - (self._ended - began)
