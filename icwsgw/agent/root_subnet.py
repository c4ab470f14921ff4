"""Checks whether a canister belongs to the root subnet, if a certificate for it has no delegation.

A certificate that the root key has signed itself verifies for any canister. When agents fetch node keys, they demand
that the canister is in the root subnet's canister ranges, which read_state of ``/subnet`` has (dfinity/agent-rs,
``fetch_subnet_by_canister``; interface spec, "Request: Query call"). The gateway demands the same of everything without
a delegation. Otherwise one node of the root subnet, and a boundary node that sends requests there, could answer for
every canister.

Networks without ranges (old local replicas) are trusted, unless they have mainnet's root key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from icwsgw.agent.routes import MAX_CANISTERS
from icwsgw.errors import CertificateInvalid, NotReady
from icwsgw.ic import bls
from icwsgw.ic.certificate import Certificate, root_ranges_cover
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

#: Seconds after a reading that failed in which the same canister's subnet is not read again; doubled each time. Each
#: answer without a delegation would lead to another reading.
PAUSE, LONGEST_PAUSE = 0.2, 5.0


class _Failure(NamedTuple):
    """A reading that failed: with what, and until when its failure stands for those that come next."""

    pause: float
    until: float
    error: BaseException


class RootSubnet:
    """Knows the canisters of the root subnet.

    :param root_key: returns the root key in DER, or None while it is not known
    :param read_subnet: reads and verifies the certificate for ``/subnet`` at a canister's subnet
    :param reactor: source of time
    """

    __slots__ = ("_failed", "_known", "_reactor", "_read_subnet", "_root_key", "_waiters")

    def __init__(
        self,
        root_key: Callable[[], bytes | None],
        read_subnet: Callable[[Principal], Deferred[Certificate]],
        reactor: Clock,
    ) -> None:
        self._reactor = reactor
        self._root_key = root_key
        self._read_subnet = read_subnet
        self._known: OrderedDict[tuple[bytes | None, bytes], bool] = OrderedDict()
        self._waiters: dict[bytes, list[Deferred[bool]]] = {}
        self._failed: OrderedDict[tuple[bytes | None, bytes], _Failure] = OrderedDict()

    def holds(self, canister: Principal) -> bool | None:
        """Whether the root subnet holds a canister; None if that is not known."""
        return self._known.get((self._root_key(), canister.raw))

    def look_up(self, canister: Principal) -> Deferred[bool]:
        """Find out whether the root subnet holds a canister. Concurrent look-ups of one canister share a request.

        :returns: whether it does; fails as reading the state does, or did a moment before
        """
        known = self.holds(canister)
        if known is not None:
            return succeed(known)
        waiter: Deferred[bool] = Deferred()
        waiters = self._waiters.get(canister.raw)
        if waiters is not None:
            waiters.append(waiter)
            return waiter
        failed = self._failed.get((self._root_key(), canister.raw))
        if failed is not None and self._reactor.seconds() < failed.until:
            return fail(failed.error.with_traceback(None))
        self._waiters[canister.raw] = [waiter]
        try:
            reading = self._read_subnet(canister)
        except NotReady:
            reading = fail()
        found = reading.addCallback(self._found, canister)
        found.addCallbacks(self._succeed, self._fail, callbackArgs=(canister,), errbackArgs=(canister,))
        return waiter

    def check(self, certificate: Certificate, canister: Principal) -> Deferred[Certificate]:
        """Check a verified certificate: without a delegation it is valid only for canisters of the root subnet.

        :returns: the certificate; fails with CertificateInvalid, or as reading the state does
        """
        if certificate.delegation is not None:
            return succeed(certificate)
        return self.look_up(canister).addCallback(_checked, certificate, canister)

    def _found(self, certificate: Certificate, canister: Principal) -> bool:
        root_key = self._root_key()
        holds = False
        if certificate.delegation is None and root_key is not None:
            # a delegation whose ranges do not hold the canister has not verified
            holds = (
                root_ranges_cover(certificate, root_key, canister) is not None or root_key != bls.MAINNET_ROOT_KEY_DER
            )
            if not holds:
                raise CertificateInvalid("the root subnet does not show its canister ranges")
        self._known[root_key, canister.raw] = holds
        if len(self._known) > MAX_CANISTERS:
            self._known.popitem(last=False)
        return holds

    def _succeed(self, holds: bool, canister: Principal) -> None:
        self._failed.pop((self._root_key(), canister.raw), None)
        for waiter in self._waiters.pop(canister.raw, ()):
            if not waiter.called:
                waiter.callback(holds)

    def _fail(self, reason: Failure, canister: Principal) -> None:
        assert reason.value is not None
        key = self._root_key(), canister.raw
        before = self._failed.pop(key, None)
        pause = PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
        self._failed[key] = _Failure(pause, self._reactor.seconds() + pause, reason.value)
        if len(self._failed) > MAX_CANISTERS:
            self._failed.popitem(last=False)
        for waiter in self._waiters.pop(canister.raw, ()):
            if not waiter.called:
                waiter.errback(reason)


def _checked(holds: bool, certificate: Certificate, canister: Principal) -> Certificate:
    if not holds:
        raise CertificateInvalid(f"a certificate of the root subnet for {canister}, which is not one of its canisters")
    return certificate
