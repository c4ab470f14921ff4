"""One process of the gateway: agent, gateway and factory with a network and a separate wall clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.agent.http.transport import MAX_CONNECTIONS
from icwsgw.agent.network_monitor import NetworkMonitor
from icwsgw.config.origins import Origins
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.metrics import Metrics
from icwsgw.server.factory import GatewayFactory
from tests.simulation.background_requests import BackgroundRequests
from tests.simulation.clocks import ReportedTimes
from tests.simulation.limits import AdmissionModel
from tests.simulation.traffic import SimAgent
from tests.simulation.upstream import WireTransport
from tests.simulation.waiting import WatchedAnswers
from tests.support.memory_transport import MemoryTransport

if TYPE_CHECKING:
    from tests.simulation.world import SimWorld


#: Seconds after which the timers of a process that is blocked would go off.
LATE = 1e9


class _KeylessAgent(SimAgent):
    """An agent that gives nobody a root key to verify by, where nothing is signed: a second answer has to do."""

    @property
    def root_key(self) -> bytes | None:
        return None


class JitterTransport(MemoryTransport):
    """A transport whose messages take their own time each, so that they overtake each other."""

    def __init__(self, clock: Clock, handler: Any, jitter: float, random: Random) -> None:
        super().__init__(clock, handler, latency=0.001)
        self._jitter = jitter
        self._random = random

    def _later(self, call: Callable[..., object], *args: Any) -> None:
        self.requests.clear()
        self.clock.callLater(self.latency + self._jitter * self._random.random(), call, *args)


class ProcessClock:
    """The world's clock as one process has it: when the process dies none of its timers goes off.

    A process that is blocked comes to its timers afterwards.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list[Any] = []
        self._dead = False
        self._blocked = False
        self._due: dict[Any, float] = {}
        self._missed: list[Callable[[], object]] = []

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **options: Any) -> Any:
        made = self._clock.callLater(delay, call, *args, **options)
        if self._dead:
            made.cancel()
        else:
            self._calls.append(made)
            if len(self._calls) > 1000:
                self._calls = [each for each in self._calls if each.active()]
            if self._blocked:
                self._postpone(made)
                self._sort()
        return made

    def block(self) -> None:
        """The process does one thing only from now on."""
        self._blocked = True
        for made in self.getDelayedCalls():
            self._postpone(made)
        self._sort()

    def later(self, call: Callable[[], object]) -> None:
        """Call something when the process is not blocked: now or later."""
        if self._blocked:
            self._missed.append(call)
        else:
            call()

    def resume(self) -> None:
        """The process is not blocked any more."""
        self._blocked = False
        due, self._due = self._due, {}
        now = self.seconds()
        for made, at in due.items():
            if made.active():
                made.reset(max(0.0, at - now))
        self._sort()
        missed, self._missed = self._missed, []
        for call in missed:
            self.callLater(0, call)

    def _postpone(self, made: Any) -> None:
        self._due[made] = made.getTime()
        made.reset(LATE)

    def _sort(self) -> None:
        """The clock keeps its calls in order, but not those that are put off."""
        self._clock.calls.sort(key=DelayedCall.getTime)

    def getDelayedCalls(self) -> list[Any]:
        return [call for call in self._calls if call.active()]

    def die(self) -> None:
        self._dead = True
        for call in self.getDelayedCalls():
            call.cancel()
        self.forget()

    def forget(self) -> None:
        """Hold no calls that are over."""
        self._calls = self.getDelayedCalls()


class Machine:
    """A machine's wall clock.

    :ivar wall_offset: seconds that it is ahead of the true time
    :ivar clock_set_at: when that was changed last
    """

    def __init__(self) -> None:
        self.wall_offset = 0.0
        self.clock_set_at = float("-inf")


