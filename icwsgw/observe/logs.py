"""The log: one line per event, as text or JSON, by component and level, to stdout and optionally to a file.

Components log through :func:`get_logger`; a line below the configured level costs one comparison. Events go through
Twisted's publisher, so ``--logger`` and trial get them too. Events that Twisted, Autobahn and other libraries log at
info ("Starting factory ...") count as debug here.

Fields never contain payloads or keys. Bytes appear as their length. Data from a peer cannot break a line, make it
unlimited in length, or control a terminal (:mod:`icwsgw.escaping`).

twistd takes its observer from the ``ILogObserver`` component of the application, but a plugin's ``makeService``
returns only a service. :class:`ObservedService` sets the component when twistd adds the service to the application,
before twistd starts its log.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

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
from zope.interface import implementer

from icwsgw.escaping import escape_invisible, is_visible
from icwsgw.observe.journal import is_journal, with_priorities
from icwsgw.observe.labels import LINE_LEVELS
from icwsgw.observe.levels import CRITICAL, DEBUG, ERROR, INFO, OFF, WARN, Levels
from icwsgw.observe.log_file import FileBounds, LogFile
from icwsgw.observe.meters import LabelledCounter
from icwsgw.observe.privacy import Hider, hider
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

    # Other observers format events with str.format, which calls this method.
    def __format__(self, specification: str) -> str:
        return str(self)


# A value that needs no quotes: printable, without blanks, quotes and equals signs.
_PLAIN = re.compile(r"[!#-<>-~]+")


#: Longest value in characters: a canister may choose a reason, and a client a method name.
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

    :ivar level: the lowest level that any sink writes; check ``log.level <= DEBUG`` before computing costly fields
    """

    __slots__ = ("component", "level")

    def __init__(self, component: str, level: int) -> None:
        self.component = component
        self.level = level

    def debug(self, message: str, /, **fields: object) -> None:
        """Log a detail for finding faults."""
        if self.level <= DEBUG:
            self._emit(DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Log a normal event of interest to an operator."""
        if self.level <= INFO:
            self._emit(INFO, message, fields)

    def warn(self, message: str, /, **fields: object) -> None:
        """Log a problem that an operator should investigate."""
        if self.level <= WARN:
            self._emit(WARN, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        """Log an error."""
        if self.level <= ERROR:
            self._emit(ERROR, message, fields)

    def failure(self, message: str, /, failure: Failure | None = None, **fields: object) -> None:
        """Log a fault of the program with its traceback; without ``failure``, the exception being handled."""
        if self.level <= CRITICAL:
            self._emit(CRITICAL, message, fields, failure or Failure())

    def _emit(self, level: int, message: str, fields: Mapping[str, object], failure: Failure | None = None) -> None:
        if _hide is not None:
            fields = _hide(fields)
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
_hide: Hider | None = None


def mark(**fields: object) -> None:
    """Append these fields to every later line of this program, to tell processes apart."""
    _mark.update(fields)


def hide_clients(details: str) -> None:
    """Set how much every later line of this program says about clients.

    :param details: one of :data:`icwsgw.observe.privacy.CLIENT_DETAILS`
    """
    global _hide
    _hide = hider(details)


def get_logger(component: str) -> Logger:
    """Return the logger of a component, such as ``gateway`` or ``server.tls``; one logger per component."""
    logger = _loggers.get(component)
    if logger is None:
        logger = _loggers[component] = Logger(component, _lowest(component))
    return logger


def set_levels(*wanted: Levels) -> None:
    """Set the loggers to pass every event that at least one of the sinks writes."""
    global _wanted
    _wanted = wanted
    for logger in _loggers.values():
        logger.level = _lowest(logger.component)


def _lowest(component: str) -> int:
    return min((levels.of(component) for levels in _wanted), default=OFF)


_log = get_logger("log")


def text_line(stamp: float, level: str, component: str, event: LogEvent, message: str, traceback: str) -> str:
    """Format an event as text, followed by its indented traceback if it has one."""
    fields = event.get("icws_fields", "")
    line = f"{_iso(stamp)} {level:<5} {component} {escape_invisible(message)}{fields}"
    return line + "".join(f"\n    {escape_invisible(part)}" for part in traceback.splitlines())


def json_line(stamp: float, level: str, component: str, event: LogEvent, message: str, traceback: str) -> str:
    """Format an event as one JSON object."""
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
    """Formats events as lines.

    :param put: gets each line; must not block, see :mod:`icwsgw.observe.writer`
    :param levels: levels of the events to write
    :param format: ``text`` or ``json``
    :param counts: whether its lines are counted in :data:`lines_written`
    :ivar levels: the present levels; may be changed
    """

    def __init__(
        self, put: Callable[[LogLine], None], levels: Levels, format: str = "text", counts: bool = False
    ) -> None:
        self._counts = counts
        self._put = put
        self.levels = levels
        self._format = FORMATS[format]

    def __call__(self, event: LogEvent) -> None:
        """Write one event, if its level is to be written."""
        namespace = str(event.get("log_namespace") or "twisted")
        name = getattr(event.get("log_level"), "name", "info")
        number = _NUMBERS.get(name, INFO)
        if namespace.startswith(_NAMESPACE):
            component = namespace[len(_NAMESPACE) :]
            # Twisted logs this under the factory's class, which may be one of this program.
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
            # The text of a legacy event also contains the traceback.
            text = text.partition("\n")[0] or failure.getErrorMessage()
        if self._counts:
            lines_written.inc(name)
        line = self._format(event.get("log_time", 0.0), name, component, event, text, traceback)
        self.write(line, name)

    def write(self, line: str, level: str = "info") -> None:
        """Write a line that is already formatted.

        :param level: name of its level
        """
        self._put(LogLine(line, level))


class _Sinks:
    """The observers made by :func:`make_observer`, of the main log and of the file, and their configured levels.

    ``levels`` are those of the main log without :func:`override_levels`.
    """

    main: LineObserver | None = None
    file: LineObserver | None = None
    writers: tuple[Writer, ...] = ()
    files: tuple[tuple[LogFile, Writer], ...] = ()
    levels: Levels = Levels()


def change_levels(main: Levels, file: Levels) -> None:
    """Change the configured levels; the levels set by :func:`override_levels` stay in force.

    :param main: levels of the main log
    :param file: levels of the JSON file; a file that was not opened at the start is not opened now
    """
    _Sinks.levels = main
    if _Sinks.file is not None:
        _Sinks.file.levels = file
    _apply_levels()


def override_levels(levels: Mapping[str, int]) -> None:
    """Replace the configured levels of components in the main log until the next call.

    :param levels: levels by component; :data:`~icwsgw.observe.levels.EVERYTHING` stands for the unnamed ones. They
        replace those of the previous call.
    """
    _overrides.clear()
    _overrides.update(levels)
    _apply_levels()


def levels_in_force() -> Levels:
    """Return the present levels of the main log."""
    return _Sinks.levels.overridden(_overrides)


def components() -> list[str]:
    """Return the components that have a logger in this process."""
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
    """Write a line of another process's log unchanged to the main log."""
    if _Sinks.main is not None:
        _Sinks.main.write(escape_invisible(line))


class ObservedService(MultiService):
    """The root of the service tree: sets the log observer of twistd's application."""

    def __init__(self, observer: object) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer

    def setServiceParent(self, parent: Any) -> Any:  # noqa: N802
        """Join an application and set its log observer."""
        if hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer)
        return super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def make_observer(
    levels: Levels,
    format: str,
    *,
    file_levels: Levels | None = None,
    traces: Path | None = None,
    bounds: FileBounds = FileBounds(),  # noqa: B008 - immutable
    twistd: Mapping[str, Any] | None = None,
    now: Callable[[], float] = time.time,
) -> object:
    """Make the log observer from an operator's options, and set the levels of the loggers accordingly.

    :param levels: levels of the main log
    :param format: format of the main log, ``text`` or ``json``
    :param file_levels: levels of an additional JSON file; None or all ``off`` for no file
    :param traces: directory of that file, created if it is missing
    :param bounds: of that file, and of the one that twistd's ``--logfile`` names
    :param twistd: options of twistd, of which ``--logfile``, ``--syslog`` and ``--prefix`` are used
    :return: an ILogObserver
    :raises OSError: a file cannot be opened
    """
    options = twistd or {}
    sinks = [levels]
    observers: list[object] = []
    _Sinks.file = None
    _Sinks.levels = levels
    main = _main_file(options)
    file = None if main is None else LogFile(main, bounds, _failure_line(format))
    writers = [Writer(_to_main(options, format) if file is None else file.write, _notice(format))]
    files = [] if file is None else [(file, writers[0])]
    _Sinks.main = LineObserver(writers[0].put, levels, format, counts=True)
    observers.append(_Sinks.main)
    if file_levels is not None and traces is not None and _any_enabled(file_levels):
        make_private_directory(traces)
        file = _new_file(traces, int(now() * 1000), bounds)
        sinks.append(file_levels)
        writers.append(Writer(file.write, _notice("json")))
        files.append((file, writers[1]))
        _Sinks.file = LineObserver(writers[1].put, file_levels, "json")
        observers.append(_Sinks.file)
    _Sinks.writers = tuple(writers)
    _Sinks.files = tuple(files)
    set_levels(*sinks)
    return observers[0] if len(observers) == 1 else LogPublisher(*observers)  # type: ignore[arg-type]


