"""Options for the end of a gateway; part of :class:`icwsgw.config.schema.GatewayConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icwsgw.config.option import TIMES, automatic, option, seconds

#: Seconds that connections and processes may take to end after the drain.
SLACK: Final = 20.0
#: Seconds in which canisters have to answer the last ``ws_close``, at least; at most as long as the drain window.
LEAST_CLOSING: Final = 5.0


@dataclass(frozen=True)
class DrainOptions:
    """How clients are closed when the gateway stops. Durations in seconds."""

    drain_window: float | None = option(
        None,
        automatic(seconds(0.0, 3600.0)),
        "drain-window",
        "Time over which clients are closed when the gateway stops, evenly; 0 closes all at once. auto: as long as the "
        "network needs for their reconnections (--query-budget, --open-rate), at least 10 s, and at most what "
        "--drain-timeout leaves.",
        "Reconnections of all clients at once exceed what the network takes.",
        group=TIMES,
        reloaded=True,
        example="60",
    )
    drain_timeout: float = option(
        40.0,
        seconds(25.0, 7200.0),
        "drain-timeout",
        "How long a stop may take in all before the service manager kills the process. An automatic --drain-window is "
        "at most half of what remains after 20 s for connections to end.",
        "Fits a window of 10 s.",
        group=TIMES,
        reloaded=True,
        example="5m",
    )

    @property
    def longest_drain_window(self) -> float:
        """The longest drain window after which the canisters still get ``ws_close`` within ``--drain-timeout``."""
        left = self.drain_timeout - SLACK
        return min(left / 2, left - LEAST_CLOSING)

    @property
    def longest_stop(self) -> float:
        """The longest duration of a stop in seconds: the drain window, as long again for ``ws_close``, and slack."""
        window = self.drain_window
        return self.drain_timeout if window is None else window + max(window, LEAST_CLOSING) + SLACK
