"""Learns from answers which API versions the network has, as a table of states.

The versions of query, read_state and call differ in where a delegation has its canister ranges (dfinity/ic,
``NNSDelegationReader``): query and read_state v2 and call v3 have ``/subnet/<subnet>/canister_ranges``, which every
agent accepts; query and read_state v3 and call v4 have one shard of ``/canister_ranges/<subnet>``, which @dfinity/agent
up to 3.4.3 cannot read. The delegation of a query reaches clients in ``data_certificate``, so v2 is preferred. Call v3
is preferred to v4 because its answer has the older form too, for :mod:`icwsgw.agent.delegation_replacer`.

A network answers 404 for a path that it does not have. A proxy that is being set up does so too, for a moment and for
every path. Each version of each route is in one of these states:

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

A request tries the versions that are not missing in the order of preference, then the missing ones; it tries the next
one after a 404. Once each :data:`LOOK_AGAIN` seconds a request tries a missing version as if it were present. A
synchronous call is the exception: if all its versions are missing, the call is made asynchronously, and only these
trials use them.

Times are seconds of the reactor's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

#: The number of 404s in a row after which a version may count as missing.
MISSES = 3
#: Seconds from the first of them to the last: a proxy that is restarted is back sooner.
SPAN = 10.0
#: Seconds between two trials of a missing version.
LOOK_AGAIN = 60.0

_PRESENT, _DOUBTED, _MISSING = "present", "doubted", "missing"
#: Statuses that a proxy in front of the endpoint may have sent, or that mean that it cannot answer now.
_SAYS_NOTHING = frozenset({404, 405, 408, 410, 421, 425, 429})
#: The text with which a replica refuses to read a path: the endpoint exists.
_INVALID_PATH = b"Invalid path requested"


class Route(Enum):
    """The kinds of requests to a canister's subnet, with their API versions, the preferred version first.

    DELEGATION is another read_state, for a delegation that every agent accepts.
    """

    QUERY = ("query", (2, 3))
    READ_STATE = ("read_state", (3, 2))
    DELEGATION = ("read_state", (2,))
    SYNC_CALL = ("call", (3, 4))
    CALL = ("call", (2,))

    # Enum's own hash is a Python function, which would be called several times for each request
    __hash__ = object.__hash__

    @property
    def label(self) -> str:
        """The name in logs and metrics."""
        return self.name.lower()

    @property
    def versions(self) -> Sequence[int]:
        """The versions, the preferred one first."""
        versions: Sequence[int] = self.value[1]
        return versions


class VersionChange(NamedTuple):
    """A version is missing, or is back.

    :ivar route: the kind of requests
    :ivar version: the version
    :ivar present: whether it is there now
    :ivar uses: the version that the route uses now; None if all are missing
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
        # when the first of the 404s in a row came, and when a missing version was tried last
        self.since = self.looked = 0.0


class Versions:
    """The table of one network.

    :ivar complete: all versions are present, so that only a 404 changes anything
    :ivar orders: by route, what :meth:`order` returns while nothing changes
    """

    __slots__ = ("_changes", "_entries", "_proved", "complete", "orders")

    def __init__(self) -> None:
        self._entries = {route: {version: _Entry() for version in route.versions} for route in Route}
        self.orders: dict[Route, tuple[int, ...]] = {route: tuple(route.versions) for route in Route}
        self._proved: dict[tuple[Route, int], float] = {}
        self._changes = dict.fromkeys(Route, 0)
        self.complete = True

    def state(self, route: Route, version: int) -> str:
        """The state of a version: present, doubted or missing."""
        return self._entries[route][version].state

    def uses(self, route: Route) -> int | None:
        """The version that is tried first; None if all are missing."""
        first = self.orders[route][0]
        return None if self._entries[route][first].state is _MISSING else first

    @property
    def changes(self) -> dict[Route, int]:
        """How often a version of each route has disappeared or come back."""
        return dict(self._changes)

    def order(self, route: Route, now: float) -> tuple[int, ...]:
        """The versions for a request, to be tried one after the other while they answer 404.

        :returns: none for a synchronous call to a network that has none; the caller then calls asynchronously
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
        """Conclude from an answer whether the network has a version of an API.

        :param status: HTTP status
        :param body: of the answer; needed for a 404 only
        :returns: what has changed; None if nothing
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
        self._note_completeness()
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
            # nothing else answers either, so this version need not be missing
            return None
        entry.state, entry.looked = _MISSING, now
        return self._changed(route, version, False)

    def _changed(self, route: Route, version: int, present: bool) -> VersionChange:
        entries = self._entries[route]
        self.orders[route] = tuple(sorted(route.versions, key=lambda each: entries[each].state is _MISSING))
        self._changes[route] += 1
        self._note_completeness()
        return VersionChange(route, version, present, self.uses(route))

    def _note_completeness(self) -> None:
        self.complete = all(
            entry.state is _PRESENT for versions in self._entries.values() for entry in versions.values()
        )
        if self.complete:
            self._proved.clear()
