"""What fails is logged, and what comes after it is done."""

from __future__ import annotations

from typing import Any

from icwsgw.observe.tolerant import tolerate


class Log:
    def __init__(self) -> None:
        self.failures: list[str] = []

    def failure(self, words: str, **fields: Any) -> None:
        self.failures.append(words)


def test_a_fault_costs_a_line() -> None:
    log: Any = Log()
    done: list[int] = []
    tolerate(log, "one", lambda: done.append(1))
    tolerate(log, "two", lambda: 1 // 0)
    assert (done, log.failures) == ([1], ["two"])
