"""The simulated world: one gateway, one replica, the network between them, and virtual time.

The clock jumps from timer to timer, so a quiet minute costs only its timers. The order of the gateway's sets depends
on memory addresses; the simulation replaces them with sets in insertion order, so that a seed always gives the same
run. If certificates are verified, hashes replace their BLS signatures, which would take most of the time. All other
signatures are real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from email.utils import formatdate
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.logger import globalLogPublisher

from icwsgw.devnet.faults import Answer
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.errors import ConnectFailed, ConnectionLost, IcwsError
from icwsgw.gateway.batches import BATCH, in_batches
from icwsgw.gateway.gateway import Gateway
from icwsgw.ic import bls, cbor
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch, encode_batch, nonce_of_key, parse_get_messages
from icwsgw.observe import logs
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.metrics import Metrics
from icwsgw.server.factory import GatewayFactory
from tests.simulation.oracle import Oracle, SimPoller, SimPollSender, SimReplica, SimSession
from tests.simulation.plan import MAX_CANISTERS, Plan
from tests.simulation.positions import WatchedPoller
from tests.simulation.process import SimProcess
from tests.simulation.requested_polls import WatchedTimer
from tests.simulation.waiting import AnswerTurns
from tests.support.ordered_clock import OrderedClock

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient

EPOCH_NS = 1_700_000_000_000_000_000
#: The bystander's canister, which has no faults.
QUIET = Principal(bytes((0, 0, 0, 0, 0, 0x5E, 2, 0, 1, 1)))
CANISTERS = [Principal(bytes((0, 0, 0, 0, 0, 0x5E, 0, number, 1, 1))) for number in range(MAX_CANISTERS)]


class OrderedSet(dict[Any, None]):
    """A set in insertion order, with the methods that the gateway uses."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def remove(self, item: Any) -> None:
        del self[item]

    def update(self, items: Iterable[Any]) -> None:  # type: ignore[override]
        super().update(dict.fromkeys(items))

    def difference(self, items: Iterable[Any]) -> OrderedSet:
        others = dict.fromkeys(items)
        return OrderedSet(item for item in self if item not in others)


@contextmanager
def simulated(ended_at_once: int = BATCH) -> Iterator[None]:
    """Replace sets of objects by ordered ones, and classes of the gateway by those that report to the oracle.

    :param ended_at_once: sessions in a batch, where many are ended
    """
    import icwsgw.agent.http.deadlines as deadlines_module
    import icwsgw.agent.http.host_pool as pool_module
    import icwsgw.devnet.ingress as ingress_module
    import icwsgw.devnet.network_state as network_state_module
    import icwsgw.devnet.push as push_module
    import icwsgw.gateway.gateway as gateway_module
    import icwsgw.gateway.gateway_handover as handover_module
    import icwsgw.gateway.polling.client_group as group_module
    import icwsgw.gateway.polling.poller as poller_module
    import icwsgw.gateway.principal_limit as principals_module
    import icwsgw.gateway.registry as registry_module
    import icwsgw.gateway.timer_wheel as wheel_module
    import icwsgw.server.factory as factory_module
    import icwsgw.server.partial_messages as partial_module

    sessions = mock.patch.object(gateway_module, "ClientSession", SimSession)
    handed = mock.patch.object(handover_module, "ClientSession", SimSession)
    pollers = mock.patch.object(registry_module, "Poller", WatchedPoller)
    senders = mock.patch.object(poller_module, "PollSender", SimPollSender)
    timers = mock.patch.object(poller_module, "PollTimer", WatchedTimer)
    # most callers import the function by name, so its default is changed
    batches = mock.patch.object(in_batches, "__defaults__", (None, ended_at_once))
    watched = (sessions, handed, pollers, senders, timers, batches, mock.patch.object(bls, "verify", _verify))
    with ExitStack() as stack:
        for each in watched:
            stack.enter_context(each)
        modules = (
            *(wheel_module, registry_module, principals_module, group_module, factory_module, partial_module),
            *(deadlines_module, pool_module, ingress_module, network_state_module, push_module),
        )
        for module in modules:
            module.set = OrderedSet  # type: ignore[attr-defined]
        # events below errors are not needed, and Twisted would keep all of them until a log observer starts
        levels = logs._wanted
        logs.set_levels(parse_levels("error"))
        try:
            yield
        finally:
            logs.set_levels(*levels)
            for module in modules:
                del module.set


def _no_signature(secret: int, message: bytes) -> bytes:
    return bytes(bls.SIGNATURE_SIZE)


_public_key = lru_cache(maxsize=64)(bls.public_key)


def _hash(public_key: bytes, message: bytes) -> bytes:
    return hashlib.sha384(public_key + message).digest()


def _sign(secret: int, message: bytes) -> bytes:
    return _hash(_public_key(secret), message)


def _verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    return signature == _hash(public_key, message)


def page_of(request: bytes, answer: bytes) -> tuple[bytes, Batch | None, dict[str, Any]]:
    """The canister of a query, its page if the answer is one, and the answer."""
    content, decoded = cbor.loads(request)["content"], dict(cbor.loads(answer))
    batch = None
    if decoded.get("status") == "replied" and content["method_name"] == "ws_get_messages":
        try:
            batch = parse_get_messages(decoded["reply"]["arg"])
        except IcwsError:
            pass
    return content["canister_id"], batch, decoded


