"""Readiness: named checks that run when a probe asks.

Live means that the event loop runs, and an answer proves it. Ready means that every check is content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Gives the reason, in plain words, why the gateway is not ready, or None.
Check = Callable[[], "str | None"]


class Finding(NamedTuple):
    """What one check says; ``reason`` is None when it is content."""

    name: str
    reason: str | None


class Health:
    """Named checks of readiness. One that raises counts as not ready, with the exception as its reason."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._concerns: list[Check] = []

    def add(self, name: str, check: Check) -> None:
        """Have ``check`` asked at each probe under ``name``; the same name again replaces it."""
        self._checks[name] = check

    def findings(self) -> list[Finding]:
        return [Finding(name, _ask(check)) for name, check in self._checks.items()]

    def add_concern(self, check: Check) -> None:
        """Have ``check`` asked for what an operator should know although the gateway is ready."""
        self._concerns.append(check)

    def concerns(self) -> list[str]:
        """What an operator should know, each in a sentence."""
        return [concern for check in self._concerns if (concern := _ask(check)) is not None]

    @property
    def ready(self) -> bool:
        """Whether all checks are content."""
        return all(finding.reason is None for finding in self.findings())


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:
        return f"the check failed: {type(error).__name__}: {error}"
