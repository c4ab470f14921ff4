"""The options about what is written: log lines, the log file, spans.

Part of :class:`icwsgw.config.GatewayConfig`, in a module of its own by its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.observe.collector import parse_collector, trace_level
from icwsgw.observe.levels import LEVELS, parse_levels
from icwsgw.options import FLAG, Kind, choice, option, ratio

#: The heading in the manual.
LOGS = "Logs and traces"


def _levels(text: str) -> str:
    parse_levels(text)
    return text.strip()


def _collector(text: str) -> str | None:
    text = text.strip()
    if text.lower() in ("", "none", "off"):
        return None
    parse_collector(text)
    return text


def _trace_level(text: str) -> str:
    number = trace_level(text)
    return next(name for name, level in LEVELS.items() if level == number)


LOG_LEVELS = Kind("levels", _levels, example="info,relay=debug")
TRACE_LEVEL = Kind("level", _trace_level, example="debug")
COLLECTOR = Kind("address", _collector, lambda value: value or "", example="grpc://127.0.0.1:4317")


@dataclass(frozen=True)
class LogOptions:
    """What is written, and how much of it."""

    log_level: str = option(
        "info",
        LOG_LEVELS,
        "log-level",
        "Levels of the log on stdout: a level, or component=level between commas.",
        "The original's: a line when a session ends, and what an operator should know.",
        group=LOGS,
        variables=("RUST_LOG_STDOUT",),
    )
    log_format: str = option(
        "text",
        choice("text", "json"),
        "log-format",
        "Lines of the log on stdout: text, or JSON objects.",
        "Text is for people; JSON is for whatever collects the logs of several gateways.",
        group=LOGS,
    )
    log_file_level: str = option(
        "off",
        LOG_LEVELS,
        "log-file-level",
        "Levels of the JSON log in <data-dir>/traces/gateway_<start, ms>.log.",
        "The original's: no file unless asked for.",
        group=LOGS,
        variables=("RUST_LOG_FILE",),
    )
    trace_level: str = option(
        "trace",
        TRACE_LEVEL,
        "trace-level",
        "Spans that are exported: trace for all, debug for those of connections, any other level for none.",
        "The original's.",
        group=LOGS,
        variables=("RUST_LOG_TELEMETRY",),
    )
    trace_sampling: float = option(
        1.0,
        ratio(),
        "trace-sampling",
        "Share of the connections, and of the polls that are exported, that are traced.",
        "All, as the original; a busy gateway wants less.",
        group=LOGS,
    )
    trace_idle_polls: bool = option(
        False,
        FLAG,
        "trace-idle-polls",
        "Export polls that brought no message, too.",
        "They are ten a second for each canister.",
        group=LOGS,
    )
