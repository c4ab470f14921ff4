"""Records which planted errors' lines a scenario reaches; the marks in the code fill it. It imports nothing."""

from __future__ import annotations

#: Names of errors whose lines were reached.
reached: set[str] = set()
