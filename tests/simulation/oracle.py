"""The oracle: records the events at canisters and sessions, and checks the invariants.

These invariants are checked at each event if possible, otherwise when the world is quiet:

- A client receives its canister's messages exactly once, in order, without gaps, until its session ends.
- A message that a session has accepted reaches the canister once and in order, unless the session was closed with a
  code that gives the reason, or the canister was reset, refused the message, or had removed the client.
- ``ws_close`` follows all messages.
- A session is closed with a code only after an event that explains it. In a world without faults there is none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from icwsgw.core.backoff import LONGEST_RETRY_AFTER
from icwsgw.core.client_calls import MIN_LIFE_NS
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.cursor import LastMessage
from icwsgw.core.messages import ClientEnvelope, is_acknowledgement, parse_client_frame
from icwsgw.core.session_machine import State
from icwsgw.devnet.canisters import Canister
from icwsgw.devnet.cdk import QueueView, WebSocketCdk
from icwsgw.devnet.cdk_types import ClientKey, WsError
from icwsgw.devnet.hosting import Host
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.state_tree import Block
from icwsgw.errors import CanisterRefused, FormatError, HttpError, IcwsError, Rejected
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from icwsgw.gateway.polling.poll_sender import PollSender
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.cbor import loads
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import (
    decode_close_args,
    decode_message_args,
    decode_open_args,
    decode_unit_result,
    is_service_message,
)
from tests.simulation.expectations import AT_ONCE, OWN_CODES, unexplained

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient
    from tests.simulation.scenario import Scenario
    from tests.simulation.world import SimWorld

Key = tuple[bytes, int]

#: A fault by which a call is accepted and then not executed; only the client could notice.
UNDONE = frozenset({"trap", "garbage_candid", "cdk_err"})

#: Why a canister may lack messages of a client that left between two messages in the wrong order.
SWAPPED = "left between two messages in the wrong order"


class Violation(AssertionError):
    """An invariant was violated.

    :ivar words: which one
    :ivar scenario: the scenario
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.scenario: Scenario | None = None


