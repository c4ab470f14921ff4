"""Ten minutes of a few figures, one value every five seconds, for the status page's curves.

Time is cut into slots, the same ones in every process, so that the histories of several processes can be put together
slot by slot. A slot in which a process could not look (it was not running, or its event loop was blocked) has no
value, which is not the same as 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

#: Seconds of a slot, and how many are kept.
INTERVAL: Final = 5.0
SLOTS: Final = 120

Series = list["float | None"]


class History:
    """The last :data:`SLOTS` values of some series.

    :param names: of the series
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._series: dict[str, deque[float | None]] = {name: deque(maxlen=SLOTS) for name in names}
        self._end = 0

    def add(self, now: float, values: Mapping[str, float | None]) -> None:
        """Enter the values of the slot that ends at about ``now``; those of the same slot again are replaced.

        :param now: seconds since 1970; a clock that was set back costs what lies ahead of it
        """
        slot = round(now / INTERVAL)
        skipped = slot - self._end - 1 if self._end else 0
        for name, series in self._series.items():
            if skipped >= SLOTS or skipped < -1:
                series.clear()
            elif skipped == -1:
                series.pop()
            else:
                series.extend([None] * skipped)
            series.append(values.get(name))
        self._end = slot

    def last(self, name: str) -> float | None:
        """The latest value of a series."""
        series = self._series[name]
        return series[-1] if series else None

    def document(self) -> dict[str, Any]:
        """As JSON has it: ``interval`` in seconds, ``end`` of the last slot in seconds since 1970, ``series``."""
        series = {name: list(values) for name, values in self._series.items()}
        return {"interval": INTERVAL, "end": self._end * INTERVAL, "series": series}


def merge_histories(
    parts: Sequence[Mapping[str, Any]], merges: Mapping[str, Callable[[Iterable[float]], float]]
) -> dict[str, Any]:
    """Several processes' histories as one.

    Processes do not look at the same moment. A slot that some have and others are about to have is left out for now:
    it would show a fall that is none. One that is behind by more than two slots has ended, or hangs.

    :param parts: documents of :class:`History`
    :param merges: what makes one value of several, by series; ``sum`` where there is none
    """
    ends = [_slot(part["end"]) for part in parts if part["end"]]
    newest = max(ends, default=0)
    end = min((each for each in ends if newest - each <= 2), default=0)
    columns: dict[str, list[list[float]]] = {}
    length = 0
    for part in parts:
        behind = end - _slot(part["end"])
        for name, series in part["series"].items():
            slots = columns.setdefault(name, [[] for _ in range(SLOTS)])
            # at, counted from the end: 0 is the last slot
            for at, value in enumerate(reversed(series), behind):
                if 0 <= at < SLOTS:
                    length = max(length, at + 1)
                    if value is not None:
                        slots[at].append(value)
    merged: dict[str, Series] = {}
    for name, slots in columns.items():
        merge = merges.get(name, sum)
        merged[name] = [merge(values) if values else None for values in reversed(slots[:length])]
    return {"interval": INTERVAL, "end": end * INTERVAL, "series": merged}


def _slot(end: float) -> int:
    return round(end / INTERVAL)
