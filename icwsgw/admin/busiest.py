"""The busiest canisters and clients of one process, for ``icwsctl top``: rates between two samples of their counts.

Each request takes a sample, and compares it with the one before. The first one has none before it: its rates are
averages since the beginning of each session. Samples are dropped after a minute without requests, so that a gateway
that is not observed holds none.

A look at 10,000 sessions takes 0.1 s of CPU time. So it takes many turns of the event loop, each with :data:`BATCH`
sessions or canisters. Each count has its own time, by which rates are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappush, heappushpop, nlargest
from typing import Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

from icwsgw.core.session_machine import State
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.introspection import MAX_ERROR
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Timer

#: Seconds between two samples at least: those who ask more often get rates over this time.
SHORTEST: Final = 0.5
#: Seconds without a request after which the samples are dropped.
FORGET: Final = 60.0
#: Rates of a session that has just begun are over so many seconds at least.
LEAST_AGE: Final = 1.0
#: Sessions or canisters in a batch: 1.5 ms. At most three batches meet in one turn: the last one of the sessions, the
#: first one of the pollers, and the first one of the canisters.
BATCH: Final = 150

Row = dict[str, Any]

T = TypeVar("T")


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
    return nlargest(limit, rows, key=lambda row: _rank(key, row))


def _rank(key: Callable[[Row], float], row: Row) -> tuple[float, float, int, float]:
    return key(row), _rate(row), row["sessions"], row["age_s"]


class _Counts(NamedTuple):
    """Messages and bytes so far, and the time of the look; up: from clients."""

    up: int
    down: int
    bytes_up: int
    bytes_down: int
    at: float


#: By canister and number of the identity.
Place = tuple[bytes, int]


class _Sample(NamedTuple):
    at: float
    sessions: dict[str, _Counts]
    #: without bytes
    pollers: dict[Place, _Counts]


class BusiestRows:
    """Makes the rows of one process, a few in each turn of the event loop, for one request after the other."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before: _Sample | None = None
        self._latest: _Sample | None = None
        self._forget: Timer | None = None
        self._alone = DeferredLock()

    def answer(
        self, sort: str, limit: int, *, canister: Principal | None = None, principal: Principal | None = None
    ) -> Deferred[Row]:
        """Find the first rows of sessions and of canisters, and sums over all of them.

        :param sort: one of :data:`SORTS`
        :param limit: rows of each at most
        :param canister: only this one, and its sessions
        :param principal: only sessions of this principal; canisters are all shown
        """

        def answer() -> Deferred[Row]:
            now = self._gateway.context.clock.seconds()
            self._remember()
            filled = None
            if self._latest is None or now - self._latest.at >= SHORTEST:
                self._before = self._latest
                self._latest = filled = _Sample(now, {}, {})
            view = _View(self._gateway, self._before, filled, canister, principal)
            return Deferred.fromCoroutine(view.answer(sort, limit))

        return self._alone.run(answer)

    def _remember(self) -> None:
        if self._forget is not None and self._forget.active():
            self._forget.reset(FORGET)
        else:
            self._forget = self._gateway.context.clock.callLater(FORGET, self._forgotten)

    def _forgotten(self) -> None:
        self._before = self._latest = self._forget = None


