"""Rows about sessions and canisters for the admin API and the status page, as plain JSON values.

Nothing is counted for them: rows are made from what sessions, relays and pollers hold anyway, on request.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from icwsgw.config.access_list import Networks
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal
from icwsgw.observe.peers import host_of_peer

#: The row of a session or a canister.
Row = dict[str, Any]

#: Maximum number of characters of an error, which may be a canister's text.
MAX_ERROR = 200


def session_row(session: ClientSession) -> Row:
    """The row of one session: messages and bytes up (from the client) and down, times in seconds.

    ``idle_s`` is the time since the client's last message was sent to its canister, or since the beginning.
    """
    context, poller, relay, key = session.context, session.poller, session.relay, session.client_key
    now = context.clock.seconds()
    return {
        "id": session.id,
        "state": session.state.label,
        "canister": poller.canister.text if poller is not None else None,
        "principal": Principal(key[0]).text if key is not None else None,
        # a nat64; in many programs JSON numbers hold only 53 bits
        "client_nonce": str(key[1]) if key is not None else None,
        "peer": session.client.peer,
        "origin": session.client.origin or None,
        "gateway_principal": context.identities[session.identity_index].principal.text,
        "age_s": round(now - session.started, 3),
        "idle_s": round(now - _last_sent(session), 3),
        "messages_up": session.messages_up,
        "messages_down": session.messages_down,
        "bytes_up": session.bytes_up,
        "bytes_down": session.bytes_down,
        "outbox_bytes": session.client.waiting_bytes,
        "relay_queue": relay.queued if relay is not None else 0,
    }


class SessionFilter(NamedTuple):
    """Which sessions are meant: those for which everything given holds.

    :ivar principal: of the client
    :ivar state: one of :data:`icwsgw.core.session_machine.LABELS`
    :ivar address: the client's address is in this network; one that is not known is in none
    :ivar origin: the Origin header of the client's request
    :ivar older: seconds since the beginning, at least
    :ivar idle: seconds since the client's last message was sent to its canister, at least
    """

    principal: Principal | None = None
    state: str | None = None
    address: Networks | None = None
    origin: str | None = None
    older: float | None = None
    idle: float | None = None

    def matches(self, session: ClientSession, now: float) -> bool:
        """Whether a session is meant at ``now``, seconds of the clock."""
        key, client = session.client_key, session.client
        return (
            (self.principal is None or (key is not None and key[0] == self.principal.raw))
            and (self.state is None or session.state.label == self.state)
            and (self.older is None or now - session.started >= self.older)
            and (self.idle is None or now - _last_sent(session) >= self.idle)
            and (self.origin is None or client.origin == self.origin)
            and (self.address is None or self.address.hold(host_of_peer(client.peer)) is True)
        )


ALL_SESSIONS = SessionFilter()


def _last_sent(session: ClientSession) -> float:
    """When the client's last message was sent to its canister, or when the session began; seconds of the clock."""
    relay = session.relay
    return session.started if relay is None else max(session.started, relay.sent)


def find_sessions(
    gateway: Gateway, canister: Principal | None = None, only: SessionFilter = ALL_SESSIONS
) -> Iterator[ClientSession]:
    """Yield sessions, including closed ones whose close notice has not ended yet.

    :param canister: only sessions at this canister
    :param only: which of them
    """
    registry = gateway.registry
    found: Iterable[ClientSession]
    if canister is None:
        found = chain(registry.sessions, registry.ending)
    else:
        pollers = pollers_of(gateway, canister)
        ending = (each for each in registry.ending if each.poller is not None and each.poller.canister == canister)
        found = chain(chain.from_iterable(poller.sessions.values() for poller in pollers), ending)
    now = gateway.context.clock.seconds()
    yield from (session for session in found if only.matches(session, now))


def find_session(gateway: Gateway, session_id: str) -> ClientSession | None:
    """The session with an id, or None."""
    return next((session for session in find_sessions(gateway) if session.id == session_id), None)


def pollers_of(gateway: Gateway, canister: Principal) -> list[Poller]:
    """The pollers of a canister, under all identities."""
    pollers = gateway.registry.pollers
    places = ((canister.raw, index) for index in range(len(gateway.context.identities)))
    return [pollers[place] for place in places if place in pollers]


def poller_row(poller: Poller, gateway: Gateway) -> Row:
    """The row of one poller: its position in the queue, and how the canister answers."""
    context = gateway.context
    now, backoff = context.clock.seconds(), poller.backoff
    return {
        "gateway_principal": context.identities[poller.identity_index].principal.text,
        "sessions": len(poller.sessions),
        "next_message": poller.cursor.next,
        "in_flight": poller.in_flight,
        "last_good_s": round(now - backoff.last_good, 3),
        "failures": backoff.failures,
        "last_error": backoff.last_error[:MAX_ERROR] or None,
        "last_error_s": round(now - backoff.last_bad, 3) if backoff.last_error else None,
    }


def canister_rows(gateway: Gateway, limit: int, canister: Principal | None = None) -> tuple[list[Row], bool]:
    """Rows of canisters with their pollers, most sessions first, and whether there are more.

    :param canister: only this one
    """
    counts: dict[bytes, int] = {}
    for poller in pollers_of(gateway, canister) if canister is not None else gateway.registry.pollers.values():
        raw = poller.canister.raw
        counts[raw] = counts.get(raw, 0) + len(poller.sessions)
    rows: list[Row] = []
    for raw, count in heapq.nsmallest(limit, counts.items(), key=_most_first):
        principal = Principal(raw)
        pollers = [poller_row(poller, gateway) for poller in pollers_of(gateway, principal)]
        quota = quota_row(principal, gateway)
        rows.append({"canister": principal.text, "sessions": count, "pollers": pollers, "quota": quota})
    return rows, len(counts) > limit


def quota_row(canister: Principal, gateway: Gateway) -> Row | None:
    """The quota of a canister in this process, and what of it is used up; None if it has none.

    Its limits have the names of :class:`icwsgw.config.quotas.Quota`.
    """
    quotas = gateway.registry.quotas
    limits = {name: limit for name, limit in quotas.of(canister)._asdict().items() if limit}
    if not limits:
        return None
    reached = quotas.reached(canister)
    if quotas.of(canister).max_connections and gateway.registry.count(canister) >= limits["max_connections"]:
        reached = ["connections", *reached]
    return {**limits, "reached": reached, "clients_held": quotas.held_of(canister)}


def merge_quotas(one: Row | None, other: Row | None) -> Row | None:
    """The quota of one canister in several processes: each has a share of the limits, so they are added."""
    if one is None or other is None:
        return other if one is None else one
    added = {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other} if name != "reached"}
    return {**added, "reached": list(dict.fromkeys([*one["reached"], *other["reached"]]))}


def _most_first(entry: tuple[bytes, int]) -> tuple[int, bytes]:
    return -entry[1], entry[0]


def session_rows(
    gateway: Gateway, limit: int, canister: Principal | None = None, only: SessionFilter = ALL_SESSIONS
) -> tuple[list[Row], bool]:
    """Rows of sessions, as :func:`find_sessions` finds them, and whether there are more.

    :param limit: rows at most
    :param canister: only sessions at this canister
    """
    found = list(islice(find_sessions(gateway, canister, only), limit + 1))
    return [session_row(session) for session in found[:limit]], len(found) > limit