def too_large(oversize: dict[bytes, set[int]], request: bytes, answer: bytes) -> bytes:
    """The answer to a poll, or a reject if one of its messages makes the page too large.

    :param oversize: by canister, the numbers of such messages
    """
    canister, batch, decoded = page_of(request, answer)
    numbers = oversize.get(canister, set())
    if batch is None or not any(nonce_of_key(key) in numbers for _, _, key, _ in batch.messages):
        return answer
    reject = {
        "status": "rejected",
        "reject_code": 5,
        "reject_message": "the reply is larger than 3145728 bytes",
        "error_code": "IC0504",
    }
    kept = {name: value for name, value in decoded.items() if name not in ("status", "reply")}
    return cbor.dumps_tagged({**reject, **kept})


def without(deleted: dict[bytes, set[int]], request: bytes, answer: bytes) -> bytes:
    """The answer to a poll without the messages that its canister has deleted.

    :param deleted: by canister, the numbers of such messages
    """
    canister, batch, decoded = page_of(request, answer)
    numbers = deleted.get(canister, set())
    if batch is None or not any(nonce_of_key(key) in numbers for _, _, key, _ in batch.messages):
        return answer
    left = [message for message in batch.messages if nonce_of_key(message[2]) not in numbers]
    page = encode_batch(left, batch.cert, batch.tree, batch.end_of_queue)
    return cbor.dumps_tagged({**decoded, "reply": {"arg": page}})


