"""Keeps what certificates for ``/subnet`` show, so that one read is enough for all canisters of a subnet.

Such a certificate also shows which canisters the subnet has. So what was read at one canister is valid for all of them,
and for none longer than :data:`MAX_ENTRY_AGE`, because nodes come and go and canisters may move. If the ranges are
sharded, the certificate shows one shard.

Which subnet a canister belongs to is unknown before the first read. After a restart, hundreds of canisters of one
subnet may ask at once. At most :data:`FIRST_READS` of these first reads are therefore made at a time. The others wait,
and those whose subnet is known then need no read. Each first read that fails doubles that number until none waits, so
that a canister waits for no more than two or three timeouts of reads at others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from icwsgw.agent.routes import MAX_CANISTERS
from icwsgw.agent.trust import Trust
from icwsgw.errors import NotReady
from icwsgw.ic.certificate import CanisterRanges, Certificate, subnet_ranges
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

T = TypeVar("T")

MAX_ENTRY_AGE = 300.0
"""Seconds for which a certificate counts, and a canister counts as one of its subnet."""

REFRESH_INTERVAL = 10.0
"""Seconds between reads for the sake of something that the last one did not show: anyone on the way can make it up."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds after a read that failed in which the same is not read again; doubled each time."""

FIRST_READS = 4
"""The most reads in flight at canisters whose subnets are unknown."""

MAX_SUBNETS = 256
"""The most subnets, or shards of them, that are kept."""


class _Entry(Generic[T]):
    """What one certificate shows.

    :ivar ranges: the subnet, and the canisters that it has
    :ivar fetched: when the certificate came, seconds
    :ivar root_key: under which it was verified
    """

    __slots__ = ("fetched", "ranges", "root_key", "value")

    def __init__(self, ranges: CanisterRanges, value: T, fetched: float, root_key: bytes) -> None:
        self.ranges = ranges
        self.value = value
        self.fetched = fetched
        self.root_key = root_key


class _Failed(NamedTuple):
    """A read that failed: with what, and until when its failure stands for those that come next."""

    pause: float
    until: float
    error: BaseException


class _Reading(NamedTuple):
    """What is read once for all that want it, under one root key.

    :ivar at: a subnet with these canisters, or a canister, whose subnet is unknown
    """

    root_key: bytes | None
    at: CanisterRanges | bytes


_Waiters = list[tuple[Principal, "Deferred[T]"]]


