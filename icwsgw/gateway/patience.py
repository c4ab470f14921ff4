"""How long a poller waits for good answers: of the canister, and of the network before it (decision 0038)."""

from __future__ import annotations

from icwsgw.core.outages import Side, side_of
from icwsgw.core.pacing import Pacing
from icwsgw.errors import HttpError, IcwsError
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")


class Patience:
    """The two graces of one poller.

    :param pacing: knows who has been silent for how long
    """

    __slots__ = ("_context", "_pacing")

    def __init__(self, context: Context, pacing: Pacing) -> None:
        self._context = context
        self._pacing = pacing

    def failed(self, error: BaseException | None, now: float, canister: Principal) -> None:
        """A poll failed: count it, say it once, and reckon whose silence it is."""
        context, pacing = self._context, self._pacing
        cause = error.cause if isinstance(error, IcwsError) else "internal"
        context.metrics.queries.inc(cause)
        overloaded = isinstance(error, HttpError) and error.status in (429, 503)
        retry_after = error.retry_after if isinstance(error, HttpError) else None
        pacing.failed(now, overloaded=overloaded, retry_after=retry_after, error=str(error), side=side_of(error))
        if retry_after or (isinstance(error, HttpError) and error.status == 429):
            context.host_pause.told(canister.raw, now, pacing.held_until)
        first = pacing.failures == 1 and context.repeats.allows("poll failed", canister.text, now)
        report = _log.warn if first else _log.debug
        report("poll failed", error=error, cause=cause, canister=canister.text, failures=pacing.failures)

    def ended(self, now: float, interval: float) -> Side | None:
        """Who has been silent for too long, or None."""
        if not self._pacing.failures:
            return None
        return next((side for side in Side if self._pacing.silence(side, now) > self.grace(side, interval)), None)

    def grace(self, side: Side, interval: float) -> float:
        """Seconds that a side may give no good answer: a few beats at least, however far apart they are.

        :param interval: seconds between two beats
        """
        config = self._context.config
        grace = config.canister_grace if side is Side.CANISTER else config.network_grace
        return max(grace, 3 * interval)

    def report(self, side: Side, interval: float, canister: str, clients: int) -> str:
        """Log that the clients are given up, and say why in words for them."""
        grace = self.grace(side, interval)
        if side is Side.CANISTER:
            _log.error("canister does not answer", canister=canister, clients=clients)
            return f"the canister gave no valid answer for {grace:.0f} s"
        _log.error("the network does not reach the canister", canister=canister, clients=clients)
        return f"the network has not reached the canister for {grace:.0f} s"
