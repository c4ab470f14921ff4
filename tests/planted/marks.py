"""What a scenario reaches, where the tree has marks: filled by them, read by the survey. It loads nothing."""

from __future__ import annotations

#: Names of errors whose place was reached.
reached: set[str] = set()
