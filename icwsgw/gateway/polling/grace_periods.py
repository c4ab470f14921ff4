"""How long a poller tolerates failures of the canister, and of the network before it (decision 0038)."""

from __future__ import annotations

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.failure_source import FailureSource, side_of
from icwsgw.errors import HttpError, IcwsError
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")


class GracePeriods:
    """The two grace periods of one poller.

    :param backoff: records since when each side has failed
    """

    __slots__ = ("_backoff", "_context")

    def __init__(self, context: Context, backoff: PollBackoff) -> None:
        self._context = context
        self._backoff = backoff

    def failed(self, error: BaseException | None, now: float, canister: Principal) -> None:
        """Record and count a failed poll, and log the first one."""
        context, backoff = self._context, self._backoff
        cause = error.cause if isinstance(error, IcwsError) else "internal"
        context.metrics.queries.inc(cause)
        overloaded = isinstance(error, HttpError) and error.status in (429, 503)
        retry_after = error.retry_after if isinstance(error, HttpError) else None
        backoff.failed(now, overloaded=overloaded, retry_after=retry_after, error=str(error), side=side_of(error))
        if retry_after or (isinstance(error, HttpError) and error.status == 429):
            context.host_backoff.retry_after_received(canister.raw, now, backoff.held_until)
        first = backoff.failures == 1 and context.log_limiter.allows("poll failed", canister.text, now)
        report = _log.warn if first else _log.debug
        report("poll failed", error=error, cause=cause, canister=canister.text, failures=backoff.failures)

    def ended(self, now: float, interval: float) -> FailureSource | None:
        """Whose grace period is over, or None."""
        if not self._backoff.failures:
            return None
        return next(
            (side for side in FailureSource if self._backoff.silence(side, now) > self.grace(side, interval)), None
        )

    def grace(self, side: FailureSource, interval: float) -> float:
        """The grace period of a side in seconds: at least three intervals between polls.

        :param interval: seconds between two polls
        """
        config = self._context.config
        grace = config.canister_grace if side is FailureSource.CANISTER else config.network_grace
        return max(grace, 3 * interval)

    def report(self, side: FailureSource, interval: float, canister: str, clients: int) -> str:
        """Log that the clients are closed, and give the reason for them."""
        grace = self.grace(side, interval)
        if side is FailureSource.CANISTER:
            _log.error("canister does not answer", canister=canister, clients=clients)
            return f"the canister gave no valid answer for {grace:.0f} s"
        _log.error("the network does not reach the canister", canister=canister, clients=clients)
        return f"the network has not reached the canister for {grace:.0f} s"