class SimProcess:
    """A process that serves clients.

    :param inherited: the numbers of identities whose clients it takes over, beside its own
    :ivar number: among its world's processes
    :ivar generation: how many processes were started before it
    :ivar dead: it has been killed, or has handed over and ended
    :ivar retired: it has ended in order
    :ivar handed: what its metrics say of clients that another process has taken over
    :ivar machine: where it runs
    :ivar admitted_at_once: the line of ws_open may be longer than its bound: many who were admitted before came into it
    :ivar merges_queues: of those that hand over to it, two have the same identity
    :ivar reloaded_ok: whether each reload was of use
    """

    def __init__(self, world: SimWorld, number: int, generation: int = 0, inherited: Sequence[int] = ()) -> None:
        plan = world.plan
        self.world = world
        self.number = number
        self.generation = generation
        self.machine = Machine()
        self.reloaded_ok: list[bool] = []
        self.admitted_at_once = False
        self.merges_queues = False
        random = Random(f"{world.seed} process {number}{f' after {generation}' if generation else ''}")
        self.dead = self.retired = False
        self.handed: dict[str, float] = {}
        self._asked: dict[Any, None] = {}
        self._errands = BackgroundRequests(world, number)
        self.clock = ProcessClock(world.clock)
        clock: Any = world.clock if plan.processes == 1 and not plan.handovers else self.clock
        self.budget = budget = RequestBudget(plan.query_budget, plan.polling_interval, plan.opens_per_second)

        def charge() -> None:
            budget.charge(RequestKind.OWN, clock.seconds())

        self.transport: JitterTransport | WireTransport
        if plan.upstream:
            upstream = Random(f"{world.seed} upstream {number}")
            self.transport = WireTransport(world, self.handle, plan.upstream, plan.network_jitter, upstream, charge)
        else:
            self.transport = JitterTransport(clock, self._handle, plan.network_jitter, world.network_random)
        agent = _KeylessAgent if plan.trusting else SimAgent
        self.agent = agent(
            self,
            clock,
            self.transport,
            "http://127.0.0.1:4943",
            now_ns=self.now_ns,
            rng=random.random,
            verify_query_signatures=plan.signed_queries and not plan.trusting,
            charge=charge,
        )
        self.metrics = Metrics()
        limits = InFlightLimits.of(plan.upstream or MAX_CONNECTIONS)
        first = number * plan.identities
        self.identity_numbers = [*range(first, first + plan.identities), *inherited]
        self.config = plan.config()
        self.context = Context(
            clock=clock,
            network=self.agent,
            identities=tuple(Ed25519Identity(bytes((7, each)) * 16) for each in self.identity_numbers),
            config=self.config,
            metrics=self.metrics,
            now_ns=self.now_ns,
            jitter=random.random,
            in_flight_limits=limits,
            calls=CallSlots(min(plan.calls, limits.messages)),
            budget=budget,
            delegations=self.agent.delegations,
            readable=None if plan.trusting else self.agent.readable,
        )
        # the context is frozen, since nobody else changes what it has
        object.__setattr__(self.context, "answers", WatchedAnswers(world, clock))
        self.gateway = Gateway(self.context, IdentityAssignment(plan.identities, 3, len(inherited)))
        # ids of sessions are compared
        self.gateway.prefix = f"{random.getrandbits(24):06x}"
        self.gateway.close_notices.call_slots.limit = min(plan.calls, limits.closes)
        self.factory = GatewayFactory(self.gateway)
        self.monitor = NetworkMonitor(clock, self.agent, "http://127.0.0.1:4943")
        self.door = AdmissionModel(plan, clock.seconds())
        self._watch_openings()
        self.time_witnesses = ReportedTimes(world, self) if plan.clocks else None

    def _watch_openings(self) -> None:
        """Those who wait for their slot have been admitted: when many get one at once, the line becomes longer."""
        call_scheduler: Any = self.context.call_scheduler
        spoken = call_scheduler.canister_has_spoken

        def canister_has_spoken(canister: bytes) -> None:
            before = self.budget.waiting(RequestKind.OPEN)
            spoken(canister)
            self.admitted_at_once |= self.budget.waiting(RequestKind.OPEN) > before

        call_scheduler.canister_has_spoken = canister_has_spoken

    @property
    def wall_offset(self) -> float:
        """Seconds that the machine's wall clock is ahead of the true time."""
        return self.machine.wall_offset

    @property
    def clock_set_at(self) -> float:
        """When that was changed last."""
        return self.machine.clock_set_at

    def now_ns(self) -> int:
        """What this machine's wall clock says."""
        return self.world.now_ns() + round(self.wall_offset * 1e9)

    def start(self) -> None:
        """Begin to serve."""
        self.agent.start()
        self.monitor.start()
        self.gateway.start()
        self.factory.start()

    def die(self) -> None:
        """End without a word."""
        self.dead = True
        self.clock.die()
        for answer in list(self._asked):
            answer.cancel()

    def retire(self) -> None:
        """End, after everything was handed over."""
        if not self.dead:
            self.retired = True
            self.stop()
            self.die()

    def handle(self, method: str, path: str, body: bytes) -> Any:
        """A request of this process comes to the network."""
        answered = self._errands.requested(method, path, body)
        try:
            answer = self.world.handle(method, path, body)
        except Exception as error:
            answered(error)
            raise

        def pass_on(result: Any) -> Any:
            answered(result)
            return result

        return answer.addBoth(pass_on)

    def _handle(self, method: str, path: str, body: bytes) -> Any:
        answer = self.handle(method, path, body)
        self._asked[answer] = None
        given: Deferred[Any] = Deferred(lambda _: answer.cancel())

        def ended(result: Any) -> None:
            self._asked.pop(answer, None)
            # nothing of a process that has died runs any more
            if not self.dead and not given.called:
                given.callback(result)

        answer.addBoth(ended)
        return given

    def stop(self) -> None:
        """Stop all parts."""
        self.factory.stop()
        self.gateway.stop()
        self.monitor.stop()
        self.agent.stop()
        self.clock.forget()
        self.transport.close()

    def reload(self, config: GatewayConfig) -> None:
        """As GatewayService.reload."""
        self.config = config
        self.gateway.serve(config)
        self.factory.origins = Origins(config.allowed_origins)

    def reloaded(self, ok: bool) -> None:
        """As GatewayService.reloaded."""
        self.reloaded_ok.append(ok)

    def counts(self) -> dict[str, float]:
        """What its metrics say."""
        return {
            "closes": sum(self.metrics.closes.values.values()),
            "client messages": self.metrics.client_messages.value,
            "canister messages": self.metrics.canister_messages.value,
        }

    @property
    def empty(self) -> bool:
        """Whether nobody is connected, and no notification about earlier connections is left."""
        registry = self.gateway.registry
        return not registry.sessions and not registry.ending and not self.factory.connections

    def remains(self) -> dict[str, float]:
        """What must be zero when everybody has left."""
        gateway, registry, factory, metrics = self.gateway, self.gateway.registry, self.factory, self.metrics
        calls, close_notices = self.context.calls, gateway.close_notices.call_slots
        return {
            "sessions": len(registry.sessions),
            "ending sessions": len(registry.ending),
            "unanswered openings": len(registry.unanswered),
            "pollers": len(registry.pollers),
            "close_notices": len(gateway.close_notices),
            "watched connections": len(gateway.wheel),
            "undecided rivals": len(gateway.replacements),
            "connections": len(factory.connections),
            "outboxes": len(factory.backlog),
            "requests": 0 if self.world.plan.upstream else self.transport.in_flight,
            "places of calls": calls.busy + close_notices.busy,
            "waiting for places": len(calls.line) + len(close_notices.line),
            "pollers in metrics": metrics.pollers.value,  # type: ignore[dict-item]
            "queries in metrics": metrics.queries_in_flight.value,  # type: ignore[dict-item]
            "outbox bytes in metrics": metrics.outbox_bytes.value,  # type: ignore[dict-item]
            "bytes that wait to be relayed": self.context.waiting.octets,
            "sessions in metrics": sum(metrics.sessions.values.values()),
        }
