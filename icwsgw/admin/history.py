"""The last ten minutes of a few series, one value every five seconds, for the status page's curves.

Time is divided into slots. All processes use the same slots, so that their histories can be merged slot by slot. A slot
has no value if the process took no sample in it, because it was not running or its event loop was blocked. No value is
different from 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

#: Length of a slot in seconds, and the number of slots kept.
INTERVAL: Final = 5.0
SLOTS: Final = 120

Series = list["float | None"]


class History:
    """The last :data:`SLOTS` values of each series.

    :param names: names of the series
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._series: dict[str, deque[float | None]] = {name: deque(maxlen=SLOTS) for name in names}
        self._end = 0

    def add(self, now: float, values: Mapping[str, float | None]) -> None:
        """Store the values of the slot that ends at about ``now``; replace earlier values of the same slot.

        :param now: seconds since 1970; if the clock was set back to an earlier slot, all values are dropped
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
        """Return the latest value of a series."""
        series = self._series[name]
        return series[-1] if series else None

    def document(self) -> dict[str, Any]:
        """Return JSON values: ``interval`` in seconds, ``end`` of the last slot in seconds since 1970, ``series``."""
        series = {name: list(values) for name, values in self._series.items()}
        return {"interval": INTERVAL, "end": self._end * INTERVAL, "series": series}

    def continue_from(self, document: Mapping[str, Any]) -> None:
        """Take the values that another process has stored, as :meth:`document` gives them.

        Its slots may be of another length, or its series others: then there is no past.
        """
        if document.get("interval") != INTERVAL or not document.get("end"):
            return
        past = {name: document["series"].get(name, ()) for name in self._series}
        longest = max(map(len, past.values()), default=0)
        if not longest:
            return
        self._end = _slot(document["end"])
        for name, series in self._series.items():
            series.clear()
            series.extend([None] * (longest - len(past[name])))
            series.extend(past[name])


def merge_histories(
    parts: Sequence[Mapping[str, Any]], merges: Mapping[str, Callable[[Iterable[float]], float]]
) -> dict[str, Any]:
    """Merge the histories of several processes.

    Processes take their samples at different moments. A slot that only some of them have filled is left out for now,
    because its sum would be too low. A process that is more than two slots behind has ended or is blocked; the
    merge does not wait for it.

    :param parts: documents of :class:`History`
    :param merges: the function that merges the values of a slot, by series; the default is ``sum``
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
            # ``at`` counts from the end: 0 is the last slot.
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