class _View:
    """Makes one answer.

    :param before: the sample to compare with; None: there is none
    :param filled: a sample to fill; None: the latest one is new enough
    """

    def __init__(
        self,
        gateway: Gateway,
        before: _Sample | None,
        filled: _Sample | None,
        canister: Principal | None,
        principal: Principal | None,
    ) -> None:
        self._gateway = gateway
        self._clock = gateway.context.clock
        self._before = before
        self._filled = filled
        self._canister = None if canister is None else canister.raw
        self._principal = None if principal is None else principal.raw
        #: what sessions add to the row of their poller, and since when the oldest of them is there
        self._totals: dict[Place, Row] = {}
        self._oldest: dict[Place, float] = {}
        self._canisters: dict[str, Row] = {}

    async def answer(self, sort: str, limit: int) -> Row:
        """Look at all; see :meth:`BusiestRows.answer`."""
        now, registry, before = self._clock.seconds(), self._gateway.registry, self._before
        sessions, canisters = _Greatest(sort, limit), _Greatest(sort, limit)
        all_sessions = [*registry.sessions, *registry.ending]
        await self._each(all_sessions, lambda session: self._look_at_session(session, sessions))
        await self._each(list(registry.pollers.items()), self._look_at_poller)
        up = down = 0.0

        def add(row: Row) -> None:
            nonlocal up, down
            up, down = up + row["up"], down + row["down"]
            canisters.add(row)

        await self._each(list(self._canisters.values()), add)
        shown = sessions.rows()
        for row in shown:
            # half of the work for all sessions would be to encode their principals
            row["principal"] = None if row["principal"] is None else Principal(row["principal"]).text
        return {
            "seconds": None if before is None else round(now - before.at, 3),
            "session_count": sessions.count,
            "canister_count": canisters.count,
            "up": round(up, 2),
            "down": round(down, 2),
            "sessions": shown,
            "canisters": canisters.rows(),
        }

    def _each(self, entries: list[T], look: Callable[[T], object]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        in_batches(self._clock, entries, look, lambda: done.callback(None), BATCH)
        return done

    def _look_at_session(self, session: ClientSession, greatest: _Greatest) -> None:
        now, poller = self._clock.seconds(), session.poller
        counts = _Counts(session.messages_up, session.messages_down, session.bytes_up, session.bytes_down, now)
        if self._filled is not None:
            self._filled.sessions[session.id] = counts
        place = None if poller is None else (poller.canister.raw, poller.identity_index)
        if self._canister is not None and (place is None or place[0] != self._canister):
            return
        if place is not None and session.state is not State.CLOSED:
            self._oldest[place] = min(self._oldest.get(place, now), session.started)
        key = session.client_key
        if self._principal is not None and (key is None or key[0] != self._principal):
            return
        row = self._session(session, counts, place)
        greatest.add(row)
        if place is not None and self._principal is None:
            total = self._totals.setdefault(place, dict.fromkeys(_OF_SESSIONS, 0))
            for name in _OF_SESSIONS:
                total[name] += row[name]

    def _session(self, session: ClientSession, counts: _Counts, place: Place | None) -> Row:
        """Return the row of a session, with the bytes of its principal."""
        poller, relay, key, now = session.poller, session.relay, session.client_key, counts.at
        past = None if self._before is None else self._before.sessions.get(session.id)
        # a canister that is not polled any more has no lag
        polled = None if place is None else self._gateway.registry.pollers.get(place)
        lag = None if polled is None else polled.lag.latest(now)
        return {
            "id": session.id,
            "state": session.state.label,
            "canister": poller.canister.text if poller is not None else None,
            "principal": key[0] if key is not None else None,
            "peer": session.client.peer,
            **_rates(counts, past, session.started),
            "lag_s": None if lag is None else round(lag, 3),
            "pending": relay.queued if relay is not None else 0,
            "outbox_bytes": session.client.waiting_bytes,
            "age_s": round(now - session.started, 3),
            "sessions": 1,
        }

    def _look_at_poller(self, entry: tuple[Place, Poller]) -> None:
        place, poller = entry
        now = self._clock.seconds()
        counts = _Counts(poller.messages_up, poller.messages_down, 0, 0, now)
        if self._filled is not None:
            self._filled.pollers[place] = counts
        if self._canister is not None and place[0] != self._canister:
            return
        row = self._poller(place, poller, counts)
        name = row["canister"]
        self._canisters[name] = merged(self._canisters[name], row) if name in self._canisters else row

    def _poller(self, place: Place, poller: Poller, counts: _Counts) -> Row:
        now = counts.at
        past = None if self._before is None else self._before.pollers.get(place)
        began = self._oldest.get(place, now)
        lag, backoff = poller.lag.latest(now), poller.backoff
        total = self._totals.get(place, {})
        return {
            "canister": poller.canister.text,
            "sessions": len(poller.sessions),
            **_rates(counts, past, began),
            **{name: round(total.get(name, 0), 2) for name in _OF_SESSIONS},
            "lag_s": None if lag is None else round(lag, 3),
            "polls_in_flight": poller.in_flight,
            "failures": backoff.failures,
            "last_error": backoff.last_error[:MAX_ERROR] if backoff.failures else None,
            "age_s": round(now - began, 3),
        }


class _Greatest:
    """The first rows by a key of :data:`SORTS`, of those that come one by one.

    :ivar count: how many have come
    """

    def __init__(self, sort: str, limit: int) -> None:
        self._key = SORTS[sort]
        self._limit = limit
        self._heap: list[tuple[Any, Row]] = []
        self.count = 0

    def add(self, row: Row) -> None:
        """One more row."""
        self.count += 1
        # the last part, which no other row has, keeps the order of equal ones
        entry = ((*_rank(self._key, row), -self.count), row)
        if len(self._heap) < self._limit:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)

    def rows(self) -> list[Row]:
        """The first ones, the greatest first."""
        return [row for _, row in sorted(self._heap, reverse=True)]


#: What the row of a canister has from its sessions.
_OF_SESSIONS = ("bytes_up", "bytes_down", "pending", "outbox_bytes")
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


def _rates(counts: _Counts, past: _Counts | None, began: float) -> Row:
    """Rates a second, by name.

    :param past: the counts before; None: there are none, so the rates are averages since it ``began``
    """
    before = _NOTHING if past is None else past
    seconds = max(counts.at - began, LEAST_AGE) if past is None else counts.at - past.at
    if seconds <= 0:
        return dict.fromkeys(_RATES, 0.0)
    return {
        name: round(max(0, count - known) / seconds, 2)
        for name, count, known in zip(_RATES, counts, before, strict=False)
    }


_RATES = ("up", "down", "bytes_up", "bytes_down")
_NOTHING = _Counts(0, 0, 0, 0, 0.0)
