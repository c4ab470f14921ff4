"""The root key, from which follows what else the agent trusts.

Mainnet's root key is built in. A test network's key is fetched from it. Until it answers the agent is not ready, which
is a state and no error: :class:`Trust` retries with back-off for as long as it takes. A test network that was created
anew has another key. When something does not verify there, the agent fetches the key again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from icwsgw.errors import AnswerMalformed, NotReady
from icwsgw.ic.certificate import DelegationCache
from icwsgw.reactor.clock import Clock, Timer

DOUBT_INTERVAL = 5.0
"""Seconds between looks at the root key of a test network whose answers do not verify."""

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.2, 5.0, 1.6
"""Seconds between attempts to fetch the root key."""

ROOT_KEY_SIZE = 133


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
