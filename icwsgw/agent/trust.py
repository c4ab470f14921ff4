"""What the agent trusts: the root key, and the node keys that follow from it.

Mainnet's root key is built in. A test network's key is fetched from it. Until it answers the agent is not ready, which
is a state and no error: :class:`Trust` retries with back-off for as long as it takes. A test network that was created
anew has another key. When something does not verify there, the agent fetches the key again.

Node keys (for signatures on queries) come from a certificate for ``/subnet``. They are kept for :data:`NODE_KEYS_AGE`
seconds for all canisters of the subnet, and fetched again when a node signs an answer that is not among them, because
nodes come and go (interface spec, "Request: Query call").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from icwsgw.agent.routes import MAX_CANISTERS
from icwsgw.errors import AnswerMalformed, CertificateInvalid, NotReady
from icwsgw.ic.certificate import (
    CanisterRanges,
    Certificate,
    DelegationCache,
    node_keys,
    root_ranges_cover,
    subnet_of,
    subnet_ranges,
)
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock, Timer

NODE_KEYS_AGE = 300.0
"""Seconds the keys of a subnet's nodes are used, and a canister counts as one of that subnet."""

NODE_KEYS_REFETCH = 10.0
"""Seconds between fetches for the sake of an unknown node: anyone on the way can make one up."""

NODE_KEYS_PAUSE, NODE_KEYS_LONGEST_PAUSE = 0.2, 5.0
"""Seconds after a fetch that failed in which the same keys are not fetched again; doubled each time."""

MAX_SUBNETS = 256
"""The most subnets whose node keys are kept."""

DOUBT_INTERVAL = 5.0
"""Seconds between looks at the root key of a test network whose answers do not verify."""

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.2, 5.0, 1.6
"""Seconds between attempts to fetch the root key."""

ROOT_KEY_SIZE = 133

NodeKeys = dict[bytes, bytes]


class Trust:
    """The root key.

    :param reactor: source of time
    :param rng: random numbers in [0, 1), for jitter
    :param fetch_status: fetches the network's status map
    :param root_key: the key in DER, if it is known from the start
    :ivar root_key: the key in DER; None while it is not known
    :ivar delegations: delegations that are verified under the root key
    :ivar last_failure: why the last attempt failed, as text; None if it did not
    :ivar fetches: attempts by outcome, "ok" or "failed"
    """

    __slots__ = (
        "_attempt",
        "_attempted_at",
        "_contradicted",
        "_fetch_status",
        "_fetches",
        "_pause",
        "_reactor",
        "_retry",
        "_rng",
        "_running",
        "_waiters",
        "delegations",
        "fetches",
        "last_failure",
        "root_key",
    )

    def __init__(
        self,
        reactor: Clock,
        rng: Callable[[], float],
        fetch_status: Callable[[], Deferred[dict[str, Any]]],
        root_key: bytes | None,
    ) -> None:
        self._reactor = reactor
        self._rng = rng
        self._fetch_status = fetch_status
        self.root_key = root_key
        self.delegations = DelegationCache()
        self.last_failure: str | None = None
        self.fetches = {"ok": 0, "failed": 0}
        self._waiters: list[Deferred[None]] = []
        self._attempt: Deferred[Any] | None = None
        self._retry: Timer | None = None
        self._running = False
        self._pause = FIRST_PAUSE
        # the network cannot change a key that was given
        self._fetches = root_key is None
        self._attempted_at = 0.0
        self._contradicted = False

    def start(self) -> None:
        """Start to fetch the root key, unless it is known. It may be called again."""
        if not self._running:
            self._running = True
            self._pause = FIRST_PAUSE
            if self.root_key is None:
                self._try()

    def stop(self) -> None:
        """Stop fetching; :meth:`when_ready` fails for those that wait."""
        self._running = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._attempt is not None:
            self._attempt.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in tuple(waiters):
            if not waiter.called:
                waiter.errback(NotReady("stopped before the network was reached"))

    def when_ready(self) -> Deferred[None]:
        """Fires when the root key is known; fails with NotReady if the agent is stopped before."""
        if self.root_key is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def require(self) -> bytes:
        """The root key.

        :raises NotReady: it is not known yet
        """
        if self.root_key is None:
            reason = f": {self.last_failure}" if self.last_failure else ""
            raise NotReady(f"the network's root key is not known yet{reason}")
        return self.root_key

    @property
    def contradicted(self) -> bool:
        """Whether the network states another root key than the one that was given, and nothing has verified under it.

        A status is not signed. What verifies counts more.
        """
        return self._contradicted and not len(self.delegations)

    def note_status(self, status: Mapping[str, Any]) -> None:
        """A status came: compare its root key with the one that was given."""
        key = status.get("root_key")
        if not self._fetches and isinstance(key, bytes) and len(key) == ROOT_KEY_SIZE:
            self._contradicted = key != self.root_key

    def doubt(self) -> None:
        """Something did not verify: fetch a test network's key again, because it may have been created anew."""
        pending = self._attempt is not None or self._retry is not None
        due = self._reactor.seconds() >= self._attempted_at + DOUBT_INTERVAL
        if self._fetches and self._running and due and not pending:
            self._try()

    def _try(self) -> None:
        self._retry = None
        self._attempted_at = self._reactor.seconds()
        attempt = self._attempt = self._fetch_status()
        attempt.addCallback(self._got_status)
        attempt.addErrback(self._failed)

    def _got_status(self, status: dict[str, Any]) -> None:
        self._attempt = None
        key = status.get("root_key")
        if not isinstance(key, bytes) or len(key) != ROOT_KEY_SIZE:
            raise AnswerMalformed("the network's status has no root key")
        self.root_key = key
        self.last_failure = None
        self.fetches["ok"] += 1
        waiters, self._waiters = self._waiters, []
        for waiter in tuple(waiters):
            if not waiter.called:
                waiter.callback(None)

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        if not isinstance(reason.value, CancelledError):
            self.last_failure = str(reason.value) or type(reason.value).__name__
            self.fetches["failed"] += 1
        if self._running:
            # between half of the pause and all of it, so that many gateways do not retry at once
            self._retry = self._reactor.callLater(self._pause * (0.5 + 0.5 * self._rng()), self._try)
            self._pause = min(self._pause * GROWTH, LAST_PAUSE)


