"""Which versions of the network's endpoints are there, learnt from answers, as a table.

The versions of query, read_state and call differ in where a delegation has its canister ranges (dfinity/ic,
``NNSDelegationReader``): query and read_state v2 and call v3 show ``/subnet/<subnet>/canister_ranges``, which every
agent reads; query and read_state v3 and call v4 show one shard of ``/canister_ranges/<subnet>``, which @dfinity/agent
up to 3.4.3 cannot read. A query's delegation reaches clients in ``data_certificate``, so v2 is asked first. Call v3 is
asked before v4 since its answer has the older form too, for :mod:`icwsgw.agent.delegation_replacer`.

A path that a network does not have answers 404. So does a proxy that is being set up, for a moment and for every path.
Each version of each route is in one of these states:

========  ====================================  =======================================================  ========
state     what is seen                          on condition                                             becomes
========  ====================================  =======================================================  ========
present   404                                                                                            doubted
doubted   404                                   the third or a later one, :data:`SPAN` seconds after     missing
                                                the first or more, and an answer that proves another
                                                version or route came since the first
doubted   404                                   otherwise                                                doubted
doubted   an answer that proves the version                                                              present
missing   404                                                                                            missing
missing   an answer that proves the version                                                              present
========  ====================================  =======================================================  ========

A request asks the versions that are not missing first, in the order of preference, then the missing ones; the next one
is asked when one has answered 404. Once every :data:`LOOK_AGAIN` seconds a request asks a missing version in the place
it would have if it were there. A synchronous call is the exception: where all its versions are missing it is made
asynchronously, and only the looks ask for them.

Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

#: 404s in a row after which a version may count as missing.
MISSES = 3
#: Seconds that these have to cover: a proxy that is restarted is back sooner.
SPAN = 10.0
#: Seconds between two looks at a missing version.
LOOK_AGAIN = 60.0

_PRESENT, _DOUBTED, _MISSING = "present", "doubted", "missing"
#: Statuses that come from something in front of the endpoint, or say that it cannot answer now.
_SAYS_NOTHING = frozenset({404, 405, 408, 410, 421, 425, 429})
#: What a replica answers to read_state of a path that it does not give away; the endpoint is there.
_INVALID_PATH = b"Invalid path requested"


class Route(Enum):
    """What is asked of a canister's subnet, with the versions of it, the preferred one first.

    DELEGATION is read_state once more, for a delegation that every agent reads.
    """

    QUERY = ("query", (2, 3))
    READ_STATE = ("read_state", (3, 2))
    DELEGATION = ("read_state", (2,))
    SYNC_CALL = ("call", (3, 4))
    CALL = ("call", (2,))

    # Enum's own hashes the name in Python, several times a request.
    __hash__ = object.__hash__

    @property
    def label(self) -> str:
        """The name in logs and metrics."""
        return self.name.lower()

    @property
    def versions(self) -> Sequence[int]:
        """The versions there are, the preferred one first."""
        versions: Sequence[int] = self.value[1]
        return versions


class VersionChange(NamedTuple):
    """A version has gone missing, or is back.

    :ivar route: of which route
    :ivar version: which one
    :ivar present: whether it is there now
    :ivar uses: the version that the route is asked by now; None where all are missing
    """

    route: Route
    version: int
    present: bool
    uses: int | None


class _Entry:
    __slots__ = ("looked", "misses", "since", "state")

    def __init__(self) -> None:
        self.state = _PRESENT
        self.misses = 0
        # when the first of the 404s in a row came, and when a missing version was asked last
        self.since = self.looked = 0.0


class Versions:
    """The table of one network.

    :ivar complete: all versions are present: nothing that answers could say changes anything
    :ivar orders: by route, what :meth:`order` gives where it is settled
    """

    __slots__ = ("_changes", "_entries", "_proved", "complete", "orders")

    def __init__(self) -> None:
        self._entries = {route: {version: _Entry() for version in route.versions} for route in Route}
        self.orders: dict[Route, tuple[int, ...]] = {route: tuple(route.versions) for route in Route}
        self._proved: dict[tuple[Route, int], float] = {}
        self._changes = dict.fromkeys(Route, 0)
        self.complete = True

    def state(self, route: Route, version: int) -> str:
        """Give the state of a version: present, doubted or missing."""
        return self._entries[route][version].state

    def uses(self, route: Route) -> int | None:
        """Give the version that is asked first, or None if all are missing."""
        first = self.orders[route][0]
        return None if self._entries[route][first].state is _MISSING else first

    @property
    def changes(self) -> dict[Route, int]:
        """How often a version of each route has gone missing or come back."""
        return dict(self._changes)

    def order(self, route: Route, now: float) -> tuple[int, ...]:
        """Give the versions that a request asks one after the other, as long as they answer 404.

        :returns: none for a synchronous call to a network that has none; the caller has another way
        """
        if self.complete:
            return self.orders[route]
        entries = self._entries[route]
        due = [v for v in route.versions if entries[v].state is _MISSING and now - entries[v].looked >= LOOK_AGAIN]
        for version in due:
            entries[version].looked = now
        if due:
            return tuple(sorted(route.versions, key=lambda v: entries[v].state is _MISSING and v not in due))
        if route is Route.SYNC_CALL and self.uses(route) is None:
            return ()
        return self.orders[route]

    def answered(self, route: Route, version: int, status: int, body: bytes, now: float) -> VersionChange | None:
        """Take note of the answer that a version has given.

        :param status: HTTP status
        :param body: of the answer; needed for a 404 only
        :returns: what has changed by it
        """
        if status == 404 and not (route.value[0] == "read_state" and _INVALID_PATH in body):
            return self._not_found(route, version, now)
        if self.complete or status >= 500 or 300 <= status < 400 or (status in _SAYS_NOTHING and status != 404):
            return None
        self._proved[route, version] = now
        entry = self._entries[route][version]
        was, entry.state, entry.misses = entry.state, _PRESENT, 0
        if was is _MISSING:
            return self._changed(route, version, True)
        self._settle()
        return None

    def _not_found(self, route: Route, version: int, now: float) -> VersionChange | None:
        entry = self._entries[route][version]
        if entry.state is _MISSING:
            return None
        if entry.state is _PRESENT:
            entry.state, entry.misses, entry.since = _DOUBTED, 0, now
        self.complete = False
        entry.misses += 1
        if entry.misses < MISSES or now - entry.since < SPAN:
            return None
        if not any(at >= entry.since for other, at in self._proved.items() if other != (route, version)):
            # nothing else answers either: it is not this version that is missing
            return None
        entry.state, entry.looked = _MISSING, now
        return self._changed(route, version, False)

    def _changed(self, route: Route, version: int, present: bool) -> VersionChange:
        entries = self._entries[route]
        self.orders[route] = tuple(sorted(route.versions, key=lambda each: entries[each].state is _MISSING))
        self._changes[route] += 1
        self._settle()
        return VersionChange(route, version, present, self.uses(route))

    def _settle(self) -> None:
        self.complete = all(
            entry.state is _PRESENT for versions in self._entries.values() for entry in versions.values()
        )
        if self.complete:
            self._proved.clear()
