"""What time the network has, told from its answers.

Three things depend on it: by which time the gateway signs its own requests, whether a client's envelope has expired,
and whether this machine's clock has to be set. The *skew* is how far the network's clock is ahead of this machine's
wall clock. The gateway reckons with a skew of 0 until a judge has shown another one.

Each piece of evidence is an interval in which the skew lies, reckoned from the time that it tells:

=========  ============================================  =================  =========================================
kind       what tells the time                           skew lies between  what it may do
=========  ============================================  =================  =========================================
DATE       the Date header of an answer to a POST that   2.5 s less and     a hint: confirms the reckoning, or is a
           no cache has kept (no Age)                    2.5 s more         rival of it; adopted only with a judge
ACCEPTED   the expiry of a request of ours that was      330 s less and     confirms the reckoning, refutes a rival
           taken                                         as much
REFUSED    "Minimum allowed expiry" in a replica's       2.5 s less and     a judge
           refusal of an expiry: its own clock           2.5 s more
SIGNED     the timestamp that a node has signed with     2.5 s less and     a judge
           the answer to a query                         120 s more
CERTIFIED  ``/time`` of a verified certificate           2.5 s less and     a judge; proves at once that the network
                                                         30 s more          is not earlier
=========  ============================================  =================  =========================================

A state's time lags behind the clocks of the nodes that serve it, and an answer to a query may have been kept for a
minute; hence the upper ends. A judge's word against the reckoning is believed when it is the third in a row that agrees
(:data:`WITNESSES`; Dates that agree with it count). Where it contradicts what a replica has taken, and no clock has
been set since, it has to be the twelfth (:data:`MANY_WITNESSES`, decision 0046). So one machine with a wrong clock
changes nothing, though of many answers three of its own come in a row now and then.

While a Date and the reckoning disagree and no judge has spoken, nobody knows. Then, and before the first evidence, the
network judges clients' envelopes: :meth:`NetworkTime.enclosed_ns` encloses its time, and only what is refused at both
ends is refused here. A wall clock that has been set makes all evidence void.

Sources: interface specification, "Authentication" (ingress_expiry); dfinity/ic rs/validator/src/ingress_validation.rs
(the words of a refusal); RFC 9110, 6.6.1 (Date); RFC 9111, 5.1 (Age); decision 0031.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime
from enum import Enum

from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS, SECOND_NS

STEP_NS = 2_500_000_000
"""Times that differ by no more agree: a Date counts whole seconds, and answers take a while."""

CERTIFIED_LAG_NS = 30 * SECOND_NS
SIGNED_LAG_NS = 120 * SECOND_NS

WITNESSES = 3
MANY_WITNESSES = 12
JUMP_NS = 5 * SECOND_NS
"""The wall clock has been set when it differs from the monotonic one by this more than it did."""

_NOBODY_KNOWS = 1 << 80

_REFUSAL = re.compile(r"ingress_expiry not within expected range", re.IGNORECASE)
_MINIMUM = re.compile(
    r"Minimum allowed expiry:\s*(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s*(?:UTC|Z)"
)


class Evidence(Enum):
    """The kinds of evidence: how far the skew may lie below and above what is told, and whether it is a judge."""

    DATE = ("date", STEP_NS, STEP_NS, False)
    ACCEPTED = ("accepted", MAX_INGRESS_TTL_NS, 0, False)
    REFUSED = ("refused", STEP_NS, STEP_NS, True)
    SIGNED = ("signed", STEP_NS, SIGNED_LAG_NS, True)
    CERTIFIED = ("certified", STEP_NS, CERTIFIED_LAG_NS, True)

    @property
    def below_ns(self) -> int:
        """How much less than told the skew may be."""
        below: int = self.value[1]
        return below

    @property
    def above_ns(self) -> int:
        """How much more than told the skew may be."""
        above: int = self.value[2]
        return above

    @property
    def judges(self) -> bool:
        """Whether it may end the reckoning."""
        judges: bool = self.value[3]
        return judges


class NetworkTime:
    """The evidence about the network's time. Times are ns since 1970, ``seconds`` are those of a monotonic clock.

    :ivar skew_ns: how far the network is reckoned to be ahead of this machine's wall clock; 0 unless a judge has spoken
    :ivar measured_ns: the same as it was measured last, to about a second; None before the first evidence
    :ivar rival_ns: the skew by Dates that disagree with the reckoning, or None
    """

    __slots__ = (
        "_against",
        "_against_count",
        "_base_ns",
        "_high_ns",
        "_low_ns",
        "_refuted_ns",
        "_rival_count",
        "_support",
        "_taken",
        "measured_ns",
        "rival_ns",
        "skew_ns",
    )

    def __init__(self) -> None:
        self._base_ns: int | None = None
        self._forget()

    def _forget(self) -> None:
        self.skew_ns = 0
        self.measured_ns: int | None = None
        self.rival_ns: int | None = None
        self._rival_count = 0
        self._refuted_ns: int | None = None
        self._support: tuple[int, int] | None = None
        self._against: tuple[int, int] | None = None
        self._against_count = 0
        self._taken: tuple[int, int] | None = None
        self._low_ns, self._high_ns = -_NOBODY_KNOWS, _NOBODY_KNOWS

    # asking

    @property
    def known(self) -> bool:
        """Whether any evidence agrees with the reckoning."""
        return self._support is not None

    @property
    def disputed(self) -> bool:
        """Whether Dates have repeatedly contradicted the reckoning and no judge has spoken: ask for certified time."""
        return self.rival_ns is not None and self._rival_count >= WITNESSES

    @property
    def eager(self) -> bool:
        """Whether the very next answer should be looked at: there is a contradiction that has not repeated enough."""
        return self._against_count > 0 or 0 < self._rival_count < WITNESSES

    def now_ns(self, seconds: float, wall_ns: int) -> int:
        """The network's time as it is reckoned: to sign by, and to check the age of what the network sends."""
        # as _look_at_clock does, without a call: each message and poll is asked about
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self.skew_ns

    def earliest_ns(self, seconds: float, wall_ns: int) -> int:
        """The network's time is not earlier than this for certain: what expires before it has expired."""
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self._low_ns

    def enclosed_ns(self, seconds: float, wall_ns: int) -> tuple[int, int]:
        """The same, and a time than which the network's is not later for certain."""
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self._low_ns, wall_ns + self._high_ns

    # evidence

    def take(self, kind: Evidence, time_ns: int, seconds: float, wall_ns: int) -> None:
        """Take note of a piece of evidence.

        :param kind: what tells the time
        :param time_ns: the time that it tells
        :param seconds: when it came, by the monotonic clock
        :param wall_ns: the same by this machine's wall clock
        """
        self._look_at_clock(seconds, wall_ns)
        self._base_ns = wall_ns - int(seconds * SECOND_NS)
        told = time_ns - wall_ns
        interval = (told - kind.below_ns, told + kind.above_ns)
        if _within(self.skew_ns, interval):
            self._agrees(kind, told, interval)
        elif kind is Evidence.DATE:
            self._rivals(told, interval)
        elif kind.judges:
            self._judged(kind, told, interval)
        self._enclose()

    def _agrees(self, kind: Evidence, told: int, interval: tuple[int, int]) -> None:
        if kind in (Evidence.ACCEPTED, Evidence.REFUSED):
            self._taken = interval
        if kind is Evidence.DATE:
            self.rival_ns, self._rival_count = None, 0
        else:
            if kind.judges or (self._against is not None and not _overlap(self._against, interval)):
                self._against, self._against_count = None, 0
            if self.rival_ns is not None and not _within(self.rival_ns, interval):
                self._refuted_ns = self.rival_ns
                self.rival_ns, self._rival_count = None, 0
        if kind is Evidence.DATE or kind is Evidence.REFUSED:
            self.measured_ns = told
        if self._support is None or interval[1] - interval[0] <= self._support[1] - self._support[0]:
            self._support = interval

    def _rivals(self, told: int, interval: tuple[int, int]) -> None:
        if self._refuted_ns is not None and _within(self._refuted_ns, interval):
            return
        if self.rival_ns is None or not _within(self.rival_ns, interval):
            self._rival_count = 0
        self.rival_ns = told
        self._rival_count = min(self._rival_count + 1, WITNESSES)

    def _judged(self, kind: Evidence, told: int, interval: tuple[int, int]) -> None:
        before = self._against
        if before is None or not _overlap(before, interval):
            self._against, self._against_count = interval, 1
        else:
            self._against = (max(before[0], interval[0]), min(before[1], interval[1]))
            self._against_count += 1
        rival = self.rival_ns
        witnesses = self._against_count
        if rival is not None and _within(rival, interval):
            witnesses += self._rival_count
            told = rival
        proven = kind is Evidence.CERTIFIED and self.skew_ns < interval[0]
        # a replica that has agreed shows that this machine's clock is not to blame, unless it were that replica's
        doubtful = self._taken is not None and not _overlap(self._taken, interval)
        if proven or witnesses >= (MANY_WITNESSES if doubtful else WITNESSES):
            self._forget()
            # within a step of this machine's clock it is this machine's clock that is right
            self.skew_ns = told if abs(told) > STEP_NS else 0
            self.measured_ns = told
            self._support = interval

    def _enclose(self) -> None:
        if self._support is None:
            return
        low, high = self._support
        if self.rival_ns is not None:
            low, high = min(low, self.rival_ns - STEP_NS), max(high, self.rival_ns + STEP_NS)
        self._low_ns, self._high_ns = low, high

    def _look_at_clock(self, seconds: float, wall_ns: int) -> None:
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._base_ns = None
            self._forget()


def _within(skew_ns: int, interval: tuple[int, int]) -> bool:
    return interval[0] <= skew_ns <= interval[1]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def refuses_expiry(text: str) -> bool:
    """Whether a replica's words refuse a request for its expiry."""
    return _REFUSAL.search(text) is not None


def replica_time(text: str) -> int | None:
    """The replica's own time in its refusal of an expiry, ns since 1970; None where the words do not tell it."""
    found = _MINIMUM.search(text) if refuses_expiry(text) else None
    if found is None:
        return None
    *parts, fraction = found.groups()
    try:
        moment = datetime(*map(int, parts))  # type: ignore[arg-type]
    except ValueError:
        return None
    return timegm(moment.timetuple()) * SECOND_NS + int((fraction or "0").ljust(9, "0"))
