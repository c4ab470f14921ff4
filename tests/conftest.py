"""Settings for all tests."""

from __future__ import annotations

import gc

from hypothesis import settings

# A slow machine is no failure: hypothesis measures each example against a deadline unless told not to.
settings.register_profile("icwsgw", deadline=None)
settings.load_profile("icwsgw")


def pytest_collection_finish() -> None:
    """Leave what has been imported and collected out of garbage collection, which took a quarter of all tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
