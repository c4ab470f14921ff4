"""Checks whether the network answers, and whether this machine's clock agrees with the network's.

Answers to polls and calls show both. An idle gateway requests the network's status now and then. The result is a
finding for /health/ready, and a log line when it changes. Nothing is stopped or closed because of it.

The network accepts a request that expires within five and a half minutes (interface spec, "Authentication";
:mod:`icwsgw.core.network_time`), and clients sign theirs by their own clocks. The gateway uses the network's time to
sign, to check an expiry, and to check the age of a certificate or a node signature. For TLS it uses its own clock. So a
clock that is wrong by more than :data:`MAX_SKEW` seconds has to be set. The time of a test network on this machine may
differ without a clock that is wrong: PocketIC's is what its owner sets. That is a concern, and the gateway stays ready.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.agent.network_time_observer import NOTE_INTERVAL
from icwsgw.core.network_time import NetworkTime
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer

#: Seconds between two checks.
PERIOD = 5.0
#: Seconds without an answer after which the monitor requests the network's status.
QUIET = NOTE_INTERVAL + PERIOD
#: Seconds without an answer after which the network counts as unreachable.
MAX_SILENCE = 30.0
#: Seconds by which this machine's clock may be wrong.
MAX_SKEW = 30.0

STATUS_TIMEOUT = 5.0

_log = get_logger("agent")


class Agent(Protocol):
    """What the monitor needs of :class:`icwsgw.agent.ic_agent.IcAgent`."""

    @property
    def last_answer(self) -> float | None:
        """When the last answer came, seconds of the reactor's clock."""

    @property
    def time(self) -> NetworkTime:
        """The network's time."""

    @property
    def ready(self) -> bool:
        """Whether the root key is known."""

    @property
    def root_key_contradicted(self) -> bool:
        """Whether the network states another root key than the one that was given."""

    @property
    def last_failure(self) -> str | None:
        """Why it is not known."""

    def status(self, *, timeout: float = ...) -> Deferred[dict[str, Any]]:
        """Request the network's status.

        :param timeout: seconds
        :returns: the fields of the status; fails with HttpError, TransportError or AnswerMalformed
        """


class NetworkMonitor:
    """Checks whether the network answers.

    :param url: of the network, for messages
    :param own_time: the network runs on this machine, and its time may be set
    :param elsewhere: looks for other networks, and names them in a sentence; None: do not look
    """

    def __init__(
        self,
        clock: Clock,
        agent: Agent,
        url: str,
        elsewhere: Callable[[], Deferred[str]] | None = None,
        own_time: bool = False,
    ) -> None:
        self.own_time = own_time
        self._elsewhere = elsewhere
        self._others = ""
        self._looking: Deferred[Any] | None = None
        self._next_look = clock.seconds()
        self._clock = clock
        self._agent = agent
        self._url = url
        self._failure: str | None = None
        self._requesting: Deferred[Any] | None = None
        self._timer: Timer | None = None
        self._reported: dict[str, str | None] = {}

    def start(self) -> None:
        """Start to check."""
        if self._timer is None:
            self._look()

    def stop(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        request, self._requesting = self._requesting, None
        looking, self._looking = self._looking, None
        for each in (request, looking):
            if each is not None:
                each.cancel()

    def network(self) -> str | None:
        """Why the network cannot be used; None if it can."""
        agent = self._agent
        why = self._failure or agent.last_failure
        because = (f": {why}" if why else "") + (f"; {self._others}" if self._others else "")
        if agent.last_answer is None:
            return f"{self._url} has not been reached{because}"
        silent = self._clock.seconds() - agent.last_answer
        if silent > MAX_SILENCE:
            return f"{self._url} has not answered for {silent:.0f} s{because}"
        if not agent.ready:
            return f"the root key of {self._url} is not known{because}"
        if agent.root_key_contradicted:
            return f"{self._url} has another root key than the gateway, see --root-key: its answers do not verify"
        return None

    def clock(self) -> str | None:
        """Why this machine's clock is wrong; None if it is right. Date headers alone do not decide it."""
        skew = self._agent.time.skew_ns / 1e9
        if abs(skew) <= MAX_SKEW or self.own_time:
            return None
        return f"this machine's clock is {_apart(skew)} the network's, more than {MAX_SKEW:.0f} s: set it"

    def concern(self) -> str | None:
        """That the network on this machine has another time than this machine; None if not."""
        skew = self._agent.time.skew_ns / 1e9
        if abs(skew) <= MAX_SKEW or not self.own_time:
            return None
        return (
            f"the network's time is {_apart(-skew)} this machine's (the time of a test network can be set): clients "
            "have to sign by the network's"
        )

    def _dispute(self) -> str | None:
        """That Date headers contradict this machine's clock and nothing has decided which is right; None if not."""
        time = self._agent.time
        if not time.disputed or time.unconfirmed or time.rival_ns is None:
            return None
        apart = _apart((time.rival_ns - time.skew_ns) / 1e9)
        return f"this machine's clock is {apart} the Date headers of the network's answers, one of them is wrong"

    def _look(self) -> None:
        self._timer = self._clock.callLater(PERIOD, self._look)
        last = self._agent.last_answer
        quiet = last is None or self._clock.seconds() - last >= QUIET
        # without a root key the agent itself requests the status, which has the key
        if quiet and self._agent.ready and self._requesting is None:
            request = self._requesting = self._agent.status(timeout=STATUS_TIMEOUT)
            request.addCallbacks(self._answered, self._failed)
        if self.network() is None:
            self._others = ""
        elif self._elsewhere is not None and (last is not None or self._failure or self._agent.last_failure):
            self._look_elsewhere(self._elsewhere)
        if last is not None or self._failure or self._agent.last_failure:
            # at the start the first answer is still to come
            self._report("network", self.network(), "the network answers again")
        self._report("clock", self.clock(), "this machine's clock is right again")
        self._report("time", self.concern(), "the network's time is this machine's again")
        self._report("dates", self._dispute(), "this machine's clock and the network's Date headers are reconciled")

    def _look_elsewhere(self, elsewhere: Callable[[], Deferred[str]]) -> None:
        now = self._clock.seconds()
        if self._looking is None and now >= self._next_look:
            self._next_look = now + MAX_SILENCE
            looking = self._looking = elsewhere()
            looking.addCallbacks(self._looked, lambda _: None)

    def _looked(self, others: str) -> None:
        self._looking = None
        if others and others != self._others:
            _log.info("the network does not answer", url=self._url, others=others)
        self._others = others

    def _answered(self, _: object) -> None:
        self._requesting = None
        self._failure = None

    def _failed(self, reason: Failure) -> None:
        # None: it was cancelled by stop()
        if self._requesting is not None:
            self._requesting = None
            self._failure = str(reason.value) or type(reason.value).__name__

    def _report(self, what: str, reason: str | None, well: str) -> None:
        """Log a state that has changed. The text of a reason may change without a log line."""
        before = self._reported.get(what)
        self._reported[what] = reason
        if reason is not None and before is None:
            _log.warn(reason)
        elif reason is None and before is not None:
            _log.info(well)


def _apart(skew: float) -> str:
    return f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'}"
