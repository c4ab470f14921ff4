"""The gateway that the tests of both transports share."""

from __future__ import annotations

from tests.acceptance.conftest import devnets, stack, stacks

__all__ = ["devnets", "stack", "stacks"]
