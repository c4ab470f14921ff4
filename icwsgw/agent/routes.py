"""The URLs of a network's endpoints, and which of them a request uses."""

from __future__ import annotations

from icwsgw.agent.http.treq_client import FixedUrl
from icwsgw.agent.http.url import Url
from icwsgw.agent.versions import Route, VersionChange, Versions
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

__all__ = ["MAX_CANISTERS", "Endpoint", "Route", "Routes", "VersionChange", "report_change"]

_log = get_logger("agent")

#: Canisters of which the agent remembers something, in each of its tables: more than a gateway serves. It is bounded,
#: because clients choose canisters.
MAX_CANISTERS = 4096


class Endpoint:
    """One endpoint for one canister.

    :ivar canister: whose subnet it goes to
    :ivar route: the kind of request
    :ivar version: the API version
    :ivar url: for the transport
    :ivar fixed: for treq
    """

    __slots__ = ("canister", "fixed", "route", "url", "version")

    def __init__(self, canister: Principal, url: Url, route: Route, version: int) -> None:
        self.canister = canister
        self.url = url
        self.route = route
        self.version = version
        self.fixed = FixedUrl.of(url)


class Routes:
    """The endpoints of one network.

    :param base: the network's URL
    :ivar versions: the API versions that the network is known to have
    :ivar status: the endpoint for the network's status
    """

    __slots__ = ("_base", "_endpoints", "status", "versions")

    def __init__(self, base: Url) -> None:
        self._base = base
        self._endpoints: dict[tuple[bytes, Route, tuple[int, ...]], tuple[Endpoint, ...]] = {}
        self.versions = Versions()
        self.status = FixedUrl.of(base.join(b"/api/v2/status"))

    def endpoints(self, route: Route, canister: Principal, now: float) -> tuple[Endpoint, ...]:
        """The endpoints for a request, to be tried one after the other while they answer 404.

        :param now: seconds of the reactor's clock
        :returns: none for a synchronous call to a network that has none
        """
        versions = self.versions
        order = versions.orders[route] if versions.complete else versions.order(route, now)
        key = (canister.raw, route, order)
        found = self._endpoints.get(key)
        if found is None:
            if len(self._endpoints) >= MAX_CANISTERS * len(Route):
                self._endpoints.clear()
            found = self._endpoints[key] = tuple(self._make(route, canister, version) for version in order)
        return found

    def _make(self, route: Route, canister: Principal, version: int) -> Endpoint:
        path = f"/api/v{version}/canister/{canister.text}/{route.value[0]}".encode("ascii")
        return Endpoint(canister, self._base.join(path), route, version)


def report_change(change: VersionChange) -> None:
    """Log that a version of the API is missing or back, and what that means."""
    route, uses = change.route.label, change.uses
    if change.present:
        _log.info("API version available again", route=route, version=change.version, uses=uses)
    elif uses is not None:
        _log.warn("API version unavailable, using the next", route=route, version=change.version, uses=uses)
    elif change.route is Route.SYNC_CALL:
        _log.error(
            "the network has no synchronous calls: the outcome of calls is unknown, and messages leave when the "
            "previous one was accepted, whatever --relay-order says"
        )
    else:
        _log.warn("API version unavailable", route=route, version=change.version)