class SimWorld:
    """The replica, the network, the clock and the processes of the gateway.

    :ivar network: up, refused or lost
    :ivar headers: additional headers of all answers
    :ivar dates_were_wrong: some answers have had a wrong Date
    :ivar liar: replaces answers to queries: (request, answer)
    :ivar slow: the extra delay of the answer to a query in seconds: (request)
    :ivar unserved: canisters that the gateway does not serve
    :ivar origins: allowed web origins; empty: all
    :ivar may_fail: requests may fail although the plan has no faults
    :ivar forged: by group of addresses, when the last forged ws_open arrived
    :ivar longest_asked: seconds of the longest Retry-After so far
    :ivar oversize: by canister, numbers of messages that make a page too large
    :ivar deleted: by canister, numbers of messages that are missing in all answers
    :ivar unfound: versions and endpoints for which the network answers 404: ("3", "call")
    :ivar oracle: records what happens, and checks the invariants
    :ivar processes: of the gateway
    :ivar dead: those that were killed
    :ivar retired: those that have handed over
    :ivar sockets: a number for each connection that was handed over
    """

    def __init__(self, seed: int, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.network_random = Random(f"{seed} network")
        self.clock = OrderedClock()
        self.network = "up"
        self.headers: Callable[[], dict[str, str]] = dict
        self.liar: Callable[[bytes, bytes], bytes] | None = None
        self.slow: Callable[[bytes], float] | None = None
        self.unserved: set[Principal] = set()
        self.origins: tuple[str, ...] = ()
        self.dates_were_wrong = False
        self.may_fail = False
        self.forged: dict[str, float] = {}
        self.oversize: dict[bytes, set[int]] = {}
        self.deleted: dict[bytes, set[int]] = {}
        self.unfound: set[tuple[str, str]] = set()
        self.answer_turns = AnswerTurns(self)
        self.lost_transports = self.longest_asked = 0
        self.sockets: dict[Any, int] = {}
        self.at_end: list[Any] = []
        self.clients: list[SimClient] = []
        self.oracle = Oracle(self)
        self.replicas = self.generations = 0
        self.replica = self._new_replica()
        SimSession.oracle = SimPoller.oracle = WatchedTimer.oracle = self.oracle
        globalLogPublisher.addObserver(self.oracle.logged)  # type: ignore[arg-type]
        self.processes = [SimProcess(self, number) for number in range(plan.processes)]
        self.dead: list[SimProcess] = []
        self.retired: list[SimProcess] = []
        for process in self.processes:
            process.start()

    @property
    def sound(self) -> bool:
        """Whether there is no fault now."""
        replica = self.replica
        usual = replica.ingress.latency == self.plan.call_latency and not replica.wrong_nodes and not replica.forgets
        usual = usual and not replica.behind
        running = all(host.running for host in replica.hosts)
        return (
            self.network == "up"
            and not len(replica.faults)
            and usual
            and running
            and not self.oversize
            and not self.deleted
            and not self.unfound
            and self.slow is None
        )

    # time

    def now_ns(self) -> int:
        """The true time."""
        return EPOCH_NS + round(self.clock.seconds() * 1e9)

    def pollers(self, canister: Principal) -> list[Any]:
        """The pollers of a canister, in all processes."""
        pollers = (each for process in self.processes for each in process.gateway.registry.pollers.values())
        return [poller for poller in pollers if poller.canister == canister]

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, until a condition holds if one is given; returns whether it did. Timers are exact."""
        clock = self.clock
        end = clock.seconds() + seconds
        while True:
            if until is not None and until():
                return True
            now = clock.seconds()
            following = min(clock.calls[0].getTime(), end) if clock.calls else end
            clock.advance(max(following - now, 1e-9))
            if clock.seconds() >= end:
                return until is not None and until()

    def kill(self, process: SimProcess) -> None:
        """Kill a process; another one takes its place."""
        self.oracle.cut_short.update(process.gateway.registry.ending)
        process.die()
        self.dead.append(process)
        self.lose_clients(process, self.clients)
        self.start_again(process)

    def lose_clients(self, process: SimProcess, clients: Iterable[SimClient]) -> None:
        """These clients of a killed process lose their connections."""
        lost = {client for client in clients if client.process is process}
        for client in self.clients:
            if client in lost:
                client.link.die()
                self.oracle.orphans.add(client.key)
        self.oracle.sessions[:] = [
            session
            for session in self.oracle.sessions
            if session.owner not in lost or session.owner.process is not process or session.ended_with is not None
        ]

    def start_again(self, process: SimProcess) -> SimProcess:
        """Start a process in place of another one, with the same identities."""
        inherited = process.identity_numbers[self.plan.identities :]
        newer = self.new_process(process.number, inherited)
        if self.plan.handovers and self.plan.processes == 1:
            # on the same machine
            newer.machine = process.machine
        self.processes = [newer if each.number == process.number else each for each in self.processes]
        newer.start()
        return newer

    def new_process(self, number: int, inherited: Sequence[int] = ()) -> SimProcess:
        """Make an additional process."""
        self.generations += 1
        return SimProcess(self, number, self.generations, inherited)

    # the gateway, in worlds with one process

    @property
    def gateway(self) -> Gateway:
        return self.processes[0].gateway

    @property
    def factory(self) -> GatewayFactory:
        return self.processes[0].factory

    @property
    def metrics(self) -> Metrics:
        return self.processes[0].metrics

    # the network

    def _new_replica(self) -> SimReplica:
        plan = self.plan
        self.replicas += 1
        return SimReplica(
            self,
            f"{self.seed} {self.replicas}".encode(),
            [*CANISTERS[: plan.canisters], *([QUIET] if plan.neighbour else [])],
            delegation=plan.delegation,
            settings=CdkSettings(int(plan.ack_interval * 1000), int(plan.keep_alive * 1000), plan.page),
            query_latency=plan.query_latency,
            call_latency=plan.call_latency,
            call_jitter=plan.call_jitter,
            legacy_api=plan.legacy_api,
            v2_gone=plan.v2_gone and not plan.legacy_api,
            pace=replace(plan.blocks),
            sign=_no_signature if plan.trusting else _sign,
        )

    def restart_replica(self) -> None:
        """Kill the replica; another one, with other keys and no memory, takes its place."""
        for canister in (*CANISTERS, QUIET):
            self.oracle.new_life(canister)
        old, self.replica = self.replica, self._new_replica()
        old.close()
        for client in self.clients:
            # the client got its key with its page
            client.trust_nobody()

    def handle(self, method: str, path: str, body: bytes) -> Any:
        if self.network == "refused":
            raise ConnectFailed("refused")
        if self.network == "lost":
            return Deferred()
        if self.unfound and (path.split("/")[2][1:], path.rpartition("/")[2]) in self.unfound:
            return succeed((404, dict(self.headers()), b"nothing is there"))
        replica = self.replica

        def arrived(answer: Answer) -> Answer:
            if self.network != "up" or replica is not self.replica:
                raise ConnectionLost("the network went away")
            status, headers, content = answer
            if status == 200 and path.endswith("/query"):
                if self.liar is not None:
                    content = self.liar(body, content)
                if self.oversize:
                    content = too_large(self.oversize, body, content)
                if self.deleted:
                    content = without(self.deleted, body, content)
            elif (asked := headers.get("Retry-After", "")).isdecimal():
                self.longest_asked = max(self.longest_asked, int(asked))
                if self.plan.dated:
                    # a date, in whole seconds
                    ahead = self.now_ns() / 1e9 + int(asked) + 1
                    headers = {**headers, "Retry-After": formatdate(ahead, usegmt=True)}
            return status, {**headers, **self.headers()}, content

        answer = replica.handle(method, path, body).addCallback(arrived)
        if self.slow is not None and path.endswith("/query"):
            answer.addCallback(self._hold, self.slow(body))
        return answer

    def _hold(self, answer: Answer, seconds: float) -> Any:
        """Delay an answer."""
        if not seconds:
            return answer
        held: Deferred[Answer] = Deferred(lambda _: timer.cancel())
        timer = self.clock.callLater(seconds, held.callback, answer)
        self.at_end.append(timer)
        return held

    def close(self) -> None:
        """Stop all parts."""
        for call in self.at_end:
            if call.active():
                call.cancel()
        for process in self.processes:
            process.stop()
        for process in self.retired:
            process.retire()
        # connections to the network end in order, or are aborted after a second
        self.run(1.5)
        self.replica.close()
        globalLogPublisher.removeObserver(self.oracle.logged)  # type: ignore[arg-type]
