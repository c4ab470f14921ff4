"""Counts the gateway's requests to the network independently, and checks them against the configured limits.

- Requests per second stay within the request budget, and ``ws_open`` within its rate limit.
- No call is sent while the identical one is in flight, and no client has two calls in flight.
- A call that was not accepted is resubmitted after a growing back-off, and not before the network allows it.
- A canister has no more calls in flight than its call slots.
- A call that was refused for good at its first attempt is not sent again, and one that may be tried again is not
  sent more than four times.
- Where nothing fails, no request fails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from icwsgw.agent.ic_agent import IcAgent
from icwsgw.agent.outcome import CallOutcome, OutcomeKind
from icwsgw.errors import (
    AnswerMalformed,
    AnswerTooLarge,
    CanisterRefused,
    FormatError,
    HttpError,
    IcwsError,
    NotReady,
    TransportError,
)
from icwsgw.ic import cbor
from icwsgw.ic.envelope import SignedRequest
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import UNIT_OK, decode_close_args, decode_message_args, decode_open_args, parse_get_messages
from tests.simulation.meter import EPSILON, Meter

if TYPE_CHECKING:
    from tests.simulation.process import SimProcess


#: Seconds between two polls at most, unless the network has asked for a longer pause: the back-off and a slow answer.
LONGEST_PAUSE = 8.0
#: Seconds for what an answer may need before it counts: two versions of read_state, twice.
ERRANDS = 22.0
#: How often at most a call is tried again because of a transient reject.
MOST_TRANSIENT = 4


class Polls:
    """How often canisters are polled while they have nothing to say.

    :param interval: seconds between two polls of one
    """

    #: Seconds for which nothing has happened: no message, no client, no bad answer.
    QUIET = 5.0

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._busy_at: dict[Any, float] = {}
        self._clients: dict[Any, int] = {}
        self._meters: dict[Any, Meter] = {}

    def continue_from(self, other: Polls) -> None:
        """Another process's canisters are this one's from now on."""
        self._busy_at.update(other._busy_at)
        self._clients.update(other._clients)
        self._meters.update(other._meters)

    def sent(self, place: Any, clients: int, now: float) -> bool:
        """Whether a poll that leaves now is one of those that are due."""
        if self._clients.get(place) != clients:
            self._clients[place] = clients
            self._busy_at[place] = now
        if now - self._busy_at[place] < self.QUIET:
            self._meters.pop(place, None)
            return True
        meter = self._meters.get(place)
        if meter is None:
            meter = self._meters[place] = Meter(1.1 / self._interval, 12.0)
        return meter.count(now)

    def busy(self, place: Any, now: float) -> None:
        """A canister has something to say, or nothing that can be read."""
        self._busy_at[place] = now


class _Call:
    """One call of the gateway: its envelope, however often it leaves."""

    __slots__ = (
        "again",
        "attempts",
        "canister",
        "done",
        "first",
        "in_flight",
        "key",
        "method",
        "not_before",
        "outcomes",
        "taken",
        "why",
    )

    def __init__(self, method: str, canister: Principal, key: tuple[bytes, int] | None) -> None:
        self.method = method
        self.canister = canister
        self.key = key
        self.attempts = 0
        #: when the first attempt left
        self.first = 0.0
        self.in_flight = False
        self.done = self.taken = False
        self.not_before = 0.0
        self.why = ""
        #: in a word what each attempt has brought
        self.outcomes: list[str] = []
        #: why it must not be sent again
        self.again = ""


class SimAgent(IcAgent):
    """An agent that checks the requests that it makes.

    :ivar in_flight: requests without an answer, by method; ``query`` for all polls
    """

    def __init__(self, process: SimProcess, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._process = process
        self._world = process.world
        self.in_flight: Counter[str] = Counter()
        #: calls that have left, each attempt, by method
        self.sent: Counter[str] = Counter()
        self._by_client: Counter[Any] = Counter()
        self._by_canister: Counter[Any] = Counter()
        self._calls: dict[bytes, _Call] = {}
        #: calls of clients that were not simply executed: (method, client key)
        self.bad: set[tuple[str, Any]] = set()
        #: those of them that were not executed, as far as anybody knows
        self.refusals: set[tuple[str, Any]] = set()
        self._canisters: set[tuple[bytes, bytes]] = set()
        self._bad_since: dict[tuple[bytes, bytes], float] = {}
        self._senders: dict[bytes, bytes] = {}
        self._close_notices: dict[Any, _Call] = {}
        self._good: dict[tuple[bytes, bytes], float] = {}
        #: when the good answer before that one came
        self._good_before: dict[tuple[bytes, bytes], float] = {}
        #: by canister and sender: when something left or came last, and the seconds since the last good answer in
        #: which nothing was asked
        self._asked: dict[tuple[bytes, bytes], float] = {}
        self._unasked: defaultdict[tuple[bytes, bytes], float] = defaultdict(float)
        #: the same with all of each such pause
        self._rested: defaultdict[tuple[bytes, bytes], float] = defaultdict(float)
        #: queries without an end, and when they should have one
        self._open_queries: dict[object, float] = {}
        self._polls_under_way: Counter[tuple[bytes, bytes]] = Counter()
        self._pollers: dict[tuple[bytes, bytes], Any] = {}
        bounds = process.world.plan
        self._polls = Polls(bounds.polling_interval)
        #: who sends while others wait, where that is watched
        self.turns: Any = None
        # a second's worth of each share at once, and what beats owe
        budget = bounds.query_budget
        self._all = None if budget is None else Meter(budget, 2.0 * budget + 5)
        opens = bounds.opens_per_second
        self._opens = None if opens is None else Meter(opens, max(1.0, opens))

    def continue_from(self, other: SimAgent) -> None:
        """Another process's clients are this one's from now on."""
        for call in other._calls.values():
            # An attempt that was in flight gets no answer, but may have arrived; pauses begin again (decision 0071).
            if call.in_flight:
                call.outcomes.append("unsure")
            call.in_flight, call.not_before = False, 0.0
        self._calls.update(other._calls)
        self._close_notices.update(other._close_notices)
        self.bad |= other.bad
        self.refusals |= other.refusals
        self._canisters |= other._canisters
        for mine, theirs in (
            (self._bad_since, other._bad_since),
            (self._good, other._good),
            (self._asked, other._asked),
            (self._unasked, other._unasked),
            (self._rested, other._rested),
        ):
            mine.update(theirs)
        self._polls.continue_from(other._polls)
        # bounds are of one process
        self._all, self._opens = other._all, other._opens

    def continue_pollers(self, pollers: Mapping[tuple[bytes, int], Any], other: SimProcess) -> None:
        """Pollers go on where those of another process were.

        :param pollers: its pollers
        """
        identities = [identity.principal.raw for identity in self._process.context.identities]
        for (canister, index), before in pollers.items():
            sender = other.context.identities[index].principal.raw
            here = [at for at, principal in enumerate(identities) if principal == sender]
            found = (self._process.gateway.registry.pollers.get((canister, at)) for at in here)
            for poller in found:
                if poller is not None:
                    poller.continue_from(before)  # type: ignore[attr-defined]
                    if other.agent._pollers.get((canister, sender)) is before:
                        self._pollers[canister, sender] = poller

    # queries

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        self._count("query")
        self.in_flight["query"] += 1
        began = self.reactor.seconds()
        sender = self._senders.get(request.body)
        if sender is None:
            sender = self._senders[request.body] = cbor.loads(request.body)["content"]["sender"]
        place = canister.raw, sender
        self._good.setdefault(place, began)
        self._polled(canister, sender)
        pause = began - self._asked.get(place, began) - LONGEST_PAUSE
        if pause > 0 and not self._polls_under_way[place]:
            self._unasked[place] += pause
            self._rested[place] += pause + LONGEST_PAUSE
        self._asked[place] = began
        self._polls_under_way[place] += 1
        ask = object()
        self._open_queries[ask] = began + 2 * timeout + ERRANDS

        def ended(result: Any) -> Any:
            self.in_flight["query"] -= 1
            del self._open_queries[ask]
            self._calm("a query", result)
            messages = _messages(result) if isinstance(result, bytes) else None
            self._asked[place] = self.reactor.seconds()
            self._polls_under_way[place] -= 1
            if messages != 0:
                self._polls.busy(place, self.reactor.seconds())
            self._late("a query", began, timeout)
            refused = self._world.plan.verify_batches and result in self._world.oracle.altered
            if messages is not None and not refused:
                self._good_before[place] = self._good[place]
                self._good[place] = self.reactor.seconds()
                self._unasked.pop(place, None)
                self._rested.pop(place, None)
                self._bad_since.pop(place, None)
                self._canisters.discard(place)
            elif isinstance(result, bytes) or not _of_the_network(result.value):
                # the canister's own word, or words that are none
                self._canisters.add(place)
                self._bad_since.setdefault(place, self.reactor.seconds())
            else:
                # how long the canister itself has been at fault is not sure any more
                self._bad_since[place] = float("inf")
            return result

        return super().query(canister, request, timeout=timeout).addBoth(ended)

    def not_judged(self, poller: Any) -> None:
        """What it takes to verify the last answer was not known yet: it is asked for again, and was no valid one."""
        place = self._place(poller.canister, poller.identity_index)
        self._good[place] = self._good_before.get(place, self._good[place])

    def _polled(self, canister: Principal, sender: bytes) -> None:
        """A poll leaves: somebody is there for whom it does, and while nothing happens there is one each interval."""
        registry = self._process.gateway.registry
        identities = self._process.context.identities
        index = next(at for at, identity in enumerate(identities) if identity.principal.raw == sender)
        poller = registry.pollers.get((canister.raw, index))
        place = canister.raw, sender
        if poller is not self._pollers.get(place):
            # which has none of the answers of the one before it
            self._pollers[place] = poller
            self._good[place] = self.reactor.seconds() if poller is None else poller.started_at  # type: ignore[attr-defined]
            for times in (self._bad_since, self._asked, self._unasked, self._rested):
                times.pop(place, None)
            self._canisters.discard(place)
        if poller is None or not poller.sessions:
            self._world.oracle.fail(f"{canister.text[:5]} is polled for nobody")
        elif not self._polls.sent((canister.raw, sender), len(poller.sessions), self.reactor.seconds()):
            self._world.oracle.fail(f"{canister.text[:5]} is polled too often while nothing happens")

    def overdue(self, now: float) -> Iterator[str]:
        """Queries that should have had an end."""
        for due in self._open_queries.values():
            if now > due:
                yield f"a query has had no end for {now - due:.1f} s too long"

    def _place(self, canister: Principal, index: int) -> tuple[bytes, bytes]:
        return canister.raw, self._process.context.identities[index].principal.raw

    def silence(self, canister: Principal, index: int, asked: bool) -> float:
        """Seconds since a canister's last good answer to one of our identities, or since it was first asked.

        :param asked: without those in which nobody asked it
        """
        place, now = self._place(canister, index), self.reactor.seconds()
        silence = now - self._good.get(place, 0.0)
        if asked:
            silence -= self._unasked[place]
            if not self._polls_under_way[place]:
                silence -= max(0.0, now - self._asked.get(place, now) - LONGEST_PAUSE)
        return silence

    def failing_for(self, poller: Any) -> float:
        """Seconds for which a canister itself has answered a poller, and answered wrong each time."""
        place = self._place(poller.canister, poller.identity_index)
        since = self._bad_since.get(place)
        if since is None or self._pollers.get(place) is not poller:
            return 0.0
        now = self.reactor.seconds()
        rests = 0.0 if self._polls_under_way[place] else now - self._asked.get(place, now)
        return now - since - self._rested[place] - (rests if rests > LONGEST_PAUSE else 0.0)

    def only_the_network(self, canister: Principal, index: int) -> bool:
        """Whether nothing bad has come since then but what the network says in a canister's place."""
        return (canister.raw, self._process.context.identities[index].principal.raw) not in self._canisters

    # calls

    @property
    def openings_in_flight(self) -> set[Any]:
        """The client keys whose ws_open is at the network."""
        return {call.key for call in self._calls.values() if call.method == "ws_open" and call.in_flight}

    def call(
        self, canister: Principal, body: bytes, *, wait: bool, timeout: float, request_id: bytes | None = None
    ) -> Deferred[CallOutcome]:
        world, now = self._world, self.reactor.seconds()
        call = self._calls.get(body)
        if call is None:
            call = _read(canister, body)
            if call.method == "ws_close":
                # signed anew each time
                call = self._close_notices.setdefault(call.key, call)
            self._calls[body] = call
        method, oracle, began = call.method, world.oracle, now
        if method == "ws_message" and call.key in oracle.silenced:
            oracle.fail("a message leaves for a client that its canister does not know any more")
        self._count(method, canister.raw)
        if call.in_flight:
            oracle.fail(f"an identical {method} left while the first was under way")
        if call.done:
            oracle.fail(f"a {method} left again after its end was reported")
        if call.again:
            oracle.fail(f"a {method} left again though {call.again}")
        if now < call.not_before - EPSILON:
            oracle.fail(f"a {method} was sent again {call.not_before - now:.3f} s too early, {call.why}")
        call.in_flight = True
        if not call.attempts:
            call.first = now
        call.attempts += 1
        self.sent[method] += 1
        self.in_flight[method] += 1
        place = method, canister.raw
        self._by_canister[place] += 1
        self._share(method, canister)
        if method in ("ws_open", "ws_message"):
            self._by_client[call.key] += 1
            if self._by_client[call.key] > 1:
                oracle.fail(f"a client has {self._by_client[call.key]} calls under way")
        if method == "ws_open" and self._opens is not None and not self._opens.count(now):
            oracle.fail(f"more ws_open left than {self._opens.per_second} a second")

        def ended(result: Any) -> Any:
            call.in_flight = False
            self._calm(f"a {method}", result)
            self._late(f"a {method}", began, timeout)
            self.in_flight[method] -= 1
            self._by_canister[place] -= 1
            if method in ("ws_open", "ws_message"):
                self._by_client[call.key] -= 1
            self._again(call, result)
            return result

        calling = super().call(canister, body, wait=wait, timeout=timeout, request_id=request_id)
        return calling.addBoth(ended)

    def _again(self, call: _Call, result: Any) -> None:
        """When it may come again at the earliest, and whether it may at all."""
        now = self.reactor.seconds()
        call.outcomes.append(_in_a_word(result))
        if call.method in ("ws_open", "ws_message") and not self._world.plan.clocks:
            if call.outcomes == ["refused"]:
                call.again = "it had been refused for good"
            elif call.outcomes == ["transient"] * MOST_TRANSIENT:
                call.again = f"it had been refused {MOST_TRANSIENT} times"
        if not isinstance(result, CallOutcome) or not result.answer.end or result.reply != UNIT_OK:
            self.bad.add((call.method, call.key))
            reject = result.reject if isinstance(result, CallOutcome) and result.certified else None
            # where the canister may have kept what it did, nothing is known to have failed
            if reject is None or (reject.code != 4 and reject.error_code != "IC0506"):
                self.refusals.add((call.method, call.key))
        if isinstance(result, CallOutcome):
            if result.answer.end and result.reject is not None and not result.certified:
                self._world.oracle.fail(f"a {call.method} is over by a reject that nobody has certified: {result!r}")
            if result.answer.end:
                call.done = True
                if call.key is not None and call.method != "ws_close":
                    self._world.oracle.durations[call.key].append(now - call.first)
            elif result.answer.accepted:
                call.taken = True
                call.not_before, call.why = now + 0.75, "since the network has it"
            else:
                call.not_before, call.why = now + min(_pause(call.attempts), 0.75), "after a refusal"
            return
        error = result.value
        if not isinstance(error, IcwsError):
            return  # given up
        asked = min(error.retry_after or 0.0, 60.0) if isinstance(error, HttpError) else 0.0
        pause = _pause(call.attempts)
        passing = isinstance(error, TransportError) or (isinstance(error, HttpError) and error.retryable)
        if call.taken or asked or not passing:
            # asked for, or asked after: that has a beat of its own
            pause = min(pause, 0.75)
        call.not_before = now + max(asked, pause)
        call.why = f"after {call.attempts} attempts, asked to wait {asked:.0f} s"

    def outcomes(self, body: bytes) -> list[str]:
        """What each attempt of a call has brought, in a word."""
        call = self._calls.get(body)
        return [] if call is None else call.outcomes

    def _calm(self, what: str, result: Any) -> None:
        """Where no fault is injected none is met: a connection that the server has closed at rest is none."""
        error = getattr(result, "value", None)
        if isinstance(error, TransportError) and self._world.plan.calm and not self._world.may_fail:
            self._world.oracle.fail(f"{what} failed in a calm world: {error!r}")

    def _late(self, what: str, began: float, timeout: float) -> None:
        """Each of two versions of an endpoint may have its time; keys and delegations that are missing have theirs."""
        late = self.reactor.seconds() - began - 2 * timeout - 1.0
        if late > 0 and self._world.plan.trusting:
            self._world.oracle.fail(f"{what} had {timeout} s, and ended {late:.1f} s later than that twice")

    def _count(self, what: str, canister: bytes = b"") -> None:
        if self.turns is not None:
            self.turns.sends(what, canister, self.reactor.seconds())
        if self._all is not None and not self._all.count(self.reactor.seconds()):
            self._world.oracle.fail(f"more left than {self._all.per_second} requests a second: a {what}")

    def _share(self, method: str, canister: Principal) -> None:
        world = self._world
        if method == "ws_open":
            most = 128
        else:
            most = world.plan.calls
        busy, mine = self.in_flight[method], self._by_canister[method, canister.raw]
        # the first of each canister goes in any case; beyond, as long as a canister has fewer than all leave
        others = sum(1 for (name, _), count in self._by_canister.items() if name == method and count)
        if mine > 1 and busy > most + others:
            world.oracle.fail(f"{busy} {method} are under way, {most} may be")
        if mine > 1 and mine > (most + 1) // 2 + 1:
            world.oracle.fail(f"{canister.text[:5]} has {mine} {method} under way, half of {most} is its share")


