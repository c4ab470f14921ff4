"""Draws the fields of a plan from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from random import Random
from typing import Any


def drawn(draw: Callable[[Random, Any], Any], *simple: Any) -> Any:
    """A field.

    :param draw: gives its value by a generator of chance and the fields above it
    :param simple: values to try in its place when a failure is shrunk, the simplest one first
    """
    return field(metadata={"draw": draw, "simple": simple})


def one_of(*values: Any) -> Callable[[Random, Any], Any]:
    """Any of them."""
    return lambda random, _: random.choice(values)


def chance(share: float) -> Callable[[Random, Any], bool]:
    """True in so many of all worlds."""
    return lambda random, _: random.random() < share
