"""Checks the rates of requests that the gateway sends for itself: status, keys, delegations, missing API versions.

These requests serve no particular client, so clients do not notice if there are too many of them, but boundary nodes
do. Each kind has a maximum rate that no fault may increase, taken from the documentation: after a few failures, at most
one status request every few seconds, one read of the state per canister as often, and one try of a missing version
per minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icwsgw.agent.versions import LOOK_AGAIN, MISSES, SPAN
from icwsgw.devnet.faults import Dropped
from icwsgw.ic import cbor
from tests.simulation.meter import Meter

if TYPE_CHECKING:
    from tests.simulation.world import SimWorld

#: Requests a second, and the burst: of one kind, for one canister or subnet.
STATUS, READ_STATE, TIME = (0.6, 14.0), (0.6, 14.0), (1.1, 10.0)
#: The version of an endpoint that is tried first (decision 0029); seconds within which the next one is tried after the
#: first has answered 404.
PREFERRED = {"query": "2", "call": "3"}
ANSWERED = 5.0
_PATH = re.compile(r"/api/v(\d+)/(?:canister|subnet)/([^/]+)/(\w+)$")


class BackgroundRequests:
    """The background requests of one process."""

    def __init__(self, world: SimWorld, number: int) -> None:
        self._world = world
        self._of = f"process {number}"
        self._meters: dict[tuple[str, ...], Meter] = {}
        # by version and endpoint: when its 404s began, how many there were, and the last other answer elsewhere
        self._missing: dict[tuple[str, str], _Missing] = {}
        #: by endpoint: when an older version was tried because the newest is missing
        self._gone: dict[str, float] = {}
        #: by version and endpoint: its last 404
        self._unfound: dict[tuple[str, str], float] = {}

    def requested(self, method: str, path: str, body: bytes) -> Callable[[Any], None]:
        """Count a request. Returns a function to call with its answer, (status, headers, body), or with its failure."""
        found = _PATH.search(path)
        if found is None:
            if path.endswith("/status"):
                self._count(("status",), STATUS)
            return lambda _: None
        version, whom, what = found.groups()
        self._preferred_first(version, what)
        if what == "read_state":
            labels = [label for each in cbor.loads(body)["content"]["paths"] for label in each[:1]]
            # while keys cannot be verified because of the time, they are requested again with each answer
            doubtful = b"subnet" in labels and self._world.plan.clocks
            if b"request_status" not in labels and not doubtful:
                self._count(
                    ("read_state", version, whom, *(repr(label) for label in labels)),
                    TIME if b"time" in labels else READ_STATE,
                )
        return lambda answer: self._answered((version, what), answer)

    def _preferred_first(self, version: str, what: str) -> None:
        """Check that an older version is used only if the preferred one answers 404, just now or for long enough."""
        preferred = PREFERRED.get(what, version)
        if version == preferred or self._world.plan.relay_order != "executed":
            return
        now, missing = self._world.clock.seconds(), self._missing.get((preferred, what))
        if now - self._unfound.get((preferred, what), float("-inf")) < ANSWERED:
            return
        gone = self._gone.get(what)
        if missing is not None and missing.count >= MISSES and missing.last - missing.since >= SPAN - 0.1:
            self._gone[what] = now
        elif gone is None or now - gone > 2 * LOOK_AGAIN:
            self._world.oracle.fail(f"{self._of} asks for {what} v{version}, nothing says that v{preferred} is gone")

    def _count(self, kind: tuple[str, ...], bound: tuple[float, float]) -> None:
        meter = self._meters.get(kind)
        if meter is None:
            meter = self._meters[kind] = Meter(*bound)
        if not meter.count(self._world.clock.seconds()):
            self._world.oracle.fail(f"{self._of} asks too often: {' '.join(kind)}")

    def _answered(self, version: tuple[str, str], answer: Any) -> None:
        error = getattr(answer, "value", None)
        if isinstance(answer, tuple):
            status = answer[0]
        elif isinstance(error, Dropped) and error.status is not None:
            status = error.status
        else:
            return
        now = self._world.clock.seconds()
        missing = self._missing.get(version)
        if status == 404:
            self._unfound[version] = now
        if status != 404:
            self._missing.pop(version, None)
            for other in self._missing.values():
                other.proved = True
        elif missing is None:
            self._missing[version] = _Missing(now)
        else:
            missing.count += 1
            missing.last = now
            known = missing.proved and missing.count > MISSES and now - missing.since > SPAN + 1.0
            if known and not missing.meter.count(now):
                self._world.oracle.fail(f"{self._of} asks too often for v{' '.join(version)}, which is missing")


class _Missing:
    """A version that answers 404."""

    def __init__(self, since: float) -> None:
        self.since = self.last = since
        self.count = 1
        self.proved = False
        # requests that were in flight when it was found out are counted in addition
        self.meter = Meter(1 / LOOK_AGAIN, 40.0)