def _any_enabled(levels: Levels) -> bool:
    return min((levels.default, *levels.components.values())) < OFF


def rotate_files() -> None:
    """Begin new log files; the lines that wait go to the present ones. A file that was moved away is opened anew."""
    for file, writer in _Sinks.files:
        writer.call(file.rotate)
    if _Sinks.files:
        _log.info("log files begin anew", files=",".join(str(file.path) for file, _ in _Sinks.files))
    else:
        _log.info("there is no log file to begin anew")


def lines_lost() -> dict[str, int]:
    """Return how many lines of this process were not written, by reason, which is a label of the metric.

    :return: ``unread``: the log was not read, or its disk hangs; ``unwritable``: writing has failed
    """
    return {
        "unread": sum(writer.dropped for writer in _Sinks.writers),
        "unwritable": sum(writer.failed for writer in _Sinks.writers),
    }


def _notice(format: str) -> Callable[[int], LogLine]:
    """Return a function that formats the notice of dropped lines."""

    def notice(count: int) -> LogLine:
        fields = {"icws_fields": Fields(count=count, **_mark)}
        text = "lines were dropped: the log was not read, or not written, for a while"
        return LogLine(FORMATS[format](time.time(), "warn", "log", fields, text, ""), "warn")

    return notice


def _failure_line(format: str) -> Callable[[str], LogLine]:
    """Return a function that formats the line about a file that cannot be rotated."""

    def failure_line(reason: str) -> LogLine:
        fields = {"icws_fields": Fields(reason=reason, **_mark)}
        text = "the log file could not be rotated"
        return LogLine(FORMATS[format](time.time(), "error", "log", fields, text, ""), "error")

    return failure_line


def _main_file(options: Mapping[str, Any]) -> Path | None:
    """Return the file of the main log; None if it goes to stdout or syslog."""
    name = options.get("logfile")
    if options.get("syslog") or name == "-" or (not name and options.get("nodaemon", True)):
        return None
    return Path(name or "twistd.log")


def _new_file(directory: Path, stamp: int, bounds: FileBounds) -> LogFile:
    """Open a JSON file that no other process has.

    :param stamp: milliseconds since 1970, for its name; later ones are tried
    """
    while True:
        try:
            return LogFile(directory / f"gateway_{stamp}.log", bounds, _failure_line("json"), new=True)
        except FileExistsError:
            stamp += 1


def _to_main(options: Mapping[str, Any], format: str) -> Callable[[LogLine], None]:
    if options.get("syslog"):
        from icwsgw.observe.syslog import to_syslog

        return to_syslog(options.get("prefix") or "twistd", format)
    # Keep the stream itself, because twistd replaces sys.stdout with its log.
    write = to_stream(sys.stdout)
    return with_priorities(write) if is_journal(sys.stdout) else write