class SimSession(ClientSession):
    """A session that reports to the oracle which messages it accepted and how it ended."""

    __slots__ = (
        "__weakref__",
        "accepted",
        "bodies",
        "end_text",
        "ended_in",
        "ended_with",
        "owes_since",
        "owner",
        "registered",
        "spare",
        "waited",
        "waited_up",
        "was_flood",
        "was_held",
        "was_open",
    )

    oracle: ClassVar[Oracle]
    owner: SimClient

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.accepted: list[bytes] = []
        self.bodies: list[bytes] = []
        self.ended_in = State.INIT
        self.ended_with: int | None = None
        self.registered = 0.0
        self.waited = (0, 0.0)
        #: messages that waited to be relayed at the end, whether reading was ever paused, and whether it was open
        self.waited_up, self.was_held, self.was_open = 0, False, False
        #: seconds left at its end, when all its messages had been executed, until the first of them would have expired
        self.spare = 0.0
        self.was_flood, self.end_text = False, ""
        #: when the acknowledgement arrived that the client still has to answer with a keep-alive
        self.owes_since: float | None = None
        if self.oracle.taking:
            before = self.oracle.handed.get(self.id)
            if before is not None:
                self.continue_from(before)
            return
        client: Any = self.client
        self.owner = getattr(client, "transport", client).owner
        self.owner.session = self
        self.oracle.sessions.append(self)

    def continue_from(self, before: SimSession) -> None:
        """Continue the session of another process, which has handed it over."""
        for name in SimSession.__slots__[1:]:
            if hasattr(before, name):
                setattr(self, name, getattr(before, name))
        if self.owner.session is before:
            self.owner.session = self
        sessions = self.oracle.sessions
        sessions[sessions.index(before)] = self

    def received(self, payload: bytes, is_binary: bool) -> None:
        counts = self.state is not State.CLOSED
        oracle = self.oracle
        oracle.messages_in += counts
        before = self.state
        waits = self._waits(payload)
        super().received(payload, is_binary)
        watch = None if self.stream is None else self.stream.watch
        if waits is not None and watch is not None and watch.expected is not None:
            early = self.context.clock.seconds() + waits - watch.expected
            if early > 1e-6:
                oracle.fail(f"session {self.id} expects a keep-alive {early:.2f} s too early, it waits {waits:.2f} s")
        if before is State.INIT and self.state is not State.INIT:
            self.registered = self.context.clock.seconds()
        wrong = AT_ONCE.get(oracle.wrong.get(payload, ""))
        if wrong is not None and counts and self.cause != wrong and not oracle.world.plan.clocks:
            oracle.fail(f"session {self.id} got {oracle.wrong[payload]}, its end was {self.cause} and not {wrong}")
        alone = oracle.world.plan.processes == 1 and not oracle.troubles["worker"]
        if payload == self.owner.overheard and self.state is not State.CLOSED and alone:
            oracle.fail(f"session {self.id} has opened with a ws_open that was relayed before")
        content = oracle.contents.get(payload)
        if content is not None and counts and self.state is not State.CLOSED:
            self.accepted.append(content)
            self.bodies.append(parse_client_frame(payload).body)
            if self.client_key in oracle.spoil_if_cut:
                self.accepted.sort(key=_count)

    def _waits(self, payload: bytes) -> float | None:
        """The expected seconds until a keep-alive that arrives now is executed; None: no keep-alive, or none is due."""
        relay, watch = self.relay, None if self.stream is None else self.stream.watch
        if relay is None or watch is None or watch.due is None or watch.expected is not None:
            return None
        try:
            envelope = parse_client_frame(payload)
        except FormatError:
            return None
        if envelope.method_name != "ws_message" or not is_service_message(envelope.arg):
            return None
        return (relay.queued + relay.under_way + 1) * relay.relay_queue.took

    def relayed(self, envelope: ClientEnvelope, outcome: Any) -> None:
        if envelope.method_name == "ws_message" and is_service_message(envelope.arg):
            self.owes_since = None
        super().relayed(envelope, outcome)

    def end(self, code: CloseCode, text: str) -> None:
        self.waited = self.owner.link.waiting
        self.waited_up = 0 if self.relay is None else self.relay.queued + self.relay.under_way
        self.was_flood |= code == CloseCode.RATE_LIMIT
        self.end_text = text
        super().end(code, text)

    def relay_full(self) -> None:
        self.was_held = True
        super().relay_full()

    def relay_outcome_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        # a lost answer proves nothing
        outcomes = [each for each in self.owner.process.agent.outcomes(envelope.body) if each != "failed"]
        if isinstance(error, (Rejected, HttpError)) and not all(
            each in ("refused", "transient", "unsure") for each in outcomes[-3:]
        ):
            # the gateway asks again for what was lost or is in flight
            self.oracle.fail(f"a {envelope.method_name} was given up after {outcomes}")
        key = self.client_key
        if key is not None and envelope.method_name == "ws_message" and self._never_arrived(envelope):
            self.oracle.spoil(key, "expired before any attempt arrived")
            if is_service_message(envelope.arg):
                self.oracle.refused_acknowledgements.add(key)
        super().relay_outcome_unknown(envelope, error)

    def _never_arrived(self, envelope: ClientEnvelope) -> bool:
        """Whether an envelope expires before the next attempt may be sent, and the network has none of the others.

        The gateway does not know whether one that was lost has arrived, so its client stays.
        """
        replica: Any = self.oracle.world.replica
        relay: Any = self.relay
        asked = getattr(relay.last_error, "retry_after", None) or 0.0
        pause = MIN_LIFE_NS + int(min(asked, LONGEST_RETRY_AFTER) * 1e9)
        request = request_id(loads(envelope.body)["content"])
        expires_first = envelope.ingress_expiry - replica.now_ns() < pause
        return expires_first and replica.ingress.get(request) is None

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        self.oracle.frames_down += len(frames)
        super().deliver(frames, more)
        watch = None if self.stream is None else self.stream.watch
        owes = watch is not None and watch.due is not None
        if owes and self.owes_since is None and any(map(is_acknowledgement, frames)):
            self.owes_since = self.context.clock.seconds()
        self.was_open |= self.state is State.OPEN
        if self.state is State.OPEN and self.owner.link.taking:
            self.owner.process.door.opened(self.owner.link)

    def _closed(self, before: State, text: str, notice: bool, left: bool) -> None:
        if not notice and before is not State.INIT and self.client_key is not None:
            self.oracle.silenced.add(self.client_key)
        up = 0 if self.relay is None else self.relay.queued + self.relay.under_way
        wait = 2 * self.oracle.world.plan.slowest_call * up
        self.spare = self.owner.earliest_expiry - self.context.clock.seconds() - wait
        super()._closed(before, text, notice, left)
        self.ended_in = before
        self.ended_with = int(self.cause or CloseCode.INTERNAL)
        self.oracle.ended(self, text)


