"""The log: one line for each event, as text or JSON, by component and level, to stdout and where asked to a file.

Components log through :func:`get_logger`; a line below the wanted level costs one comparison. Events travel
through Twisted's publisher like all others, so ``--logger`` and trial see them too. What Twisted, Autobahn and
their kin say at info ("Starting factory ...") counts as debug here.

Fields are values, never payloads or keys: bytes appear as their length, and nothing a peer sent can break a line or
make it endless or drive a terminal (:mod:`icwsgw.escaping`).

twistd takes an observer from the ``ILogObserver`` component of the application, but a plugin's ``makeService``
returns only a service. :class:`ObservedService` sets the component at the moment twistd hangs it into the
application, which is before twistd starts its log.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from twisted.application.service import MultiService
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    LogPublisher,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from icwsgw.escaping import escape_invisible, is_visible
from icwsgw.observe.labels import LINE_LEVELS
from icwsgw.observe.levels import CRITICAL, DEBUG, ERROR, INFO, OFF, WARN, Levels
from icwsgw.observe.meters import LabelledCounter
from icwsgw.observe.writer import LogLine, Writer, to_stream
from icwsgw.process.private_directory import make_private_directory

_NAMESPACE = "icwsgw."
_OURS = {
    DEBUG: LogLevel.debug,
    INFO: LogLevel.info,
    WARN: LogLevel.warn,
    ERROR: LogLevel.error,
    CRITICAL: LogLevel.critical,
}
_NUMBERS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR, "critical": CRITICAL}
_FACTORIES = ("Starting factory", "Stopping factory")
_RESERVED = frozenset({"time", "level", "component", "message", "traceback"})


class Fields(dict[str, Any]):
    """The ``key=value`` part of a line."""

    def __str__(self) -> str:
        # most values are numbers and ids
        return "".join(
            f" {key}={value if type(value) is int else _quoted(_shown(value))}" for key, value in self.items()
        )

    # Other observers format events through str.format, which asks for this.
    def __format__(self, specification: str) -> str:
        return str(self)


# What may stand in a line as it is: printable, and no blank, quote or equals sign in it.
_PLAIN = re.compile(r"[!#-<>-~]+")


#: Characters of a value: a reason may be a canister's words, or a method's name that a client made up.
MAX_VALUE = 500


def _shown(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}... ({len(text)} characters)"


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) or (text and is_visible(text) and not any(character in ' "=' for character in text)):
        return text
    return escape_invisible(json.dumps(text, ensure_ascii=False))


class Logger:
    """Logs for one component; made by :func:`get_logger`.

    :ivar level: the lowest level that any sink wants; ``if log.level <= DEBUG`` saves making up costly fields
    """

    __slots__ = ("component", "level")

    def __init__(self, component: str, level: int) -> None:
        self.component = component
        self.level = level

    def debug(self, message: str, /, **fields: object) -> None:
        """Log what helps to find a fault."""
        if self.level <= DEBUG:
            self._emit(DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Log what an operator wants to have seen."""
        if self.level <= INFO:
            self._emit(INFO, message, fields)

    def warn(self, message: str, /, **fields: object) -> None:
        """Log what an operator should look into."""
        if self.level <= WARN:
            self._emit(WARN, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        """Log what does not work."""
        if self.level <= ERROR:
            self._emit(ERROR, message, fields)

    def failure(self, message: str, /, failure: Failure | None = None, **fields: object) -> None:
        """Log a fault of the program with its traceback; without ``failure``, the exception being handled."""
        if self.level <= CRITICAL:
            self._emit(CRITICAL, message, fields, failure or Failure())

    def _emit(self, level: int, message: str, fields: Mapping[str, object], failure: Failure | None = None) -> None:
        event: LogEvent = {
            "log_level": _OURS[level],
            "log_namespace": _NAMESPACE + self.component,
            "log_time": time.time(),
            "log_format": "{icws_message}{icws_fields}",
            "icws_message": message,
            "icws_fields": Fields(fields, **_mark) if _mark else Fields(fields),
        }
        if failure is not None:
            event["log_failure"] = failure
        globalLogPublisher(event)


_loggers: dict[str, Logger] = {}
_wanted: tuple[Levels, ...] = (Levels(),)
_overrides: dict[str, int] = {}
_mark: dict[str, object] = {}


def mark(**fields: object) -> None:
    """Put these fields behind those of every line of ours from now on, to tell processes apart."""
    _mark.update(fields)


def get_logger(component: str) -> Logger:
    """Give the logger of a component, for example ``gateway`` or ``server.tls``; the same one each time."""
    logger = _loggers.get(component)
    if logger is None:
        logger = _loggers[component] = Logger(component, _lowest(component))
    return logger


def set_levels(*wanted: Levels) -> None:
    """Let the loggers pass what any of the sinks wants."""
    global _wanted
    _wanted = wanted
    for logger in _loggers.values():
        logger.level = _lowest(logger.component)


def _lowest(component: str) -> int:
    return min((levels.of(component) for levels in _wanted), default=OFF)


def text_line(stamp: float, level: str, component: str, event: LogEvent, message: str, traceback: str) -> str:
    """Write an event as text; its traceback, if any, indented below it."""
    fields = event.get("icws_fields", "")
    line = f"{_iso(stamp)} {level:<5} {component} {escape_invisible(message)}{fields}"
    return line + "".join(f"\n    {escape_invisible(part)}" for part in traceback.splitlines())


def json_line(stamp: float, level: str, component: str, event: LogEvent, message: str, traceback: str) -> str:
    """Write an event as one JSON object."""
    record: dict[str, Any] = {"time": _iso(stamp), "level": level, "component": component, "message": message}
    for key, value in event.get("icws_fields", {}).items():
        plain = value if value is None or isinstance(value, (bool, int, float)) else _shown(value)
        record[f"{key}_" if key in _RESERVED else key] = plain
    if traceback:
        record["traceback"] = traceback
    return escape_invisible(json.dumps(record, ensure_ascii=False))


def _iso(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMATS: dict[str, Callable[[float, str, str, LogEvent, str, str], str]] = {"text": text_line, "json": json_line}


#: Lines of this process's main log by level.
lines_written = LabelledCounter(LINE_LEVELS)


@implementer(ILogObserver)
class LineObserver:
    """Makes lines of events.

    :param put: takes the lines; does not block, see :mod:`icwsgw.observe.writer`
    :param levels: which events
    :param format: ``text`` or ``json``
    :param counts: whether its lines are those of :data:`lines_written`
    :ivar levels: which events, from now on
    """

    def __init__(
        self, put: Callable[[LogLine], None], levels: Levels, format: str = "text", counts: bool = False
    ) -> None:
        self._counts = counts
        self._put = put
        self.levels = levels
        self._format = FORMATS[format]

    def __call__(self, event: LogEvent) -> None:
        """Write one event, if it is wanted."""
        namespace = str(event.get("log_namespace") or "twisted")
        name = getattr(event.get("log_level"), "name", "info")
        number = _NUMBERS.get(name, INFO)
        if namespace.startswith(_NAMESPACE):
            component = namespace[len(_NAMESPACE) :]
            # Twisted says this in the name of the factory's class, which may be one of ours.
            if str(event.get("log_format")).startswith(_FACTORIES):
                name, number = "debug", DEBUG
        elif namespace in ("stdout", "stderr"):
            component = namespace
        else:
            component = "twisted" if namespace == "log_legacy" else namespace
            if number == INFO:
                name, number = "debug", DEBUG
        if number < self.levels.of(component):
            return
        message = event.get("icws_message")
        failure = event.get("log_failure")
        text = message if isinstance(message, str) else formatEvent(event).rstrip("\n")
        traceback = failure.getTraceback() if isinstance(failure, Failure) else ""
        if isinstance(failure, Failure):
            # The text of a legacy event has the traceback in it as well.
            text = text.partition("\n")[0] or failure.getErrorMessage()
        if self._counts:
            lines_written.inc(name)
        line = self._format(event.get("log_time", 0.0), name, component, event, text, traceback)
        self.write(line, name)

    def write(self, line: str, level: str = "info") -> None:
        """Write a ready line.

        :param level: by name
        """
        self._put(LogLine(line, level))


class _Sinks:
    """What :func:`make_observer` has made: the observers of the main log and of the file, and what they were to write.

    ``levels`` is the main log's without :func:`override_levels`.
    """

    main: LineObserver | None = None
    file: LineObserver | None = None
    writers: tuple[Writer, ...] = ()
    levels: Levels = Levels()


def change_levels(main: Levels, file: Levels) -> None:
    """Write other events from now on; what :func:`override_levels` was told stays.

    :param file: of the JSON file; where none was begun at the start, none is begun now
    """
    _Sinks.levels = main
    if _Sinks.file is not None:
        _Sinks.file.levels = file
    _apply_levels()


def override_levels(levels: Mapping[str, int]) -> None:
    """Let components write other levels to the main log than it was made for, until told otherwise.

    :param levels: by component, :data:`~icwsgw.observe.levels.EVERYTHING` for those that are not named; in place of
        what was told before
    """
    _overrides.clear()
    _overrides.update(levels)
    _apply_levels()


def levels_in_force() -> Levels:
    """What goes to the main log."""
    return _Sinks.levels.overridden(_overrides)


def components() -> list[str]:
    """The components that have a logger in this process."""
    return sorted(_loggers)


def _apply_levels() -> None:
    main = levels_in_force()
    sinks = [main]
    if _Sinks.main is not None:
        _Sinks.main.levels = main
    if _Sinks.file is not None:
        sinks.append(_Sinks.file.levels)
    set_levels(*sinks)


def pass_on(line: str) -> None:
    """Write the line of another process's log, as it is, to the main log."""
    if _Sinks.main is not None:
        _Sinks.main.write(escape_invisible(line))


class ObservedService(MultiService):
    """The root of the service tree: brings the log observer into the application that twistd makes for it."""

    def __init__(self, observer: object) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer

    def setServiceParent(self, parent: Any) -> Any:  # noqa: N802
        """Join an application, and set its observer."""
        if hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer)
        return super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def make_observer(
    levels: Levels,
    format: str,
    *,
    file_levels: Levels | None = None,
    traces: Path | None = None,
    twistd: Mapping[str, Any] | None = None,
    now: Callable[[], float] = time.time,
) -> object:
    """Make the observer that an operator's options ask for, and let the loggers pass what it wants.

    :param levels: what goes to the main log
    :param format: its lines, ``text`` or ``json``
    :param file_levels: what goes to a JSON file as well; None or all ``off``: no such file
    :param traces: directory of that file, made where needed
    :param twistd: twistd's own options: ``--logfile``, ``--syslog`` and ``--prefix`` are obeyed
    :return: an ILogObserver
    :raises OSError: when a file cannot be opened
    """
    options = twistd or {}
    sinks = [levels]
    observers: list[object] = []
    _Sinks.file = None
    _Sinks.levels = levels
    write = _to_main(options, format)
    writers = [Writer(write, _notice(format))]
    _Sinks.main = LineObserver(writers[0].put, levels, format, counts=True)
    observers.append(_Sinks.main)
    if file_levels is not None and traces is not None and _wants_any(file_levels):
        make_private_directory(traces)
        stream = _open_log(traces / f"gateway_{int(now() * 1000)}.log")
        sinks.append(file_levels)
        writers.append(Writer(to_stream(stream), _notice("json")))
        _Sinks.file = LineObserver(writers[1].put, file_levels, "json")
        observers.append(_Sinks.file)
    _Sinks.writers = tuple(writers)
    set_levels(*sinks)
    return observers[0] if len(observers) == 1 else LogPublisher(*observers)  # type: ignore[arg-type]


def _wants_any(levels: Levels) -> bool:
    return min((levels.default, *levels.components.values())) < OFF


def lines_lost() -> dict[str, int]:
    """How many lines of this process were not written, by the reason in the metric.

    :return: ``unread``: the log was not read, or its disk hangs; ``unwritable``: writing has failed
    """
    return {
        "unread": sum(writer.dropped for writer in _Sinks.writers),
        "unwritable": sum(writer.failed for writer in _Sinks.writers),
    }


def _notice(format: str) -> Callable[[int], LogLine]:
    """Make the line that says that others were dropped."""

    def notice(count: int) -> LogLine:
        fields = {"icws_fields": Fields(count=count, **_mark)}
        text = "lines were dropped: the log was not read, or not written, for a while"
        return LogLine(FORMATS[format](time.time(), "warn", "log", fields, text, ""), "warn")

    return notice


def _to_main(options: Mapping[str, Any], format: str) -> Callable[[LogLine], None]:
    if options.get("syslog"):
        from icwsgw.observe.syslog import to_syslog

        return to_syslog(options.get("prefix") or "twistd", format)
    name = options.get("logfile")
    if name == "-" or (not name and options.get("nodaemon", True)):
        # twistd replaces sys.stdout by its log, so the stream itself is kept here.
        return to_stream(sys.stdout)
    return to_stream(LogFile.fromFullPath(name or "twistd.log"))


def _open_log(path: Path) -> TextIO:
    return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o640))
