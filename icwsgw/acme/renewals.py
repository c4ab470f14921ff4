"""Keeps a certificate for each name: asks for it, renews it, tries again after failures.

:mod:`icwsgw.core.renewal_schedule` says whose turn is when; this service performs it, one name after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from icwsgw.acme.acme_client import AccountRequest, AcmeClient, AcmeFailed, Fetch
from icwsgw.acme.issuance import Issuance, Issued
from icwsgw.acme.storage import AcmeStorage
from icwsgw.core.renewal_schedule import Dates, FailureKind, NameState, next_name
from icwsgw.observe.certificate_metrics import CertificateMetrics
from icwsgw.observe.logs import get_logger

#: Seconds between two looks at the longest: the clock may be set, files may be removed.
LOOK_SECONDS = 60.0

_log = get_logger("acme")


class Renewals(Service):
    """The certificates of this gateway's names.

    :param names: host names
    :param storage: where they are kept
    :param fetch: sends requests
    :param challenge: ``http-01`` or ``tls-alpn-01``
    :param metrics: count orders and names without a certificate
    :param wanted: what the operator says of the account
    :param obtained: called when there is a new certificate
    :param close: ends the connections of ``fetch``
    :param now: seconds since 1970
    """

    def __init__(
        self,
        names: Sequence[str],
        storage: AcmeStorage,
        fetch: Fetch,
        directory_url: str,
        challenge: str,
        reactor: Any,
        metrics: CertificateMetrics,
        *,
        wanted: AccountRequest,
        obtained: Callable[[], object] = lambda: None,
        close: Callable[[], object] = lambda: None,
        now: Callable[[], float],
    ) -> None:
        self._names = tuple(names)
        self._storage = storage
        self._fetch, self._directory_url = fetch, directory_url
        self._challenge = challenge
        self._reactor = reactor
        self._outcomes = metrics.acme_orders
        metrics.acme_missing.set_function(lambda: len(self._missing()))
        self._wanted = wanted
        self._obtained = obtained
        self._close = close
        self._now = now
        #: None: not read yet. Later what is in memory counts, also while nothing can be written.
        self._stored: dict[str, NameState] | None = None
        self._issuance: Issuance | None = None
        #: Certificates that were issued and could not be written. Authorities limit how many a name gets.
        self._unwritten: dict[str, Issued] = {}
        self._running: Deferred[None] | None = None
        self._certificates = self._held()

    def startService(self) -> None:  # noqa: N802
        """Begin to ask."""
        super().startService()  # type: ignore[no-untyped-call]
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    def stopService(self) -> Any:  # noqa: N802
        """Give up what is under way; another process may ask. Fires when the connections have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        self._stored = None
        self._storage.release()
        return self._close()

    def concern(self) -> str | None:
        """Say which names have no valid certificate, and why; for people."""
        missing = self._missing()
        if not missing:
            return None
        states = self._states
        reasons = [f"{name}: {states[name].reason}" for name in missing if name in states and states[name].reason]
        return f"no valid TLS certificate for {', '.join(missing)}" + (f" ({'; '.join(reasons)})" if reasons else "")

    def _missing(self) -> list[str]:
        now = self._now()
        return [name for name, dates in self._certificates.items() if dates is None or dates.not_after < now]

    @property
    def _states(self) -> dict[str, NameState]:
        if self._stored is None:
            self._stored = {name: state for name, state in self._storage.states().items() if name in self._names}
        return self._stored

    def _held(self) -> dict[str, Dates | None]:
        return {name: self._storage.dates(name) for name in self._names}

    async def _run(self) -> None:
        while True:
            await self._pause(await self._look())

    async def _look(self) -> float:
        """Ask for the certificate of one name if it is time; return the seconds until the next look."""
        self._certificates = self._held()
        fault: OSError | None = None
        try:
            if not self._storage.hold():
                return LOOK_SECONDS  # another process of this gateway asks
        except OSError as error:
            fault = error
        found = next_name(self._certificates, self._states, self._now())
        if found is None:
            return LOOK_SECONDS
        name, at = found
        if at > self._now():
            return min(at - self._now(), LOOK_SECONDS)
        if fault is None:
            await self._obtain(name)
        else:
            self._failed(name, _of_files(fault), keep=False)
        return 0.0

    async def _obtain(self, name: str) -> None:
        _log.info("asking for a TLS certificate", name=name, directory=self._directory_url)
        try:
            issued = await self._issued(name)
        except AcmeFailed as failure:
            self._failed(name, failure)
        except (OSError, ValueError) as error:
            self._failed(name, _of_files(error))
        except CancelledError:
            raise
        except Exception:
            # a bug of ours: the others' certificates, and later attempts, are not lost by it
            _log.failure("asking for a TLS certificate failed", name=name)
            self._failed(name, AcmeFailed(FailureKind.REFUSED, "an error of the gateway, see the log"))
        else:
            now = self._now()
            self._certificates[name] = issued.dates
            self._states[name] = NameState.renewed(issued.dates, now)
            self._outcomes.inc("ok")
            _log.info("TLS certificate obtained", name=name, days_left=int((issued.dates.not_after - now) // 86400))
            self._keep_states()
            self._obtained()

    async def _issued(self, name: str) -> Issued:
        """Obtain a certificate and write it; where only writing failed before, write that one.

        :raises AcmeFailed: the authority issues none
        :raises OSError: a file cannot be read or written
        :raises ValueError: the account's key is invalid
        """
        issued = self._unwritten.get(name)
        if issued is None or issued.dates.not_after <= self._now():
            self._storage.try_certificate(name)
            if issued is not None:
                self._storage.drop_order(name)
            issued = self._unwritten[name] = await self._the_issuance().obtain(name)
        self._storage.keep_certificate(name, issued.chain, issued.key)
        del self._unwritten[name]
        self._storage.drop_order(name)
        return issued

    def _the_issuance(self) -> Issuance:
        if self._issuance is None:
            key = self._storage.account_key()
            client = AcmeClient(self._fetch, self._directory_url, key, self._wanted, self._now)
            self._issuance = Issuance(client, self._storage, self._challenge, self._pause, self._now)
        return self._issuance

    def _failed(self, name: str, failure: AcmeFailed, keep: bool = True) -> None:
        """Count and log a failed attempt.

        :param keep: write the state, which belongs to the process that holds the lock
        """
        # the next attempt begins with the directory, as a start does
        self._issuance = None
        self._outcomes.inc("failed")
        now = self._now()
        state = self._states.get(name, NameState()).after(failure.kind, str(failure), now, failure.retry_after)
        self._states[name] = state
        dates = self._certificates.get(name)
        _log.error(
            "no TLS certificate obtained",
            name=name,
            reason=failure,
            in_use="none" if dates is None else "the previous one",
            next_attempt_s=round(state.not_before - now),
        )
        if keep:
            self._keep_states()

    def _keep_states(self) -> None:
        try:
            self._storage.keep_states(self._states)
        except OSError as error:
            _log.error("cannot write the state of ACME", reason=error)

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds, lambda: None)

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("renewing TLS certificates ended", failure)


def _of_files(error: OSError | ValueError) -> AcmeFailed:
    return AcmeFailed(FailureKind.REFUSED, f"the files of ACME: {error}")