class SimPoller(Poller):
    """A poller that reports if it does not wait as long as the network asked."""

    oracle: ClassVar[Oracle]
    asked_until = started_at = 0.0
    #: consecutive refusals, each of a poll that was sent after the previous pause
    refusals = 0

    def start(self) -> None:
        self.started_at = self._clock.seconds()
        super().start()

    def continue_from(self, before: Any) -> None:
        """Continue the poller of another process, which has handed it over."""
        self.asked_until = max(self.asked_until, before.asked_until)
        self.refusals = max(self.refusals, before.refusals)

    def _bad(self, error: BaseException | None, poll: InFlightPoll) -> None:
        if isinstance(error, HttpError) and (error.retry_after or error.status in (429, 503)):
            now, world = self._clock.seconds(), self.oracle.world
            # polls in flight when the poller, or all pollers, were asked to pause count once
            if poll.sent >= self.asked_until and now >= self.backoff.host_until:
                self.refusals += 1
            if (error.retry_after or 0.0) > world.longest_asked + 2.5 and not world.plan.clocks:
                asked = f"the network asked to wait {world.longest_asked} s at most"
                self.oracle.fail(f"{asked}, {error.retry_after:.0f} s are understood")
            # without a given time the poller chooses the pause, which grows
            pause = min(self._context.config.polling_interval * 2.0 ** (self.refusals - 1), 2.5)
            if error.retry_after:
                pause = max(pause, min(error.retry_after, 60.0))
            self.asked_until = max(self.asked_until, now + pause)
        super()._bad(error, poll)

    def answered(self, reply: bytes, poll: InFlightPoll) -> None:
        if poll.sent >= self.asked_until:
            self.refusals = 0
        queries, world = self._metrics.queries.values, self.oracle.world
        abandoned = queries["abandoned"]
        super().answered(reply, poll)
        if queries["abandoned"] > abandoned:
            network: Any = self._context.network
            network.not_judged(self)
        if len(reply) > 1000 and world.plan.answer_cost:
            # the time that the process needs for it
            cost = world.plan.answer_cost * min(len(reply) / 4000, 1.0)
            world.clock.rightNow += cost
            rounds = self._context.answers._rounds
            world.answer_turns.took(self, set(rounds._lanes), cost)


class SimPollSender(PollSender):
    """Reports a poll that is sent too early."""

    def send(self, nonce: int, now: float, anchor: LastMessage | None = None) -> None:
        poller: Any = self._owner
        early = poller.asked_until - now
        if early > 1e-6:
            poller.oracle.fail(f"{poller.canister.text[:5]} was polled {early:.3f} s before it was allowed")
        super().send(nonce, now, anchor)


class SimCanister(Canister):
    """A canister that does what the first letter of a message says: echo, broadcast, nothing, kick."""

    oracle: Oracle
    canister: Principal

    def on_message(self, client: Principal, message: bytes) -> None:
        oracle = self.oracle
        oracle.executed(self.canister, client, message)
        order = message[:1]
        if order == b"e":
            oracle.push(self.canister, self.ws, client, message)
        elif order == b"b":
            for member in self.ws.clients:
                oracle.push(self.canister, self.ws, Principal(member.principal), message)
        elif order == b"k":
            self.ws.close(client)

    def on_close(self, client: Principal) -> None:
        self.oracle.removed(self.canister, client)


