"""Which endpoint versions this network has, and their URLs.

The newer versions of query, read_state and synchronous call differ from the older ones only in where a delegation keeps
its canister ranges (see :mod:`icwsgw.ic.certificate`). A network without one answers 404. The next older version is
asked then, and remembered once it has answered otherwise: a canister or a proxy that says 404 to everything must not
push us down. The asynchronous call has one version and is never gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from icwsgw.agent.lean import FixedUrl
from icwsgw.agent.url import Url
from icwsgw.ic.principal import Principal

_MAX_CANISTERS = 4096
"""Canisters whose URLs are kept: clients choose canisters, so their number must not grow without end."""


class Route(Enum):
    """What is asked of a canister's subnet, with its versions in the order in which they are tried.

    Clients get the delegation that comes with a query as it is, and most of their agents read only the form of v2.
    """

    QUERY = ("query", (2, 3))
    READ_STATE = ("read_state", (3, 2))
    SYNC_CALL = ("call", (4, 3))
    CALL = ("call", (2,))

    # Enum's own hashes the name in Python, several times a request.
    __hash__ = object.__hash__

    @property
    def versions(self) -> Sequence[int]:
        """The versions there are, in the order in which they are tried."""
        versions: Sequence[int] = self.value[1]
        return versions


class Endpoint:
    """One endpoint of one canister.

    :ivar version: its API version
    :ivar url: for the transport
    :ivar fixed: for treq
    """

    __slots__ = ("fixed", "url", "version")

    def __init__(self, url: Url, version: int) -> None:
        self.url = url
        self.version = version
        self.fixed = FixedUrl.of(url)


class Routes:
    """The endpoints of one network.

    :param base: the network's URL
    """

    __slots__ = ("_base", "_current", "_endpoints", "_level", "status")

    def __init__(self, base: Url) -> None:
        self._base = base
        self._level: dict[Route, int] = dict.fromkeys(Route, 0)
        self._current: dict[Route, int | None] = {route: route.versions[0] for route in Route}
        self._endpoints: dict[tuple[bytes, Route, int], Endpoint] = {}
        self.status = FixedUrl.of(base.join(b"/api/v2/status"))

    def version(self, route: Route) -> int | None:
        """Give the version in use, or None if the network has none that we know."""
        return self._current[route]

    def endpoint(self, route: Route, canister: Principal) -> Endpoint | None:
        """Give the endpoint to ask first, or None if the network has none."""
        return self._at(route, canister, self._level[route])

    def older(self, route: Route, canister: Principal, version: int) -> Endpoint | None:
        """Give the endpoint to ask after ``version`` has answered 404, or None if there is no older one."""
        return self._at(route, canister, route.versions.index(version) + 1)

    def settle(self, route: Route, version: int | None) -> None:
        """Remember that ``version`` is there and the newer ones are not; None: none of them is."""
        self._level[route] = len(route.versions) if version is None else route.versions.index(version)
        self._current[route] = version

    def _at(self, route: Route, canister: Principal, level: int) -> Endpoint | None:
        key = (canister.raw, route, level)
        endpoint = self._endpoints.get(key)
        if endpoint is None and level < len(route.versions):
            version = route.versions[level]
            path = f"/api/v{version}/canister/{canister.text}/{route.value[0]}".encode("ascii")
            endpoint = Endpoint(self._base.join(path), version)
            if len(self._endpoints) >= _MAX_CANISTERS * len(Route):
                self._endpoints.clear()
            self._endpoints[key] = endpoint
        return endpoint
