from dataclasses import replace
from pathlib import Path
from typing import Any

from icwsgw.config import GatewayConfig
from icwsgw.notifying import SLACK, NotifyingService, stop_patience

CONFIG = GatewayConfig(data_dir=Path("/nonexistent"))


class Notifier:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def ready(self, status: str) -> None:
        self.said.append(("ready", status))

    def stopping(self, seconds: float, status: str) -> None:
        self.said.append(("stopping", seconds))


class Reactor:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callWhenRunning(self, call: Any) -> None:
        self.calls.append(call)


def test_ready_when_the_reactor_runs_and_stopping_when_the_stop_begins() -> None:
    notifier, reactor = Notifier(), Reactor()
    service: Any = NotifyingService(notifier, reactor, lambda: 40.0)  # type: ignore[arg-type]
    service.startService()
    assert notifier.said == []
    (run,) = reactor.calls
    run()
    service.stopService()
    assert notifier.said == [("ready", "serving"), ("stopping", 40.0)]
    run()
    assert len(notifier.said) == 2, "a stop before the reactor ran: never ready"


def test_the_patience_covers_the_drain_and_those_to_be_told() -> None:
    assert stop_patience(replace(CONFIG, drain_window=30.0)) == 60.0 + SLACK
    assert stop_patience(replace(CONFIG, drain_window=0.0)) == 5.0 + SLACK
