"""Rows about sessions and canisters for the admin API and the status page, as plain JSON values.

Nothing is counted for them: rows are made from what sessions, relays and pollers hold anyway, when somebody asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal

#: The row of a session or a canister.
Row = dict[str, Any]

#: Maximum number of characters of an error, which may be a canister's words.
MAX_ERROR = 200


def session_row(session: ClientSession) -> Row:
    """The row of one session: messages and bytes up (from the client) and down, times in seconds."""
    context, poller, relay, key = session.context, session.poller, session.relay, session.client_key
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
        "age_s": round(context.clock.seconds() - session.started, 3),
        "messages_up": session.messages_up,
        "messages_down": session.messages_down,
        "bytes_up": session.bytes_up,
        "bytes_down": session.bytes_down,
        "outbox_bytes": session.client.waiting_bytes,
        "relay_queue": relay.queued if relay is not None else 0,
    }


def find_sessions(
    gateway: Gateway,
    *,
    canister: Principal | None = None,
    principal: Principal | None = None,
    state: str | None = None,
) -> Iterator[ClientSession]:
    """Yield sessions, including closed ones whose canister has not been told yet.

    :param canister: only sessions at this canister
    :param principal: only sessions of this principal
    :param state: only sessions in this state, one of :data:`icwsgw.core.session_machine.LABELS`
    """
    registry = gateway.registry
    found: Iterable[ClientSession]
    if canister is None:
        found = chain(registry.sessions, registry.ending)
    else:
        pollers = pollers_of(gateway, canister)
        ending = (each for each in registry.ending if each.poller is not None and each.poller.canister == canister)
        found = chain(chain.from_iterable(poller.sessions.values() for poller in pollers), ending)
    for session in found:
        if principal is not None and (session.client_key is None or session.client_key[0] != principal.raw):
            continue
        if state is None or session.state.label == state:
            yield session


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
        rows.append({"canister": principal.text, "sessions": count, "pollers": pollers})
    return rows, len(counts) > limit


def _most_first(entry: tuple[bytes, int]) -> tuple[int, bytes]:
    return -entry[1], entry[0]


def session_rows(gateway: Gateway, limit: int, **only: Any) -> tuple[list[Row], bool]:
    """Rows of sessions, as :func:`find_sessions` finds them, and whether there are more."""
    found = list(islice(find_sessions(gateway, **only), limit + 1))
    return [session_row(session) for session in found[:limit]], len(found) > limit
