"""When to request certificates from an authority (ACME): renewals, and pauses after failures. All times are arguments.

A certificate is renewed when two thirds of its lifetime are over, as Let's Encrypt advises, at a time of its own: up to
a twentieth of the lifetime earlier, which follows from its name and dates. So a fleet does not renew at once, and a
restart does not change the time.

After a failure the pause doubles. Authorities count refused validations (Let's Encrypt: five for a name in an hour), so
the pause is longer after a refusal than while the authority cannot be reached. What the authority asks for
(Retry-After) counts if it is longer. The pauses belong to what is stored, so that restarts do not shorten them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

#: The part of its lifetime after which a certificate is renewed, and by how much of it that may come earlier.
RENEWAL, SPREAD = 2 / 3, 1 / 20
#: Seconds of the longest pause, also of one that the authority or a wrong clock asks for.
LONGEST_PAUSE = 86_400.0
#: Pauses count up to this many failures; more change nothing.
MOST_FAILURES = 32


class Dates(NamedTuple):
    """From when to when a certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float


class FailureKind(Enum):
    """Why there is no certificate, with the first and the longest pause after it, in seconds."""

    UNREACHABLE = (60.0, 3600.0)
    """The authority does not answer, or answers that it cannot serve now."""
    REFUSED = (300.0, 43_200.0)
    """The authority refuses: the name did not resolve to this gateway, a limit, an invalid request."""


@dataclass(frozen=True, slots=True)
class NameState:
    """The attempts for one name.

    :ivar failures: failed attempts since the last certificate
    :ivar failed_at: when the last one failed, seconds since 1970
    :ivar not_before: before when no other begins, seconds since 1970
    :ivar reason: why the last one failed, for people; empty: it did not
    """

    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    reason: str = ""

    def after(self, kind: FailureKind, reason: str, now: float, retry_after: float | None = None) -> NameState:
        """Return the state after another failure.

        :param retry_after: seconds that the authority asks to wait
        """
        first, longest = kind.value
        failures = min(self.failures + 1, MOST_FAILURES)
        # up to a quarter longer, so that the names of a gateway, and gateways, do not return together
        pause = min(first * 2.0 ** (failures - 1), longest) * (1.0 + _share(f"{reason}{now}") / 4)
        pause = min(max(pause, retry_after or 0.0), LONGEST_PAUSE)
        return NameState(failures, now, now + pause, reason)

    @classmethod
    def renewed(cls, dates: Dates, now: float) -> NameState:
        """Return the state after a certificate came.

        No other is requested before a third of what is left of its lifetime has passed, whatever dates the authority
        gives it.
        """
        return cls(not_before=now + min(max(dates.not_after - now, 0.0) / 3, LONGEST_PAUSE))

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NameState:
        """Read what :meth:`to_json` made; what is not of its kind counts as missing."""
        found: dict[str, Any] = {}
        for name in cls.__slots__:
            known, value = getattr(cls(), name), values.get(name)
            if isinstance(known, float) and type(value) is int and abs(value) < 1 << 53:
                value = float(value)
            if type(value) is type(known):
                found[name] = value
        return cls(**found)


def renewal_time(name: str, dates: Dates) -> float:
    """Return when a certificate should be renewed, seconds since 1970."""
    lifetime = max(0.0, dates.not_after - dates.not_before)
    early = SPREAD * _share(f"{name}{dates.not_before}{dates.not_after}")
    return dates.not_before + lifetime * (RENEWAL - early)


def attempt_time(name: str, dates: Dates | None, state: NameState, now: float) -> float:
    """Return when to request a certificate of a name, seconds since 1970; ``now`` or earlier: now.

    :param dates: of the certificate that there is; None: there is none
    """
    due = now if dates is None else renewal_time(name, dates)
    # a time beyond the longest pause, or a failure in the future, comes from a clock that was wrong
    paused = state.failed_at <= now and state.not_before <= now + LONGEST_PAUSE
    return max(due, state.not_before) if paused else due


def next_name(
    certificates: Mapping[str, Dates | None], states: Mapping[str, NameState], now: float
) -> tuple[str, float] | None:
    """Return whose turn is next, and when; None if there are no names.

    Of those that are due, names without a valid certificate come first.

    :param certificates: the dates of the certificate of each name
    """
    times = {
        name: attempt_time(name, dates, states.get(name, NameState()), now) for name, dates in certificates.items()
    }
    if not times:
        return None
    due = [name for name, at in times.items() if at <= now]
    if not due:
        name = min(times, key=lambda each: times[each])
        return name, times[name]

    def urgency(name: str) -> tuple[bool, float]:
        dates = certificates[name]
        return dates is not None and dates.not_after > now, times[name]

    return min(due, key=urgency), now


def _share(text: str) -> float:
    """A number in [0, 1) that only depends on a text."""
    return zlib.crc32(text.encode()) / 2.0**32
