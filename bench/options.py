"""The options of a run, the defaults of each scenario, and the names of runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

#: Options that do not appear in a run's name: they change how it runs, not what it measures.
_NOT_NAMED = ("scenario", "calm", "stall", "linger")


@dataclass(frozen=True)
class RunOptions:
    """The options of one run. Some apply to one scenario only, which is named first.

    :ivar count: down: messages of all clients together; up: messages of each client (both with rate 0)
    :ivar rate: messages (churn: sessions) per second over all clients; 0: as fast as possible, closed loop
    :ivar size: bytes of an application message
    :ivar seconds: duration
    :ivar query_ms: latency of a query in ms
    :ivar call_ms: latency of a call in ms
    :ivar calls: "200": calls are answered after execution, with a certificate; "202": when accepted,
        for ``--relay-order=accepted``; a gateway that waits for execution would resubmit them
    :ivar real: certificates are valid; otherwise fixed bytes
    :ivar window: echo: messages of a client in flight, with rate 0
    :ivar slow: slow: number of clients that stop reading
    :ivar cycles: idle: how often all clients open and close
    :ivar concurrency: number of clients that open at the same time
    :ivar linger: seconds that clients wait for the answer to their close frame; 0: they drop the connection at once
    :ivar rounds: storm: number of acknowledgement rounds; each starts when the last is complete
    :ivar calm: seconds without load before the measurement
    :ivar stall: seconds without progress after which a run ends
    """

    scenario: str
    clients: int = 100
    canisters: int = 1
    count: int = 0
    rate: float = 0.0
    size: int = 200
    seconds: float = 10.0
    query_ms: float = 0.0
    call_ms: float = 0.0
    calls: str = "200"
    real: bool = True
    max_messages: int = 50
    window: int = 1
    slow: int = 0
    cycles: int = 1
    concurrency: int = 100
    calm: float = 1.0
    stall: float = 8.0
    open_timeout: float = 120.0
    linger: float = 10.0
    keep_alive_timeout: float = 60.0
    rounds: int = 1
    verify_every: int = 0
    load_processes: int = 1
    pin: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """The replica's configuration."""
        return {
            "query_ms": self.query_ms,
            "call_ms": self.call_ms,
            "calls": self.calls,
            "real": self.real,
            "echo": self.scenario == "echo",
            "max_messages": self.max_messages,
        }

    @property
    def name(self) -> str:
        """A name that contains the differences from the scenario's defaults."""
        usual = DEFAULTS[self.scenario]
        parts = [self.scenario]
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in _NOT_NAMED and value != getattr(usual, each.name):
                parts.append(f"{each.name}={_short(value)}")
        return ",".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the options for the result file."""
        return asdict(self)


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


DEFAULTS: dict[str, RunOptions] = {
    each.scenario: each
    for each in (
        RunOptions("idle", clients=1000, cycles=2),
        RunOptions("down", clients=200, count=20_000),
        RunOptions("up", clients=100, rate=200.0, count=50),
        RunOptions("echo", clients=20, rate=100.0),
        RunOptions("churn", clients=20),
        RunOptions("many", clients=500, canisters=500),
        RunOptions("slow", clients=50, slow=1, rate=4000.0, seconds=20.0),
        RunOptions("storm", clients=1000, query_ms=200.0, call_ms=200.0, stall=70.0, rounds=3),
    )
}
#: Default latencies (query, call) in ms for each scenario; it runs once with each pair.
LATENCIES: dict[str, tuple[tuple[float, float], ...]] = {
    "idle": ((0, 0),),
    "down": ((0, 0), (100, 0)),
    "up": ((0, 0), (0, 100)),
    "echo": ((0, 0), (20, 0), (100, 0), (20, 100)),
    "churn": ((0, 0),),
    "many": ((0, 0), (100, 0)),
    "slow": ((0, 0),),
    "storm": ((200, 200),),
}


def scaled(options: RunOptions, scale: float) -> RunOptions:
    """Return the options with the numbers of clients, messages and seconds multiplied by ``scale``, for quick runs."""
    if scale == 1:
        return options
    clients = max(options.slow + 2, round(options.clients * scale))
    return replace(
        options,
        clients=clients,
        canisters=min(clients, max(1, round(options.canisters * scale))),
        count=max(1, round(options.count * scale)) if options.count else 0,
        seconds=max(1.0, options.seconds * scale),
        calm=min(options.calm, 0.3),
    )
