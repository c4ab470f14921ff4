"""Gauges that are computed when metrics are scraped, so that no message or connection has to count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.core.request_kind import WAITING, RequestKind
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.registry import Registry
from icwsgw.ic.principal import Principal
from icwsgw.observe.labels import POLLER_STATES

if TYPE_CHECKING:
    from icwsgw.observe.meters import Figure


#: Failed polls in a row from which a poller counts as failing.
FAILING = 3


class WatchedGateway(Protocol):
    """Whose figures these are: :class:`icwsgw.gateway.gateway.Gateway`."""

    context: Context
    registry: Registry
    close_notices: CloseNotices
    identity_assignment: IdentityAssignment
    draining: bool


def watch(gateway: WatchedGateway) -> None:
    """Register the gauges of a gateway."""
    metrics, registry, loads = gateway.context.metrics, gateway.registry, gateway.identity_assignment.loads
    metrics.draining.set_function(lambda: int(gateway.draining))
    metrics.sessions.set_function(lambda: _states(gateway))
    metrics.clients_connected.set_function(lambda: sum(len(poller.sessions) for poller in registry.pollers.values()))
    metrics.identities.set_function(lambda: len(loads))
    metrics.identities_in_use.set_function(lambda: sum(load > 0 for load in loads))
    metrics.identity_clients_max.set_function(lambda: max(loads))
    metrics.relay_messages.set_function(lambda: _relay_messages(gateway))
    metrics.ws_closes_pending.set_function(lambda: len(gateway.close_notices))
    metrics.clients_over_quota.set_function(lambda: registry.quotas.held)
    metrics.canisters_over_quota.set_function(lambda: registry.quotas.exceeded)
    metrics.pollers.set_function(lambda: len(registry.pollers))
    metrics.poller_states.set_function(lambda: _poller_states(gateway))
    metrics.queries_in_flight.set_function(lambda: sum(poller.in_flight for poller in registry.pollers.values()))
    metrics.poll_window_max.set_function(lambda: max((poller.depth for poller in registry.pollers.values()), default=0))
    metrics.canisters.set_function(lambda: _canisters(gateway))
    budget = gateway.context.budget
    metrics.poll_interval.set_function(lambda: budget.interval)
    metrics.newcomers.set_function(lambda: gateway.context.newcomers.busy)
    metrics.network_requests.set_function(lambda: {kind.label: budget.sent[kind] for kind in RequestKind})
    metrics.calls_held.set_function(lambda: {kind.label: budget.held[kind] for kind in WAITING})
    metrics.calls_waiting.set_function(lambda: {kind.label: budget.waiting(kind) for kind in WAITING})
    metrics.queries_held.set_function(
        lambda: {"beat": budget.held_ticks, "wake": budget.held_wakes, "window": budget.held_queries}
    )


def _states(gateway: WatchedGateway) -> dict[str, int]:
    registry = gateway.registry
    setup = sum(len(poller.waiting) for poller in registry.pollers.values())
    registered = sum(len(poller.sessions) for poller in registry.pollers.values())
    return {
        "init": len(registry.sessions) - registered,
        "setup": setup,
        "open": registered - setup,
        "closed": len(registry.ending),
    }


def _poller_states(gateway: WatchedGateway) -> dict[str, int]:
    states = dict.fromkeys(POLLER_STATES, 0)
    for poller in gateway.registry.pollers.values():
        if len(poller.sessions) == len(poller.waiting):
            state = "opening"
        else:
            state = poller.backoff.side.value if poller.backoff.failures >= FAILING else "answered"
        states[state] += 1
    return states


def _relay_messages(gateway: WatchedGateway) -> dict[str, int]:
    waiting = sent = 0
    for sessions in (gateway.registry.sessions, gateway.registry.ending):
        for session in sessions:
            if session.relay is not None and not session.relay.idle:
                waiting += session.relay.queued
                sent += session.relay.under_way
    return {"waiting": waiting, "sent": sent}


def _canisters(gateway: WatchedGateway) -> dict[str, list[Figure]]:
    """The rows of :attr:`icwsgw.observe.metrics.Metrics.canisters`.

    Clients may name any canister, so only canisters with an open session count.
    """
    now = gateway.context.clock.seconds()
    counts: dict[bytes, int] = {}
    rest: dict[bytes, list[Figure]] = {}
    for (canister, _), poller in gateway.registry.pollers.items():
        sessions = len(poller.sessions) - len(poller.waiting)
        if not sessions:
            continue
        figures: list[Figure] = [poller.lag.latest(now), poller.backoff.rtt or None, poller.backoff.failures]
        counts[canister] = counts.get(canister, 0) + sessions
        rest[canister] = list(map(_greater, rest[canister], figures)) if canister in rest else figures
    return {Principal(canister).text: [count, *rest[canister]] for canister, count in counts.items()}


def _greater(one: Figure, other: Figure) -> Figure:
    return max((figure for figure in (one, other) if figure is not None), default=None)