class SimReplica(Replica):
    """A replica that reports to the oracle what it executed.

    :ivar wrong_nodes: for each node with a wrong clock that answers queries, its offset in seconds
    :ivar forgets: the number of resubmitted calls whose replies it has forgotten
    :ivar behind: by canister, numbers of nodes that answer queries from the state before its last reset
    :ivar had_queues: by canister, the gateways for which that state has messages
    """

    forgets = 0

    def __init__(self, world: SimWorld, seed: bytes, canisters: list[Principal], **options: Any) -> None:
        self.oracle = world.oracle
        self.wrong_nodes: dict[int, float] = {}
        self.behind: dict[Principal, frozenset[int]] = {}
        self.had_queues: dict[Principal, set[Principal]] = {}
        self._before: dict[Principal, Block] = {}
        self._reported_done: set[bytes] = set()

        def factory(canister: Principal) -> Any:
            def make(ws: WebSocketCdk) -> Canister:
                app = SimCanister(ws)
                app.oracle, app.canister = world.oracle, canister
                world.oracle.watch_queues(canister, ws)
                return app

            return make

        named = {canister.text: (canister, factory(canister)) for canister in canisters}
        super().__init__(world.clock, world.now_ns, seed, canisters=named, **options)
        self._tell_refusals()
        self._answer_from_before()
        for host in self.hosts:
            self._watch(host)

    def keep(self, canister: Principal, oldest: int, newest: int) -> None:
        """Save a canister's state, from which nodes that lag behind its next reset still answer.

        :param oldest: messages below this number are deleted; the last message is always kept
        :param newest: the number of messages missing at the end
        """
        state = self.state_of(canister)
        block = self.ingress.certified(state, state.subnet.nodes[0]) or state.block(self.now_ns())
        view: QueueView = block.views.get(canister) or self.host(canister).view()
        queues = {}
        for gateway, (first, queue) in view._queues.items():
            begin = max(min(oldest - first, len(queue) - 1), 0)
            queues[gateway] = first + begin, queue[begin : max(len(queue) - newest, begin + 1)]
        view = QueueView(queues, view._tree, view._max_messages)
        views = {**block.views, canister: view}
        self._before[canister] = Block(block.height, block.time_ns, block._canisters, block._requests, views)
        self.had_queues[canister] = {gateway for gateway, (_, queue) in queues.items() if queue}

    def _answer_from_before(self) -> None:
        """Let nodes that lag behind a reset answer queries from the state before it."""
        endpoints: Any = self._endpoints
        ingress: Any = self.ingress
        answered = endpoints._query_answer

        def answer(target: Any, request: Any, fault: Any) -> Any:
            if target.node.number not in self.behind.get(target.canister, ()):
                return answered(target, request, fault)
            newest = ingress.certified
            ingress.certified = lambda state, node: self._before[target.canister]
            try:
                return answered(target, request, fault)
            finally:
                ingress.certified = newest

        endpoints._query_answer = answer

    def _tell_refusals(self) -> None:
        """Report messages that a fault keeps from the canister for good."""
        endpoints: Any = self._endpoints
        admitted, verified, with_fault = endpoints._admitted, endpoints._verified, endpoints._with_fault
        last: list[Any] = [None]

        def spoil(request: Any, why: str) -> None:
            content = request.content
            if content.get("method_name") == "ws_message":
                args = decode_message_args(content["arg"])
                key = (args.client_principal, args.client_nonce)
                self.oracle.spoil(key, why)
                if args.is_service_message:
                    self.oracle.refused_acknowledgements.add(key)

        def verify(target: Any, body: bytes) -> Any:
            right = self.now_ns
            wrong_by = self.wrong_nodes.get(target.node.number) if target.on == "query" else None
            hit = wrong_by is not None
            if wrong_by is not None:
                ahead = round(wrong_by * 1e9)
                self.now_ns = lambda: right() + ahead
            try:
                last[0] = verified(target, body)
            except Exception as error:
                if target.on == "query" and not hit and not self.oracle.world.plan.clocks:
                    self.oracle.fail(f"a query is refused: {error}")
                raise
            finally:
                self.now_ns = right
            return last[0]

        def meet(fault: Any, serve: Any) -> Any:
            if fault is not None and fault.kind == "http" and fault.status == 400:
                spoil(last[0], "HTTP 400")
            return with_fault(fault, serve)

        def admit(target: Any, request: Any, fault: Any) -> Any:
            known = self.ingress.get(request.request_id)
            if request.request_id in self._reported_done and fault is None:
                self.oracle.fail("a call was sent again though the network had reported its end")
            forgotten = bool(self.forgets) and known is not None and known.done
            if forgotten:
                self.forgets -= 1
                known.state.set_request(known.request_id, {b"status": b"done"})
            try:
                call = admitted(target, request, fault)
            except Rejected as error:
                # 2 is SYS_TRANSIENT: it is tried again, until the refusal is final
                spoil(request, str(error))
                raise
            if forgotten and fault is None:
                # a stopped canister refuses the call before it is recorded
                self._reported_done.add(request.request_id)
            if fault is not None and fault.kind in (*UNDONE, "reject", "stopped"):
                spoil(request, fault.kind)
            return call

        endpoints._admitted, endpoints._verified, endpoints._with_fault = admit, verify, meet

    def _watch(self, host: Host) -> None:
        """Report what a canister executes."""
        update = host.update

        def recorded(method: str, caller: Principal, arg: bytes) -> bytes:
            if self.oracle.world.replica is not self:
                raise Rejected(1, "this replica is no more")
            return self.oracle.update(update, host, method, caller, arg)

        host.update = recorded


