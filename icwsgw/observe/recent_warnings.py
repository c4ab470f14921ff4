"""The last warnings and errors of the log, for the status page.

This log observer runs in addition to those that write lines. Repeated events are one entry with a count, so that an
error logged ten times a second does not displace all others. At most fifty entries are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from icwsgw.escaping import escape_invisible
from icwsgw.observe.logs import Fields

#: Largest number of entries, and longest text in characters.
KEEP: Final = 50
MAX_TEXT: Final = 400

#: What an entry has.
_NAMES: Final = ("at", "first", "count", "level", "component", "text", "details", "workers")

_LEVELS = {LogLevel.warn: "warn", LogLevel.error: "error", LogLevel.critical: "critical"}


@implementer(ILogObserver)
class RecentWarnings:
    """Keeps the last warnings and errors.

    :param keep: largest number of entries; the entry with the oldest last occurrence is evicted first
    """

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        # (component, message, canister) -> entry; the latest last
        self._entries: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()

    def listen(self) -> RecentWarnings:
        """Begin to record the warnings and errors of this process."""
        globalLogPublisher.addObserver(cast(Any, self))
        return self

    def __call__(self, event: LogEvent) -> None:
        """Record one event, if it is a warning or an error."""
        level = _LEVELS.get(event.get("log_level"))
        if level is None:
            return
        component = str(event.get("log_namespace") or "twisted").removeprefix("icwsgw.")
        fields = Fields(event.get("icws_fields") or {})
        worker = fields.pop("worker", None)
        failure = event.get("log_failure")
        message = event.get("icws_message")
        text = message if isinstance(message, str) else formatEvent(event)
        text = text.strip().partition("\n")[0] or (failure.getErrorMessage() if isinstance(failure, Failure) else "")
        details = str(fields).strip()
        if isinstance(failure, Failure):
            details = f"{details} {type(failure.value).__name__}: {failure.getErrorMessage()}".strip()
        text, details = escape_invisible(text), escape_invisible(details)
        key = (component, text[:MAX_TEXT], str(fields.get("canister", "")))
        at = float(event.get("log_time", 0.0))
        before = self._entries.pop(key, None)
        self._entries[key] = {
            "at": at,
            "first": before["first"] if before else at,
            "count": before["count"] + 1 if before else 1,
            "level": level,
            "component": component,
            "text": text[:MAX_TEXT],
            "details": details[:MAX_TEXT],
            "workers": [] if worker is None else [worker],
        }
        if len(self._entries) > self._keep:
            self._entries.popitem(last=False)

    def written(self) -> list[Any]:
        """Return the entries for another process, the latest last, each with what makes it one."""
        return [[*key, dict(entry)] for key, entry in self._entries.items()]

    def continue_from(self, written: Iterable[Any]) -> None:
        """Put the entries of a former process, as :meth:`written` gives them, before one's own."""
        own, self._entries = self._entries, OrderedDict()
        for component, text, canister, found in [*written, *([*key, entry] for key, entry in own.items())]:
            entry = {name: found[name] for name in _NAMES}
            before = self._entries.pop((component, text, canister), None)
            if before is not None:
                entry |= {"first": before["first"], "count": before["count"] + entry["count"]}
            self._entries[component, text, canister] = entry
        while len(self._entries) > self._keep:
            self._entries.popitem(last=False)

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries, the latest first.

        Each has ``at`` and ``first`` (last and first time, seconds since 1970), ``count``, ``level``, ``component``,
        ``text`` and ``details`` (of the last occurrence), and, with several processes, ``workers``: the numbers of
        those that logged it.
        """
        return [dict(entry) for entry in reversed(self._entries.values())]
