"""Readiness: named checks that run for each probe.

Live means that the event loop runs; any answer proves this. Ready means that every check passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Returns why the gateway is not ready, in plain words, or None if the check passes.
Check = Callable[[], "str | None"]


class Finding(NamedTuple):
    """The result of one check; ``reason`` is None if it passes."""

    name: str
    reason: str | None


class Health:
    """Named checks of readiness. One that raises counts as not ready, with the exception as its reason."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._concerns: list[Check] = []

    def add(self, name: str, check: Check) -> None:
        """Run ``check`` for each probe under ``name``; a second check with the same name replaces it."""
        self._checks[name] = check

    def findings(self) -> list[Finding]:
        return [Finding(name, _reason(check)) for name, check in self._checks.items()]

    def add_concern(self, check: Check) -> None:
        """Add a check for a problem that an operator should know of but that does not affect readiness."""
        self._concerns.append(check)

    def concerns(self) -> list[str]:
        """Return the problems that do not affect readiness, each as a sentence."""
        return [concern for check in self._concerns if (concern := _reason(check)) is not None]

    @property
    def ready(self) -> bool:
        """Return whether all checks pass."""
        return all(finding.reason is None for finding in self.findings())


def _reason(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:
        return f"the check failed: {type(error).__name__}: {error}"