class SubnetCache(Generic[T]):
    """Something that certificates for ``/subnet`` show, by canister.

    :param reactor: source of time
    :param trust: for the root key; what was read under another one does not count
    :param read_subnet: reads and verifies the certificate for ``/subnet`` at a canister's subnet
    :param interpret: returns what a verified certificate shows, given the root key and the canister at which it was
        read; raises CertificateInvalid if it does not show it
    :ivar fetches: reads by outcome, "ok" or "failed"
    """

    __slots__ = (
        "_beginning",
        "_entries",
        "_entry_of",
        "_failed",
        "_fetching",
        "_first_reads",
        "_interpret",
        "_most_first_reads",
        "_queued",
        "_reactor",
        "_read_subnet",
        "_trust",
        "fetches",
    )

    def __init__(
        self,
        reactor: Clock,
        trust: Trust,
        read_subnet: Callable[[Principal], Deferred[Certificate]],
        interpret: Callable[[Certificate, bytes, Principal], T],
    ) -> None:
        self._reactor = reactor
        self._trust = trust
        self._read_subnet = read_subnet
        self._interpret = interpret
        self._entry_of: dict[bytes, _Entry[T]] = {}
        self._entries: dict[CanisterRanges, _Entry[T]] = {}
        self._fetching: dict[_Reading, _Waiters[T]] = {}
        self._failed: dict[_Reading, _Failed] = {}
        # first reads that wait for others, in sequence
        self._queued: dict[_Reading, _Waiters[T]] = {}
        self._first_reads = 0
        self._most_first_reads = FIRST_READS
        self._beginning = False
        self.fetches = {"ok": 0, "failed": 0}

    def get(self, canister: Principal) -> T | None:
        """What is known of a canister's subnet, if it is fresh; else None."""
        entry = self._entry_of.get(canister.raw)
        if (
            entry is None
            or self._reactor.seconds() - entry.fetched > MAX_ENTRY_AGE
            or entry.root_key != self._trust.root_key
        ):
            entry = self._newest(canister)
            if entry is None:
                return None
            self._assign(canister, entry)
        return entry.value

    def fetch(self, canister: Principal) -> Deferred[T]:
        """Read it, because :meth:`get` has nothing, or not enough. Concurrent requests for one subnet share a read.

        :returns: what the certificate shows; fails as reading the state does, or did a moment before
        """
        known, newest = self._entry_of.get(canister.raw), self._newest(canister)
        if newest is not None:
            tried = newest is known
            if not tried or self._reactor.seconds() - newest.fetched < REFRESH_INTERVAL:
                self._assign(canister, newest)
                return succeed(newest.value)
        return self._read(canister, canister.raw if known is None else known.ranges)

    def _newest(self, canister: Principal) -> _Entry[T] | None:
        """The newest fresh entry of a subnet that has a canister."""
        oldest, root_key = self._reactor.seconds() - MAX_ENTRY_AGE, self._trust.root_key
        found: _Entry[T] | None = None
        for entry in self._entries.values():
            if entry.fetched >= oldest and entry.root_key == root_key and entry.ranges.covers(canister.raw):
                found, oldest = entry, entry.fetched
        return found

    def _assign(self, canister: Principal, entry: _Entry[T]) -> None:
        if len(self._entry_of) >= MAX_CANISTERS:
            self._entry_of.clear()
        self._entry_of[canister.raw] = entry

    def _read(self, canister: Principal, at: CanisterRanges | bytes) -> Deferred[T]:
        """Read at a canister, unless that is under way or failed a moment before."""
        what = _Reading(self._trust.root_key, at)
        waiters = self._fetching.get(what, self._queued.get(what))
        if waiters is not None:
            return _join(waiters, canister)
        failed = self._failed.get(what)
        if failed is not None and self._reactor.seconds() < failed.until:
            return fail(failed.error.with_traceback(None))
        waiters = []
        waiter = _join(waiters, canister)
        if _is_first(what) and self._first_reads >= self._most_first_reads:
            self._queued[what] = waiters
        else:
            self._begin(canister, what, waiters)
        return waiter

    def _begin(self, canister: Principal, what: _Reading, waiters: _Waiters[T]) -> None:
        self._fetching[what] = waiters
        self._first_reads += _is_first(what)
        try:
            reading = self._read_subnet(canister)
        except NotReady:
            reading = fail()
        entry = reading.addCallback(self._got, canister)
        entry.addCallbacks(self._fetched, self._not_fetched, callbackArgs=(canister, what), errbackArgs=(what,))

    def _got(self, certificate: Certificate, canister: Principal) -> _Entry[T]:
        root_key = self._trust.require()
        value = self._interpret(certificate, root_key, canister)
        now = self._reactor.seconds()
        entry = _Entry(subnet_ranges(certificate, root_key), value, now, root_key)
        fresh = {each: kept for each, kept in self._entries.items() if now - kept.fetched <= MAX_ENTRY_AGE}
        # more than any network has: a node can hide parts of the ranges, so that they look like others
        self._entries = fresh if len(fresh) < MAX_SUBNETS else {}
        self._entries[entry.ranges] = entry
        return entry

    def _fetched(self, entry: _Entry[T], reader: Principal, what: _Reading) -> None:
        self.fetches["ok"] += 1
        self._failed.pop(what, None)
        self._assign(reader, entry)
        waiters = self._ended(what)
        for queued in [each for each in self._queued if _is_covered(each, entry)]:
            waiters += self._queued.pop(queued)
        self._begin_queued()
        for canister, waiter in tuple(waiters):
            # one callback may have cancelled another Deferred
            if waiter.called:
                continue
            if canister == reader or entry.ranges.covers(canister.raw):
                self._assign(canister, entry)
                waiter.callback(entry.value)
            else:
                # one of the two has moved, or is in another shard
                self._read(canister, canister.raw).addBoth(_pass_on, waiter)

    def _not_fetched(self, reason: Failure, what: _Reading) -> None:
        self.fetches["failed"] += 1
        assert reason.value is not None
        before = self._failed.pop(what, None)
        pause = FIRST_PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
        if len(self._failed) >= MAX_CANISTERS:
            self._failed.clear()
        self._failed[what] = _Failed(pause, self._reactor.seconds() + pause, reason.value)
        waiters = self._ended(what)
        if _is_first(what):
            self._most_first_reads = min(2 * self._most_first_reads, MAX_CANISTERS)
        self._begin_queued()
        for _, waiter in tuple(waiters):
            if not waiter.called:
                waiter.errback(reason)

    def _ended(self, what: _Reading) -> _Waiters[T]:
        """Count a read that has ended; return those that wait for it."""
        self._first_reads -= _is_first(what)
        return self._fetching.pop(what)

    def _begin_queued(self) -> None:
        """Begin as many of the first reads that wait as may be in flight."""
        # reads may fail at once, which leads here again
        if self._beginning:
            return
        self._beginning = True
        try:
            while self._queued and self._first_reads < self._most_first_reads:
                what = next(iter(self._queued))
                waiters = self._queued.pop(what)
                if waiters:
                    self._begin(waiters[0][0], what, waiters)
        finally:
            self._beginning = False
        if not self._queued:
            self._most_first_reads = FIRST_READS


def _is_first(what: _Reading) -> bool:
    """Whether a read is at a canister whose subnet is unknown."""
    return isinstance(what.at, bytes)


def _is_covered(what: _Reading, entry: _Entry[T]) -> bool:
    """Whether an entry holds what a first read would bring."""
    return isinstance(what.at, bytes) and what.root_key == entry.root_key and entry.ranges.covers(what.at)


def _join(waiters: _Waiters[T], canister: Principal) -> Deferred[T]:
    waiter: Deferred[T] = Deferred(lambda cancelled: waiters.remove((canister, cancelled)))
    waiters.append((canister, waiter))
    return waiter


def _pass_on(result: T | Failure, waiter: Deferred[T]) -> None:
    if waiter.called:
        return
    if isinstance(result, Failure):
        waiter.errback(result)
    else:
        waiter.callback(result)
