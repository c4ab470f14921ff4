"""Estimates the network's time from its answers.

The gateway uses the estimate for three purposes: to set the expiry of its own requests, to check whether a client's
envelope has expired, and to warn that this machine's clock is wrong. The *skew* is the network's clock minus this
machine's wall clock. The estimated skew is 0 until strong evidence proves another value.

Each piece of evidence has a timestamp. The timestamp minus the wall clock is the *measured skew*. The true skew is in
an interval around it:

=========  =====================================================  ================  ================
kind       source of the timestamp                                interval          weight
=========  =====================================================  ================  ================
DATE       Date header of an answer to a POST, if no cache        -2.5 s to +2.5 s  weak
           stored the answer (no Age header)
ACCEPTED   expiry of a request that the gateway sent and the      -330 s to 0 s     weak
           network accepted
REFUSED    "Minimum allowed expiry" in the refusal of a request   -2.5 s to +2.5 s  strong, unsigned
           of the gateway: the clock of the replica
SIGNED     a node's signature on the answer to a query            -2.5 s to +120 s  strong
CERTIFIED  ``/time`` of a verified certificate                    -2.5 s to +30 s   strong
=========  =====================================================  ================  ================

The upper ends of SIGNED and CERTIFIED are large for two reasons. The time of a state is behind the clocks of the nodes
that serve it. And a cache may have kept the answer to a query for a minute.

*Weak evidence* confirms the estimate, but never replaces it. A DATE that contradicts the estimate becomes its *rival*:
another estimate, which counts only after strong evidence. An ACCEPTED that confirms the estimate refutes a rival
outside its interval.

*Strong evidence* replaces the estimate after :data:`WITNESSES` pieces in a row that contradict it and agree with each
other. Dates that agree with them count. One CERTIFIED is enough if it proves that the network's time is later than
estimated. :data:`MANY_WITNESSES` are necessary if a replica has confirmed the estimate since this machine's clock was
last set: it accepted or refused an expiry, and the new evidence contradicts that (decision 0046). The number is higher
because, among many answers, three in a row sometimes come from one machine. So one machine with a wrong clock changes
nothing.

*Unsigned evidence*: anybody on the path can write the text of a refusal. So an estimate that refusals have changed is
*unconfirmed*. The gateway signs its requests by it, because with a wrong clock it would otherwise get no answer. It
refuses no client by it, and it reads the certified time at once. If the certificate contradicts the former estimate
and agrees with the new one, the new one is confirmed. Any other certificate restores the former one (decision 0081).
The text of a refused *client's* call is no evidence, because a client can make a replica quote it.

The network's time is *uncertain* before the first evidence, and while a DATE contradicts the estimate and no strong
evidence has decided. :meth:`NetworkTime.enclosed_ns` then returns a wide interval. The gateway refuses a client's
envelope only if the network would refuse it at both ends of the interval; the network decides about all others.

When this machine's wall clock is set, all evidence is discarded.

Sources: interface specification, "Authentication" (ingress_expiry); dfinity/ic rs/validator/src/ingress_validation.rs
(the text of a refusal); RFC 9110, 6.6.1 (Date); RFC 9111, 5.1 (Age); decision 0031.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from icwsgw.core.written_state import Written, read_as
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS, SECOND_NS

STEP_NS = 2_500_000_000
"""Times agree if they differ by at most this. A Date has a resolution of 1 s, and an answer takes time to arrive."""

CERTIFIED_LAG_NS = 30 * SECOND_NS
SIGNED_LAG_NS = 120 * SECOND_NS

WITNESSES = 3
MANY_WITNESSES = 12
_FORMER = WITNESSES + 1
"""The rival's count if the rival is the former estimate, which refusals have replaced."""

JUMP_NS = 5 * SECOND_NS
"""If the difference between wall clock and monotonic clock changes by more than this, the wall clock was set."""

_UNBOUNDED_NS = 1 << 80

_REFUSAL = re.compile(r"ingress_expiry not within expected range", re.IGNORECASE)
_MINIMUM = re.compile(
    r"Minimum allowed expiry:\s*(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s*(?:UTC|Z)"
)


