"""Checks whether a canister belongs to the root subnet, if a certificate for it has no delegation.

A certificate that the root key has signed itself verifies for any canister. When agents fetch node keys, they demand
that the canister is in the root subnet's canister ranges, which read_state of ``/subnet`` has (dfinity/agent-rs,
``fetch_subnet_by_canister``; interface spec, "Request: Query call"). The gateway demands the same of everything without
a delegation. Otherwise one node of the root subnet, and a boundary node that sends requests there, could answer for
every canister.

Networks without ranges (old local replicas) are trusted, unless they have mainnet's root key. What is known of a
canister counts as long as its subnet's node keys do (:mod:`icwsgw.agent.subnet_cache`).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from icwsgw.agent.subnet_cache import SubnetCache
from icwsgw.agent.trust import Trust
from icwsgw.errors import CertificateInvalid
from icwsgw.ic import bls
from icwsgw.ic.certificate import Certificate, root_ranges_cover
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock


class RootSubnet:
    """Knows the canisters of the root subnet.

    :param reactor: source of time
    :param trust: for the root key
    :param read_subnet: reads and verifies the certificate for ``/subnet`` at a canister's subnet
    """

    __slots__ = ("_held",)

    def __init__(self, reactor: Clock, trust: Trust, read_subnet: Callable[[Principal], Deferred[Certificate]]) -> None:
        self._held = SubnetCache(reactor, trust, read_subnet, _is_root_subnet)

    def holds(self, canister: Principal) -> bool | None:
        """Whether the root subnet holds a canister; None if that is not known."""
        return self._held.get(canister)

    def look_up(self, canister: Principal) -> Deferred[bool]:
        """Find out whether the root subnet holds a canister. Concurrent look-ups of one subnet share a request.

        :returns: whether it does; fails as reading the state does, or did a moment before
        """
        known = self.holds(canister)
        return self._held.fetch(canister) if known is None else succeed(known)

    def check(self, certificate: Certificate, canister: Principal) -> Deferred[Certificate]:
        """Check a verified certificate: without a delegation it is valid only for canisters of the root subnet.

        :returns: the certificate; fails with CertificateInvalid, or as reading the state does
        """
        if certificate.delegation is not None:
            return succeed(certificate)
        return self.look_up(canister).addCallback(_checked, certificate, canister)


def _is_root_subnet(certificate: Certificate, root_key: bytes, canister: Principal) -> bool:
    """Whether a verified certificate for ``/subnet`` is the root subnet's.

    Its ranges, or those of its delegation, hold the canister: it has not verified otherwise.
    """
    if certificate.delegation is not None:
        return False
    if root_key == bls.MAINNET_ROOT_KEY_DER and root_ranges_cover(certificate, root_key, canister) is None:
        raise CertificateInvalid("the root subnet does not show its canister ranges")
    return True


def _checked(holds: bool, certificate: Certificate, canister: Principal) -> Certificate:
    if not holds:
        raise CertificateInvalid(f"a certificate of the root subnet for {canister}, which is not one of its canisters")
    return certificate
