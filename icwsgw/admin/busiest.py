"""The busiest canisters and clients of one process, for ``icwsctl top``: rates between two samples of their counts.

A sample is taken when somebody asks, and compared with the one before. The first one has none to be compared with: its
rates are averages since the beginning of each session. Samples are forgotten when nobody asks for a minute, so that a
gateway that nobody observes holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import nlargest
from typing import Any, Final, NamedTuple

from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.introspection import MAX_ERROR, SessionFilter, find_sessions
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Timer

#: Seconds between two samples at least: those who ask more often get rates over this time.
SHORTEST: Final = 0.5
#: Seconds without a question after which the samples are forgotten.
FORGET: Final = 60.0
#: Rates of a session that has just begun are over so many seconds at least.
LEAST_AGE: Final = 1.0

Row = dict[str, Any]


def _rate(row: Row) -> float:
    return float(row["up"] + row["down"])


def _bytes(row: Row) -> float:
    return float(row["bytes_up"] + row["bytes_down"])


def _of(name: str) -> Callable[[Row], float]:
    return lambda row: float(row[name] or 0)


#: What rows are sorted by, the greatest first.
SORTS: Final[Mapping[str, Callable[[Row], float]]] = {
    "rate": _rate,
    "up": _of("up"),
    "down": _of("down"),
    "bytes": _bytes,
    "lag": _of("lag_s"),
    "pending": _of("pending"),
    "outbox": _of("outbox_bytes"),
    "age": _of("age_s"),
    "sessions": _of("sessions"),
}


def busiest(rows: list[Row], sort: str, limit: int) -> list[Row]:
    """The first rows by a key of :data:`SORTS`; of equal ones the busier one goes first."""
    key = SORTS[sort]
    return nlargest(limit, rows, key=lambda row: (key(row), _rate(row), row["sessions"], row["age_s"]))


class _Counts(NamedTuple):
    """Messages and bytes so far; up: from clients."""

    up: int = 0
    down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class _Sample(NamedTuple):
    at: float
    sessions: Mapping[str, _Counts]
    #: By canister and number of the identity; without bytes.
    pollers: Mapping[tuple[bytes, int], _Counts]


class BusiestRows:
    """Makes the rows of one process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before: _Sample | None = None
        self._latest: _Sample | None = None
        self._forget: Timer | None = None

    def answer(
        self, sort: str, limit: int, *, canister: Principal | None = None, principal: Principal | None = None
    ) -> dict[str, Any]:
        """Return the first rows of sessions and of canisters, and sums over all of them.

        :param sort: one of :data:`SORTS`
        :param limit: rows of each at most
        :param canister: only this one, and its sessions
        :param principal: only sessions of this principal; canisters are all shown
        """
        clock = self._gateway.context.clock
        now = clock.seconds()
        if self._latest is None or now - self._latest.at >= SHORTEST:
            self._before, self._latest = self._latest, self._sample(now)
        self._remember()
        before = self._before
        sessions = [
            self._session(session, before, now)
            for session in find_sessions(self._gateway, canister, SessionFilter(principal=principal))
        ]
        canisters = self._canisters(before, now, None if canister is None else canister.raw)
        for row in sessions:
            total = canisters.get(row["canister"])
            if total is not None and principal is None:
                for name in ("bytes_up", "bytes_down", "pending", "outbox_bytes"):
                    total[name] += row[name]
        shown = list(canisters.values())
        shown_sessions = busiest(sessions, sort, limit)
        for row in shown_sessions:
            # half of the work for all sessions would be to encode their principals
            row["principal"] = None if row["principal"] is None else Principal(row["principal"]).text
        return {
            "seconds": None if before is None else round(now - before.at, 3),
            "session_count": len(sessions),
            "canister_count": len(shown),
            "up": round(sum(row["up"] for row in shown), 2),
            "down": round(sum(row["down"] for row in shown), 2),
            "sessions": shown_sessions,
            "canisters": busiest(shown, sort, limit),
        }

    def _remember(self) -> None:
        if self._forget is not None and self._forget.active():
            self._forget.reset(FORGET)
        else:
            self._forget = self._gateway.context.clock.callLater(FORGET, self._forgotten)

    def _forgotten(self) -> None:
        self._before = self._latest = self._forget = None

    def _sample(self, now: float) -> _Sample:
        registry = self._gateway.registry
        return _Sample(
            now,
            {session.id: _counts(session) for session in registry.sessions},
            {place: _Counts(each.messages_up, each.messages_down) for place, each in registry.pollers.items()},
        )

    def _session(self, session: ClientSession, before: _Sample | None, now: float) -> Row:
        """Return the row of a session, with the bytes of its principal."""
        known = before is not None and session.id in before.sessions
        poller, relay, key = session.poller, session.relay, session.client_key
        since = before.at if before is not None and known else session.started
        past = before.sessions[session.id] if before is not None and known else _Counts()
        pollers = self._gateway.registry.pollers
        # a canister that nobody polls any more has no lag
        polled = None if poller is None else pollers.get((poller.canister.raw, poller.identity_index))
        lag = None if polled is None else polled.lag.latest(now)
        return {
            "id": session.id,
            "state": session.state.label,
            "canister": poller.canister.text if poller is not None else None,
            "principal": key[0] if key is not None else None,
            "peer": session.client.peer,
            **_rates(_counts(session), past, now - since if known else max(now - since, LEAST_AGE)),
            "lag_s": None if lag is None else round(lag, 3),
            "pending": relay.queued if relay is not None else 0,
            "outbox_bytes": session.client.waiting_bytes,
            "age_s": round(now - session.started, 3),
            "sessions": 1,
        }

    def _canisters(self, before: _Sample | None, now: float, only: bytes | None) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for place, poller in self._gateway.registry.pollers.items():
            if only is None or place[0] == only:
                row = self._poller(place, poller, before, now)
                name = row["canister"]
                rows[name] = merged(rows[name], row) if name in rows else row
        return rows

    def _poller(self, place: tuple[bytes, int], poller: Poller, before: _Sample | None, now: float) -> Row:
        past = before.pollers.get(place) if before is not None else None
        age = max((now - session.started for session in poller.sessions.values()), default=0.0)
        seconds = now - before.at if before is not None and past is not None else max(age, LEAST_AGE)
        rates = _rates(_Counts(poller.messages_up, poller.messages_down), past or _Counts(), seconds)
        lag, backoff = poller.lag.latest(now), poller.backoff
        return {
            "canister": poller.canister.text,
            "sessions": len(poller.sessions),
            **rates,
            "lag_s": None if lag is None else round(lag, 3),
            "pending": 0,
            "outbox_bytes": 0,
            "polls_in_flight": poller.in_flight,
            "failures": backoff.failures,
            "last_error": backoff.last_error[:MAX_ERROR] if backoff.failures else None,
            "age_s": round(age, 3),
        }


_ADDED = ("sessions", "up", "down", "bytes_up", "bytes_down", "pending", "outbox_bytes", "polls_in_flight")
_GREATEST = ("lag_s", "failures", "age_s")


def merged(one: Row, other: Row) -> Row:
    """One row of two of the same canister: of several identities, or of several workers."""
    row = {**one, **{name: one[name] + other[name] for name in _ADDED}}
    for name in ("up", "down", "bytes_up", "bytes_down"):
        row[name] = round(row[name], 2)
    for name in _GREATEST:
        row[name] = max((each[name] for each in (one, other) if each[name] is not None), default=None)
    row["last_error"] = one["last_error"] or other["last_error"]
    return row


def _counts(session: ClientSession) -> _Counts:
    return _Counts(session.messages_up, session.messages_down, session.bytes_up, session.bytes_down)


def _rates(counts: _Counts, past: _Counts, seconds: float) -> Row:
    """Rates a second, by name."""
    if seconds <= 0:
        return dict.fromkeys(_Counts._fields, 0.0)
    return {
        name: round(max(0, count - before) / seconds, 2)
        for name, count, before in zip(_Counts._fields, counts, past, strict=True)
    }