def _of_the_network(error: BaseException) -> bool:
    """Whether a failed poll shows nothing of the canister (docs/reliability.md): no answer, 5xx, 429, a policy's 403.

    An answer that does not decode is the canister's.
    """
    if isinstance(error, HttpError):
        return error.status >= 500 or error.status in (403, 404, 408, 429) or error.retry_after is not None
    return isinstance(error, (TransportError, NotReady)) and not isinstance(error, (AnswerMalformed, AnswerTooLarge))


def _in_a_word(result: Any) -> str:
    """The result of an attempt, by its answer and not by what the gateway makes of it."""
    if isinstance(result, CallOutcome):
        if result.reject is None or result.certified:
            return "taken" if result.kind is OutcomeKind.UNDER_WAY else "ended"
        if result.answer.arrived:
            # it had been sent twice, and the first may have been taken
            return "unsure"
        return "transient" if result.reject.code == 2 else "refused"
    error = result.value
    if isinstance(error, HttpError) and error.status == 400 and "expir" not in str(error):
        return "unsure" if error.resent else "refused"
    return "failed"


def _pause(attempts: int) -> float:
    """The shortest pause after so many attempts."""
    return min(0.1 * 2.0 ** (attempts - 1), 5.0) / 2


def _messages(reply: bytes) -> int | None:
    """How many messages an answer to a poll has; None: it is none."""
    try:
        return len(parse_get_messages(reply).messages)
    except (FormatError, CanisterRefused):
        return None


def _read(canister: Principal, body: bytes) -> _Call:
    content = cbor.loads(body)["content"]
    method, sender = content["method_name"], content["sender"]
    key: tuple[bytes, int] | None = None
    if method == "ws_open":
        key = sender, decode_open_args(content["arg"]).client_nonce
    elif method == "ws_message":
        try:
            args = decode_message_args(content["arg"])
        except FormatError:
            # what a client that misbehaves sends
            key = sender, -1
        else:
            key = sender, args.client_nonce
    elif method == "ws_close":
        key = decode_close_args(content["arg"])
    return _Call(method, canister, key)