class Oracle:
    """The record of one world.

    :ivar taking: a process takes over; sessions that it makes before the point of no return do not count yet
    :ivar handed: by id, the sessions that it continues
    :ivar contents: payload -> content, of the messages that clients send
    :ivar spoil_if_cut: clients that have sent messages in the wrong order
    :ivar wrong: payload -> what is wrong with it
    :ivar lives: the number of resets of each canister
    :ivar caught_up: by canister, when the last node had caught up with its last reset
    :ivar removed_queues: by canister and gateway, queues that the canister has removed, since the gateway had no client
    :ivar at_restart: by canister, a function to call when a poller is about to start again after a reset
    :ivar done: client key -> contents of the messages that the canister executed
    :ivar queued: client key -> contents of the messages that the canister sent
    :ivar spoilt: client key -> why the canister may lack some of its messages
    :ivar refused_acknowledgements: client keys whose refused message was, or may have been, an acknowledgement
    :ivar many_left: more ws_close were pending than there may be clients at once
    :ivar notified: client keys whose ws_close has reached their canister
    :ivar opened_at: client key -> when the canister executed its ws_open
    :ivar at_open: by canister and principal, a function to call when the canister is about to execute its next ws_open
    :ivar patient: a client replaced in the block that opened it need not be closed yet
    :ivar orphans: client keys of connections whose worker has died; if such a connection has replaced a client at
        another worker, that worker cannot know
    :ivar silenced: client keys that the canister does not know, or no longer; it sends them nothing
    :ivar altered: answers to polls that a node has altered
    :ivar cut_short: sessions whose worker died while their clients' messages were in flight
    :ivar durations: client key -> seconds from the first attempt of each of its calls to its end
    :ivar troubles: counts of injected faults, by kind
    """

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.sessions: list[SimSession] = []
        self.taking = False
        self.handed: dict[str, SimSession] = {}
        self.contents: dict[bytes, bytes] = {}
        self.wrong: dict[bytes, str] = {}
        self.spoil_if_cut: set[Key] = set()
        self.messages_in = 0
        self.frames_down = 0
        self.lives: Counter[Principal] = Counter()
        self.reset_at: dict[Principal, float] = {}
        self.caught_up: dict[Principal, float] = {}
        self.at_restart: dict[Principal, Callable[[], None]] = {}
        self.removed_queues: Counter[tuple[Principal, Principal]] = Counter()
        #: content of a message -> the number of the queue that the canister put it into
        self._queue_numbers: dict[bytes, int] = {}
        self.done: defaultdict[Key, list[bytes]] = defaultdict(list)
        self.queued: defaultdict[Key, list[bytes]] = defaultdict(list)
        self.opened: dict[Key, tuple[Principal, int]] = {}
        self.opened_at: dict[Key, float] = {}
        self.at_open: dict[tuple[Principal, bytes], Callable[[], None]] = {}
        self.patient = True
        self.orphans: set[Key] = set()
        self.silenced: set[Key] = set()
        self.altered: set[bytes] = set()
        self.cut_short: set[ClientSession] = set()
        #: clients without ws_close when a process that had handed over gave up
        self.left_unnotified: set[Key | None] = set()
        self.gone: dict[Key, str] = {}
        self.spoilt: dict[Key, str] = {}
        self.refused_acknowledgements: set[Key] = set()
        self.notified: set[Key] = set()
        self.durations: defaultdict[Key, list[float]] = defaultdict(list)
        self.many_left = False
        self.troubles: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.trace: list[tuple[float, str]] = []
        self._current: dict[tuple[Principal, bytes], Key] = {}
        self._method = ""
        self.failures: list[str] = []

    def note(self, text: str) -> None:
        self.trace.append((self.world.clock.seconds(), text))

    def fail(self, text: str) -> None:
        """Record a violation. It is raised later by :meth:`check`, since the gateway catches exceptions."""
        self.note(f"VIOLATION {text}")
        self.failures.append(text)

    def check(self) -> None:
        """:raises Violation: a promise was broken."""
        if self.failures:
            raise Violation(self.failures[0])

    def logged(self, event: dict[str, Any]) -> None:
        """A log observer: an error of the program is a violation."""
        if event.get("log_failure") is not None:
            failure = event["log_failure"]
            self.fail(f"logged {event.get('icws_message') or event.get('log_format')}: {failure.getTraceback()}")

    # reports of canisters

    def update(self, update: Any, host: Host, method: str, caller: Principal, arg: bytes) -> bytes:
        before, self._method = self._method, method
        key: Key | None = None
        acknowledges = False
        try:
            if method == "ws_open":
                self.at_open.pop((host.id, caller.raw), _nothing)()
                key = (caller.raw, decode_open_args(arg).client_nonce)
                # what on_close of an older client needs to know is read before the call
            elif method == "ws_message":
                args = decode_message_args(arg)
                key = (args.client_principal, args.client_nonce)
                acknowledges = args.is_service_message
            elif method == "ws_close":
                key = decode_close_args(arg)
                self.notified.add(key)
            try:
                reply: bytes = update(method, caller, arg)
            except Rejected as error:
                if key is not None and method == "ws_message":
                    self.spoil(key, f"rejected: {error}")
                raise
            try:
                decode_unit_result(reply)
            except CanisterRefused as error:
                if key is not None:
                    self._refused(host.id, method, key, str(error))
                    if acknowledges:
                        self.refused_acknowledgements.add(key)
            else:
                if method == "ws_open" and key is not None:
                    self._opened_again(key, host.id)
                    self.opened[key] = (host.id, self.lives[host.id])
                    # the call may have been resubmitted to another replica, which did not know the first attempt
                    self.gone.pop(key, None)
                    self.opened_at[key] = self.world.clock.seconds()
                    self._current[host.id, key[0]] = key
                    self.note(f"{host.id.text[:5]} opened {_show(key)}")
            return reply
        finally:
            self._method = before

    def _opened_again(self, key: Key, canister: Principal) -> None:
        """Its ws_open was resubmitted after a reset: messages of the former queue are lost, if it had received none."""
        before = self.opened.get(key)
        got = any(client.received for client in self.world.clients if client.key == key)
        if before is not None and before != (canister, self.lives[canister]) and not got:
            self.queued[key].clear()

    def _refused(self, canister: Principal, method: str, key: Key, text: str) -> None:
        self.note(f"{canister.text[:5]} refused {method} of {_show(key)}: {text}")
        if method == "ws_open" or (method == "ws_message" and self.world.plan.disordered):
            self.spoil(key, text)
        elif method == "ws_message" and key not in self.spoilt and key not in self.gone:
            opened = self.opened.get(key)
            if opened is not None and opened[1] == self.lives[canister]:
                self.fail(f"the canister refused a message of {_show(key)}: {text}")
        elif method == "ws_message" and self.gone.get(key) == "ws_close" and key not in self.spoilt:
            self.fail(f"a message of {_show(key)} came after its ws_close")

    def executed(self, canister: Principal, client: Principal, message: bytes) -> None:
        key = self._current[canister, client.raw]
        self.done[key].append(message)

    def push(self, canister: Principal, ws: WebSocketCdk, client: Principal, message: bytes) -> bool:
        """Let a canister send a message to a client; returns whether the client is connected there."""
        try:
            ws.send(client, message)
        except WsError:
            return False
        self.queued[self._current[canister, client.raw]].append(message)
        return True

    def removed(self, canister: Principal, client: Principal) -> None:
        key = self._current[canister, client.raw]
        why = {"ws_open": "replaced", "ws_close": "ws_close", "ws_message": "kicked"}.get(self._method, "keep-alive")
        self.gone[key] = why
        self.note(f"{canister.text[:5]} removed {_show(key)}: {why}")

    def is_current(self, canister: Principal, key: Key) -> bool:
        """Whether a canister knows this client, and no other one of its principal."""
        return key not in self.gone and self._current.get((canister, key[0])) == key

    def may_be_undecided(self, key: Key) -> bool:
        """Whether only later answers of a canister can show that it has replaced a client."""
        if self.gone.get(key) != "replaced":
            return False
        if any(
            other[0] == key[0] and self.opened.get(other, (None,))[0] == self.opened[key][0] for other in self.orphans
        ):
            # by one at another worker, which died before the gateway knew of its opening
            return True
        at, where = self.opened_at[key], self.opened[key][0]
        for session in self.sessions if self.world.plan.clocks else ():
            other = session.client_key
            if other is None or other == key or other[0] != key[0] or self.opened.get(other, (None,))[0] != where:
                continue
            if State.INIT < session.ended_in < State.OPEN and session.owner.process.wall_offset:
                # of one that has left, only its worker knows when it was opened, and that worker's clock is wrong
                return True
        if not self.patient:
            return False
        rivals = [other for other, since in self.opened_at.items() if since == at and other[0] == key[0]]
        return any(other != key and self.opened[other][0] == where for other in rivals)

    def spoil(self, key: Key, why: str) -> None:
        self.spoilt.setdefault(key, why)
        self.note(f"spoilt {_show(key)}: {why}")

    def cut_off(self, key: Key) -> None:
        """A connection is cut: of two messages in the wrong order the first one may be lost with it."""
        if key in self.spoil_if_cut:
            self.spoil(key, "cut off after messages in the wrong order")

    def new_life(self, canister: Principal) -> None:
        self.lives[canister] += 1
        self.reset_at[canister] = self.world.clock.seconds()

    # the queues of canisters

    def queue_number(self, canister: Principal, gateway: Principal) -> int:
        """The number of earlier queues of a canister for a gateway."""
        return self.lives[canister] + self.removed_queues[canister, gateway]

    def queue_of(self, canister: Principal, gateway: Principal, content: bytes) -> int:
        """Which of a canister's queues for a gateway a message is from; of an altered one, the present queue."""
        return self._queue_numbers.get(content, self.queue_number(canister, gateway))

    def watch_queues(self, canister: Principal, ws: Any) -> None:
        """Record the queue of each message, and the queues that a canister removes when their gateways have no clients.

        Nodes that lag behind still show messages that the canister has deleted, so what a queue holds at its end is not
        enough.
        """
        send, remove = ws._send, ws._remove_gateway

        def sent(key: ClientKey, message: bytes, is_service: bool) -> None:
            send(key, message, is_service)
            gateway = ws._clients[key].gateway
            content = ws._gateways[gateway].queue[-1].content
            self._queue_numbers[content] = self.queue_number(canister, gateway)

        def removed(gateway: Principal, added: int) -> None:
            remove(gateway, added)
            self.removed_queues[canister, gateway] += 1
            self.note(f"{canister.text[:5]} removed the queue of {gateway.text[:5]}")

        ws._send, ws._remove_gateway = sent, removed

    # reports of sessions

    def ended(self, session: SimSession, text: str) -> None:
        code = session.ended_with
        assert code is not None
        self.codes[code] += 1
        process = session.owner.process
        unnotified = sum(
            other.ended_with is not None and other.client_key not in self.notified
            for other in self.sessions
            if other.client_key is not None and other.owner.process is process
        )
        if unnotified > process.config.max_connections:
            # the gateway keeps as many pending ws_close as there may be clients
            self.many_left = True
        session.owner.link.session_ended()
        if code == CloseCode.OPEN_REFUSED and "signature" in text:
            self.world.forged[session.owner.group] = self.world.clock.seconds()
        self.note(f"{session.id} {_show(session.client_key)} ended with {code} {text}")
        why = unexplained(self.world, session, code)
        if why:
            self.fail(f"session {session.id} was closed with {code} ({text}), but {why}")

    # checks when the world is quiet

    def lost(self, session: SimSession) -> str | None:
        """Why a session's messages need not have reached the canister."""
        key = session.client_key
        if key is None:
            return "never opened"
        if session.ended_with in (
            CloseCode.OPEN_REFUSED,
            CloseCode.MESSAGE_REFUSED,
            CloseCode.EXPIRED,
            CloseCode.NOT_OPENED,
            CloseCode.CANISTER_RESET,
            CloseCode.TOO_FAST,
        ):
            return f"closed with {session.ended_with}"
        if session in self.cut_short:
            return "its worker has died"
        if self.troubles["persuaded"]:
            return "a wrong time that several nodes reported was taken over"
        if key in self.spoilt:
            return self.spoilt[key]
        if State.INIT < session.ended_in < State.OPEN and self.troubles:
            # its ws_open is not resubmitted, or its answer was lost
            return "was not open yet"
        if self.gone.get(key, "ws_close") != "ws_close":
            return f"the canister had removed it: {self.gone[key]}"
        where, life = self.opened.get(key, (None, 0))
        if session.owner.earliest_expiry < self.world.clock.seconds():
            return "one of them expired"
        if where is None:
            # ws_open never reached the canister: it was refused after the client had left
            return "not opened" if self.troubles else None
        if life != self.lives[where]:
            return "the canister was reset"
        if self.troubles["gave up"]:
            return "given up with the drain"
        return None

    def check_session(self, session: SimSession, final: bool) -> None:
        """Check that a session's messages have reached the canister."""
        key = session.client_key
        if key is None:
            return
        done, accepted = self.done.get(key, []), session.accepted
        if done != accepted[: len(done)]:
            self.fail(f"{_show(key)} sent {_cut(accepted)}, the canister has {_cut(done)}")
        elif final and self._forgotten(session):
            self.fail(f"{_show(key)} has left, and a message that it had sent was sent to nobody")
        elif final and self._needlessly(session):
            self.fail(f"{_show(key)} ended with {session.ended_with}, but the canister has all of its messages")
        elif final and len(done) < len(accepted) and not self.lost(session):
            self.fail(
                f"{_show(key)} (ended with {session.ended_with}) had {len(accepted)} messages taken, "
                f"but the canister only has {len(done)}"
            )

    def _forgotten(self, session: SimSession) -> bool:
        """Whether a message of a client that left by itself was never relayed, without a reason."""
        process = session.owner.process
        key = session.client_key
        ended = session.ended_with in OWN_CODES and session.ended_in is State.OPEN
        if not ended or key is None or self.troubles or session in self.cut_short:
            return False
        if self.gone.get(key, "ws_close") != "ws_close" or self.spoilt.get(key, SWAPPED) != SWAPPED:
            return False
        if process.dead or process.gateway.draining or self.world.plan.clocks:
            return False
        if session.spare < 60.0:
            # one of them may have expired
            return False
        return any(not process.agent.outcomes(body) for body in session.bodies)

    def _needlessly(self, session: SimSession) -> bool:
        """Whether a session was ended for a message although every message of it was executed.

        Acknowledgements are not counted as messages, so one that was refused explains the end.
        """
        key, owner = session.client_key, session.owner
        return (
            session.ended_with in (CloseCode.MESSAGE_REFUSED, CloseCode.EXPIRED)
            and key is not None
            and session.ended_in >= State.OPEN
            and session.ended_with not in owner.provoked
            and not (self.world.plan.clocks and owner.process.wall_offset)
            and not self.troubles["persuaded"]
            and key not in self.refused_acknowledgements
            and self.done.get(key, []) == session.accepted
        )


def _nothing() -> None:
    """Do nothing."""


def _count(content: bytes) -> int:
    return int(content.partition(b" ")[0].partition(b".")[2])


def _show(key: Key | None) -> str:
    return "-" if key is None else f"{Principal(key[0]).text[:5]}/{key[1] & 0xFFFF:x}"


def _cut(contents: list[bytes]) -> str:
    return str([content[:12] for content in contents[-8:]])