class Evidence(Enum):
    """The kinds of evidence. Values: name, interval below and above the measured skew in ns, whether it is strong."""

    DATE = ("date", STEP_NS, STEP_NS, False)
    ACCEPTED = ("accepted", MAX_INGRESS_TTL_NS, 0, False)
    REFUSED = ("refused", STEP_NS, STEP_NS, True)
    SIGNED = ("signed", STEP_NS, SIGNED_LAG_NS, True)
    CERTIFIED = ("certified", STEP_NS, CERTIFIED_LAG_NS, True)

    @property
    def below_ns(self) -> int:
        """How far the true skew may lie below the measured skew, in ns."""
        below: int = self.value[1]
        return below

    @property
    def above_ns(self) -> int:
        """How far the true skew may lie above the measured skew, in ns."""
        above: int = self.value[2]
        return above

    @property
    def judges(self) -> bool:
        """Whether the evidence is strong: whether it may replace the estimate."""
        judges: bool = self.value[3]
        return judges


class NetworkTime(Written):
    """Collects evidence about the network's time. Times are ns since 1970; ``seconds`` come from a monotonic clock.

    :ivar skew_ns: estimated skew; 0 until strong evidence proves another value
    :ivar measured_ns: the last measured skew, accurate to about 1 s; None before the first measurement
    :ivar rival_ns: the skew according to Dates that contradict the estimate, or the former estimate while the present
        one is unconfirmed; None if there is neither
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
    WRITTEN = {
        "_against": lambda value: _interval(value),
        "_against_count": int,
        "_base_ns": int,
        "_refuted_ns": int,
        "_rival_count": int,
        "_support": lambda value: _interval(value),
        "_taken": lambda value: _interval(value),
        "measured_ns": int,
        "rival_ns": int,
        "skew_ns": int,
    }

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
        self._low_ns, self._high_ns = -_UNBOUNDED_NS, _UNBOUNDED_NS

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the evidence of a document in place of one's own, unless the document has none.

        :raises FormatError: a value is of the wrong kind
        """
        if document.get("_support") is not None:
            super().read(document)
            self._enclose()

    # queries

    @property
    def known(self) -> bool:
        """Whether any evidence agrees with the estimate."""
        return self._support is not None

    @property
    def disputed(self) -> bool:
        """Whether certified time is needed: repeated Dates contradict the estimate without strong evidence, or it is
        unconfirmed."""
        return self.rival_ns is not None and self._rival_count >= WITNESSES

    @property
    def unconfirmed(self) -> bool:
        """Whether unsigned text has changed the estimate, and no certificate has confirmed that."""
        return self._rival_count == _FORMER

    @property
    def eager(self) -> bool:
        """Whether to evaluate the next answer: there is contrary evidence, but too little to decide."""
        return self._against_count > 0 or 0 < self._rival_count < WITNESSES

    def now_ns(self, seconds: float, wall_ns: int) -> int:
        """The estimated network time. It sets the expiry of requests and checks the age of the network's answers."""
        # The condition of _look_at_clock, inlined: every message and poll runs this.
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self.skew_ns

    def earliest_ns(self, seconds: float, wall_ns: int) -> int:
        """The earliest possible network time; whatever expires before it has certainly expired."""
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self._low_ns

    def enclosed_ns(self, seconds: float, wall_ns: int) -> tuple[int, int]:
        """The earliest and the latest possible network time."""
        base = self._base_ns
        if base is not None and not -JUMP_NS <= wall_ns - int(seconds * SECOND_NS) - base <= JUMP_NS:
            self._look_at_clock(seconds, wall_ns)
        return wall_ns + self._low_ns, wall_ns + self._high_ns

    # evidence

    def take(self, kind: Evidence, time_ns: int, seconds: float, wall_ns: int) -> None:
        """Record a piece of evidence and update the estimate.

        :param kind: the kind of evidence
        :param time_ns: its timestamp
        :param seconds: its arrival by the monotonic clock
        :param wall_ns: its arrival by this machine's wall clock
        """
        self._look_at_clock(seconds, wall_ns)
        self._base_ns = wall_ns - int(seconds * SECOND_NS)
        measured_ns = time_ns - wall_ns
        interval = (measured_ns - kind.below_ns, measured_ns + kind.above_ns)
        if kind is Evidence.CERTIFIED and self.unconfirmed:
            self._confirm(interval)
        if _within(self.skew_ns, interval):
            self._agrees(kind, measured_ns, interval)
        elif kind is Evidence.DATE:
            self._rivals(measured_ns, interval)
        elif kind.judges:
            self._judged(kind, measured_ns, interval)
        self._enclose()

    def _agrees(self, kind: Evidence, measured_ns: int, interval: tuple[int, int]) -> None:
        if kind in (Evidence.ACCEPTED, Evidence.REFUSED):
            self._taken = interval
        if kind is Evidence.DATE:
            if not self.unconfirmed:
                self.rival_ns, self._rival_count = None, 0
        else:
            if kind.judges or (self._against is not None and not _overlap(self._against, interval)):
                self._against, self._against_count = None, 0
            if self.rival_ns is not None and not self.unconfirmed and not _within(self.rival_ns, interval):
                self._refuted_ns = self.rival_ns
                self.rival_ns, self._rival_count = None, 0
        if kind is Evidence.DATE or kind is Evidence.REFUSED:
            self.measured_ns = measured_ns
        if self._support is None or interval[1] - interval[0] <= self._support[1] - self._support[0]:
            self._support = interval

    def _rivals(self, measured_ns: int, interval: tuple[int, int]) -> None:
        if self.unconfirmed or (self._refuted_ns is not None and _within(self._refuted_ns, interval)):
            return
        if self.rival_ns is None or not _within(self.rival_ns, interval):
            self._rival_count = 0
        self.rival_ns = measured_ns
        self._rival_count = min(self._rival_count + 1, WITNESSES)

    def _judged(self, kind: Evidence, measured_ns: int, interval: tuple[int, int]) -> None:
        before = self._against
        if before is None or not _overlap(before, interval):
            self._against, self._against_count = interval, 1
        else:
            self._against = (max(before[0], interval[0]), min(before[1], interval[1]))
            self._against_count += 1
        rival = None if self.unconfirmed else self.rival_ns
        witnesses = self._against_count
        if rival is not None and _within(rival, interval):
            witnesses += self._rival_count
            measured_ns = rival
        proven = kind is Evidence.CERTIFIED and self.skew_ns < interval[0]
        # A replica has confirmed this machine's clock, so the clock is probably right, unless that replica's is wrong.
        doubtful = self._taken is not None and not _overlap(self._taken, interval)
        if proven or witnesses >= (MANY_WITNESSES if doubtful else WITNESSES):
            former_ns = self.rival_ns if self.unconfirmed else self.skew_ns
            self._forget()
            # A skew within one step is measurement error: this machine's clock counts as right.
            self.skew_ns = measured_ns if abs(measured_ns) > STEP_NS else 0
            self.measured_ns = measured_ns
            self._support = interval
            if kind is Evidence.REFUSED and former_ns is not None:
                self._changed_by_text(former_ns)

    def _changed_by_text(self, former_ns: int) -> None:
        if abs(self.skew_ns - former_ns) <= STEP_NS:
            self.skew_ns = former_ns
        else:
            self.rival_ns, self._rival_count = former_ns, _FORMER

    def _confirm(self, interval: tuple[int, int]) -> None:
        """Decide by a certificate between the unconfirmed estimate and the former one."""
        former_ns, text_ns, measured_ns = self.rival_ns, self.skew_ns, self.measured_ns
        assert former_ns is not None
        self._forget()
        if _within(text_ns, interval) and not _within(former_ns, interval):
            self.skew_ns, self.measured_ns = text_ns, measured_ns
        else:
            self.skew_ns = former_ns

    def _enclose(self) -> None:
        if self._support is None or self.unconfirmed:
            self._low_ns, self._high_ns = -_UNBOUNDED_NS, _UNBOUNDED_NS
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


def _interval(value: Any) -> tuple[int, int]:
    low, high = value
    return read_as(int, low, "low"), read_as(int, high, "high")


def _within(skew_ns: int, interval: tuple[int, int]) -> bool:
    return interval[0] <= skew_ns <= interval[1]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def refuses_expiry(text: str) -> bool:
    """Whether a replica's error text shows that it refused a request because of its expiry."""
    return _REFUSAL.search(text) is not None


def replica_time(text: str) -> int | None:
    """The replica's clock from its refusal of an expiry, ns since 1970; None if the text does not contain it."""
    found = _MINIMUM.search(text) if refuses_expiry(text) else None
    if found is None:
        return None
    *parts, fraction = found.groups()
    try:
        moment = datetime(*map(int, parts))  # type: ignore[arg-type]
    except ValueError:
        return None
    return timegm(moment.timetuple()) * SECOND_NS + int((fraction or "0").ljust(9, "0"))
