"""Replaces delegations in certificates that many clients cannot verify.

An answer to a query of v2 has a delegation that every agent accepts. If the network does not offer that version, the
delegation in each new certificate is replaced by another verified one of the same subnet
(:mod:`icwsgw.ic.delegations`): one that was kept, one from the answer to a call, or one from read_state v2. Each
delegation is examined once, and each certificate once for each canister. A certificate in the accepted form is
recognized by its bytes alone. Decision 0028 shows what remains if all this fails.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.agent.routes import MAX_CANISTERS
from icwsgw.errors import CertificateInvalid, FormatError, IcwsError
from icwsgw.ic.certificate import Certificate, DelegationCache
from icwsgw.ic.certificate_format import Delegation
from icwsgw.ic.delegations import (
    CompatibleDelegations,
    DelegationView,
    delegation_of,
    read_delegation,
    tail_of,
    with_delegation,
)
from icwsgw.ic.network_limits import MAX_CACHED_DELEGATIONS
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

#: Seconds between two attempts to get a subnet's delegation with read_state, or to keep one from an answer.
ATTEMPT_INTERVAL = 30.0
#: Seconds after which a kept delegation is replaced by the next one that comes.
RENEW = 3600.0
#: Seconds for one attempt, in which the messages of the subnet wait.
TIMEOUT = 5.0
#: Seconds for which a canister counts whose certificates some clients could not verify.
MEMORY = 300.0
_MAX_SUBNETS = 256

_log = get_logger("agent")


class DelegationReplacer:
    """Makes certificates that all clients can verify.

    :param clock: the reactor's clock
    :param now_ns: the network's time, against which delegations are verified
    :param root_key: returns the root key in DER, or None while it is not known
    :param cache: verified delegations
    :param fetch: reads the state of a canister's subnet with v2, and verifies it
    :param doubt: called when a delegation does not verify under the root key
    :ivar looks: delegations that were examined
    :ivar replaced: certificates whose delegation was replaced
    :ivar fetches: attempts to get a delegation, by outcome
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        root_key: Callable[[], bytes | None],
        cache: DelegationCache,
        fetch: Callable[[Principal], Deferred[Certificate]],
        doubt: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self._root_key = root_key
        self._fetch = fetch
        self._doubt = doubt
        self.flat = CompatibleDelegations(cache)
        self.looks = self.replaced = 0
        self.fetches = {"ok": 0, "failed": 0}
        # the last bytes of certificates whose delegations every client accepts: found without decoding
        self._fine: OrderedDict[bytes, None] = OrderedDict()
        self._known: OrderedDict[Delegation, DelegationView] = OrderedDict()
        self._waiting: dict[bytes, list[Callable[[], None]]] = {}
        self._attempted: OrderedDict[bytes, float] = OrderedDict()
        self._unreadable: OrderedDict[bytes, float] = OrderedDict()
        self._failure = ""
        self._warned = False

    def unreadable(self) -> int:
        """How many canisters have recently had a certificate that some clients cannot verify."""
        oldest = self._clock.seconds() - MEMORY
        while self._unreadable and next(iter(self._unreadable.values())) < oldest:
            self._unreadable.popitem(last=False)
        if not self._unreadable and self._warned:
            self._warned = False
            _log.info("every client can verify certificates again")
        return len(self._unreadable)

    def concern(self) -> str | None:
        """What clients may be unable to verify, for operators; None if nothing."""
        count = self.unreadable()
        if not count:
            return None
        canisters = f"{count} canister{'s' if count > 1 else ''}"
        return f"clients with @dfinity/agent up to 3.4.3 cannot verify the messages of {canisters}: {self._failure}"

    def look(self, canister: Principal, certificate: bytes, again: Callable[[], None]) -> bytes | None:
        """The certificate of a canister in a form that all clients can verify, or unchanged if that is impossible.

        :param certificate: a new one; the caller remembers the result
        :param again: called when the caller should call again, if the result is None
        :returns: None while the delegation of the subnet is being fetched
        """
        tail = tail_of(certificate)
        if tail in self._fine:
            if self._unreadable:
                self._unreadable.pop(canister.raw, None)
            return certificate
        try:
            delegation = delegation_of(certificate)
            if delegation is None:
                return certificate
            shown = self._known.get(delegation) or self._read(delegation)
        except FormatError:
            # nobody can verify it: clients and --verify-batches report it
            return certificate
        if shown.flat:
            self._unreadable.pop(canister.raw, None)
            self._fine[tail] = None
            if len(self._fine) > MAX_CACHED_DELEGATIONS:
                self._fine.popitem(last=False)
            return certificate
        return self._replaced(canister, certificate, delegation, shown, again)

    def offer(self, data: bytes) -> None:
        """Keep the delegation in an answer to a call (v3 has the older form), if none of its subnet is kept.

        :param data: the answer, or any bytes with a certificate in them
        """
        root_key = self._root_key()
        try:
            delegation = delegation_of(data)
            if delegation is None or root_key is None or self.flat.time_of(root_key, delegation.subnet_id) is not None:
                return
            if delegation not in self._known:
                self._read(delegation)
        except FormatError:
            # others judge what it means for the call
            return

    def _read(self, delegation: Delegation) -> DelegationView:
        self.looks += 1
        shown = self._known[delegation] = read_delegation(delegation)
        if len(self._known) > MAX_CACHED_DELEGATIONS:
            self._known.popitem(last=False)
        root_key = self._root_key()
        if shown.flat and root_key is not None:
            kept = self.flat.time_of(root_key, delegation.subnet_id)
            now_ns = self._now_ns()
            stale = kept is None or now_ns - kept > RENEW * 1e9
            if stale and self._may_attempt(b"keep" + delegation.subnet_id):
                try:
                    self.flat.keep(root_key, delegation, now_ns)
                except CertificateInvalid as error:
                    _log.debug("a delegation does not verify", error=error)
                    self._doubt()
        return shown

    def _may_attempt(self, what: bytes) -> bool:
        now = self._clock.seconds()
        last = self._attempted.get(what)
        if last is not None and now - last < ATTEMPT_INTERVAL:
            return False
        self._attempted[what] = now
        self._attempted.move_to_end(what)
        if len(self._attempted) > 2 * _MAX_SUBNETS:
            self._attempted.popitem(last=False)
        return True

    def _replaced(
        self,
        canister: Principal,
        certificate: bytes,
        delegation: Delegation,
        shown: DelegationView,
        again: Callable[[], None],
    ) -> bytes | None:
        root_key = self._root_key()
        if root_key is None:
            return self._as_it_is(canister, certificate, "the root key is not known yet")
        other = self.flat.in_place_of(root_key, delegation, shown, canister.raw, self._now_ns())
        if other is not None:
            self.replaced += 1
            self._unreadable.pop(canister.raw, None)
            return with_delegation(certificate, other)
        waiting = self._waiting.get(delegation.subnet_id)
        if waiting is not None:
            waiting.append(again)
            return None
        if len(self._waiting) >= _MAX_SUBNETS or not self._may_attempt(b"fetch" + delegation.subnet_id):
            return self._as_it_is(canister, certificate, self._failure)
        self._waiting[delegation.subnet_id] = [again]
        self._request(canister, delegation.subnet_id)
        return None

    def _as_it_is(self, canister: Principal, certificate: bytes, why: str) -> bytes:
        self._failure = why or "no delegation of the older form covers it"
        self._unreadable[canister.raw] = self._clock.seconds()
        self._unreadable.move_to_end(canister.raw)
        if len(self._unreadable) > MAX_CANISTERS:
            self._unreadable.popitem(last=False)
        if not self._warned:
            self._warned = True
            _log.warn("clients may be unable to verify certificates", canister=canister.text, reason=self._failure)
        return certificate

    def _request(self, canister: Principal, subnet: bytes) -> None:
        try:
            reading = self._fetch(canister)
        except IcwsError:
            self._failed(Failure(), subnet)
            return
        reading.addCallback(self._got)
        reading.addCallbacks(self._ended, self._failed, callbackArgs=(subnet,), errbackArgs=(subnet,))

    def _got(self, certificate: Certificate) -> None:
        root_key = self._root_key()
        if certificate.delegation is None or root_key is None:
            raise CertificateInvalid("read_state v2 answers without a delegation")
        self.flat.keep(root_key, certificate.delegation, self._now_ns())

    def _ended(self, _: Any, subnet: bytes) -> None:
        self.fetches["ok"] += 1
        self._wake(subnet)

    def _failed(self, reason: Failure, subnet: bytes) -> None:
        self.fetches["failed"] += 1
        self._failure = f"read_state v2 gives no delegation: {reason.value}"
        self._wake(subnet)

    def _wake(self, subnet: bytes) -> None:
        for again in self._waiting.pop(subnet, ()):
            again()
