"""The certificates of all addresses that a gateway listens at: dates for metrics, rows for operators, reloads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from icwsgw.observe.labels import RELOAD_OUTCOMES
from icwsgw.server.certificates import RenewalState, Validity
from icwsgw.server.tls import Tls


class TlsListener(Protocol):
    """What is read of a listening address.

    :ivar address: as the operator has written it
    :ivar tls: makes the TLS side of its connections; None: it has no TLS
    """

    @property
    def address(self) -> str: ...

    @property
    def tls(self) -> Tls | None: ...


class ServedCertificates:
    """The certificates that the clients of some addresses get.

    :param listeners: the addresses; the list may grow later
    :param now: seconds since 1970
    """

    def __init__(self, listeners: Sequence[TlsListener], now: Callable[[], float] = time.time) -> None:
        self._listeners = listeners
        self._now = now

    def sources(self) -> list[Tls]:
        """Return what makes the TLS side of connections, each once."""
        found = (listener.tls for listener in self._listeners if listener.tls is not None)
        return list({id(tls): tls for tls in found}.values())

    def _validities(self) -> list[Validity]:
        return [validity for tls in self.sources() for validity in tls.validities]

    def expiry(self) -> float | None:
        """Return when the first certificate expires, in seconds since 1970; None: there is none."""
        return min((validity.not_after for validity in self._validities()), default=None)

    def renewals(self) -> dict[str, int]:
        """Return the number of certificates by :class:`~icwsgw.server.certificates.RenewalState`."""
        now = self._now()
        counts = Counter(validity.renewal(now) for validity in self._validities())
        return {state.value: counts[state] for state in RenewalState}

    def reloads(self) -> dict[str, int]:
        """Return how often changed files were read, by outcome."""
        return {outcome: sum(tls.reloads[outcome] for tls in self.sources()) for outcome in RELOAD_OUTCOMES}

    def rows(self) -> list[dict[str, Any]]:
        """Return what an operator may know of each certificate, with the addresses that serve it, as JSON values."""
        return [
            {**row, "addresses": [each.address for each in self._listeners if each.tls is tls]}
            for tls in self.sources()
            for row in tls.rows()
        ]

    def reload_if_changed(self) -> None:
        """Use files that are new or have changed."""
        for tls in self.sources():
            tls.reload_if_changed()