class _Subnet:
    """The keys of a subnet's nodes, as one certificate shows them.

    :ivar ranges: the subnet, and the canisters that it has according to the same certificate
    :ivar fetched: when the certificate came, seconds
    """

    __slots__ = ("fetched", "keys", "ranges")

    def __init__(self, ranges: CanisterRanges, keys: NodeKeys, fetched: float) -> None:
        self.ranges = ranges
        self.keys = keys
        self.fetched = fetched


class _Failed(NamedTuple):
    """A fetch that failed: with what, and until when its failure stands for those that come next."""

    pause: float
    until: float
    error: BaseException


#: What is read once for all that want it: the keys of a subnet with these canisters, or of a canister's subnet.
_Reading = CanisterRanges | bytes
_Waiters = list[tuple[Principal, "Deferred[NodeKeys]"]]


class NodeKeyCache:
    """The keys of the nodes that may sign a canister's answers.

    A certificate for ``/subnet`` shows the keys, and which canisters the subnet has. So what was read at one canister
    is valid for all of them, and for none longer than :data:`NODE_KEYS_AGE`, because canisters may move. If the ranges
    are sharded, the certificate shows one shard.

    :param reactor: source of time
    :param trust: for the root key
    :param read_subnet: reads and verifies the certificate for ``/subnet`` at a canister's subnet
    :ivar fetches: attempts by outcome, "ok" or "failed"
    """

    __slots__ = ("_failed", "_fetching", "_reactor", "_read_subnet", "_subnet_of", "_subnets", "_trust", "fetches")

    def __init__(self, reactor: Clock, trust: Trust, read_subnet: Callable[[Principal], Deferred[Certificate]]) -> None:
        self._reactor = reactor
        self._trust = trust
        self._read_subnet = read_subnet
        self._subnet_of: dict[bytes, _Subnet] = {}
        self._subnets: dict[CanisterRanges, _Subnet] = {}
        self._fetching: dict[_Reading, _Waiters] = {}
        self._failed: dict[_Reading, _Failed] = {}
        self.fetches = {"ok": 0, "failed": 0}

    def get(self, canister: Principal) -> NodeKeys | None:
        """The keys, if they are known and fresh; else None."""
        subnet = self._subnet_of.get(canister.raw)
        if subnet is None or self._reactor.seconds() - subnet.fetched > NODE_KEYS_AGE:
            subnet = self._newest(canister)
            if subnet is None:
                return None
            self._assign(canister, subnet)
        return subnet.keys

    def fetch(self, canister: Principal) -> Deferred[NodeKeys]:
        """Fetch the keys, because :meth:`get` has none or lacks a node's. Concurrent requests for one subnet share one.

        :returns: the keys; fails as reading the state does, or did a moment before
        """
        known, newest = self._subnet_of.get(canister.raw), self._newest(canister)
        if newest is not None:
            tried = newest is known
            if not tried or self._reactor.seconds() - newest.fetched < NODE_KEYS_REFETCH:
                self._assign(canister, newest)
                return succeed(newest.keys)
        return self._read(canister, canister.raw if known is None else known.ranges)

    def _newest(self, canister: Principal) -> _Subnet | None:
        """The newest fresh keys of a subnet that has a canister."""
        oldest = self._reactor.seconds() - NODE_KEYS_AGE
        found: _Subnet | None = None
        for subnet in self._subnets.values():
            if subnet.fetched >= oldest and subnet.ranges.covers(canister.raw):
                found, oldest = subnet, subnet.fetched
        return found

    def _assign(self, canister: Principal, subnet: _Subnet) -> None:
        if len(self._subnet_of) >= MAX_CANISTERS:
            self._subnet_of.clear()
        self._subnet_of[canister.raw] = subnet

    def _read(self, canister: Principal, what: _Reading) -> Deferred[NodeKeys]:
        """Read keys at a canister, unless they are being read or that failed a moment before."""
        waiters = self._fetching.get(what)
        if waiters is not None:
            return _join(waiters, canister)
        failed = self._failed.get(what)
        if failed is not None and self._reactor.seconds() < failed.until:
            return fail(failed.error.with_traceback(None))
        waiters = self._fetching[what] = []
        waiter = _join(waiters, canister)
        try:
            reading = self._read_subnet(canister)
        except NotReady:
            reading = fail()
        subnet = reading.addCallback(self._got, canister)
        subnet.addCallbacks(self._fetched, self._not_fetched, callbackArgs=(canister, what), errbackArgs=(what,))
        return waiter

    def _got(self, certificate: Certificate, canister: Principal) -> _Subnet:
        root_key = self._trust.require()
        if certificate.delegation is None and root_ranges_cover(certificate, root_key, canister) is None:
            raise CertificateInvalid("the root subnet does not show its canister ranges")
        ranges = subnet_ranges(certificate, root_key)
        now = self._reactor.seconds()
        subnet = _Subnet(ranges, node_keys(certificate, subnet_of(certificate, root_key)), now)
        fresh = {each: kept for each, kept in self._subnets.items() if now - kept.fetched <= NODE_KEYS_AGE}
        # more than any network has: a node can hide parts of the ranges, so that they look like others
        self._subnets = fresh if len(fresh) < MAX_SUBNETS else {}
        self._subnets[ranges] = subnet
        return subnet

    def _fetched(self, subnet: _Subnet, reader: Principal, what: _Reading) -> None:
        self.fetches["ok"] += 1
        self._failed.pop(what, None)
        self._assign(reader, subnet)
        for canister, waiter in tuple(self._fetching.pop(what)):
            # one callback may have cancelled another Deferred
            if waiter.called:
                continue
            if canister == reader or subnet.ranges.covers(canister.raw):
                self._assign(canister, subnet)
                waiter.callback(subnet.keys)
            else:
                # one of the two has moved, or is in another shard
                self._read(canister, canister.raw).addBoth(_pass_on, waiter)

    def _not_fetched(self, reason: Failure, what: _Reading) -> None:
        self.fetches["failed"] += 1
        assert reason.value is not None
        before = self._failed.pop(what, None)
        pause = NODE_KEYS_PAUSE if before is None else min(2 * before.pause, NODE_KEYS_LONGEST_PAUSE)
        if len(self._failed) >= MAX_CANISTERS:
            self._failed.clear()
        self._failed[what] = _Failed(pause, self._reactor.seconds() + pause, reason.value)
        for _, waiter in tuple(self._fetching.pop(what)):
            if not waiter.called:
                waiter.errback(reason)


def _join(waiters: _Waiters, canister: Principal) -> Deferred[NodeKeys]:
    waiter: Deferred[NodeKeys] = Deferred(lambda cancelled: waiters.remove((canister, cancelled)))
    waiters.append((canister, waiter))
    return waiter


def _pass_on(result: NodeKeys | Failure, waiter: Deferred[NodeKeys]) -> None:
    if waiter.called:
        return
    if isinstance(result, Failure):
        waiter.errback(result)
    else:
        waiter.callback(result)
