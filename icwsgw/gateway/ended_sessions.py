"""The sessions that have ended lately, and the connections that were refused, for the status page and the admin API.

A developer who looks for a mistake looks after the fact. Ends are kept for ten minutes, in a limited number: when it is
reached, the address that has the most loses its oldest, so that a crowd does not displace the end that is of
interest. What an end shows of its client follows ``--log-clients``, as the log does; the rest is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest
from typing import Any, Final, NamedTuple

from icwsgw.core.eviction import EvictionTable
from icwsgw.observe.privacy import FULL, hider, masked_client

#: How long an end is kept, in seconds, and how many are. Each has about 1 kB.
KEEP_SECONDS: Final = 600.0
KEEP_ENDS: Final = 500
#: Longest reason in characters.
MAX_REASON: Final = 300


class EndRecord(NamedTuple):
    """How a session ended, or why a connection was refused.

    :ivar at: when, in seconds of the system's monotonic clock
    :ivar id: the session's id; None: the connection was refused before it had one
    :ivar principal: the client's; None: it had sent none, or ``--log-clients`` hides it, as ``peer`` and ``origin``
    :ivar state: the state before the end, as operators see it; ``refused`` for a connection
    :ivar code: the close code; None for a connection
    :ivar status: the HTTP status that a refused connection was answered with, or None
    :ivar by: who ended it, ``client`` or ``gateway``
    :ivar reason: as text, of at most :data:`MAX_REASON` characters
    :ivar hint: what to do about it; empty for nothing
    """

    at: float
    id: str | None
    canister: str | None
    principal: str | None
    peer: str | None
    origin: str | None
    state: str
    seconds: float
    messages_up: int
    messages_down: int
    bytes_up: int
    bytes_down: int
    code: int | None
    status: int | None
    by: str
    reason: str
    hint: str


_FIELDS: Final = frozenset(EndRecord._fields)


def refused_connection(at: float, who: Mapping[str, str], status: int | None, reason: str, hint: str) -> EndRecord:
    """Return the record of a connection that was refused before it had a session.

    :param at: when, in seconds of the system's monotonic clock
    :param who: its ``peer``, if that may be kept
    :param status: of the HTTP answer, or None
    :param reason: as text
    :param hint: what to do about it; empty for nothing
    """
    return EndRecord(
        at=at,
        id=None,
        canister=None,
        principal=None,
        peer=who.get("peer"),
        origin=None,
        state="refused",
        seconds=0.0,
        messages_up=0,
        messages_down=0,
        bytes_up=0,
        bytes_down=0,
        code=None,
        status=status,
        by="gateway",
        reason=reason[:MAX_REASON],
        hint=hint,
    )


class EndedSessions:
    """The last ends. When they are full, the address group with most of them loses its oldest.

    :param most: largest number of ends
    """

    def __init__(self, most: int = KEEP_ENDS) -> None:
        self._most = most
        self._added = 0
        #: Ends with their groups, by a number that counts those that were added.
        self._ends: dict[int, tuple[str, EndRecord]] = {}
        self._table: EvictionTable[int] = EvictionTable(0)

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, group: str, record: EndRecord) -> None:
        """Keep an end.

        :param group: the group of the client's address
        """
        if len(self._ends) >= self._most:
            del self._ends[self._table.evict()]
        self._added += 1
        self._ends[self._added] = group, record
        self._table.enter(self._added, group)

    def written(self) -> list[Any]:
        """Return the ends as plain values, the oldest first, for another process."""
        return [[group, each._asdict()] for group, each in sorted(self._ends.values(), key=lambda entry: entry[1].at)]

    def continue_from(self, written: Iterable[Any]) -> None:
        """Add the ends of another process, as :meth:`written` gives them; those that lack a field are left out."""
        for group, values in written:
            if values.keys() >= _FIELDS:
                self.add(group, EndRecord(**{name: values[name] for name in _FIELDS}))

    def expire(self, now: float) -> None:
        """Forget what has been kept for long enough.

        :param now: seconds of the system's monotonic clock
        """
        for number, (_, record) in list(self._ends.items()):
            if now - record.at > KEEP_SECONDS:
                del self._ends[number]
                self._table.leave(number)

    def latest(
        self, now: float, limit: int, *, canister: str | None = None, principal: str | None = None
    ) -> tuple[list[EndRecord], int]:
        """Return the latest ends, the last one first, and how many match in all.

        :param limit: ends at most
        :param now: seconds of the system's monotonic clock
        :param canister: only sessions at this canister
        :param principal: only sessions of this client; where ``--log-clients`` masks clients, those of its group
        """
        self.expire(now)
        found = [
            each
            for _, each in self._ends.values()
            if (canister is None or each.canister == canister)
            and (principal is None or each.principal in (principal, masked_client(principal)))
        ]
        return nlargest(limit, found, key=lambda each: each.at), len(found)


def end_row(record: EndRecord, now: float, now_ns: int) -> dict[str, Any]:
    """Return an end as JSON values.

    :param now: seconds of the system's monotonic clock
    :param now_ns: the same time in ns since 1970
    """
    row: dict[str, Any] = record._asdict()
    row["ended"] = round(now_ns / 1e9 - (now - row.pop("at")), 3)
    return row


def shown_fields(details: str, fields: Mapping[str, str]) -> Mapping[str, str]:
    """Return what may be kept of the fields that identify a client.

    :param details: the value of ``--log-clients``
    :param fields: ``peer``, ``client``, ``origin``
    """
    if details == FULL:
        return fields
    hide = hider(details)
    assert hide is not None
    return hide(fields)
