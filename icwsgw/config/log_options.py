"""Options for logs and traces.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from icwsgw.config.option import FLAG, LOGS, Kind, choice, count, option, ratio, size
from icwsgw.observe.collector import parse_collector, trace_level
from icwsgw.observe.levels import COMPONENTS, LEVELS, parse_levels, unknown_components
from icwsgw.observe.privacy import CLIENT_DETAILS


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
    """Which log lines and traces are written, and how many."""

    log_level: str = option(
        "info",
        LOG_LEVELS,
        "log-level",
        "Log level on stdout: one level, or component=level pairs separated by commas.",
        "As in the Rust gateway: one line when a session ends, and what an operator should know.",
        group=LOGS,
        variables=("RUST_LOG_STDOUT",),
        reloaded=True,
    )
    log_format: str = option(
        "text",
        choice("text", "json"),
        "log-format",
        "Format of the log on stdout: text, or JSON objects.",
        "Text for people; JSON for log collectors.",
        group=LOGS,
    )
    log_clients: str = option(
        "full",
        choice(*CLIENT_DETAILS),
        "log-clients",
        "What log lines, and ended sessions on the status page, say about clients: full (address, principal, web "
        "origin), masked (the address's network, the principal's first group), or none.",
        "Who looks for a fault or an abuser needs them; the law may want less.",
        group=LOGS,
        example="masked",
    )
    log_file_level: str = option(
        "off",
        LOG_LEVELS,
        "log-file-level",
        "Log level of the JSON file <data-dir>/traces/gateway_<start, ms>.log.",
        "As in the Rust gateway: no file by default.",
        group=LOGS,
        variables=("RUST_LOG_FILE",),
        reloaded=True,
    )
    log_file_bytes: int = option(
        100 << 20,
        size(0),
        "log-file-bytes",
        "Maximum bytes of a log file: that of twistd's --logfile, and the JSON file. Beyond it, the file becomes "
        "FILE.1 and a new one begins. 0 for no limit, where logrotate does this.",
        "Some days of a busy gateway at level info.",
        group=LOGS,
        example="1G",
    )
    log_file_count: int = option(
        5,
        count(0, 1000),
        "log-file-count",
        "Number of older files of each log that are kept, as FILE.1, FILE.2 and so on.",
        "With the largest files, 600 MiB for each log.",
        group=LOGS,
        example="20",
    )
    trace_level: str = option(
        "trace",
        TRACE_LEVEL,
        "trace-level",
        "Exported spans: trace for all, debug for those of connections, any other level for none.",
        "As in the Rust gateway.",
        group=LOGS,
        variables=("RUST_LOG_TELEMETRY",),
    )
    trace_sampling: float = option(
        1.0,
        ratio(),
        "trace-sampling",
        "Share of connections, and of exported polls, that are traced.",
        "All, as in the Rust gateway; a busy gateway needs less.",
        group=LOGS,
    )
    trace_idle_polls: bool = option(
        False,
        FLAG,
        "trace-idle-polls",
        "Export also polls that returned no message.",
        "There are ten per second for each canister.",
        group=LOGS,
    )


def level_warnings(options: LogOptions) -> Iterator[str]:
    """Yield a warning for each level of a component that does not exist."""
    for name, text in (("log-level", options.log_level), ("log-file-level", options.log_file_level)):
        for component in unknown_components(parse_levels(text)):
            yield f"--{name}: there is no component {component}; the components are {', '.join(COMPONENTS)}"
